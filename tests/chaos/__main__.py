"""Command line of the campaign: ``python -m tests.chaos --exchange bybit --seeds 0:10 --json``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from .campaign import Plan, run_campaign, to_stderr
from .script import VENUES


def seed_range(text: str) -> range:
    """Read ``A:B`` as the seeds from A up to, not including, B."""
    first, _, end = text.partition(":")
    try:
        seeds = range(int(first), int(end))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: not of the form A:B") from None
    if not seeds:
        raise argparse.ArgumentTypeError(f"{text!r}: no seed in it")
    return seeds


def main() -> int:
    """Run a campaign; 0 when every run counts and no promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--exchange", choices=VENUES, required=True)
    parser.add_argument(
        "--seeds", type=seed_range, required=True, metavar="A:B", help="from A up to B, without B"
    )
    parser.add_argument("--kills", type=int, default=2, help="of the maker in each run (default 2)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (default 2)")
    parser.add_argument("--out", type=Path, help="folder of results; a second start continues there")
    parser.add_argument("--fresh", action="store_true", help="run again what has a result already")
    parser.add_argument(
        "--spawn", action="store_true", help="start interpreters instead of forking a preloaded one"
    )
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    options = parser.parse_args()
    plan = Plan(
        exchange=options.exchange,
        seeds=options.seeds,
        kills=options.kills,
        jobs=options.jobs,
        out=(options.out or Path(tempfile.gettempdir()) / "mm-hybrid-chaos").resolve(),
        fresh=options.fresh,
        fork=not options.spawn,
    )
    report = run_campaign(plan, to_stderr)
    if options.json:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        sys.stdout.writelines(f"{key}: {value}\n" for key, value in report.items())
    return 1 if report["violations"] or report["errors"] or report["not_counted"] else 0


if __name__ == "__main__":
    sys.exit(main())
