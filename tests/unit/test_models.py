"""The choice of a model by one config line, and what is quoted when it has no answer."""

import asyncio
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from markets import market
from mm_hybrid import models
from mm_hybrid.clock import ManualClock
from mm_hybrid.config import AdvisorConfig, QuotingConfig, SeedPnlConfig
from mm_hybrid.errors import ConfigError, StrategyError
from mm_hybrid.optimizer.assemble import assemble, model_of
from mm_hybrid.optimizer.base import BaseQuote, Model
from mm_hybrid.optimizer.exact import ExactBounded
from mm_hybrid.optimizer.fallback import LAST_GOOD_WIDENING, Fallback
from mm_hybrid.optimizer.glft import GlftOptimizer
from mm_hybrid.types import Calibration, Features, Position, SpreadRecommendation

NAMES = ("glft", "avellaneda_stoikov", "exact", "seed_pnl")
FLAT = Position()

# What is attainable in five markets with 10 orders a side, quote currency per second.
BTC: dict[str, float] = {"intensity_a": 1.5, "intensity_k": 0.2, "sigma": 5.0, "gamma": 1.0, "size": 0.01}
ATTAINABLE = [
    ({**BTC}, 0.0493884),
    ({**BTC, "impact": 3.0}, 0.0359045),
    ({**BTC, "fee": 6.0, "impact": 2.0}, 0.0107718),
    ({**BTC, "fee": -3.0, "impact": 8.0}, 0.0399446),
    ({**BTC, "sigma": 2.0, "intensity_k": 0.8, "intensity_a": 4.0, "gamma": 4.0}, 0.0330025),
]


class States:
    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []

    def advice(self, **row: Any) -> None: ...

    def state(self, what: str, value: str, detail: str = "") -> None:
        self.told.append((what, value, detail))


@pytest.mark.parametrize(("world", "known"), ATTAINABLE)
def test_the_best_attainable_rate_is_known_and_the_exact_quotes_attain_it(
    world: dict[str, float], known: float
) -> None:
    exact = models.exact_quotes(**world, max_lots=10)
    assert abs(exact["best_rate"] - known) < 1e-6
    attained = models.chain_rate(**world, delta_bid=exact["delta_bid"], delta_ask=exact["delta_ask"])
    assert math.isclose(attained, exact["best_rate"], rel_tol=1e-10)


@pytest.mark.parametrize(
    ("world", "share"),
    [(world, share) for (world, _), share in zip(ATTAINABLE, (1, 0.9999, 0.9995, 0.9999, 1), strict=True)],
)
def test_the_closed_form_attains_nearly_all_of_it(world: dict[str, float], share: float) -> None:
    quotes = [models.glft_closed_form(**world, q=lots * world["size"]) for lots in range(-10, 11)]
    bid = [q.delta_bid for q in quotes[:-1]] + [None]
    ask = [None] + [q.delta_ask for q in quotes[1:]]
    best = models.exact_quotes(**world, max_lots=10)["best_rate"]
    assert models.chain_rate(**world, delta_bid=bid, delta_ask=ask) / best == pytest.approx(share, abs=6e-5)


@pytest.mark.parametrize("name", NAMES)
def test_one_config_line_chooses_the_model_and_all_skew_against_the_inventory(name: str) -> None:
    optimizer, advisor = assemble(
        QuotingConfig(optimizer=name),
        AdvisorConfig(enabled=False),
        api_key=None,
        journal=States(),
        clock=ManualClock(),
    )
    assert advisor is None
    flat, long = (optimizer.recommend(market(), Position(qty_base=Decimal(q))) for q in ("0", "0.02"))
    assert isinstance(flat, SpreadRecommendation)
    assert 0 < flat.recommended_bid_spread_bps == pytest.approx(flat.recommended_ask_spread_bps)
    assert long.recommended_bid_spread_bps > flat.recommended_bid_spread_bps
    assert long.recommended_ask_spread_bps < flat.recommended_ask_spread_bps
    assert flat.basis == "live"


def test_a_name_nobody_knows_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match=r"glft, avellaneda_stoikov, exact, seed_pnl, or path\.py:Class"):
        QuotingConfig(optimizer="magic")


def test_exact_and_closed_form_agree_away_from_the_cap_and_part_near_it() -> None:
    config = QuotingConfig(position_limit_orders=10.0)
    exact, closed = ExactBounded(config), GlftOptimizer(config)

    def bid_bps(model: Model, orders: int) -> float:
        got = model.base_quote(market(), Position(qty_base=Decimal(orders) / 100))
        return got.bid_half_bps + got.bid_skew_bps

    assert bid_bps(exact, 0) == pytest.approx(bid_bps(closed, 0), rel=0.01)
    assert bid_bps(exact, 3) == pytest.approx(bid_bps(closed, 3), rel=0.02)
    assert abs(bid_bps(exact, 9) - bid_bps(closed, 9)) > 0.01 * bid_bps(closed, 9)


