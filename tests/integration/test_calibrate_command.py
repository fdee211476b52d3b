"""``mm-hybrid calibrate`` on markets of known truth, on recorded ones, and on files that cannot be calibrated."""

import json
import time

import pytest

import command_line
from mm_hybrid._core import Cache, SyntheticMarket
from mm_hybrid.cli import run
from mm_hybrid.session import CACHE_FILE

NS = 1_000_000_000
START_NS = 1_700_000_000 * NS
A, K, SIGMA = 3.0, 0.2, 5.0


def lines(*, seconds, symbol="BTCUSDT", seed=1, start_ns=START_NS, **changes):
    """Return (local time, ..., line) of a synthetic market."""
    parameters = {
        "tick_size": "0.5",
        "book_interval_ms": 500.0,
        "levels": 120,
        "intensity_a": A,
        "intensity_k": K,
        "sigma": SIGMA,
        "latency_median_ms": 0.0,
        "latency_p99_ms": 0.0,
    }
    market = SyntheticMarket(
        exchange="bybit", symbol=symbol, seed=seed, start_ns=start_ns, **{**parameters, **changes}
    )
    return market.advance(start_ns + seconds * NS).encode()


def write(path, *parts):
    ordered = sorted((line for part in parts for line in part), key=lambda line: line[0])
    path.write_bytes(b"".join(text + b"\n" for *_, text in ordered))
    return str(path)


def calibrate(capsys, tmp_path, *arguments):
    code = run(["calibrate", "--json", "--out", str(tmp_path / "out"), *arguments])
    said = capsys.readouterr()
    assert code == 0, said.err
    return json.loads(said.out)


def refusal(capsys, *arguments):
    code = run(["calibrate", *arguments])
    return code, capsys.readouterr().err


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return write(tmp_path_factory.mktemp("market") / "market.ndjson", lines(seconds=1200))


def kinds(found):
    return [warning["kind"] for warning in found["warnings"]]


def test_a_market_of_known_truth_comes_back_within_its_errors(capsys, tmp_path, recording):
    found = calibrate(capsys, tmp_path, "--data", recording, "--half-life", "1e9")
    fit, held = found["intensity"], found["range"]
    assert (found["exchange"], found["symbol"], found["tick_size"]) == ("bybit", "BTCUSDT", 0.5)
    assert found["seconds"] == pytest.approx(1200, abs=2)
    assert fit["k"] == pytest.approx(K, abs=3 * fit["sd_k"])
    assert fit["a"] == pytest.approx(A, abs=3 * fit["sd_a"])
    assert fit["sd_k"] / fit["k"] == pytest.approx(found["orders"] ** -0.5, rel=0.02)
    assert fit["depth_bps"] == pytest.approx(1e4 / K / found["mid_price"], rel=0.1)
    assert held["order_share"] > 0.9
    assert held["k"] == pytest.approx(K, abs=3 * held["sd_k"])
    assert held["p_value"] >= 0.01
    for name in ("mle", "wls", "ols"):
        assert fit["comparison"][name]["intensity_k"] == pytest.approx(K, rel=0.2)
    for entry in found["volatility"]["horizons"]:
        assert entry["realized"] == pytest.approx(SIGMA, abs=4 * entry["sd_realized"])
    assert [entry["horizon_s"] for entry in found["volatility"]["horizons"]] == [1, 10, 60, 300]
    assert abs(found["volatility"]["drift"]) < 4 * found["volatility"]["sd_drift"]
    assert not kinds(found)


def test_the_plot_needs_no_network_and_the_numbers_lie_beside_it(capsys, tmp_path, recording):
    found = calibrate(capsys, tmp_path, "--data", recording)
    page = (tmp_path / "out" / "calibration.html").read_text()
    assert found["plot"] == str(tmp_path / "out" / "calibration.html")
    assert "default-src 'none'" in page
    assert page.count('class="plotly-graph-div"') == 3
    stored = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert {key: stored[key] for key in found} == found
    assert set(stored) - set(found) == {"trace", "bins"}
    assert stored["bins"]["edges"][-1] is None


def test_a_change_of_regime_and_a_gap_are_told_with_their_evidence(capsys, tmp_path):
    later = START_NS + 700 * NS
    path = write(
        tmp_path / "two.ndjson",
        lines(seconds=600),
        lines(seconds=600, seed=2, start_ns=later, intensity_k=0.1, intensity_a=6.0),
    )
    found = calibrate(capsys, tmp_path, "--data", path)
    assert {"regime_change", "book_gaps"} <= set(kinds(found))
    evidence = {warning["kind"]: warning["evidence"] for warning in found["warnings"]}
    assert evidence["regime_change"]["decay_ratio"] > 1.5
    assert evidence["regime_change"]["p_decay"] < 1e-3
    assert 80 < evidence["book_gaps"]["missing_seconds"] < 100


def test_little_data_says_so(capsys, tmp_path):
    path = write(tmp_path / "short.ndjson", lines(seconds=10))
    found = calibrate(capsys, tmp_path, "--data", path)
    assert {"few_orders", "short_data"} <= set(kinds(found))
    assert found["volatility"]["horizons"][-1]["realized"] is None


