"""The closed form with inventory as a model: half-spread, skew, floor and limit from one calibration.

The risk aversion is not a matter of taste: it follows from the inventory the user is ready to carry
(``QuotingConfig.inventory_sd_orders``).

Source: Gueant, "Optimal market making" (2017), equations 4.6 and 4.7; computed in the core.
"""

from __future__ import annotations

from mm_hybrid.config import QuotingConfig
from mm_hybrid.models import gamma_for_inventory_sd, glft_closed_form
from mm_hybrid.optimizer.base import BaseQuote, RiskAversion, Terms, TermsOf, recommendation
from mm_hybrid.types import Features, Position, SpreadRecommendation


class GlftOptimizer:
    """Quotes the closed form; its state is the slow risk aversion alone.

    Example:
        >>> optimizer = GlftOptimizer(QuotingConfig())
        >>> recommendation = optimizer.recommend(features, Position())  # doctest: +SKIP
    """

    name = "glft"

    def __init__(self, config: QuotingConfig) -> None:
        self._terms = TermsOf(config)
        self._inventory_sd = config.inventory_sd_orders
        self._risk = RiskAversion()

    def recommend(self, features: Features, position: Position) -> SpreadRecommendation:
        """Return the closed form's half-spreads, skewed by the position."""
        return recommendation(self.base_quote(features, position), features)

    def base_quote(self, features: Features, position: Position) -> BaseQuote:
        """Return the parts of the recommendation.

        Raises:
            ValueError: the calibration is out of the formula's range; names the parameter.
        """
        return self.quote_on(self._terms(features), features, position)

    def quote_on(self, terms: Terms, features: Features, position: Position) -> BaseQuote:
        """Return the quote on terms that are already known; raises like :meth:`base_quote`."""
        size, fee, sigma, age_s, impact, to_bps, floor_bps, limit, widening = terms
        calibration = features.calibration
        a, k = calibration.intensity_a, calibration.intensity_k
        wanted = gamma_for_inventory_sd(
            sd_lots=self._inventory_sd, intensity_a=a, intensity_k=k, sigma=sigma, size=size, fee=fee,
            impact=impact, age_s=age_s,
        )  # fmt: skip
        quotes = glft_closed_form(
            intensity_a=a, intensity_k=k, sigma=sigma, size=size, fee=fee, impact=impact, age_s=age_s,
            drift=calibration.drift,
            gamma=self._risk.follow(wanted, features.timestamp_ns, calibration.source),
        )  # fmt: skip
        scale = to_bps * widening
        skew = quotes.skew_per_unit * float(position.qty_base) * to_bps
        return BaseQuote(
            quotes.delta_bid * scale, quotes.delta_ask * scale, skew, -skew, floor_bps, limit, size
        )
