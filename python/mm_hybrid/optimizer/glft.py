"""The closed form as an optimizer: half-spread, skew, floor and position limit from one calibration.

The risk aversion is not a matter of taste: it follows from the inventory the user is ready to carry
(``QuotingConfig.inventory_sd_orders``). It is taken from the market at the start, and again when the
calibration changes its source; in between it follows the market slowly, so that a burst of volatility widens
quotes instead of being explained away.

Source: Gueant, "Optimal market making" (2017), equations 4.6 and 4.7; computed in the core.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mm_hybrid.config import QuotingConfig
from mm_hybrid.models import gamma_for_inventory_sd, glft_closed_form
from mm_hybrid.types import Features, Position, SpreadRecommendation

RISK_HALF_LIFE_S = 1800.0
"""How slowly the risk aversion follows the market."""

MIN_SIGMA_TICKS = 0.1
"""Least volatility believed, ticks per square root of a second: a price that never moved still can."""

_BPS = 1e4


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedFormQuote:
    """The closed form's answer, all distances in bps of mid.

    Attributes:
        half_bps: half-spread of a flat book, before floor, advice and skew; the anchor advice is measured
            against.
        skew_bps: how far both quotes shift down because of the inventory (positive when long).
        floor_bps: least half-spread: maker fee, one tick and the configured safety.
        position_limit: absolute cap, base units.
        size: quantity of one order, base units.
    """

    half_bps: float
    skew_bps: float
    floor_bps: float
    position_limit: float
    size: float


class GlftOptimizer:
    """Recommends the closed form's quotes; state is the slow risk aversion alone.

    Example:
        >>> optimizer = GlftOptimizer(QuotingConfig())
        >>> recommendation = optimizer.recommend(features, Position())  # doctest: +SKIP
    """

    def __init__(self, config: QuotingConfig) -> None:
        self._config = config
        self._log_gamma: float | None = None
        self._gamma_source: str | None = None
        self._gamma_ts_ns = 0

    def recommend(self, features: Features, position: Position) -> SpreadRecommendation:
        """Return the closed form's half-spreads, skewed by the position."""
        quote = self.closed_form(features, position)
        return recommendation(quote, quote.half_bps, quote.half_bps, features)

    def closed_form(self, features: Features, position: Position) -> ClosedFormQuote:
        """Return the parts of the recommendation.

        Raises:
            ValueError: the calibration is out of the formula's range; names the parameter.
        """
        config, instrument, mid = self._config, features.instrument, features.mid_price
        tick = float(instrument.tick_size)
        calibration = features.calibration
        size = max(config.order_size_quote / mid, float(instrument.min_qty))
        market = {
            "intensity_a": calibration.intensity_a,
            "intensity_k": calibration.intensity_k,
            "sigma": max(calibration.sigma, MIN_SIGMA_TICKS * tick),
            "size": size,
            "fee": float(instrument.maker_fee_rate) * mid,
            "age_s": config.information_age_ms / 1000,
        }
        gamma = self._gamma(
            gamma_for_inventory_sd(sd_lots=config.inventory_sd_orders, **market),
            features.timestamp_ns,
            calibration.source,
        )
        quotes = glft_closed_form(gamma=gamma, **market)
        to_bps = _BPS / mid
        return ClosedFormQuote(
            half_bps=quotes.half_spread * to_bps,
            skew_bps=quotes.skew_per_unit * float(position.qty_base) * to_bps,
            floor_bps=float(instrument.maker_fee_rate) * _BPS + tick * to_bps + config.safety_bps,
            position_limit=config.position_limit_orders * size,
            size=size,
        )

    def _gamma(self, wanted: float, now_ns: int, source: str) -> float:
        target = math.log(wanted)
        if self._log_gamma is None or self._gamma_source != source:
            self._log_gamma, self._gamma_source = target, source
        else:
            age_s = max(0, now_ns - self._gamma_ts_ns) / 1e9
            keep = math.exp2(-age_s / RISK_HALF_LIFE_S)
            self._log_gamma = keep * self._log_gamma + (1 - keep) * target
        self._gamma_ts_ns = now_ns
        return math.exp(self._log_gamma)


def recommendation(
    quote: ClosedFormQuote,
    bid_half_bps: float,
    ask_half_bps: float,
    features: Features,
    *,
    position_limit: float | None = None,
    advice_weight: float = 0.0,
    anomaly: str = "none",
) -> SpreadRecommendation:
    """Return a recommendation from half-spreads before skew: floor first, then skew.

    The skew may bring the unloading side inside the floor, never past the mid.
    """
    calibrated = features.calibration.source != "prior"
    return SpreadRecommendation(
        recommended_bid_spread_bps=max(max(bid_half_bps, quote.floor_bps) + quote.skew_bps, 0.0),
        recommended_ask_spread_bps=max(max(ask_half_bps, quote.floor_bps) - quote.skew_bps, 0.0),
        position_limit=quote.position_limit if position_limit is None else position_limit,
        confidence=1.0 if calibrated else 0.5,
        reasoning=(
            f"closed form on {'a calibrated market' if calibrated else 'priors'}: half-spread "
            f"{quote.half_bps:.3f} bps, skew {quote.skew_bps:+.3f} bps, floor {quote.floor_bps:.3f} bps"
        ),
        base_bid_half_bps=quote.half_bps,
        base_ask_half_bps=quote.half_bps,
        advice_weight=advice_weight,
        anomaly=anomaly,
    )
