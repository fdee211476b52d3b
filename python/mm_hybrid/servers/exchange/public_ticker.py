"""What public tickers tell beside the touch: tick direction, and the derivative's own prices."""

from __future__ import annotations

from decimal import Decimal

from mm_hybrid import _core
from mm_hybrid.servers.exchange.config import ExchangeServerConfig
from mm_hybrid.servers.exchange.wire import number


class MarketTicker:
    """Follows prints and derivative tickers of the listed symbol.

    Attributes:
        derivative: the last derivative ticker of the market, if it has any.
    """

    def __init__(self, config: ExchangeServerConfig) -> None:
        self._of = (config.feed_exchange, config.feed_symbol)
        self._last_price: float | None = None
        self._direction = "ZeroPlusTick"
        self.derivative: _core.DerivativeTicker | None = None

    @property
    def last_direction(self) -> str:
        """Tick direction of the last print."""
        return self._direction

    def direction(self, price: float) -> str:
        """Return a print's tick direction; it is the one that the next is compared with."""
        if self._last_price is None or price == self._last_price:
            up = "Plus" in self._direction
            self._direction = "ZeroPlusTick" if up else "ZeroMinusTick"
        else:
            self._direction = "PlusTick" if price > self._last_price else "MinusTick"
        self._last_price = price
        return self._direction

    def apply(self, batch: _core.EventBatch) -> None:
        """Take market events."""
        for ticker in batch.derivative_tickers():
            if (ticker.exchange, ticker.symbol) == self._of:
                self.derivative = ticker

    def funding(self) -> tuple[str, str]:
        """Return funding rate and next funding time in ms; empty where the market does not say."""
        if self.derivative is None:
            return "", ""
        due_ns = self.derivative.funding_ts_ns
        return plain(self.derivative.funding_rate), "" if due_ns is None else str(due_ns // 1_000_000)


def plain(value: float | None) -> str:
    """Return a number as decimal text; nothing as empty text."""
    return "" if value is None else number(Decimal(repr(value)))
