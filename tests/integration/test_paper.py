"""Paper and live sessions from a configuration file, and the kill switch."""

import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import command

REPO = Path(__file__).resolve().parents[2]
SCRIPT = str(REPO / "examples" / "closed_form.py")
pytestmark = pytest.mark.timeout(120)


def run(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    names = ("MM_HYBRID_API_KEY", "MM_HYBRID_API_SECRET", "MM_HYBRID_API_PASSWORD", "HOLYSHEEP_API_KEY")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=clean | (env or {}),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.fixture(scope="module")
def market_url() -> Iterator[str]:
    """A synthetic market on loopback, as its own process."""
    server = subprocess.Popen(
        command("serve", "tardis", "--port", "0", "--json"), stdout=subprocess.PIPE, text=True
    )
    with server:
        ready = json.loads(server.stdout.readline())
        yield f"ws://127.0.0.1:{ready['ws_port']}"
        server.terminate()
        assert server.wait(20) == 0


@pytest.fixture
def config(tmp_path: Path, market_url: str) -> Path:
    path = tmp_path / "session.toml"
    path.write_text(
        f'[market]\nurl = "{market_url}"\nexchange = "bybit"\nsymbol = "BTCUSDT"\n\n[venue]\nname = "bybit"\n'
    )
    return path


def test_paper_trades_live_data_at_an_exchange_of_its_own(tmp_path: Path, config: Path) -> None:
    done = run("paper", SCRIPT, "--config", str(config), "--seconds", "8", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["mode"] == "paper"
    assert result["quotes"] > 0
    assert result["open_orders_at_exit"] == 0
    assert "no key in HOLYSHEEP_API_KEY" in done.stderr, "a missing advisor is said, and changes nothing else"


def test_paper_takes_market_data_straight_from_the_exchange_by_one_line(
    tmp_path: Path, market_url: str
) -> None:
    exchange = subprocess.Popen(
        command("serve", "exchange", "--port", "0", "--market-url", market_url, "--json"),
        stdout=subprocess.PIPE,
        text=True,
    )
    with exchange:
        port = json.loads(exchange.stdout.readline())["port"]
        config = tmp_path / "session.toml"
        config.write_text(
            f'[market]\nsource = "bybit"\nurl = "ws://127.0.0.1:{port}"\nexchange = "bybit"\nsymbol = "BTCUSDT"\n\n'
            '[venue]\nname = "bybit"\n'
        )
        done = run("paper", SCRIPT, "--config", str(config), "--seconds", "6", "--json", cwd=tmp_path)
        exchange.terminate()
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["quotes"] > 0
    assert result["feed"]["state"] == "LIVE"


def test_a_latched_kill_switch_stops_a_session_with_exit_code_3(tmp_path: Path, config: Path) -> None:
    latched = run("kill", "--config", str(config), "--json", cwd=tmp_path)
    kill_file = tmp_path / json.loads(latched.stdout)["kill_file"]
    done = run("paper", SCRIPT, "--config", str(config), "--seconds", "30", "--json", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "kill switch" in done.stderr.splitlines()[-1]
    assert json.loads(done.stdout)["orders_placed"] == 0
    assert kill_file.exists(), "only a person lifts it"


def test_live_names_the_secret_that_is_missing(tmp_path: Path, config: Path) -> None:
    done = run("live", SCRIPT, "--config", str(config), cwd=tmp_path)
    assert done.returncode == 2
    assert "MM_HYBRID_API_KEY" in done.stderr


def test_live_never_goes_to_a_local_exchange(tmp_path: Path, config: Path) -> None:
    config.write_text(config.read_text() + 'url = "http://127.0.0.1:1"\n')
    done = run("live", SCRIPT, "--config", str(config), cwd=tmp_path)
    assert done.returncode == 2
    assert "venue.url" in done.stderr


def test_an_unreachable_market_is_named(tmp_path: Path, config: Path) -> None:
    config.write_text(config.read_text().replace("name = ", 'url = "http://127.0.0.1:1"\nname = '))
    done = run("paper", SCRIPT, "--config", str(config), "--seconds", "5", cwd=tmp_path)
    assert done.returncode == 1
    assert "cannot reach http://127.0.0.1:1" in done.stderr.splitlines()[-1]


def test_doctor_says_what_is_wrong_without_showing_secrets(tmp_path: Path, config: Path) -> None:
    config.write_text(config.read_text().replace("name = ", 'url = "http://127.0.0.1:1"\nname = '))
    done = run(
        *("doctor", "--config", str(config), "--json"),
        cwd=tmp_path,
        env={"MM_HYBRID_API_SECRET": "hush-hush"},
    )
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["market"]["ok"] is True
    assert checks["exchange"]["ok"] is False
    assert "hush" not in done.stdout + done.stderr
    assert done.returncode == 1


def test_a_second_paper_session_goes_on_with_the_account_of_the_first(tmp_path: Path, config: Path) -> None:
    positions = []
    for _ in range(2):
        done = run("paper", SCRIPT, "--config", str(config), "--seconds", "8", "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        positions.append(json.loads(done.stdout)["position"])
    with sqlite3.connect(tmp_path / "out" / "journal.sqlite") as journal:
        sessions = journal.execute("SELECT COUNT(*) FROM session").fetchone()[0]
        openings = journal.execute("SELECT COUNT(*) FROM opening").fetchone()[0]
    assert (sessions, openings) == (2, 1), "the position of the second start is explained by the journal"
