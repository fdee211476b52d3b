"""One view of several venues."""

import json

import numpy as np

from mm_hybrid._core import Books, EventBatch, consolidate


def book(exchange, bids, asks, *, lost=False):
    def levels(side):
        return [{"price": price, "amount": amount} for price, amount in side]

    common = {"symbol": "BTCUSDT", "exchange": exchange, "localTimestamp": "2024-01-01T00:00:00.000001Z"}
    change = {"type": "book_change", "isSnapshot": True, "bids": levels(bids), "asks": levels(asks), **common}
    lines = [change, {"type": "disconnect", **common}] if lost else [change]
    books = Books()
    books.apply(EventBatch.decode([json.dumps(line).encode() for line in lines]))
    return books.snapshot(exchange, "BTCUSDT")


def test_levels_of_all_venues_add_up_and_stay_told_apart():
    view = consolidate(
        [book("bybit", [(100, 1), (99, 2)], [(102, 1)]), book("bitget-futures", [(99, 5)], [(101, 3)])]
    )
    assert view.venues == [("bybit", "BTCUSDT"), ("bitget-futures", "BTCUSDT")]
    np.testing.assert_array_equal(view.bids, [[100, 1], [99, 7]])
    np.testing.assert_array_equal(view.bids_by_venue, [[1, 0], [2, 5]])
    np.testing.assert_array_equal(view.asks, [[101, 3], [102, 1]])
    assert (view.best_bid, view.best_ask, view.is_crossed) == (100, 101, False)
    assert not view.bids.flags.writeable


def test_a_venue_that_lost_its_book_is_left_out_with_its_reason():
    view = consolidate([book("bybit", [(100, 1)], [(102, 1)]), book("bitget", [(1, 1)], [(2, 1)], lost=True)])
    assert [row[:3] for row in view.excluded] == [("bitget", "BTCUSDT", "UNSYNCED")]
    assert "disconnected" in view.excluded[0][3]
    assert view.best_ask == 102


def test_venues_may_cross_and_no_venue_is_no_error():
    crossed = consolidate(
        [book("bybit", [(103, 1)], [(104, 1)]), book("bitget", [(100, 1)], [(101, 1)])], depth=1
    )
    assert crossed.is_crossed
    assert (len(crossed.bids), len(crossed.asks)) == (1, 1)
    empty = consolidate([])
    assert (empty.best_bid, empty.is_crossed, empty.bids.shape) == (None, False, (0, 2))
