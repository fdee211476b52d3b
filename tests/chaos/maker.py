"""One life of a maker: a whole session of the package, with a restless strategy and short patience."""

from __future__ import annotations

import asyncio
import functools
import os
import random
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from mm_hybrid import session as session_module
from mm_hybrid.breaker import Breaker
from mm_hybrid.cli._signals import run_until_stopped
from mm_hybrid.config import (
    AdvisorConfig,
    ExecutionConfig,
    MarketConfig,
    OutputConfig,
    QuotingConfig,
    RiskConfig,
    SessionConfig,
    VenueConfig,
)
from mm_hybrid.errors import MmHybridError
from mm_hybrid.execution import breakers as breakers_module
from mm_hybrid.execution import client as client_module
from mm_hybrid.execution import executor as executor_module
from mm_hybrid.execution import gateway as gateway_module
from mm_hybrid.execution.executor import ExecutorTimes
from mm_hybrid.execution.gateway import Credentials, Gateway
from mm_hybrid.execution.lanes import Budget
from mm_hybrid.execution.streams import PrivateStreams
from mm_hybrid.result import SessionView
from mm_hybrid.session import Session
from mm_hybrid.types import Features, Position, Quote, SpreadRecommendation

from . import kill_points
from .processes import announce
from .script import WINDOW_S

CREDENTIALS = Credentials(
    api_key=SecretStr("demo-key"), secret=SecretStr("demo-secret"), password=SecretStr("demo-password")
)
"""What the local exchange takes unless told otherwise."""

BUDGET = Budget(shared_per_s=100.0, cancel_per_s=40.0, read_per_s=60.0, create_per_s=30.0)
"""More requests than venues allow, so that a run of seconds has the orders of minutes."""

PAUSES = {"tend_s": 0.05, "unmatched_s": 1.0, "no_funds_pause_s": 0.3, "crossed_pause_s": 0.05}
BREAKER_OPEN_S = {"open_for_s": 0.3, "max_open_for_s": 1.0}
LOOKUP_PAUSES_S = (0.1, 0.4)
OVERLAP_S = 30.0


class Restless:
    """Quotes several levels a side near the touch and keeps changing its mind; silent when told to be."""

    def __init__(self, *, levels: int, qty: str, pace_s: float, quiet: bool) -> None:
        self._levels = levels
        self._qty = Decimal(qty)
        self._pace_s = pace_s
        self._quiet = quiet
        self._dice = random.Random()
        self._next_s = 0.0
        self._wanted: list[tuple[Any, int]] = []

    def quotes(self, features: Features, position: Position, advice: SpreadRecommendation) -> list[Quote]:
        """Return the levels wanted now, each a few ticks behind the touch."""
        if self._quiet:
            return []
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + self._pace_s
            self._wanted = [
                (side, level * 3 + self._dice.randrange(3))
                for side in ("buy", "sell")
                for level in range(self._dice.choice((0, 1, self._levels, self._levels, self._levels)))
            ]
        tick = float(features.instrument.tick_size)
        best = {"buy": features.best_bid, "sell": features.best_ask}
        sign = {"buy": -1, "sell": 1}
        return [
            Quote(side, best[side] + sign[side] * ticks * tick, self._qty) for side, ticks in self._wanted
        ]


class _Sampler:
    """Announces now and then what this process uses; never, without a period."""

    def __init__(self, period_s: float | None) -> None:
        self._period_s = period_s
        self._began_s = self._next_s = time.monotonic()

    def tick(self, view: SessionView) -> None:
        """Take a sample when it is time."""
        now_s = time.monotonic()
        if self._period_s is None or now_s < self._next_s:
            return
        self._next_s = now_s + self._period_s
        announce(
            "sample",
            seconds=now_s - self._began_s,
            rss_kb=int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024,
            tasks=len(asyncio.all_tasks()),
            fds=sum(1 for _ in Path("/proc/self/fd").iterdir()),
            orders=view.orders["placed"],
            open_orders=len(view.resting),
        )


