"""An exchange's own stream, with a server that plays the exchange: every test says what comes over the socket."""

import asyncio
import json
import zlib
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import serve

from mm_hybrid import _core
from mm_hybrid.feed import LiveFeed, RecordTo

BITGET_ARG = {"instType": "usdt-futures", "topic": "books", "symbol": "BTCUSDT"}


class Exchange:
    """The server's end of one connection, driven by the test."""

    def __init__(self, ws) -> None:
        self.path = ws.request.path
        self._ws = ws

    async def asked(self) -> dict:
        return json.loads(await asyncio.wait_for(self._ws.recv(), 10))

    async def send(self, message) -> None:
        await self._ws.send(message if isinstance(message, str) else json.dumps(message))

    async def bybit_book(self, u, *, kind="delta", bids=(), asks=(), depth=200) -> None:
        data = {"s": "BTCUSDT", "b": bids, "a": asks, "u": u, "seq": 3 * u}
        message = {
            "topic": f"orderbook.{depth}.BTCUSDT",
            "type": kind,
            "ts": 1_700_000_000_000 + u,
            "data": data,
        }
        await self.send(json.dumps(message, separators=(",", ":")))

    async def bitget_book(self, seq, pseq, *, action="update", bids=(), asks=(), checksum=0) -> None:
        data = {"a": asks, "b": bids, "checksum": checksum, "seq": seq, "pseq": pseq, "ts": "1700000000000"}
        await self.send({"action": action, "arg": BITGET_ARG, "data": [data], "ts": 1_700_000_000_001})

    async def closed(self) -> None:
        await asyncio.wait_for(self._ws.wait_closed(), 10)


@asynccontextmanager
async def native(source, exchange, **options):
    """A feed of a played exchange; yields the feed and a function that waits for the next connection."""
    connections: asyncio.Queue = asyncio.Queue()

    async def handle(ws):
        await connections.put(Exchange(ws))
        await ws.wait_closed()

    async with serve(handle, "127.0.0.1", 0, ping_interval=None) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings = {
            "symbols": ["BTCUSDT"],
            "reconnect_min_ms": 10,
            "reconnect_max_ms": 50,
            "queue_events": 1000,
        }
        async with LiveFeed(url, source=source, exchange=exchange, **{**settings, **options}) as feed:
            yield feed, lambda: asyncio.wait_for(connections.get(), 10)


async def until(feed, condition):
    async with asyncio.timeout(10):
        while not condition():
            await feed.wait_news(0.05)


async def live_bybit(feed, connected):
    exchange = await connected()
    await exchange.asked()
    await exchange.bybit_book(
        7, kind="snapshot", bids=[["100.0", "1"], ["99.0", "2"]], asks=[["101.0", "1"], ["102.0", "1"]]
    )
    await until(feed, lambda: feed.snapshot("BTCUSDT").state == "LIVE")
    return exchange


async def test_bybit_is_asked_on_the_path_of_the_product_and_its_book_becomes_live():
    async with native("bybit", "bybit") as (feed, connected):
        exchange = await connected()
        assert exchange.path == "/v5/public/linear"
        assert await exchange.asked() == {
            "op": "subscribe",
            "args": ["orderbook.200.BTCUSDT", "publicTrade.BTCUSDT"],
        }
        await exchange.send({"success": True, "ret_msg": "", "conn_id": "c", "req_id": "", "op": "subscribe"})
        await exchange.bybit_book(7, kind="snapshot", bids=[["100.00", "1.000"]], asks=[["101.00", "2"]])
        await exchange.bybit_book(8, bids=[["100.50", "3"]])
        await until(feed, lambda: feed.snapshot().best_bid == 100.5)
        book = feed.snapshot()
        assert (book.state, book.exchange_ts_ns) == ("LIVE", 1_700_000_000_008_000_000)
        assert abs(book.timestamp - book.exchange_ts_ns) > 10**9, "local time is that of the arrival"


