"""What a report promises: every figure comes from the journal's rows, the file needs nothing else."""

import json
import math
import re
import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest

from journal_of_a_session import write_session
from mm_hybrid.cli import run
from mm_hybrid.errors import JournalError
from mm_hybrid.report import build_report, summary
from mm_hybrid.report.read import MAX_POINTS, Thinned, read_session


async def test_the_profit_is_recomputed_from_fills_and_mids_and_agrees_with_the_engine(
    tmp_path: Path,
) -> None:
    ledger = await write_session(tmp_path / "journal.sqlite")
    numbers = summary(tmp_path / "journal.sqlite")
    assert numbers["fills"] > 20
    assert numbers["pnl"] == ledger.parts.as_floats()
    assert numbers["engine_difference"] == 0
    assert numbers["position"] == float(ledger.position.qty_base)
    assert numbers["traded_quote"] == float(ledger.traded_quote)


async def test_the_parts_add_up_to_the_total(tmp_path: Path) -> None:
    await write_session(tmp_path / "journal.sqlite")
    parts = summary(tmp_path / "journal.sqlite")["pnl"]
    total = parts.pop("total")
    assert math.isclose(sum(parts.values()), total, rel_tol=1e-9)


async def test_an_engine_that_claims_another_total_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    await write_session(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE mark SET total = '1000000' WHERE seq = (SELECT max(seq) FROM mark)")
    connection.close()
    assert summary(path)["engine_difference"] > 900_000


async def test_a_position_held_at_the_start_earns_nothing_by_being_there(tmp_path: Path) -> None:
    ledger = await write_session(tmp_path / "journal.sqlite", opening_base=Decimal("0.5"))
    numbers = summary(tmp_path / "journal.sqlite")
    assert numbers["adopted_position"] == 0.5
    assert numbers["pnl"] == ledger.parts.as_floats()


async def test_every_request_with_an_answer_has_a_latency(tmp_path: Path) -> None:
    await write_session(tmp_path / "journal.sqlite", marks=300)
    latency = summary(tmp_path / "journal.sqlite")["latency_ms"]
    assert {action: values["n"] for action, values in latency.items()} == {
        "create": 100,
        "amend": 200,
        "cancel": 2,
    }
    for values in latency.values():
        assert 2 <= values["p50"] <= values["p90"] <= values["p99"] <= values["max"]


async def test_the_page_loads_nothing_and_escapes_what_the_journal_says(tmp_path: Path) -> None:
    hostile = "</script><img src=x onerror=alert(1)>"
    await write_session(tmp_path / "journal.sqlite", reason=hostile)
    out = build_report(tmp_path / "journal.sqlite", tmp_path / "deep" / "report.html")
    html = out.read_text()
    assert hostile not in html
    assert "&lt;/script&gt;&lt;img" in html
    body = html[html.index("<body>") :]
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?[a-z]+:""", body)
    assert "default-src 'none'" in html


async def test_a_session_that_never_quoted_still_has_a_report(tmp_path: Path) -> None:
    await write_session(tmp_path / "journal.sqlite", empty=True)
    numbers = summary(tmp_path / "journal.sqlite")
    assert numbers["marks"] == numbers["fills"] == 0
    assert "None." in build_report(tmp_path / "journal.sqlite", tmp_path / "report.html").read_text()


async def test_a_long_session_is_thinned_in_drawings_and_never_in_sums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mm_hybrid.report.read.MAX_POINTS", 50)
    ledger = await write_session(tmp_path / "journal.sqlite", marks=1000)
    session = read_session(tmp_path / "journal.sqlite")
    assert session.marks == session.points.seen == 1000
    assert session.points.items[-1].total == float(ledger.parts.total)
    assert summary(tmp_path / "journal.sqlite")["pnl"] == ledger.parts.as_floats()


def test_thinning_keeps_first_and_last_and_order() -> None:
    thinned: Thinned[int] = Thinned(10)
    for item in range(1000):
        thinned.add(item)
    assert len(thinned.items) <= 21
    assert thinned.items[0] == 0
    assert thinned.items[-1] == 999
    assert thinned.items == sorted(thinned.items)
    assert MAX_POINTS >= 1000


async def test_the_command_prints_the_file_it_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await write_session(tmp_path / "journal.sqlite")
    assert run(["report", str(tmp_path / "journal.sqlite")]) == 0
    assert Path(capsys.readouterr().out.strip()).is_file()


async def test_the_command_prints_numbers_as_one_json_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await write_session(tmp_path / "journal.sqlite")
    assert run(["report", str(tmp_path / "journal.sqlite"), "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["report"] is None
    assert numbers["pnl"] == summary(tmp_path / "journal.sqlite")["pnl"]
    assert not (tmp_path / "journal.html").exists()


def test_a_missing_journal_is_one_line_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", str(tmp_path / "nowhere.sqlite")]) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "nowhere.sqlite: no such journal" in message


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, but long enough to be one" * 40)
    with pytest.raises(JournalError, match="cannot read the journal"):
        summary(tmp_path / "text")
