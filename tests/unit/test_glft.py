"""The closed form as a user meets it: what moves the quotes which way, and what is refused."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_hybrid import models

MARKET: dict[str, Any] = {"intensity_a": 1.5, "intensity_k": 0.2, "sigma": 5.0, "gamma": 1.0, "size": 0.01}


def number(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


markets = st.fixed_dictionaries(
    {
        "intensity_a": number(0.01, 20),
        "intensity_k": number(0.01, 20),
        "sigma": number(0.01, 20),
        "gamma": number(1e-4, 2),
        "size": number(1e-3, 5),
    }
)


def test_a_flat_maker_quotes_both_sides_at_the_same_distance() -> None:
    quotes = models.glft_closed_form(**MARKET)
    assert quotes.delta_bid == quotes.delta_ask == quotes.half_spread
    assert quotes.c1 == 1 / MARKET["intensity_k"]


@given(markets, number(-10, 10))
def test_swapping_the_sign_of_inventory_swaps_the_sides(market: dict[str, float], q: float) -> None:
    assert (
        models.glft_closed_form(**market, q=q).delta_bid == models.glft_closed_form(**market, q=-q).delta_ask
    )


@given(markets, number(0.001, 10))
def test_a_long_maker_bids_lower_and_offers_lower(market: dict[str, float], q: float) -> None:
    flat, long = models.glft_closed_form(**market), models.glft_closed_form(**market, q=q)
    assert long.delta_bid >= flat.delta_bid
    assert long.delta_ask <= flat.delta_ask


@given(markets, number(0, 1))
def test_fee_impact_and_age_only_widen(market: dict[str, float], more: float) -> None:
    half = models.glft_closed_form(**market).half_spread
    for name in ("fee", "impact", "age_s"):
        try:
            wider = models.glft_closed_form(**market, **{name: more}).half_spread
        except ValueError:  # e^(k x fee) left the range of numbers: refused, not quoted
            continue
        assert wider >= half * (1 - 1e-12), name


@given(markets, number(0.01, 20))
def test_the_chosen_gamma_gives_the_wanted_inventory(market: dict[str, float], sd_lots: float) -> None:
    del market["gamma"]
    gamma = models.gamma_for_inventory_sd(sd_lots=sd_lots, **market)
    assert math.isclose(models.inventory_sd_lots(gamma=gamma, **market), sd_lots, rel_tol=1e-9)


def test_age_of_the_information_adds_its_adverse_selection() -> None:
    """Each fill on a quote ``age_s`` old earns k sigma^2 age less; the width asks for that back."""
    fresh, old = models.glft_closed_form(**MARKET), models.glft_closed_form(**MARKET, age_s=0.1)
    added = MARKET["intensity_k"] * MARKET["sigma"] ** 2 * 0.1
    skew_part = (old.skew_per_unit - fresh.skew_per_unit) * MARKET["size"] / 2
    assert math.isclose(old.half_spread - fresh.half_spread, added + skew_part, rel_tol=1e-9)


@pytest.mark.parametrize("name", ["intensity_a", "intensity_k", "gamma", "size"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_parameter_out_of_range_is_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        models.glft_closed_form(**{**MARKET, name: value})


def test_a_drift_without_volatility_has_no_answer() -> None:
    with pytest.raises(ValueError, match=r"^drift: "):
        models.glft_closed_form(**{**MARKET, "sigma": 0.0}, drift=1.0)
