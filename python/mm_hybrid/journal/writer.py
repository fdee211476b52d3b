"""The journal's writer thread: group commits to SQLite, and the promise that a failure is final."""

from __future__ import annotations

import asyncio
import fcntl
import queue
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mm_hybrid.errors import JournalError
from mm_hybrid.journal.schema import STAMPED_TABLES, migrate

Rows = list[tuple[str, dict[str, Any]]]
"""Rows to insert together: table and values by column."""


@dataclass(slots=True)
class _Work:
    """One hand-over to the thread and, if someone waits for its commit, the future."""

    rows: Rows
    waiter: asyncio.Future[list[int]] | None = None
    stop: bool = False


class Writer:
    """Owns the connection and the thread.

    Args:
        path: the SQLite file; its folder is created.
        linger_s: seconds rows nobody waits for may gather before they are committed.

    Attributes:
        last_ts_ns: the largest stamp found when the file was opened.
        last_epoch: the largest boot epoch found then.
        subject: mode, exchange and symbol of the latest session found then.
        failure: why writing stopped for good, or ``None``.
    """

    def __init__(self, path: Path, *, linger_s: float) -> None:
        self.path = path
        self.failure: JournalError | None = None
        self._linger_s = linger_s
        self._closed = False
        self._queue: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self._lock = _lock(path)
        try:
            self._connection = _open(path)
        except JournalError:
            self._lock.close()
            raise
        self.last_ts_ns, self.last_epoch = _high_water(self._connection)
        self.subject: tuple[str, str, str] | None = self._connection.execute(
            "SELECT mode, exchange, symbol FROM session ORDER BY id DESC LIMIT 1"
        ).fetchone()
        self._thread = threading.Thread(target=self._run, name="mm-journal", daemon=True)
        self._thread.start()

    def put(self, rows: Rows) -> None:
        """Queue rows nobody waits for.

        Raises:
            JournalError: writing has failed before, or the writer is closed.
        """
        self._check()
        self._queue.put(_Work(rows))

    async def commit(self, rows: Rows) -> list[int]:
        """Queue rows and return their row ids once they and all queued before are on disk.

        Raises:
            JournalError: they are not.
        """
        self._check()
        waiter: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._queue.put(_Work(rows, waiter))
        return await waiter

    async def close(self) -> None:
        """Write what is queued, close the file and end the thread; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(_Work([], stop=True))
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
        if self.failure is not None:
            raise self.failure

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure
        if self._closed:
            raise JournalError(f"{self.path}: journal is closed")

    def _run(self) -> None:
        stop = False
        while not stop:
            batch = self._gather()
            stop = any(work.stop for work in batch)
            results: list[list[int]] = []
            if self.failure is None:
                try:
                    results = self._insert(batch)
                except (
                    Exception
                ) as error:  # Whatever it is: a thread that ended unseen would keep everyone waiting.
                    what = str(error) if isinstance(error, sqlite3.Error) else repr(error)
                    self.failure = JournalError(f"{self.path}: cannot write the journal: {what}")
            for i, work in enumerate(batch):
                if work.waiter is not None:
                    _settle(work.waiter, results[i] if self.failure is None else self.failure)
        self._connection.close()
        self._lock.close()

    def _gather(self) -> list[_Work]:
        """Take the next work; unless someone waits for it, give more of it a moment to arrive."""
        batch = [self._queue.get()]
        deadline = time.monotonic() + self._linger_s
        while True:
            urgent = any(work.waiter is not None or work.stop for work in batch)
            try:
                left = deadline - time.monotonic()
                block = not urgent and left > 0
                batch.append(self._queue.get(block=block, timeout=left if block else None))
            except queue.Empty:
                return batch

    def _insert(self, batch: list[_Work]) -> list[list[int]]:
        results: list[list[int]] = []
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            for work in batch:
                seqs = [_insert_row(self._connection, table, values) for table, values in work.rows]
                results.append(seqs)
        return results


def _insert_row(connection: sqlite3.Connection, table: str, values: dict[str, Any]) -> int:
    names = ", ".join(values)
    marks = ", ".join("?" * len(values))
    again = " ON CONFLICT(exec_id) DO NOTHING" if table in {"fill", "funding"} else ""
    sql = f"INSERT INTO {table}({names}) VALUES({marks}){again}"
    return int(connection.execute(sql, [_writable(value) for value in values.values()]).lastrowid or 0)


def _writable(value: Any) -> Any:
    """Return a value as SQLite takes it: half a surrogate pair, which a venue's text may have, is no Unicode."""
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _settle(waiter: asyncio.Future[list[int]], result: list[int] | JournalError) -> None:
    def settle() -> None:
        if waiter.done():
            return
        if isinstance(result, JournalError):
            waiter.set_exception(result)
        else:
            waiter.set_result(result)

    try:
        waiter.get_loop().call_soon_threadsafe(settle)
    except RuntimeError:
        return  # The loop is gone, and with it everyone who could have waited.


def _lock(path: Path) -> IO[bytes]:
    """Keep a second session off the journal; the system lets go of the lock when this process ends, however it ends.

    Raises:
        JournalError: another session writes it, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_name(f"{path.name}.lock").open("ab")
    except OSError as error:
        raise JournalError(f"{path}: cannot open the journal: {error}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise JournalError(
            f"{path}: another session is writing this journal; choose another output folder"
        ) from error
    return file


def _open(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5.0)
    except (OSError, sqlite3.Error) as error:
        raise JournalError(f"{path}: cannot open the journal: {error}") from error
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        migrate(connection)
    except sqlite3.Error as error:
        connection.close()
        raise JournalError(f"{path}: cannot open the journal: {error}") from error
    except JournalError as error:
        connection.close()
        raise JournalError(f"{path}: {error}") from None
    return connection


def _high_water(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the largest stamp and boot epoch already there."""
    tables = ", ".join(f"(SELECT max(ts_ns) FROM {table})" for table in STAMPED_TABLES)  # noqa: S608
    sql = f"SELECT (SELECT max(started_ns) FROM session), {tables}"  # noqa: S608
    stamps = connection.execute(sql).fetchone()
    epoch = connection.execute("SELECT max(boot_epoch) FROM session").fetchone()[0]
    return max((s for s in stamps if s is not None), default=0), epoch or 0
