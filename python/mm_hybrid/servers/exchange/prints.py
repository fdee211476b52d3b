"""The market's recent prints, and the candles they make; times are the market's own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import takewhile

from mm_hybrid import _core

PRINTS_KEPT = 1000
"""As many as a venue's page of recent trades shows at most."""

MINUTES_KEPT = 7 * 24 * 60

_MINUTE_MS = 60_000
_DAY_MS = 24 * 60 * _MINUTE_MS


@dataclass(slots=True)
class Candle:
    """Prices of a span of time; ``turnover`` is the volume in quote currency."""

    begin_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    turnover: Decimal

    @property
    def change(self) -> Decimal:
        """How far the price moved, a fraction of ``open``."""
        return self.close / self.open - 1 if self.open else Decimal(0)

    def add(self, other: Candle) -> None:
        """Take in a later candle within the same span."""
        self.high, self.low, self.close = max(self.high, other.high), min(self.low, other.low), other.close
        self.volume += other.volume
        self.turnover += other.turnover

    def texts(self) -> list[str]:
        """Return begin, open, high, low, close, volume and turnover, as both venues order them."""
        values = (self.open, self.high, self.low, self.close, self.volume, self.turnover)
        return [str(self.begin_ms), *(format(value, "f") for value in values)]


class Prints:
    """Keeps the latest prints, and a week of minutes."""

    def __init__(self) -> None:
        self._recent: deque[tuple[int, _core.Trade]] = deque(maxlen=PRINTS_KEPT)
        self._minutes: deque[Candle] = deque(maxlen=MINUTES_KEPT)
        self._serial = 0

    def add(self, trade: _core.Trade) -> None:
        """Take in a print."""
        self._serial += 1
        self._recent.append((self._serial, trade))
        begin_ms = trade.exchange_ts_ns // 1_000_000 // _MINUTE_MS * _MINUTE_MS
        price, qty = Decimal(trade.price_text), Decimal(trade.qty_text)
        one = Candle(begin_ms, price, price, price, price, qty, price * qty)
        if self._minutes and self._minutes[-1].begin_ms >= begin_ms:
            self._minutes[-1].add(one)
        else:
            self._minutes.append(one)

    def newest_first(self) -> Iterator[tuple[str, _core.Trade]]:
        """Yield prints with their ids; one that came without has a number of its own."""
        return ((trade.id or str(serial), trade) for serial, trade in reversed(self._recent))

    def candles(self, minutes: int, begin_ms: int, end_ms: int) -> list[Candle]:
        """Return candles of so many minutes that begin within a span of time, oldest first; none without a print."""
        length_ms = minutes * _MINUTE_MS
        found: list[Candle] = []
        for minute in self._minutes:
            own_ms = minute.begin_ms // length_ms * length_ms
            if not begin_ms <= own_ms <= end_ms:
                continue
            if found and found[-1].begin_ms == own_ms:
                found[-1].add(minute)
            else:
                found.append(replace(minute, begin_ms=own_ms))
        return found

    def last_day(self) -> Candle | None:
        """Return the 24 hours up to the last print, as far as they were seen; ``None`` before the first."""
        if not self._minutes:
            return None
        before_ms = self._minutes[-1].begin_ms - _DAY_MS
        newest_first = list(takewhile(lambda minute: minute.begin_ms > before_ms, reversed(self._minutes)))
        day = replace(newest_first.pop())
        for minute in reversed(newest_first):
            day.add(minute)
        return day
