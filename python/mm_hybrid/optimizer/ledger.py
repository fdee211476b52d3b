"""What advice has cost, on disk: a restart does not forget what was spent today.

One SQLite file of its own, which several sessions may share. The worst case of a call is written before the call is
sent and settled after it; a call that a crash interrupted stays at its worst case, since the provider may bill it. The
shape of reply a service was found to keep (see :mod:`mm_hybrid.optimizer.prepare`) is remembered here too.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mm_hybrid.errors import JournalError

DAY_NS = 86_400 * 1_000_000_000
KEPT_DAYS = 400
"""Older calls are deleted when the ledger is opened."""

OPEN_BUSY_S = 2.0
"""Wait for another session's write while the file is opened."""

BUSY_S = 0.025
"""The same later on: the event loop waits with it, and a write takes far less."""

_VERSION = 2
_TABLES = """
CREATE TABLE IF NOT EXISTS call(id INTEGER PRIMARY KEY, ts_ns INTEGER NOT NULL, model TEXT NOT NULL, usd REAL NOT NULL,
    tokens INTEGER NOT NULL, settled INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 1);
CREATE INDEX IF NOT EXISTS call_ts ON call(ts_ns);
CREATE TABLE IF NOT EXISTS profile(base_url TEXT NOT NULL, model TEXT NOT NULL, response_format TEXT NOT NULL,
    probed_ns INTEGER NOT NULL, detail TEXT NOT NULL, PRIMARY KEY(base_url, model));
"""
_FROM_VERSION_1 = "ALTER TABLE call ADD COLUMN attempts INTEGER NOT NULL DEFAULT 1;"


class Spent(NamedTuple):
    """Sums over calls; a retry is an attempt of its own."""

    usd: float
    tokens: int
    attempts: int


class Ledger:
    """Calls and what they cost. Every method raises :class:`JournalError` when the file cannot be used.

    Args:
        path: the file, created if absent; ``None`` keeps it in memory.
        now_ns: the time now, for deleting what is old.

    Raises:
        JournalError: the file cannot be opened or belongs to a newer version.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, now_ns: int = 0) -> None:
        self.path = None if path is None else Path(path)
        try:
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path or ":memory:", isolation_level=None, timeout=OPEN_BUSY_S)
            version = self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise JournalError(f"{path}: cannot open the ledger of advice: {error}") from error
        if version > _VERSION:
            raise JournalError(
                f"{path}: ledger version {version}, this package knows {_VERSION}: upgrade mm_hybrid"
            )
        self._forget_old(now_ns)

    def _prepare(self) -> int:
        """Make the tables, or bring those of an earlier version up to date; return the version found, else ours."""
        deadline_s = time.monotonic() + OPEN_BUSY_S
        while True:
            try:
                # A killed process loses nothing; a power cut may lose the last calls, never the file.
                self._db.execute("PRAGMA journal_mode = WAL")
                break
            except (
                sqlite3.OperationalError
            ):  # another session does the same, and nothing waits for that by itself
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.01)
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("BEGIN IMMEDIATE")
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version < _VERSION:
            change = _TABLES if version == 0 else _FROM_VERSION_1
            for statement in filter(str.strip, change.split(";")):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")
        self._db.execute("COMMIT")
        self._db.execute(f"PRAGMA busy_timeout = {round(BUSY_S * 1000)}")
        return max(version, _VERSION)

    def _forget_old(self, now_ns: int) -> None:
        """Delete calls that are old, also by the newest call: a clock that runs ahead for once forgets nothing."""
        newest_ns = self._run("SELECT coalesce(max(ts_ns), 0) FROM call").fetchone()[0]
        self._run("DELETE FROM call WHERE ts_ns < ?", min(now_ns, newest_ns) - KEPT_DAYS * DAY_NS)

    def _run(self, sql: str, *values: object) -> sqlite3.Cursor:
        try:
            return self._db.execute(sql, values)
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: the ledger of advice cannot be used now: {error}") from error

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other sessions from writing, so that what is read here still holds when something is written.

        Raises:
            JournalError: another session writes and does not end.
        """
        self._run("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._run("ROLLBACK")
            raise
        self._run("COMMIT")

    def reserve(self, ts_ns: int, model: str, usd: float, tokens: int, attempts: int) -> int:
        """Write the worst case of a call and return its number."""
        sql = "INSERT INTO call(ts_ns, model, usd, tokens, attempts) VALUES(?, ?, ?, ?, ?)"
        return int(self._run(sql, ts_ns, model, usd, tokens, attempts).lastrowid or 0)

    def settle(self, number: int, usd: float, tokens: int, attempts: int) -> None:
        """Write what a call did cost."""
        sql = "UPDATE call SET usd = ?, tokens = ?, attempts = ?, settled = 1 WHERE id = ?"
        self._run(sql, usd, tokens, attempts, number)

    def drop(self, number: int) -> None:
        """Take back a reservation of a call that was never sent."""
        self._run("DELETE FROM call WHERE id = ?", number)

    def spent(self, since_ns: int, until_ns: int) -> Spent:
        """Return the sums over calls with ``since_ns <= time < until_ns``, reserved ones at their worst case."""
        sql = (
            "SELECT coalesce(sum(usd), 0), coalesce(sum(tokens), 0), coalesce(sum(attempts), 0) FROM call "
            "WHERE ts_ns >= ? AND ts_ns < ?"
        )
        usd, tokens, attempts = self._run(sql, since_ns, until_ns).fetchone()
        return Spent(float(usd), int(tokens), int(attempts))

    def profile(self, base_url: str, model: str) -> str | None:
        """Return the shape of reply a service was found to keep."""
        sql = "SELECT response_format FROM profile WHERE base_url = ? AND model = ?"
        row = self._run(sql, base_url, model).fetchone()
        return None if row is None else str(row[0])

    def remember_profile(
        self, base_url: str, model: str, response_format: str, now_ns: int, detail: str
    ) -> None:
        """Remember what a probe found."""
        sql = "INSERT OR REPLACE INTO profile VALUES(?, ?, ?, ?, ?)"
        self._run(sql, base_url, model, response_format, now_ns, detail)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._db.close()
