"""What every spread optimizer is, and the one place where half-spreads become a recommendation.

An optimizer computes a :class:`BaseQuote`: half-spreads before inventory, how inventory shifts them, and the least that
covers costs. Advice acts on the half-spreads alone; floor and skew are applied afterwards, here.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from mm_hybrid.config import QuotingConfig
from mm_hybrid.types import Basis, Features, Instrument, Position, SpreadRecommendation

BPS = 1e4

MIN_SIGMA_TICKS = 0.1
"""Least volatility believed, ticks per square root of a second: a price that never moved still can."""

MAX_ERROR_WIDENING = 2.0
"""Largest factor by which doubtful estimates widen the half-spread."""


BAND = (0.8, 3.0)
"""How far advice may move a distance, in multiples of what it is without advice."""


class SpreadOptimizer(Protocol):
    """Chooses half-spreads. Called on the quoting path: it computes and never waits."""

    def recommend(self, features: Features, position: Position) -> SpreadRecommendation:
        """Return half-spreads and position limit for the market and the position given."""
        ...


class BaseQuote(NamedTuple):
    """A model's answer, all distances in bps of mid.

    Attributes:
        bid_half_bps: half-spread below the mid at no inventory, before floor and advice; advice is measured against it.
        ask_half_bps: the same above the mid.
        bid_skew_bps: what the inventory adds to the bid's distance (positive when long).
        ask_skew_bps: what it adds to the ask's distance (negative when long).
        floor_bps: least half-spread: maker fee, one tick and the configured safety.
        position_limit: absolute cap, base units.
        size: quantity of one order, base units.
        basis: what the half-spreads rest on.
        reason: why it is not ``live``; empty when it is.
    """

    bid_half_bps: float
    ask_half_bps: float
    bid_skew_bps: float
    ask_skew_bps: float
    floor_bps: float
    position_limit: float
    size: float
    basis: Basis = "live"
    reason: str = ""


class Model(Protocol):
    """Computes base quotes from calibrated parameters."""

    name: str

    def base_quote(self, features: Features, position: Position) -> BaseQuote:
        """Return the quote of this market and position.

        Raises:
            ValueError: the calibration is out of the formula's range; names the parameter.
        """
        ...


class Terms(NamedTuple):
    """What every model needs to know of a market beside its calibration; P is quote currency per base."""

    size: float
    fee: float
    sigma: float
    age_s: float
    impact: float
    to_bps: float
    floor_bps: float
    position_limit: float
    widening: float


class TermsOf:
    """Works out :class:`Terms`; exact decimals of the instrument are turned into floats once."""

    def __init__(self, config: QuotingConfig) -> None:
        self._instrument: Instrument | None = None
        self._tick = self._min_qty = self._fee_rate = 0.0
        self._order_size_quote = config.order_size_quote
        self._age_s = config.information_age_ms / 1000
        self._use_impact = config.use_impact
        self._safety_bps = config.safety_bps
        self._limit_orders = config.position_limit_orders
        self._error_widening = config.error_widening

    def __call__(self, features: Features) -> Terms:
        """Return the terms of a market."""
        instrument, mid = features.instrument, features.mid_price
        if instrument is not self._instrument:
            self._instrument = instrument
            self._tick, self._min_qty = float(instrument.tick_size), float(instrument.min_qty)
            self._fee_rate = float(instrument.maker_fee_rate)
        calibration, fee_rate, tick = features.calibration, self._fee_rate, self._tick
        size = max(self._order_size_quote / mid, self._min_qty)
        to_bps, age_s = BPS / mid, calibration.age_s
        return Terms(
            size,
            fee_rate * mid,
            max(calibration.sigma, MIN_SIGMA_TICKS * tick),
            self._age_s if age_s is None else age_s,
            calibration.impact if self._use_impact else 0.0,
            to_bps,
            fee_rate * BPS + tick * to_bps + self._safety_bps,
            self._limit_orders * size,
            min(1.0 + self._error_widening * calibration.se_log_k, MAX_ERROR_WIDENING),
        )


def have_moved(before: tuple[float, ...], now: tuple[float, ...], by: float) -> bool:
    """Return whether a parameter has moved by more than ``by`` of itself; since nothing, everything has."""
    if not before:
        return True
    # Written so that what is no number has moved.
    return not all(abs(value - last) <= by * abs(last) for value, last in zip(now, before, strict=True))


def recommendation(
    quote: BaseQuote,
    features: Features,
    *,
    bid_multiple: float = 1.0,
    ask_multiple: float = 1.0,
    position_limit: float | None = None,
    advice_weight: float = 0.0,
    anomaly: str = "none",
) -> SpreadRecommendation:
    """Return a recommendation from a base quote and the factors advice puts on its sides: floor first, then skew.

    The skew may bring the unloading side inside the floor, never past the mid. Advice moves no side further than
    :data:`BAND` allows from where it would stand without advice, skew included, and brings none inside the floor.
    """
    floor = quote.floor_bps
    bid = _distance(quote.bid_half_bps, bid_multiple, floor, quote.bid_skew_bps)
    ask = _distance(quote.ask_half_bps, ask_multiple, floor, quote.ask_skew_bps)
    calibrated = features.calibration.source != "prior"
    return SpreadRecommendation(
        bid,
        ask,
        quote.position_limit if position_limit is None else position_limit,
        1.0 if calibrated and quote.basis == "live" else 0.5,
        quote.reason or ("calibrated market" if calibrated else "priors"),
        quote.bid_half_bps,
        quote.ask_half_bps,
        advice_weight,
        anomaly,
        quote.basis,
    )


def _distance(half_bps: float, multiple: float, floor_bps: float, skew_bps: float) -> float:
    """Return one side's distance from the mid, bps."""
    alone = max(half_bps, floor_bps) + skew_bps
    if alone <= 0:
        return 0.0
    if multiple == 1:
        return alone
    advised = max(half_bps * multiple, floor_bps) + skew_bps
    least = max(BAND[0] * alone, min(floor_bps, alone))
    return min(max(advised, least), BAND[1] * alone)


class ModelOptimizer:
    """A model alone, as an optimizer."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def recommend(self, features: Features, position: Position) -> SpreadRecommendation:
        """Return the model's half-spreads, skewed by the position."""
        return recommendation(self._model.base_quote(features, position), features)
