"""Cancels are written ahead, but only for a moment."""

import asyncio
from collections.abc import Sequence

from mm_hybrid.errors import JournalError
from mm_hybrid.execution.ahead import note_cancels
from mm_hybrid.journal import Intent

CANCELS = [Intent(action="cancel", client_id=f"c{i}") for i in range(2)]


class Disk:
    """A journal that takes its time, and may fail then."""

    def __init__(self, takes_s: float, error: JournalError | None = None) -> None:
        self._takes_s = takes_s
        self._error = error
        self.written: list[str | None] = []

    async def intents(self, intents: Sequence[Intent]) -> list[int]:
        await asyncio.sleep(self._takes_s)
        if self._error is not None:
            raise self._error
        self.written += [intent.client_id for intent in intents]
        return [7, 8]


async def test_what_is_on_disk_in_time_has_its_number():
    assert await note_cancels(Disk(0.0), CANCELS) == [7, 8]


async def test_a_slow_disk_delays_a_cancel_for_a_moment_and_the_record_follows():
    disk = Disk(0.1)
    assert await note_cancels(disk, CANCELS, within_s=0.01) == [None, None]
    assert disk.written == []
    await asyncio.sleep(0.2)
    assert disk.written == ["c0", "c1"]


async def test_a_failure_is_told_in_time_or_late_and_never_raised():
    for takes_s in (0.0, 0.1):
        told: list[JournalError] = []
        disk = Disk(takes_s, JournalError("no disk"))
        assert await note_cancels(disk, CANCELS, failed=told.append, within_s=0.01) == [None, None]
        await asyncio.sleep(0.2)
        assert [str(error) for error in told] == ["no disk"]
