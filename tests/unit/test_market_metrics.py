"""Every metric of one symbol through its public Python name, and what it costs in memory."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from mm_hybrid._core import EventBatch
from mm_hybrid.models import MarketMetrics, MicropriceFit, MicropriceTable


def stamp(second: float) -> str:
    ms = round(second * 1000)
    return f"2026-01-01T{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}Z"


def message(second: float, kind: str, **fields: object) -> bytes:
    times = {"timestamp": stamp(second), "localTimestamp": stamp(second)}
    return json.dumps({"type": kind, "symbol": "BTCUSDT", "exchange": "bybit", **fields, **times}).encode()


def book(second: float, bids: list[tuple[float, float]], asks: list[tuple[float, float]]) -> bytes:
    sides = [[{"price": price, "amount": qty} for price, qty in side] for side in (bids, asks)]
    return message(second, "book_change", isSnapshot=True, bids=sides[0], asks=sides[1])


def trade(second: float, side: str, qty: float, price: float = 100.0) -> bytes:
    return message(second, "trade", id="1", price=price, amount=qty, side=side)


def read(metrics: MarketMetrics, *messages: bytes) -> dict:
    metrics.update(EventBatch.decode(list(messages)))
    return metrics.read()


def test_before_the_first_book_nothing_is_known():
    got = MarketMetrics().read()
    assert got["mid_price"] is None
    assert got["alarms"] == []
    assert got["episodes"] == 0


def test_what_the_touch_says():
    got = read(MarketMetrics(), book(1, [(99.0, 3.0), (98.0, 1.0)], [(101.0, 1.0), (102.0, 1.0)]))
    assert got["mid_price"] == 100.0
    assert got["spread_bps"] == pytest.approx(200.0)
    assert got["weighted_mid"] == pytest.approx((99 * 1 + 101 * 3) / 4)
    assert got["microprice"] == got["weighted_mid"], "no table"
    assert got["imbalance"] == pytest.approx((4 - 2) / 6)


def test_flows_add_up_what_takers_did_and_what_the_touch_gained_and_lost():
    metrics = MarketMetrics()
    read(metrics, book(1, [(99.0, 3.0)], [(101.0, 1.0)]), trade(1.1, "buy", 2.0), trade(1.2, "sell", 0.5))
    got = read(metrics, book(1.5, [(99.0, 5.0)], [(101.0, 0.5)]))
    assert got["trade_flow_10s"] == pytest.approx(1.5)
    assert got["trade_imbalance_60s"] == pytest.approx(1.5 / 2.5)
    assert got["ofi_10s"] == pytest.approx(2.0 + 0.5)


@pytest.mark.parametrize(("bps", "bid_base"), [(100, 1.0), (150, 1.0), (200, 3.0), (1000, 7.0)])
def test_the_depth_counts_what_rests_within_the_band_asked_for(bps, bid_base):
    metrics = MarketMetrics(depth_band_bps=bps)
    depth = read(metrics, book(1, [(99.0, 1.0), (98.0, 2.0), (95.0, 4.0)], [(101.0, 1.0)]))["depth"]
    assert depth["bid_base"] == bid_base
    assert depth["covered_pct"] <= bps / 100


def test_a_lost_connection_is_an_alarm_until_the_book_is_back():
    metrics = MarketMetrics()
    read(metrics, book(1, [(99.0, 1.0)], [(101.0, 1.0)]))
    lost = json.dumps({"type": "disconnect", "exchange": "bybit", "localTimestamp": stamp(2)}).encode()
    assert read(metrics, lost)["alarms"] == ["feed_fault"]
    assert metrics.alarms() == (False, ["feed_fault"])
    read(metrics, book(3, [(99.0, 1.0)], [(101.0, 1.0)]), book(20, [(99.0, 2.0)], [(101.0, 1.0)]))
    assert [episode["kind"] for episode in metrics.take_episodes()] == ["feed_fault"]
    assert metrics.take_episodes() == []


def test_events_of_another_symbol_are_passed_over():
    metrics = MarketMetrics(symbol="ETHUSDT")
    assert read(metrics, book(1, [(99.0, 1.0)], [(101.0, 1.0)]))["mid_price"] is None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"imbalance_levels": 0}, "imbalance_levels"),
        ({"depth_band_bps": 10_000}, "depth_band_bps"),
        ({"volatility_window_s": 4000}, "volatility_window_s"),
        ({"vpin_buckets": 0}, "vpin_buckets"),
        ({"false_alarms_per_hour": 0.0}, "budget_per_hour"),
    ],
)
def test_a_value_that_cannot_be_measured_with_is_refused_by_name(options, named):
    with pytest.raises(ValueError, match=named):
        MarketMetrics(**options)


def leaning_market(seed: int, changes: int) -> list[bytes]:
    """A market of one tick's spread whose mid moves towards the thinner side more often than not."""
    dice, bid, messages = np.random.default_rng(seed), 1000, []
    share = 0.5
    for step in range(changes):
        if dice.random() < 0.2:
            bid += 1 if dice.random() < share else -1
        share = float(dice.uniform(0.05, 0.95))
        messages.append(book(step * 0.01, [(bid, round(share, 3))], [(bid + 1, round(1 - share, 3))]))
    return messages


