"""The whole system as a user starts it: real processes, real sockets, a real journal, and nothing left behind."""

import gzip
import json
import socket
from decimal import Decimal
from pathlib import Path

import pytest

from command_line import result_of, rows, run

REPO = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module", params=["bybit", "bitget"])
def demo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp(f"demo-{request.param}")
    done = run(
        *("demo", "--exchange", request.param, "--seconds", "20", "--seed", "11", "--json", "--out", "run"),
        cwd=folder,
    )
    result = result_of(done)
    return {
        **result,
        "folder": folder / "run",
        "report": folder / result["report"],
        "journal": folder / result["journal"],
    }


class TestSyntheticMarket:
    def test_it_trades_and_leaves_nothing_open(self, demo: dict) -> None:
        assert demo["fills"] >= 5
        assert demo["quotes"] > 0
        assert demo["feed"]["state"] == "LIVE"
        assert demo["open_orders_at_exit"] == 0
        assert demo["unknown_orders_at_exit"] == 0

    def test_the_parts_of_the_profit_add_up(self, demo: dict) -> None:
        pnl = demo["pnl"]
        parts = pnl["spread_capture"] + pnl["inventory"] + pnl["fees"] + pnl["funding"]
        assert parts == pytest.approx(pnl["total"], rel=1e-9, abs=1e-9)

    def test_every_advice_is_accounted_for(self, demo: dict) -> None:
        advice = demo["advice"]
        assert advice["requested"] >= 1
        counted = advice["accepted"] + advice["clamped"] + advice["rejected"] + advice["in_flight"]
        assert advice["requested"] == counted

    def test_every_order_was_on_disk_before_it_was_sent(self, demo: dict) -> None:
        intended = {
            row[0] for row in rows(demo["journal"], "SELECT client_id FROM intent WHERE action = 'create'")
        }
        traded = {row[0] for row in rows(demo["journal"], "SELECT client_id FROM fill")}
        assert traded
        assert traded <= intended
        assert demo["orders_placed"] <= len(intended)

    def test_every_fill_ties_to_a_print_and_no_print_fills_more_than_its_size(self, demo: dict) -> None:
        prints = {}
        for line in (demo["folder"] / "feed.ndjson").read_text().splitlines():
            message = json.loads(line, parse_float=Decimal, parse_int=Decimal)
            if message["type"] == "trade":
                prints[message["id"]] = message
        executions = [
            json.loads(line) for line in (demo["folder"] / "executions.jsonl").read_text().splitlines()
        ]
        taken: dict[str, Decimal] = {}
        by_exec_id = {}
        for execution in executions:
            by_exec_id[execution["exec_id"]] = execution
            printed = prints[execution["print_id"]]
            price, qty = Decimal(execution["price"]), Decimal(execution["qty"])
            assert printed["side"] != execution["side"], "a resting buy is filled by a taker who sells"
            assert price >= printed["price"] if execution["side"] == "buy" else price <= printed["price"]
            taken[execution["print_id"]] = taken.get(execution["print_id"], Decimal(0)) + qty
        for print_id, qty in taken.items():
            assert qty <= prints[print_id]["amount"]
        journalled = rows(demo["journal"], "SELECT exec_id, side, price, qty FROM fill")
        assert len(journalled) == demo["fills"]
        for exec_id, side, price, qty in journalled:
            execution = by_exec_id[exec_id]
            assert (side, Decimal(price), Decimal(qty)) == (
                execution["side"],
                Decimal(execution["price"]),
                Decimal(execution["qty"]),
            )
        assert set(by_exec_id) == {row[0] for row in journalled}, (
            "no execution of the exchange is missing here"
        )

    def test_the_position_is_the_sum_of_the_fills(self, demo: dict) -> None:
        held = sum(
            (Decimal(qty) if side == "buy" else -Decimal(qty))
            for side, qty in rows(demo["journal"], "SELECT side, qty FROM fill")
        )
        assert float(held) == pytest.approx(demo["position"])

    def test_the_report_is_one_file_of_its_own(self, demo: dict) -> None:
        page = demo["report"].read_text()
        assert "plotly" in page
        assert 'src="http' not in page


@pytest.mark.parametrize(
    ("name", "exchange", "least_fills"),
    [
        ("binance-futures_BTCUSDT_2024-08-08.ndjson.gz", "bybit", 1),
        ("bybit_PERPETUALS_2021-04-17.ndjson.gz", "bybit", 0),
        ("bitget_SPOT_2022-04-07.ndjson.gz", "bitget", 0),
    ],
)
def test_real_data_is_traded(
    tmp_path: Path, data_dir: Path, name: str, exchange: str, least_fills: int
) -> None:
    speed = "4" if least_fills else "1"
    done = run(
        *("demo", "--exchange", exchange, "--data", str(data_dir / name), "--speed", speed),
        *("--seconds", "25", "--json", "--out", "run"),
        cwd=tmp_path,
    )
    result = result_of(done)
    assert result["quotes"] > 0
    assert result["fills"] >= least_fills
    assert result["feed"]["state"] == "LIVE"
    assert result["open_orders_at_exit"] == 0


