"""Pushes and sockets that go wrong: what an unmodified ccxt gets to see of what the ledger holds."""

import asyncio
from collections.abc import AsyncIterator
from typing import Self

import aiohttp
import ccxt
import ccxt.pro
import pytest
from venue_client import SYMBOL, Market, connect, follows, serve, until

from mm_hybrid.servers.exchange import ExchangeServer, FaultScript


@pytest.fixture(params=["bybit", "bitget"])
async def server(request) -> AsyncIterator[ExchangeServer]:
    async with serve(request.param) as running:
        Market(running).book()
        yield running


@pytest.fixture
async def bybit() -> AsyncIterator[ExchangeServer]:
    async with serve("bybit") as running:
        Market(running).book()
        yield running


@pytest.fixture
async def client(server) -> AsyncIterator[ccxt.pro.Exchange]:
    connected = connect(server)
    await connected.load_markets()
    yield connected
    await connected.close()


@pytest.fixture
async def trader(bybit) -> AsyncIterator[ccxt.pro.bybit]:
    connected = connect(bybit)
    await connected.load_markets()
    # The trade stream is signed in before anything goes wrong.
    first = await connected.create_order_ws(SYMBOL, "limit", "buy", 0.01, 58_000)
    await connected.cancel_order_ws(first["id"], SYMBOL)
    yield connected
    await connected.close()


def script(server: ExchangeServer, *rules: dict) -> None:
    server.faults.replace(FaultScript.parse({"seed": 1, "rules": list(rules)}, "test"))


def rule(on: str, fault: str, **more: object) -> dict:
    return {"on": on, "fault": fault, **more}


class Heard:
    """Everything the private stream says of executions, in the sequence heard."""

    def __init__(self, client: ccxt.pro.Exchange, server: ExchangeServer) -> None:
        self.prices: list[float] = []
        self.frames: list[str] = []
        channel = "execution" if client.id == "bybit" else "fill"
        handle = client.handle_message

        def spy(connection, message):
            topic = message.get("topic") or message.get("arg", {}).get("channel")
            if "data" in message and topic == channel:
                row = message["data"][0]
                self.prices.append(float(row.get("execPrice") or row.get("price")))
            if "data" in message:
                self.frames.append(topic)
            return handle(connection, message)

        client.handle_message = spy
        self.task = asyncio.create_task(self._watch(client))
        self._ready = follows(server, channel)

    async def _watch(self, client) -> None:
        while True:
            await client.watch_my_trades(SYMBOL)

    async def __aenter__(self) -> Self:
        await self._ready
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def fill(server: ExchangeServer, client, count: int) -> list[float]:
    """Fill orders one after the other; return their prices as the ledger has them."""
    market = Market(server)
    for step in range(count):
        await client.create_order(SYMBOL, "limit", "buy", 0.01, 59_990 - step)
    market.trade("sell", 59_000, 1.0)
    return [float(one.price) for one in server.account.ledger.executions]


async def test_a_dropped_push_is_never_heard_yet_the_fill_is_in_the_ledger(server, client):
    async with Heard(client, server) as heard:
        script(server, rule("push_execution", "drop", nth=[2]))
        booked = await fill(server, client, 3)
        await until(lambda: len(heard.prices) == 2)
        assert heard.prices == [booked[0], booked[2]]
        assert sorted(t["price"] for t in await client.fetch_my_trades(SYMBOL)) == sorted(booked)


async def test_a_duplicated_push_is_heard_twice(server, client):
    async with Heard(client, server) as heard:
        script(server, rule("push_execution", "duplicate", nth=[1]))
        booked = await fill(server, client, 2)
        await until(lambda: len(heard.prices) == 3)
        assert heard.prices == [booked[0], booked[0], booked[1]]


async def test_a_reordered_push_comes_after_the_next_one(server, client):
    async with Heard(client, server) as heard:
        script(server, rule("push_execution", "reorder", nth=[1]))
        booked = await fill(server, client, 2)
        await until(lambda: len(heard.prices) == 2)
        assert sorted(heard.prices) == sorted(booked)
        if server.config.venue == "bybit":
            assert server.faults.counts["push_execution/reorder"] == 1


async def test_two_executions_swapped_are_heard_the_wrong_way_round(server, client):
    async with Heard(client, server) as heard:
        script(
            server,
            rule("push_execution", "reorder", nth=[1]),
            rule("push_order", "drop"),
            rule("push_position", "drop"),
        )
        booked = await fill(server, client, 2)
        await until(lambda: len(heard.prices) == 2)
        assert heard.prices == booked[::-1]


async def test_a_delayed_push_comes_after_the_reply_and_after_later_pushes(server, client):
    async with Heard(client, server) as heard:
        script(server, rule("push_execution", "delay", delay_ms=[150, 200], nth=[1]))
        booked = await fill(server, client, 2)
        await until(lambda: len(heard.prices) == 2)
        assert heard.prices == booked[::-1]


