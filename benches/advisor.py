"""How much a misbehaving advisor disturbs the quoting loop: paired, in one run, with an interval.

Each service of ``tests/adverse.py`` is left alone for ``--seconds``. A quoting loop ticks every 5 ms; block by block,
in random order, with an advisor that asks the service and without one. What is measured is how long after its due time
a tick is done, so that anything that holds the event loop up counts, not only the step itself. Compared is the 99th
percentile of a block, pair by pair; the interval is a bootstrap over the pairs. An advisor asks once per block: twice
as often as the shortest interval allows.

    python benches/advisor.py --seconds 60

Printed as well: how far answers came after the deadline, what was spent of the budget, and how memory grew.
"""

import argparse
import asyncio
import json
import random
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import SecretStr

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from adverse import ADVERSE
from advisors import KEY, config, rule_based_server, scripted_server
from markets import market
from mm_hybrid.clock import WallClock
from mm_hybrid.config import QuotingConfig
from mm_hybrid.optimizer.advisor import Advisor
from mm_hybrid.optimizer.blend import AdvisedOptimizer
from mm_hybrid.optimizer.client import AdvisorClient
from mm_hybrid.optimizer.glft import GlftOptimizer
from mm_hybrid.types import Position

TIMEOUT_S = 1.0
BUDGET_USD = 0.25
TICKS_PER_BLOCK = 500
TICK_S = 0.005
RESAMPLES = 4000


class Latencies:
    """A journal that keeps latencies and outcomes alone."""

    def __init__(self) -> None:
        self.ms: list[float] = []
        self.outcomes: dict[str, int] = {}

    def advice(self, **row: Any) -> None:
        self.outcomes[row["outcome"]] = self.outcomes.get(row["outcome"], 0) + 1
        if row["latency_ms"] is not None:
            self.ms.append(row["latency_ms"])

    def state(self, what: str, value: str, detail: str = "") -> None: ...


async def block(optimizer: AdvisedOptimizer, advisor: Advisor | None) -> float:
    """Return the 99th percentile of a tick's end after its due time, microseconds."""
    late_us = []
    if advisor is not None:
        advisor._last_ask_ns = None  # noqa: SLF001  (due at once, whatever was asked before)
    due = time.perf_counter() + TICK_S
    for index in range(TICKS_PER_BLOCK):
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        features = market(after_s=index / 100)
        if advisor is not None:
            advisor.offer(features)
        optimizer.recommend(features, Position())
        late_us.append((time.perf_counter() - due) * 1e6)
        due = max(due + TICK_S, time.perf_counter())
    return sorted(late_us)[int(0.99 * len(late_us))]


async def idle(advisor: Advisor) -> None:
    """Let the question under way end, so that the block without an advisor is one."""
    task = advisor._task  # noqa: SLF001
    if task is not None:
        await asyncio.wait([task])


def interval(ratios: list[float]) -> tuple[float, float]:
    rng = random.Random(1)
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return medians[int(0.025 * RESAMPLES)], medians[int(0.975 * RESAMPLES)]


async def measure(url: str, seconds: float) -> dict[str, Any]:
    journal, clock = Latencies(), WallClock()
    settings = config(url, timeout_s=TIMEOUT_S, budget_usd_per_day=BUDGET_USD, calls_per_min=600)
    advisor = Advisor(
        settings,
        AdvisorClient(settings, SecretStr(KEY), clock),
        journal,
        clock,
        model=GlftOptimizer(QuotingConfig()),
    )
    with_it = AdvisedOptimizer(GlftOptimizer(QuotingConfig()), advisor, max_weight=0.5)
    without = AdvisedOptimizer(GlftOptimizer(QuotingConfig()), None)
    rng, ratios, kb = random.Random(2), [], []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        order = [True, False]
        rng.shuffle(order)
        p99 = {}
        for advised in order:
            if not advised:
                await idle(advisor)
            p99[advised] = await block(with_it if advised else without, advisor if advised else None)
        ratios.append(p99[True] / p99[False])
        kb.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    low, high = interval(ratios)
    result = {
        "pairs": len(ratios),
        "p99_ratio": round(statistics.median(ratios), 4),
        "p99_ratio_95": [round(low, 4), round(high, 4)],
        "outcomes": dict(journal.outcomes),
        "late_ms_max": round(max((ms - 1000 * TIMEOUT_S for ms in journal.ms), default=0.0), 1),
        "spent_usd": round(advisor.spent_usd, 6),
        "budget_usd": BUDGET_USD,
        "rss_growth_kb": kb[-1] - kb[len(kb) // 10] if kb else 0,
    }
    await advisor.close()
    return result


async def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="time for each service")
    parser.add_argument("--only", default=None, help="name of one service")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    arguments = parser.parse_args()
    names = ["well-behaved", *ADVERSE] if arguments.only is None else [arguments.only]
    for name in names:
        server = rule_based_server() if name == "well-behaved" else scripted_server(ADVERSE[name][0])
        async with server as url:
            result = await measure(url, arguments.seconds)
        if arguments.json:
            print(json.dumps({"service": name, **result}), flush=True)
            continue
        low, high = result["p99_ratio_95"]
        print(
            f"{name:<16} p99 x{result['p99_ratio']:.3f} [{low:.3f}, {high:.3f}] of none over {result['pairs']} pairs, "
            f"latest {result['late_ms_max']:+.1f} ms, spent {result['spent_usd']:.4f} of {BUDGET_USD:g} USD, "
            f"memory {result['rss_growth_kb']:+d} kB, {result['outcomes']}",
            flush=True,
        )


if __name__ == "__main__":
    asyncio.run(main())
