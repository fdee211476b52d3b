"""The reading side of the journal: typed rows, in order, also while it is being written."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from mm_hybrid.errors import JournalError
from mm_hybrid.journal.schema import (
    SCHEMA_VERSION,
    AdviceRow,
    FillRow,
    FundingRow,
    IntentRow,
    MarkRow,
    OpeningRow,
    OutcomeRow,
    R,
    RefusalRow,
    SessionRow,
    StateRow,
    columns,
    decode_row,
    schema_version,
)


class JournalReader:
    """Reads a journal without ever writing to it.

    Each method yields the rows of one table in the order they were written; ``after_seq`` leaves out what an
    earlier call has seen, so that a live view can follow a journal that is being written.

    Raises:
        JournalError: no such file, no journal, or one of a version this package cannot read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise JournalError(f"{self.path}: no such journal")
        try:
            self._connection = sqlite3.connect(
                f"{self.path.resolve().as_uri()}?mode=ro", uri=True, timeout=5.0
            )
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: cannot read the journal: {error}") from error
        try:
            version = schema_version(self._connection)
        except (sqlite3.Error, JournalError) as error:
            self._connection.close()
            raise JournalError(f"{self.path}: cannot read the journal: {error}") from error
        if version != SCHEMA_VERSION:
            self._connection.close()
            raise JournalError(
                f"{self.path}: schema version {version}, wanted {SCHEMA_VERSION}: open it once for writing"
            )

    def sessions(self) -> list[SessionRow]:
        """Return all starts of the engine, oldest first."""
        return list(self._rows(SessionRow, "id", 0))

    def intents(self, after_seq: int = 0) -> Iterator[IntentRow]:
        """Yield what was about to be asked of the venue."""
        return self._rows(IntentRow, "seq", after_seq)

    def outcomes(self, after_seq: int = 0) -> Iterator[OutcomeRow]:
        """Yield what became of orders."""
        return self._rows(OutcomeRow, "seq", after_seq)

    def fills(self, after_seq: int = 0) -> Iterator[FillRow]:
        """Yield executions."""
        return self._rows(FillRow, "seq", after_seq)

    def funding(self, after_seq: int = 0) -> Iterator[FundingRow]:
        """Yield funding payments."""
        return self._rows(FundingRow, "seq", after_seq)

    def openings(self, after_seq: int = 0) -> Iterator[OpeningRow]:
        """Yield positions taken over as they were."""
        return self._rows(OpeningRow, "seq", after_seq)

    def marks(self, after_seq: int = 0) -> Iterator[MarkRow]:
        """Yield marked positions."""
        return self._rows(MarkRow, "seq", after_seq)

    def advice(self, after_seq: int = 0) -> Iterator[AdviceRow]:
        """Yield questions to the advisor with their answers."""
        return self._rows(AdviceRow, "seq", after_seq)

    def refusals(self, after_seq: int = 0) -> Iterator[RefusalRow]:
        """Yield refusals of the risk checks."""
        return self._rows(RefusalRow, "seq", after_seq)

    def states(self, after_seq: int = 0) -> Iterator[StateRow]:
        """Yield changes of state."""
        return self._rows(StateRow, "seq", after_seq)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _rows(self, row_type: type[R], key: str, after: int) -> Iterator[R]:
        names = ", ".join(columns(row_type))
        sql = f"SELECT {names} FROM {row_type.table} WHERE {key} > ? ORDER BY {key}"  # noqa: S608
        try:
            for values in self._connection.execute(sql, (after,)):
                yield decode_row(row_type, values)
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: cannot read the journal: {error}") from error