def test_an_example_strategy_runs(tmp_path: Path) -> None:
    script = REPO / "examples" / "my_first_strategy.py"
    result = result_of(
        run("demo", "--seconds", "6", "--strategy", str(script), "--json", "--out", "run", cwd=tmp_path)
    )
    assert result["quotes"] > 0
    assert result["open_orders_at_exit"] == 0


def broken_gz(folder: Path) -> Path:
    trade = {"type": "trade", "symbol": "A", "exchange": "bybit", "price": 1, "amount": 1, "side": "buy"}
    times = dict.fromkeys(("timestamp", "localTimestamp"), "2024-01-01T00:00:00.000Z")
    line = json.dumps(trade | times).encode() + b"\n"
    path = folder / "cut.ndjson.gz"
    path.write_bytes(gzip.compress(line * 5000)[:-40])
    return path


def test_keys_in_the_environment_stay_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MM_HYBRID_API_KEY", "a-real-key")
    monkeypatch.setenv("MM_HYBRID_API_SECRET", "a-real-secret")
    result = result_of(run("demo", "--seconds", "3", "--json", "--out", "run", cwd=tmp_path))
    assert result["quotes"] > 0
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            assert b"a-real-" not in path.read_bytes(), path


class TestBadInput:
    def fails(self, folder: Path, code: int, *arguments: str, naming: list[str]) -> None:
        done = run(*arguments, cwd=folder, timeout_s=60)
        assert done.returncode == code, (done.stdout, done.stderr)
        lines = done.stderr.strip().splitlines()
        assert lines, "a failure says why"
        for part in naming:
            assert part in lines[-1], lines
        assert "Traceback" not in done.stderr

    def test_a_missing_file(self, tmp_path: Path) -> None:
        self.fails(tmp_path, 2, "demo", "--data", "gone.ndjson.gz", naming=["gone.ndjson.gz"])

    def test_a_file_cut_short(self, tmp_path: Path) -> None:
        self.fails(tmp_path, 1, "demo", "--data", str(broken_gz(tmp_path)), naming=["cut.ndjson.gz"])

    def test_an_unknown_symbol(self, tmp_path: Path, data_dir: Path) -> None:
        file = str(data_dir / "bybit_PERPETUALS_2021-04-17.ndjson.gz")
        self.fails(tmp_path, 2, "demo", "--data", file, "--symbol", "NOPE", naming=["NOPE", "ETHUSDT"])

    def test_a_wrong_option(self, tmp_path: Path) -> None:
        self.fails(tmp_path, 2, "demo", "--exchange", "kraken", naming=["kraken", "bybit"])

    def test_a_broken_strategy(self, tmp_path: Path) -> None:
        (tmp_path / "bad.py").write_text("def quotes(f, p, a):\n    return [('buy', 1 / 0)]\n")
        self.fails(
            tmp_path,
            1,
            "demo",
            "--seconds",
            "5",
            "--strategy",
            "bad.py",
            naming=["bad.py:2", "ZeroDivisionError"],
        )

    def test_a_strategy_that_exits(self, tmp_path: Path) -> None:
        (tmp_path / "quit.py").write_text("import sys\ndef quotes(f, p, a):\n    sys.exit(0)\n")
        self.fails(
            tmp_path, 1, "demo", "--seconds", "5", "--strategy", "quit.py", naming=["quit.py:3", "SystemExit"]
        )

    def test_a_strategy_that_returns_no_quotes(self, tmp_path: Path) -> None:
        (tmp_path / "nan.py").write_text("def quotes(f, p, a):\n    return [('buy', float('nan'))]\n")
        self.fails(
            tmp_path, 1, "demo", "--seconds", "5", "--strategy", "nan.py", naming=["nan.py", "price", "nan"]
        )

    def test_an_output_folder_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "taken").write_text("")
        self.fails(tmp_path, 2, "demo", "--out", "taken", naming=["--out taken"])

    def test_a_port_in_use(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            self.fails(tmp_path, 1, "serve", "advisor", "--port", port, naming=[port])

    def test_a_wrong_configuration_key(self, tmp_path: Path) -> None:
        (tmp_path / "s.toml").write_text("[market]\nurl='ws://127.0.0.1:1'\nexchange='bybit'\nsymbl='X'\n")
        (tmp_path / "s.py").write_text("def quotes(f, p, a):\n    return []\n")
        self.fails(tmp_path, 2, "paper", "s.py", "--config", "s.toml", naming=["s.toml", "symbl"])
