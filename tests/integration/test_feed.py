"""The live feed against a Tardis machine that fails in every way it can."""

import asyncio
import json
import multiprocessing
import os
import select
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager

import numpy as np
import pytest
from tardis_double import TardisDouble

from mm_hybrid._core import Cache, Feed, FeedError
from mm_hybrid.feed import LiveFeed

QUICK = {"reconnect_min_ms": 10, "reconnect_max_ms": 100}


@asynccontextmanager
async def feed_of(double, **options):
    settings = {"exchange": "bybit", "symbols": ["BTCUSDT"], **QUICK, **options}
    async with LiveFeed(double.url, **settings) as feed:
        yield feed


async def until(feed, condition, timeout_s=10.0):
    """Wait for news until ``condition()`` holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await feed.wait_news(0.05)


async def until_state(feed, state, timeout_s=10.0):
    await until(feed, lambda: feed.snapshot().state == state, timeout_s)


@pytest.fixture
async def double():
    async with TardisDouble() as double:
        yield double


async def test_the_request_is_the_documented_one(double):
    async with feed_of(double, symbols=["ethusdt", "BTCUSDT"]):
        connection = await double.accept()
    assert connection.path == "/ws-stream-normalized"
    assert connection.options == {
        "exchange": "bybit",
        "symbols": ["BTCUSDT", "ETHUSDT"],
        "dataTypes": ["book_change", "trade"],
        "withDisconnectMessages": True,
        "withErrorMessages": True,
    }


async def test_snapshot_and_updates_make_a_live_book(double):
    async with feed_of(double) as feed:
        assert feed.snapshot().state == "UNSYNCED"
        connection = await double.accept()
        await connection.book(snapshot=True, bids=[(100, 1), (99, 2)], asks=[(101, 3), (102, 4)])
        await connection.book(snapshot=False, bids=[(100, 0), (98, 5)], asks=[(101, 1.5)])
        await until(feed, lambda: feed.stats()["book_changes"] == 2)
        book = feed.snapshot()
    assert book.state == "LIVE"
    np.testing.assert_array_equal(book.bids, [[99, 2], [98, 5]])
    np.testing.assert_array_equal(book.asks, [[101, 1.5], [102, 4]])
    assert 0 <= book.age_ns < 3_000_000_000


async def test_a_live_book_can_be_copied_into_an_array_of_the_caller(double):
    out = np.zeros((2, 2, 2))
    async with feed_of(double) as feed:
        assert feed.snapshot_into(out) == ("UNSYNCED", 0, 0)
        assert np.isnan(out).all()
        connection = await double.accept()
        await connection.book(snapshot=True, bids=[(100, 1), (99, 2)], asks=[(101, 3)])
        await until_state(feed, "LIVE")
        state, local_ts_ns, age_ns = feed.snapshot_into(out)
        assert (state, local_ts_ns) == ("LIVE", feed.snapshot().timestamp)
        assert 0 <= age_ns < 3_000_000_000
        np.testing.assert_array_equal(out, [[[100, 1], [99, 2]], [[101, 3], [np.nan, np.nan]]])
        with pytest.raises(ValueError, match="not subscribed"):
            feed.snapshot_into(out, "ETHUSDT")
        assert feed.stats()["decode_fallbacks"] <= feed.stats()["messages"]


async def test_a_reader_that_polls_hears_every_message_and_the_end_of_its_patience(double):
    async with feed_of(double, busy_poll_us=200_000) as feed:
        connection = await double.accept()
        await connection.snapshot(bid=100)
        await until_state(feed, "LIVE")
        for bid in (101, 102, 103):
            await connection.book(snapshot=False, bids=[(bid, 1)], asks=[(bid + 1, 1)])
            await asyncio.sleep(0)
            await until(feed, lambda: feed.snapshot().best_bid == bid)  # noqa: B023 -- called at once
        while await feed.wait_news(0.01):
            pass
        start = time.perf_counter()
        assert not await feed.wait_news(0.01)
        assert time.perf_counter() - start > 0.2, "it watched, then waited"


async def test_a_delta_before_the_snapshot_is_ignored(double):
    async with feed_of(double) as feed:
        connection = await double.accept()
        await connection.book(snapshot=False, bids=[(500, 9)])
        await connection.trade()
        await until(feed, lambda: feed.stats()["trades"] == 1)
        assert feed.snapshot().state == "UNSYNCED"
        await connection.snapshot(bid=100)
        await until_state(feed, "LIVE")
        assert feed.snapshot().best_bid == 100


async def test_a_silent_book_is_reported_stale_with_reason_and_age(double):
    async with feed_of(double, stale_after_ms=150, resync_after_ms=60_000) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await until_state(feed, "LIVE")
        await until_state(feed, "STALE")
        book = feed.snapshot()
        assert book.age_ns > 150_000_000
        assert "no book change" in book.reason
        await until(feed, lambda: feed.stats()["stale_seconds"] > 0)
        await connection.book(snapshot=False, bids=[(99, 1)])
        await until_state(feed, "LIVE")
        assert double.connections == 1, "silence alone is no reason to reconnect"


async def test_trades_do_not_keep_a_silent_book_fresh(double):
    async with feed_of(double, stale_after_ms=150, resync_after_ms=60_000) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await until_state(feed, "LIVE")
        async with asyncio.timeout(10):
            while feed.snapshot().state == "LIVE":
                await connection.trade()
                await feed.wait_news(0.05)
        assert feed.snapshot().state == "STALE"


async def test_going_stale_is_news(double):
    async with feed_of(double, stale_after_ms=100, resync_after_ms=60_000) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await until_state(feed, "LIVE")
        while await feed.wait_news(5):
            if feed.snapshot().state == "STALE":
                return
        pytest.fail("nobody was told")


async def test_a_disconnect_message_unsyncs_until_the_next_snapshot(double):
    async with feed_of(double, symbols=["BTCUSDT", "ETHUSDT"]) as feed:
        connection = await double.accept()
        for symbol in ("BTCUSDT", "ETHUSDT"):
            await connection.snapshot(symbol=symbol)
        await until(feed, lambda: feed.snapshot("ETHUSDT").state == "LIVE")
        await connection.disconnect()
        await until(feed, lambda: feed.stats()["disconnects"] == 1)
        assert {feed.snapshot(s).state for s in ("BTCUSDT", "ETHUSDT")} == {"UNSYNCED"}
        assert "lost the exchange" in feed.snapshot("BTCUSDT").reason
        await connection.book(snapshot=False, bids=[(1, 1)], symbol="ETHUSDT")
        await connection.snapshot(bid=200, ask=201)
        await until(feed, lambda: feed.snapshot("BTCUSDT").state == "LIVE")
        assert feed.snapshot("BTCUSDT").best_bid == 200
        assert feed.snapshot("ETHUSDT").state == "UNSYNCED"


async def test_a_reconnect_starts_from_a_new_snapshot(double):
    async with feed_of(double) as feed:
        first = await double.accept()
        await first.snapshot(bid=100, ask=101)
        await until_state(feed, "LIVE")
        first.drop()
        await until_state(feed, "UNSYNCED")
        second = await double.accept()
        await second.book(snapshot=False, bids=[(150, 1)])
        await second.snapshot(bid=200, ask=201)
        await until_state(feed, "LIVE")
        assert feed.snapshot().best_bid == 200
        assert feed.stats()["reconnects"] == 1


async def test_a_snapshot_while_live_replaces_the_book(double):
    async with feed_of(double) as feed:
        connection = await double.accept()
        await connection.book(snapshot=True, bids=[(100, 1), (99, 1)], asks=[(101, 1)])
        await connection.snapshot(bid=90, ask=91)
        await until(feed, lambda: feed.stats()["book_changes"] == 2)
        np.testing.assert_array_equal(feed.snapshot().bids, [[90, 1]])


async def test_no_snapshot_in_time_forces_a_reconnect(double):
    async with feed_of(double, resync_after_ms=200) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await until_state(feed, "LIVE")
        await connection.disconnect()
        again = await double.accept()
        await again.snapshot()
        await until_state(feed, "LIVE")
        assert feed.stats()["resyncs"] == 1
        assert "no snapshot of BTCUSDT" in feed.stats()["last_error"]


async def test_a_half_open_connection_is_stale_then_resynced(double):
    async with feed_of(double, stale_after_ms=100, resync_after_ms=500) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await until_state(feed, "LIVE")
        connection.stall()
        await until_state(feed, "STALE")
        assert double.connections == 1
        again = await double.accept()
        await again.snapshot()
        await until_state(feed, "LIVE")
        assert "pings unanswered" in feed.stats()["last_error"]


async def test_an_idle_market_that_answers_pings_is_left_alone(double):
    async with feed_of(double, stale_after_ms=50, resync_after_ms=200) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await until_state(feed, "STALE")
        # Three times the resync timeout, told by the feed's own stale clock.
        await until(feed, lambda: feed.stats()["stale_seconds"] > 0.6)
        assert double.connections == 1


async def refusals_within(double, seconds, close):
    """Refuse every connection for a while; return how many came."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                await close(await double.accept())
    except TimeoutError:
        return double.connections


