"""Check the JSON summary of a demo run: it quoted, left nothing open, and its profit adds up."""

import json
import math
import sys
from pathlib import Path


def problems(summary: dict) -> list[str]:
    """Return what is wrong with the summary of a demo run, one line each."""
    found = []
    if summary["open_orders_at_exit"] != 0:
        found.append(f"open_orders_at_exit is {summary['open_orders_at_exit']}, not 0")
    if summary["unknown_orders_at_exit"] != 0:
        found.append(f"unknown_orders_at_exit is {summary['unknown_orders_at_exit']}, not 0")
    if summary["quotes"] <= 0:
        found.append("it never quoted")
    pnl = dict(summary["pnl"])
    total = pnl.pop("total")
    if not math.isclose(sum(pnl.values()), total, rel_tol=1e-9, abs_tol=1e-9):
        found.append(f"the parts {pnl} sum to {sum(pnl.values())}, not to the total {total}")
    if not Path(summary["report"]).is_file():
        found.append(f"no report at {summary['report']}")
    return found


def main() -> None:
    """Read the file named by the only argument; exit 1 if anything is wrong."""
    summary = json.loads(Path(sys.argv[1]).read_text())
    found = problems(summary)
    if found:
        sys.exit("demo: " + "; ".join(found))
    print(f"demo: {summary['quotes']} quotes, {summary['fills']} fills, none left open, the profit adds up")


if __name__ == "__main__":
    main()
