"""The width of the greatest expected profit as a model.

Expected profit = spread x trade frequency - loss rate x loss amount x losses - inventory cost x holding time. That
identity chooses a width and knows no inventory, and width alone cannot steer inventory; so the skew is the closed
form's (see :mod:`mm_hybrid.optimizer.glft`).

The width is computed anew when a parameter has moved by more than :data:`REFRESH_AT`.
"""

from __future__ import annotations

from typing import Any

from mm_hybrid.config import QuotingConfig
from mm_hybrid.models import seed_pnl_linear, seed_pnl_renewal, seed_pnl_toxic
from mm_hybrid.optimizer.base import BaseQuote, TermsOf, have_moved
from mm_hybrid.optimizer.glft import GlftOptimizer
from mm_hybrid.types import Features, Position

REFRESH_AT = 0.005
"""Relative change of a parameter that makes the width anew."""


class SeedPnl:
    """Quotes the best width of the expected-profit identity, skewed like the closed form."""

    name = "seed_pnl"

    def __init__(self, config: QuotingConfig) -> None:
        self._terms = TermsOf(config)
        self._config = config.seed_pnl
        self._closed_form = GlftOptimizer(config)
        self._made_with: tuple[float, ...] = ()
        self._delta = 0.0

    def base_quote(self, features: Features, position: Position) -> BaseQuote:
        """Return the quote.

        Raises:
            ValueError: the calibration or an assumption is out of range, or leaves no width worth quoting; names it.
        """
        terms, calibration = self._terms(features), features.calibration
        skewed = self._closed_form.quote_on(terms, features, position)
        a, k = calibration.intensity_a, calibration.intensity_k
        # Old information and own fills cost as much per fill as in the closed form.
        cost = terms.fee + terms.impact / 2 + k * terms.sigma**2 * terms.age_s
        parameters = (a, k, terms.size, cost)
        if parameters != self._made_with and have_moved(self._made_with, parameters, REFRESH_AT):
            self._delta = self._expected(a, k, terms.size, cost)["delta"]
            self._made_with = parameters
        half = self._delta * terms.to_bps * terms.widening
        return BaseQuote(half, half, *skewed[2:])

    def _expected(self, a: float, k: float, size: float, fee: float) -> dict[str, float]:
        config, depth = self._config, 1 / k
        common: dict[str, Any] = {
            "intensity_a": a, "intensity_k": k, "size": size, "fee": fee, "carry": config.carry * depth,
        }  # fmt: skip
        loss = config.loss * depth
        if config.variant == "linear":
            return seed_pnl_linear(p_loss=config.p0, loss=loss, hold_s=config.hold_s, **common)
        if config.variant == "toxic":
            return seed_pnl_toxic(
                p0=config.p0, p1=min(config.p1, 1 - config.p0), kappa=config.kappa * k, loss=loss,
                hold_s=config.hold_s, **common,
            )  # fmt: skip
        return seed_pnl_renewal(
            adverse=loss, timeout_s=config.timeout_s, taker_cost=config.taker_cost * depth, **common
        )
