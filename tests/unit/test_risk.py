"""What risk refuses, and that it refuses when it cannot tell."""

import math
from dataclasses import replace
from decimal import Decimal

import pytest

from mm_hybrid.clock import ManualClock
from mm_hybrid.execution.orders import LiveOrder, OrderState
from mm_hybrid.risk import Risk, RiskLimits
from mm_hybrid.types import Approved, BookState, Calibration, Features, Instrument, Position, Quote, Refused

D = Decimal
INSTRUMENT = Instrument(
    venue="bybit",
    symbol="BTCUSDT",
    ccxt_symbol="BTC/USDT:USDT",
    base="BTC",
    quote="USDT",
    tick_size=D("0.1"),
    lot_size=D("0.001"),
    min_qty=D("0.001"),
    min_notional=D(5),
)
LIMITS = RiskLimits(
    max_position_quote=D("6000.005"),
    max_order_quote=D(1000),
    max_distance_bps=D(100),
    max_book_age_ns=10**9,
    max_loss_quote=D(50),
)
FEATURES = Features(
    instrument=INSTRUMENT,
    timestamp_ns=0,
    state=BookState.LIVE,
    mid_price=60_000.05,
    best_bid=60_000.0,
    best_ask=60_000.1,
    best_bid_qty=1.0,
    best_ask_qty=1.0,
    microprice=60_000.05,
    spread_bps=0.02,
    imbalance=0.0,
    depth_bid_quote=1.0,
    depth_ask_quote=1.0,
    depth_covered_pct=10.0,
    volatility_1m_bps=None,
    return_10s_bps=None,
    return_60s_bps=None,
    trade_imbalance_60s=None,
    spike=False,
    calibration=Calibration(intensity_a=1.0, intensity_k=1.0, sigma=1.0),
)
ZERO = D(0)
BUY = Quote("buy", D("59999.9"), D("0.01"))
SELL = Quote("sell", D("60000.2"), D("0.01"))


@pytest.fixture
def risk() -> Risk:
    return Risk(LIMITS, INSTRUMENT, ManualClock(5))


def check(risk: Risk, quotes=(BUY, SELL), features=FEATURES, *, age=0, position=ZERO, live=()):
    return risk.check(
        tuple(quotes), features, book_age_ns=age, position=Position(qty_base=position), live=live
    )


def refusal(*args, **kwargs) -> str:
    verdict = check(*args, **kwargs)
    assert isinstance(verdict, Refused), verdict
    return verdict.reason


def test_sound_quotes_pass_as_they_are(risk):
    assert check(risk) == Approved(quotes=(BUY, SELL))


@pytest.mark.parametrize("state", [s for s in BookState if s is not BookState.LIVE])
def test_only_a_live_book_is_quoted_on(risk, state):
    assert str(state) in refusal(risk, features=replace(FEATURES, state=state))


def test_an_old_book_is_refused(risk):
    assert "2000 ms old" in refusal(risk, age=2 * 10**9)


@pytest.mark.parametrize(
    ("quote", "why"),
    [
        (Quote("buy", D("59999.95"), D("0.01")), "grid"),
        (Quote("buy", D("59999.9"), D("0.0105")), "grid"),
        (Quote("buy", D("0.1"), D("0.01")), "minimum"),
        (Quote("buy", D("59999.9"), D("0.02")), "worth more"),
        (Quote("buy", D("59000.0"), D("0.01")), "bps from the mid"),
        (Quote("sell", D("60900.0"), D("0.01")), "bps from the mid"),
        (Quote("buy", D("60000.1"), D("0.01")), "cross"),
        (Quote("sell", D("60000.0"), D("0.01")), "cross"),
        (Quote("buy", D("-1"), D("0.01")), "no usable order"),
    ],
)
def test_a_single_bad_quote_refuses_all(risk, quote, why):
    assert why in refusal(risk, [SELL, quote] if quote.side == "buy" else [BUY, quote])


def test_own_orders_must_not_meet(risk):
    wide = replace(FEATURES, best_bid=59_990.0, best_ask=60_010.0)
    quotes = [Quote("buy", D("60001.0"), D("0.01")), Quote("sell", D("60000.0"), D("0.01"))]
    assert "would meet" in refusal(risk, quotes, wide)


def resting(side: str, qty: str, state: OrderState = OrderState.OPEN) -> LiveOrder:
    return LiveOrder("c", side, D(60_000), D(qty), state)


def test_the_worst_case_counts_what_rests_and_what_is_unknown(risk):
    assert isinstance(check(risk, position=D("0.09")), Approved)
    assert "could reach 0.101" in refusal(risk, position=D("0.091"))
    unknown = [resting("buy", "0.011", OrderState.PENDING_UNKNOWN)]
    assert "could reach 0.101" in refusal(risk, position=D("0.09"), live=unknown)
    assert "sell: position could reach" in refusal(risk, position=D("-0.091"))


def test_a_replaced_order_does_not_count_twice(risk):
    assert isinstance(check(risk, position=D("0.09"), live=[resting("buy", "0.01")]), Approved)


def test_the_side_that_reduces_stays_allowed_beyond_the_limit(risk):
    assert isinstance(check(risk, [SELL], position=D("0.2")), Approved)


def test_a_loss_at_the_limit_latches_for_good(risk):
    risk.note_profit(D("-49.99"))
    assert risk.latched is None
    risk.note_profit(D("-50"))
    risk.note_profit(D("100"))
    assert "loss" in refusal(risk)
    assert risk.latched is not None


def test_the_kill_switch_is_a_file_and_latches(tmp_path):
    switch = tmp_path / "kill"
    risk = Risk(LIMITS, INSTRUMENT, ManualClock(5), kill_file=switch)
    assert isinstance(check(risk), Approved)
    risk.kill("operator")
    assert "operator" in switch.read_text()
    switch.unlink()
    assert "operator" in refusal(risk)
    assert isinstance(check(Risk(LIMITS, INSTRUMENT, ManualClock(5), kill_file=switch)), Approved)


@pytest.mark.parametrize("broken", [math.nan, math.inf, "sixty thousand", None])
def test_a_check_that_cannot_be_made_refuses(risk, broken):
    assert refusal(risk, features=replace(FEATURES, mid_price=broken))
    assert refusal(risk, features=replace(FEATURES, best_bid=broken))
    assert refusal(risk, [Quote("buy", broken, D("0.01"))])
