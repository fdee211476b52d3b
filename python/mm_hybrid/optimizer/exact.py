"""Exact quotes of a maker whose position is capped, as a model.

They differ from the closed form near the cap, where the closed form's skew is a straight line and the exact one is not.
The table over all inventories is computed anew when a parameter has moved by more than :data:`REFRESH_AT`.

Source: Gueant, Lehalle and Fernandez-Tapia, "Dealing with the inventory risk" (2013); computed in the core.
"""

from __future__ import annotations

import math
from typing import Any

from mm_hybrid.config import QuotingConfig
from mm_hybrid.models import RiskAversion, exact_quotes
from mm_hybrid.optimizer.base import BaseQuote, TermsOf, have_moved
from mm_hybrid.types import Features, Position

REFRESH_AT = 0.005
"""Relative change of a parameter that makes the table anew; the quotes move by less than that."""

REFRESH_AT_LOTS = 0.02
"""Change of the drift that makes the table anew, in orders of inventory that the drift alone would hold."""

MAX_LOTS = 1000

_NAMES = (
    "intensity_a", "intensity_k", "sigma", "gamma", "size", "fee", "impact", "age_s",
)  # fmt: skip


class ExactBounded:
    """Quotes the table of :func:`mm_hybrid.models.exact_quotes`, linear between whole orders of inventory."""

    name = "exact"

    def __init__(self, config: QuotingConfig) -> None:
        self._terms = TermsOf(config)
        self._max_lots = min(max(math.ceil(config.position_limit_orders), 1), MAX_LOTS)
        self._risk = RiskAversion(sd_lots=config.inventory_sd_orders)
        self._made_with: tuple[float, ...] = ()
        self._pull_lots = 0.0
        self._bid: list[float] = []
        self._ask: list[float] = []

    def base_quote(self, features: Features, position: Position) -> BaseQuote:
        """Return the quote.

        Raises:
            ValueError: the calibration is out of the formula's range; names the parameter.
        """
        terms, calibration = self._terms(features), features.calibration
        size, fee, sigma, age_s, impact, to_bps, floor_bps, limit, widening = terms
        a, k, drift = calibration.intensity_a, calibration.intensity_k, calibration.drift
        gamma = self._risk.follow(
            features.timestamp_ns, calibration.source, a, k, sigma, size, fee, impact, age_s
        )
        market = (a, k, sigma, gamma, size, fee, impact, age_s)
        pull_lots = drift / (gamma * sigma * sigma * size) if drift else 0.0
        if abs(pull_lots - self._pull_lots) > REFRESH_AT_LOTS or (
            market != self._made_with and have_moved(self._made_with, market, REFRESH_AT)
        ):
            self._make(market, drift)
            self._pull_lots = pull_lots
        bid_table, ask_table, flat = self._bid, self._ask, self._max_lots
        # Linear between whole orders, and flat beyond the cap.
        index = min(max(flat + float(position.qty_base) / size, 0.0), 2.0 * flat)
        low = min(int(index), 2 * flat - 1)
        share = index - low
        bid, ask, scale = bid_table[flat], ask_table[flat], to_bps * widening
        return BaseQuote(
            bid * scale,
            ask * scale,
            (bid_table[low] + share * (bid_table[low + 1] - bid_table[low]) - bid) * to_bps,
            (ask_table[low] + share * (ask_table[low + 1] - ask_table[low]) - ask) * to_bps,
            floor_bps,
            limit,
            size,
        )

    def _make(self, market: tuple[float, ...], drift: float) -> None:
        table: dict[str, Any] = exact_quotes(
            max_lots=self._max_lots, drift=drift, **dict(zip(_NAMES, market, strict=True))
        )
        # At its cap a side has no quote; the position limit keeps it away, the neighbour's distance is as good as any.
        bid, ask = table["delta_bid"], table["delta_ask"]
        self._bid, self._ask = [*bid[:-1], bid[-2]], [ask[1], *ask[1:]]
        self._made_with = market
