"""The closed form with inventory as a model: half-spread, skew, floor and limit from one calibration.

The risk aversion is not a matter of taste: it follows from the inventory the user is ready to carry
(``QuotingConfig.inventory_sd_orders``).

Source: Gueant, "Optimal market making" (2017), equations 4.6 and 4.7; computed in the core.
"""

from __future__ import annotations

from mm_hybrid.config import QuotingConfig
from mm_hybrid.models import RiskAversion
from mm_hybrid.optimizer.base import BaseQuote, Terms, TermsOf, recommendation
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
        self._risk = RiskAversion(sd_lots=config.inventory_sd_orders)

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
        bid, ask, skew_per_unit = self._risk.closed_form(
            features.timestamp_ns, calibration.source, calibration.intensity_a, calibration.intensity_k, sigma, size,
            fee, impact, age_s, calibration.drift,
        )  # fmt: skip
        scale = to_bps * widening
        skew = skew_per_unit * float(position.qty_base) * to_bps
        return BaseQuote(bid * scale, ask * scale, skew, -skew, floor_bps, limit, size)
