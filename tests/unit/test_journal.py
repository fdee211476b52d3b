"""What the journal promises: order, intents on disk first, a failure that is final, reading while writing."""

import asyncio
import sqlite3
import subprocess
import sys
import textwrap
from dataclasses import fields
from decimal import Decimal
from pathlib import Path

import pytest

from mm_hybrid.clock import ManualClock, WallClock
from mm_hybrid.errors import JournalError
from mm_hybrid.journal import Intent, Journal, JournalReader, schema
from mm_hybrid.types import Fill, Instrument

INSTRUMENT = Instrument(
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


def a_fill(exec_id: str = "x1") -> Fill:
    return Fill(
        exec_id=exec_id,
        client_id="mm-1-1",
        order_id="o1",
        side="buy",
        price=Decimal("60000.10"),
        qty=Decimal("0.001"),
        fee=Decimal("-0.0060001"),
        fee_quote=Decimal("-0.0060001"),
        fee_currency="USDT",
        is_maker=True,
        exchange_ts_ns=5,
        local_ts_ns=6,
    )


def a_mark() -> dict:
    zeros = ("position", "cash", "fees", "funding", "spread_capture", "inventory_pnl", "total")
    nothing = ("mid", "best_bid", "best_ask", "bid_quote", "ask_quote")
    return (
        {"market_ts_ns": 1, "book_state": "LIVE"} | dict.fromkeys(zeros, Decimal(0)) | dict.fromkeys(nothing)
    )


def on_disk(path: Path, table: str) -> int:
    with sqlite3.connect(path) as connection:
        count = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    connection.close()
    return count


async def test_intents_are_committed_when_the_call_returns(tmp_path):
    journal = Journal.open(tmp_path / "j.db", WallClock())
    intent = Intent(
        action="create",
        client_id="c1",
        side="buy",
        price=Decimal("60000.10"),
        qty=Decimal("0.001"),
        reason="quote",
    )
    first, second = await journal.intents([intent, Intent(action="cancel", client_id="c1")])
    assert second == first + 1
    assert on_disk(tmp_path / "j.db", "intent") == 2
    with JournalReader(tmp_path / "j.db") as reader:
        row, cancel = reader.intents()
    assert (row.price, str(row.price), row.side, row.seq) == (Decimal("60000.1"), "60000.10", "buy", first)
    assert cancel.price is None
    await journal.close()


async def test_stamps_strictly_increase_over_all_tables_and_reopenings(tmp_path):
    clock = ManualClock(1_000)
    stamps: list[int] = []
    for _ in range(2):
        journal = Journal.open(tmp_path / "j.db", clock)
        stamps += [
            journal.state("book", "LIVE"),
            journal.refusal("stale"),
            journal.outcome(state="OPEN", client_id="c1"),
            journal.advice(outcome="accepted", request_json="{}"),
            journal.mark(**a_mark()),
        ]
        await journal.close()
    assert stamps == list(range(1_000, 1_000 + len(stamps)))


async def test_a_fill_is_written_once_whatever_is_replayed(tmp_path):
    journal = Journal.open(tmp_path / "j.db", WallClock())
    for mid in (60_000.5, 60_001.5):
        journal.fill(a_fill(), mid=mid)
    journal.fill(a_fill("x2"), mid=None)
    await journal.close()
    with JournalReader(tmp_path / "j.db") as reader:
        first, second = reader.fills()
    assert (first.exec_id, first.mid, first.fee_quote, first.is_maker) == (
        "x1",
        Decimal("60000.5"),
        Decimal("-0.0060001"),
        True,
    )
    assert (second.exec_id, second.mid) == ("x2", None)


async def test_boot_epochs_never_repeat_even_if_the_clock_stands_still(tmp_path):
    clock = ManualClock(1_700_000_000_000_000_000)
    epochs = []
    for _ in range(3):
        journal = Journal.open(tmp_path / "j.db", clock)
        row = await journal.session(mode="paper", exchange="bybit", instrument=INSTRUMENT, version="1")
        epochs.append(row.boot_epoch)
        await journal.close()
    assert epochs == [1_700_000_000, 1_700_000_001, 1_700_000_002]
    with JournalReader(tmp_path / "j.db") as reader:
        assert reader.sessions()[0].symbol == "BTCUSDT"


async def test_a_reader_follows_while_the_journal_is_written(tmp_path):
    journal = Journal.open(tmp_path / "j.db", WallClock())
    with JournalReader(tmp_path / "j.db") as reader:
        journal.state("book", "LIVE")
        await journal.flush()
        (first,) = reader.states()
        journal.state("book", "STALE", "no message for 3 s")
        await journal.flush()
        (second,) = reader.states(after_seq=first.seq)
        assert second.value == "STALE"
    await journal.close()


async def test_many_waiters_share_commits(tmp_path):
    journal = Journal.open(tmp_path / "j.db", WallClock())
    seqs = await asyncio.gather(
        *(journal.intents([Intent(action="cancel", client_id=f"c{i}")]) for i in range(200))
    )
    assert sorted(seq for (seq,) in seqs) == list(range(1, 201))
    await journal.close()


async def test_a_closed_journal_refuses_and_closes_twice_quietly(tmp_path):
    journal = Journal.open(tmp_path / "j.db", WallClock())
    await journal.close()
    await journal.close()
    with pytest.raises(JournalError, match="closed"):
        await journal.intents([Intent(action="cancel", client_id="c1")])


def test_a_full_disk_fails_the_intent_and_everything_after_it(tmp_path):
    script = textwrap.dedent("""
        import asyncio, resource, signal, sys
        from mm_hybrid.clock import WallClock
        from mm_hybrid.errors import JournalError
        from mm_hybrid.journal import Intent, Journal

        async def main():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            journal = Journal.open(sys.argv[1], WallClock())
            await journal.intents([Intent(action="cancel", client_id="fits")])
            resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
            failures = 0
            for i in range(100):
                try:
                    await journal.intents([Intent(action="cancel", client_id=str(i), reason="x" * 10_000)])
                except JournalError as error:
                    failures += 1
                    first = failures == 1 and print(error)
            print(failures > 50, journal.failure is not None)
            try:
                journal.state("a", "b")
            except JournalError:
                print("refused")

        asyncio.run(main())
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "j.db")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    error, latched, refused = done.stdout.splitlines()
    assert "cannot write the journal" in error
    assert (latched, refused) == ("True True", "refused")
    with JournalReader(tmp_path / "j.db") as reader:
        assert next(iter(reader.intents())).client_id == "fits"


async def test_text_that_is_no_unicode_is_written_all_the_same(tmp_path):
    """Half a surrogate pair comes out of JSON that a venue has cut in the middle of a character."""
    journal = Journal.open(tmp_path / "j.db", ManualClock(1))
    journal.state("lookup", "failed", "cut \ud83d here, ü")
    await journal.intents([Intent(action="cancel", client_id="c1")])
    await journal.close()
    with JournalReader(tmp_path / "j.db") as reader:
        assert [row.detail for row in reader.states()] == ["cut \\ud83d here, ü"]


async def test_whatever_stops_the_writer_is_a_failure_that_everyone_waiting_is_told(tmp_path):
    journal = Journal.open(tmp_path / "j.db", ManualClock(1))
    journal.advice(
        outcome="used", request_json="{}", snapshot_ns=1 << 70
    )  # More than SQLite's integers hold.
    async with asyncio.timeout(5):
        with pytest.raises(JournalError, match="OverflowError"):
            await journal.intents([Intent(action="create", client_id="c1")])
        assert journal.failure is not None
        with pytest.raises(JournalError):
            await journal.flush()
        with pytest.raises(JournalError, match="OverflowError"):
            await journal.close()


async def test_a_journal_has_one_writer_and_is_free_again_once_that_is_closed(tmp_path):
    first = Journal.open(tmp_path / "j.db", ManualClock(1))
    with pytest.raises(JournalError, match="another session is writing this journal"):
        Journal.open(tmp_path / "j.db", ManualClock(1))
    await first.close()
    await Journal.open(tmp_path / "j.db", ManualClock(1)).close()


def test_what_is_no_journal_is_refused_in_one_line(tmp_path):
    with pytest.raises(JournalError, match="no such journal"):
        JournalReader(tmp_path / "absent.db")
    text = tmp_path / "text.db"
    text.write_text("certainly no database, but long enough to have a header" * 40)
    with pytest.raises(JournalError, match="cannot open the journal"):
        Journal.open(text, WallClock())
    with pytest.raises(JournalError, match="cannot read the journal"):
        JournalReader(text)


def test_a_journal_of_a_newer_version_is_refused(tmp_path):
    connection = sqlite3.connect(tmp_path / "j.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(JournalError, match="schema version 99"):
        Journal.open(tmp_path / "j.db", WallClock())
    with pytest.raises(JournalError, match="schema version 99"):
        JournalReader(tmp_path / "j.db")


def test_every_row_class_has_exactly_the_columns_of_its_table():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    schema.migrate(connection)
    for row in schema.ROW_TYPES:
        names = [info[1] for info in connection.execute(f"PRAGMA table_info({row.table})")]
        assert names == [f.name for f in fields(row)]
    connection.close()
