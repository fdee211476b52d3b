"""An exchange killed at any moment goes on from its state file, and the file alone tells what happened."""

import asyncio
import json
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path

import aiohttp
import ccxt
import pytest
from test_exchange_market import TardisDouble
from venue_client import SYMBOL, Market, connect, connect_to, serve, until
from websockets.asyncio.server import serve as serve_websocket

from mm_hybrid.errors import ServerError
from mm_hybrid.servers.exchange import ExchangeServerConfig, FaultScript

D = Decimal


@pytest.fixture(params=["bybit", "bitget"])
def venue(request) -> str:
    return request.param


@asynccontextmanager
async def exchange_process(venue: str, state: Path, market_url: str, *more: str) -> AsyncIterator[tuple]:
    """The exchange as a user runs it; yields the process and its URL."""
    arguments = ["serve", "exchange", "--venue", venue, "--port", "0", "--state", str(state), "--json"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mm_hybrid", *arguments, "--market-url", market_url, *more),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(20):
            ready = json.loads(await process.stdout.readline())
        yield process, ready["url"]
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()
        process._transport.close()


async def account_of(url: str) -> dict:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/_admin/account") as reply:
        return await reply.json()


async def when_synced(place) -> dict:
    """Place an order as soon as the exchange has a market."""
    while True:
        try:
            return await place()
        except (ccxt.ExchangeNotAvailable, ccxt.ExchangeError) as error:
            if not any(code in str(error) for code in ("110066", "40308")):
                raise
            await asyncio.sleep(0.02)


async def test_after_a_sigkill_orders_rest_again_and_history_is_whole(venue, tmp_path):
    state = tmp_path / "state.db"
    tardis = TardisDouble("bybit" if venue == "bybit" else "bitget-futures")
    config = ExchangeServerConfig(venue=venue)
    more = ["--spot"] if venue == "bybit" else []

    def order(client, side: str, price: float, client_id: str):
        return client.create_order(SYMBOL, "limit", side, 0.5, price, {"clientOrderId": client_id})

    async with serve_websocket(tardis.follow, "127.0.0.1", 0) as listening:
        market_url = f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with exchange_process(venue, state, market_url, *more) as (_, url):
            client = connect_to(url, config)
            try:
                await client.load_markets()
                await when_synced(lambda: order(client, "buy", 59_990.0, "a"))
                await order(client, "sell", 61_000.0, "b")
                ended = await order(client, "sell", 62_000.0, "c")
                await client.cancel_order(ended["id"], SYMBOL)
                await tardis.send(
                    {"type": "trade", "id": "t", "price": 59_980.0, "amount": 0.2, "side": "sell"}
                )
                while not (trades := await client.fetch_my_trades(SYMBOL)):
                    pass
                before = await account_of(url)
            finally:
                await client.close()
        async with exchange_process(venue, state, market_url, *more) as (_, url):
            client = connect_to(url, config)
            try:
                await client.load_markets()
                assert await account_of(url) == before
                assert [t["id"] for t in await client.fetch_my_trades(SYMBOL)] == [t["id"] for t in trades]
                (position,) = await client.fetch_positions([SYMBOL])
                assert position["contracts"] == 0.2
                new = await when_synced(lambda: order(client, "buy", 58_000.0, "d"))
                assert new["id"] not in {one["order_id"] for one in before["open_orders"]}
                with pytest.raises(ccxt.ExchangeError):
                    await order(client, "buy", 58_000.0, "c")
                await tardis.send(
                    {"type": "trade", "id": "u", "price": 59_980.0, "amount": 9.0, "side": "sell"}
                )
                while len(trades := await client.fetch_my_trades(SYMBOL)) < 2:
                    pass
                assert {t["amount"] for t in trades} == {0.2, 0.3}
                assert len({t["id"] for t in trades}) == 2
            finally:
                await client.close()
    assert_adds_up(state, position="0.5", client_ids=["a", "b", "c", "d"])


async def test_whatever_a_client_has_heard_of_is_still_there_after_a_sigkill_under_load(venue, tmp_path):
    state = tmp_path / "state.db"
    tardis = TardisDouble("bybit" if venue == "bybit" else "bitget-futures")
    config = ExchangeServerConfig(venue=venue)
    acknowledged: dict[str, str] = {}
    pushed: dict[str, str] = {}

    async def place_until_it_dies(client, worker: int) -> None:
        for step in range(10_000):
            client_id = f"w{worker}-{step}"
            try:
                order = await client.create_order(
                    SYMBOL, "limit", "buy", 0.001, 59_000 - step, {"clientOrderId": client_id}
                )
            except ccxt.NetworkError:
                return
            acknowledged[client_id] = order["id"]

    async def listen(client) -> None:
        with suppress(ccxt.NetworkError):
            while True:
                for order in await client.watch_orders(SYMBOL):
                    pushed[order["clientOrderId"]] = order["id"]

    async with serve_websocket(tardis.follow, "127.0.0.1", 0) as listening:
        market_url = f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with exchange_process(venue, state, market_url) as (process, url):
            client = connect_to(url, config)
            try:
                await client.load_markets()
                await when_synced(lambda: client.create_order(SYMBOL, "limit", "buy", 0.001, 58_000))
                listener = asyncio.create_task(listen(client))
                workers = [asyncio.create_task(place_until_it_dies(client, worker)) for worker in range(6)]
                await until(lambda: len(acknowledged) > 60 and len(pushed) > 20)
                process.send_signal(signal.SIGKILL)
                await asyncio.gather(*workers, listener)
            finally:
                await client.close()
        async with exchange_process(venue, state, market_url) as (_, url):
            there = {one["client_id"]: one["order_id"] for one in (await account_of(url))["open_orders"]}
    assert acknowledged.items() <= there.items()
    assert pushed.items() <= there.items()
    assert len(set(there.values())) == len(there)


def assert_adds_up(state: Path, *, position: str, client_ids: list[str]) -> None:
    """Check the file as an outsider would, with plain SQLite and arithmetic."""
    database = sqlite3.connect(state)
    meta = dict(database.execute("SELECT key, value FROM meta"))
    rows = database.execute("SELECT seq, kind, order_id, client_id, body FROM event ORDER BY seq").fetchall()
    database.close()
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    assert (meta["symbol"], meta["balance"], meta["tick_size"]) == ("BTCUSDT", "100000", "0.1")
    accepted = [row for row in rows if row[1] == "accepted"]
    assert [row[3] for row in accepted] == client_ids
    assert len({row[2] for row in accepted}) == len(accepted)
    held, executions = D(0), set()
    for _, kind, _, _, body in rows:
        fields = json.loads(body)
        if kind == "execution" and fields["exec_type"] != "Funding":
            held += D(fields["qty"]) * (1 if fields["side"] == "buy" else -1)
            assert D(fields["position_after"]) == held
            executions.add(fields["exec_id"])
    assert held == D(position)
    assert len(executions) == sum(row[1] == "execution" for row in rows)
    requests = [json.loads(row[4]) for row in rows if row[1] == "request"]
    assert sum(one["endpoint"] == "create" and str(one["code"]) in {"0", "00000"} for one in requests) == len(
        client_ids
    )


async def test_amendments_fundings_and_what_the_engine_never_saw_survive_too(venue, tmp_path):
    state = tmp_path / "state.db"
    async with serve(venue, state=state) as server:
        market = Market(server)
        market.book()
        client = connect(server)
        try:
            await client.load_markets()
            order = await client.create_order(SYMBOL, "limit", "buy", 0.5, 59_990)
            market.trade("sell", 59_980, 0.1)
            if venue == "bybit":
                await client.edit_order(order["id"], SYMBOL, "limit", "buy", 0.6, 59_980)
            async with aiohttp.ClientSession() as http:
                for path, body in (("funding", {"rate": "0.0001"}), ("adl", {"qty": "0.05"})):
                    async with http.post(f"{server.url}/_admin/{path}", json=body) as reply:
                        assert reply.status == 200
                foreign = {"side": "sell", "price": "60500", "qty": "0.2"}
                async with http.post(f"{server.url}/_admin/foreign", json=foreign) as reply:
                    assert (await reply.json())["client_id"] == ""
                balance = {"balance": "777", "hedge_mode": True}
                async with http.post(f"{server.url}/_admin/config", json=balance) as reply:
                    assert reply.status == 200
            account = server.account
            account.fill(next(one for one in account.open_orders() if one.side == "buy"), D("0.15"))
            account.log.commit()
        finally:
            await client.close()
        before, wallet = await account_of(server.url), account.wallet_balance
    async with serve(venue, state=state) as server:
        assert await account_of(server.url) == before
        assert server.account.wallet_balance == wallet
        assert server.account.setup.hedge_mode
        Market(server).book()
        Market(server).trade("sell", 59_000, 9)
        executed = sum(
            (one.qty for one in server.account.ledger.executions if one.client_id != "" and one.is_maker),
            D(0),
        )
        if venue == "bitget":
            assert executed == D("0.5")
        assert [order.side for order in server.account.open_orders()] == ["sell"]


async def test_an_order_the_market_went_through_meanwhile_was_filled_at_its_own_price(tmp_path):
    state = tmp_path / "state.db"
    async with serve("bybit", state=state) as server:
        Market(server).book()
        client = connect(server)
        await client.create_order(SYMBOL, "limit", "buy", 0.5, 59_990, {"postOnly": True})
        await client.close()
    async with serve("bybit", state=state) as server:
        Market(server).book([(50_000.0, 1.0)], [(50_000.2, 1.0)])
        (execution,) = server.account.ledger.executions
        assert (execution.price, execution.qty, execution.is_maker) == (D(59_990), D("0.5"), True)


async def test_a_state_file_of_another_contract_is_refused(tmp_path):
    state = tmp_path / "state.db"
    async with serve("bybit", state=state):
        pass
    with pytest.raises(ServerError, match=r"state\.db is of an exchange with lot_size 0\.001, not 0\.01"):
        serve("bybit", state=state, lot_size="0.01")


async def test_two_exchanges_cannot_share_a_state_file(tmp_path):
    state = tmp_path / "state.db"
    async with serve("bybit", state=state):
        with pytest.raises(ServerError, match=r"state\.db is in use by another exchange"):
            serve("bybit", state=state)
    async with serve("bybit", state=state):
        pass


async def test_no_reply_tells_of_what_could_not_be_written_down(tmp_path):
    async with serve("bybit", state=tmp_path / "state.db") as server:
        Market(server).book()
        client = connect(server)
        try:
            await client.load_markets()
            server.account.log._database.execute("PRAGMA query_only=ON")
            with pytest.raises(ccxt.ExchangeNotAvailable):
                await client.create_order(SYMBOL, "limit", "buy", 0.5, 59_990, {"clientOrderId": "a"})
            server.account.log._database.execute("PRAGMA query_only=OFF")
            await client.create_order(SYMBOL, "limit", "buy", 0.5, 59_980, {"clientOrderId": "b"})
        finally:
            await client.close()
    database = sqlite3.connect(tmp_path / "state.db")
    rows = database.execute("SELECT client_id FROM event WHERE kind = 'accepted' ORDER BY seq").fetchall()
    database.close()
    assert rows == [("a",), ("b",)]


async def test_a_spoiled_state_file_is_refused_with_its_event(tmp_path):
    state = tmp_path / "state.db"
    async with serve("bybit", state=state):
        pass
    database = sqlite3.connect(state)
    database.execute("INSERT INTO event(ts_ns, kind, body) VALUES (1, 'canceled', '{}')")
    database.commit()
    database.close()
    with pytest.raises(ServerError, match=r"event 1 \(canceled\)"):
        serve("bybit", state=state)


async def test_every_trading_request_is_witnessed_before_it_is_carried_out(venue, tmp_path):
    seen = []

    def witness(endpoint: str, ids: list[str]) -> None:
        seen.append((endpoint, list(ids), len(list(server.account.open_orders()))))

    server = serve(venue, before_accept=witness)
    async with server:
        Market(server).book()
        client = connect(server)
        try:
            await client.load_markets()
            order = await client.create_order(SYMBOL, "limit", "buy", 0.5, 59_990, {"clientOrderId": "a"})
            await client.cancel_order(order["id"], SYMBOL)
            await client.fetch_balance()
        finally:
            await client.close()
    assert seen == [("create", ["a"], 0), ("cancel", ["a"], 1)]


async def test_the_hook_sees_requests_that_are_then_lost():
    seen = []
    async with serve("bybit", before_accept=lambda endpoint, ids: seen.append((endpoint, *ids))) as server:
        Market(server).book()
        rules = [{"on": "create", "fault": "lose_request"}]
        server.faults.replace(FaultScript.parse({"rules": rules}, "test"))
        client = connect(server, timeout=100)
        with pytest.raises(ccxt.RequestTimeout):
            await client.create_order(SYMBOL, "limit", "buy", 0.5, 59_990, {"clientOrderId": "a"})
        await client.close()
        await until(lambda: seen == [("create", "a")])


async def test_a_bad_script_ends_the_command_with_code_2(tmp_path):
    script = tmp_path / "faults.json"
    script.write_text('{"rules": [{"on": "create", "fault": "explode"}]}')
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mm_hybrid", "serve", "exchange", "--port", "0", "--faults", str(script)),
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await process.communicate()
    assert process.returncode == 2
    assert f"{script}: rules[0].fault: 'explode'" in stderr.decode()