async def test_a_regular_close_without_messages_is_an_error_and_no_tight_loop(double):
    async with feed_of(double, reconnect_min_ms=50, reconnect_max_ms=10_000, end_on_finish=True) as feed:
        finished = "WS stream-normalized finished"
        count = await refusals_within(double, 1.5, lambda connection: connection.close(1000, finished))
        assert 1 <= count <= 5
        stats = feed.stats()
    assert "without any message" in stats["last_error"]
    assert finished in stats["last_error"]
    assert not stats["finished"]
    assert stats["refusals"] == count


@pytest.mark.parametrize(
    ("code", "reason"), [(1011, "Error: normalizeTrades: nope not supported"), (1008, "")]
)
async def test_a_refusal_is_not_retried_in_a_tight_loop(double, code, reason):
    async with feed_of(double, reconnect_min_ms=50, reconnect_max_ms=10_000) as feed:
        count = await refusals_within(double, 1.5, lambda connection: connection.close(code, reason))
        assert 1 <= count <= 5
        assert f"code {code}" in feed.stats()["last_error"]
        assert reason in feed.stats()["last_error"]


async def test_1011_after_data_unsyncs_and_comes_back(double):
    async with feed_of(double) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await until_state(feed, "LIVE")
        await connection.close(1011, "Error: Too many subsequent errors")
        await until_state(feed, "UNSYNCED")
        await (await double.accept()).snapshot()
        await until_state(feed, "LIVE")


