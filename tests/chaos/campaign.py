"""Many runs side by side, resumable, summed up in one report."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .processes import REPO, Nursery, StartError
from .run import MARKET_EXCHANGE, START_TIMEOUT_S, play
from .script import script_of

MARKET_SEED = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a campaign was asked for.

    Attributes:
        exchange: ``bybit`` or ``bitget``.
        seeds: in the order they are started.
        kills: of the maker, in each run.
        jobs: runs at a time.
        out: folder of the results and of the runs that failed.
        fresh: run again what has a result already.
        fork: fork processes from a preloaded one.
        package: folder that holds the package to test, if it is not the repository's.
        until_violation: stop at the first run that breaks a promise.
    """

    exchange: str
    seeds: Sequence[int]
    kills: int
    jobs: int
    out: Path
    fresh: bool = False
    fork: bool = True
    package: Path | None = None
    until_violation: bool = False


def digest_of(plan: Plan) -> str:
    """Return what a result depends on beside its seed: the code on both sides, and the options."""
    package = plan.package or REPO / "python"
    sources = [*Path(__file__).parent.glob("*.py"), *(package / "mm_hybrid").rglob("*.py")]
    sources += (package / "mm_hybrid").glob("*.so")
    digest = hashlib.sha256(f"kills {plan.kills} fork {plan.fork}".encode())
    for path in sorted(sources):
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def run_campaign(plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """Run what has no valid result yet and return the report over all seeds."""
    digest = digest_of(plan)
    plan.out.mkdir(parents=True, exist_ok=True)
    results: dict[int, dict[str, Any]] = {}
    if not plan.fresh:
        results = {seed: found for seed in plan.seeds if (found := _stored(plan, seed, digest)) is not None}
        if results:
            say(f"{len(results)} of {len(plan.seeds)} seeds have a result already")
    todo = [seed for seed in plan.seeds if seed not in results]
    if todo and not (plan.until_violation and any(map(_broken, results.values()))):
        _run_all(plan, todo, results, digest, say)
    return report_of(plan, results.values())


def _run_all(
    plan: Plan,
    todo: Sequence[int],
    results: dict[int, dict[str, Any]],
    digest: str,
    say: Callable[[str], None],
) -> None:
    with ExitStack() as stack:
        nursery = Nursery(fork=plan.fork, pythonpath=[plan.package or REPO / "python"])
        stack.callback(nursery.close)
        market = nursery.start(
            "market",
            {"exchange": MARKET_EXCHANGE[plan.exchange], "seed": MARKET_SEED},
            out=plan.out / f"market-{plan.exchange}.out",
            log=plan.out / f"market-{plan.exchange}.log",
        )
        stack.callback(market.end, 5.0)
        ready = market.line("ready", START_TIMEOUT_S)
        if ready is None:
            raise StartError(f"the market did not start, see {plan.out}")
        pool = stack.enter_context(ThreadPoolExecutor(plan.jobs))
        waiting = iter(todo)
        running: dict[Future[dict[str, Any]], int] = {}
        stopping = False
        while True:
            while not stopping and len(running) < plan.jobs and (seed := next(waiting, None)) is not None:
                running[pool.submit(_one, plan, seed, nursery, ready["url"])] = seed
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                seed = running.pop(future)
                result = results[seed] = future.result() | {"digest": digest}
                _result_file(plan, seed).write_text(json.dumps(result, indent=1))
                say(_line(result, len(results), len(plan.seeds)))
                stopping = stopping or (plan.until_violation and _broken(result))


def _one(plan: Plan, seed: int, nursery: Nursery, market_url: str) -> dict[str, Any]:
    folder = plan.out / f"{plan.exchange}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    script = script_of(plan.exchange, seed, kills=plan.kills)
    try:
        result = play(script, folder, nursery, market_url)
    except Exception as error:
        trace = traceback.format_exc()
        (folder / "harness.log").write_text(trace)
        return {
            "exchange": plan.exchange,
            "seed": seed,
            "counts": False,
            "error": f"{error!r}",
            "violations": [],
        }
    if result["counts"] and not result["violations"]:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def report_of(plan: Plan, results: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Sum up the runs that count, and name those that do not."""
    results = sorted(results, key=lambda result: result["seed"])
    counted = [result for result in results if result["counts"]]
    faults: Counter[str] = Counter()
    for result in counted:
        faults.update(result["faults_by_kind"])

    def total(key: str) -> int:
        return sum(result[key] for result in counted)

    return {
        "exchange": plan.exchange,
        "runs": len(counted),
        "kills": sum(len(result["kills"]) for result in counted),
        "kills_by_point": dict(sorted(Counter(p for result in counted for p in result["kills"]).items())),
        "faults_injected": total("faults_injected"),
        "faults_by_kind": dict(sorted(faults.items())),
        "orders": total("orders"),
        "fills": total("fills"),
        "unknown_resolved": total("unknown_resolved"),
        "violations": [
            {"seed": result["seed"], **violation, "rerun": _rerun(plan, result["seed"])}
            for result in results
            for violation in result["violations"]
        ],
        "not_counted": [r["seed"] for r in results if not r["counts"] and "error" not in r],
        "errors": [{"seed": r["seed"], "error": r["error"]} for r in results if "error" in r],
    }


def _stored(plan: Plan, seed: int, digest: str) -> dict[str, Any] | None:
    try:
        result: dict[str, Any] = json.loads(_result_file(plan, seed).read_text())
    except (OSError, ValueError):
        return None
    return result if result.get("digest") == digest and "error" not in result else None


def _result_file(plan: Plan, seed: int) -> Path:
    return plan.out / f"{plan.exchange}-{seed}.json"


def _broken(result: dict[str, Any]) -> bool:
    return bool(result["violations"])


def _rerun(plan: Plan, seed: int) -> str:
    return (
        f"python -m tests.chaos --exchange {plan.exchange} --seeds {seed}:{seed + 1} "
        f"--kills {plan.kills} --fresh --json"
    )


def _line(result: dict[str, Any], done: int, of: int) -> str:
    head = f"[{done}/{of}] {result['exchange']} {result['seed']}"
    if "error" in result:
        return f"{head}: the run broke off: {result['error']}"
    kinds = Counter(violation["invariant"] for violation in result["violations"])
    verdict = "ok" if not kinds else "BROKEN " + " ".join(f"{name}x{n}" for name, n in sorted(kinds.items()))
    note = "" if result["counts"] else ", does not count"
    return (
        f"{head}: {verdict}{note}; {result['orders']} orders, {result['fills']} fills, "
        f"{result['faults_injected']} faults of {len(result['faults_by_kind'])} kinds, "
        f"killed {'+'.join(result['kills'])}, {result['seconds']:.1f} s"
    )


def to_stderr(line: str) -> None:
    """Show one line of progress."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
