"""Two sources of one market side by side: which of them lags, by how much, and which lost what.

A trade seen by both is matched by its id (or by time, price, quantity and side where there is none), a change of the
best prices by the prices themselves. The lag is the difference of their arrivals in this process by its own clock:
clocks elsewhere do not matter.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Hashable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from mm_hybrid._core import EventBatch
from mm_hybrid.feed import LiveFeed

PATIENCE_S = 2.0
"""How long after one source the other may show the same before it counts as missing there."""
LOOK_S = 0.1
QUEUE_EVENTS = 200_000

_COUNTERS = (
    "gaps",
    "bad_checksums",
    "crosses",
    "resyncs",
    "reconnects",
    "disconnects",
    "decode_errors",
    "late_spells",
)


class Sightings:
    """Matches what two observers saw, each thing at the earliest sighting by either.

    Things of one key are taken to come in the same order on both sides.
    """

    def __init__(self) -> None:
        self.lags_s: list[float] = []
        self.only: tuple[int, int] = (0, 0)
        self._waiting: tuple[dict[Hashable, deque[float]], ...] = (defaultdict(deque), defaultdict(deque))
        self._unmatched: tuple[list[float], list[float]] = ([], [])

    def see(self, observer: int, key: Hashable, at_s: float) -> None:
        """Take one sighting; ``observer`` is 0 or 1, and a lag above 0 means that 1 is the later one."""
        others = self._waiting[1 - observer][key]
        while others and others[0] < at_s - PATIENCE_S:
            self._unmatched[1 - observer].append(others.popleft())
        if others:
            lag_s = at_s - others.popleft()
            self.lags_s.append(lag_s if observer == 1 else -lag_s)
        else:
            self._waiting[observer][key].append(at_s)

    def close(self, from_s: float, until_s: float) -> None:
        """Count what stayed alone, of what was seen between two times: the other had its chance."""
        counts = []
        for observer in (0, 1):
            alone = self._unmatched[observer] + [
                at for times in self._waiting[observer].values() for at in times
            ]
            counts.append(sum(from_s <= at <= until_s for at in alone))
        self.only = (counts[0], counts[1])


@dataclass
class Lag:
    """How much later the second source shows the same things, milliseconds; negative when it is the earlier one."""

    matched: int
    only_first: int
    only_second: int
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None

    @classmethod
    def of(cls, sightings: Sightings) -> Lag:
        """Return the figures of closed sightings."""
        lag = cls(len(sightings.lags_s), *sightings.only)
        if sightings.lags_s:
            quantiles = np.quantile(sightings.lags_s, [0.5, 0.9, 0.99]) * 1e3
            lag.p50_ms, lag.p90_ms, lag.p99_ms = (float(value) for value in quantiles)
        return lag


@dataclass
class SourceReport:
    """What one source did meanwhile."""

    name: str
    messages: int = 0
    trades: int = 0
    live_pct: float = 0.0
    counters: dict[str, int] = field(default_factory=dict)
    last_error: str = ""


@dataclass
class Comparison:
    """Both sources, and what differs between them."""

    seconds: float
    first: SourceReport
    second: SourceReport
    trades: Lag
    touches: Lag
    mid_difference_bps_p50: float | None
    mid_difference_bps_max: float | None

    def document(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return asdict(self)

    def verdict(self) -> list[str]:
        """Return in words which source lags and which lost what."""
        lag = self.trades if self.trades.matched >= self.touches.matched else self.touches
        what = "trades" if lag is self.trades else "changes of the best prices"
        names = (self.first.name, self.second.name)
        if lag.p50_ms is None:
            silent = [source for source in (self.first, self.second) if not source.messages]
            lines = [
                f"{source.name} sent nothing: {source.last_error or 'no trouble reported'}"
                for source in silent
            ]
            if not silent:
                lines = ["the two sources showed nothing in common: are exchange and symbol right?"]
        else:
            early, late = names if lag.p50_ms >= 0 else names[::-1]
            lines = [
                f"{early} is ahead of {late} by {abs(lag.p50_ms):.2f} ms (median of {lag.matched} {what})"
            ]
        in_common = lag.p50_ms is not None
        for missing, name in ((self.trades.only_second, names[0]), (self.trades.only_first, names[1])):
            if missing and in_common:
                lines.append(f"{name} lacks {missing} trades that the other one showed")
        for source in (self.first, self.second):
            told = ", ".join(f"{count} {kind}" for kind, count in source.counters.items() if count)
            if told:
                lines.append(f"{source.name}: {told.replace('_', ' ')}")
        return lines


class _Observer:
    """Drains one feed and notes what it shows when."""

    def __init__(self, index: int, name: str, feed: LiveFeed, trades: Sightings, touches: Sightings) -> None:
        self.feed = feed
        self.report = SourceReport(name)
        self._index = index
        self._trades, self._touches = trades, touches
        self._touch: tuple[Any, Any] | None = None
        self._looks = self._live_looks = 0

    @property
    def is_live(self) -> bool:
        return self.feed.snapshot(depth=1).state == "LIVE"

    async def observe(self, until_s: float, stop: asyncio.Event) -> None:
        while (left_s := until_s - time.monotonic()) > 0 and not stop.is_set():
            await self.feed.wait_news(min(left_s, LOOK_S))
            at_s = time.monotonic()
            self._take(self.feed.drain(), at_s)
            book = self.feed.snapshot(depth=1)
            self._looks += 1
            self._live_looks += book.state == "LIVE"
            touch = (book.best_bid, book.best_ask)
            if book.state == "LIVE" and touch != self._touch:
                self._touch = touch
                self._touches.see(self._index, touch, at_s)

    def _take(self, batch: EventBatch, at_s: float) -> None:
        for trade in batch.trades():
            self.report.trades += 1
            key = trade.id or (trade.exchange_ts_ns, trade.price, trade.qty, trade.side)
            self._trades.see(self._index, key, at_s)

    def finish(self, before: dict[str, Any]) -> SourceReport:
        stats = self.feed.stats()
        self.report.messages = int(stats["messages"]) - int(before["messages"])
        self.report.live_pct = 100.0 * self._live_looks / max(self._looks, 1)
        self.report.counters = {name: int(stats[name]) - int(before[name]) for name in _COUNTERS}
        self.report.last_error = str(stats["last_error"])
        return self.report


async def compare(
    sources: tuple[tuple[str, LiveFeed], tuple[str, LiveFeed]],
    *,
    seconds: float,
    stop: asyncio.Event,
    ready_within_s: float = 20.0,
    on_progress: Callable[[float, str], None] = lambda _elapsed_s, _detail: None,
) -> Comparison:
    """Watch two feeds of one symbol, not started yet, with an event queue each, and compare them.

    Args:
        sources: name and feed of the first and of the second.
        seconds: how long to watch once both books are ``LIVE``.
        stop: ends the watching early.
        ready_within_s: how long to wait for both books; what is not there then is compared all the same.
        on_progress: is told the seconds gone by and what happens.
    """
    trades, touches = Sightings(), Sightings()
    observers = [_Observer(index, name, feed, trades, touches) for index, (name, feed) in enumerate(sources)]
    async with sources[0][1], sources[1][1]:
        deadline_s = time.monotonic() + ready_within_s
        while not all(observer.is_live for observer in observers) and time.monotonic() < deadline_s:
            if stop.is_set():
                break
            on_progress(0.0, "waiting for both books")
            await asyncio.sleep(LOOK_S)
        for observer in observers:
            observer.feed.drain()
        before = [observer.feed.stats() for observer in observers]
        start_s = time.monotonic()
        until_s = start_s + seconds
        watching = [asyncio.create_task(observer.observe(until_s, stop)) for observer in observers]
        differences = []
        while any(not task.done() for task in watching):
            await asyncio.sleep(LOOK_S)
            mids = [observer.feed.snapshot(depth=1) for observer in observers]
            if all(book.state == "LIVE" and book.mid_price for book in mids):
                first, second = (float(book.mid_price or 0.0) for book in mids)
                differences.append(abs(second / first - 1.0) * 1e4)
            on_progress(
                time.monotonic() - start_s,
                f"{len(trades.lags_s)} trades, {len(touches.lags_s)} changes matched",
            )
        await asyncio.gather(*watching)
        end_s = time.monotonic()
        reports = [observer.finish(stats) for observer, stats in zip(observers, before, strict=True)]
    for sightings in (trades, touches):
        sightings.close(start_s + min(PATIENCE_S, seconds / 4), end_s - min(PATIENCE_S, seconds / 4))
    return Comparison(
        seconds=end_s - start_s,
        first=reports[0],
        second=reports[1],
        trades=Lag.of(trades),
        touches=Lag.of(touches),
        mid_difference_bps_p50=float(np.median(differences)) if differences else None,
        mid_difference_bps_max=max(differences) if differences else None,
    )


def feed_of(source: str, url: str, *, exchange: str, symbol: str) -> LiveFeed:
    """Return a feed to compare, not started yet.

    Raises:
        ValueError: the source does not have this market.
    """
    return LiveFeed(url, exchange=exchange, symbols=[symbol], source=source, queue_events=QUEUE_EVENTS)
