"""Rounding goes outward, exactly; nothing the venue would refuse is sent; limits hold."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_hybrid.errors import StrategyError
from mm_hybrid.quotes import on_grid, order_qty, within_limit
from mm_hybrid.types import Instrument, Position, Quote

BTC = Instrument(
    venue="bybit",
    symbol="BTCUSDT",
    ccxt_symbol="BTC/USDT:USDT",
    base="BTC",
    quote="USDT",
    tick_size=Decimal("0.1"),
    lot_size=Decimal("0.001"),
    min_qty=Decimal("0.001"),
    min_notional=Decimal(5),
)
SIZE = Decimal("0.01")


@given(st.floats(1000, 200_000), st.sampled_from(["buy", "sell"]))
def test_rounding_never_makes_a_quote_more_aggressive(price: float, side: str) -> None:
    (quote,) = on_grid([Quote(side, price)], BTC, SIZE)
    assert quote.price % BTC.tick_size == 0
    moved = Decimal(repr(price)) - quote.price
    assert 0 <= (moved if side == "buy" else -moved) < BTC.tick_size


def test_a_price_on_the_tick_stays_there() -> None:
    assert on_grid([("buy", 99000.1)], BTC, SIZE) == (Quote("buy", Decimal("99000.1"), SIZE),)
    assert on_grid([("sell", Decimal("99000.1"))], BTC, SIZE)[0].price == Decimal("99000.1")


def test_quantity_is_rounded_down_to_the_lot() -> None:
    assert on_grid([("buy", 50_000, 0.0129)], BTC, SIZE)[0].qty == Decimal("0.012")


def test_below_the_venue_minimum_nothing_is_quoted() -> None:
    assert on_grid([("buy", 50_000, 0.0004)], BTC, SIZE) == ()
    assert on_grid([("buy", 4_000, 0.001)], BTC, SIZE) == (), "4 USDT is below the minimum value of 5"


def test_numpy_scalars_are_numbers() -> None:
    assert on_grid([("sell", np.float64(60_000.05))], BTC, SIZE)[0].price == Decimal("60000.1")


@pytest.mark.parametrize(
    "wrong",
    [
        [("bid", 1.0)],
        [("buy", float("nan"))],
        [("buy", "60000")],
        [("buy", True)],
        [("buy", -1.0)],
        [("buy", 1.0, -2.0)],
        [("buy", 60_000, float("inf"))],
        [60_000.0],
        60_000.0,
        [("buy", None)],
    ],
)
def test_what_is_no_quote_is_named(wrong: object) -> None:
    with pytest.raises(StrategyError, match=r"(?i)quote"):
        on_grid(wrong, BTC, SIZE)


def test_no_answer_means_no_quotes() -> None:
    assert on_grid(None, BTC, SIZE) == ()
    assert on_grid([], BTC, SIZE) == ()


def test_the_position_limit_counts_every_quote_of_a_side() -> None:
    quotes = (Quote("buy", Decimal(1), SIZE), Quote("buy", Decimal(2), SIZE), Quote("sell", Decimal(3), SIZE))
    held = Position(qty_base=Decimal("0.085"))
    assert within_limit(quotes, held, Decimal("0.1")) == (quotes[0], quotes[2])
    assert within_limit(quotes, Position(qty_base=Decimal("0.2")), Decimal("0.1")) == (quotes[2],)


def test_order_size_is_worth_what_was_asked_or_the_least_the_venue_takes() -> None:
    assert order_qty(BTC, 600, 60_000) == Decimal("0.010")
    assert order_qty(BTC, 1, 60_000) == Decimal("0.001")
    assert order_qty(BTC, 1, 1_000) * 1_000 >= 5
