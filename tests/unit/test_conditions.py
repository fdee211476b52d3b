"""What a session measures of its market: own fills, the age of its information, the kind of market."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from markets import FEATURES, market
from mm_hybrid._core import EventBatch
from mm_hybrid.calibration import StreamCalibrator
from mm_hybrid.conditions import Conditions, Judgement
from mm_hybrid.config import QuotingConfig
from mm_hybrid.journal.latency import RoundTrips
from mm_hybrid.models import gamma_for_inventory_sd, glft_closed_form
from mm_hybrid.optimizer.assemble import model_of
from mm_hybrid.types import Calibration, Position

CALIBRATION = Calibration(intensity_a=1.5, intensity_k=0.2, sigma=5.0, source="stream")


class Book:
    """The fields of a book that are looked at."""

    def __init__(
        self, second: float, mid: float = 60_000.0, depth: float = 1.0, late_ms: float = 20.0
    ) -> None:
        self.timestamp = round(second * 1e9)
        self.exchange_ts_ns = self.timestamp - round(late_ms * 1e6)
        self.mid_price = mid
        self.spread_bps = 0.02
        self.bids = self.asks = np.array([[mid, depth]] * 5)


def observed(conditions: Conditions, book: Any, **estimates: Any) -> Judgement:
    return conditions.observe(book, estimates, CALIBRATION)


def test_a_price_that_runs_away_after_own_fills_is_charged_as_far_as_it_is_known() -> None:
    conditions = Conditions(QuotingConfig())
    mid, impacts = 60_000.0, []
    for i in range(100):
        second = 10.0 * i
        conditions.fill(round(second * 1e9), "buy", mid)
        mid -= 3.0
        observed(conditions, Book(second + 6, mid))
        impacts.append(conditions.refine(CALIBRATION, None).impact)
    assert impacts[0] == 0.0
    assert impacts == sorted(impacts)
    assert 2.0 < impacts[-1] < 3.0
    assert conditions.adverse is not None
    assert conditions.adverse["toxic_share"] == 1.0


def test_luck_after_own_fills_is_not_charged_and_disaster_is_capped() -> None:
    for move, impact in ((-3.0, 0.0), (1000.0, 10.0)):
        conditions, mid = Conditions(QuotingConfig()), 60_000.0
        for i in range(50):
            conditions.fill(10 * i * 10**9, "sell", mid)
            mid += move
            observed(conditions, Book(10.0 * i + 6, mid))
        assert conditions.refine(CALIBRATION, None).impact == impact


def test_the_age_of_information_is_feed_and_order_latency_and_half_a_requote() -> None:
    conditions = Conditions(QuotingConfig(requote_ms=100))
    assert conditions.refine(CALIBRATION, 0.03).age_s is None, (
        "before anything is measured the configured one holds"
    )
    for second in range(10):
        observed(conditions, Book(second, late_ms=20.0))
    assert conditions.refine(CALIBRATION, None).age_s is None
    assert conditions.refine(CALIBRATION, 0.03).age_s == pytest.approx(0.02 + 0.03 + 0.05)


def test_a_clock_that_is_ahead_or_far_behind_says_nothing_about_latency() -> None:
    conditions = Conditions(QuotingConfig())
    for late_ms in (-500.0, 3_600_000.0):
        observed(conditions, Book(1, late_ms=late_ms))
    assert conditions.refine(CALIBRATION, 0.01).age_s is None


@pytest.mark.parametrize(
    ("changed", "estimates", "regime", "evidence"),
    [
        ({}, {}, "calm", ""),
        ({"depth": 0.1}, {}, "thin", "depth 0.10 x usual"),
        ({}, {"spike": True}, "volatile", "spike"),
        ({}, {"return_60s_bps": 30.0}, "trending", "last minute +4.6 standard deviations"),
    ],
)
def test_the_kind_of_market_comes_with_its_evidence(
    changed: dict[str, float], estimates: dict[str, Any], regime: str, evidence: str
) -> None:
    conditions = Conditions(QuotingConfig())
    for second in range(120):
        assert observed(conditions, Book(second))[0] == "calm"
    got = observed(conditions, Book(121, **changed), **estimates)
    assert got[0] == regime
    assert evidence in got[1]


def second_by_second(seconds: range, mid_of: Any) -> EventBatch:
    """Book changes ten times a second, levels of one unit one below and above the mid."""
    lines = []
    for tenth in range(seconds.start * 10, seconds.stop * 10):
        mid, ms = mid_of(tenth), tenth * 100
        stamp = f"2026-01-01T{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}Z"
        message = {
            "type": "book_change",
            "symbol": "BTCUSDT",
            "exchange": "bybit",
            "isSnapshot": True,
            "bids": [{"price": mid - 1, "amount": 1}],
            "asks": [{"price": mid + 1, "amount": 1}],
            "timestamp": stamp,
            "localTimestamp": stamp,
        }
        lines.append(json.dumps(message).encode())
    return EventBatch.decode(lines)


def test_a_spike_is_what_passes_the_threshold_of_the_alarm_budget_once_that_is_known() -> None:
    conditions = Conditions(QuotingConfig(), symbol="BTCUSDT")
    walk = np.random.default_rng(1).integers(-2, 3, 8000).cumsum()

    def quiet(tenth: int) -> int:
        return 60_000 + int(walk[tenth])

    conditions.update(second_by_second(range(300), quiet))
    assert observed(conditions, Book(300), spike=True).spike, "no threshold yet: the fixed one stands in"
    conditions.update(second_by_second(range(300, 700), quiet))
    conditions.take_episodes()
    assert not observed(conditions, Book(700), spike=True).spike
    conditions.update(second_by_second(range(700, 701), lambda tenth: quiet(tenth) + 300))
    got = observed(conditions, Book(701))
    assert got.spike
    assert (got.regime, got.evidence.split(",")[0]) == ("volatile", "spike")
    conditions.update(second_by_second(range(701, 720), lambda tenth: quiet(tenth) + 300))
    episodes = [episode for episode in conditions.take_episodes() if episode["kind"] == "spike"]
    assert len(episodes) == 1
    assert episodes[0]["score"] > episodes[0]["threshold"]


def test_round_trips_count_the_first_answer_of_the_venue_alone() -> None:
    trips = RoundTrips()
    trips.sent(1, 1_000_000)
    trips.answered(1, "SENT", "local", 2_000_000)
    trips.answered(None, "ACKED", "rest", 2_000_000)
    assert trips.mean_s is None
    trips.answered(1, "ACKED", "rest", 11_000_000)
    trips.answered(1, "FILLED", "stream", 999_000_000)
    assert trips.mean_s == pytest.approx(0.01)
    for seq in range(5000):
        trips.sent(seq, 0)
    assert len(trips._sent) <= 1000


def estimates(drift: float, se_drift: float, seconds: float = 600.0, orders: int = 500) -> dict[str, Any]:
    return {
        "intensity_a": 1.5, "intensity_k": 0.2, "se_k": 0.01, "sigma": 5.0, "orders_seen": orders,
        "seconds_seen": seconds, "drift": drift, "se_drift": se_drift,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("read", "believed"),
    [
        (estimates(0.3, 0.2), 0.0),
        (estimates(-0.3, 0.2), 0.0),
        (estimates(0.5, 0.2), 0.1),
        (estimates(-0.5, 0.2), -0.1),
        (estimates(50.0, 0.2), 0.6),
        (estimates(0.5, 0.2, seconds=60.0), 0.0),
        (estimates(0.5, math.inf, seconds=600.0), 0.0),
        (estimates(0.5, 0.2, orders=0), 0.1),
        ({}, 0.0),
    ],
)
def test_a_drift_is_believed_beyond_two_errors_and_never_more_than_three(
    read: dict[str, Any], believed: float
) -> None:
    got = StreamCalibrator(QuotingConfig()).calibration(read, 60_000.0)
    assert got.drift == pytest.approx(believed)
    assert StreamCalibrator(QuotingConfig(use_drift=False)).calibration(read, 60_000.0).drift == 0.0


@pytest.mark.parametrize("name", ["glft", "exact", "seed_pnl"])
def test_quotes_lean_where_the_price_is_going_and_as_far_in_every_model(name: str) -> None:
    model = model_of(QuotingConfig(optimizer=name))
    flat = model.base_quote(market(), Position())
    calibration = replace(FEATURES.calibration, drift=0.3)
    rising = model.base_quote(market(calibration=calibration), Position())
    falling = model.base_quote(market(calibration=replace(calibration, drift=-0.3)), Position())
    if name == "seed_pnl":
        assert rising == flat == falling, "the identity knows one width and no direction"
        return
    assert rising.bid_half_bps < flat.bid_half_bps < falling.bid_half_bps
    assert rising.ask_half_bps > flat.ask_half_bps > falling.ask_half_bps
    closed = glft_closed_form(
        intensity_a=1.5, intensity_k=0.2, sigma=5.0, size=0.01, fee=0.6, age_s=0.1, drift=0.3,
        gamma=gamma_for_inventory_sd(
            sd_lots=1.5, intensity_a=1.5, intensity_k=0.2, sigma=5.0, size=0.01, fee=0.6, age_s=0.1
        ),
    )  # fmt: skip
    assert rising.bid_half_bps == pytest.approx(closed.delta_bid / 6.0, rel=0.01)
    assert rising.ask_half_bps == pytest.approx(closed.delta_ask / 6.0, rel=0.01)
