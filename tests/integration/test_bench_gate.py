"""The gate itself: it passes what is within budget and fails a kernel that does its work twice."""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="no valgrind: the bench gate was not tested"),
    pytest.mark.skipif(shutil.which("cargo") is None, reason="no cargo: the bench gate was not tested"),
    pytest.mark.timeout(400),
]


def gate(budgets: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    # The dev profile shares its artifacts with `cargo test`, so nothing is built twice for this test.
    command = [
        sys.executable,
        "benches/gate.py",
        "--parts",
        "kernels",
        "--profile",
        "dev",
        "--budgets",
        str(budgets),
    ]
    return subprocess.run(
        command, cwd=REPO, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def budgets(path: Path, recorded: float, budget: float) -> Path:
    machine = platform.machine()
    path.write_text(
        f'[instructions.{machine}.decode]\nper = "message"\nrecorded = {recorded}\nbudget = {budget}\n',
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="module")
def cost(tmp_path_factory: pytest.TempPathFactory) -> float:
    """Instructions of one decoded message, as the gate measures them with the budget wide open."""
    done = gate(budgets(tmp_path_factory.mktemp("gate") / "open.toml", 1, 1e12))
    assert done.returncode == 0, done.stderr
    found = re.search(r"^decode +([\d,.]+)", done.stdout, re.MULTILINE)
    assert found is not None, done.stdout
    return float(found[1].replace(",", ""))


def test_a_kernel_within_its_budget_passes_and_counts_repeat(cost: float, tmp_path: Path) -> None:
    done = gate(budgets(tmp_path / "budgets.toml", cost, cost * 1.01))
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("ok")


def test_a_kernel_slowed_down_fails_the_gate(cost: float, tmp_path: Path) -> None:
    done = gate(budgets(tmp_path / "budgets.toml", cost, cost * 1.1), MM_HYBRID_BENCH_REPEAT="2")
    assert done.returncode == 1
    assert "above budget: decode" in done.stderr


def test_a_kernel_a_little_dearer_is_said_to_be_and_passes(cost: float, tmp_path: Path) -> None:
    done = gate(budgets(tmp_path / "budgets.toml", cost / 1.2, cost * 1.1))
    assert done.returncode == 0, done.stderr
    assert "dearer than recorded" in done.stdout
