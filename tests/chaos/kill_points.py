"""Named points at which a maker kills itself with SIGKILL.

They wrap classes of the package from outside, in this process only; nothing of them ships.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
from collections.abc import Callable
from typing import Any

import aiohttp
from ccxt.async_support.base.ws.client import Client as StreamClient

from mm_hybrid.execution.account import Account
from mm_hybrid.execution.executor import Executor
from mm_hybrid.execution.gateway import Gateway
from mm_hybrid.journal import Journal, writer

from .processes import announce

CREATE_PATHS = ("/order/create", "/order/place-order", "/order/batch-place-order")


class Countdown:
    """Kills this process at the n-th occurrence of a point."""

    def __init__(self, point: str, nth: int) -> None:
        self.point = point
        self._left = nth

    def __call__(self) -> None:
        """Count one occurrence."""
        self._left -= 1
        if self._left == 0:
            announce("killed", point=self.point)
            os.kill(os.getpid(), signal.SIGKILL)


def install(point: str, nth: int) -> None:
    """Arm one point; ``random`` is the campaign's own and arms nothing here."""
    if point != "random":
        _POINTS[point](Countdown(point, nth))


def _after_journal(hit: Countdown) -> None:
    """Intents of creates are on disk, nothing has been sent."""

    def wrap(original: Any) -> Any:
        async def intents(self: Journal, wanted: Any) -> Any:
            result = await original(self, wanted)
            if any(one.action == "create" for one in wanted):
                hit()
            return result

        return intents

    _wrap(Journal, "intents", wrap)


def _after_send(hit: Countdown) -> None:
    """A create is in the kernel's hands, its reply is not here."""

    def wrap_frame(original: Any) -> Any:
        async def send(self: Any, message: Any) -> Any:
            result = await original(self, message)
            if isinstance(message, dict) and message.get("op") == "order.create":
                hit()
            return result

        return send

    def wrap(original: Any) -> Any:
        async def send(self: Any, connection: Any) -> Any:
            response = await original(self, connection)
            if any(path in str(self.url) for path in CREATE_PATHS):
                writing = getattr(self, "_writer", None)
                if writing is not None:
                    await asyncio.wait({writing})
                hit()
            return response

        return send

    _wrap(aiohttp.ClientRequest, "send", wrap)
    _wrap(StreamClient, "send", wrap_frame)


def _after_ack(hit: Countdown) -> None:
    """The venue has acknowledged a create; nobody here knows it yet."""
    for name in ("create", "create_batch"):
        _wrap(Gateway, name, functools.partial(_after, hit))


def _after_cancel(hit: Countdown) -> None:
    """The venue has acknowledged a cancel; nobody here knows it yet."""
    for name in ("cancel", "cancel_batch"):
        _wrap(Gateway, name, functools.partial(_after, hit))


def _mid_record(hit: Countdown) -> None:
    """A row is inserted, its transaction is not committed."""

    def wrap(original: Any) -> Any:
        def insert_row(connection: Any, table: str, values: Any) -> int:
            row_id: int = original(connection, table, values)
            if table in {"intent", "outcome", "fill"}:
                hit()
            return row_id

        return insert_row

    _wrap(writer, "_insert_row", wrap)


def _before_fill(hit: Countdown) -> None:
    """An execution has arrived and is written nowhere."""

    def wrap(original: Any) -> Any:
        def take_fill(self: Account, fill: Any) -> None:
            if fill.exec_id not in self.orders.exec_ids:
                hit()
            original(self, fill)

        return take_fill

    _wrap(Account, "take_fill", wrap)


def _in_recovery(hit: Countdown) -> None:
    """A start is looking at what an earlier life left; each reply of the venue counts."""
    starting = False

    def wrap_start(original: Any) -> Any:
        async def start(self: Executor, **options: Any) -> None:
            nonlocal starting
            starting = True
            await original(self, **options)
            starting = False

        return start

    def wrap_query(original: Any) -> Any:
        async def query(*args: Any, **kwargs: Any) -> Any:
            result = await original(*args, **kwargs)
            if starting:
                hit()
            return result

        return query

    _wrap(Executor, "start", wrap_start)
    for name in ("open_orders", "executions", "order", "cancel", "cancel_batch", "position"):
        _wrap(Gateway, name, wrap_query)


def _after(hit: Countdown, original: Any) -> Any:
    async def method(*args: Any, **kwargs: Any) -> Any:
        result = await original(*args, **kwargs)
        hit()
        return result

    return method


def _wrap(owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
    setattr(owner, name, wrap(getattr(owner, name)))


_POINTS: dict[str, Callable[[Countdown], None]] = {
    "after_journal": _after_journal,
    "after_send": _after_send,
    "after_ack": _after_ack,
    "after_cancel": _after_cancel,
    "mid_record": _mid_record,
    "before_fill": _before_fill,
    "in_recovery": _in_recovery,
}