def main(arguments: dict[str, Any]) -> int:
    """Live until told to stop, or killed; 0 unless the session could not start or ended by itself."""
    os.environ.update(arguments["environ"])
    _hurry()
    if (kill := arguments.get("kill")) is not None:
        kill_points.install(kill["point"], kill["nth"])
    code: int = run_until_stopped(functools.partial(_live, arguments))[0]
    return code


async def _live(arguments: dict[str, Any], stop: asyncio.Event) -> int:
    config = _config(arguments)
    session = Session(
        config=config,
        mode="paper",
        strategy=Restless(
            levels=arguments["levels"],
            qty=arguments["qty"],
            pace_s=arguments["pace_s"],
            quiet=arguments["quiet"],
        ),
        strategy_path=None,
        credentials=CREDENTIALS,
        advisor_key=None,
        finite_feed=False,
        on_line=lambda _line: None,
    )
    sampler = _Sampler(arguments["sample_s"])
    try:
        result = await session.run(
            stop, seconds=None, on_started=lambda: announce("started"), on_tick=sampler.tick
        )
    except MmHybridError as error:
        announce("failed", error=f"{type(error).__name__}: {error}")
        return 1
    error_text = None if result.error is None else f"{type(result.error).__name__}: {result.error}"
    announce(
        "result",
        error=error_text,
        position=result.position,
        fills=result.fills,
        orders=result.orders,
        open_orders=result.open_orders_at_exit,
        unknown_orders=result.unknown_orders_at_exit,
        exposed_orders=result.execution["exposed_orders"],
    )
    return 0 if error_text is None else 1


def _config(arguments: dict[str, Any]) -> SessionConfig:
    qty, limit = float(arguments["qty"]), float(arguments["limit"])
    value = qty * 60_000
    return SessionConfig(
        market=MarketConfig(
            url=arguments["market_url"], exchange=arguments["market_exchange"], symbol="BTCUSDT"
        ),
        venue=VenueConfig(name=arguments["exchange"], symbol="BTCUSDT", url=arguments["exchange_url"]),
        quoting=QuotingConfig(
            order_size_quote=value, position_limit_orders=1000, requote_ms=40, tolerance=0.0
        ),
        risk=RiskConfig(
            max_position_base=limit, max_position_quote=1e9, max_order_quote=2 * value, max_loss_quote=1e9
        ),
        execution=ExecutionConfig(
            orders_via=arguments["orders_via"],
            request_timeout_s=0.8,
            grace_s=0.15,
            window_s=WINDOW_S,
            recancel_s=0.4,
            reconcile_s=1.0,
            position_checks=12,
            position_check_s=0.25,
            silence_s=1.5,
            stop_s=15.0,
        ),
        advisor=AdvisorConfig(enabled=False),
        output=OutputConfig(dir=Path(arguments["folder"])),
    )


def _hurry() -> None:
    """Shorten the pauses that are not for users to set, and leave out the report, which nobody reads here."""
    open_gateway = Gateway.open

    async def open_with_budget(*args: Any, **kwargs: Any) -> Gateway:
        return await open_gateway(*args, budget=BUDGET, **kwargs)

    def times_of(config: ExecutionConfig) -> ExecutorTimes:
        times = ExecutorTimes.configured(config)
        return replace(
            times,
            **PAUSES,
            resolve=replace(times.resolve, pause_s=LOOKUP_PAUSES_S),
            reconcile=replace(times.reconcile, overlap_s=OVERLAP_S, funding_s=1.0),
        )

    ExecutorTimes.configured = ExecutorTimes.of
    ExecutorTimes.of = times_of
    Gateway.open = open_with_budget
    breakers_module.Breaker = functools.partial(Breaker, **BREAKER_OPEN_S)
    client_module.KEEP_ALIVE_MS = 500
    gateway_module.BAN_S = 1.0
    executor_module.PrivateStreams = functools.partial(PrivateStreams, confirm_s=1.5, backoff_s=(0.05, 0.4))
    session_module.build_report = lambda _journal, _report: None
