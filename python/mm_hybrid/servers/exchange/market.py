"""The server's own view of the market: a feed connection whose every event reaches the matching engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mm_hybrid import _core
from mm_hybrid.servers.exchange.config import ExchangeServerConfig

_QUEUE_EVENTS = 1_000_000


class MarketFeed:
    """Hands events of one tardis-machine connection to ``apply``, in sequence and without loss.

    Should the queue ever overflow, the feed says so by a disconnect: the book is then out of sync and orders
    are refused until the next snapshot.
    """

    def __init__(self, config: ExchangeServerConfig, apply: Callable[[_core.EventBatch], None]) -> None:
        if config.market_url is None:
            raise ValueError("market_url is not set")
        self._apply = apply
        self._url = config.market_url
        self._followed = (config.feed_exchange, config.feed_symbol)
        self._others: set[tuple[str, str]] = set()
        self._arrived = False
        self._news_fd: int | None = None
        self._feed = _core.Feed(
            config.market_url,
            exchange=config.feed_exchange,
            symbols=[config.feed_symbol],
            source=config.market_source,
            queue_events=_QUEUE_EVENTS,
        )

    def start(self) -> None:
        """Connect and follow, on the running event loop."""
        self._feed.start()
        self._news_fd = self._feed.fileno()
        asyncio.get_running_loop().add_reader(self._news_fd, self._take_news)

    def _take_news(self) -> None:
        self._feed.clear()
        batch = self._feed.drain()
        if not len(batch):
            return
        if not self._arrived:
            self._note_ids(batch)
        self._apply(batch)

    def _note_ids(self, batch: _core.EventBatch) -> None:
        """Note whose events come, until one of the market followed has: a lost connection is none."""
        found = {
            (exchange, symbol) for _, exchange, symbol, kind, _ in batch.encode() if kind != "disconnect"
        }
        self._arrived = self._followed in found
        self._others |= found - {self._followed}

    def missing(self) -> str | None:
        """Return why there is no market, for people; ``None`` once an event of the one followed has come."""
        if self._arrived:
            return None
        exchange, symbol = self._followed
        line = f"no events of {exchange} {symbol} from {self._url}"
        if self._others:
            line += f", but of {', '.join(' '.join(other) for other in sorted(self._others))}"
        elif error := self._feed.stats().get("last_error"):
            line += f" ({error})"
        return f"{line}: every order is refused; see --market-exchange and --market-symbol"

    async def close(self) -> None:
        """Disconnect; safe to call twice."""
        if self._news_fd is not None:
            asyncio.get_running_loop().remove_reader(self._news_fd)
            self._news_fd = None
        await asyncio.to_thread(self._feed.close)
