"""Waking a coroutine soon: in the turn of the event loop that brings the news, by a loop that did not go to sleep.

A coroutine that awaits an :class:`asyncio.Future` is resumed one turn of the loop after the future was resolved, which
costs a system call and some microseconds. A task accepts any object that behaves as a future (``asyncio.isfuture``: one
with ``_asyncio_future_blocking``); this one calls it back at once.
"""

from __future__ import annotations

import asyncio
import math
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

    A processor that went idle takes 20 to 60 us to wake, and what a sleep of a few times that saves is little. So the
    loop looks at everything it serves again and again until the next news or until it is late, one turn of the loop at
    a time: no other callback waits longer for that. It costs the idle time of one processor while the news is thick,
    and nothing when it is not. Where others want that processor, which goes to whoever slept, the loop sleeps as it
    likes for a while.

    Args:
        loop: the running event loop.
        longest_gap_us: news is thick when the mean time between the last of it is below; 0 always sleeps.
    """

    OVERDUE_GAPS = 4
    """Mean times without news after which the loop sleeps again."""
    CHECK_EVERY_S = 0.01
    MAX_QUEUED_SHARE = 0.4
    """Share of the time this thread may wait for a processor that others have."""
    REST_S = 1.0
    """How long the loop sleeps as it likes after it waited for longer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, longest_gap_us: int) -> None:
        self._loop = loop
        self._longest_gap_s = longest_gap_us * 1e-6
        self._gap_s = 2 * self._longest_gap_s
        self._heard_s = loop.time()
        self._keeps = False
        self._ends_s = self._rests_until_s = self._heard_s
        self._checked_s, self._queued_s = -math.inf, 0.0

    def heard(self) -> None:
        """Count news, and keep the loop awake for the next."""
        now_s = self._loop.time()
        # The mean of the last eight or so. A silence counts as just long enough to end the vigil.
        gap_s = min(now_s - self._heard_s, 2 * self._longest_gap_s)
        self._gap_s += (gap_s - self._gap_s) / 8
        self._heard_s = now_s
        if self._gap_s < self._longest_gap_s and now_s >= self._rests_until_s:
            self._ends_s = now_s + self.OVERDUE_GAPS * self._gap_s
            if not self._keeps:
                self._keeps = True
                self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        now_s = self._loop.time()
        if now_s - self._checked_s >= self.CHECK_EVERY_S:
            self._check(now_s)
        self._keeps = now_s < self._ends_s
        if self._keeps:
            self._loop.call_soon(self._turn)

    def _check(self, now_s: float) -> None:
        """End the vigil if this thread had to queue for a processor since the last check, which was not long ago."""
        queued_s, elapsed_s = _queued_s(), now_s - self._checked_s
        if (
            self.MAX_QUEUED_SHARE * elapsed_s < queued_s - self._queued_s
            and elapsed_s < 2 * self.CHECK_EVERY_S
        ):
            self._ends_s, self._rests_until_s = now_s, now_s + self.REST_S
        self._checked_s, self._queued_s = now_s, queued_s


def _queued_s() -> float:
    """Return how long this thread was ready to run and had no processor (Linux: ``schedstat`` in proc(5))."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_bytes().split()[1]) * 1e-9
    except OSError:
        return 0.0
