"""What the session itself measures of the market it trades in, beside the stream's own estimates.

How far the price moves against own fills, how old the information behind a resting quote is, and what kind of market it
is. The first two go into the parameters quotes are computed with; all of it is told to the strategy and the journal.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

from mm_hybrid._core import AggregatedOrderBook, EventBatch
from mm_hybrid.config import QuotingConfig
from mm_hybrid.models import AdverseMove, MarketMetrics, RegimeDetector
from mm_hybrid.types import Calibration, Regime, Side

ADVERSE_HORIZON_S = 5.0
"""The price's move this long after a fill is held against it."""

ADVERSE_PRIOR_FILLS = 20.0
"""Fills at which half of the measured adverse move is believed."""

MAX_IMPACT_DEPTHS = 2.0
"""Largest adverse move charged, in 1/k."""

MAX_AGE_S = 5.0
"""Oldest information believed; a clock that is off by more says nothing about latency."""

_FEED_HALF_LIFE_S = 60.0
_NS_PER_S = 1e9


class Judgement(NamedTuple):
    """The kind of market, the measurement that says so, and whether the price just jumped."""

    regime: Regime
    evidence: str
    spike: bool


class Conditions:
    """Measures one symbol.

    Args:
        quoting: how often quotes are looked at; half of that is part of the information's age.
        symbol: symbol of the market data; ``None`` takes the first one seen.
        tick_size: price grid, P; ``None`` takes that of the first book.
    """

    def __init__(
        self, quoting: QuotingConfig, *, symbol: str | None = None, tick_size: float | None = None
    ) -> None:
        self._metrics = MarketMetrics(symbol=symbol, tick_size=tick_size)
        self._half_requote_s = quoting.requote_ms / 2000
        self._regimes = RegimeDetector(slow_half_life_s=quoting.half_life_s)
        self._adverse = AdverseMove(horizon_s=ADVERSE_HORIZON_S)
        self._feed_s: float | None = None
        self._feed_ts_ns = 0

    def fill(self, now_ns: int, side: Side, mid: float) -> None:
        """Take an own fill at the mid then in force; ``now_ns`` is on the market's clock."""
        self._adverse.fill(now_ns, side, mid)

    def update(self, batch: EventBatch) -> None:
        """Take events of the market in."""
        self._metrics.update(batch)

    def take_episodes(self) -> list[dict[str, Any]]:
        """Take the episodes of alarm that are over."""
        return self._metrics.take_episodes()

    def observe(
        self, book: AggregatedOrderBook, estimates: dict[str, Any], calibration: Calibration
    ) -> Judgement:
        """Take a live book in and return what kind of market it is."""
        now_ns, mid = book.timestamp, book.mid_price or math.nan
        self._adverse.mark(now_ns, mid)
        self._note_feed(now_ns, now_ns - book.exchange_ts_ns)
        depth = sum(float(row[1]) for side in (book.bids[:5], book.asks[:5]) for row in side)
        move_bps = estimates.get("return_60s_bps")
        # Until the thresholds that follow from the alarm budget are known, a fixed one stands in.
        thresholds_known, alarms = self._metrics.alarms()
        spike = "spike" in alarms if thresholds_known else bool(estimates.get("spike", False))
        usual_bps = calibration.sigma * math.sqrt(60) / mid * 1e4
        reading = self._regimes.observe(
            now_ns,
            sigma=calibration.sigma / mid,
            spread_bps=book.spread_bps or 0.0,
            depth=depth,
            move_sigmas=None if move_bps is None or usual_bps <= 0 else move_bps / usual_bps,
            spike=spike,
        )
        others = [name.replace("_", " ") for name in alarms if name != "spike"]
        evidence = ", ".join(
            ["spike"] * spike + others + [_evidence(reading)] * (reading["regime"] != "calm")
        )
        return Judgement(reading["regime"], evidence, spike)

    def refine(self, calibration: Calibration, order_latency_s: float | None) -> Calibration:
        """Return the calibration with what was measured here.

        Args:
            calibration: parameters of the stream.
            order_latency_s: from an order's intent to the venue's answer; ``None`` before the first.
        """
        return replace(
            calibration, impact=self._impact(calibration.intensity_k), age_s=self._age_s(order_latency_s)
        )

    @property
    def adverse(self) -> dict[str, float] | None:
        """Adverse move of own fills as measured, unshrunk."""
        return self._adverse.estimate()

    def _impact(self, intensity_k: float) -> float:
        got = self._adverse.estimate()
        if got is None:
            return 0.0
        believed = got["mean"] * got["fills"] / (got["fills"] + ADVERSE_PRIOR_FILLS)
        return min(max(believed, 0.0), MAX_IMPACT_DEPTHS / intensity_k)

    def _age_s(self, order_latency_s: float | None) -> float | None:
        if order_latency_s is None or self._feed_s is None:
            return None
        return min(self._feed_s + order_latency_s + self._half_requote_s, MAX_AGE_S)

    def _note_feed(self, now_ns: int, late_ns: int) -> None:
        late_s = late_ns / _NS_PER_S
        if not 0 <= late_s <= MAX_AGE_S:
            return
        if self._feed_s is None:
            self._feed_s = late_s
        else:
            keep = math.exp2(-max(now_ns - self._feed_ts_ns, 0) / _NS_PER_S / _FEED_HALF_LIFE_S)
            self._feed_s = keep * self._feed_s + (1 - keep) * late_s
        self._feed_ts_ns = now_ns


def _evidence(reading: dict[str, Any]) -> str:
    regime = reading["regime"]
    if regime == "volatile":
        return f"volatility {reading['sigma_ratio']:.2f} x usual"
    if regime == "thin":
        return f"depth {reading['depth_ratio']:.2f} x usual, spread {reading['spread_ratio']:.2f} x usual"
    if regime == "trending":
        return f"last minute {reading['move_sigmas']:+.1f} standard deviations"
    return ""
