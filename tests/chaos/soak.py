"""Trading for long under faults, with an eye on what must not grow: ``python -m tests.chaos.soak --minutes 30``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .campaign import to_stderr
from .check import Diary, Facts, Ledger, check, testimony_of
from .processes import Nursery
from .run import MARKET_EXCHANGE, RESOLVE_BOUND_S, START_TIMEOUT_S, Run
from .script import VENUES, WINDOW_S, Script

WARM_UP = 0.25
"""Share of the samples left out of the fits: caches fill and pages are first touched."""

RULES: tuple[dict[str, Any], ...] = (
    {"on": "create", "fault": "accept_then_reset", "share": 0.01},
    {"on": "create", "fault": "accept_then_html", "share": 0.01},
    {"on": "create_batch", "fault": "accept_then_broken_json", "share": 0.01},
    {"on": "create", "fault": "lose_request", "share": 0.005},
    {"on": "cancel", "fault": "accept_then_empty", "share": 0.02},
    {"on": "executions", "fault": "accept_then_html", "share": 0.05},
    {"on": "push_order", "fault": "drop", "share": 0.02},
    {"on": "push_execution", "fault": "duplicate", "share": 0.1},
    {"on": "private_ws", "fault": "kill", "share": 0.001},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """How much one quantity may have grown over the whole soak, by a straight line through its samples.

    ``per_order`` is what each order may add for good, for what is remembered of it.
    """

    name: str
    absolute: float
    per_order: float = 0.0


BOUNDS = (
    Bound(name="rss_kb", absolute=12_000, per_order=2.0),
    Bound(name="tasks", absolute=8),
    Bound(name="fds", absolute=8),
    Bound(name="open_orders", absolute=6),
)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the least-squares line."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def growth_of(samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how much each bounded quantity grew, and whether that is within its bound."""
    used = list(samples)[int(len(samples) * WARM_UP) :]
    if len(used) < 4:
        raise ValueError(f"{len(samples)} samples are too few to see growth: soak longer")
    seconds = used[-1]["seconds"] - used[0]["seconds"]
    orders = used[-1]["orders"] - used[0]["orders"]
    rows = []
    for bound in BOUNDS:
        grown = slope([(sample["seconds"], float(sample[bound.name])) for sample in used]) * seconds
        allowed = bound.absolute + bound.per_order * orders
        first, last = used[0][bound.name], used[-1][bound.name]
        rows.append(
            {
                "what": bound.name,
                "first": first,
                "last": last,
                "grown": round(grown, 1),
                "allowed": round(allowed, 1),
                "within": grown <= allowed,
            }
        )
    return rows


def soak(exchange: str, folder: Path, *, seconds: float, sample_s: float) -> dict[str, Any]:
    """Trade for some time under faults; return growth and broken promises."""
    folder.mkdir(parents=True, exist_ok=True)
    script = Script(
        exchange=exchange, seed=0, faults={"seed": 0, "rules": list(RULES)}, kills=(), levels=3, limit_qty=6
    )
    (folder / "faults.json").write_text(json.dumps(script.faults))
    with ExitStack() as stack:
        nursery = Nursery()
        stack.callback(nursery.close)
        arguments = {"exchange": MARKET_EXCHANGE[exchange], "seed": 1}
        market = nursery.start("market", arguments, out=folder / "market.out", log=folder / "market.log")
        ready = market.line("ready", START_TIMEOUT_S)
        run = Run(script, folder, nursery, ready["url"] if ready else "")
        run.start_exchange()
        maker = run.start_maker(sample_s=sample_s)
        if maker.line("started", START_TIMEOUT_S) is None:
            raise RuntimeError(f"the maker did not start, see {folder}")
        ended_early = maker.ended(seconds)
        if not ended_early:
            run.post("faults", {"rules": []})
            maker.ended(1.0)
        run.stop(maker)
        samples = [line for line in maker.lines() if line["event"] == "sample"]
        if run.exchange is not None:
            run.exchange.end()
    ledger, diary = Ledger.read(run.state), Diary.read(run.journal)
    with run.witness.open() as lines:
        testimony = testimony_of(lines)
    facts = Facts(
        limit_base=run.limit_base,
        window_s=WINDOW_S,
        resolve_bound_s=RESOLVE_BOUND_S,
        ends=run.ends,
        testimony=testimony,
    )
    return {
        "exchange": exchange,
        "seconds": seconds,
        "ended_early": ended_early,
        "orders": len(ledger.own_orders),
        "fills": len(ledger.executions),
        "faults_injected": sum(ledger.faults_by_kind.values()),
        "samples": len(samples),
        "rss_kb_by_orders": [
            [one["orders"], one["rss_kb"]] for one in samples[:: max(1, len(samples) // 12)]
        ],
        "growth": growth_of(samples),
        "violations": [violation.as_json() for violation in check(ledger, diary, facts)],
    }


def passed(report: dict[str, Any]) -> bool:
    """Return whether a soak showed nothing wrong."""
    grown = [row for row in report["growth"] if not row["within"]]
    return not (report["violations"] or report["ended_early"] or grown)


def main() -> int:
    """Soak; 0 when nothing grew and no promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--exchange", choices=VENUES, default="bybit")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--out", type=Path, help="folder of journal and logs")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    options = parser.parse_args()
    folder = options.out or Path(tempfile.mkdtemp(prefix="mm-hybrid-soak-"))
    seconds = options.minutes * 60
    to_stderr(f"soaking {options.exchange} for {seconds:.0f} s in {folder}")
    report = soak(options.exchange, folder.resolve(), seconds=seconds, sample_s=max(0.5, seconds / 400))
    if options.json:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        sys.stdout.writelines(f"{key}: {value}\n" for key, value in report.items())
    return 0 if passed(report) else 1


if __name__ == "__main__":
    sys.exit(main())
