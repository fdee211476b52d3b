"""The position of the local exchange: exact cash, no drift from averaged prices."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from mm_hybrid.servers.exchange.position import PositionBook

D = Decimal
TRADES = st.lists(
    st.tuples(st.sampled_from(["buy", "sell"]), st.integers(1, 10**7), st.integers(1, 5000)), max_size=60
)


def book(*trades: tuple[str, str, str]) -> PositionBook:
    position = PositionBook()
    for now_ns, (side, price, qty) in enumerate(trades, start=1):
        position.apply(side, D(price), D(qty), D(0), now_ns)
    return position


def test_adding_averages_the_entry_price():
    position = book(("buy", "100", "1"), ("buy", "110", "3"))
    assert (position.qty, position.entry_price) == (D(4), D("107.5"))
    assert position.realised_profit == 0


def test_reducing_keeps_the_entry_price_and_realises_profit():
    position = book(("sell", "100", "2"), ("buy", "90", "0.5"))
    assert (position.qty, position.entry_price) == (D("-1.5"), D(100))
    assert position.realised_profit == D(5)
    assert position.unrealised_profit(D(95)) == D("7.5")


def test_a_trade_through_zero_opens_the_other_side_at_its_own_price():
    position = PositionBook()
    position.apply("buy", D(100), D(1), D(0), 1)
    closed, profit = position.apply("sell", D(120), D(3), D(0), 2)
    assert (closed, profit) == (D(1), D(20))
    assert (position.qty, position.entry_price, position.opened_ns) == (D(-2), D(120), 2)


@given(TRADES)
def test_cash_is_exact_and_profit_equals_it_once_flat(trades):
    position = PositionBook()
    cash = qty = D(0)
    for now_ns, (side, ticks, lots) in enumerate(trades):
        price, size = D(ticks) / 10, D(lots) / 1000
        signed = size if side == "buy" else -size
        position.apply(side, price, size, price * size / 100_000, now_ns)
        cash -= signed * price
        qty += signed
        assert (position.cash, position.qty) == (cash, qty)
        assert position.entry_value * position.qty >= 0
    if position.qty:
        position.apply("sell" if qty > 0 else "buy", D(1000), abs(qty), D(0), len(trades))
    assert (position.qty, position.entry_value) == (0, 0)
    assert position.realised_profit == position.cash


@given(TRADES, st.integers(1, 10**7))
def test_profit_parts_add_up_to_cash_plus_marked_position(trades, mark_ticks):
    position = PositionBook()
    for now_ns, (side, ticks, lots) in enumerate(trades):
        position.apply(side, D(ticks) / 10, D(lots) / 1000, D(0), now_ns)
    mark = D(mark_ticks) / 10
    whole = position.cash + position.qty * mark
    assert abs(position.realised_profit + position.unrealised_profit(mark) - whole) < D("1e-15")
