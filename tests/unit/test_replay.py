"""A journal read back: the state a start begins with."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from decimal import Decimal

import pytest

from mm_hybrid.clock import ManualClock
from mm_hybrid.errors import JournalError
from mm_hybrid.journal import FUNDING_WATERMARK, WATERMARK, Intent, Journal, replay
from mm_hybrid.journal.schema import MIGRATIONS
from mm_hybrid.types import Fill, Funding, Instrument, Position

D = Decimal
INSTRUMENT = Instrument(
    venue="bybit", symbol="BTCUSDT", ccxt_symbol="BTC/USDT:USDT", base="BTC", quote="USDT",
    tick_size=D("0.1"), lot_size=D("0.001"), min_qty=D("0.001"), min_notional=D(5),
)  # fmt: skip


def fill(exec_id: str, client_id: str, side: str, price: str, qty: str, fee: str = "-0.01") -> Fill:
    return Fill(
        exec_id=exec_id, client_id=client_id, order_id=f"o-{client_id}", side=side, price=D(price), qty=D(qty),
        fee=D(fee), fee_currency="USDT", fee_quote=D(fee), is_maker=True, exchange_ts_ns=7, local_ts_ns=8,
    )  # fmt: skip


async def opened(path, **session: str) -> Journal:
    journal = Journal.open(path / "j.db", ManualClock(1_000_000_000_000))
    await journal.session(**{"mode": "paper", "exchange": "bybit", "instrument": INSTRUMENT} | session)
    return journal


async def test_replaying_gives_position_cash_and_what_is_not_settled(tmp_path):
    journal = await opened(tmp_path)
    journal.opening(D("0.5"), "first start", contains=["x0"])
    await journal.intents(
        [
            Intent(action="create", client_id="mm-1-1", side="buy", price=D(100), qty=D(2)),
            Intent(action="create", client_id="mm-1-2", side="sell", price=D(110), qty=D(1)),
            Intent(action="create", client_id="mm-1-3", side="sell", price=D(120), qty=D(1)),
        ]
    )
    journal.outcome(state="OPEN", client_id="mm-1-1", order_id="o-mm-1-1")
    journal.fill(fill("x1", "mm-1-1", "buy", "100", "2"), mid=None)
    journal.fill(fill("x1", "mm-1-1", "buy", "100", "2"), mid=None)
    journal.outcome(state="FILLED", client_id="mm-1-1")
    journal.fill(fill("x2", "mm-1-2", "sell", "110", "0.5", "0.02"), mid=None)
    journal.funding(Funding(exec_id="f1", amount_quote=D("-0.3"), exchange_ts_ns=9))
    journal.outcome(state="NOT_PLACED", client_id="mm-1-3", source="lookup")
    journal.state(WATERMARK, "123")
    journal.state(FUNDING_WATERMARK, "99")
    await journal.close()

    state = replay(tmp_path / "j.db")
    assert state.opening == D("0.5")
    assert state.position == Position(
        qty_base=D("2.0"), cash_quote=D("-145.0"), fees_quote=D("0.01"), funding_quote=D("-0.3")
    )
    assert list(state.exec_ids) == ["x0", "x1", "x2", "f1"]
    (left,) = state.unsettled
    assert (left.client_id, left.filled, left.state) == ("mm-1-2", D("0.5"), "INTENT")
    assert state.orders["mm-1-3"].given_up
    assert (state.watermark_ms, state.funding_watermark_ms) == (123, 99)


async def test_an_order_given_up_stays_so_whatever_its_cancel_is_answered(tmp_path):
    journal = await opened(tmp_path)
    await journal.intents([Intent(action="create", client_id="mm-1-1", side="buy", price=D(100), qty=D(2))])
    journal.outcome(state="NOT_PLACED", client_id="mm-1-1", source="lookup")
    journal.outcome(state="NOT_PLACED", client_id="mm-1-1", source="rest", code="22001")
    await journal.close()
    assert replay(tmp_path / "j.db").orders["mm-1-1"].given_up, "it is looked up again after a start"


async def test_an_execution_booked_as_nobodys_is_the_orders_once_the_venue_has_told_its_id(tmp_path):
    journal = await opened(tmp_path)
    await journal.intents([Intent(action="create", client_id="mm-1-1", side="buy", price=D(100), qty=D(2))])
    journal.fill(replace(fill("x1", "", "buy", "100", "2"), order_id="o7"), mid=None)
    await journal.flush()
    assert replay(tmp_path / "j.db").nobodys == {"o7": D(2)}
    journal.outcome(state="FILLED", client_id="mm-1-1", order_id="o7", filled=D(2))
    await journal.close()
    state = replay(tmp_path / "j.db")
    assert (state.orders["mm-1-1"].filled, state.nobodys) == (D(2), {})


async def test_an_amend_whose_fate_is_open_counts_at_its_larger_quantity(tmp_path):
    journal = await opened(tmp_path)
    create = Intent(action="create", client_id="mm-1-1", side="buy", price=D(100), qty=D(2))
    await journal.intents([create])
    await journal.intents([Intent(action="amend", client_id="mm-1-1", side="buy", price=D(99), qty=D(3))])
    await journal.intents([Intent(action="amend", client_id="mm-1-1", side="buy", price=D(98), qty=D(1))])
    await journal.close()
    (order,) = replay(tmp_path / "j.db").unsettled
    assert (order.price, order.qty, order.amend_qty) == (D(98), D(2), D(3))


async def test_a_refused_amend_leaves_no_exposure_behind_once_the_order_has_ended(tmp_path):
    journal = await opened(tmp_path)
    create = Intent(action="create", client_id="mm-1-1", side="buy", price=D(100), qty=D(10))
    await journal.intents([create])
    await journal.intents([Intent(action="amend", client_id="mm-1-1", side="buy", price=D(99), qty=D(14))])
    journal.fill(fill("x1", "mm-1-1", "buy", "100", "10"), mid=None)
    journal.outcome(state="FILLED", client_id="mm-1-1", qty=D(10), filled=D(10), source="execution")
    await journal.close()
    order = replay(tmp_path / "j.db").orders["mm-1-1"]
    assert (order.qty, order.amend_qty, order.filled, order.venue_filled) == (D(10), None, D(10), D(10))


async def test_an_order_the_venue_called_filled_is_owed_its_missing_executions(tmp_path):
    journal = await opened(tmp_path)
    create = Intent(action="create", client_id="mm-1-1", side="buy", price=D(100), qty=D(10))
    await journal.intents([create])
    journal.fill(fill("x1", "mm-1-1", "buy", "100", "4"), mid=None)
    journal.outcome(state="FILLED", client_id="mm-1-1", qty=D(10), filled=D(10), source="stream")
    await journal.close()
    order = replay(tmp_path / "j.db").orders["mm-1-1"]
    assert order.venue_filled - order.filled == D(6)


async def test_a_position_taken_over_replaces_what_was_before(tmp_path):
    journal = await opened(tmp_path)
    journal.opening(D(0), "first start", contains=[])
    journal.fill(fill("x1", "mm-1-1", "buy", "100", "2"), mid=None)
    journal.opening(D(5), "a person looked", contains=["x9"])
    journal.fill(fill("x2", "mm-1-1", "sell", "100", "1"), mid=None)
    await journal.close()
    state = replay(tmp_path / "j.db")
    assert state.position.qty_base == D(4)
    assert "x9" in state.exec_ids


async def test_one_journal_holds_one_account(tmp_path):
    journal = await opened(tmp_path)
    await journal.close()
    again = Journal.open(tmp_path / "j.db", ManualClock(1))
    with pytest.raises(JournalError, match="choose another output folder for live bybit BTCUSDT"):
        await again.session(mode="live", exchange="bybit", instrument=INSTRUMENT)
    await again.close()


async def test_a_journal_of_the_first_version_is_brought_up_to_date(tmp_path):
    old = sqlite3.connect(tmp_path / "j.db")
    old.executescript(f"BEGIN; {MIGRATIONS[0]} PRAGMA user_version = 1; COMMIT;")
    old.execute(
        "INSERT INTO fill(ts_ns, exec_id, client_id, order_id, side, price, qty, fee_quote, fee_currency,"
        " is_maker, exchange_ts_ns, mid) VALUES (1, 'x', 'c', 'o', 'buy', '1', '2', '-0.5', 'USDT', 1, 1, NULL)"
    )
    old.commit()
    old.close()
    journal = Journal.open(tmp_path / "j.db", ManualClock(1))
    await journal.close()
    assert replay(tmp_path / "j.db").position.fees_quote == D("-0.5")
    row = sqlite3.connect(tmp_path / "j.db").execute("SELECT fee, exec_type FROM fill").fetchone()
    assert row == ("-0.5", "trade")