async def test_a_regular_close_after_data_ends_a_feed_that_shall_end(double):
    async with feed_of(double, end_on_finish=True, queue_events=10) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await connection.close(1000, "WS stream-normalized finished")
        await until(feed, lambda: feed.stats()["finished"])
        assert feed.snapshot().best_bid == 100
        assert len(feed.drain()) == 1
        assert double.connections == 1


async def test_a_regular_close_after_data_reconnects_otherwise(double):
    async with feed_of(double) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await connection.close(1000, "WS stream-normalized finished")
        await double.accept()
        assert not feed.stats()["finished"]


async def test_an_undecodable_book_change_unsyncs_and_forces_a_resync(double):
    async with feed_of(double) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await until_state(feed, "LIVE")
        await connection.send(
            '{"type":"book_change","symbol":"BTCUSDT","exchange":"bybit","bids":[{"price":"x"}]'
        )
        await until_state(feed, "UNSYNCED")
        assert feed.stats()["decode_errors"] == 1
        again = await double.accept()
        await again.snapshot()
        await until_state(feed, "LIVE")


async def test_an_undecodable_trade_is_counted_and_the_book_goes_on(double):
    async with feed_of(double) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await connection.send({"type": "trade", "symbol": "BTCUSDT", "exchange": "bybit", "price": "high"})
        await connection.book(snapshot=False, bids=[(99, 1)])
        await until(feed, lambda: feed.stats()["book_changes"] == 2)
        assert feed.snapshot().state == "LIVE"
        assert feed.stats()["decode_errors"] == 1
        assert double.connections == 1


