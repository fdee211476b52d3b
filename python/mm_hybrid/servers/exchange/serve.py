"""Run the local exchange with its own connection to the market until told to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from mm_hybrid import _core
from mm_hybrid.servers.exchange.app import ExchangeServer
from mm_hybrid.servers.exchange.config import ExchangeServerConfig
from mm_hybrid.servers.exchange.market import MarketFeed

PATIENCE_S = 3.0
"""How long the market may take to come before its absence is said, and then said again with growing pauses."""

_MOST_PAUSE_S = 60.0

_log = logging.getLogger(__name__)


def matching_for(config: ExchangeServerConfig) -> _core.SimExchange:
    """Return a matching engine for the listed contract, fed by the configured market."""
    return _core.SimExchange(
        exchange=config.feed_exchange,
        symbol=config.feed_symbol,
        tick_size=str(config.tick_size),
        lot_size=str(config.lot_size),
    )


async def serve_exchange(
    config: ExchangeServerConfig, *, ready: Callable[[dict[str, object]], None], stop: asyncio.Event
) -> None:
    """Serve until ``stop`` is set.

    Args:
        config: what to serve; without ``market_url`` every order is refused, for want of a market.
        ready: told host, port and URL once clients can connect.
        stop: ends the server; connections are closed and the ledger is flushed.

    Raises:
        ServerError: the port is taken or the ledger cannot be written.
    """
    spot_matching = matching_for(config) if config.spot else None
    async with ExchangeServer(config, matching_for(config), spot_matching=spot_matching) as server:
        feed = MarketFeed(config, server.apply) if config.market_url else None
        watch: asyncio.Task[None] | None = None
        if feed is not None:
            feed.start()
            watch = asyncio.create_task(_watch(feed), name="market watch")
        try:
            where: dict[str, object] = {"host": config.host, "port": server.port, "url": server.url}
            followed = f"{config.feed_exchange} {config.feed_symbol}" if feed is not None else "none"
            ready({"server": "exchange", "venue": config.venue, **where, "market": followed})
            await stop.wait()
        finally:
            if feed is not None and watch is not None:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
                await feed.close()


async def _watch(feed: MarketFeed) -> None:
    """Say it, now and then, as long as there is no market: clients only learn that the venue is under maintenance."""
    pause_s = PATIENCE_S
    while True:
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _MOST_PAUSE_S)
        line = feed.missing()
        if line is None:
            return
        _log.warning(line)
