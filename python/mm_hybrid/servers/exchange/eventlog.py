"""Everything that happens to the account, in one SQLite file: the state survives the server, others can check it.

One table ``event`` in the sequence of booking, one table ``meta`` with what the exchange lists and charges. Rows are
committed before the reply or push that tells of them is written to a socket. ``synchronous=NORMAL`` in WAL mode keeps
a committed row through the death of the process; a power loss may take the last ones.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mm_hybrid.errors import ServerError
from mm_hybrid.servers.exchange.wire import Fields

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS event(
    seq INTEGER PRIMARY KEY, ts_ns INTEGER NOT NULL, kind TEXT NOT NULL,
    order_id TEXT, client_id TEXT, body TEXT NOT NULL);
"""
_INSERT = "INSERT INTO event(ts_ns, kind, order_id, client_id, body) VALUES (?, ?, ?, ?, ?)"


@dataclass(slots=True)
class LoggedEvent:
    """One row; ``body`` may still be completed until the commit."""

    ts_ns: int
    kind: str
    order_id: str | None
    client_id: str | None
    body: Fields


class EventLog:
    """The append-only log; without a path it keeps nothing.

    Raises:
        ServerError: the file cannot be used, or belongs to another exchange; says which setting differs.
    """

    def __init__(self, path: Path | None, meta: dict[str, str]) -> None:
        self._path = path
        self._pending: list[LoggedEvent] = []
        self._database: sqlite3.Connection | None = None
        self._lock: int | None = None
        if path is None:
            return
        try:
            self._lock = _lock(path)
            self._database = sqlite3.connect(path, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.executescript(_SCHEMA)
            self._check(meta)
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise ServerError(f"cannot use the state file {path}: {error}") from error
        except ServerError:
            self.close()
            raise

    def _check(self, meta: dict[str, str]) -> None:
        """Write the settings of a new file; compare those of an old one."""
        known = self.meta()
        for key in ("venue", "symbol", "base", "quote", "tick_size", "lot_size", "spot"):
            if key in known and known[key] != meta[key]:
                raise ServerError(
                    f"the state file {self._path} is of an exchange with {key} {known[key]}, not {meta[key]}: "
                    "choose another file"
                )
        # The wallet began with what the file says, whatever the setting is by now.
        self.set_meta({**meta, **{key: known[key] for key in ("balance", "setup") if key in known}})

    def meta(self) -> dict[str, str]:
        """Return all settings in the file; none without a file."""
        if self._database is None:
            return {}
        return dict(self._database.execute("SELECT key, value FROM meta"))

    def set_meta(self, values: dict[str, str]) -> None:
        """Write settings at once."""
        if self._database is not None:
            self._write("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(values.items()))

    def events(self) -> Iterator[LoggedEvent]:
        """Iterate over what earlier runs wrote, oldest first.

        Raises:
            ServerError: a row cannot be read; names it.
        """
        if self._database is None:
            return
        rows = self._database.execute(
            "SELECT seq, ts_ns, kind, order_id, client_id, body FROM event ORDER BY seq"
        )
        for seq, ts_ns, kind, order_id, client_id, body in rows:
            try:
                fields = json.loads(body)
            except ValueError as error:
                raise ServerError(f"the state file {self._path}, event {seq}: no JSON: {error}") from error
            yield LoggedEvent(ts_ns, kind, order_id, client_id, fields)

    def append(
        self,
        kind: str,
        ts_ns: int,
        body: Fields,
        *,
        order_id: str | None = None,
        client_id: str | None = None,
    ) -> LoggedEvent:
        """Add a row to the next commit and return it."""
        event = LoggedEvent(ts_ns, kind, order_id, client_id, body)
        if self._database is not None:
            self._pending.append(event)
        return event

    def commit(self) -> None:
        """Write what was appended, as one transaction; what cannot be written stays for the next try.

        Raises:
            sqlite3.Error: the file cannot be written; nothing is to be told to anybody.
        """
        if self._database is None or not self._pending:
            return
        rows = [
            (one.ts_ns, one.kind, one.order_id, one.client_id, json.dumps(one.body, separators=(",", ":")))
            for one in self._pending
        ]
        self._write(_INSERT, rows)
        self._pending.clear()

    def _write(self, sql: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Write rows as one transaction: all of them or, with the error raised, none."""
        if self._database is None:
            return
        with self._database:
            self._database.execute("BEGIN")
            self._database.executemany(sql, rows)

    def close(self) -> None:
        """Commit and close; later rows go nowhere."""
        if self._database is not None:
            self.commit()
            self._database.close()
            self._database = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _lock(path: Path) -> int:
    """Keep other servers off the file for as long as this process lives; return the descriptor to close."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ServerError(f"the state file {path} is in use by another exchange: stop that one") from error
    return descriptor