async def test_unknown_types_and_keys_are_ignored(double):
    async with feed_of(double) as feed:
        connection = await double.accept()
        await connection.send({"type": "trade_bar", "symbol": "BTCUSDT", "exchange": "bybit"})
        await connection.send(
            {**double.book(snapshot=True, bids=[(1, 1)], asks=[(2, 1)]), "novelty": {"a": [1]}}
        )
        await until_state(feed, "LIVE")
        assert feed.stats()["unknown_messages"] == 1
        assert feed.stats()["decode_errors"] == 0


async def test_invalid_utf8_is_counted_and_forces_a_resync(double):
    async with feed_of(double) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await until_state(feed, "LIVE")
        await connection.send_raw_text(b'{"type":"trade","symbol":"\xff\xfe"}')
        await until_state(feed, "UNSYNCED")
        assert feed.stats()["decode_errors"] == 1
        await (await double.accept()).snapshot()
        await until_state(feed, "LIVE")


async def test_a_message_split_into_frames_is_one_message(double):
    async with feed_of(double) as feed:
        connection = await double.accept()
        text = json.dumps(double.book(snapshot=True, bids=[(100, 1)], asks=[(101, 1)]))
        await connection.send([text[i : i + 7] for i in range(0, len(text), 7)])
        await until_state(feed, "LIVE")
        assert feed.stats()["messages"] == 1


async def test_a_snapshot_of_twenty_megabytes_is_taken(double):
    levels = [(100_000 - i * 0.01, 1.234567) for i in range(500_000)]
    message = json.dumps(double.book(snapshot=True, bids=levels, asks=[(100_001, 1)]))
    assert len(message) > 20_000_000
    async with feed_of(double, stale_after_ms=60_000) as feed:
        connection = await double.accept()
        await connection.send(message)
        await until_state(feed, "LIVE", timeout_s=60)
        assert feed.snapshot(depth=1).levels == (500_000, 1)


async def test_a_reader_that_never_reads_does_not_stop_the_feed(double):
    async with feed_of(double, queue_events=100) as feed:
        connection = await double.accept()
        await connection.snapshot()
        text = json.dumps(double.book(snapshot=False, bids=[(99, 1)], asks=[]))
        async with asyncio.timeout(60):
            for _ in range(20_000):
                await connection.send(text)
        await connection.book(snapshot=False, bids=[(98, 7)])
        await until(feed, lambda: feed.stats()["book_changes"] == 20_002, timeout_s=60)
        assert feed.stats()["dropped_events"] == 20_002 - 100
        np.testing.assert_array_equal(feed.snapshot().bids, [[100, 1], [99, 1], [98, 7]])


async def test_drain_returns_exactly_what_was_sent(double):
    async with feed_of(double, queue_events=10_000) as feed:
        connection = await double.accept()
        sent = [double.book(snapshot=True, bids=[(100, 1)], asks=[(101, 1)])]
        for i in range(2000):
            change = double.book(snapshot=False, bids=[(99.5, i + 1)], asks=[])
            sent.append(double.trade(100 + i / 8) if i % 3 else change)
        received = []
        sending = asyncio.create_task(send_all(connection, sent))
        async with asyncio.timeout(30):
            while len(received) < len(sent):
                await feed.wait_news(1)
                received += feed.drain(max_events=37).encode()
        await sending
        assert feed.stats()["dropped_events"] == 0
    normalised = [
        {**json.loads(message), "localTimestamp": None, "timestamp": None} for *_, message in received
    ]
    assert normalised == [{**message, "localTimestamp": None, "timestamp": None} for message in sent]


async def send_all(connection, messages):
    for message in messages:
        await connection.send(message)


