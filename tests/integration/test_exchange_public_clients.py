"""Who follows the public channels: an unmodified ccxt with checksums on, and readers that do not keep up."""

import asyncio
from collections.abc import AsyncIterator

import ccxt.pro
import pytest
import websockets
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from public_client import Socket, independent_checksum, wandering
from venue_client import SYMBOL, Market, connect, serve, until

from mm_hybrid.servers.exchange import ExchangeServer, streams
from mm_hybrid.servers.exchange.public_book import Depth, checksum


@pytest.fixture
async def bybit() -> AsyncIterator[ExchangeServer]:
    async with serve("bybit") as running:
        Market(running).book()
        yield running


# Unmodified ccxt


@pytest.fixture(params=["bybit", "bitget"])
async def client(request) -> AsyncIterator[tuple[ExchangeServer, ccxt.pro.Exchange]]:
    async with serve(request.param) as running:
        Market(running).book()
        connected = connect(running)
        await connected.load_markets()
        yield running, connected
        await connected.close()


async def test_ccxt_keeps_the_book_with_checksums_on(client):
    server, exchange = client
    market = Market(server)
    await exchange.watch_order_book(SYMBOL)
    for bids, asks in wandering(2, 30):
        market.book(bids, asks)
        book = await exchange.watch_order_book(SYMBOL)
        depth = 50 if exchange.id == "bybit" else None
        shown = server.account.market.book(depth)
        assert [list(level[:2]) for level in book["bids"]] == shown.bids.tolist()
        assert [list(level[:2]) for level in book["asks"]] == shown.asks.tolist()


async def test_ccxt_hears_trades_and_ticker(client):
    server, exchange = client
    market = Market(server)
    ticker = await exchange.watch_ticker(SYMBOL)
    assert (ticker["bid"], ticker["ask"]) == (59_999.9, 60_000.1)
    watching = asyncio.create_task(exchange.watch_trades(SYMBOL))
    await until(lambda: any("rade" in t for s in server._public.sessions for t in s.topics))
    if exchange.id == "bitget":
        await watching
        watching = asyncio.create_task(exchange.watch_trades(SYMBOL))
        await asyncio.sleep(0)
    moment = market.trade("buy", 60_000.1, 0.25, "t-1")
    trade = (await watching)[-1]
    assert (trade["id"], trade["price"], trade["amount"], trade["side"], trade["timestamp"]) == (
        "t-1",
        60_000.1,
        0.25,
        "buy",
        moment,
    )


# Readers


async def test_a_reader_that_falls_behind_is_closed(bybit):
    market = Market(bybit)
    async with Socket(bybit, "bybit") as socket:
        await socket.follow("trade")
        for step in range(10_001):
            market.trade("buy", 60_000.1, 0.001, str(step))
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await socket.hear_until_closed()
        assert closed.value.rcvd.code == 1008


async def test_a_reader_that_takes_not_even_the_close_is_cut(bybit, monkeypatch):
    monkeypatch.setattr(streams, "_OUTBOX_MESSAGES", 50)
    monkeypatch.setattr(streams, "_LAST_WORDS_S", 0.1)
    market = Market(bybit)
    async with Socket(bybit, "bybit") as stuck:
        await stuck.follow("trade")
        # What a send does once the buffers on the way are full.
        monkeypatch.setattr(web.WebSocketResponse, "send_str", lambda *_: asyncio.Event().wait())
        market.trade("buy", 60_000.1, 0.001)
        await stuck.hear()
        for step in range(60):
            market.trade("buy", 60_000.1, 0.001, str(step))
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await stuck.hear_until_closed()
    assert closed.value.rcvd is None
    await until(lambda: not list(bybit._public.sessions))


# Checksum

levels = st.lists(
    st.tuples(st.decimals(1, 99_999, places=2), st.decimals("0.001", 999, places=3)),
    max_size=40,
    unique_by=lambda level: level[0],
)


@given(bids=levels, asks=levels)
def test_the_checksum_is_that_of_an_independent_reckoning(bids, asks):
    down = [[str(price), str(qty)] for price, qty in sorted(bids, reverse=True)]
    up = [[str(price), str(qty)] for price, qty in sorted(asks)]
    ours = checksum(Depth(dict(map(tuple, down)), dict(map(tuple, up))))
    assert ours == independent_checksum(down, up)
    assert -(1 << 31) <= ours < 1 << 31


def test_the_checksum_reads_zeros_as_sent():
    assert checksum(Depth({"1.0": "2"}, {})) != checksum(Depth({"1": "2"}, {}))
