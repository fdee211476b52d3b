"""The public market-data channels over real sockets: shapes, continuity, and equality with the server's book."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
import websockets
from public_client import PATHS, Book, Socket, wandering
from venue_client import ASKS, BIDS, Market, serve

from mm_hybrid.servers.exchange import ExchangeServer

VENUE = {"bybit": "bybit", "v2": "bitget", "v3": "bitget"}
BOOK_TOPIC = {
    "bybit": "linear/orderbook.50.BTCUSDT",
    "v2": "v2/USDT-FUTURES/books/BTCUSDT",
    "v3": "v3/usdt-futures/books/BTCUSDT",
}


@pytest.fixture(params=["bybit", "v2", "v3"])
def protocol(request) -> str:
    return request.param


@pytest.fixture
async def server(protocol) -> AsyncIterator[ExchangeServer]:
    async with serve(VENUE[protocol], book_push_ms=0) as running:
        Market(running).book()
        yield running


@pytest.fixture
async def bybit() -> AsyncIterator[ExchangeServer]:
    async with serve("bybit", book_push_ms=0) as running:
        Market(running).book()
        yield running


async def admin_book(server: ExchangeServer, topic: str) -> dict:
    async with aiohttp.ClientSession() as http, http.get(f"{server.url}/_admin/books") as reply:
        return (await reply.json())[topic]


async def test_a_client_that_applies_every_message_has_the_servers_book_at_each(server, protocol):
    market, book = Market(server), Book(protocol)
    async with Socket(server, protocol) as socket:
        await socket.follow("book")
        book.apply(await socket.hear())
        for bids, asks in wandering(1, 60):
            market.book(bids, asks)
            frame = await socket.hear()
            assert (frame.get("type") or frame["action"]) in ("delta", "update")
            book.apply(frame)
            depth = 50 if protocol == "bybit" else None
            shown = server.account.market.book(depth)
            for ours, theirs in zip(book.rows, (shown.bids, shown.asks), strict=True):
                assert [[float(price), float(qty)] for price, qty in ours] == theirs.tolist()
        published = await admin_book(server, BOOK_TOPIC[protocol])
        assert (published["bids"], published["asks"]) == book.rows
        assert published["seq"] == book.seq
        assert protocol != "bybit" or published["u"] == book.update_id


async def test_only_levels_that_changed_are_sent(server, protocol):
    market = Market(server)
    async with Socket(server, protocol) as socket:
        await socket.follow("book")
        await socket.hear()
        market.book([(59_999.9, 2.5), (59_998.0, 1.0)], ASKS)
        frame = await socket.hear()
        data = frame["data"] if protocol == "bybit" else frame["data"][0]
        bids, asks = (data["bids"], data["asks"]) if protocol == "v2" else (data["b"], data["a"])
        qty = ["2.500", "0", "1.000"] if protocol == "bybit" else ["2.5", "0", "1"]
        assert bids == [["59999.9", qty[0]], ["59999.0", qty[1]], ["59998.0", qty[2]]]
        assert asks == []


async def test_a_newcomer_begins_where_the_others_are(server, protocol):
    market, old, new = Market(server), Book(protocol), Book(protocol)
    async with Socket(server, protocol) as first, Socket(server, protocol) as second:
        await first.follow("book")
        old.apply(await first.hear())
        market.book([(59_990.0, 1.0)])
        old.apply(await first.hear())
        await second.follow("book")
        new.apply(await second.hear())
        assert (new.rows, new.seq, new.update_id) == (old.rows, old.seq, old.update_id)
        market.book([(59_980.0, 1.0)])
        raw = [await socket.raw() for socket in (first, second)]
        assert raw[0] == raw[1]
        for book in (old, new):
            book.apply(json.loads(raw[0]))
        assert new.rows == old.rows


async def test_a_lost_market_is_silence_and_then_a_snapshot(server, protocol):
    market, book = Market(server), Book(protocol)
    async with Socket(server, protocol) as socket:
        await socket.follow("book")
        book.apply(await socket.hear())
        before = book.seq
        market._send({"type": "disconnect"})
        market.trade("buy", 60_000.1, 1.0)
        assert await socket.hears_nothing()
        async with Socket(server, protocol) as late:
            await late.follow("book")
            assert await late.hears_nothing(0.05)
            market.book([(59_990.0, 1.0)])
            frame, for_late = await socket.hear(), await late.hear()
        assert frame == for_late
        assert (frame.get("type") or frame["action"]) == "snapshot"
        book.apply(frame)
        assert [float(price) for price, _ in book.rows[0]] == [59_990.0]
        assert book.seq > before


async def test_pushes_are_conflated_to_the_period(protocol):
    async with serve(VENUE[protocol], book_push_ms=60) as server:
        market, book = Market(server), Book(protocol)
        market.book()
        async with Socket(server, protocol) as socket:
            await socket.follow("book")
            book.apply(await socket.hear())
            for step in range(10):
                market.book([(59_990.0 - step, 1.0)])
            frames = [await socket.hear() for _ in range(2)]
            assert await socket.hears_nothing()
            for frame in frames:
                book.apply(frame)
            assert [float(price) for price, _ in book.rows[0]] == [59_981.0]


async def test_unsubscribed_is_silence(server, protocol):
    async with Socket(server, protocol) as socket:
        await socket.follow("book")
        await socket.hear()
        await socket.follow("book", op="unsubscribe")
        Market(server).book([(59_990.0, 1.0)])
        assert await socket.hears_nothing()
        await socket.follow("book")
        frame = await socket.hear()
        assert (frame.get("type") or frame["action"]) == "snapshot"


async def test_trades_come_as_printed(server, protocol):
    market = Market(server)
    market.trade("sell", 59_999.9, 0.5, "old")
    async with Socket(server, protocol) as socket:
        await socket.follow("trade")
        if protocol != "bybit":
            past = await socket.hear()
            assert past["action"] == "snapshot"
            assert [row.get("tradeId") or row["i"] for row in past["data"]] == ["old"]
        moment = market.trade("buy", 60_000.1, 0.25, "new")
        frame = await socket.hear()
    (row,) = frame["data"]
    if protocol == "bybit":
        assert frame["type"] == "snapshot"
        assert row == {
            "T": moment,
            "s": "BTCUSDT",
            "S": "Buy",
            "v": "0.250",
            "p": "60000.1",
            "L": "PlusTick",
            "i": "new",
            "BT": False,
        }
    elif protocol == "v2":
        stamp = {"ts": str(moment), "price": "60000.1", "size": "0.25", "side": "buy", "tradeId": "new"}
        assert (frame["action"], row) == ("update", stamp)
    else:
        stamp = {"i": "new", "p": "60000.1", "v": "0.25", "S": "buy", "T": str(moment)}
        assert (frame["action"], row) == ("update", stamp)


async def test_keys_stand_as_the_venue_writes_them_without_spaces(server, protocol):
    async with Socket(server, protocol) as socket:
        await socket.follow("book")
        line = await socket.raw()
    assert " " not in line
    frame = json.loads(line)
    data = frame["data"] if protocol == "bybit" else frame["data"][0]
    assert (list(frame), list(data)) == {
        "bybit": (["topic", "type", "ts", "data", "cts"], ["s", "b", "a", "u", "seq"]),
        "v2": (["action", "arg", "data", "ts"], ["asks", "bids", "checksum", "seq", "ts"]),
        "v3": (["action", "arg", "data", "ts"], ["a", "b", "checksum", "seq", "pseq", "ts"]),
    }[protocol]


# Requests


async def test_bybit_acknowledges_and_refuses_as_recorded(bybit, data_dir):
    async with Socket(bybit, "bybit") as socket:
        samples = data_dir / "fixtures" / "bybit"
        await socket.ask({"op": "subscribe", "args": ["publicTrade.BTCUSDT"], "req_id": "sub-1"})
        await socket.ask({"op": "subscribe", "args": ["invalid.topic.BTCUSDT"]})
        for name in ("ack", "failure"):
            recorded = json.loads((samples / f"ws_subscription_{name}.json").read_text())
            ours = await socket.hear()
            assert list(ours) == list(recorded)
            assert (ours["success"], ours["ret_msg"]) == (recorded["success"], recorded["ret_msg"])


async def test_bybit_answers_pings_and_bounds_requests(bybit):
    async with Socket(bybit, "bybit") as socket:
        await socket.ask({"op": "ping", "req_id": "9"})
        pong = await socket.hear()
        assert (pong["ret_msg"], pong["op"], pong["req_id"]) == ("pong", "ping", "9")
        await socket.ask({"op": "subscribe", "args": ["publicTrade.BTCUSDT"] * 11})
        assert (await socket.hear())["ret_msg"] == "args size >10"
        for expected in ("", "error:already subscribed,topic:publicTrade.BTCUSDT"):
            await socket.ask({"op": "subscribe", "args": ["publicTrade.BTCUSDT"]})
            assert (await socket.hear())["ret_msg"] == expected


@pytest.mark.parametrize("version", ["v2", "v3"])
async def test_bitget_answers_pings_in_text_and_names_what_is_unknown(version):
    async with serve("bitget") as server, Socket(server, version) as socket:
        await socket.ask("ping")
        assert await socket.raw() == "pong"
        await socket.ask({"op": "subscribe", "args": [socket.arg("candleundefined")]})
        error = await socket.hear()
        assert list(error) == ["event", "code", "msg"]
        assert (error["event"], error["code"]) == ("error", 30001)
        assert "candleundefined" in error["msg"]
        assert "doesn't exist" in error["msg"]
        arg = socket.arg("book")
        for op in ("subscribe", "unsubscribe"):
            await socket.ask({"op": op, "args": [arg]})
            assert await socket.hear() == {"event": op, "arg": arg}


@pytest.mark.parametrize(
    ("protocol", "channel", "sample"),
    [
        ("bybit", "book", "bybit/ws_orderbook_snapshot"),
        ("bybit", "trade", "bybit/ws_public_trade"),
        ("bybit", "tickers", "bybit/ws_ticker_linear"),
        ("v2", "book", "bitget/ws_futures_books_snapshot"),
        ("v2", "books1", "bitget/ws_futures_books1"),
        ("v2", "books15", "bitget/ws_futures_books15"),
        ("v2", "trade", "bitget/ws_spot_trade_snapshot"),
        ("v2", "ticker", "bitget/ws_futures_ticker"),
    ],
)
async def test_fields_are_those_recorded(server, protocol, channel, sample, data_dir):
    recorded = json.loads((data_dir / "fixtures" / f"{sample}.json").read_text())
    market = Market(server)
    market.trade("sell", 59_999.9, 0.5, "old")
    async with Socket(server, protocol) as socket:
        await socket.follow(channel)
        if (protocol, channel) == ("bybit", "trade"):
            market.trade("buy", 60_000.1, 0.5, "new")
        ours = await socket.hear()
    # The venues have added these since the samples were recorded.
    added = {"cts", "L", "seq"}
    assert set(ours) - added <= set(recorded)
    data, theirs = (one["data"] for one in (ours, recorded))
    if isinstance(data, list):
        data, theirs = data[0], theirs[0]
    assert set(data) - added <= set(theirs)
    assert all(type(data[key]) is type(theirs[key]) for key in data if key not in added)


# Depths


@pytest.mark.parametrize(("topic", "depth"), [("orderbook.50", 50), ("orderbook.200", 200)])
async def test_bybit_keeps_a_window_of_levels(bybit, topic, depth):
    market, book = Market(bybit), Book("bybit")
    ladder = [(59_999.0 - i, 1.0) for i in range(depth + 1)]
    async with Socket(bybit, "bybit") as socket:
        market.book(ladder)
        await socket.follow(topic)
        book.apply(await socket.hear())
        assert len(book.rows[0]) == depth
        market.book([(59_999.5, 1.0), *ladder])
        frame = await socket.hear()
        assert frame["data"]["b"] == [["59999.5", "1.000"], [f"{59_999.0 - depth + 1:.1f}", "0"]]
        market.book(ladder)
        frame = await socket.hear()
        assert frame["data"]["b"] == [["59999.5", "0"], [f"{59_999.0 - depth + 1:.1f}", "1.000"]]


async def test_bybits_touch_is_a_snapshot_each_time_and_again_after_three_seconds(bybit):
    async with Socket(bybit, "bybit") as socket:
        await socket.follow("orderbook.1")
        first = await socket.hear()
        Market(bybit).book([(59_990.0, 1.0)])
        second = await socket.hear()
        begin = asyncio.get_running_loop().time()
        third = await socket.hear()
        assert asyncio.get_running_loop().time() - begin > 2.5
    assert [one["type"] for one in (first, second, third)] == ["snapshot"] * 3
    assert second["data"]["u"] == first["data"]["u"] + 1
    assert third == second


async def test_bybits_seq_rises_over_topics(bybit):
    market = Market(bybit)
    async with Socket(bybit, "bybit") as socket:
        for topic in ("orderbook.1", "orderbook.50", "orderbook.200"):
            await socket.follow(topic)
            await socket.hear()
        seqs = []
        for step in range(5):
            market.book([(59_990.0 - step, 1.0)])
            seqs += [(await socket.hear())["data"]["seq"] for _ in range(3)]
    assert seqs == sorted(seqs)
    assert len(set(seqs)) == 5


async def test_bybits_ticker_sends_what_changed_and_liquidations_name_the_position(bybit):
    market = Market(bybit)
    async with Socket(bybit, "bybit") as socket:
        await socket.follow("tickers")
        whole = await socket.hear()
        assert (whole["type"], whole["data"]["bid1Price"]) == ("snapshot", "59999.9")
        market.book([(59_999.9, 7.0), *BIDS[1:]])
        part = await socket.hear()
        assert (part["type"], part["data"]) == ("delta", {"symbol": "BTCUSDT", "bid1Size": "7"})
        await socket.follow("allLiquidation")
        market._send({"type": "liquidation", "id": "x", "price": 59_990.0, "amount": 0.5, "side": "sell"})
        (row,) = (await socket.hear())["data"]
        assert row == {"T": market.now_ms, "s": "BTCUSDT", "S": "Buy", "v": "0.500", "p": "59990.0"}


async def test_bybits_spot_has_a_path_of_its_own_without_liquidations():
    async with serve("bybit", spot=True) as server:
        Market(server).book()
        async with Socket(server, "bybit", "/v5/public/spot") as socket:
            for channel in ("book", "tickers"):
                await socket.follow(channel)
                assert (await socket.hear())["type"] == "snapshot"
            await socket.ask({"op": "subscribe", "args": ["allLiquidation.BTCUSDT"]})
            assert not (await socket.hear())["success"]


@pytest.mark.parametrize(("version", "inst_type"), [("v2", "SPOT"), ("v3", "spot")])
async def test_bitgets_spot_has_arguments_of_its_own(version, inst_type, data_dir):
    async with serve("bitget", spot=True) as server, Socket(server, version) as socket:
        Market(server).book()
        for channel in ("book", "ticker"):
            arg = socket.arg(channel) | {"instType": inst_type}
            await socket.ask({"op": "subscribe", "args": [arg]})
            assert await socket.hear() == {"event": "subscribe", "arg": arg}
            frame = await socket.hear()
            assert (frame["action"], frame["arg"]) == ("snapshot", arg)
    if version == "v2":
        recorded = json.loads((data_dir / "fixtures" / "bitget" / "ws_spot_ticker.json").read_text())
        assert set(frame["data"][0]) <= set(recorded["data"][0])


async def test_tickers_tell_what_the_derivative_ticker_says(server, protocol):
    market, due = Market(server), "2030-01-01T08:00:00.000Z"
    values = {"fundingRate": 0.0001, "fundingTimestamp": due, "indexPrice": 60_010.5, "markPrice": 60_005.5}
    market._send({"type": "derivative_ticker", "openInterest": 1234.5, **values})
    market.trade("buy", 60_000.1, 0.5)
    market.trade("sell", 59_400.1, 0.5)
    async with Socket(server, protocol) as socket:
        await socket.follow("tickers" if protocol == "bybit" else "ticker")
        frame = await socket.hear()
    row = frame["data"] if protocol == "bybit" else frame["data"][0]
    interest = "holdingAmount" if protocol == "v2" else "openInterest"
    assert (row["fundingRate"], row["nextFundingTime"]) == ("0.0001", "1893484800000")
    assert (row["indexPrice"], row["markPrice"], row[interest]) == ("60010.5", "60005.5", "1234.5")
    if protocol == "v2":
        day = (row["open24h"], row["high24h"], row["low24h"], row["change24h"], row["baseVolume"])
        assert day == ("60000.1", "60000.1", "59400.1", "-0.01", "1")
    else:
        assert (row["highPrice24h"], row["lowPrice24h"], row["volume24h"]) == ("60000.1", "59400.1", "1")
        assert float(row["price24hPcnt"]) == pytest.approx(-0.01, abs=1e-5)


async def test_many_followers_hear_the_same(server, protocol):
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(Socket(server, protocol)) for _ in range(30)]
        for socket in sockets:
            await socket.follow("book")
            await socket.hear()
        for step in range(5):
            Market(server).book([(59_990.0 - step, 1.0)])
        heard = [[await socket.raw() for _ in range(5)] for socket in sockets]
    assert all(lines == heard[0] for lines in heard)
    assert len(set(heard[0])) == 5


async def test_public_paths_of_the_other_venue_do_not_exist(bybit):
    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(bybit.url.replace("http", "ws") + PATHS["v2"])
