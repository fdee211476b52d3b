"""What a person sees while a session runs: a live table on a terminal, plain lines elsewhere. All of it on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mm_hybrid.result import SessionView

PLAIN_INTERVAL_S = 5.0
REFRESH_PER_S = 4
LABEL_WIDTH = 9


class Display(AbstractContextManager["Display"]):
    """Shows a running session; choose the form by whether stderr is a terminal."""

    def __init__(self, title: str, seconds: float | None) -> None:
        self._console = Console(stderr=True)
        self._live_wanted = sys.stderr.isatty()
        self._title = title
        self._seconds = seconds
        self._started_s = time.monotonic()
        self._next_plain_s = 0.0
        self._next_refresh_s = 0.0
        self._progress = Progress(
            TextColumn("[bold]{task.description}"), BarColumn(), TimeElapsedColumn(), console=self._console
        )
        self._task = self._progress.add_task(title, total=seconds)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._live_wanted:
            self._live = Live(
                self._progress, console=self._console, refresh_per_second=REFRESH_PER_S, transient=True
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def started(self) -> None:
        """Start the progress bar's clock: trading begins now."""
        self._started_s = time.monotonic()
        self._progress.reset(self._task, total=self._seconds)

    def line(self, text: str) -> None:
        """Say one thing that happened."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def tick(self, view: SessionView) -> None:
        """Show the session as it stands; cheap enough to be called on every pass."""
        now_s = time.monotonic()
        if self._live is not None:
            if now_s >= self._next_refresh_s:
                self._next_refresh_s = now_s + 1 / REFRESH_PER_S
                self._progress.update(self._task, completed=now_s - self._started_s)
                self._live.update(Group(self._progress, _table(view)))
        elif now_s >= self._next_plain_s:
            self._next_plain_s = now_s + PLAIN_INTERVAL_S
            self.line(_plain(view, now_s - self._started_s))


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count) or "-"


def _orders_text(view: SessionView, side: str) -> str:
    orders = [f"{order.price} x {order.remaining}" for order in view.resting if order.side == side]
    return ", ".join(orders) or "-"


def _state(view: SessionView) -> str:
    return view.state if view.trading else f"{view.state}, execution waits for the venue"


def _table(view: SessionView) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2))
    for label_width in (LABEL_WIDTH, None, LABEL_WIDTH, None):
        table.add_column(no_wrap=True, min_width=label_width)
    features = view.features
    market = "-" if features is None else f"{features.best_bid:.10g} / {features.best_ask:.10g}"
    table.add_row("book", _state(view), "market", market)
    table.add_row("our bid", _orders_text(view, "buy"), "our ask", _orders_text(view, "sell"))
    table.add_row("position", str(view.position), "profit", f"{view.pnl.total:+.4f}")
    table.add_row("spread", f"{view.pnl.spread_capture:+.4f}", "inventory", f"{view.pnl.inventory:+.4f}")
    table.add_row("fees", f"{view.pnl.fees:+.4f}", "fills", str(view.fills))
    table.add_row("orders", _counts(view.orders), "advice", _counts(view.advice))
    if features is not None:
        fit = features.calibration
        table.add_row(
            "fit",
            f"A {fit.intensity_a:.3g}/s  k {fit.intensity_k:.3g}",
            "sigma",
            f"{fit.sigma:.3g} ({fit.source})",
        )
        age = "as configured" if fit.age_s is None else f"{fit.age_s * 1000:.0f} ms"
        table.add_row("drift", f"{fit.drift:+.3g} P/s", "impact", f"{fit.impact:.3g} P, age {age}")
    return table


def _plain(view: SessionView, elapsed_s: float) -> str:
    return (
        f"{elapsed_s:5.0f} s  {_state(view)}  bid {_orders_text(view, 'buy')}  ask {_orders_text(view, 'sell')}  "
        f"position {view.position}  fills {view.fills}  profit {view.pnl.total:+.4f}"
    )
