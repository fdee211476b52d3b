"""What a book promises, message by message."""

import itertools
import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from mm_hybrid._core import Books, EventBatch

START = datetime(2024, 1, 1, tzinfo=UTC)


def stamp(at_s: float) -> str:
    moment = START + timedelta(microseconds=round(at_s * 1e6))
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def change(bids=(), asks=(), *, snapshot=False, at_s=0.0, symbol="S", exchange="x"):
    levels = [[{"price": price, "amount": qty} for price, qty in side] for side in (bids, asks)]
    return {
        "type": "book_change",
        "symbol": symbol,
        "exchange": exchange,
        "isSnapshot": snapshot,
        "bids": levels[0],
        "asks": levels[1],
        "localTimestamp": stamp(at_s),
    }


def disconnect(exchange="x", at_s=0.0):
    return {"type": "disconnect", "exchange": exchange, "localTimestamp": stamp(at_s)}


def trade(at_s=0.0):
    return {
        "type": "trade",
        "symbol": "S",
        "exchange": "x",
        "price": 100,
        "amount": 1,
        "localTimestamp": stamp(at_s),
    }


def books(*messages):
    held = Books()
    held.apply(EventBatch.decode([json.dumps(message).encode() for message in messages]))
    return held


def book(*messages, depth=None):
    return books(*messages).snapshot("x", "S", depth)


SNAPSHOT = change([(99, 1), (98, 2)], [(101, 1), (102, 2)], snapshot=True)


def test_changes_before_the_first_snapshot_are_ignored():
    early = book(change([(99, 1)], [(101, 1)]))
    assert (early.state, early.reason, early.levels) == ("UNSYNCED", "no snapshot yet", (0, 0))
    assert early.book_changes == 1


def test_trades_may_come_before_the_book():
    early = book(trade(), SNAPSHOT)
    assert (early.state, early.trades, early.messages) == ("LIVE", 1, 2)


def test_an_unsorted_snapshot_comes_out_best_first():
    live = book(change([(97, 1), (99, 2), (98, 3)], [(103, 1), (101, 2), (102, 3)], snapshot=True))
    assert live.bids.tolist() == [[99, 2], [98, 3], [97, 1]]
    assert live.asks.tolist() == [[101, 2], [102, 3], [103, 1]]


def test_a_zero_amount_in_a_snapshot_is_no_level():
    live = book(change([(99, 0), (98, 1)], [(101, 1), (102, 0)], snapshot=True))
    assert (live.best_bid, live.best_ask, live.levels) == (98, 101, (1, 1))


def test_removing_an_unknown_level_does_nothing():
    live = book(SNAPSHOT, change([(55, 0)], [(155, 0)]))
    assert (live.state, live.levels) == ("LIVE", (2, 2))


def test_an_amount_is_the_new_quantity_and_zero_removes():
    live = book(SNAPSHOT, change([(99, 0), (98, 7)]))
    assert live.bids.tolist() == [[98, 7]]


def test_a_snapshot_in_the_middle_drops_both_sides():
    live = book(SNAPSHOT, change([(50, 1)], [(51, 1)], snapshot=True))
    assert (live.bids.tolist(), live.asks.tolist()) == ([[50, 1]], [[51, 1]])


def test_exponents_and_decimals_of_any_length_name_the_same_level():
    live = book(change([(3.5e-05, 1)], [(1e-4, 1)], snapshot=True), change([(0.000035, 9)]))
    assert live.bids.tolist() == [[0.000035, 9]]


def test_a_message_is_applied_as_a_whole():
    live = book(SNAPSHOT, change([(101, 1)], [(101, 0)]))
    assert (live.best_bid, live.best_ask, live.crossed_levels_pruned) == (101, 102, 0)


def test_crossed_levels_are_dropped_where_the_message_did_not_speak_and_counted():
    asks_moved = book(SNAPSHOT, change([(97, 1)], [(98.5, 1)]))
    assert (asks_moved.best_bid, asks_moved.best_ask) == (98, 98.5)
    bids_moved = book(SNAPSHOT, change([(101, 1)]))
    assert (bids_moved.best_bid, bids_moved.best_ask) == (101, 102)
    assert asks_moved.crossed_levels_pruned == bids_moved.crossed_levels_pruned == 1
    assert bids_moved.state == "LIVE"


