"""The live market-data feed for asyncio."""

from __future__ import annotations

import asyncio
import atexit
import os
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mm_hybrid._core import AggregatedOrderBook, Cache, EventBatch, Feed, FeedError
from mm_hybrid.config import AWAKE_GAP_US, MAX_AWAKE_GAP_US, MarketConfig
from mm_hybrid.wakeup import Vigil, Waiter

QUEUE_EVENTS = 100_000
"""Events a session's feed keeps for its reader; the engine reads many times a second."""

_EXIT_LOOK_S = 1e-4


@dataclass(frozen=True, slots=True)
class RecordTo:
    """A folder for raw messages, and when a file of it is full (compressed megabytes, minutes)."""

    folder: Path
    rotate_mb: int = 256
    rotate_minutes: int = 60


_open_feeds: weakref.WeakSet[LiveFeed] = weakref.WeakSet()


class LiveFeed:
    """A :class:`mm_hybrid._core.Feed` whose news an event loop can wait for.

    Reading a book never waits for the network, and the network never waits for a reader. A loop that waits for news
    reads the sockets itself; when it is busy, or there is much to read, the feed's own thread does. While messages come
    thick, such a loop does not sleep between two of them.

    Args:
        url: WebSocket address of the source, ``ws://host:port``.
        exchange: Tardis exchange id, such as ``bybit``.
        symbols: symbols in the exchange's spelling.
        data_types: Tardis data types to ask for.
        source: ``tardis``, or the exchange's own stream: ``bybit``, ``bitget``, ``bitget-v2``.
        book_depth: levels a side to ask Bybit for.
        stale_after_ms: a book without a change for longer is ``STALE``.
        resync_after_ms: a book without a snapshot for longer makes the feed reconnect.
        reconnect_min_ms: shortest wait before a reconnect.
        reconnect_max_ms: longest wait before a reconnect.
        queue_events: bound of the event queue read by :meth:`drain`, at least the number of symbols and two; 0
            keeps none.
        end_on_finish: a regular close after data ends the feed instead of reconnecting.
        replay_from: ask a tardis-machine for history from here in place of the live stream, a whole minute: ISO 8601
            in UTC or integer ns. It comes once, as fast as it can; see :attr:`finished`. A reader that must not miss
            an event records it and reads the files, or gives ``queue_events`` for all of it.
        replay_to: end of the history, a whole minute that is not part of it.
        replay_idle_s: a replay without a message for longer has failed.
        cache: where a row a second goes.
        record: where every message goes as it comes.
        busy_poll_us: :meth:`wait_news` first watches that long without sleeping, and the event loop with it; 0 sleeps
            at once. For a process that has a processor to itself.
        awake_gap_us: while the last eight messages or so came less than this apart on average, an event loop that reads
            the sockets watches for the next one instead of sleeping, unless it has to queue for its processor. At the
            default that takes up the idle time of one processor from 2,000 messages a second evenly spread, or in
            bursts. 0 always sleeps; at most 10,000.

    Example:
        >>> async def watch() -> None:
        ...     async with LiveFeed("ws://127.0.0.1:8001", exchange="bybit", symbols=["BTCUSDT"]) as feed:
        ...         while await feed.wait_news(1.0):
        ...             print(feed.snapshot().mid_price)
    """

    def __init__(
        self,
        url: str,
        *,
        exchange: str,
        symbols: Sequence[str],
        data_types: Sequence[str] = ("book_change", "trade"),
        source: str = "tardis",
        book_depth: int = 200,
        stale_after_ms: int = 3000,
        resync_after_ms: int = 10_000,
        reconnect_min_ms: int = 100,
        reconnect_max_ms: int = 32_000,
        queue_events: int = 0,
        end_on_finish: bool = False,
        replay_from: int | str | None = None,
        replay_to: int | str | None = None,
        replay_idle_s: int = 600,
        cache: Cache | None = None,
        record: RecordTo | None = None,
        busy_poll_us: int = 0,
        awake_gap_us: int = AWAKE_GAP_US,
    ) -> None:
        if not 0 <= awake_gap_us <= MAX_AWAKE_GAP_US:
            raise ValueError(f"awake_gap_us: must be 0 to {MAX_AWAKE_GAP_US}, not {awake_gap_us}")
        self._busy_poll_us = busy_poll_us
        self._awake_gap_us = awake_gap_us
        self._feed = Feed(
            url,
            exchange=exchange,
            symbols=symbols,
            data_types=data_types,
            source=source,
            book_depth=book_depth,
            stale_after_ms=stale_after_ms,
            resync_after_ms=resync_after_ms,
            reconnect_min_ms=reconnect_min_ms,
            reconnect_max_ms=reconnect_max_ms,
            queue_events=queue_events,
            end_on_finish=end_on_finish,
            replay_from=replay_from,
            replay_to=replay_to,
            replay_idle_s=replay_idle_s,
            cache=cache,
            record_folder=record.folder if record else None,
            record_rotate_mb=record.rotate_mb if record else 1,
            record_rotate_minutes=record.rotate_minutes if record else 1,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._vigil: Vigil | None = None
        self._fd = -1
        self._leads = False
        self._is_watching = self._is_over = False
        self._pid = os.getpid()
        self._has_news = False
        self._waiters: dict[Waiter, float] = {}
        """When each gives up, by the event loop's clock."""
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, market: MarketConfig, *, cache: Cache | None = None, end_on_finish: bool = False) -> Self:
        """Return the feed of one configured market, with an event queue."""
        return cls(
            market.url,
            exchange=market.exchange,
            symbols=[market.symbol],
            source=market.source,
            book_depth=market.book_depth,
            stale_after_ms=market.stale_after_ms,
            resync_after_ms=market.resync_after_ms,
            awake_gap_us=market.awake_gap_us,
            queue_events=QUEUE_EVENTS,
            end_on_finish=end_on_finish,
            cache=cache,
        )

    @property
    def finished(self) -> bool:
        """Whether a finite feed has ended; what it sent may still wait in the queue.

        Raises:
            FeedError: a replay failed: it was empty, broke off, or stood still for too long.
        """
        stats = self._feed.stats()
        if stats["failure"]:
            raise FeedError(str(stats["failure"]))
        return bool(stats["finished"])

    def start(self) -> None:
        """Connect in the background, and keep connecting until closed; needs a running event loop.

        Raises:
            FeedError: the feed was closed already.
        """
        if self._loop is None:
            self._feed.start()
            self._loop = asyncio.get_running_loop()
            self._vigil = Vigil(self._watch_slice, self._loop, self._awake_gap_us)
            self._fd = self._feed.fileno()
            self._loop.add_reader(self._fd, self._on_news)
            _open_feeds.add(self)

    async def wait_news(self, timeout_s: float) -> bool:
        """Wait until something happened since the last call, at most ``timeout_s`` seconds.

        A batch of messages, a book that changed its state and the end of the feed are news; a burst is one.

        Returns:
            Whether there is news; ``False`` after the timeout, and at once when the feed is not running.
        """
        if self._has_news or self._loop is None:
            has_news, self._has_news = self._has_news, False
            return has_news
        if self._busy_poll_us and self._watch_unlocked(self._busy_poll_us):
            return True
        self._set_leads(self._feed.lead())
        waiter = Waiter(self._loop)
        self._waiters[waiter] = deadline_s = self._loop.time() + timeout_s
        self._watch_deadline(deadline_s)
        try:
            return await waiter
        finally:
            self._waiters.pop(waiter, None)

    def snapshot(self, symbol: str | None = None, depth: int = 50) -> AggregatedOrderBook:
        """Return one consistent copy of a book, its state and age judged now.

        Args:
            symbol: may be left out when only one is subscribed.
            depth: levels a side.

        Raises:
            ValueError: the symbol is not subscribed.
            FeedError: the feed belongs to the parent of this process.
        """
        return self._feed.snapshot(symbol, depth)

    def snapshot_into(self, out: NDArray[np.float64], symbol: str | None = None) -> tuple[str, int, int]:
        """Copy the best levels into ``out``, float64 ``(2, depth, 2)``: bids, then asks; price and qty; best first.

        Levels that are not there are NaN. Nothing is allocated; the quickest way to look at a book.

        Returns:
            State judged now, local time of the last book change (ns), age (ns).

        Raises:
            ValueError: ``out`` is no such array, or the symbol is not subscribed.
            FeedError: the feed belongs to the parent of this process.
        """
        return self._feed.snapshot_into(out, symbol)

    def drain(self, max_events: int = 0) -> EventBatch:
        """Take the oldest queued events, at most ``max_events`` of them; 0 takes all.

        What stays behind is news again.
        """
        return self._feed.drain(max_events)

    def stats(self) -> dict[str, int | float | str | bool]:
        """Return the feed's counters and flags; see :meth:`mm_hybrid._core.Feed.stats`."""
        return self._feed.stats()

    async def aclose(self) -> None:
        """End the feed and wait for its thread; a second call does nothing. Books stay readable."""
        if os.getpid() != self._pid:
            return  # A forked child has no thread to end, and what it unregisters its parent no longer hears.
        if (loop := self._loop) is not None:
            loop.remove_reader(self._fd)
            self._set_leads(False)
            self._loop = None
            self._has_news = False
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            # Not from within this task, which may be what wakes.
            for waiter in self._waiters:
                loop.call_soon(waiter.wake, True)
        await asyncio.to_thread(self._feed.close)
        _open_feeds.discard(self)

    async def __aenter__(self) -> Self:
        """Start the feed."""
        self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """End the feed."""
        await self.aclose()

    def _on_news(self) -> None:
        try:
            # Cleared first: news that comes from here on rings again.
            self._feed.clear()
        except FeedError:
            return  # A forked child that winds up its copy of the loop: bell and news are its parent's.
        self._wake()

    def _wake(self) -> None:
        # One that was cancelled stands here until its task has heard of it.
        waiters = [waiter for waiter in self._waiters if not waiter.done()]
        if not waiters:
            self._has_news = True
        for waiter in waiters:
            waiter.wake(True)

    def _set_leads(self, leads: bool) -> None:
        """Watch the sockets as long as this loop's thread is the one to read them."""
        if self._loop is None or leads == self._leads:
            return
        self._leads = leads
        if leads:
            self._loop.add_reader(self._feed.sockets_fileno(), self._on_sockets)
        else:
            self._loop.remove_reader(self._feed.sockets_fileno())

    def _on_sockets(self) -> None:
        try:
            has_news, leads = self._feed.turn()
        except FeedError:
            return  # A forked child; see above.
        self._set_leads(leads)
        if has_news:
            self._wake()
            if self._vigil is not None and self._loop is not None:
                self._vigil.heard()

    def _watch_slice(self, patience_us: int) -> bool:
        """A vigil's look: at the sockets alone, and only while this loop reads them and somebody waits."""
        if not self._leads or all(waiter.done() for waiter in self._waiters):
            if self._vigil is not None:
                self._vigil.end()
            return False
        has_news = False
        with suppress(FeedError):  # A forked child; see above.
            has_news = self._watch_unlocked(patience_us)
            self._set_leads(self._feed.lead())
        if has_news:
            self._wake()
        # The coroutine that woke may have closed the feed.
        return has_news and self._loop is not None

    def _watch_unlocked(self, patience_us: int) -> bool:
        """Look for news without the interpreter's lock, which the interpreter's end must wait for."""
        self._is_watching = True
        try:
            return not self._is_over and self._feed.watch(patience_us)
        finally:
            self._is_watching = False

    def _watch_deadline(self, deadline_s: float) -> None:
        """Look at the waiters no later than then. One timer serves all: most waits are over long before."""
        if self._loop is not None and (self._timer is None or deadline_s < self._timer.when()):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(deadline_s, self._on_deadline)

    def _on_deadline(self) -> None:
        self._timer = None
        if self._loop is None:
            return
        now_s = self._loop.time()
        for waiter in [waiter for waiter, deadline_s in self._waiters.items() if deadline_s <= now_s]:
            waiter.wake(False)
        if self._waiters:
            self._watch_deadline(min(self._waiters.values()))

    def _close_at_exit(self) -> None:
        if os.getpid() != self._pid:
            return  # A forked child; the thread that watches is its parent's.
        self._is_over = True
        self._feed.close()
        # A thread that came back for the lock after the interpreter's end would be ended amid code that cannot bear it.
        while self._is_watching:
            time.sleep(_EXIT_LOOK_S)


@atexit.register
def _close_open_feeds() -> None:
    for feed in list(_open_feeds):
        feed._close_at_exit()  # noqa: SLF001 -- same module