def test_the_exact_table_is_kept_until_the_market_has_moved() -> None:
    model = ExactBounded(QuotingConfig())
    model.base_quote(market(), FLAT)
    table = model._bid
    model.base_quote(market(after_s=0.1, sigma=5.001), FLAT)
    assert model._bid is table
    model.base_quote(market(after_s=0.2, sigma=6.0), FLAT)
    assert model._bid is not table


@pytest.mark.parametrize("variant", ["linear", "toxic", "renewal"])
def test_a_more_adverse_market_is_quoted_wider_by_expected_profit(variant: Any) -> None:
    benign, toxic = (
        model_of(QuotingConfig(optimizer="seed_pnl", seed_pnl=SeedPnlConfig(variant=variant, loss=loss)))
        for loss in (0.1, 2.0)
    )
    assert toxic.base_quote(market(), FLAT).bid_half_bps > benign.base_quote(market(), FLAT).bid_half_bps


@pytest.mark.parametrize("name", NAMES)
def test_uncertain_estimates_and_own_adverse_fills_widen(name: str) -> None:
    def half(**changes: Any) -> float:
        sure = Calibration(intensity_a=1.5, intensity_k=0.2, sigma=5.0, source="stream", **changes)
        return model_of(QuotingConfig(optimizer=name)).base_quote(market(calibration=sure), FLAT).bid_half_bps

    assert half(se_log_k=0.1) == pytest.approx(1.1 * half())
    assert half(se_log_k=50.0) == pytest.approx(2.0 * half()), "and no further"
    assert half(impact=2.0) > half()
    assert half(age_s=0.5) > half(age_s=0.01)


USER_CLASS = """
from mm_hybrid.types import SpreadRecommendation

class Wide:
    def __init__(self, config):
        self.limit = config.position_limit_orders
    def recommend(self, features, position):
        skew = float(position.qty_base)
        return SpreadRecommendation(7.0 + skew, 7.0 - skew, {limit}, 1.0, "mine", {half}, 7.0)

class NoMethod: ...
"""


def user_class(folder: Path, *, half: str = "7.0", limit: str = "1e9", name: str = "Wide") -> QuotingConfig:
    path = folder / "mine.py"
    path.write_text(USER_CLASS.replace("{half}", half).replace("{limit}", limit))
    return QuotingConfig(optimizer=f"{path}:{name}")


def test_a_class_of_ones_own_quotes_but_raises_no_limit(tmp_path: Path) -> None:
    optimizer, _ = assemble(
        user_class(tmp_path),
        AdvisorConfig(enabled=False),
        api_key=None,
        journal=States(),
        clock=ManualClock(),
    )
    got = optimizer.recommend(market(), Position(qty_base=Decimal("0.5")))
    assert (got.recommended_bid_spread_bps, got.recommended_ask_spread_bps) == (7.5, 6.5)
    assert got.position_limit == pytest.approx(10 * 600 / 60_000.05)


@pytest.mark.parametrize(
    ("half", "limit", "word"), [("-1", "1", "base_bid_half_bps"), ("7.0", "None", "position_limit")]
)
def test_a_class_that_recommends_nonsense_is_named(tmp_path: Path, half: str, limit: str, word: str) -> None:
    model = model_of(user_class(tmp_path, half=half, limit=limit))
    with pytest.raises(StrategyError, match=rf"mine\.py:Wide: {word}"):
        model.base_quote(market(), FLAT)


def test_a_class_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no class NoMethod with a method recommend"):
        model_of(user_class(tmp_path, name="NoMethod"))
    with pytest.raises(ConfigError, match="is no file"):
        model_of(QuotingConfig(optimizer="nowhere.py:Wide"))


@pytest.mark.parametrize("error", ["SystemExit(3)", "ValueError('no')"])
@pytest.mark.parametrize("place", ["constructor", "recommend"])
def test_a_class_that_gives_up_or_fails_is_named(tmp_path: Path, place: str, error: str) -> None:
    model = failing_class(tmp_path, place, error)
    with pytest.raises(StrategyError, match=r"mine\.py.*: (SystemExit: 3|ValueError: no)"):
        model_of(model).base_quote(market(), FLAT)


@pytest.mark.parametrize("error", ["KeyboardInterrupt()", "asyncio.CancelledError()"])
@pytest.mark.parametrize("place", ["constructor", "recommend"])
def test_an_interrupt_and_a_cancellation_pass_through_a_class_of_ones_own(
    tmp_path: Path, place: str, error: str
) -> None:
    model = failing_class(tmp_path, place, error)
    with pytest.raises((KeyboardInterrupt, asyncio.CancelledError)):
        model_of(model).base_quote(market(), FLAT)


def failing_class(folder: Path, place: str, error: str) -> QuotingConfig:
    path = folder / "mine.py"
    fails = {"constructor": "pass", "recommend": "pass"} | {place: f"raise {error}"}
    path.write_text(
        f"import asyncio\n\nclass Mine:\n    def __init__(self, config):\n        {fails['constructor']}\n"
        f"    def recommend(self, features, position):\n        {fails['recommend']}\n"
    )
    return QuotingConfig(optimizer=f"{path}:Mine")