def test_a_cross_that_persists_is_a_state():
    deep = change([(99, 1)], [(100 + i, 1) for i in range(1, 9)], snapshot=True)
    crossed = book(deep, *(change([(100 + i, 1)]) for i in (1, 2, 3)))
    assert (crossed.state, crossed.crossed_levels_pruned) == ("CROSSED", 3)
    clean = [change([(90 + i, 1)]) for i in range(3)]
    assert book(deep, *(change([(100 + i, 1)]) for i in (1, 2, 3)), *clean).state == "CROSSED"
    assert book(deep, *(change([(100 + i, 1)]) for i in (1, 2, 3)), SNAPSHOT).state == "LIVE"


def test_a_late_reader_gets_a_book_with_one_side_and_none_that_waits_for_a_snapshot_itself():
    one_sided = books(change([(90, 1)], [], snapshot=True))
    late = books(json.loads(one_sided.snapshot_message("x", "S", 5)), change([], [(110, 1)]))
    assert late.snapshot("x", "S").state == "LIVE"
    deep = change([(99, 1)], [(100 + i, 1) for i in range(1, 9)], snapshot=True)
    crossed = books(deep, *(change([(100 + i, 1)]) for i in (1, 2, 3)))
    assert crossed.snapshot_message("x", "S", 5) is None
    assert books(disconnect("x")).snapshot_message("x", "S", 5) is None


def test_a_disconnect_without_symbol_unsyncs_every_book_of_its_exchange():
    held = books(SNAPSHOT, {**SNAPSHOT, "symbol": "T"}, {**SNAPSHOT, "exchange": "y"}, disconnect("x"))
    states = {key: held.snapshot(*key).state for key in held.symbols()}
    assert states == {("x", "S"): "UNSYNCED", ("x", "T"): "UNSYNCED", ("y", "S"): "LIVE"}


def test_after_a_disconnect_only_a_snapshot_makes_the_book_live():
    assert book(SNAPSHOT, disconnect(), change([(99, 1)], [(101, 1)])).state == "UNSYNCED"
    assert book(SNAPSHOT, disconnect(), SNAPSHOT).state == "LIVE"


def test_a_book_without_a_side_is_not_live_and_has_no_mid():
    bare = book(SNAPSHOT, change([(99, 0), (98, 0)]))
    assert (bare.state, bare.reason) == ("UNSYNCED", "no bid levels")
    assert [bare.mid_price, bare.spread_bps, bare.microprice, bare.imbalance, bare.best_bid] == [None] * 5


def test_a_symbol_never_seen_has_no_book():
    assert Books().snapshot("x", "S") is None
    assert Books().snapshot_message("x", "S", 0) is None


def test_arrays_are_read_only_copies_of_the_depth_asked_for():
    live = book(SNAPSHOT, depth=1)
    assert (live.bids.shape, live.bids.dtype, live.levels) == ((1, 2), np.float64, (2, 2))
    with pytest.raises(ValueError, match="read-only"):
        live.bids[0, 0] = 1.0


def test_a_snapshot_does_not_change_with_the_book():
    held = books(SNAPSHOT)
    before = held.snapshot("x", "S")
    held.apply(EventBatch.decode([json.dumps(change([(100, 5)])).encode()]))
    assert (before.best_bid, held.snapshot("x", "S").best_bid) == (99, 100)


def test_a_late_reader_can_start_from_a_snapshot_message():
    held = books(SNAPSHOT, change([(99, 0), (98.25, 4)]))
    message = held.snapshot_message("x", "S", 1_704_067_209_000_000_000)
    late = Books()
    late.apply(EventBatch.decode([message]))
    assert json.loads(message)["localTimestamp"] == "2024-01-01T00:00:09.000000Z"
    for side in ("bids", "asks"):
        assert (
            getattr(late.snapshot("x", "S"), side).tolist() == getattr(held.snapshot("x", "S"), side).tolist()
        )


