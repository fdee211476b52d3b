"""What a live feed hands to those who read it: books, events, news, from any thread and until the end."""

import asyncio
import json
import multiprocessing
import os
import select
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from feed_client import feed_of, until, until_state

from mm_hybrid._core import Books, Cache, Feed, FeedError


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
        assert feed.snapshot_into(out, "btcusdt")[0] == feed.snapshot("BtcUsdt").state == "LIVE"
        with pytest.raises(ValueError, match="not subscribed"):
            feed.snapshot_into(out, "ETHUSDT")
        wrong = (np.zeros((2, 2, 2), dtype=np.float32), np.zeros((2, 2)), [[[0.0]]])
        for bad, given in zip(wrong, ("float32 of shape", r"float64 of shape \(2, 2\)", "list"), strict=True):
            with pytest.raises(
                ValueError, match=rf"out: not a float64 array of shape \(2, depth, 2\).*{given}"
            ):
                feed.snapshot_into(bad)
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


async def test_the_shortest_queue_allowed_recovers_from_every_overflow(double):
    with pytest.raises(ValueError, match="queue_events: 2 is too few: give at least 3"):
        Feed(double.url, exchange="bybit", symbols=["BTCUSDT"], queue_events=2)
    async with feed_of(double, queue_events=3) as feed:
        connection = await double.accept()
        await connection.snapshot()
        for overflow in range(1, 4):
            for _ in range(10):
                await connection.trade()
            await until(feed, lambda: feed.stats()["trades"] == 11 * overflow - 1)  # noqa: B023 -- called at once
            feed.drain()
            await connection.trade()
            await until(feed, lambda: feed.stats()["trades"] == 11 * overflow)  # noqa: B023 -- called at once
            assert [kind for *_, kind, _ in feed.drain().encode()] == ["disconnect", "book_change", "trade"]


async def test_a_book_with_one_side_empty_is_part_of_what_repairs_the_queue(double):
    async with feed_of(double, queue_events=5) as feed:
        connection = await double.accept()
        await connection.book(snapshot=True, bids=[(90, 1)])
        for _ in range(10):
            await connection.trade()
        await until(feed, lambda: feed.stats()["trades"] == 10)
        held = Books()
        held.apply(feed.drain())
        await connection.trade()
        await until(feed, lambda: feed.stats()["trades"] == 11)
        held.apply(feed.drain())
        await connection.book(snapshot=False, asks=[(110, 1)])
        await until_state(feed, "LIVE")
        held.apply(feed.drain())
        assert held.snapshot("bybit", "BTCUSDT").state == "LIVE"
        assert held.snapshot("bybit", "BTCUSDT").bids.tolist() == [[90, 1]]


async def test_a_queue_that_nobody_reads_is_bounded_by_the_levels_in_it_too(double):
    async with feed_of(double, queue_events=1000) as feed:
        connection = await double.accept()
        deep = [[(base + sign * i / 10, 1.5) for i in range(2000)] for base, sign in ((9000, -1), (9001, 1))]
        for _ in range(40):
            await connection.book(snapshot=True, bids=deep[0], asks=deep[1])
        await until(feed, lambda: feed.stats()["book_changes"] == 40, timeout_s=30)
        assert (feed.stats()["queued_events"], feed.stats()["dropped_events"]) == (25, 15)
        feed.drain()
        await connection.trade()
        await until(feed, lambda: feed.stats()["trades"] == 1)
        assert [kind for *_, kind, _ in feed.drain().encode()] == ["disconnect", "book_change", "trade"]


async def test_old_data_shows_as_a_lag_that_is_told_once_and_leaves_the_book_live(double):
    async with feed_of(double) as feed:
        connection = await double.accept()
        for sent, age_s in enumerate((0.0, 60.0, 61.0, -7200.0), start=1):
            stamp = (datetime.now(UTC) - timedelta(seconds=age_s)).isoformat(timespec="microseconds")
            change = double.book(snapshot=True, bids=[(100, 1)], asks=[(101, 1)])
            await connection.send({**change, "localTimestamp": stamp.replace("+00:00", "Z")})
            await until(feed, lambda: feed.stats()["book_changes"] == sent)  # noqa: B023 -- called at once
            assert feed.stats()["last_lag_ns"] / 1e9 == pytest.approx(age_s, abs=2)
            assert feed.snapshot().state == "LIVE"
        assert feed.stats()["late_spells"] == 1
        assert "after their localTimestamp" in feed.stats()["last_error"]


async def test_news_that_nobody_looked_at_in_between_is_counted_as_merged(double):
    async with feed_of(double) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await until_state(feed, "LIVE")
        before = feed.stats()["merged_news"]
        feed._loop.remove_reader(feed._fd)
        for count in range(1, 6):
            await connection.trade()
            while feed.stats()["trades"] < count:  # noqa: ASYNC110 -- nobody waits for news
                await asyncio.sleep(0.001)
        assert feed.stats()["merged_news"] - before >= 4


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


USES = (Feed.snapshot, Feed.stats, Feed.start, Feed.drain, Feed.lead, Feed.turn, Feed.sockets_fileno)


def use_in_child(feed, answers):
    answers.put(os.getpid())
    for use in USES:
        try:
            use(feed)
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
        for _ in USES:
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
