"""Writing cancels ahead without making them wait for the disk.

A create is on disk before it is sent, however long that takes. A cancel is different: it can be repeated, it can only
lower the exposure, and an order that rests because a disk is slow costs money. It waits a moment and goes out; its
record follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from mm_hybrid.errors import JournalError
from mm_hybrid.journal import Intent

CANCEL_WAIT_S = 0.2
"""How long cancels wait for their intents to be on disk."""


class IntentJournal(Protocol):
    """What writing ahead needs of a journal."""

    async def intents(self, intents: Sequence[Intent]) -> list[int]:
        """Write intents and return their sequence numbers once they are on disk."""
        ...


async def note_cancels(
    journal: IntentJournal,
    intents: Sequence[Intent],
    *,
    failed: Callable[[JournalError], None] = lambda _error: None,
    within_s: float = CANCEL_WAIT_S,
) -> list[int | None]:
    """Hand cancels to the journal and return their sequence numbers, ``None`` for what is not on disk in time.

    Args:
        journal: takes the intents.
        intents: the cancels.
        failed: told if they could not be written, then or later.
        within_s: how long to wait.
    """

    def done(task: asyncio.Task[list[int]]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, JournalError):
            failed(error)

    writing = asyncio.create_task(journal.intents(intents), name="mm-note-cancels")
    writing.add_done_callback(done)
    await asyncio.wait({writing}, timeout=within_s)
    if not writing.done() or writing.cancelled() or writing.exception() is not None:
        return [None] * len(intents)
    return list(writing.result())