def test_prices_of_the_touch():
    live = book(change([(99, 3)], [(101, 1)], snapshot=True))
    assert (live.mid_price, live.spread_bps, live.microprice) == (100, 200, 100.5)


def test_imbalance_is_signed_and_counts_five_levels():
    bids = [(99 - i, 3) for i in range(5)] + [(50, 1000)]
    live = book(change(bids, [(101 + i, 1) for i in range(6)], snapshot=True))
    assert live.imbalance == pytest.approx((15 - 5) / 20)


def test_depth_within_ten_percent_says_how_far_the_book_reaches():
    deep = book(change([(99, 1), (90, 2), (89, 4)], [(101, 1), (110, 2), (111, 4)], snapshot=True))
    expected = {"bid_base": 3, "ask_base": 3, "bid_quote": 279, "ask_quote": 321, "covered_pct": 10}
    assert deep.depth_10pct == expected
    shallow = book(change([(99, 1), (89, 1)], [(101, 1)], snapshot=True))
    assert shallow.depth_10pct["covered_pct"] == pytest.approx(1)


def test_volatility_is_the_deviation_of_one_second_mid_returns_scaled_to_a_minute():
    mids = [100 + (i * i % 17) / 10 for i in range(91)]
    messages = [
        change([(mid - 0.1, 1)], [(mid + 0.1, 1)], snapshot=True, at_s=i + 0.5) for i, mid in enumerate(mids)
    ]
    live = book(*messages, trade(at_s=91))
    returns = [math.log(b / a) for a, b in itertools.pairwise(mids)][-60:]
    assert live.volatility_1m == pytest.approx(1e4 * np.std(returns, ddof=1) * math.sqrt(60), rel=1e-6)


def test_there_is_no_volatility_from_less_than_ten_returns():
    assert book({**SNAPSHOT, "localTimestamp": stamp(0)}, trade(at_s=9.9)).volatility_1m is None
    assert book({**SNAPSHOT, "localTimestamp": stamp(0)}, trade(at_s=11.1)).volatility_1m == 0


def test_age_is_the_time_since_the_last_change_of_this_book():
    aged = book(SNAPSHOT, trade(at_s=2), change(symbol="T", at_s=5))
    assert (aged.age_ns, aged.timestamp) == (5_000_000_000, 1_704_067_200_000_000_000)


def applied(*messages):
    books = Books()
    books.apply(EventBatch.decode([json.dumps(message).encode() for message in messages]))
    return books


def test_a_book_copied_into_an_array_is_that_of_the_snapshot_with_nan_where_it_ends():
    books = applied(change([(99.5, 1), (99, 2)], [(100.5, 3)], snapshot=True), trade(at_s=2))
    out = np.zeros((2, 3, 2))
    assert books.snapshot_into("x", "S", out) == ("LIVE", 1_704_067_200_000_000_000, 2_000_000_000)
    nothing = [math.nan, math.nan]
    np.testing.assert_array_equal(out, [[[99.5, 1], [99, 2], nothing], [[100.5, 3], nothing, nothing]])
    assert books.snapshot_into("x", "T", out) is None
    snapshot = books.snapshot("x", "S")
    np.testing.assert_array_equal(out[0, :2], snapshot.bids)


@pytest.mark.parametrize(
    ("out", "fault"),
    [
        (np.zeros((3, 2, 2)), r"shape \[3, 2, 2\] is not \(2, depth, 2\)"),
        (np.zeros((2, 2, 4))[:, :, ::2], "contiguous"),
        (np.zeros((2, 5, 2)).transpose(2, 1, 0), "contiguous"),
    ],
)
def test_an_array_that_cannot_hold_a_book_is_refused(out, fault):
    with pytest.raises(ValueError, match=fault):
        applied(change([(1, 1)], [(2, 1)], snapshot=True)).snapshot_into("x", "S", out)


def test_an_array_that_must_not_be_written_is_refused_and_stays_as_it_is():
    out = np.zeros((2, 2, 2))
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out"):
        applied(change([(1, 1)], [(2, 1)], snapshot=True)).snapshot_into("x", "S", out)
    assert not out.any()
