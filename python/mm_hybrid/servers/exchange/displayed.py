"""What the public market pages show: the book the exchange matches against, and its prints."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from mm_hybrid import _core
from mm_hybrid.servers.exchange.config import ExchangeServerConfig
from mm_hybrid.servers.exchange.prints import Prints
from mm_hybrid.servers.exchange.wire import number

Levels = list[list[str]]


class DisplayedMarket:
    """The market's own book, without the account's orders, as decimal text; empty before the first snapshot."""

    def __init__(self, config: ExchangeServerConfig) -> None:
        self._config = config
        self._books = _core.Books()
        self.last_price: str | None = None
        self.last_ts_ns = 0
        self.prints = Prints()

    def apply(self, batch: Any) -> None:
        """Take market events."""
        self._books.apply(batch)
        for trade in batch.trades():
            if (trade.exchange, trade.symbol) == (self._config.feed_exchange, self._config.feed_symbol):
                self.last_price, self.last_ts_ns = trade.price_text, trade.exchange_ts_ns
                self.prints.add(trade)

    def book(self, depth: int | None = None) -> _core.AggregatedOrderBook | None:
        """Return the book with its state, the best ``depth`` levels or all; ``None`` before the first message."""
        return self._books.snapshot(self._config.feed_exchange, self._config.feed_symbol, depth)

    def levels(self, depth: int) -> tuple[Levels, Levels]:
        """Return bids and asks as ``[price, quantity]``, best first, at most ``depth`` of each."""
        book = self.book(depth)
        if book is None:
            return [], []
        return _texts(book.bids.tolist()), _texts(book.asks.tolist())

    def touch(self) -> dict[str, str]:
        """Return ``bid``, ``bid_qty``, ``ask``, ``ask_qty``; empty text for a side without levels."""
        bids, asks = self.levels(1)
        bid, ask = (bids or [["", ""]])[0], (asks or [["", ""]])[0]
        return {"bid": bid[0], "bid_qty": bid[1], "ask": ask[0], "ask_qty": ask[1]}


def _texts(levels: list[list[float]]) -> Levels:
    return [[number(Decimal(repr(price))), number(Decimal(repr(qty)))] for price, qty in levels]