async def test_a_missing_message_costs_that_symbols_book_which_is_asked_for_again_on_the_same_connection():
    async with native("bybit", "bybit", symbols=["BTCUSDT", "ETHUSDT"]) as (feed, connected):
        exchange = await live_bybit(feed, connected)
        eth = {"s": "ETHUSDT", "b": [["10", "1"]], "a": [["11", "1"]], "u": 5, "seq": 1}
        await exchange.send({"topic": "orderbook.200.ETHUSDT", "type": "snapshot", "ts": 1, "data": eth})
        await until(feed, lambda: feed.snapshot("ETHUSDT").state == "LIVE")
        await exchange.bybit_book(9, bids=[["100.0", "5"]])
        await until(feed, lambda: feed.snapshot("BTCUSDT").state == "UNSYNCED")
        assert "one is missing, was repeated" in feed.snapshot("BTCUSDT").reason
        assert feed.snapshot("ETHUSDT").state == "LIVE"
        topic = ["orderbook.200.BTCUSDT"]
        assert [await exchange.asked() for _ in range(2)] == [
            {"op": "unsubscribe", "args": topic},
            {"op": "subscribe", "args": topic},
        ]
        await exchange.bybit_book(10, bids=[["98.0", "5"]])
        await exchange.bybit_book(20, kind="snapshot", bids=[["90.0", "1"]], asks=[["91.0", "1"]])
        await until(feed, lambda: feed.snapshot("BTCUSDT").state == "LIVE")
        assert feed.snapshot("BTCUSDT").bids.tolist() == [[90, 1]]
        stats = feed.stats()
        assert (stats["gaps"], stats["connects"]) == (1, 1)
        kinds = [kind for _, _, symbol, kind, _ in feed.drain().encode() if symbol in {"BTCUSDT", ""}]
        assert kinds == ["book_change", "disconnect", "book_change"]


async def test_a_change_that_crosses_the_book_costs_the_book():
    async with native("bybit", "bybit") as (feed, connected):
        exchange = await live_bybit(feed, connected)
        await exchange.bybit_book(8, bids=[["101.5", "5"]])
        await until(feed, lambda: feed.snapshot().state == "UNSYNCED")
        assert "crossed" in feed.snapshot().reason
        assert (await exchange.asked())["op"] == "unsubscribe"
        await exchange.bybit_book(9, bids=[["99.5", "5"]])
        await exchange.bybit_book(30, kind="snapshot", bids=[["100.0", "1"]], asks=[["101.0", "1"]])
        await exchange.bybit_book(31, bids=[["100.5", "1"]])
        await until(feed, lambda: feed.snapshot().best_bid == 100.5)
        assert feed.stats()["crosses"] == 1
        assert feed.snapshot().state == "LIVE"


async def test_a_level_1_book_that_is_pushed_again_unchanged_is_no_gap():
    async with native("bybit", "bybit", book_depth=1) as (feed, connected):
        exchange = await connected()
        for _ in range(3):
            await exchange.bybit_book(7, kind="snapshot", bids=[["100", "1"]], asks=[["101", "1"]], depth=1)
        await until(feed, lambda: feed.stats()["book_changes"] == 3)
        assert (feed.snapshot().state, feed.stats()["gaps"]) == ("LIVE", 0)


@pytest.mark.parametrize(("source", "path"), [("bitget", "/v3/ws/public"), ("bitget-v2", "/v2/ws/public")])
async def test_bitget_is_asked_in_the_words_of_its_version(source, path):
    async with native(source, "bitget-futures") as (_, connected):
        exchange = await connected()
        assert exchange.path == path
        v2 = {"instType": "USDT-FUTURES", "channel": "books", "instId": "BTCUSDT"}
        assert (await exchange.asked())["args"][0] == (BITGET_ARG if source == "bitget" else v2)


async def test_a_wrong_checksum_costs_the_book_and_a_right_one_over_the_exact_texts_does_not():
    async with native("bitget", "bitget-futures") as (feed, connected):
        exchange = await connected()
        await exchange.asked()
        bids, asks = [["0.5420", "468"]], [["0.5426", "51.0"]]
        await exchange.bitget_book(5, 0, action="snapshot", bids=bids, asks=asks)
        crc = zlib.crc32(b"0.5420:468:0.5426:51.0:0.5419:7")
        await exchange.bitget_book(6, 5, bids=[["0.5419", "7"]], checksum=crc - (crc >> 31 << 32))
        await until(feed, lambda: feed.stats()["book_changes"] == 2)
        assert feed.snapshot().state == "LIVE"
        await exchange.bitget_book(7, 6, bids=[["0.5418", "7"]], checksum=12345)
        await until(feed, lambda: feed.snapshot().state == "UNSYNCED")
        assert "checksum is 12345" in feed.snapshot().reason
        assert feed.stats()["bad_checksums"] == 1


