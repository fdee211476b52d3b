"""What an advisor may do to the closed form: widen within a band, and nothing in shadow mode."""

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets import market
from mm_hybrid.config import QuotingConfig
from mm_hybrid.optimizer.advice import Advice, Anomaly
from mm_hybrid.optimizer.base import BAND
from mm_hybrid.optimizer.blend import (
    MAX_SLEW,
    AdvisedOptimizer,
    blended_multiple,
    clamped,
    weight_at,
    within_gate,
)
from mm_hybrid.optimizer.glft import GlftOptimizer
from mm_hybrid.types import Features, Position, SpreadRecommendation

spreads_bps = st.floats(1e-3, 500, allow_nan=False)
weights = st.floats(0, 0.5, allow_nan=False)
positions = st.decimals(-1, 1, places=3).map(lambda qty: Position(qty_base=qty))

TTL_S = 60.0


def advice(**changes: object) -> Advice:
    fields: dict[str, object] = {
        "bid_half_bps": 2.0,
        "ask_half_bps": 2.0,
        "position_limit_frac": 1.0,
        "confidence": 0.5,
        "anomaly": Anomaly.NONE,
        "reasoning": "",
        "snapshot_ts_ns": market().timestamp_ns,
        "base_bid_half_bps": 1.0,
        "base_ask_half_bps": 1.0,
        "mid_price": 60_000.05,
        "sigma": 5.0,
    }
    return Advice(**{**fields, **changes})  # type: ignore[arg-type]


class Always:
    """A source whose one piece of advice never ends."""

    def __init__(self, given: Advice | None) -> None:
        self.given = given

    def advice_for(self, now_ns: int, features: Features) -> Advice | None:
        return self.given


def settled(source: Always, weight: float, features: Features, position: Position) -> SpreadRecommendation:
    """The recommendation once the slew limit has let the advice in."""
    optimizer = AdvisedOptimizer(GlftOptimizer(QuotingConfig()), source, max_weight=weight, ttl_s=TTL_S)
    for _ in range(10):
        last = optimizer.recommend(features, position)
    return last


@given(spreads_bps, spreads_bps, st.floats(0, 1))
def test_a_blend_stays_between_the_closed_form_and_the_clamped_advice(
    base: float, advised: float, weight: float
) -> None:
    multiple = blended_multiple(base, advised, weight)
    target = clamped(base, advised) / base
    assert min(1, target) * (1 - 1e-12) <= multiple <= max(1, target) * (1 + 1e-12)
    assert BAND[0] * (1 - 1e-12) <= multiple <= BAND[1] * (1 + 1e-12)


@given(spreads_bps, spreads_bps, spreads_bps, weights)
def test_a_wider_closed_form_never_quotes_tighter(
    low: float, high: float, advised: float, weight: float
) -> None:
    low, high = min(low, high), max(low, high)
    narrow, wide = (
        low * blended_multiple(low, advised, weight),
        high * blended_multiple(high, advised, weight),
    )
    assert wide >= narrow * (1 - 1e-12)


@given(spreads_bps, spreads_bps)
def test_weight_zero_is_exactly_one(base: float, advised: float) -> None:
    assert blended_multiple(base, advised, 0.0) == 1.0


def test_a_unit_error_is_outside_the_gate_and_an_opinion_inside() -> None:
    assert within_gate(1.0, 3.5)
    assert not within_gate(1.0, 100.0), "percent taken for basis points"
    assert not within_gate(5.0, 0.05)


def test_the_weight_of_advice_fades_to_nothing_over_its_life() -> None:
    assert [weight_at(0.4, age, 100) for age in (0, 50, 99, 100, 1000, -1)] == pytest.approx(
        [0.4, 0.2, 0.004, 0, 0, 0]
    )
    assert weight_at(5.0, 0, 100) == 0.5, "never above a half"


@given(positions, spreads_bps, spreads_bps)
def test_shadow_mode_is_the_closed_form_bit_for_bit(position: Position, bid: float, ask: float) -> None:
    source = Always(
        advice(bid_half_bps=bid, ask_half_bps=ask, anomaly=Anomaly.DATA_FAULT, position_limit_frac=0.0)
    )
    shadow = AdvisedOptimizer(GlftOptimizer(QuotingConfig()), source, max_weight=0.0)
    assert shadow.recommend(market(), position) == GlftOptimizer(QuotingConfig()).recommend(
        market(), position
    )


