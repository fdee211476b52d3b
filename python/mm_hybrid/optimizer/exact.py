"""Exact quotes of a maker whose position is capped, as a model.

They differ from the closed form near the cap, where the closed form's skew is a straight line and the exact one is not.
The table over all inventories is computed anew when a parameter has moved by more than :data:`REFRESH_AT`.

Source: Gueant, Lehalle and Fernandez-Tapia, "Dealing with the inventory risk" (2013); computed in the core.
"""

from __future__ import annotations

import math
from typing import Any

from mm_hybrid.config import QuotingConfig
from mm_hybrid.models import exact_quotes, gamma_for_inventory_sd
from mm_hybrid.optimizer.base import BaseQuote, RiskAversion, TermsOf, have_moved
from mm_hybrid.types import Features, Position

REFRESH_AT = 0.005
"""Relative change of a parameter that makes the table anew; the quotes move by less than that."""

MAX_LOTS = 1000

_NAMES = (
    "intensity_a", "intensity_k", "sigma", "gamma", "size", "fee", "impact", "drift", "age_s",
)  # fmt: skip


class ExactBounded:
    """Quotes the table of :func:`mm_hybrid.models.exact_quotes`, linear between whole orders of inventory."""

    name = "exact"

    def __init__(self, config: QuotingConfig) -> None:
        self._terms = TermsOf(config)
        self._inventory_sd = config.inventory_sd_orders
        self._max_lots = min(max(math.ceil(config.position_limit_orders), 1), MAX_LOTS)
        self._risk = RiskAversion()
        self._made_with: tuple[float, ...] = ()
        self._bid: list[float] = []
        self._ask: list[float] = []

    def base_quote(self, features: Features, position: Position) -> BaseQuote:
        """Return the quote.

        Raises:
            ValueError: the calibration is out of the formula's range; names the parameter.
        """
        terms, calibration = self._terms(features), features.calibration
        a, k = calibration.intensity_a, calibration.intensity_k
        wanted = gamma_for_inventory_sd(
            sd_lots=self._inventory_sd, intensity_a=a, intensity_k=k, sigma=terms.sigma, size=terms.size,
            fee=terms.fee, impact=terms.impact, age_s=terms.age_s,
        )  # fmt: skip
        gamma = self._risk.follow(wanted, features.timestamp_ns, calibration.source)
        market = (
            a, k, terms.sigma, gamma, terms.size, terms.fee, terms.impact, calibration.drift, terms.age_s,
        )  # fmt: skip
        if market != self._made_with and have_moved(self._made_with, market, REFRESH_AT):
            self._make(market)
        lots = float(position.qty_base) / terms.size
        flat = self._max_lots
        to_bps, widening = terms.to_bps, terms.widening
        return BaseQuote(
            self._bid[flat] * to_bps * widening,
            self._ask[flat] * to_bps * widening,
            (_between(self._bid, flat + lots) - self._bid[flat]) * to_bps,
            (_between(self._ask, flat + lots) - self._ask[flat]) * to_bps,
            terms.floor_bps,
            terms.position_limit,
            terms.size,
        )

    def _make(self, market: tuple[float, ...]) -> None:
        table: dict[str, Any] = exact_quotes(
            max_lots=self._max_lots, **dict(zip(_NAMES, market, strict=True))
        )
        # At its cap a side has no quote; the position limit keeps it away, the neighbour's distance is as good as any.
        bid, ask = table["delta_bid"], table["delta_ask"]
        self._bid, self._ask = [*bid[:-1], bid[-2]], [ask[1], *ask[1:]]
        self._made_with = market


def _between(table: list[float], index: float) -> float:
    index = min(max(index, 0.0), len(table) - 1.0)
    low = min(int(index), len(table) - 2)
    return table[low] + (index - low) * (table[low + 1] - table[low])
