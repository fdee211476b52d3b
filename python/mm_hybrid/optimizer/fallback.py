"""What is quoted when a model has no answer: the last good parameters widened, then a fixed width, then nothing.

The order is: parameters of now, the last good ones with the half-spread times :data:`LAST_GOOD_WIDENING`, the
configured fixed half-spread, no quotes. Each step down and up is told once, with the reason.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace

from mm_hybrid.config import QuotingConfig
from mm_hybrid.optimizer.base import BaseQuote, Model, TermsOf
from mm_hybrid.types import Basis, Calibration, Features, Position

log = logging.getLogger(__name__)

LAST_GOOD_WIDENING = 1.5
"""Factor on the half-spread while the parameters are not of now."""

LAST_GOOD_MAX_AGE_S = 900.0
"""Older parameters describe another market."""

Tell = Callable[[Basis, str], object]


class Fallback:
    """A model that always has an answer.

    Args:
        model: what is asked first.
        config: the fixed half-spread of the last resort.
        tell: called with every change of basis and its reason.
    """

    def __init__(
        self, model: Model, config: QuotingConfig, tell: Tell = lambda _basis, _reason: None
    ) -> None:
        self.name = model.name
        self._model = model
        self._static_half_bps = config.static_half_bps
        self._terms = TermsOf(config)
        self._tell = tell
        self._basis: Basis = "live"
        self._good: tuple[int, float, Calibration] | None = None

    def base_quote(self, features: Features, position: Position) -> BaseQuote:
        """Return the best quote there is; its ``basis`` and ``reason`` say which. Never raises ``ValueError``."""
        try:
            quote = checked(self._model.base_quote(features, position))
        except (ValueError, ArithmeticError) as error:
            quote = self._without(features, position, f"{self.name}: {error}")
        else:
            self._good = (features.timestamp_ns, features.mid_price, features.calibration)
        if quote.basis != self._basis:
            self._basis = quote.basis
            if quote.basis != "live":
                log.warning("quotes on basis %s: %s", quote.basis, quote.reason)
            self._tell(quote.basis, quote.reason)
        return quote

    def _without(self, features: Features, position: Position, reason: str) -> BaseQuote:
        good = self._good
        if good is not None and features.timestamp_ns - good[0] <= LAST_GOOD_MAX_AGE_S * 1e9:
            now = features.calibration
            kept = replace(good[2], drift=0.0, age_s=now.age_s if _usable_age(now.age_s) else good[2].age_s)
            try:
                quote = checked(self._model.base_quote(replace(features, calibration=kept), position))
            except (ValueError, ArithmeticError):
                pass
            else:
                return quote._replace(
                    bid_half_bps=quote.bid_half_bps * LAST_GOOD_WIDENING,
                    ask_half_bps=quote.ask_half_bps * LAST_GOOD_WIDENING,
                    basis="last_good",
                    reason=reason,
                )
        try:
            terms = self._terms(features)
        except (ValueError, ArithmeticError) as error:
            return BaseQuote(1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, "none", f"{reason}; {error}")
        half = self._static_half_bps
        if half is None or not math.isfinite(terms.floor_bps):
            return BaseQuote(1.0, 1.0, 0.0, 0.0, 1.0, 0.0, terms.size, "none", reason)
        half = max(half, terms.floor_bps)
        return BaseQuote(
            half, half, 0.0, 0.0, terms.floor_bps, terms.position_limit, terms.size, "static", reason
        )


def checked(quote: BaseQuote) -> BaseQuote:
    """Return a quote that can rest. A sum is finite only if all its parts are.

    Raises:
        ValueError: a part is no number, or a half-spread not above 0.
    """
    bid, ask, bid_skew, ask_skew, floor, limit, size, _, _ = quote
    if bid > 0 and ask > 0 and math.isfinite(bid + ask + bid_skew + ask_skew + floor + limit + size):
        return quote
    raise ValueError(f"no quote can rest at half-spreads {bid:g}, {ask:g} bps")


def _usable_age(age_s: float | None) -> bool:
    return age_s is None or (math.isfinite(age_s) and age_s >= 0)
