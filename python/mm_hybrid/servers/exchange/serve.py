"""Run the local exchange with its own connection to the market until told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mm_hybrid import _core
from mm_hybrid.servers.exchange.app import ExchangeServer
from mm_hybrid.servers.exchange.config import ExchangeServerConfig
from mm_hybrid.servers.exchange.market import MarketFeed


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
        if feed is not None:
            feed.start()
        try:
            where: dict[str, object] = {"host": config.host, "port": server.port, "url": server.url}
            ready({"server": "exchange", "venue": config.venue, **where})
            await stop.wait()
        finally:
            if feed is not None:
                await feed.close()
