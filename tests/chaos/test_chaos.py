"""The campaign itself: its scripts, its report, and a few seeds of it; ``make chaos`` runs more."""

import json
import subprocess
import sys
from collections import Counter

import pytest

from . import campaign, mutations, soak
from .campaign import Plan
from .check import fault_kinds
from .processes import REPO
from .script import KILL_POINTS, VENUES, script_of

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are watched by pidfd and /proc")
SMOKE_SEEDS = range(1, 3)


@pytest.mark.parametrize("exchange", VENUES)
def test_the_same_seed_gives_the_same_script_and_another_seed_another(exchange):
    assert script_of(exchange, 7) == script_of(exchange, 7)
    assert script_of(exchange, 7) != script_of(exchange, 8)


@pytest.mark.parametrize("exchange", VENUES)
def test_every_run_has_seven_kinds_of_fault_and_over_the_seeds_everything_occurs(exchange):
    scripts = [script_of(exchange, seed) for seed in range(500)]
    kinds: Counter[str] = Counter()
    for script in scripts:
        names = {f"{rule['on']}/{rule['fault']}" for rule in script.faults["rules"]}
        assert len(fault_kinds(names)) >= 7
        kinds.update(fault_kinds(names))
    assert len(kinds) >= 60
    assert min(kinds.values()) >= 3
    assert {kill.point for script in scripts for kill in script.kills} == set(KILL_POINTS)
    assert any(script.foreign_at_kill for script in scripts)
    assert any(script.foreign_at_stop for script in scripts)
    assert any(script.foreign_trades for script in scripts)
    assert any(script.server_kill_s for script in scripts)


@pytest.mark.parametrize("mutation", [*mutations.MUTATIONS, mutations.NO_FSYNC], ids=lambda one: one.name)
def test_a_mutation_still_fits_the_source(mutation, tmp_path):
    mutations.patched(mutation, tmp_path)


def test_a_patch_that_does_not_fit_any_more_fails_loudly(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    with pytest.raises(mutations.PatchError, match="found 2 times"):
        mutations.Patch(file="a.py", old="x = 1", new="").apply(tmp_path)
    with pytest.raises(mutations.PatchError, match="found 0 times"):
        mutations.Patch(file="a.py", old="x = 2", new="").apply(tmp_path)


@needs_linux
@pytest.mark.parametrize("exchange", VENUES)
@pytest.mark.timeout(120)
def test_through_kills_and_faults_nothing_is_lost(exchange, tmp_path):
    plan = Plan(exchange=exchange, seeds=SMOKE_SEEDS, kills=2, jobs=2, out=tmp_path)
    report = campaign.run_campaign(plan, campaign.to_stderr)
    assert report["violations"] == []
    assert report["errors"] == []
    assert report["runs"] == len(SMOKE_SEEDS)
    assert report["kills"] >= 2 * len(SMOKE_SEEDS)
    again = campaign.run_campaign(plan, lambda line: pytest.fail(line) if "[" in line else None)
    assert again == report, "a finished campaign runs nothing again"


def test_the_command_line_says_what_is_wrong_with_its_arguments():
    for arguments in (["--seeds", "5"], ["--seeds", "5:5"], ["--seeds", "0:1", "--exchange", "kraken"]):
        command = [sys.executable, "-m", "tests.chaos", "--exchange", "bybit", *arguments]
        done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "error: argument" in done.stderr


def sample(seconds: float, **values: float) -> dict:
    flat = {"rss_kb": 100_000, "tasks": 9, "fds": 20, "open_orders": 6, "orders": 20 * seconds}
    return {"seconds": seconds, **flat, **values}


def test_a_soak_tells_growth_from_noise():
    steady = [sample(t, tasks=9 + t % 3, open_orders=t % 6) for t in range(100)]
    assert all(row["within"] for row in soak.growth_of(steady))


@pytest.mark.parametrize("what", ["rss_kb", "tasks", "fds", "open_orders"])
def test_a_soak_notices_a_leak(what):
    leaking = [sample(t, **{what: 100 + t * (1000 if what == "rss_kb" else 1)}) for t in range(100)]
    assert [row["what"] for row in soak.growth_of(leaking) if not row["within"]] == [what]


@needs_linux
@pytest.mark.timeout(60)
def test_nothing_grows_while_trading_under_faults(tmp_path):
    report = soak.soak("bitget", tmp_path, seconds=8.0, sample_s=0.25)
    assert soak.passed(report), json.dumps(report)
    assert report["orders"] >= 40