# Fallbacks


BROKEN = Calibration(intensity_a=math.nan, intensity_k=0.2, sigma=5.0, source="stream")


def test_the_order_of_fallbacks_is_told_once_each_with_its_reason() -> None:
    told: list[tuple[str, str]] = []
    model = Fallback(
        GlftOptimizer(QuotingConfig()), QuotingConfig(), lambda basis, why: told.append((basis, why))
    )
    good = model.base_quote(market(), FLAT)
    last = model.base_quote(market(after_s=1, calibration=BROKEN), FLAT)
    model.base_quote(market(after_s=2, calibration=BROKEN), FLAT)
    fixed = model.base_quote(market(after_s=3600, calibration=BROKEN), FLAT)
    model.base_quote(market(after_s=3601), FLAT)
    assert last.bid_half_bps == pytest.approx(LAST_GOOD_WIDENING * good.bid_half_bps)
    assert (fixed.basis, fixed.bid_half_bps) == ("static", 25.0)
    assert [basis for basis, _ in told] == ["last_good", "static", "live"]
    assert told[0][1].startswith("glft: intensity_a: must be above 0")


def test_without_a_fixed_width_nothing_is_quoted() -> None:
    model = Fallback(GlftOptimizer(QuotingConfig()), QuotingConfig(static_half_bps=None))
    assert model.base_quote(market(calibration=BROKEN), FLAT).basis == "none"


anything = st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(NAMES), anything, anything, anything, anything, anything, anything)
def test_no_calibration_makes_a_model_raise_or_quote_what_cannot_rest(
    name: str, a: float, k: float, sigma: float, drift: float, impact: float, age_s: float
) -> None:
    wild = Calibration(
        intensity_a=a, intensity_k=k, sigma=sigma, drift=drift, impact=impact, age_s=age_s, source="stream"
    )
    got = Fallback(model_of(QuotingConfig(optimizer=name)), QuotingConfig()).base_quote(
        market(calibration=wild), FLAT
    )
    assert all(math.isfinite(value) for value in got[:7])
    assert got.bid_half_bps > 0
    assert got.ask_half_bps > 0


class Fixed:
    """A model that always says the same."""

    name = "fixed"

    def __init__(self, quote: BaseQuote) -> None:
        self.quote = quote

    def base_quote(self, features: Features, position: Position) -> BaseQuote:
        return self.quote


def test_a_quote_that_cannot_rest_is_none() -> None:
    for bad in (math.inf, math.nan, -1.0, 0.0):
        model = Fallback(Fixed(BaseQuote(bad, 1.0, 0, 0, 0.1, 1, 0.01)), QuotingConfig())
        assert model.base_quote(market(), FLAT).basis == "static"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_closed_form_refuses_an_inventory_that_is_no_number(bad: float) -> None:
    with pytest.raises(ValueError, match=r"^q: "):
        models.glft_closed_form(**BTC, q=bad)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"q": 1e308, "sigma": 1e3}, "q"),
        ({"sigma": 1e200}, "sigma"),
        ({"tau": 1e308, "gamma": 1e10}, "tau"),
        ({"gamma": 1e308, "sigma": 1e10}, "gamma"),
        ({"gamma": 5e-324}, "gamma"),
        ({"k": 5e-324}, "k"),
    ],
)
def test_horizon_quotes_that_are_not_finite_name_the_parameter(changes: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named}: "):
        models.as_quotes(
            **{"s": 100.0, "q": 1.0, "gamma": 0.1, "sigma": 2.0, "k": 1.5, "tau": 1.0, **changes}
        )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"q": 5.0}, "q"),
        ({"q": -5.0}, "q"),
        ({"gamma": 1e-200}, "gamma"),
        ({"sigma": 1e200}, "sigma"),
        ({"q_max": 1e200}, "q_max"),
    ],
)
def test_indifference_prices_that_are_not_finite_name_the_parameter(
    changes: dict[str, float], named: str
) -> None:
    with pytest.raises(ValueError, match=f"^{named}: "):
        models.as_reservation(**{"s": 100.0, "q": 1.0, "gamma": 0.1, "sigma": 2.0, "q_max": 5.0, **changes})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"intensity_k": 1e6}, "intensity_k"),
        ({"sigma": 1e5}, "sigma"),
        ({"age_s": 1e6}, "age_s"),
        ({"fee": 1e5}, "fee"),
    ],
)
def test_a_market_without_fills_names_what_prevents_them(changes: dict[str, float], named: str) -> None:
    terms = {"intensity_a": 1.5, "intensity_k": 0.2, "sigma": 5.0, "size": 0.01, "fee": 6.0, "age_s": 0.1}
    with pytest.raises(ValueError, match=f"^{named}: .* rate of fills"):
        models.gamma_for_inventory_sd(sd_lots=1.5, **{**terms, **changes})
