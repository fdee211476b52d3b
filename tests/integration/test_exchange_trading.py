"""What holds on the local exchange at either venue, seen through unmodified ccxt."""

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal

import ccxt
import ccxt.pro
import pytest
from venue_client import SYMBOL, Market, connect, follows, serve

from mm_hybrid.errors import ServerError
from mm_hybrid.servers.exchange import ExchangeServer, ExchangeServerConfig
from mm_hybrid.servers.exchange.serve import serve_exchange


@pytest.fixture(params=["bybit", "bitget"])
async def server(request) -> AsyncIterator[ExchangeServer]:
    async with serve(request.param) as running:
        yield running


@pytest.fixture
def market(server) -> Market:
    market = Market(server)
    market.book()
    return market


@pytest.fixture
async def client(server, market) -> AsyncIterator[ccxt.pro.Exchange]:
    connected = connect(server)
    await connected.load_markets()
    yield connected
    await connected.close()


async def place(client, side: str, price: float, qty: float = 0.01, **params: object) -> str:
    order = await client.create_order(SYMBOL, "limit", side, qty, price, {"postOnly": True, **params})
    return order["id"]


async def watched_order(client, status: str) -> dict:
    """The next order update of that status."""
    while True:
        for order in await client.watch_orders(SYMBOL):
            if order["status"] == status:
                return order


async def test_markets_show_the_one_contract_and_its_grid(client):
    market = client.market(SYMBOL)
    assert (market["linear"], market["contractSize"], market["settle"]) == (True, 1, "USDT")
    assert (market["precision"]["price"], market["precision"]["amount"]) == (0.1, 0.001)
    assert (market["limits"]["amount"]["min"], market["limits"]["cost"]["min"]) == (0.001, 5)


async def test_full_market_listing_with_ccxts_own_defaults_is_answered(server, market):
    client = connect(server, options={"uta": False} if server.config.venue == "bitget" else {})
    try:
        assert list(await client.load_markets()) == [SYMBOL]
    finally:
        await client.close()


async def test_an_acknowledgement_names_the_order_and_nothing_of_its_state(client):
    order = await client.create_order(SYMBOL, "limit", "buy", 0.01, 59_000, {"clientOrderId": "mm-1"})
    assert order["id"]
    assert (order["status"], order["filled"]) == (None, None)


async def test_a_resting_order_is_pushed_listed_and_cancelled(client, server):
    watcher = asyncio.create_task(watched_order(client, "open"))
    await follows(server, "order")
    order_id = await place(client, "buy", 59_990.5, clientOrderId="mm-1")
    pushed = await watcher
    (listed,) = await client.fetch_open_orders(SYMBOL)
    for seen in (pushed, listed):
        assert (seen["id"], seen["clientOrderId"]) == (order_id, "mm-1")
        assert (seen["side"], seen["price"], seen["amount"], seen["filled"]) == ("buy", 59_990.5, 0.01, 0)
        assert seen["symbol"] == SYMBOL

    watcher = asyncio.create_task(watched_order(client, "canceled"))
    await client.cancel_order(order_id, SYMBOL)
    assert (await watcher)["id"] == order_id
    assert await client.fetch_open_orders(SYMBOL) == []


async def test_a_print_through_a_resting_order_fills_it_at_its_own_price(client, server, market):
    trades = asyncio.create_task(client.watch_my_trades(SYMBOL))
    await follows(server, "execution" if server.config.venue == "bybit" else "fill")
    order_id = await place(client, "buy", 59_990.0, 0.5, clientOrderId="mm-1")
    printed_ms = market.trade("sell", 59_980.0, 0.2, "print-7")

    (trade,) = await trades
    assert (trade["order"], trade["side"], trade["takerOrMaker"]) == (order_id, "buy", "maker")
    assert (trade["price"], trade["amount"], trade["timestamp"]) == (59_990.0, 0.2, printed_ms)
    assert trade["fee"]["cost"] == pytest.approx(59_990.0 * 0.2 * 0.00001)
    assert [other["id"] for other in await client.fetch_my_trades(SYMBOL)] == [trade["id"]]
    (left,) = await client.fetch_open_orders(SYMBOL)
    assert (left["filled"], left["remaining"]) == (0.2, 0.3)

    (booked,) = server.account.ledger.executions
    assert (booked.exec_id, booked.print_id, booked.client_id) == (trade["id"], "print-7", "mm-1")


async def test_position_and_wallet_follow_the_fills(client, market):
    await place(client, "buy", 59_990.0, 0.5)
    market.trade("sell", 59_980.0, 0.5)
    (position,) = await client.fetch_positions([SYMBOL])
    assert (position["side"], position["contracts"], position["entryPrice"]) == ("long", 0.5, 59_990.0)
    assert position["unrealizedPnl"] == pytest.approx(0.5 * (60_000 - 59_990))

    await place(client, "sell", 60_010.0, 0.5)
    market.trade("buy", 60_020.0, 0.5)
    assert not any(one["contracts"] for one in await client.fetch_positions([SYMBOL]))
    fees = 0.5 * (59_990 + 60_010) * 0.00001
    assert (await client.fetch_balance())["USDT"]["total"] == pytest.approx(
        100_000 + 0.5 * 20 - fees, abs=1e-6
    )


