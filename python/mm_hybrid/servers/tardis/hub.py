"""One stream of events, shared by every connection."""

from __future__ import annotations

import asyncio
import gzip
from collections import deque
from pathlib import Path
from typing import IO, cast

from mm_hybrid._core import Books, EventBatch
from mm_hybrid.servers.tardis.options import Request

Row = tuple[int, str, str, str, bytes]
"""Local time in ns, exchange, symbol, type, JSON message."""


class Recorder:
    """Appends messages to an NDJSON file, gzip if its name ends in ``.gz``."""

    def __init__(self, path: Path) -> None:
        opened = gzip.open(path, "ab") if path.suffix == ".gz" else path.open("ab")  # noqa: SIM115  (closed by close)
        self._file = cast("IO[bytes]", opened)

    def write(self, message: bytes) -> None:
        """Append one message."""
        self._file.write(message + b"\n")

    def close(self) -> None:
        """Flush and close the file."""
        self._file.close()


class Listener:
    """What one connection still has to be sent."""

    def __init__(self, request: Request, max_backlog_bytes: int) -> None:
        self.request = request
        self.overflowed = asyncio.Event()
        self.failure: str | None = None
        self._max_backlog_bytes = max_backlog_bytes
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._news = asyncio.Event()
        self._finished = False

    def offer(self, row: Row) -> None:
        """Queue a message if it was asked for; past the bound the connection is given up."""
        _, exchange, symbol, message_type, message = row
        for _ in range(self.request.copies(exchange, symbol, message_type)):
            self._waiting.append(message)
            self._waiting_bytes += len(message)
        if self._waiting_bytes > self._max_backlog_bytes:
            self.overflowed.set()
        self._news.set()

    def finish(self, failure: str | None = None) -> None:
        """Let ``take`` end once everything queued was taken; ``failure`` says why, if the source broke."""
        self.failure = failure
        self._finished = True
        self._news.set()

    async def take(self) -> bytes | None:
        """Return the next message, or ``None`` after the last."""
        while not self._waiting:
            if self._finished:
                return None
            self._news.clear()
            await self._news.wait()
        message = self._waiting.popleft()
        self._waiting_bytes -= len(message)
        return message


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
        for row in snapshots:
            listener.offer(row)
        if self._recorder is not None and not self._recording:
            self._recording = True
            for row in snapshots:
                self._recorder.write(row[4])
        self._listeners.add(listener)
        if self._finished:
            listener.finish()
        async with self._joined:
            self._joined.notify_all()
        return listener

    def leave(self, listener: Listener) -> None:
        """Remove a listener."""
        self._listeners.discard(listener)

    def absorb(self, batch: EventBatch, local_ts_ns: int) -> None:
        """Bring the books forward to a local time with events that nobody gets."""
        self._books.apply(batch)
        self._local_ts_ns = local_ts_ns

    def publish(self, batch: EventBatch) -> None:
        """Apply the events to the books and hand them out."""
        self.publish_rows(batch, batch.encode())

    def publish_rows(self, batch: EventBatch, rows: list[Row]) -> None:
        """Do what ``publish`` does, for a batch encoded already."""
        self._books.apply(batch)
        for row in rows:
            self._local_ts_ns = row[0]
            if self._recorder is not None and self._recording:
                self._recorder.write(row[4])
            for listener in self._listeners:
                listener.offer(row)

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

    def _snapshots(self) -> list[Row]:
        rows: list[Row] = []
        for exchange, symbol in self._books.symbols():
            message = self._books.snapshot_message(exchange, symbol, self._local_ts_ns)
            if message is not None:
                rows.append((self._local_ts_ns, exchange, symbol, "book_change", message))
        return rows
