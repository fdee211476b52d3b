"""What a broken or hostile peer can send, and what becomes of the book."""

import asyncio
import json
from contextlib import asynccontextmanager

import numpy as np
import pytest

from mm_hybrid.feed import LiveFeed


@asynccontextmanager
async def live(double, **options):
    """A feed whose book is LIVE, and its connection."""
    settings = {"exchange": "bybit", "symbols": ["BTCUSDT"], "reconnect_min_ms": 10, "reconnect_max_ms": 50}
    async with LiveFeed(double.url, **{**settings, **options}) as feed:
        connection = await double.accept()
        await connection.book(snapshot=True, bids=[(100, 1), (99, 1)], asks=[(101, 1), (102, 1)])
        await until(feed, lambda: feed.snapshot().state == "LIVE")
        yield feed, connection


async def until(feed, condition, timeout_s=10.0):
    async with asyncio.timeout(timeout_s):
        while not condition():
            await feed.wait_news(0.05)


async def taken(feed, changes):
    await until(feed, lambda: feed.stats()["book_changes"] == changes)
    return feed.snapshot()


async def test_a_change_that_crosses_the_book_is_pruned_counted_and_if_it_persists_a_state(double):
    async with live(double) as (feed, connection):
        await connection.book(snapshot=False, bids=[(101, 5)])
        book = await taken(feed, 2)
        assert (book.state, book.best_bid, book.best_ask) == ("LIVE", 101, 102)
        assert book.crossed_levels_pruned == 1
        for step in range(3):
            bid = 102 + step
            await connection.book(snapshot=False, bids=[(bid, 5)], asks=[(bid + 1, 1)])
        book = await taken(feed, 5)
        assert book.state == "CROSSED"
        assert "crossed" in book.reason
        await connection.book(snapshot=False, bids=[(90, 5)])
        assert (await taken(feed, 6)).state == "CROSSED", "a clean change does not make a wrong book right"
        await connection.snapshot()
        assert (await taken(feed, 7)).state == "LIVE"


async def test_a_book_that_stays_crossed_is_asked_for_again(double):
    async with live(double, resync_after_ms=200) as (feed, connection):
        for step in range(3):
            await connection.book(snapshot=False, bids=[(101 + step, 5)], asks=[(102 + step, 1)])
        await connection.book(snapshot=False, bids=[(90, 5)])
        assert (await taken(feed, 5)).state == "CROSSED"
        await (await double.accept()).snapshot(bid=50, ask=51)
        await until(feed, lambda: feed.snapshot().state == "LIVE")
        assert (feed.stats()["resyncs"], feed.snapshot().best_bid) == (1, 50)


async def test_a_storm_of_reconnects_ends_live_and_is_counted(double):
    async with live(double) as (feed, connection):
        connection.drop()
        for _ in range(20):
            (await double.accept()).drop()
        await (await double.accept()).snapshot(bid=50, ask=51)
        await until(feed, lambda: feed.snapshot().state == "LIVE")
        assert feed.snapshot().best_bid == 50
        assert feed.stats()["connects"] >= 2
        assert double.connections == 22


async def test_a_clock_that_is_off_by_hours_either_way_leaves_staleness_to_our_own_clock(double):
    async with live(double) as (feed, connection):
        for stamp in ("2020-01-01T00:00:00.000Z", "2035-01-01T00:00:00.000Z"):
            change = double.book(snapshot=False, bids=[(99, 2)], asks=[])
            await connection.send({**change, "timestamp": stamp, "localTimestamp": stamp})
        book = await taken(feed, 3)
        assert book.state == "LIVE"
        assert 0 <= book.age_ns < 3_000_000_000


async def test_times_out_of_order_change_nothing_about_the_order_of_changes(double):
    async with live(double) as (feed, connection):
        later, earlier = (double.book(snapshot=False, bids=[(99, qty)], asks=[]) for qty in (7, 8))
        await connection.send({**later, "localTimestamp": earlier["localTimestamp"]})
        await connection.send({**earlier, "localTimestamp": later["localTimestamp"]})
        book = await taken(feed, 3)
        assert book.bids.tolist() == [[100, 1], [99, 8]], "the wire's order counts"


