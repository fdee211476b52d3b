"""A reader that waits for news reads the sockets itself; whoever does, nothing is lost and nothing waits for it."""

import asyncio
import json
import select
import threading
import time

import numpy as np
import pytest
from feed_client import QUICK, feed_of, until, until_state

from mm_hybrid import wakeup
from mm_hybrid._core import Feed
from mm_hybrid.feed import LiveFeed, RecordTo


async def until_led(feed):
    await until(feed, lambda: feed.stats()["led"])


async def bare_feed_of(double):
    """A feed whose book is live and which nobody leads yet, and its connection."""
    feed = Feed(double.url, exchange="bybit", symbols=["BTCUSDT"], **QUICK)
    feed.start()
    connection = await double.accept()
    await connection.snapshot(bid=1, ask=9999)
    await until_true(lambda: feed.snapshot().state == "LIVE")
    return feed, connection


async def until_true(condition, timeout_s=10.0):
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 -- nobody waits for news
            await asyncio.sleep(0.001)


async def test_a_coroutine_that_waits_leads_and_hears_every_message(double):
    async with feed_of(double, queue_events=1000) as feed:
        connection = await double.accept()
        await connection.snapshot(bid=100, ask=200)
        await until_led(feed)
        for bid in range(101, 151):
            waiting = asyncio.create_task(feed.wait_news(10))
            await connection.book(snapshot=False, bids=[(bid, 1)])
            assert await waiting
            await until(feed, lambda: feed.snapshot().best_bid == bid)  # noqa: B023 -- called at once
        assert feed.stats()["led"]
        assert len(feed.drain()) == 51


async def watches_while_messages_come(double, monkeypatch, enough, **options):
    """How often the loop watched the sockets while a message came every 2 ms, for 10 s or until it was enough."""
    watches, watch = 0, LiveFeed._watch_unlocked

    def counted(feed, patience_us):
        nonlocal watches
        watches += 1
        return watch(feed, patience_us)

    async def read(feed):
        while True:
            await feed.wait_news(1.0)

    monkeypatch.setattr(LiveFeed, "_watch_unlocked", counted)
    # Whatever else the machine does, this loop does not rest.
    monkeypatch.setattr(wakeup, "_queued_s", float)
    async with feed_of(double, **options) as feed:
        connection = await double.accept()
        await connection.snapshot(bid=100, ask=9999)
        reader = asyncio.create_task(read(feed))
        bid, end_s = 100, time.monotonic() + (10 if enough else 1)
        while time.monotonic() < end_s and (watches < enough or not enough):
            bid += 1
            await connection.book(snapshot=False, bids=[(bid, 1)])
            await asyncio.sleep(0.002)
        await until_true(lambda: feed.snapshot().best_bid == bid)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    return watches


async def test_a_loop_that_leads_stays_awake_while_messages_come_thick(double, monkeypatch):
    assert await watches_while_messages_come(double, monkeypatch, 100, awake_gap_us=10_000) >= 100


async def test_a_loop_that_is_not_to_stay_awake_sleeps(double, monkeypatch):
    assert await watches_while_messages_come(double, monkeypatch, 0, awake_gap_us=0) == 0


async def test_news_that_comes_between_a_cancelled_wait_and_its_end_is_news_for_the_next_wait(double):
    async with feed_of(double) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await until_led(feed)
        while await feed.wait_news(0.05):
            pass
        waiting = asyncio.create_task(feed.wait_news(10))
        await asyncio.sleep(0)
        waiting.cancel()
        # As a look at the sockets does that stands before the task in the loop's queue.
        feed._wake()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await feed.wait_news(0)


async def test_a_feed_closed_by_the_coroutine_that_a_look_woke_is_watched_no_more(double, monkeypatch):
    answers = []
    async with feed_of(double, awake_gap_us=10_000) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await until_led(feed)
        while await feed.wait_news(0.05):
            pass
        assert feed._leads
        monkeypatch.setattr(feed, "_watch_unlocked", lambda _: True)

        async def close_at_news():
            await feed.wait_news(10)
            await feed.aclose()

        closing = asyncio.create_task(close_at_news())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(lambda: answers.append(feed._watch_slice(50)))
        await closing
    assert answers == [False]


@pytest.mark.parametrize("gap_us", [-1, 10_001])
def test_a_gap_out_of_range_is_refused_by_name(gap_us):
    with pytest.raises(ValueError, match=f"awake_gap_us: must be 0 to 10000, not {gap_us}"):
        LiveFeed("ws://127.0.0.1:1", exchange="bybit", symbols=["BTCUSDT"], awake_gap_us=gap_us)


async def test_other_threads_run_while_a_feed_is_watched(double):
    feed, _ = await bare_feed_of(double)
    try:
        steps, over = 0, threading.Event()

        def step():
            nonlocal steps
            while not over.is_set():
                steps += 1

        thread = threading.Thread(target=step)
        thread.start()
        while feed.watch(100_000):
            pass
        before = steps
        assert not feed.watch(300_000)
        during = steps - before
        over.set()
        thread.join()
        assert during > 1000
    finally:
        feed.close()


