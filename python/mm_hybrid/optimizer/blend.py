"""From advice to quote: what an advisor may do to a model's half-spreads, and nothing more.

Widening is cheap and tightening is where adverse selection lives, so advice is clamped to [0.8, 3] times the
closed form, weighted, and mixed in logarithms. With weight 0 (shadow mode) the model comes through bit
for bit. The same band holds for the distances with the skew in them. Rounding to the grid and risk checks come after,
in code no advisor reaches.
"""

from __future__ import annotations

import math
from typing import Protocol

from mm_hybrid.optimizer.advice import Advice, Anomaly
from mm_hybrid.optimizer.base import BAND, Model, recommendation
from mm_hybrid.types import Features, Position, SpreadRecommendation

RATIO_GATE = (0.1, 10.0)
"""Advice outside these multiples of the closed form is a unit error, not an opinion: rejected whole."""

MAX_SLEW = 1.25
"""Largest change of the advised multiple from one update to the next."""

MAX_WEIGHT = 0.5
"""Largest weight an advisor may have."""


def within_gate(base_bps: float, advised_bps: float) -> bool:
    """Return whether advice can be an opinion on ``base_bps`` at all."""
    return RATIO_GATE[0] <= advised_bps / base_bps <= RATIO_GATE[1]


def clamped(base_bps: float, advised_bps: float) -> float:
    """Return advice moved into the allowed band around ``base_bps``."""
    return min(max(advised_bps, BAND[0] * base_bps), BAND[1] * base_bps)


def weight_at(max_weight: float, age_ns: int, ttl_ns: int) -> float:
    """Return the weight of advice of this age: falling from ``max_weight`` to 0 at the end of its life."""
    if not 0 <= age_ns < ttl_ns:
        return 0.0
    return min(max_weight, MAX_WEIGHT) * (1 - age_ns / ttl_ns)


def blended_multiple(base_bps: float, advised_bps: float, weight: float) -> float:
    """Return the factor on ``base_bps``: exactly 1 at weight 0, the clamped advice's ratio at weight 1."""
    if weight == 0:
        return 1.0
    return math.exp(weight * math.log(clamped(base_bps, advised_bps) / base_bps))


class AdviceSource(Protocol):
    """Where advice in force comes from; reading it never waits."""

    def advice_for(self, now_ns: int, features: Features) -> Advice | None:
        """Return the advice that still applies to this market, if any."""
        ...


class AdvisedOptimizer:
    """A model with an advisor beside it.

    Args:
        model: what quotes without advice, and the anchor with it.
        source: where advice comes from; ``None`` for the model alone.
        max_weight: weight of fresh advice, 0 (shadow) to 0.5.
        ttl_s: life of advice, from the time of the snapshot it was asked about.
    """

    def __init__(
        self,
        model: Model,
        source: AdviceSource | None,
        *,
        max_weight: float = 0.0,
        ttl_s: float = 60.0,
    ) -> None:
        if not 0 <= max_weight <= MAX_WEIGHT:
            raise ValueError(f"max_weight must be in [0, {MAX_WEIGHT}], got {max_weight}")
        self._model = model
        self._source = source
        self._max_weight = max_weight
        self._ttl_ns = round(ttl_s * 1e9)
        self._bid = self._ask = 1.0

    def recommend(self, features: Features, position: Position) -> SpreadRecommendation:
        """Return the model's half-spreads moved by advice as far as its weight allows.

        Advice acts on parameters of now alone: while the model has to fall back, it has no say.
        """
        quote = self._model.base_quote(features, position)
        advice = None
        if self._source is not None and self._max_weight > 0 and quote.basis == "live":
            advice = self._source.advice_for(features.timestamp_ns, features)
        if advice is None:
            bid = self._bid = _slewed(self._bid, 1.0)
            ask = self._ask = _slewed(self._ask, 1.0)
            return recommendation(quote, features, bid_multiple=bid, ask_multiple=ask)
        weight = weight_at(self._max_weight, features.timestamp_ns - advice.snapshot_ts_ns, self._ttl_ns)
        least = 1.0 if advice.anomaly is not Anomaly.NONE else 0.0
        wanted_bid = blended_multiple(quote.bid_half_bps, advice.bid_half_bps, weight)
        wanted_ask = blended_multiple(quote.ask_half_bps, advice.ask_half_bps, weight)
        bid = self._bid = _slewed(self._bid, max(wanted_bid, least))
        ask = self._ask = _slewed(self._ask, max(wanted_ask, least))
        limit = quote.position_limit * min(advice.position_limit_frac, 1.0)
        if advice.anomaly is Anomaly.DATA_FAULT:
            limit = 0.0
        return recommendation(
            quote,
            features,
            bid_multiple=bid,
            ask_multiple=ask,
            position_limit=limit if weight > 0 else None,
            advice_weight=weight,
            anomaly=advice.anomaly.value,
        )


def _slewed(last: float, wanted: float) -> float:
    return min(max(wanted, last / MAX_SLEW), last * MAX_SLEW)