async def test_a_post_only_order_that_would_cross_is_acknowledged_then_cancelled(client, server):
    watcher = asyncio.create_task(watched_order(client, "canceled"))
    await follows(server, "order")
    order_id = await place(client, "buy", 60_000.1)
    pushed = await watcher
    assert pushed["id"] == order_id
    reason = {
        "bybit": ("rejectReason", "EC_PostOnlyWillTakeLiquidity"),
        "bitget": ("cancelReason", "post_only_cancel"),
    }
    key, value = reason[server.config.venue]
    assert pushed["info"][key] == value


async def test_a_market_order_takes_the_displayed_book(client):
    await client.create_order(SYMBOL, "market", "sell", 3)
    trades = await client.fetch_my_trades(SYMBOL)
    assert sorted((trade["price"], trade["amount"]) for trade in trades) == [(59_999.0, 1.0), (59_999.9, 2.0)]
    assert {trade["takerOrMaker"] for trade in trades} == {"taker"}


async def test_cancel_all_leaves_nothing_open(client):
    for step in range(5):
        await place(client, "buy", 59_000 - step)
    await client.cancel_all_orders(SYMBOL)
    assert await client.fetch_open_orders(SYMBOL) == []


async def test_a_client_id_is_good_for_one_order_only(client):
    order_id = await place(client, "buy", 59_000, clientOrderId="mm-1")
    with pytest.raises(ccxt.ExchangeError):
        await place(client, "buy", 58_000, clientOrderId="mm-1")
    await client.cancel_order(order_id, SYMBOL)
    with pytest.raises(ccxt.ExchangeError):
        await place(client, "buy", 58_000, clientOrderId="mm-1")
    assert await client.fetch_open_orders(SYMBOL) == []


async def test_an_ended_order_cannot_be_cancelled_again(client):
    order_id = await place(client, "buy", 59_000)
    await client.cancel_order(order_id, SYMBOL)
    with pytest.raises(ccxt.ExchangeError):
        await client.cancel_order(order_id, SYMBOL)
    with pytest.raises(ccxt.OrderNotFound):
        await client.cancel_order("1" if client.id == "bitget" else "no-such-order", SYMBOL)


async def test_an_order_beyond_the_margin_is_refused(client):
    with pytest.raises(ccxt.InsufficientFunds):
        await place(client, "buy", 59_000, 20)
    assert await client.fetch_open_orders(SYMBOL) == []


async def test_an_order_below_the_minimum_value_is_refused(server, market):
    client = connect(server)
    try:
        await client.load_markets()
        client.markets[SYMBOL]["limits"]["cost"]["min"] = None
        market.book([(1_000.0, 1.0)], [(1_000.2, 1.0)])
        with pytest.raises(ccxt.InvalidOrder):
            await client.create_order(SYMBOL, "limit", "buy", 0.001, 900.0)
    finally:
        await client.close()


async def test_a_reduce_only_order_without_a_position_is_refused(client):
    with pytest.raises(ccxt.ExchangeError):
        await place(client, "buy", 59_000, reduceOnly=True)


@pytest.mark.parametrize("wrong", [{"apiKey": "not-the-key"}, {"secret": "not-the-secret"}])
async def test_a_wrong_key_or_signature_is_refused_over_rest_and_stream(server, market, wrong):
    client = connect(server, **wrong)
    try:
        with pytest.raises(ccxt.AuthenticationError):
            await client.fetch_balance()
        with pytest.raises(ccxt.AuthenticationError):
            await client.watch_orders(SYMBOL)
    finally:
        await client.close()


async def test_a_clock_far_off_is_refused(server, market):
    client = connect(server)
    client.milliseconds = lambda: server.account.now_ms() - 60_000
    client.nonce = client.milliseconds
    try:
        with pytest.raises(ccxt.InvalidNonce):
            await client.fetch_balance()
    finally:
        await client.close()


async def test_orders_are_refused_while_the_market_is_not_in_sync():
    async with serve("bybit") as server:
        client = connect(server)
        try:
            with pytest.raises(ccxt.ExchangeError, match="110066"):
                await place(client, "buy", 59_000)
        finally:
            await client.close()


async def test_every_execution_goes_to_the_ledger_file_with_its_print(tmp_path):
    path = tmp_path / "ledger.jsonl"
    async with serve("bitget", ledger=path) as server:
        market = Market(server)
        market.book()
        client = connect(server)
        try:
            await client.load_markets()
            await place(client, "sell", 60_010.0, 0.2, clientOrderId="mm-1")
        finally:
            await client.close()
        market.trade("buy", 60_011.0, 1.0, "print-3")
    (row,) = map(json.loads, path.read_text().splitlines())
    assert (row["client_id"], row["side"], row["print_id"], row["is_maker"]) == (
        "mm-1",
        "sell",
        "print-3",
        True,
    )
    assert Decimal(row["price"]) == Decimal(60_010)
    assert Decimal(row["qty"]) == Decimal("0.2")
    assert Decimal(row["fee"]) == Decimal("0.12002")
    assert Decimal(row["print_price"]) == Decimal(60_011)


async def test_a_taken_port_is_one_line_that_names_it(server):
    config = ExchangeServerConfig(venue="bybit", port=server.port)
    with pytest.raises(ServerError, match=f"127.0.0.1:{server.port}: the port is in use"):
        await serve_exchange(config, ready=lambda _: None, stop=asyncio.Event())


async def test_stopping_closes_every_connection(client, server):
    watcher = asyncio.create_task(client.watch_orders(SYMBOL))
    await follows(server, "order")
    await server.close()
    with pytest.raises(ccxt.NetworkError):
        await watcher
