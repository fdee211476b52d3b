"""Execution against the local exchange, in three measurements; each prints what it found and fails beyond its bound.

``python benches/execution.py gateway``: a create through the gateway beside a bare ``create_order`` of the same client
library at the same server, in turn; and one durable journal commit.
``python benches/execution.py push``: from the venue's commit of a change to the executor's state, at 50 orders
a second.
``python benches/execution.py storm``: waits of cancels in our own queues while the venue refuses for rate and drops
connections.

The market, the exchange and this program are processes of their own on one machine, so times include a busy machine's
noise; the two sides of a ratio are measured in turn within one run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from mm_hybrid.clock import WallClock
from mm_hybrid.config import VenueConfig
from mm_hybrid.execution.credentials import LOCAL_CREDENTIALS
from mm_hybrid.execution.executor import Executor, ExecutorTimes
from mm_hybrid.execution.gateway import Gateway
from mm_hybrid.execution.lanes import Budget
from mm_hybrid.execution.orders import VenueOrder
from mm_hybrid.journal import Intent, Journal
from mm_hybrid.processes import ServerProcess
from mm_hybrid.types import Approved, Quote

LOT = Decimal("0.001")
FAR_BELOW = Decimal("50000.0")
"""Buys from here down rest untouched on the synthetic market, which begins at 60,000."""

GATEWAY_MOST = 1.10
PUSH_P99_MS = 5.0
PUSH_ORDERS_PER_S = 50
CANCEL_P99_MS = 250.0


@asynccontextmanager
async def venue(name: str, folder: Path, faults: dict[str, Any] | None = None) -> AsyncIterator[str]:
    """A synthetic market and an exchange on it; yields the exchange's address."""
    async with AsyncExitStack() as stack:

        async def start(server: str, *arguments: str) -> dict[str, Any]:
            process = ServerProcess(server, arguments, log_path=folder / f"{server}.log")
            stack.push_async_callback(process.stop)
            return dict(await process.start())

        tardis = await start("tardis", "--port", "{http_port}", "--ws-port", "{ws_port}")
        arguments = ["--port", "{port}", "--venue", name, "--state", str(folder / "exchange.sqlite")]
        arguments += ["--market-url", f"ws://127.0.0.1:{tardis['ws_port']}", "--market-exchange", "bybit"]
        if faults is not None:
            (folder / "faults.json").write_text(json.dumps(faults))
            arguments += ["--faults", str(folder / "faults.json")]
        exchange = await start("exchange", *arguments)
        await asyncio.sleep(1.0)  # The exchange takes orders once it has the market's first book.
        yield f"http://127.0.0.1:{exchange['port']}"


@asynccontextmanager
async def trading(
    name: str, folder: Path, url: str, budget: Budget
) -> AsyncIterator[tuple[Executor, Gateway, Journal]]:
    """An executor that has started at the exchange."""
    clock = WallClock()
    journal = Journal.open(folder / "journal.sqlite", clock)
    config = VenueConfig(name=name, symbol="BTCUSDT", url=url)
    gateway = await Gateway.connect(config, LOCAL_CREDENTIALS, clock, budget=budget, timeout_s=1.0)
    await journal.session(mode="paper", exchange=name, instrument=gateway.instrument)
    executor = Executor(gateway, journal, clock, gateway.instrument, times=ExecutorTimes(stop_s=60.0))
    try:
        await executor.start()
        yield executor, gateway, journal
        await executor.stop("end of the measurement")
    finally:
        await gateway.close()
        await journal.close()


