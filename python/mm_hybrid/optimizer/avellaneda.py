"""The horizon model of Avellaneda and Stoikov, with a horizon that rolls on for ever.

The fill rate does not enter it, so its result depends on the horizon chosen; it is here for comparison. Fee, impact and
age of the information, which the paper does not know, are added to the half-spread as in the closed form.

Source: Avellaneda and Stoikov, "High-frequency trading in a limit order book" (2008), equations 3.17 and 3.18.
"""

from __future__ import annotations

from mm_hybrid.config import QuotingConfig
from mm_hybrid.models import RiskAversion, as_quotes
from mm_hybrid.optimizer.base import BaseQuote, TermsOf
from mm_hybrid.types import Features, Position


class AvellanedaStoikov:
    """Quotes around the indifference price, ``horizon_s`` before an end that never comes."""

    name = "avellaneda_stoikov"

    def __init__(self, config: QuotingConfig) -> None:
        self._terms = TermsOf(config)
        self._config = config
        self._risk = RiskAversion(sd_lots=config.inventory_sd_orders)

    def base_quote(self, features: Features, position: Position) -> BaseQuote:
        """Return the quote.

        Raises:
            ValueError: the calibration is out of the formula's range; names the parameter.
        """
        terms, calibration = self._terms(features), features.calibration
        k = calibration.intensity_k
        gamma = self._risk.follow(
            features.timestamp_ns, calibration.source, calibration.intensity_a, k, terms.sigma, terms.size, terms.fee,
            terms.impact, terms.age_s,
        )  # fmt: skip
        # The paper's unit of inventory is one order.
        quotes = as_quotes(
            s=0.0, q=float(position.qty_base) / terms.size, gamma=gamma * terms.size, sigma=terms.sigma, k=k,
            tau=self._config.horizon_s,
        )  # fmt: skip
        added = terms.fee + terms.impact / 2 + k * terms.sigma**2 * terms.age_s
        half = (quotes["spread"] / 2 + added) * terms.to_bps * terms.widening
        skew = -quotes["reservation"] * terms.to_bps
        return BaseQuote(half, half, skew, -skew, terms.floor_bps, terms.position_limit, terms.size)
