"""The whole system on loopback: three local servers, one session between them, no key and no network.

The parts know each other only by address: the market server streams a synthetic market or files, the exchange server
matches orders against that stream, the rule-based advisor answers over HTTP, and the session trades between them as it
would between the real ones.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_hybrid._core import MarketScan, scan_files
from mm_hybrid.config import (
    AdvisorConfig,
    MarketConfig,
    OutputConfig,
    SessionConfig,
    Venue,
    VenueConfig,
)
from mm_hybrid.errors import ConfigError
from mm_hybrid.execution.credentials import LOCAL_CREDENTIALS
from mm_hybrid.instruments import TARDIS_EXCHANGE, split_symbol
from mm_hybrid.processes import ServerProcess
from mm_hybrid.result import SessionResult, SessionView
from mm_hybrid.session import Session
from mm_hybrid.strategy import Strategy

SYNTHETIC_SYMBOL = "BTCUSDT"
MAKER_FEE_RATE = "0.00001"
EXCHANGE_FILE = "exchange.sqlite"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What ``mm-hybrid demo`` was asked for."""

    venue: Venue
    seconds: float
    data: tuple[Path, ...]
    symbol: str | None
    speed: float
    seed: int
    strategy: Strategy
    strategy_path: Path | None
    out: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _MarketPlan:
    """One symbol to trade, where its data comes from and the grid it lives on."""

    exchange: str
    symbol: str
    tick_size: str
    lot_size: str
    server_arguments: tuple[str, ...]


def plan_market(options: DemoOptions) -> _MarketPlan:
    """Choose the symbol and its grid: the synthetic market's own, or what the files show.

    Raises:
        ConfigError: the files do not hold the symbol asked for.
        FileNotFoundError, DecodeError, ReplayError: a file is missing or broken; names file and line.
    """
    if not options.data:
        exchange = TARDIS_EXCHANGE[options.venue]
        symbol = (options.symbol or SYNTHETIC_SYMBOL).upper()
        split_symbol(symbol)
        return _MarketPlan(
            exchange=exchange,
            symbol=symbol,
            tick_size="0.1",
            lot_size="0.001",
            server_arguments=(
                *("--exchange", exchange, "--symbol", symbol, "--seed", str(options.seed)),
                *("--epoch-ns", str(time.time_ns())),
            ),
        )
    scan = _chosen(options.data, options.symbol)
    files = [argument for path in options.data for argument in ("--data", str(path.resolve()))]
    return _MarketPlan(
        exchange=scan.exchange,
        symbol=scan.symbol,
        tick_size=scan.tick_size,
        lot_size=scan.lot_size,
        server_arguments=(*files, "--speed", repr(options.speed), "--wait-for-clients", "2"),
    )


def _chosen(paths: Sequence[Path], symbol: str | None) -> MarketScan:
    scans = scan_files([str(path) for path in paths])
    usable = [scan for scan in scans if scan.book_changes > 0]
    if symbol is not None:
        usable = [scan for scan in usable if scan.symbol == symbol.upper()]
    if not usable:
        files = " ".join(path.name for path in paths)
        known = ", ".join(sorted(scan.symbol for scan in scans)) or "none"
        asked = f"--symbol {symbol}: no book of it" if symbol else "--data: no order book"
        raise ConfigError(f"{asked} in {files}; symbols there: {known}")
    return max(usable, key=lambda scan: scan.messages)


async def run_demo(
    options: DemoOptions,
    stop: asyncio.Event,
    *,
    on_line: Callable[[str], None],
    on_started: Callable[[], None],
    on_tick: Callable[[SessionView], None],
) -> SessionResult:
    """Start the servers, trade for the time asked for, stop everything and return what happened."""
    plan = plan_market(options)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {options.out}: cannot create the folder: {error.strerror}") from error
    async with AsyncExitStack() as servers:

        async def start(name: str, *arguments: str) -> dict[str, Any]:
            process = ServerProcess(name, arguments, log_path=options.out / f"{name}.log", on_event=on_line)
            servers.push_async_callback(process.stop)
            return dict(await process.start())

        tardis, (advising, advisor_key) = await asyncio.gather(
            start(
                *("tardis", "--port", "{http_port}", "--ws-port", "{ws_port}"),
                *("--record", str(options.out / "feed.ndjson"), *plan.server_arguments),
            ),
            _advisor(start),
        )
        market_url = f"ws://127.0.0.1:{tardis['ws_port']}"
        exchange = await start(
            *("exchange", "--port", "{port}", "--venue", options.venue, "--symbol", plan.symbol),
            *("--tick-size", plan.tick_size, "--lot-size", plan.lot_size, "--maker-fee-rate", MAKER_FEE_RATE),
            *("--market-url", market_url, "--market-exchange", plan.exchange, "--market-symbol", plan.symbol),
            *("--ledger", str(options.out / "executions.jsonl"), "--state", str(options.out / EXCHANGE_FILE)),
        )
        session = Session(
            config=SessionConfig(
                market=MarketConfig(url=market_url, exchange=plan.exchange, symbol=plan.symbol),
                venue=VenueConfig(
                    name=options.venue, symbol=plan.symbol, url=f"http://127.0.0.1:{exchange['port']}"
                ),
                advisor=advising,
                output=OutputConfig(dir=options.out),
            ),
            mode="demo",
            strategy=options.strategy,
            strategy_path=options.strategy_path,
            credentials=LOCAL_CREDENTIALS,
            advisor_key=advisor_key,
            finite_feed=bool(options.data),
            on_line=on_line,
        )
        return await session.run(stop, seconds=options.seconds, on_started=on_started, on_tick=on_tick)


async def _advisor(start: Callable[..., Awaitable[dict[str, Any]]]) -> tuple[AdvisorConfig, str]:
    """Return the advisor to ask and its key: the service the environment names, else a local rule-based one."""
    key, base_url = os.environ.get("HOLYSHEEP_API_KEY"), os.environ.get("HOLYSHEEP_BASE_URL")
    if key and base_url:
        return AdvisorConfig(base_url=base_url), key
    local = await start("advisor", "--port", "{port}")
    config = AdvisorConfig(
        base_url=f"http://127.0.0.1:{local['port']}/v1",
        model="rule-based-1",
        response_format="json_schema",
        price_in_usd_per_mtok=0.0,
        price_out_usd_per_mtok=0.0,
    )
    return config, "local"
