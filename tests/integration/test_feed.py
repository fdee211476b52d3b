"""The live feed against a Tardis machine that fails in every way it can."""

import asyncio
import json

import numpy as np
import pytest
from feed_client import feed_of, until, until_state

from mm_hybrid._core import Feed


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


async def test_a_market_of_negative_prices_is_refused_by_name_and_ever_more_seldom_asked_for(double):
    async with feed_of(double, reconnect_min_ms=10, reconnect_max_ms=10_000) as feed:
        arrivals = []
        for refusals in range(1, 6):
            connection = await double.accept()
            arrivals.append(asyncio.get_running_loop().time())
            await connection.trade()
            await connection.book(snapshot=True, bids=[(-2, 1)], asks=[(-1, 1)])
            await until(feed, lambda: feed.stats()["refusals"] == refusals)  # noqa: B023 -- called at once
        assert "`bids`: `price` is negative: -2" in feed.stats()["last_error"]
        assert "`bids`: `price` is negative: -2" in feed.snapshot().reason
        waits = np.diff(arrivals)
        assert waits[-1] > 0.05, waits


@pytest.mark.parametrize("code", [None, 1000])
async def test_a_peer_that_sends_one_message_and_goes_is_met_with_growing_waits(double, code):
    async with feed_of(double, reconnect_min_ms=20, reconnect_max_ms=10_000) as feed:
        arrivals = []
        for _ in range(6):
            connection = await double.accept()
            arrivals.append(asyncio.get_running_loop().time())
            await connection.snapshot()
            await until_state(feed, "LIVE")
            connection.drop() if code is None else await connection.close(code)
        waits = np.diff(arrivals)
        assert waits[-1] > 0.16, waits
        assert waits[-1] > 2 * waits[0], waits
        # One that lasts is worth a quick return.
        connection = await double.accept()
        for _ in range(12):
            await connection.trade()
            await asyncio.sleep(0.1)
        await until(feed, lambda: feed.stats()["trades"] == 12)
        connection.drop()
        dropped = asyncio.get_running_loop().time()
        await double.accept()
        assert asyncio.get_running_loop().time() - dropped < 0.15
