"""What public tickers tell beside the touch: tick direction, the last day, and the derivative's own prices."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from decimal import Decimal

from mm_hybrid import _core
from mm_hybrid.servers.exchange.config import ExchangeServerConfig
from mm_hybrid.servers.exchange.wire import number

_MINUTE_NS = 60_000_000_000
_DAY_MINUTES = 24 * 60


@dataclass(slots=True)
class _Minute:
    minute: int
    open: Decimal
    high: Decimal
    low: Decimal
    volume: Decimal
    turnover: Decimal


@dataclass(frozen=True, slots=True)
class DayStats:
    """The last 24 hours as far as the server has seen them; ``change`` is a fraction of ``open``."""

    open: Decimal
    high: Decimal
    low: Decimal
    volume: Decimal
    turnover: Decimal
    change: Decimal


class MarketTicker:
    """Follows prints and derivative tickers of the listed symbol.

    Attributes:
        derivative: the last derivative ticker of the market, if it has any.
    """

    def __init__(self, config: ExchangeServerConfig) -> None:
        self._of = (config.feed_exchange, config.feed_symbol)
        self._minutes: deque[_Minute] = deque()
        self._last = Decimal(0)
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
        for trade in batch.trades():
            if (trade.exchange, trade.symbol) == self._of:
                self._add(
                    trade.exchange_ts_ns // _MINUTE_NS, Decimal(trade.price_text), Decimal(trade.qty_text)
                )
        for ticker in batch.derivative_tickers():
            if (ticker.exchange, ticker.symbol) == self._of:
                self.derivative = ticker

    def day(self) -> DayStats | None:
        """Return the last 24 hours; ``None`` before the first print."""
        if not self._minutes:
            return None
        opening = self._minutes[0].open
        return DayStats(
            opening,
            max(one.high for one in self._minutes),
            min(one.low for one in self._minutes),
            sum((one.volume for one in self._minutes), Decimal(0)),
            sum((one.turnover for one in self._minutes), Decimal(0)),
            self._last / opening - 1 if opening else Decimal(0),
        )

    def funding(self) -> tuple[str, str]:
        """Return funding rate and next funding time in ms; empty where the market does not say."""
        if self.derivative is None:
            return "", ""
        due_ns = self.derivative.funding_ts_ns
        return plain(self.derivative.funding_rate), "" if due_ns is None else str(due_ns // 1_000_000)

    def _add(self, minute: int, price: Decimal, qty: Decimal) -> None:
        self._last = price
        last = self._minutes[-1] if self._minutes else None
        if last is None or last.minute < minute:
            self._minutes.append(_Minute(minute, price, price, price, qty, price * qty))
            while self._minutes[0].minute <= minute - _DAY_MINUTES:
                self._minutes.popleft()
            return
        last.high, last.low = max(last.high, price), min(last.low, price)
        last.volume += qty
        last.turnover += price * qty


def plain(value: float | None) -> str:
    """Return a number as decimal text; nothing as empty text."""
    return "" if value is None else number(Decimal(repr(value)))