async def measure_gateway(name: str, _seconds: float, pairs: int) -> dict[str, Any]:
    """Time creates through the gateway and bare ones in turn, and journal commits between them."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        async with venue(name, folder) as url:
            clock = WallClock()
            journal = Journal.open(folder / "journal.sqlite", clock)
            config = VenueConfig(name=name, symbol="BTCUSDT", url=url)
            budget = Budget(shared_per_s=10_000, create_per_s=5_000)
            gateway = await Gateway.connect(config, LOCAL_CREDENTIALS, clock, budget=budget)
            await journal.session(mode="paper", exchange=name, instrument=gateway.instrument)
            exchange, symbol = gateway._exchange, gateway._symbol  # noqa: SLF001 (the same client, without us)
            times: dict[str, list[float]] = {"bare": [], "ours": [], "fsync": []}

            async def bare(client_id: str) -> None:
                params = {"clientOrderId": client_id, "postOnly": True}
                await exchange.create_order(symbol, "limit", "buy", str(LOT), str(FAR_BELOW), params)

            async def ours(client_id: str) -> None:
                await gateway.create(client_id, "buy", FAR_BELOW, LOT)

            async def fsync(client_id: str) -> None:
                await journal.intents(
                    [Intent(action="create", client_id=client_id, side="buy", price=FAR_BELOW, qty=LOT)]
                )

            kinds: list[tuple[str, Callable[[str], Awaitable[None]]]] = [
                ("bare", bare),
                ("ours", ours),
                ("fsync", fsync),
            ]
            fetch = exchange.fetch
            for i in range(pairs + 20):
                # The client library without the gateway's tap, for the bare half.
                for kind, call in random.Random(i).sample(kinds, len(kinds)):
                    exchange.fetch = gateway._tap._fetch if kind == "bare" else fetch  # noqa: SLF001
                    began = time.perf_counter()
                    await call(f"mm-bench-{kind}-{i}")
                    if i >= 20:
                        times[kind].append(1000 * (time.perf_counter() - began))
                if i % 100 == 99:
                    exchange.fetch = fetch
                    await exchange.cancel_all_orders(symbol)
            await gateway.close()
            await journal.close()
    medians = {kind: statistics.median(values) for kind, values in times.items()}
    ratio = medians["ours"] / medians["bare"]
    return {
        "measurement": "gateway", "exchange": name, "pairs": pairs,
        "bare_ms_p50": medians["bare"], "ours_ms_p50": medians["ours"], "fsync_ms_p50": medians["fsync"],
        "ratio": ratio, "bound": GATEWAY_MOST, "ok": ratio <= GATEWAY_MOST,
    }  # fmt: skip


async def measure_push(name: str, seconds: float, _pairs: int) -> dict[str, Any]:
    """Place and cancel 50 orders a second; time from the venue's commit to the executor having taken it in.

    One order every 20 ms, as a maker of 50 orders a second sends them, is what the bound is for. Five at once, ten
    times a second, is told beside it: there the fifth waits for four others in the venue, the client and the journal.
    """
    steady = await _push_delays(name, seconds, burst=1)
    burst = await _push_delays(name, seconds, burst=5)
    p50, p99 = _percentiles(steady)
    burst_p50, burst_p99 = _percentiles(burst)
    # Every order is told of twice, when it comes and when it goes; a paused start or end costs a few.
    complete = min(len(steady), len(burst)) >= 0.9 * 2 * PUSH_ORDERS_PER_S * seconds
    return {
        "measurement": "push", "exchange": name, "updates": len(steady), "updates_per_s": len(steady) / seconds,
        "ms_p50": p50, "ms_p99": p99, "burst_updates": len(burst), "burst_ms_p50": burst_p50,
        "burst_ms_p99": burst_p99, "bound": PUSH_P99_MS, "ok": complete and p99 <= PUSH_P99_MS,
    }  # fmt: skip


async def _push_delays(name: str, seconds: float, *, burst: int) -> list[float]:
    """Return the delays, in ms, of all updates while orders are placed and cancelled ``burst`` at a time."""
    taken: dict[tuple[str, str], int] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        budget = Budget(shared_per_s=10_000, create_per_s=1_000, cancel_per_s=1_000, amend_per_s=1_000)
        async with venue(name, folder) as url, trading(name, folder, url, budget) as (executor, _, _journal):
            account = executor._account  # noqa: SLF001
            take = account.take_order

            def timed(seen: VenueOrder, *, source: str) -> None:
                take(seen, source=source)
                if source == "stream":
                    taken.setdefault((seen.client_id, seen.status), time.time_ns())

            account.take_order = timed
            levels = [Quote("buy", FAR_BELOW - step, LOT) for step in range(5)]
            half_s = burst / PUSH_ORDERS_PER_S / 2
            # Levels come one group after the other, and go again the same way.
            counts = [*range(burst, 6, burst), *range(5 - burst, -1, -burst)]
            loop = asyncio.get_running_loop()
            began = loop.time()
            for step in range(round(seconds / half_s)):
                executor.submit(Approved(quotes=tuple(levels[: counts[step % len(counts)]])))
                await asyncio.sleep(max(0.0, began + (step + 1) * half_s - loop.time()))
        return _delays_ms(folder / "exchange.sqlite", taken)


def _delays_ms(state: Path, taken: dict[tuple[str, str], int]) -> list[float]:
    status = {"accepted": "open", "canceled": "canceled"}
    with contextlib.closing(sqlite3.connect(state)) as log:
        rows = log.execute(
            "SELECT ts_ns, kind, client_id FROM event WHERE kind IN ('accepted', 'canceled')"
        ).fetchall()
    return [
        (taken[client_id, status[kind]] - ts_ns) / 1e6
        for ts_ns, kind, client_id in rows
        if (client_id, status[kind]) in taken
    ]


STORM = {
    "seed": 1,
    "rules": [
        {"on": "cancel", "fault": "rate_limit", "share": 0.3},
        {"on": "cancel_batch", "fault": "rate_limit", "share": 0.3},
        {"on": "create", "fault": "rate_limit", "share": 0.3},
        {"on": "amend", "fault": "rate_limit", "share": 0.3},
        {"on": "open_orders", "fault": "rate_limit", "share": 0.1},
        {"on": "executions", "fault": "rate_limit", "share": 0.1},
        {"on": "private_ws", "fault": "kill", "share": 0.01},
    ],
}


async def measure_storm(name: str, seconds: float, _pairs: int) -> dict[str, Any]:
    """Quote through refusals and dropped connections; the waits are those of cancels for a token of ours."""
    dice = random.Random(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        async with (
            venue(name, folder, STORM) as url,
            trading(name, folder, url, Budget()) as (executor, gateway, _journal),
        ):
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                base = FAR_BELOW - dice.randrange(100)
                levels = tuple(Quote("buy", base - 10 * step, LOT) for step in range(dice.randrange(6)))
                executor.submit(Approved(quotes=levels))
                await asyncio.sleep(0.1)
            waits_ms = [1000 * wait_s for wait_s in gateway.lanes.cancel_waits_s]
            reconnects = executor.reconnects
    p50, p99 = _percentiles(waits_ms)
    return {
        "measurement": "storm", "exchange": name, "seconds": seconds, "cancel_requests": len(waits_ms),
        "reconnects": reconnects, "wait_ms_p50": p50, "wait_ms_p99": p99, "wait_ms_max": max(waits_ms, default=0.0),
        "bound": CANCEL_P99_MS, "ok": bool(waits_ms) and p99 <= CANCEL_P99_MS,
    }  # fmt: skip


def _percentiles(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    if not ordered:
        return float("nan"), float("nan")
    return statistics.median(ordered), ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]


MEASUREMENTS = {"gateway": measure_gateway, "push": measure_push, "storm": measure_storm}


def main() -> int:
    """Run the measurements asked for; exit 1 if one is beyond its bound."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", choices=[*MEASUREMENTS, []], help="default: all of them")
    parser.add_argument("--exchange", choices=["bybit", "bitget"], action="append")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of push and storm")
    parser.add_argument("--pairs", type=int, default=300, help="creates on each side of the gateway's ratio")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = []
    for what in options.what or MEASUREMENTS:
        for name in options.exchange or ["bybit", "bitget"]:
            result = asyncio.run(MEASUREMENTS[what](name, options.seconds, options.pairs))
            results.append(result)
            if not options.json:
                figures = {k: round(v, 3) if isinstance(v, float) else v for k, v in result.items()}
                print("  ".join(f"{key} {value}" for key, value in figures.items()), flush=True)
    if options.json:
        print(json.dumps(results))
    return 0 if all(result["ok"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
