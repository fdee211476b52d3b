"""Time the kernels and the Python boundary on this machine: medians of several runs, with their spread."""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
from pathlib import Path

from gate import BENCHES, REPO, build_program

KERNELS = {
    "decode": "messages/s",
    "apply": "book changes/s",
    "csv": "rows/s",
    "snapshot": "snapshots/s",
    "copy": "copies/s",
    "estimate": "events/s",
    "quote": "quotes/s",
    "exact": "tables/s",
}
RUNS = 9


def main() -> None:
    """Print one table of the kernels, then the one of pytest-benchmark."""
    program = build_program("kernels", "release")
    print(f"{_processor()}, {platform.system()}, single thread, median of {RUNS} runs\n")
    print(f"{'kernel':12}{'median':>14}{'slowest':>14}{'fastest':>14}")
    for kernel, unit in KERNELS.items():
        rates = [_rate(program, kernel) for _ in range(RUNS)]
        values = (statistics.median(rates), min(rates), max(rates))
        print(f"{kernel:12}" + "".join(f"{value:14,.0f}" for value in values) + f"  {unit}")
    print()
    sys.stdout.flush()
    command = [
        sys.executable,
        "-m",
        "pytest",
        str(BENCHES / "python"),
        "-q",
        "--benchmark-only",
        "-p",
        "no:xdist",
    ]
    columns = ["--benchmark-columns=median,iqr,min,rounds", "--benchmark-sort=name"]
    subprocess.run([*command, *columns], cwd=REPO, check=True)


def _rate(program: Path, kernel: str) -> float:
    done = subprocess.run([program, kernel, "--time"], capture_output=True, text=True, check=True)
    return float(done.stdout)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
