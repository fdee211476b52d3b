"""Waking a coroutine in the turn of the event loop that brings the news, not in the one after it.

A coroutine that awaits an :class:`asyncio.Future` is resumed one turn of the loop after the future was resolved, which
costs a system call and some microseconds. A task accepts any object that behaves as a future (``asyncio.isfuture``: one
with ``_asyncio_future_blocking``); this one calls it back at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
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