async def test_a_refused_topic_is_said_in_the_exchanges_words_and_tried_again():
    async with native("bybit", "bybit") as (feed, connected):
        exchange = await connected()
        refusal = "error:handler not found,topic:orderbook.200.BTCUSDT"
        await exchange.send({"success": False, "ret_msg": refusal, "conn_id": "c", "op": "subscribe"})
        await until(feed, lambda: feed.stats()["refusals"] >= 1)
        assert refusal in feed.stats()["last_error"]
        await exchange.closed()
        await connected()


async def test_what_is_recorded_of_an_exchange_is_read_back_as_if_a_tardis_machine_had_sent_it(tmp_path):
    async with native("bybit", "bybit", record=RecordTo(tmp_path / "tape")) as (feed, connected):
        exchange = await live_bybit(feed, connected)
        await exchange.bybit_book(8, bids=[["100.0", "0"]])
        await exchange.bybit_book(10)
        await until(feed, lambda: feed.snapshot().state == "UNSYNCED")
        await exchange.bybit_book(40, kind="snapshot", bids=[["50", "1"]], asks=[["51", "1"]])
        await until(feed, lambda: feed.snapshot().state == "LIVE")
    _, _, books = _core.rebuild_books([str(tmp_path / "tape")])
    book = books.snapshot("bybit", "BTCUSDT", 10)
    # The recording ends with the loss of the connection, before that with the book of the last snapshot.
    assert book.book_changes == 3
    assert book.state == "UNSYNCED"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"source": "kraken"}, "source: 'kraken'|source"),
        ({"source": "bybit", "exchange": "bitget"}, "exchange"),
        ({"source": "bitget", "exchange": "bitget-futures", "data_types": ["liquidation"]}, "data_types"),
        ({"source": "bybit", "book_depth": 25}, "book_depth"),
    ],
)
def test_a_feed_that_cannot_be_had_is_refused_by_name(options, named):
    with pytest.raises(ValueError, match=named):
        LiveFeed("ws://127.0.0.1:1", **{"exchange": "bybit", "symbols": ["BTCUSDT"], **options})


RECORDED = {
    "bybit/ws_orderbook_snapshot.json": ("bybit", "bybit", "BTCUSDT", "book_change"),
    "bybit/ws_ticker_linear.json": ("bybit", "bybit", "BTCUSDT", "derivative_ticker"),
    "bitget/ws_futures_books_snapshot.json": ("bitget-v2", "bitget-futures", "BELUSDT", "book_change"),
    "bitget/ws_spot_books_snapshot.json": ("bitget-v2", "bitget", None, "book_change"),
    "bitget/ws_futures_ticker.json": ("bitget-v2", "bitget-futures", "STORJUSDT", "derivative_ticker"),
    "bitget/ws_futures_trade_update.json": ("bitget-v2", "bitget-futures", "DOGEUSD", "trade"),
    "bitget/ws_spot_trade_update.json": ("bitget-v2", "bitget", None, "trade"),
    "bitget/ws_spot_trade_snapshot.json": ("bitget-v2", "bitget", None, None),
    "bitget/ws_futures_subscribe_ack.json": ("bitget-v2", "bitget-futures", "LTCUSDT", None),
    "bybit/ws_subscription_ack.json": ("bybit", "bybit", "BTCUSDT", None),
}


@pytest.mark.parametrize("name", RECORDED)
async def test_messages_recorded_at_the_exchanges_become_the_events_a_tardis_machine_would_send(
    data_dir, name
):
    source, venue, symbol, kind = RECORDED[name]
    message = json.loads((data_dir / "fixtures" / name).read_text())
    symbol = symbol or message["arg"]["instId"]
    data_types = ["book_change", "trade"] + (["derivative_ticker"] if kind == "derivative_ticker" else [])
    depth = 1 if "orderbook.1." in json.dumps(message) else 200
    settings = {"symbols": [symbol], "data_types": data_types, "book_depth": depth}
    async with native(source, venue, **settings) as (feed, connected):
        exchange = await connected()
        await exchange.send(message)
        await until(feed, lambda: feed.stats()["messages"] == 1)
        assert feed.stats()["decode_errors"] == 0, feed.stats()["last_error"]
        events = feed.drain().encode()
        assert [(exchange, name, what) for _, exchange, name, what, _ in events] == (
            [(venue, symbol, kind)] if kind else []
        )
