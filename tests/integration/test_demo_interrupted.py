"""A demo that is interrupted, loses a part or is killed: nothing open, nothing running, nothing forgotten."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from command_line import children_of, journal_has, rows, started, wait_until

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_everything_and_exits_130(tmp_path: Path, number: signal.Signals) -> None:
    process = started("demo", "--seconds", "60", "--json", "--out", "run", cwd=tmp_path)
    wait_until("quotes", journal_has(tmp_path / "run", "SELECT 1 FROM outcome LIMIT 1"))
    servers = children_of(process.pid)
    assert set(servers) == {"tardis", "exchange", "advisor"}
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert json.loads(stdout)["open_orders_at_exit"] == 0
    assert rows(tmp_path / "run" / "journal.sqlite", "PRAGMA integrity_check") == [("ok",)]
    for pid in servers.values():
        assert not Path(f"/proc/{pid}").exists(), "a server was left running"


def test_killing_the_market_server_pulls_quotes_until_it_is_back(tmp_path: Path) -> None:
    process = started("demo", "--seconds", "25", "--json", "--out", "run", cwd=tmp_path)
    folder = tmp_path / "run"
    wait_until("quotes", journal_has(folder, "SELECT 1 FROM outcome LIMIT 1"))
    os.kill(children_of(process.pid)["tardis"], signal.SIGKILL)
    killed_ns = time.time_ns()
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    states = rows(
        folder / "journal.sqlite", "SELECT ts_ns, value FROM state WHERE what = 'book' ORDER BY ts_ns"
    )
    lost = [ts for ts, value in states if ts > killed_ns and value != "LIVE"]
    assert lost, states
    assert lost[0] - killed_ns < 3_000_000_000
    back = [ts for ts, value in states if ts > lost[0] and value == "LIVE"]
    assert back, "the book came back"
    resumed = rows(
        folder / "journal.sqlite",
        f"SELECT 1 FROM intent WHERE action = 'create' AND ts_ns > {back[0]} LIMIT 1",
    )
    assert resumed, "quoting resumed"
    between = rows(
        folder / "journal.sqlite",
        f"SELECT COUNT(*) FROM intent WHERE action IN ('create', 'amend') AND ts_ns BETWEEN {lost[0]} AND {back[0]}",
    )
    assert between == [(0,)], "nothing is quoted on a book that is not LIVE"
    assert json.loads(stdout)["open_orders_at_exit"] == 0


def test_a_killed_demo_leaves_no_server_behind(tmp_path: Path) -> None:
    process = started("demo", "--seconds", "60", "--out", "run", cwd=tmp_path)
    wait_until("quotes", journal_has(tmp_path / "run", "SELECT 1 FROM outcome LIMIT 1"))
    servers = children_of(process.pid)
    process.kill()
    process.communicate(timeout=20)
    for name, pid in servers.items():
        wait_until(f"{name} to end", lambda pid=pid: not Path(f"/proc/{pid}").exists(), timeout_s=20)


def test_a_killed_advisor_changes_nothing_for_the_quotes(tmp_path: Path) -> None:
    process = started("demo", "--seconds", "10", "--json", "--out", "run", cwd=tmp_path)
    wait_until("quotes", journal_has(tmp_path / "run", "SELECT 1 FROM outcome LIMIT 1"))
    os.kill(children_of(process.pid)["advisor"], signal.SIGKILL)
    killed_ns = time.time_ns()
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert "advisor server ended" in stderr
    later = rows(
        tmp_path / "run" / "journal.sqlite",
        f"SELECT COUNT(*) FROM intent WHERE action IN ('create', 'amend') AND ts_ns > {killed_ns}",
    )
    assert later[0][0] > 0
    assert json.loads(stdout)["open_orders_at_exit"] == 0


def test_a_killed_exchange_comes_back_with_its_orders_and_trading_goes_on(tmp_path: Path) -> None:
    process = started("demo", "--seconds", "25", "--json", "--out", "run", cwd=tmp_path)
    held = "SELECT 1 FROM mark WHERE CAST(position AS REAL) != 0 LIMIT 1"
    wait_until("a position", journal_has(tmp_path / "run", held))
    os.kill(children_of(process.pid)["exchange"], signal.SIGKILL)
    killed_ns = time.time_ns()
    stdout, stderr = process.communicate(timeout=90)
    assert process.returncode == 0, stderr
    assert "exchange server is back" in stderr
    placed = f"SELECT COUNT(*) FROM outcome WHERE state = 'OPEN' AND ts_ns > {killed_ns}"
    assert rows(tmp_path / "run" / "journal.sqlite", placed)[0][0] > 0
    result = json.loads(stdout)
    assert (result["open_orders_at_exit"], result["unknown_orders_at_exit"]) == (0, 0)