def test_a_session_may_start_from_it(capsys, tmp_path, recording):
    found = calibrate(capsys, tmp_path, "--data", recording, "--cache", str(tmp_path / "session"))
    assert found["cache"] == str(tmp_path / "session" / CACHE_FILE)
    with Cache(found["cache"]) as cache:
        end_ns = found["last_local_ts_ns"]
        row = cache.get_calibration("bybit", "BTCUSDT", 600 * NS, now_ns=end_ns + 60 * NS)
        late = cache.get_calibration("bybit", "BTCUSDT", 600 * NS, now_ns=end_ns + 700 * NS)
    assert row is not None
    assert (row.intensity_a, row.intensity_k) == (found["intensity"]["a"], found["intensity"]["k"])
    assert row.orders_seen == round(found["intensity"]["effective_orders"])
    assert late is None


def test_a_session_started_at_once_is_warm(capsys, tmp_path):
    start_ns = time.time_ns() - 300 * NS
    path = write(tmp_path / "now.ndjson", lines(seconds=299, start_ns=start_ns))
    calibrate(capsys, tmp_path, "--data", path, "--cache", str(tmp_path / "session"))
    done = command_line.run("demo", "--seconds", "2", "--json", "--out", "session", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "warm start: parameters of bybit BTCUSDT from the cache" in done.stderr


def test_what_cannot_be_calibrated_is_named(capsys, tmp_path):
    both = write(tmp_path / "both.ndjson", lines(seconds=5), lines(seconds=5, symbol="ETHUSDT"))
    code, said = refusal(capsys, "--data", both)
    assert code == 2
    assert "--symbol" in said
    assert "bybit BTCUSDT, bybit ETHUSDT" in said
    code, said = refusal(capsys, "--data", both, "--symbol", "XRPUSDT")
    assert code == 2
    assert "XRPUSDT is not in the files" in said
    for name, kept, missing in (
        ("book", b"book_change", "no trades"),
        ("trades", b'"trade"', "no book"),
    ):
        path = write(tmp_path / f"{name}.ndjson", [line for line in lines(seconds=5) if kept in line[-1]])
        code, said = refusal(capsys, "--data", path)
        assert code == 1
        assert "bybit BTCUSDT: the files hold" in said
        assert missing in said
    code, said = refusal(capsys, "--data", both, "--symbol", "BTCUSDT", "--half-life", "0")
    assert code == 2
    assert "half-life" in said
    silent = write(tmp_path / "touch.ndjson", lines(seconds=5, intensity_k=1e3, intensity_a=20.0))
    code, said = refusal(capsys, "--data", silent)
    assert code == 1
    assert "beyond the touch" in said or "no trades" in said


def test_orders_that_all_go_equally_deep_tell_no_decay(capsys, tmp_path):
    def message(second, **fields):
        stamp = f"2024-01-01T00:00:{second:02}.000Z"
        return {"symbol": "X", "exchange": "bybit", "timestamp": stamp, "localTimestamp": stamp, **fields}

    bids, asks = (
        [{"price": 100 + side, "amount": 5}, {"price": 100 + 2 * side, "amount": 5}] for side in (-1, 1)
    )
    book = {"type": "book_change", "isSnapshot": True, "bids": bids, "asks": asks}
    messages = [message(second, **book) for second in range(10)]
    messages += [
        message(second, type="trade", id=str(second), price=102, amount=1, side="buy")
        for second in range(2, 9)
    ]
    messages.sort(key=lambda line: line["localTimestamp"])
    path = tmp_path / "deep.ndjson"
    path.write_text("".join(json.dumps(line) + "\n" for line in messages))
    code, said = refusal(capsys, "--data", str(path))
    assert code == 1
    assert "stopped one tick beyond it: they tell no decay" in said


def test_tables_and_csv_files_are_read_as_by_book(capsys, tmp_path, data_dir):
    csv = [
        str(data_dir / f"binance-futures_{kind}_2024-08-08_BTCUSDT.csv.gz")
        for kind in ("incremental_book_L2", "trades")
    ]
    ndjson = str(data_dir / "binance-futures_BTCUSDT_2024-08-08.ndjson.gz")
    from_csv = calibrate(capsys, tmp_path, "--data", csv[0], "--data", csv[1])
    assert run(["convert", ndjson, "--out", str(tmp_path / "tables")]) == 0
    capsys.readouterr()
    from_tables = calibrate(capsys, tmp_path, "--data", str(tmp_path / "tables"))
    from_lines = calibrate(capsys, tmp_path, "--data", ndjson)
    assert from_tables["intensity"] == from_lines["intensity"]
    assert from_csv["intensity"]["k"] == pytest.approx(from_lines["intensity"]["k"], rel=0.05)
    assert {"touch_atom", "regime_change", "short_data"} <= set(kinds(from_lines))
    # What an independent fit of this capture found between 2 and 40 P: k 0.176, A 1.43 per second and side.
    assert 0.15 < from_lines["intensity"]["k"] < 0.25
    assert 1.1 < from_lines["intensity"]["a"] < 1.8
    assert 7 < from_lines["volatility"]["horizons"][0]["realized"] < 8.5
