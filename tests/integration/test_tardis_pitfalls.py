"""The eighteen ways in which a Tardis feed misleads its client, one test each, against what this package does."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from tardis_client import BOTH, drain, tardis_server, url
from websockets.asyncio.client import connect

from mm_hybrid._core import DecodeError, EventBatch, EventReader, Feed, rebuild_books
from mm_hybrid.feed import LiveFeed

LOCAL = "2024-01-01T00:00:00.000001Z"
REPLAY = "/ws-replay-normalized"
RANGE = {"from": "2024-01-01", "to": "2024-01-02"}


@asynccontextmanager
async def feed_of(double, **options):
    settings = {"exchange": "bybit", "symbols": ["BTCUSDT"], "reconnect_min_ms": 10, "reconnect_max_ms": 100}
    async with LiveFeed(double.url, **{**settings, **options}) as feed:
        yield feed


async def until(feed, condition, timeout_s=10.0):
    async with asyncio.timeout(timeout_s):
        while not condition():
            await feed.wait_news(0.05)


def message(kind, **fields):
    common = {"type": kind, "symbol": "BTCUSDT", "exchange": "bybit", "localTimestamp": LOCAL}
    return json.dumps({**common, **fields}).encode()


def at(microseconds):
    return f"2024-01-01T00:00:{microseconds // 10**6:02}.{microseconds % 10**6:06}Z"


def change(microseconds, *, snapshot=False, bids=(), asks=(), exchange_us=None):
    def levels(side):
        return [{"price": price, "amount": amount} for price, amount in side]

    return message(
        "book_change",
        isSnapshot=snapshot,
        bids=levels(bids),
        asks=levels(asks),
        timestamp=at(microseconds if exchange_us is None else exchange_us),
        localTimestamp=at(microseconds),
    )


def file_of(tmp_path, lines, name="market.ndjson"):
    path = tmp_path / name
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def test_pitfall_01_a_quote_comes_back_as_a_book_snapshot_named_quote():
    quote = message(
        "book_snapshot", name="quote", depth=1, interval=0, bids=[{"price": 1, "amount": 2}], asks=[{}]
    )
    (sample,) = EventBatch.decode([quote]).book_samples()
    assert (sample.name, sample.depth, sample.bids.tolist()) == ("quote", 1, [[1, 2]])


def test_pitfall_02_missing_levels_fields_and_symbols_are_no_error_and_a_missing_type_is():
    bare = json.dumps({"type": "disconnect", "exchange": "bybit", "localTimestamp": LOCAL}).encode()
    batch = EventBatch.decode(
        [
            message("book_snapshot", name="quote", depth=1, bids=[{}], asks=[{}]),
            message("book_ticker"),
            message("derivative_ticker"),
            message("trade", price=1, amount=2),
            bare,
        ]
    )
    assert len(batch) == 5
    with pytest.raises(DecodeError, match="HttpError"):
        EventBatch.decode([b'{"message":"HttpError: status code: 401"}'])


async def test_pitfall_03_a_regular_close_without_a_message_is_an_error_that_names_the_likely_cause(double):
    async with feed_of(double, symbols=["BTCUSTD"], end_on_finish=True) as feed:
        await (await double.accept()).close(1000, "WS stream-normalized finished")
        await until(feed, lambda: feed.stats()["refusals"] == 1)
        assert "check exchange and symbols" in feed.stats()["last_error"]
        assert not feed.stats()["finished"]


async def test_pitfall_04_a_reader_that_stands_still_does_not_stop_the_socket_from_being_read(double):
    async with feed_of(double, queue_events=10) as feed:
        connection = await double.accept()
        await connection.snapshot()
        for quantity in range(1, 3001):
            await connection.book(snapshot=False, bids=[(99, quantity)])
        async with asyncio.timeout(10):
            while feed.stats()["book_changes"] < 3001:  # noqa: ASYNC110 (nobody drains, nobody waits for news)
                await asyncio.sleep(0.01)
        assert await asyncio.wait_for(connection.ping(), 5), (
            "a client that stops reading misses the ping check"
        )
        assert feed.stats()["dropped_events"] == 3001 - 10


def test_pitfall_05_latency_may_be_negative_and_is_neither_clamped_nor_refused(tmp_path):
    path = file_of(tmp_path, [message("trade", price=1, amount=2, timestamp="2024-01-01T00:00:01.270Z")])
    (trade,) = EventReader([str(path)]).read().trades()
    assert trade.local_ts_ns - trade.exchange_ts_ns == -1_269_999_000


def test_pitfall_06_an_unsorted_snapshot_has_its_best_level_first_all_the_same(tmp_path):
    bids, asks = [(98, 1), (100, 1), (99, 1)], [(103, 1), (101, 1), (102, 1)]
    path = file_of(tmp_path, [change(1, snapshot=True, bids=bids, asks=asks)])
    _, _, books = rebuild_books([str(path)])
    book = books.snapshot("bybit", "BTCUSDT")
    assert (book.best_bid, book.best_ask) == (100, 101)


async def test_pitfall_07_disconnect_messages_are_always_asked_for_and_clear_the_books(double):
    async with feed_of(double) as feed:
        connection = await double.accept()
        assert connection.options["withDisconnectMessages"] is True
        await connection.snapshot()
        await until(feed, lambda: feed.snapshot().state == "LIVE")
        await connection.disconnect()
        await until(feed, lambda: feed.snapshot().state == "UNSYNCED")


async def test_pitfall_08_what_one_exchange_connection_loses_does_not_unsync_what_another_carries(double):
    types = ["book_change", "derivative_ticker"]
    async with feed_of(double, symbols=["XRPUSDT", "BTCUSD"], data_types=types, resync_after_ms=300) as feed:
        pair = [await double.accept(), await double.accept()]
        books, tickers = sorted(pair, key=lambda connection: connection.options[0]["dataTypes"])
        assert [option["symbols"] for option in books.options] == [["XRPUSDT"], ["BTCUSD"]]
        for symbol in ("XRPUSDT", "BTCUSD"):
            await books.snapshot(symbol=symbol)
        await until(feed, lambda: feed.snapshot("BTCUSD").state == "LIVE")
        await tickers.disconnect(option=0)
        await books.disconnect(option=1)
        await until(feed, lambda: feed.snapshot("BTCUSD").state == "UNSYNCED")
        assert feed.snapshot("XRPUSDT").state == "LIVE"
        again = await double.accept()  # no snapshot came: after the timeout the feed forces one
        assert again.options == books.options


async def test_pitfall_09_equal_local_times_and_disconnects_in_a_row_are_taken_as_they_come(double):
    async with feed_of(double) as feed:
        connection = await double.accept()
        same = double.book(snapshot=True, bids=[(1, 1)], asks=[(2, 1)])
        await connection.send(same)
        gone = {"type": "disconnect", "exchange": "bybit", "localTimestamp": same["localTimestamp"]}
        for _ in range(3):
            await connection.send(gone)
        await connection.send({**same, "bids": [{"price": 1.5, "amount": 1}]})
        await until(feed, lambda: feed.stats()["book_changes"] == 2)
        assert (feed.snapshot().state, feed.snapshot().best_bid) == ("LIVE", 1.5)


async def test_pitfall_10_a_trade_outside_the_spread_changes_no_state(double):
    async with feed_of(double) as feed:
        connection = await double.accept()
        await connection.snapshot(bid=100, ask=101)
        await connection.trade(90)
        await until(feed, lambda: feed.stats()["trades"] == 1)
        assert feed.snapshot().state == "LIVE"
        assert feed.snapshot().crossed_levels_pruned == 0


def test_pitfall_11_trades_sent_again_on_subscribe_show_their_age():
    resent = message("trade", id="7", price=1, amount=2, timestamp="2023-12-31T23:59:18.000Z")
    (trade,) = EventBatch.decode([resent]).trades()
    assert (trade.local_ts_ns - trade.exchange_ts_ns) // 10**9 == 42
    assert trade.id == "7"


def test_pitfall_12_csv_columns_are_read_by_name_whatever_their_order(tmp_path):
    header = b"exchange,symbol,timestamp,local_timestamp"
    row = b"bybit,BTCUSDT,1,2"
    ticker = file_of(
        tmp_path,
        [header + b",ask_amount,ask_price,bid_price,bid_amount", row + b",7,101,100,3"],
        "bybit_book_ticker_2024-01-01_BTCUSDT.csv",
    )
    (seen,) = EventReader([str(ticker)]).read().book_tickers()
    assert (seen.ask_price, seen.ask_qty, seen.bid_price, seen.bid_qty) == (101, 7, 100, 3)


async def test_pitfall_13_symbols_of_any_letter_case_mean_the_same(tmp_path):
    path = file_of(tmp_path, [change(1, snapshot=True, bids=[(1, 1)], asks=[(2, 1)])])
    options = {**BOTH, **RANGE, "symbols": ["btcUSDt"]}
    async with tardis_server(data=(path,)) as server, connect(url(server, options, REPLAY)) as client:
        frames, _, _ = await drain(client)
    assert len(frames) == 1
    assert (
        Feed("ws://127.0.0.1:1", exchange="bybit", symbols=["btcusdt"]).snapshot("BTCUSDT").state
        == "UNSYNCED"
    )


def test_pitfall_14_free_days_need_no_key_and_others_are_named_before_anything_is_asked(
    tmp_path, monkeypatch
):
    from mm_hybrid.cli import fetch
    from mm_hybrid.errors import ConfigError

    days = [fetch.date(2024, 1, 1), fetch.date(2024, 2, 1)]
    fetch._check_key("", days)
    with pytest.raises(ConfigError, match="2024-01-02"):
        fetch._check_key("", [*days, fetch.date(2024, 1, 2)])
    fetch._check_key("key", [fetch.date(2024, 1, 2)])


async def test_pitfall_15_one_request_serves_all_symbols_and_its_bytes_do_not_depend_on_their_order(double):
    paths = []
    for symbols in (["ETHUSDT", "BTCUSDT"], ["BTCUSDT", "ETHUSDT", "btcusdt"]):
        async with feed_of(double, symbols=symbols):
            paths.append((await double.accept()).options)
    assert paths[0] == paths[1], "the machine caches by a hash of the request"


async def test_pitfall_16_a_sampled_book_arrives_with_the_message_after_its_interval(tmp_path):
    lines = [
        change(10_000, snapshot=True, bids=[(100, 1)], asks=[(101, 1)]),
        change(15_000, bids=[(100.5, 1)]),
        change(37_000, bids=[(100.6, 1)]),
    ]
    options = {**BOTH, **RANGE, "dataTypes": ["book_snapshot_1_10ms"]}
    path = file_of(tmp_path, lines)
    async with tardis_server(data=(path,)) as server, connect(url(server, options, REPLAY)) as client:
        frames, _, _ = await drain(client)
    samples = EventBatch.decode(frames).book_samples()
    assert [sample.bids[0, 0] for sample in samples] == [100, 100.5]
    bucket_end, arrival = samples[1].exchange_ts_ns, samples[1].local_ts_ns
    assert (bucket_end % 10**9, arrival % 10**9) == (20_000_000, 37_000_000)


def test_pitfall_17_prices_are_exact_decimals_so_that_different_spellings_are_one_level(tmp_path):
    lines = [
        change(1, snapshot=True, bids=[(0.1, 1), (0.3, 1)], asks=[(0.5, 1)]),
        change(2).replace(
            b'"bids": []', b'"bids": [{"price": 3.0e-1, "amount": 0}, {"price": 0.10, "amount": 5}]'
        ),
    ]
    _, _, books = rebuild_books([str(file_of(tmp_path, lines))])
    assert books.snapshot("bybit", "BTCUSDT").bids.tolist() == [[0.1, 5]]


async def test_pitfall_18_names_are_spelled_as_the_machine_spells_them(double):
    error = {
        "type": "error",
        "exchange": "bybit",
        "details": "x",
        "subSequentErrorsCount": 4,
        "localTimestamp": LOCAL,
    }
    (row,) = EventBatch.decode([json.dumps(error).encode()]).encode()
    assert json.loads(row[-1]) == error
    async with feed_of(double):
        options = (await double.accept()).options
    assert set(options) == {"exchange", "symbols", "dataTypes", "withDisconnectMessages", "withErrorMessages"}
