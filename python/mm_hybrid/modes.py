"""Paper and live: the same session, with other ends.

Paper takes live data and trades at a local exchange server, its own or one already running; live trades at the venue,
on its demo hosts unless told otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from decimal import Decimal
from math import gcd
from pathlib import Path

from mm_hybrid.config import MarketConfig, Mode, SessionConfig
from mm_hybrid.errors import ConfigError, MmHybridError
from mm_hybrid.execution.credentials import LOCAL_CREDENTIALS, Credentials
from mm_hybrid.feed import LiveFeed
from mm_hybrid.optimizer.client import key_from_env
from mm_hybrid.processes import ServerProcess
from mm_hybrid.result import SessionResult, SessionView
from mm_hybrid.session import Session
from mm_hybrid.strategy import Strategy

FIRST_BOOK_TIMEOUT_S = 20.0
EXCHANGE_FILE = "exchange.sqlite"


async def run_mode(
    mode: Mode,
    config: SessionConfig,
    strategy: Strategy,
    strategy_path: Path,
    stop: asyncio.Event,
    *,
    seconds: float | None,
    on_line: Callable[[str], None],
    on_started: Callable[[], None],
    on_tick: Callable[[SessionView], None],
) -> SessionResult:
    """Run a paper or live session until ``stop`` is set or ``seconds`` have passed.

    Raises:
        ConfigError: the ends do not fit the mode, or a secret is missing from the environment.
    """
    config.output.dir.mkdir(parents=True, exist_ok=True)
    credentials = _credentials(mode, config)
    async with AsyncExitStack() as servers:
        if mode == "paper" and config.venue.url is None:
            config = await _with_local_exchange(config, servers, on_line)
        session = Session(
            config=config,
            mode=mode,
            strategy=strategy,
            strategy_path=strategy_path,
            credentials=credentials,
            advisor_key=key_from_env(config.advisor),
            finite_feed=False,
            on_line=on_line,
        )
        return await session.run(stop, seconds=seconds, on_started=on_started, on_tick=on_tick)


def _credentials(mode: Mode, config: SessionConfig) -> Credentials:
    venue = config.venue
    if mode == "paper" and venue.url is None:
        return LOCAL_CREDENTIALS  # The exchange is our own; real keys have no business there.
    if mode == "live" and venue.url is not None:
        raise ConfigError(
            f"venue.url = {venue.url!r}: live trades at the venue itself; use paper for a local exchange"
        )
    found = Credentials.of_environment(venue)
    if isinstance(found, Credentials):
        return found
    if mode == "paper":
        return LOCAL_CREDENTIALS
    raise ConfigError(f"live needs the environment variable {found} (set its name with venue.api_*_env)")


async def _with_local_exchange(
    config: SessionConfig, servers: AsyncExitStack, on_line: Callable[[str], None]
) -> SessionConfig:
    venue = config.trading_venue
    tick_size, lot_size = await _grid_of(config.market)
    arguments = (
        *("--port", "{port}", "--venue", venue.name, "--symbol", str(venue.symbol)),
        *("--tick-size", str(tick_size), "--lot-size", str(lot_size)),
        *("--market-source", config.market.source, "--market-url", config.market.url),
        *("--market-exchange", config.market.exchange),
        *("--market-symbol", config.market.symbol, "--ledger", str(config.output.dir / "executions.jsonl")),
        # The paper account goes on where the last session left it, as the journal beside it does.
        *("--state", str(config.output.dir / EXCHANGE_FILE)),
    )
    log_path = config.output.dir / "exchange.log"
    process = ServerProcess("exchange", arguments, log_path=log_path, on_event=on_line)
    servers.push_async_callback(process.stop)
    ready = await process.start()
    local = venue.model_copy(update={"url": f"http://127.0.0.1:{ready['port']}"})
    return config.model_copy(update={"venue": local})


async def _grid_of(market: MarketConfig) -> tuple[Decimal, Decimal]:
    """Infer tick and lot from the first book of the stream: the greatest common divisors of its levels."""
    async with LiveFeed.of(market) as feed:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + FIRST_BOOK_TIMEOUT_S
        while loop.time() < deadline_s:
            await feed.wait_news(0.2)
            book = feed.snapshot(depth=10_000)
            if book.state == "LIVE":
                prices = [row[0] for side in (book.bids, book.asks) for row in side.tolist()]
                quantities = [row[1] for side in (book.bids, book.asks) for row in side.tolist()]
                return _common_step(prices), _common_step(quantities)
        raise MmHybridError(
            f"{market.url}: no book of {market.exchange} {market.symbol} within {FIRST_BOOK_TIMEOUT_S:g} s"
        )


def _common_step(values: list[float]) -> Decimal:
    """Return the greatest step of which every value is a multiple."""
    exact = [Decimal(repr(value)) for value in values]
    exponent = min(int(value.normalize().as_tuple().exponent) for value in exact)
    units = [int(value.scaleb(-exponent)) for value in exact]
    return Decimal(gcd(*units)).scaleb(exponent)
