"""One stream of events, shared by every connection."""

from __future__ import annotations

import asyncio
import gzip
from collections import deque
from pathlib import Path
from typing import IO, cast

from mm_hybrid._core import Books, EventBatch
from mm_hybrid.servers.tardis.options import Request


class Recorder:
    """Appends messages to an NDJSON file, gzip if its name ends in ``.gz``."""

    def __init__(self, path: Path) -> None:
        opened = gzip.open(path, "ab") if path.suffix == ".gz" else path.open("ab")  # noqa: SIM115  (closed by close)
        self._file = cast("IO[bytes]", opened)

    def write(self, batch: EventBatch) -> None:
        """Append the messages of a batch."""
        for row in batch.encode():
            self._file.write(row[4] + b"\n")

    def close(self) -> None:
        """Flush and close the file."""
        self._file.close()


class Listener:
    """What one connection still has to be sent, as WebSocket frames."""

    def __init__(self, request: Request, max_backlog_bytes: int) -> None:
        self.overflowed = asyncio.Event()
        self.failure: str | None = None
        self._outbox = request.outbox(live=True)
        self._max_backlog_bytes = max_backlog_bytes
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._news = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._finished = False

    def offer(self, batch: EventBatch, *, may_drop: bool = True) -> None:
        """Queue what was asked for of a batch; past the bound the connection is given up, if it may be."""
        frames = self._outbox.frames(batch)
        if not frames:
            return
        self._waiting.append(frames)
        self._waiting_bytes += len(frames)
        if may_drop and self._waiting_bytes > self._max_backlog_bytes:
            self.overflowed.set()
        if self._waiting_bytes > self._max_backlog_bytes // 2:
            self._has_room.clear()
        self._news.set()

    def finish(self, failure: str | None = None) -> None:
        """Let ``take`` end once everything queued was taken; ``failure`` says why, if the source broke."""
        self.failure = failure
        self._finished = True
        self._news.set()

    async def take(self) -> bytes | None:
        """Return the next frames, or ``None`` after the last."""
        while not self._waiting:
            if self._finished:
                return None
            self._news.clear()
            await self._news.wait()
        frames = self._waiting.popleft()
        self._waiting_bytes -= len(frames)
        if self._waiting_bytes <= self._max_backlog_bytes // 2:
            self._has_room.set()
        return frames

    async def room(self) -> None:
        """Return once at most half of the bound is waiting, or the connection is given up."""
        await self._has_room.wait()

    def leave(self) -> None:
        """Nobody takes any more: hold nobody up."""
        self._has_room.set()


class Hub:
    """Hands each event to every listener that asked for it, and keeps the books a newcomer starts from."""

    def __init__(self, *, max_backlog_bytes: int, recorder: Recorder | None) -> None:
        self._max_backlog_bytes = max_backlog_bytes
        self._recorder = recorder
        self._recording = False
        self._listeners: set[Listener] = set()
        self._books = Books()
        self._local_ts_ns = 0
        self._finished = False
        self._joined = asyncio.Condition()

    async def wait_for_listeners(self, count: int) -> None:
        """Return once so many listeners are there."""
        async with self._joined:
            await self._joined.wait_for(lambda: len(self._listeners) >= count)

    async def join(self, request: Request) -> Listener:
        """Add a listener; it starts with a snapshot of each current book it asked for."""
        listener = Listener(request, self._max_backlog_bytes)
        snapshots = self._snapshots()
        listener.offer(snapshots)
        if self._recorder is not None and not self._recording:
            self._recording = True
            self._recorder.write(snapshots)
        self._listeners.add(listener)
        if self._finished:
            listener.finish()
        async with self._joined:
            self._joined.notify_all()
        return listener

    def leave(self, listener: Listener) -> None:
        """Remove a listener."""
        self._listeners.discard(listener)
        listener.leave()

    def absorb(self, batch: EventBatch, local_ts_ns: int) -> None:
        """Bring the books forward to a local time with events that nobody gets."""
        self._books.apply(batch)
        self._local_ts_ns = local_ts_ns

    def publish(self, batch: EventBatch, *, may_drop: bool = True) -> None:
        """Apply the events to the books and hand them out; ``may_drop``: give up listeners that fall behind."""
        self._books.apply(batch)
        self._local_ts_ns = max(self._local_ts_ns, batch.last_local_ts_ns)
        if self._recorder is not None and self._recording:
            self._recorder.write(batch)
        for listener in self._listeners:
            listener.offer(batch, may_drop=may_drop)

    async def room(self) -> None:
        """Return once no listener is far behind."""
        for listener in list(self._listeners):
            await listener.room()

    def finish(self) -> None:
        """Tell every listener, present and future, that nothing follows."""
        self._finished = True
        for listener in self._listeners:
            listener.finish()

    def fail(self, reason: str) -> None:
        """Tell every listener that the source broke."""
        for listener in self._listeners:
            listener.finish(reason)

    def close(self) -> None:
        """Close the recording."""
        if self._recorder is not None:
            self._recorder.close()
            self._recorder = None

    def _snapshots(self) -> EventBatch:
        books = self._books
        messages = (books.snapshot_message(*market, self._local_ts_ns) for market in books.symbols())
        return EventBatch.decode([message for message in messages if message is not None])
