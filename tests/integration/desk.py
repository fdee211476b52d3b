"""A trading desk for tests: an executor with its journal and gateway, at a local exchange, with short times."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from pydantic import SecretStr

from mm_hybrid.clock import WallClock
from mm_hybrid.config import VenueConfig
from mm_hybrid.execution.executor import Executor, ExecutorTimes
from mm_hybrid.execution.gateway import Credentials, Gateway
from mm_hybrid.execution.orders import OrderState
from mm_hybrid.execution.reconcile import ReconcileTimes
from mm_hybrid.execution.resolve import ResolveConfig
from mm_hybrid.journal import Journal, JournalReader
from mm_hybrid.types import Approved, Quote

D = Decimal
KEYS = Credentials(
    api_key=SecretStr("demo-key"), secret=SecretStr("demo-secret"), password=SecretStr("demo-password")
)
TIMES = ExecutorTimes(
    reconcile_s=60,
    resolve=ResolveConfig(grace_s=0.2, window_s=1.2, recancel_s=0.4, pause_s=(0.2, 0.4)),
    reconcile=ReconcileTimes(position_checks=3, position_check_s=0.2),
)
BUY = Quote("buy", D("59990.0"), D("0.010"))
SELL = Quote("sell", D("60010.0"), D("0.010"))


def wanted(*quotes: Quote) -> Approved:
    return Approved(quotes=quotes)


def settled(executor: Executor, count: int) -> Callable[[], bool]:
    return lambda: [order.state for order in executor.live_orders] == [OrderState.OPEN] * count


@asynccontextmanager
async def trading(
    venue: str,
    url: str,
    folder: Path,
    *,
    timeout_s: float = 0.5,
    orders_via: str = "rest",
    alerts: list[str] | None = None,
    adopt_position: bool = False,
    **times: object,
) -> AsyncIterator[Executor]:
    """An executor that has started; stopped at the end unless the test has done so."""
    clock = WallClock()
    journal = Journal.open(folder / "journal.db", clock)
    config = VenueConfig(name=venue, symbol="BTCUSDT", url=url)
    try:
        gateway = await Gateway.connect(config, KEYS, clock, timeout_s=timeout_s, orders_via=orders_via)
    except BaseException:
        await journal.close()
        raise
    try:
        await journal.session(mode="paper", exchange=venue, instrument=gateway.instrument)
        executor = Executor(
            gateway, journal, clock, gateway.instrument, times=replace(TIMES, **times),
            alert=(alerts if alerts is not None else []).append,
        )  # fmt: skip
        executor._adopt_position = adopt_position
        await executor.start()
        yield executor
        if not executor._stopping:
            await executor.stop("end of test")
    finally:
        await gateway.close()
        await journal.close()


def last_states(folder: Path) -> dict[str, str]:
    """The last state the journal has of each order."""
    with JournalReader(folder / "journal.db") as reader:
        return {row.client_id: row.state for row in reader.outcomes() if row.client_id}


def created_ids(folder: Path) -> list[str]:
    """Client ids of all intents to create, in order."""
    with JournalReader(folder / "journal.db") as reader:
        return [row.client_id for row in reader.intents() if row.action == "create"]


def journalled_fills(folder: Path) -> list[tuple[str, str, Decimal]]:
    """Executions in the journal: id, client id, quantity."""
    with JournalReader(folder / "journal.db") as reader:
        return [(row.exec_id, row.client_id, row.qty) for row in reader.fills()]
