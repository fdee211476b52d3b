"""The benchmark gate: fails when a kernel or the Python boundary costs more than its budget.

Kernels are judged by instructions per operation, counted by callgrind: the same on every run, also on a busy
machine. Each runs twice with different numbers of operations, so that start-up cancels out. The Python
boundary is judged by the ratio of its time to a reference timed in the same run. Limits: ``budgets.toml``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

BENCHES = Path(__file__).resolve().parent
REPO = BENCHES.parent
SOFT_SHARE = 1.05
BOUNDARY_TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One measured value beside what it may be."""

    name: str
    value: float
    baseline: float
    budget: float
    unit: str

    @property
    def failed(self) -> bool:
        """Whether it is above its budget."""
        return self.value > self.budget

    @property
    def remark(self) -> str:
        """One or two words for the table."""
        if self.failed:
            return "ABOVE BUDGET"
        if self.value > self.baseline * SOFT_SHARE:
            return "dearer than recorded"
        return "ok"


def main() -> int:
    """Measure, print a table, and return the exit code."""
    options = _options()
    with options.budgets.open("rb") as file:
        budgets = tomllib.load(file)
    verdicts: list[Verdict] = []
    if "kernels" in options.parts:
        verdicts += _kernel_verdicts(budgets, options.profile, options.kernel)
    if "boundary" in options.parts:
        verdicts += _boundary_verdicts(budgets)
    print(f"\n{'':28}{'measured':>12}{'recorded':>12}{'budget':>12}")
    for verdict in verdicts:
        values = f"{verdict.value:12,.3f}{verdict.baseline:12,.3f}{verdict.budget:12,.3f}"
        print(f"{verdict.name:28}{values}  {verdict.unit}  {verdict.remark}")
    failed = [verdict.name for verdict in verdicts if verdict.failed]
    if failed:
        print(f"bench gate: above budget: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def build_program(name: str, profile: str) -> Path:
    """Build a program of ``benches/rust`` for the baseline instruction set and return its path."""
    folder = {"dev": "debug"}.get(profile, profile)
    command = [
        "cargo",
        "build",
        "--locked",
        "--quiet",
        "--package",
        "mm_hybrid_benches",
        "--bin",
        name,
        "--profile",
        profile,
    ]
    # The flags of a wheel: no target-cpu of this machine.
    environment = {
        key: value for key, value in os.environ.items() if key not in {"RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"}
    }
    subprocess.run(command, cwd=REPO, env=environment, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target"))
    return target / folder / name


def instructions_per_operation(program: Path, kernel: str, few: int = 1, many: int = 5) -> float:
    """Return the instructions of one operation of a kernel; one round is what the program says it is."""
    operations = int(
        subprocess.run([program, kernel, "--operations"], capture_output=True, text=True, check=True).stdout
    )
    counts = [_callgrind([str(program), kernel, str(rounds)]) for rounds in (few, many)]
    return (counts[1] - counts[0]) / ((many - few) * operations)


def _callgrind(command: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        done = subprocess.run([*valgrind, *command], capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        sys.exit(f"bench gate: {' '.join(command)} failed under valgrind:\n{done.stderr}")
    return int(found[1])


def _kernel_verdicts(budgets: dict, profile: str, only: list[str]) -> list[Verdict]:
    machine = platform.machine()
    if shutil.which("valgrind") is None:
        sys.exit("bench gate: valgrind is not installed: apt-get install valgrind")
    if machine not in budgets["instructions"]:
        sys.exit(
            f"bench gate: no budgets for {machine}: measure, and add [instructions.{machine}] to the budgets"
        )
    program = build_program("kernels", profile)
    return [
        Verdict(
            name=kernel,
            value=instructions_per_operation(program, kernel),
            baseline=budget["recorded"],
            budget=budget["budget"],
            unit=f"instructions per {budget['per']}",
        )
        for kernel, budget in budgets["instructions"][machine].items()
        if not only or kernel in only
    ]


def _boundary_verdicts(budgets: dict) -> list[Verdict]:
    """Noise can only make a measurement slower, so the best of a few runs counts."""
    best: list[Verdict] = []
    for _ in range(BOUNDARY_TRIES):
        ratios = _boundary_ratios()
        verdicts = [
            Verdict(
                name=f"boundary: {name}",
                value=ratios[name],
                baseline=budget["recorded"],
                budget=budget["budget"],
                unit=f"times {budget['reference']}",
            )
            for name, budget in budgets["boundary"].items()
        ]
        best = [min(pair, key=lambda one: one.value) for pair in zip(best or verdicts, verdicts, strict=True)]
        if not any(verdict.failed for verdict in best):
            break
    return best


def _boundary_ratios() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "benchmark.json"
        command = [sys.executable, "-m", "pytest", str(BENCHES / "python"), "-q", "--benchmark-only"]
        command += [
            f"--benchmark-json={out}",
            "-p",
            "no:xdist",
            "-p",
            "no:cacheprovider",
            "--benchmark-quiet",
        ]
        done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"bench gate: the boundary benchmarks failed:\n{done.stdout}{done.stderr}")
        measured = json.loads(out.read_text())["benchmarks"]
    times: dict[str, dict[str, float]] = {}
    for one in measured:
        times.setdefault(one["group"], {})[one["param"]] = one["stats"]["min"]
    return {group: pair["mm_hybrid"] / pair["reference"] for group, pair in times.items()}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budgets", type=Path, default=BENCHES / "budgets.toml")
    parser.add_argument(
        "--profile", default="release", help="cargo profile of the kernels; budgets are for release"
    )
    parser.add_argument(
        "--kernel", action="append", default=[], help="judge only this kernel; may be repeated"
    )
    parser.add_argument(
        "--parts", nargs="+", choices=("kernels", "boundary"), default=("kernels", "boundary")
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
