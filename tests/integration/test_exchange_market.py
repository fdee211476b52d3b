"""The exchange server follows a market of its own and fills orders from its prints."""

import asyncio
import json
from datetime import UTC, datetime

import ccxt.pro
import pytest
from venue_client import ASKS, BIDS, SYMBOL, connect_to
from websockets.asyncio.server import ServerConnection, serve

from mm_hybrid.servers.exchange import ExchangeServerConfig, serve_exchange


class TardisDouble:
    """Answers one subscription with a snapshot; prints and disconnects when told."""

    def __init__(self, exchange: str = "bybit") -> None:
        self.exchange = exchange
        self.connections: list[ServerConnection] = []

    async def follow(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        sides = {
            name: [{"price": price, "amount": qty} for price, qty in levels]
            for name, levels in (("bids", BIDS), ("asks", ASKS))
        }
        await self.send({"type": "book_change", "isSnapshot": True, **sides})
        await connection.wait_closed()

    async def send(self, message: dict[str, object]) -> None:
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        whole = {
            "exchange": self.exchange,
            "symbol": "BTCUSDT",
            "timestamp": stamp,
            "localTimestamp": stamp,
        } | message
        await self.connections[-1].send(json.dumps(whole))


@pytest.fixture
async def served():
    """A tardis double, and a ccxt client of an exchange that follows it."""
    tardis, stop = TardisDouble(), asyncio.Event()
    ready: asyncio.Future[dict] = asyncio.get_running_loop().create_future()
    async with serve(tardis.follow, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        config = ExchangeServerConfig(venue="bybit", market_url=f"ws://127.0.0.1:{port}")
        server = asyncio.create_task(serve_exchange(config, ready=ready.set_result, stop=stop))
        client = connect_to((await ready)["url"], config)
        await client.load_markets()
        yield tardis, client
        await client.close()
        stop.set()
        await server


async def placed(client: ccxt.pro.bybit, price: float) -> str:
    """Place a buy as soon as the market is there."""
    while True:
        try:
            return (await client.create_order(SYMBOL, "limit", "buy", 0.1, price, {"postOnly": True}))["id"]
        except ccxt.pro.ExchangeError as error:
            if "110066" not in str(error):
                raise
            await asyncio.sleep(0.01)


async def first_trades(client: ccxt.pro.bybit) -> list[dict]:
    """Own trades as soon as there are any."""
    while not (trades := await client.fetch_my_trades(SYMBOL)):
        pass
    return trades


async def refusal(client: ccxt.pro.bybit) -> str:
    """Place until refused; return why."""
    while True:
        try:
            await client.create_order(SYMBOL, "limit", "buy", 0.001, 59_000.0)
        except ccxt.pro.ExchangeError as error:
            return str(error)


async def test_ready_says_where_the_server_listens(served):
    _, client = served
    assert client.urls["api"]["public"].startswith("http://127.0.0.1:")


async def test_a_print_of_the_followed_market_fills_a_resting_order(served):
    tardis, client = served
    order_id = await placed(client, 59_990.0)
    await tardis.send({"type": "trade", "id": "t-9", "price": 59_980.0, "amount": 0.04, "side": "sell"})
    (trade,) = await first_trades(client)
    assert (trade["order"], trade["price"], trade["amount"]) == (order_id, 59_990.0, 0.04)


async def test_orders_are_refused_after_the_market_went_away(served):
    tardis, client = served
    await placed(client, 59_990.0)
    await tardis.send({"type": "disconnect"})
    assert "110066" in await refusal(client)


async def test_a_market_that_is_not_the_one_followed_is_named(monkeypatch, caplog):
    """Started for Bitget beside a market that carries Bybit, the exchange refuses every order: it says why."""
    from mm_hybrid.servers.exchange import serve as serve_module

    monkeypatch.setattr(serve_module, "PATIENCE_S", 0.2)
    tardis, stop = TardisDouble("bybit"), asyncio.Event()
    ready: asyncio.Future[dict] = asyncio.get_running_loop().create_future()
    async with serve(tardis.follow, "127.0.0.1", 0) as listening:
        url = f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        config = ExchangeServerConfig(venue="bitget", market_url=url)
        server = asyncio.create_task(serve_exchange(config, ready=ready.set_result, stop=stop))
        assert (await ready)["market"] == "bitget-futures BTCUSDT"
        async with asyncio.timeout(5):
            while not caplog.records:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        stop.set()
        await server
    assert f"no events of bitget-futures BTCUSDT from {url}" in caplog.text
    assert "--market-exchange" in caplog.text
