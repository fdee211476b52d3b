"""How far a long operation is: a bar on a terminal, a line now and then elsewhere. All of it on stderr."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

QUIET_S = 2.0
"""An operation shorter than this says nothing."""
PLAIN_INTERVAL_S = 2.0


class LongOperation(AbstractContextManager["LongOperation"]):
    """Shows the progress of one operation; cheap enough to be told often.

    Args:
        title: what is being done.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._console = Console(stderr=True)
        self._started_s = time.monotonic()
        self._next_plain_s = self._started_s + QUIET_S
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[detail]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(title, total=None, detail="")

    def __enter__(self) -> Self:
        """Show the bar."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: float, total: float | None, detail: str) -> None:
        """Tell how much of how much is done (``None``: nobody knows), and a few words."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, detail=detail)
            return
        now_s = time.monotonic()
        if now_s >= self._next_plain_s:
            self._next_plain_s = now_s + PLAIN_INTERVAL_S
            share = f"{done / total:4.0%}  " if total else ""
            self.line(f"{self._title}: {share}{detail}")

    def on_bytes(self, done_bytes: int, total_bytes: int, lines: int) -> None:
        """Tell the progress of a replay of files, as the core reports it."""
        self.update(
            done_bytes,
            total_bytes,
            f"{lines:,} lines, {done_bytes / 1e6:,.0f} of {total_bytes / 1e6:,.0f} MB",
        )

    def line(self, text: str) -> None:
        """Say one thing that happened."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