async def test_after_an_overflow_the_consumer_is_told_and_made_whole_again(double):
    async with feed_of(double, queue_events=5) as feed:
        connection = await double.accept()
        await connection.snapshot()
        for price in range(10):
            await connection.trade(100 + price / 10)
        await until(feed, lambda: feed.stats()["trades"] == 10)
        assert [kind for *_, kind, _ in feed.drain().encode()] == ["book_change"] + ["trade"] * 4
        assert feed.stats()["dropped_events"] == 6
        await connection.trade(102)
        await until(feed, lambda: feed.stats()["trades"] == 11)
        events = feed.drain().encode()
        assert [kind for *_, kind, _ in events] == ["disconnect", "book_change", "trade"]
        repaired = json.loads(events[1][-1])
        assert repaired["isSnapshot"]
        assert repaired["bids"] == [{"price": 100, "amount": 1}]


async def test_the_queue_tells_of_a_lost_connection_once(double):
    async with feed_of(double, queue_events=100) as feed:
        first = await double.accept()
        await first.snapshot()
        await until_state(feed, "LIVE")
        first.drop()
        (await double.accept()).drop()
        await (await double.accept()).snapshot()
        await until_state(feed, "LIVE")
        assert [kind for *_, kind, _ in feed.drain().encode()] == ["book_change", "disconnect", "book_change"]


async def test_several_threads_read_while_the_feed_writes(double):
    async with feed_of(double, queue_events=100_000) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await until_state(feed, "LIVE")
        done, torn, drained = threading.Event(), [], []

        def read():
            while not done.is_set():
                book = feed.snapshot()
                # Each update writes the same quantity on both sides: a torn copy would differ.
                if book.best_bid_qty != book.best_ask_qty and book.book_changes > 1:
                    torn.append((book.best_bid_qty, book.best_ask_qty))
                drained.append(len(feed.drain(10)))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for qty in range(1, 2001):
                await connection.book(snapshot=False, bids=[(100, qty)], asks=[(101, qty)])
            await until(feed, lambda: feed.stats()["book_changes"] == 2001, timeout_s=30)
        finally:
            done.set()
            for thread in threads:
                thread.join()
        assert torn == []
        assert sum(drained) + len(feed.drain()) == 2001


async def test_the_descriptor_is_readable_after_news_and_not_after_clear(double):
    feed = Feed(double.url, exchange="bybit", symbols=["BTCUSDT"])
    feed.start()
    try:
        connection = await double.accept()
        await connection.snapshot()
        async with asyncio.timeout(10):
            while feed.stats()["book_changes"] == 0:
                await asyncio.to_thread(select.select, [feed.fileno()], [], [], 1)
                feed.clear()
        feed.clear()
        assert select.select([feed.fileno()], [], [], 0)[0] == []
        await connection.trade()
        readable, *_ = await asyncio.to_thread(select.select, [feed.fileno()], [], [], 10)
        assert readable == [feed.fileno()]
    finally:
        feed.close()


async def test_waiting_for_news_times_out(double):
    async with feed_of(double) as feed:
        await double.accept()
        while await feed.wait_news(0.1):
            pass
        began = time.monotonic()
        assert not await feed.wait_news(0.05)
        assert time.monotonic() - began >= 0.045


async def test_closing_twice_is_closing_once(double):
    async with feed_of(double) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await until_state(feed, "LIVE")
        await feed.aclose()
        await feed.aclose()
        await asyncio.wait_for(connection.closed(), 5)
        book = feed.snapshot()
        assert (book.state, book.reason) == ("UNSYNCED", "feed closed")
        assert not feed.stats()["running"]
        assert not await feed.wait_news(1)
    with pytest.raises(FeedError, match="closed"):
        feed.start()


async def test_closing_does_not_wait_for_a_server_that_is_not_there():
    feed = Feed("ws://127.0.0.1:1", exchange="bybit", symbols=["BTCUSDT"], reconnect_min_ms=30_000)
    feed.start()
    await asyncio.to_thread(select.select, [feed.fileno()], [], [], 10)
    assert "refused" in feed.stats()["last_error"].lower()
    began = time.monotonic()
    feed.close()
    assert time.monotonic() - began < 2


