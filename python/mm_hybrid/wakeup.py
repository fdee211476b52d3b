"""Waking a coroutine soon: in the turn of the event loop that brings the news, by a loop that did not go to sleep.

A coroutine that awaits an :class:`asyncio.Future` is resumed one turn of the loop after the future was resolved, which
costs a system call and some microseconds. A task accepts any object that behaves as a future (``asyncio.isfuture``: one
with ``_asyncio_future_blocking``); this one calls it back at once.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Generator
from contextvars import Context
from pathlib import Path
from typing import Any


class Waiter:
    """One coroutine's wait for a yes or no; for one task, in one event loop.

    Args:
        loop: the running event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = False
        self._loop = loop
        self._answer: bool | None = None
        self._cancelled: asyncio.CancelledError | None = None
        self._resume: Callable[[Any], object] | None = None
        self._context: Context | None = None

    def wake(self, answer: bool) -> None:
        """Resume the coroutine now, with ``answer``; for callbacks of the event loop only, never out of a task.

        Does nothing when it was resumed or cancelled already.
        """
        if self._answer is not None or self._cancelled is not None:
            return
        self._answer = answer
        if self._resume is not None and self._context is not None:
            self._context.run(self._resume, self)

    def __await__(self) -> Generator[Any, None, bool]:
        """Wait for :meth:`wake`."""
        if not self.done():
            self._asyncio_future_blocking = True
            yield self
        return self.result()

    # What a task asks of a future.

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop."""
        return self._loop

    def add_done_callback(self, fn: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Remember how to resume the task."""
        self._resume, self._context = fn, context if context is not None else Context()

    def remove_done_callback(self, fn: Callable[[Any], object]) -> int:
        """Forget how to resume the task."""
        removed = int(self._resume == fn)
        if removed:
            self._resume = None
        return removed

    def done(self) -> bool:
        """Return whether the wait is over."""
        return self._answer is not None or self._cancelled is not None

    def cancelled(self) -> bool:
        """Return whether the wait was cancelled."""
        return self._cancelled is not None

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the wait; the task learns of it in the next turn of the loop, as of any future's end."""
        if self.done():
            return False
        self._cancelled = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        if self._resume is not None:
            self._loop.call_soon(self._resume, self, context=self._context)
        return True

    def result(self) -> bool:
        """Return the answer.

        Raises:
            asyncio.CancelledError: the wait was cancelled.
            asyncio.InvalidStateError: it is not over.
        """
        if self._cancelled is not None:
            raise self._cancelled
        if self._answer is None:
            raise asyncio.InvalidStateError("the wait is not over")
        return self._answer

    def exception(self) -> BaseException | None:
        """Return what the wait failed with: it never fails.

        Raises:
            asyncio.CancelledError: the wait was cancelled.
        """
        if self._cancelled is not None:
            raise self._cancelled
        return None


class Vigil:
    """Keeps an event loop from sleeping while news comes thick.

    A processor that went idle takes 20 to 60 us to wake. So where the last eight pieces of news or so came close
    together, the loop watches for the next instead of waiting in its selector: a slice at a time, without the
    interpreter's lock, so that other threads run as while it sleeps. Between two slices it serves everything else,
    which waits for one slice at most: of several vigils in a loop only one watches at a time. This takes up the idle
    time of one processor while it lasts. A loop that has to queue for its processor sleeps as usual for a while, longer
    each time.

    Args:
        watch: looks for news for at most so many microseconds, passes it on, and returns whether there was some.
        loop: the running event loop.
        longest_gap_us: news is thick while the mean time between two pieces of it is below; 0 always sleeps.
    """

    SLICE_US = 50
    SILENCE_GAPS = 8
    """A silence counts as this many longest gaps at most, which is enough to end the thick of it."""
    OVERDUE_GAPS = 4
    """Mean gaps without news after which the loop sleeps again."""
    CHECK_EVERY_S = 0.01
    """Time watched between two looks at how long this thread had to queue for a processor."""
    MAX_CHECK_AGE_S = 1.0
    """A look longer ago says nothing about now."""
    MAX_QUEUED_SHARE = 0.4
    """Time that this thread may queue between two looks, as a share of the time watched."""
    MIN_REST_S = 1.0
    MAX_REST_S = 60.0

    def __init__(
        self, watch: Callable[[int], bool], loop: asyncio.AbstractEventLoop, longest_gap_us: int
    ) -> None:
        self._watch = watch
        self._loop = loop
        self._longest_gap_s = longest_gap_us * 1e-6
        self._gap_s = 2 * self._longest_gap_s
        self._is_kept = False
        self._ends_s = -math.inf
        now_s = time.monotonic()
        self._heard_s = self._turned_s = now_s
        self._rest_s, self._rests_until_s = self.MIN_REST_S, now_s
        self._checked_s, self._watched_s, self._queued_s = -math.inf, 0.0, 0.0

    def heard(self) -> None:
        """Count a piece of news, and watch for the next if it is to come soon."""
        now_s = time.monotonic()
        gap_s = min(now_s - self._heard_s, self.SILENCE_GAPS * self._longest_gap_s)
        self._gap_s += (gap_s - self._gap_s) / 8
        self._heard_s = now_s
        if self._gap_s >= self._longest_gap_s or now_s < self._rests_until_s:
            return
        self._ends_s = now_s + self.OVERDUE_GAPS * self._gap_s
        if not self._is_kept and self._is_alone():
            self._is_kept, _thread.vigil = True, self
            self._turned_s = now_s
            if now_s - self._checked_s > self.MAX_CHECK_AGE_S:
                self._begin_check(now_s)
            self._loop.call_soon(self._turn)

    def end(self) -> None:
        """Let the loop sleep until there is news again."""
        self._ends_s = -math.inf

    def _is_alone(self) -> bool:
        other: Vigil | None = getattr(_thread, "vigil", None)
        # One whose loop was closed amid it has no more turns.
        return other is None or other._loop is not self._loop  # noqa: SLF001 -- same class

    def _turn(self) -> None:
        if self._watch(self.SLICE_US):
            self.heard()
        now_s = time.monotonic()
        self._watched_s += now_s - self._turned_s
        self._turned_s = now_s
        if self._watched_s >= self.CHECK_EVERY_S:
            self._check(now_s)
        if now_s < self._ends_s:
            self._loop.call_soon(self._turn)
        else:
            self._is_kept, _thread.vigil = False, None

    def _check(self, now_s: float) -> None:
        """End the vigil if this thread had to queue for a processor, or was throttled, since the last look."""
        watched_s, queued_s = self._watched_s, self._queued_s
        self._begin_check(now_s)
        if self._queued_s - queued_s > self.MAX_QUEUED_SHARE * watched_s:
            self.end()
            self._rests_until_s = now_s + self._rest_s
            self._rest_s = min(2 * self._rest_s, self.MAX_REST_S)
        elif now_s - self._rests_until_s > self._rest_s:
            self._rest_s = self.MIN_REST_S

    def _begin_check(self, now_s: float) -> None:
        self._checked_s, self._watched_s, self._queued_s = now_s, 0.0, _queued_s()


_thread = threading.local()
"""The vigil that watches in this thread's event loop, if one does."""


def _queued_s() -> float:
    """Return how long this thread was ready to run and had no processor (Linux: ``schedstat`` in proc(5)), else 0."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_bytes().split()[1]) * 1e-9
    except OSError:
        return 0.0
