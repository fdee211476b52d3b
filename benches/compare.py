"""The table of ``make bench``: this package and what else one could use, on one input, in one run, alternating.

Rates are medians over rounds, once by wall time and once by processor time: on a machine that is shared the second
is the fairer. Peers are those installed in ``benches/peers/.venv`` (``make bench-peers``), else in this environment.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from gate import BENCHES, REPO, build_program

PEERS = BENCHES / "peers"
UNITS = {
    "apply": "updates",
    "columns": "updates",
    "table": "updates",
    "decode": "messages",
    "json": "messages",
    "csv": "updates",
    "metrics": "updates",
    "json_metrics": "messages",
    "bybit": "messages",
    "bitget": "messages",
}
TITLES = {
    "apply": "decoded changes to a book, best prices after each",
    "columns": "columns of integers to a book, best prices after each",
    "table": "table of the local format to a book, its checksums checked by a second thread",
    "decode": "JSON messages to events",
    "json": "JSON messages to a book, best prices and depth sums after each",
    "csv": "Tardis book file, plain, to memory (rows)",
    "metrics": "decoded changes to a book with every metric, all read after each",
    "json_metrics": "JSON messages to every metric, all read after each",
    "bybit": "Bybit's own messages to a book, their numbers checked",
    "bitget": "Bitget's own messages to a book, their numbers and checksums checked",
    "socket": "WebSocket on loopback, whole messages",
}
LATENCIES = ("p50_us", "p90_us", "p99_us", "p999_us")
Samples = dict[tuple[str, str], list[dict[str, Any]]]


def main() -> None:
    """Measure and print."""
    options = _options()
    program = build_program("throughput", "release")
    if not (options.input / "truth.json").exists():
        subprocess.run([sys.executable, PEERS / "generate.py", "--out", options.input], check=True)
    samples: Samples = defaultdict(list)
    for _ in range(options.rounds):
        for row in UNITS:
            _take(samples, [program, row, options.input, "1"], "mm_hybrid")
        _take(
            samples,
            [sys.executable, BENCHES / "python" / "live.py", options.input, "--rounds", "1"],
            "mm_hybrid",
        )
        if not options.no_peers:
            _take(samples, [_peers_python(), PEERS / "contestants.py", options.input, "--rounds", "1"])
    print(f"\n{'median of ' + str(options.rounds):58}{'M/s':>9}{'M/s of CPU':>12}{'times less':>12}")
    for row, title in TITLES.items():
        _print_row(samples, row, title)
    for (row, name), rounds in samples.items():
        if row.startswith("latency"):
            values = (statistics.median(one[key] for one in rounds) for key in LATENCIES)
            cells = "  ".join(
                f"{key.removesuffix('_us')} {value:.1f} us"
                for key, value in zip(LATENCIES, values, strict=True)
            )
            print(f"{name}, {row}, {rounds[0]['samples']} samples a round: {cells}")


def _print_row(samples: Samples, row: str, title: str) -> None:
    print(title)
    rates: dict[str, tuple[float, float]] = {}
    for (kind, name), rounds in samples.items():
        if kind == row:
            unit = UNITS.get(row, "messages")
            wall, cpu = (
                statistics.median(one[unit] / one[key] for one in rounds) / 1e6
                for key in ("seconds", "cpu_seconds")
            )
            rates[name] = (wall, cpu)
    ours = rates.get("mm_hybrid", (float("nan"),) * 2)
    for name, (wall, cpu) in rates.items():
        ratio = "" if name == "mm_hybrid" else f"{ours[1] / cpu:12.1f}"
        print(f"    {name:54}{wall:9.2f}{cpu:12.2f}{ratio}")


def _take(samples: Samples, command: list[str | Path], name: str | None = None) -> None:
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    for line in done.stdout.splitlines():
        sample = json.loads(line)
        samples[sample["row"], name or sample["name"]].append(sample)


def _peers_python() -> Path:
    own = PEERS / ".venv" / "bin" / "python"
    return own if own.exists() else Path(sys.executable)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(os.environ.get("MM_HYBRID_BENCH_INPUT", REPO / "out" / "bench"))
    parser.add_argument(
        "--input", type=Path, default=default, help="folder of the common input; made when absent"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-peers", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