@pytest.mark.parametrize(
    "levels",
    [
        '[{"price":100,"price":99,"amount":1}]',
        '[{"price":1e400,"amount":1}]',
        '[{"price":1e-40,"amount":1}]',
        '[{"price":99,"amount":99999999999999999999999}]',
        '[{"price":99,"amount":-1}]',
        '[{"price":"99","amount":1}]',
        '[{"price":NaN,"amount":1}]',
        '[{"price":99}]',
        "[[99,1]]",
        '{"price":99,"amount":1}',
    ],
)
async def test_a_level_that_cannot_be_meant_costs_the_book_and_brings_a_new_snapshot(double, levels):
    async with live(double) as (feed, connection):
        text = json.dumps(double.book(snapshot=False, bids=[], asks=[]))
        await connection.send(text.replace('"bids": []', f'"bids": {levels}'))
        await until(feed, lambda: feed.snapshot().state == "UNSYNCED")
        assert feed.stats()["decode_errors"] == 1
        await (await double.accept()).snapshot()
        await until(feed, lambda: feed.snapshot().state == "LIVE")


@pytest.mark.parametrize(
    ("price", "amount", "expected"),
    [
        ("9.9e1", "1E3", [99, 1000]),
        ("99.000000000000", "0.000000000000000001", [99, 1e-18]),
        ("0.000000001", "123456789012", [1e-9, 123456789012]),
        ("9.95E+1", "1e-7", [99.5, 1e-7]),
    ],
)
async def test_numbers_with_exponents_huge_and_tiny_are_taken_exactly(double, price, amount, expected):
    async with live(double) as (feed, connection):
        text = json.dumps(double.book(snapshot=True, bids=[], asks=[(101, 1)]))
        await connection.send(
            text.replace('"bids": []', f'"bids": [{{"price": {price}, "amount": {amount}}}]')
        )
        book = await taken(feed, 2)
        np.testing.assert_array_equal(book.bids, [expected])
        assert book.state == "LIVE"


async def test_amounts_of_any_width_cost_no_book(double):
    async with live(double) as (feed, connection):
        await connection.book(snapshot=False, bids=[(99, 250_000_000_000)])
        await connection.book(snapshot=False, bids=[(98, 0.12345678), (97, 0.0047677363856087895)])
        book = await taken(feed, 3)
        assert book.state == "LIVE"
        np.testing.assert_allclose(
            book.bids[1:, 1], [250_000_000_000, 0.12345678, 0.0047677363856087895], atol=1e-7
        )
        assert feed.stats()["decode_errors"] == 0


async def test_a_snapshot_that_races_with_old_changes_wins(double):
    async with live(double) as (feed, connection):
        await connection.disconnect()
        await connection.book(snapshot=False, bids=[(100, 9), (97, 9)])
        await connection.book(snapshot=True, bids=[(90, 1)], asks=[(91, 1)])
        await connection.book(snapshot=False, bids=[(89, 2)])
        book = await taken(feed, 4)
        assert book.bids.tolist() == [[90, 1], [89, 2]]


async def test_data_of_another_exchange_or_symbol_is_counted_and_touches_no_book(double):
    async with live(double, queue_events=10) as (feed, connection):
        feed.drain()
        stranger = double.book(snapshot=True, bids=[(1, 1)], asks=[(2, 1)])
        await connection.send({**stranger, "exchange": "binance"})
        await connection.send({**stranger, "symbol": "NOBODY"})
        await connection.send({"type": "disconnect", "exchange": "binance", "localTimestamp": double.stamp()})
        await connection.trade()
        await until(feed, lambda: feed.stats()["trades"] == 1)
        assert (feed.snapshot().state, feed.snapshot().best_bid) == ("LIVE", 100)


async def test_a_frame_of_nothing_but_nesting_is_refused_without_harm(double):
    async with live(double) as (feed, connection):
        await connection.send("[" * 200_000)
        await until(feed, lambda: feed.stats()["decode_errors"] == 1)
        await (await double.accept()).snapshot()
        await until(feed, lambda: feed.snapshot().state == "LIVE")
        await connection.closed()