def test_a_fitted_table_moves_the_microprice_to_where_the_mid_goes():
    fit = MicropriceFit(symbol="BTCUSDT", tick_size=1.0, imbalance_bins=4, spreads=1)
    fit.update(EventBatch.decode(leaning_market(1, 20_000)))
    assert fit.seen > 15_000
    table = fit.fit()
    assert table.ticks.shape == (1, 4)
    row = table.ticks[0]
    assert list(row) == sorted(row), "the more bids, the higher"
    assert row[0] == pytest.approx(-row[-1]), "counted with its mirror image"
    assert row[-1] > 0.02
    metrics = MarketMetrics(microprice=table)
    got = read(metrics, book(1, [(99.0, 9.0)], [(100.0, 1.0)]))
    assert got["microprice"] == pytest.approx(99.5 + row[-1])
    assert table.adjustment_ticks(0.9, 1) == row[-1]


def test_a_table_outlives_the_process_as_an_array():
    ticks = np.array([[-0.2, 0.0, 0.2], [-0.5, 0.0, 0.5]])
    table = MicropriceTable(ticks)
    np.testing.assert_array_equal(MicropriceTable(table.ticks).ticks, ticks)
    assert table.adjustment_ticks(1.0, 7) == 0.5, "wider spreads count as the last"
    for bad in (np.empty((0, 0)), np.array([[math.nan]])):
        with pytest.raises(ValueError, match="ticks"):
            MicropriceTable(bad)


def test_a_fit_of_nothing_says_so():
    with pytest.raises(ValueError, match="tick_size"):
        MicropriceFit(symbol="BTCUSDT", tick_size=0.0)
    with pytest.raises(ValueError, match=r"imbalance_bins"):
        MicropriceFit(symbol="BTCUSDT", tick_size=1.0, imbalance_bins=300)
    with pytest.raises(ValueError):  # noqa: PT011 -- any reason
        MicropriceFit(symbol="BTCUSDT", tick_size=1.0).fit()


def test_memory_of_a_symbol_is_bounded_and_does_not_grow_with_events():
    def resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def stretch(start: int, events: int) -> EventBatch:
        dice, messages = np.random.default_rng(start), []
        for step in range(start, start + events):
            mid = 1000 + int(dice.integers(-3, 4))
            levels = [(mid - 1 - i, 1.0) for i in range(200)], [(mid + 1 + i, 1.0) for i in range(200)]
            messages.append(
                book(step * 0.1, *levels) if step % 10 == 0 else trade(step * 0.1, "buy", 1.0, mid)
            )
        return EventBatch.decode(messages)

    symbols = [MarketMetrics() for _ in range(300)]
    first, later = stretch(0, 30), stretch(30, 2000)
    before = resident_bytes()
    for metrics in symbols:
        metrics.update(first)
    made = resident_bytes()
    for metrics in symbols:
        metrics.update(later)
    grown = resident_bytes()
    assert (made - before) / len(symbols) < 96 * 1024
    assert (grown - made) / len(symbols) < 4 * 1024
