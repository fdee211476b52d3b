"""The parts of the profit add up to the total, whatever happened."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from mm_hybrid.pnl import PnlLedger
from mm_hybrid.types import Fill, Side


def fill(side: Side, price: str, qty: str, fee: str = "0") -> Fill:
    return Fill(
        exec_id="x",
        client_id="c",
        order_id="o",
        side=side,
        price=Decimal(price),
        qty=Decimal(qty),
        fee=Decimal(fee),
        fee_quote=Decimal(fee),
        fee_currency="USDT",
        is_maker=True,
        exchange_ts_ns=0,
        local_ts_ns=0,
    )


def test_a_round_trip_earns_the_spread_and_pays_the_fees() -> None:
    ledger = PnlLedger()
    ledger.fill(fill("buy", "99", "2", "-0.1"), Decimal(100))
    ledger.fill(fill("sell", "101", "2", "-0.1"), Decimal(100))
    assert ledger.parts.spread_capture == 4
    assert ledger.parts.inventory == 0
    assert ledger.parts.fees == Decimal("-0.2")
    assert ledger.parts.total == Decimal("3.8")
    assert ledger.position.qty_base == 0


def test_what_is_held_gains_and_loses_with_the_mid() -> None:
    ledger = PnlLedger()
    ledger.fill(fill("buy", "100", "1"), Decimal(100))
    ledger.mark(Decimal(97))
    assert ledger.parts.inventory == -3
    assert ledger.parts.total == -3


def test_a_position_from_before_counts_from_the_first_mid() -> None:
    ledger = PnlLedger(opening_base=Decimal(3))
    ledger.mark(Decimal(100))
    assert ledger.parts.total == 0
    ledger.mark(Decimal(101))
    assert ledger.parts.total == ledger.parts.inventory == 3


money = st.decimals(min_value=1, max_value=100_000, places=2)
events = st.lists(
    st.tuples(st.sampled_from(["buy", "sell", "mark", "fund"]), money, money, st.decimals(-1, 1, places=4)),
    max_size=40,
)


@given(events)
def test_the_parts_add_up_exactly(sequence: list[tuple[str, Decimal, Decimal, Decimal]]) -> None:
    ledger = PnlLedger()
    for kind, price, mid, small in sequence:
        if kind == "mark":
            ledger.mark(mid)
        elif kind == "fund":
            ledger.fund(small)
        else:
            ledger.fill(fill(kind, str(price), "0.37", str(small)), mid)
    parts = ledger.parts
    assert parts.spread_capture + parts.inventory + parts.fees + parts.funding == parts.total