@given(spreads_bps, spreads_bps, weights, st.floats(0, 5), st.sampled_from(Anomaly))
def test_a_flat_book_is_never_quoted_inside_the_floor_or_outside_the_band(
    bid: float, ask: float, weight: float, safety_bps: float, anomaly: Anomaly
) -> None:
    closed_form = GlftOptimizer(QuotingConfig(safety_bps=safety_bps))
    source = Always(advice(bid_half_bps=bid, ask_half_bps=ask, anomaly=anomaly))
    optimizer = AdvisedOptimizer(closed_form, source, max_weight=weight)
    floor = closed_form.base_quote(market(), Position()).floor_bps
    for _ in range(10):
        got = optimizer.recommend(market(), Position())
        for half in (got.recommended_bid_spread_bps, got.recommended_ask_spread_bps):
            assert half >= floor
            if half > floor:
                base = got.base_bid_half_bps
                assert BAND[0] * base * (1 - 1e-12) <= half <= BAND[1] * base * (1 + 1e-12)


@pytest.mark.parametrize("qty", ["-0.055", "0.02", "0.05", "0.055", "0.06", "0.3"])
@pytest.mark.parametrize("advised", [0.2, 9.0])
def test_with_inventory_each_quote_stays_in_the_band_around_where_it_would_stand_alone(
    qty: str, advised: float
) -> None:
    position = Position(qty_base=Decimal(qty))
    closed_form = GlftOptimizer(QuotingConfig())
    alone, floor = (
        closed_form.recommend(market(), position),
        closed_form.base_quote(market(), position).floor_bps,
    )
    got = settled(Always(advice(bid_half_bps=advised, ask_half_bps=advised)), 0.5, market(), position)
    for told, without in (
        (got.recommended_bid_spread_bps, alone.recommended_bid_spread_bps),
        (got.recommended_ask_spread_bps, alone.recommended_ask_spread_bps),
    ):
        assert BAND[0] * without <= told <= BAND[1] * without
        assert told >= min(floor, without)


def test_advice_widens_step_by_step() -> None:
    optimizer = AdvisedOptimizer(
        GlftOptimizer(QuotingConfig()), Always(advice(bid_half_bps=9.0, ask_half_bps=9.0)), max_weight=0.5
    )
    widths = [optimizer.recommend(market(), Position()).recommended_bid_spread_bps for _ in range(8)]
    base = optimizer.recommend(market(), Position()).base_bid_half_bps
    assert all(b / a <= MAX_SLEW * (1 + 1e-12) for a, b in zip([base, *widths], widths, strict=False))
    assert math.isclose(widths[-1], base * math.sqrt(BAND[1]), rel_tol=1e-9), "clamped to 3x, weight one half"


def test_an_anomaly_may_widen_but_not_tighten() -> None:
    tight = {"bid_half_bps": 0.9, "ask_half_bps": 0.9}
    closed = GlftOptimizer(QuotingConfig()).recommend(market(), Position())
    with_anomaly = settled(Always(advice(**tight, anomaly=Anomaly.SPIKE)), 0.5, market(), Position())
    without = settled(Always(advice(**tight)), 0.5, market(), Position())
    assert with_anomaly.recommended_bid_spread_bps == closed.recommended_bid_spread_bps
    assert without.recommended_bid_spread_bps < closed.recommended_bid_spread_bps


@pytest.mark.parametrize(
    ("fraction", "anomaly", "share"), [(0.5, "none", 0.5), (1.0, "none", 1.0), (1.0, "data_fault", 0)]
)
def test_the_position_limit_is_only_lowered(fraction: float, anomaly: str, share: float) -> None:
    closed = GlftOptimizer(QuotingConfig()).recommend(market(), Position())
    got = settled(
        Always(advice(position_limit_frac=fraction, anomaly=Anomaly(anomaly))), 0.5, market(), Position()
    )
    assert got.position_limit == closed.position_limit * share


def test_a_long_position_lowers_both_quotes_and_never_offers_below_the_mid() -> None:
    optimizer = GlftOptimizer(QuotingConfig())
    flat, long = (optimizer.recommend(market(), Position(qty_base=Decimal(qty))) for qty in ("0", "0.03"))
    assert long.recommended_bid_spread_bps > flat.recommended_bid_spread_bps
    assert long.recommended_ask_spread_bps < flat.recommended_ask_spread_bps
    very_long = optimizer.recommend(market(), Position(qty_base=Decimal(1)))
    assert very_long.recommended_ask_spread_bps == 0.0


def test_a_burst_of_volatility_widens_although_risk_aversion_follows_the_market() -> None:
    optimizer = GlftOptimizer(QuotingConfig())
    calm = optimizer.recommend(market(), Position()).recommended_bid_spread_bps
    burst = optimizer.recommend(market(after_s=5, sigma=15.0), Position()).recommended_bid_spread_bps
    assert burst > calm * 1.1


def test_a_market_that_never_moved_can_be_quoted() -> None:
    got = GlftOptimizer(QuotingConfig()).recommend(market(sigma=0.0), Position())
    assert got.recommended_bid_spread_bps > 0