async def test_the_interpreter_ends_with_feeds_left_open(double):
    script = (
        "import asyncio, sys\n"
        "from mm_hybrid._core import Feed\n"
        "from mm_hybrid.feed import LiveFeed\n"
        "bare = Feed(sys.argv[1], exchange='bybit', symbols=['BTCUSDT'])\n"
        "bare.start()\n"
        "async def main():\n"
        "    global live\n"
        "    live = LiveFeed(sys.argv[1], exchange='bybit', symbols=['BTCUSDT'])\n"
        "    live.start()\n"
        "    await live.wait_news(5)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, double.url, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, output) == (0, (b"", b""))


def use_in_child(feed, answers):
    answers.put(os.getpid())
    for use in (feed.snapshot, feed.stats, feed.start, feed.drain):
        try:
            use()
        except FeedError as error:
            answers.put(str(error))
    feed.close()
    answers.put("closed")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_told_to_make_its_own_feed():
    fork = multiprocessing.get_context("fork")
    feed = Feed("ws://127.0.0.1:1", exchange="bybit", symbols=["BTCUSDT"])
    feed.start()
    try:
        answers = fork.SimpleQueue()
        child = fork.Process(target=use_in_child, args=(feed, answers))
        child.start()
        child.join(10)
        assert child.exitcode == 0
        assert answers.get() == child.pid
        for _ in range(4):
            assert "after the fork" in answers.get()
        assert answers.get() == "closed"
        assert feed.stats()["running"], "the parent's feed goes on"
    finally:
        feed.close()


async def test_a_row_a_second_reaches_the_cache(double, tmp_path):
    with Cache(tmp_path / "cache.sqlite") as cache:
        async with feed_of(double, cache=cache) as feed:
            connection = await double.accept()
            await connection.snapshot(bid=100, ask=102)
            async with asyncio.timeout(10):
                while cache.latest_snapshot("bybit", "BTCUSDT") is None:
                    await connection.book(snapshot=False, bids=[(99, 1)])
                    await feed.wait_news(0.1)
            assert feed.stats()["cache_errors"] == 0
        row = cache.latest_snapshot("bybit", "BTCUSDT")
    assert row.mid == 101
    assert row.second - 1_767_312_000 in range(20)


async def test_a_cache_that_is_gone_does_not_stop_the_feed(double, tmp_path):
    cache = Cache(tmp_path / "cache.sqlite")
    async with feed_of(double, cache=cache) as feed:
        cache.close()
        connection = await double.accept()
        await connection.snapshot()
        await until(feed, lambda: feed.stats()["cache_errors"] > 0)
        assert "closed" in feed.stats()["cache_warning"]
        assert feed.snapshot().state == "LIVE"


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("url", {"url": "http://127.0.0.1:8001"}),
        ("url", {"url": "ws://127.0.0.1:8001/ws-stream-normalized"}),
        ("symbols", {"symbols": []}),
        ("symbols", {"symbols": ["X" * 20_000]}),
        ("exchange", {"exchange": ""}),
        ("stale_after_ms", {"stale_after_ms": 0}),
    ],
)
def test_an_argument_that_cannot_work_is_refused_by_name(field, options):
    settings = {"url": "ws://127.0.0.1:1", "exchange": "bybit", "symbols": ["BTCUSDT"], **options}
    with pytest.raises(ValueError, match=field):
        Feed(**settings)


def test_an_unknown_symbol_is_refused_with_the_known_ones():
    feed = Feed("ws://127.0.0.1:1", exchange="bybit", symbols=["BTCUSDT", "ETHUSDT"])
    with pytest.raises(ValueError, match="BTCUSDT, ETHUSDT"):
        feed.snapshot("DOGEUSDT")
    with pytest.raises(ValueError, match="BTCUSDT, ETHUSDT"):
        feed.snapshot()