async def test_a_message_is_read_in_the_turn_of_the_thread_that_leads(double):
    feed, connection = await bare_feed_of(double)
    try:
        own_turns = 0
        for bid in range(100, 300):
            feed.lead()
            await connection.book(snapshot=False, bids=[(bid, 1)])
            select.select([feed.sockets_fileno()], [], [], 1)
            # The feed's thread may be first, on a machine that held this one up for a millisecond.
            has_news, leads = feed.turn()
            own_turns += has_news and leads
            await until_true(lambda: feed.snapshot().best_bid == bid)  # noqa: B023 -- called at once
        assert own_turns > 0
    finally:
        feed.close()


async def test_what_a_busy_leader_leaves_lying_is_read_without_it(double):
    feed, connection = await bare_feed_of(double)
    try:
        taken_back = 0
        for bid in range(100, 120):
            await until_true(feed.lead)
            await connection.book(snapshot=False, bids=[(bid, 1)])
            deadline = time.monotonic() + 10
            while feed.snapshot().best_bid != bid:
                assert time.monotonic() < deadline, "nobody reads"
                time.sleep(0.001)  # noqa: ASYNC251 -- the event loop is busy; that is the point
            # The bell of those who sleep rings as if nobody had led.
            assert select.select([feed.fileno()], [], [], 1)[0]
            # It still leads where the feed's thread read the message before it had let go.
            has_news, leads = feed.turn()
            taken_back += not leads
            assert has_news
        assert taken_back > 0
    finally:
        feed.close()


async def test_a_storm_is_read_by_the_feed_s_thread_and_nothing_of_it_is_lost(double):
    async with feed_of(double, queue_events=50_000) as feed:
        connection = await double.accept()
        await connection.snapshot(bid=100, ask=10**6)
        for storm in (1, 2):
            await until_led(feed)
            texts = [
                json.dumps(double.book(snapshot=False, bids=[(100, storm * 10**5 + qty)], asks=[]))
                for qty in range(10_000)
            ]
            for text in texts:
                await connection.send(text)
            await until(feed, lambda: feed.stats()["book_changes"] == storm * 10_000 + 1, timeout_s=30)  # noqa: B023 -- called at once
            np.testing.assert_array_equal(feed.snapshot().bids, [[100, storm * 10**5 + 9999]])
        assert feed.stats()["dropped_events"] == 0
        assert len(feed.drain()) == 20_001


async def test_a_message_in_many_pieces_arrives_whole(double):
    async with feed_of(double) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await until_led(feed)
        bids = [(1000 - i / 100, 1.0) for i in range(60_000)]
        await connection.book(snapshot=True, bids=bids, asks=[(1001, 1)])
        await until(feed, lambda: feed.snapshot().best_bid == 1000)
        assert feed.snapshot().levels == (60_000, 1)
        await until_led(feed)


async def test_a_connection_lost_under_a_leader_comes_back_without_its_help(double):
    feed, connection = await bare_feed_of(double)
    try:
        for _ in range(5):
            await until_true(feed.lead)
            connection.drop()
            connection = await double.accept()
            assert not feed.stats()["led"]
            assert feed.snapshot().state == "UNSYNCED"
            assert not feed.lead(), "the book is not there yet"
            await connection.snapshot()
            await until_true(lambda: feed.snapshot().state == "LIVE")
    finally:
        feed.close()


async def test_closing_does_not_wait_for_a_leader(double):
    async with feed_of(double) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await until_led(feed)
        waiting = asyncio.create_task(feed.wait_news(60))
        await asyncio.sleep(0)
        began = time.monotonic()
        await feed.aclose()
        assert await waiting
        await asyncio.wait_for(connection.closed(), 5)
        assert time.monotonic() - began < 2
        assert not feed.stats()["led"]
        assert not feed._feed.lead()
        assert feed._feed.turn() == (True, False), "the end is news"


async def test_a_recording_keeps_times_of_arrival_and_is_not_led(double, tmp_path):
    async with feed_of(double, record=RecordTo(tmp_path)) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await until_state(feed, "LIVE")
        await feed.wait_news(0.05)
        assert not feed.stats()["led"]


def test_history_comes_too_fast_to_be_led():
    day = {"replay_from": "2026-01-01", "replay_to": "2026-01-02"}
    with Feed("ws://127.0.0.1:1", exchange="bybit", symbols=["BTCUSDT"], **day) as feed:
        assert not feed.lead()


async def test_a_book_grows_stale_and_a_silent_peer_is_given_up_under_a_leader(double):
    async with feed_of(double, stale_after_ms=100, resync_after_ms=600) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await until_led(feed)
        await until_state(feed, "STALE")
        connection.stall()
        await (await double.accept(20)).snapshot()
        await until_state(feed, "LIVE")
        assert feed.stats()["resyncs"] == 1
