"""Signals of the command line: only here does the package touch them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any


class Interrupt:
    """Set by Ctrl-C or SIGTERM; whoever runs the session watches :attr:`event`."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.received = False

    def _on_signal(self) -> None:
        self.received = True
        self.event.set()

    def install(self) -> None:
        """Take over SIGINT and SIGTERM in the running event loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)


def run_until_stopped(make: Any) -> tuple[Any, bool]:
    """Run ``make(stop_event)`` and return its result and whether a signal asked it to stop.

    A signal only sets the event: the coroutine cancels its orders, closes and returns by itself.
    """

    async def body() -> tuple[Any, bool]:
        interrupt = Interrupt()
        interrupt.install()
        work: Coroutine[Any, Any, Any] = make(interrupt.event)
        return await work, interrupt.received

    return asyncio.run(body())