async def test_a_killed_socket_is_a_network_error_and_nothing_is_replayed(server, client):
    async with Heard(client, server) as heard:
        # Orders are pushed to nobody here: the first frame is of the first fill.
        script(server, rule("private_ws", "kill", nth=[1]))
        booked = await fill(server, client, 1)
        with pytest.raises(ccxt.NetworkError):
            await heard.task
    async with Heard(client, server) as again:
        await asyncio.sleep(0.1)
        assert again.prices == []
    assert [t["price"] for t in await client.fetch_my_trades(SYMBOL)] == booked


async def test_sockets_can_be_killed_at_a_time(server, client):
    async with Heard(client, server) as heard:
        script(server, rule("private_ws", "kill", from_s=0.05))
        with pytest.raises(ccxt.NetworkError):
            await heard.task
    assert server.faults.report() == {"injected": 1, "by_kind": {"private_ws/kill": 1}}


async def test_a_silent_socket_stays_open_and_says_nothing_until_the_script_ends(server, client):
    async with Heard(client, server) as heard:
        script(server, rule("private_ws", "silence"))
        await fill(server, client, 1)
        await asyncio.sleep(0.1)
        assert heard.frames == []
        assert not heard.task.done()
        script(server)
        await fill(server, client, 1)
        await until(lambda: heard.prices)


async def test_a_request_over_the_trade_stream_without_reply_hangs_while_the_order_is_live(bybit, trader):
    script(bybit, rule("trade_ws", "no_reply", nth=[1]))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await trader.create_order_ws(SYMBOL, "limit", "buy", 0.01, 59_000, {"clientOrderId": "mm-1"})
    assert [order.client_id for order in bybit.account.open_orders()] == ["mm-1"]


@pytest.mark.parametrize(
    "spoiled", [rule("trade_ws", "kill", nth=[1]), rule("create", "accept_then_reset", nth=[1])]
)
async def test_a_trade_socket_dropped_after_the_request_leaves_a_live_order(bybit, trader, spoiled):
    script(bybit, spoiled)
    with pytest.raises(ccxt.NetworkError):
        async with asyncio.timeout(5):
            await trader.create_order_ws(SYMBOL, "limit", "buy", 0.01, 59_000, {"clientOrderId": "mm-1"})
    assert [order.client_id for order in bybit.account.open_orders()] == ["mm-1"]


@pytest.mark.parametrize(
    ("spoiled", "error", "is_live"),
    [
        (rule("create", "reject", code=110007), ccxt.InsufficientFunds, False),
        (rule("create", "rate_limit"), ccxt.RateLimitExceeded, False),
        (rule("create", "accept_then_code", code=10016, message="x"), ccxt.ExchangeError, True),
    ],
)
async def test_the_trade_stream_answers_by_the_same_menu(bybit, trader, spoiled, error, is_live):
    script(bybit, spoiled)
    with pytest.raises(error):
        await trader.create_order_ws(SYMBOL, "limit", "buy", 0.01, 59_000)
    assert len(list(bybit.account.open_orders())) == is_live


@pytest.mark.parametrize("fault", ["lose_request", "accept_then_html"])
async def test_what_rest_would_break_does_not_come_at_all_over_the_trade_stream(bybit, trader, fault):
    script(bybit, rule("create", fault))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await trader.create_order_ws(SYMBOL, "limit", "buy", 0.01, 59_000)
    assert len(list(bybit.account.open_orders())) == (fault == "accept_then_html")


@pytest.mark.parametrize("fault", ["delay_before", "accept_then_delay", "accept_late"])
async def test_late_answers_over_the_trade_stream(bybit, trader, fault):
    script(bybit, rule("create", fault, delay_ms=150))
    create = asyncio.create_task(trader.create_order_ws(SYMBOL, "limit", "buy", 0.01, 59_000))
    if fault == "accept_late":
        with pytest.raises(ccxt.ExchangeError):
            await create
    await asyncio.sleep(0.05)
    assert len(list(bybit.account.open_orders())) == (fault == "accept_then_delay")
    await until(lambda: list(bybit.account.open_orders()))
    if fault != "accept_late":
        assert (await create)["id"]


async def test_the_script_is_set_and_read_over_http(server):
    async with aiohttp.ClientSession() as http:
        url = f"{server.url}/_admin/faults"
        bad = {"rules": [rule("create", "explode")]}
        async with http.post(url, json=bad) as reply:
            assert reply.status == 400
            assert "rules[0].fault: 'explode'" in (await reply.json())["error"]
        async with http.post(url, json={"rules": [rule("time", "accept_then_html", nth=[1])]}) as reply:
            assert await reply.json() == {"injected": 0, "by_kind": {}}
        path = "/v5/market/time" if server.config.venue == "bybit" else "/api/v2/public/time"
        async with http.get(server.url + path) as reply:
            assert reply.status == 502
        async with http.get(url) as reply:
            assert await reply.json() == {"injected": 1, "by_kind": {"time/accept_then_html": 1}}
