"""Command line of the mutation checks: ``python -m tests.chaos.mutate --json``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .campaign import Plan, run_campaign, to_stderr
from .mutations import MOST_SEEDS, MUTATIONS, Mutation, patched
from .script import VENUES


def hunt(mutation: Mutation, exchange: str, *, jobs: int, folder: Path) -> dict[str, Any]:
    """Run the campaign against a broken package until it notices, and say how long that took."""
    began_s = time.monotonic()
    package = patched(mutation, folder / f"package-{mutation.name}")
    report = run_campaign(
        Plan(
            exchange=exchange,
            seeds=range(MOST_SEEDS),
            kills=2,
            jobs=jobs,
            out=folder / f"{mutation.name}-{exchange}",
            fresh=True,
            package=package,
            until_violation=True,
        ),
        to_stderr,
    )
    broken = sorted({violation["invariant"] for violation in report["violations"]})
    return {
        "mutation": mutation.name,
        "exchange": exchange,
        "found": bool(set(broken) & set(mutation.expected)),
        "broken": broken,
        "seeds_tried": report["runs"] + len(report["not_counted"]) + len(report["errors"]),
        "first": report["violations"][0] if report["violations"] else None,
        "errors": report["errors"],
        "seconds": round(time.monotonic() - began_s, 1),
    }


def main() -> int:
    """Check mutations; 0 when each was noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.mutate", description=__doc__)
    parser.add_argument("--only", choices=[mutation.name for mutation in MUTATIONS], action="append")
    parser.add_argument("--exchange", choices=VENUES, action="append", help="default: both")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (default 2)")
    parser.add_argument("--out", type=Path, help="folder of the runs")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    options = parser.parse_args()
    folder = (options.out or Path(tempfile.mkdtemp(prefix="mm-hybrid-mutate-"))).resolve()
    results = []
    for mutation in MUTATIONS:
        if options.only and mutation.name not in options.only:
            continue
        for exchange in options.exchange or VENUES:
            if exchange in mutation.exchanges:
                to_stderr(f"without {mutation.name}, {exchange}:")
                results.append(hunt(mutation, exchange, jobs=options.jobs, folder=folder))
    missed = [f"{result['mutation']} {result['exchange']}" for result in results if not result["found"]]
    if options.json:
        sys.stdout.write(json.dumps({"mutations": results, "missed": missed}) + "\n")
    else:
        for result in results:
            verdict = f"found as {'+'.join(result['broken'])}" if result["found"] else "MISSED"
            sys.stdout.write(
                f"{result['mutation']:32} {result['exchange']:7} {verdict} after {result['seeds_tried']} seeds\n"
            )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
