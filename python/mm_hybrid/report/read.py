"""One pass over a journal: every sum of a report, and thinned series for its drawings.

Profit is worked out here from fills and marked mids alone, independently of what the engine wrote into its
marks; :attr:`Session.engine_difference` says how far the two are apart. Sums take every row; only
drawings are thinned.
"""

from __future__ import annotations

import heapq
import os
from array import array
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from mm_hybrid.errors import JournalError
from mm_hybrid.journal import (
    AdviceRow,
    FillRow,
    FundingRow,
    IntentRow,
    JournalReader,
    MarkRow,
    OutcomeRow,
    SessionRow,
    StateRow,
)
from mm_hybrid.report.account import Account
from mm_hybrid.report.advising import Advising
from mm_hybrid.report.hour import LastHour

T = TypeVar("T")

MAX_POINTS = 4000
"""Points of one drawn line, at most twice as many before the next thinning."""

_LAST_ROWS = 200
_NOT_YET_ANSWERED = frozenset({"INTENT", "SENT", "PENDING_UNKNOWN"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One mark as it is drawn: prices and quote-currency profit as floats, NaN where absent."""

    ts_ns: int
    mid: float
    bid_quote: float
    ask_quote: float
    position: float
    spread_capture: float
    inventory: float
    fees: float
    funding: float
    total: float


class Thinned(Generic[T]):
    """Keeps every n-th item and the last one, with n doubled whenever too many have gathered."""

    def __init__(self, limit: int = MAX_POINTS) -> None:
        self.step = 1
        self.seen = 0
        self._limit = limit
        self._kept: list[T] = []
        self._last: list[T] = []

    def add(self, item: T) -> None:
        """Take the next item."""
        if self.seen % self.step == 0:
            self._kept.append(item)
            self._last = []
            if len(self._kept) > 2 * self._limit:
                self._kept = self._kept[::2]
                self.step *= 2
        else:
            self._last = [item]
        self.seen += 1

    @property
    def items(self) -> list[T]:
        """What is left to draw, in order."""
        return self._kept + self._last


@dataclass(slots=True, kw_only=True)
class Session:
    """What a journal says, summed up.

    Latencies are milliseconds from handing an intent to the journal to the venue's first answer.
    Spreads are full spreads in bps of mid, one per mark that had both sides.
    """

    path: Path
    sessions: list[SessionRow]
    account: Account = field(default_factory=Account)
    points: Thinned[Point] = field(default_factory=Thinned)
    fills: Thinned[FillRow] = field(default_factory=Thinned)
    marks: int = 0
    quoted_marks: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    quoted_spread_bps: array[float] = field(default_factory=lambda: array("d"))
    market_spread_bps: array[float] = field(default_factory=lambda: array("d"))
    latency_ms: dict[str, array[float]] = field(default_factory=dict)
    actions: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    book_states: Counter[str] = field(default_factory=Counter)
    advising: Advising = field(default_factory=Advising)
    hour: LastHour = field(default_factory=LastHour)
    advice: deque[AdviceRow] = field(default_factory=lambda: deque(maxlen=_LAST_ROWS))
    states: deque[StateRow] = field(default_factory=lambda: deque(maxlen=_LAST_ROWS))
    engine_difference: Decimal | None = None

    @property
    def seconds(self) -> float:
        """Time between the first and the last mark or fill."""
        if self.first_ns is None or self.last_ns is None:
            return 0.0
        return (self.last_ns - self.first_ns) / 1e9


def read_session(path: str | os.PathLike[str]) -> Session:
    """Read a journal, also one that is being written, and sum it up.

    Raises:
        JournalError: it cannot be read, or no session ever started in it.
    """
    with JournalReader(path) as reader:
        sessions = reader.sessions()
        if not sessions:
            raise JournalError(f"{path}: the journal holds no session: there is nothing to report")
        session = Session(path=Path(path), sessions=sessions)
        for start in sessions:
            session.hour.start(start)
            session.advising.weight.start(start)
        _read_profit(session, reader)
        _read_orders(session, reader)
        session.refusals.update(row.reason for row in reader.refusals())
        for state in reader.states():
            session.states.append(state)
            session.advising.take_state(state)
            session.hour.state(state)
        for advice in reader.advice():
            session.advising.take(advice)
            session.advice.append(advice)
    return session


def summary(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the numbers of a report as JSON values, recomputed from the rows of the journal.

    Raises:
        JournalError: the journal cannot be read, or no session ever started in it.
    """
    return summarise(read_session(path))


def summarise(session: Session) -> dict[str, Any]:
    """Return the numbers of a report as JSON values; money in quote currency, quantities in base units."""
    account = session.account
    first = session.sessions[0]
    return {
        "journal": str(session.path),
        "mode": first.mode,
        "exchange": first.exchange,
        "symbol": first.symbol,
        "sessions": len(session.sessions),
        "seconds": session.seconds,
        "marks": session.marks,
        "fills": account.buys + account.sells,
        "buys": account.buys,
        "sells": account.sells,
        "maker_fills": account.maker_fills,
        "traded_quote": float(account.traded_quote),
        "position": float(account.qty),
        "adopted_position": float(account.adopted_qty),
        "max_position": float(account.max_position),
        "mid": None if account.mid is None else float(account.mid),
        "pnl": account.parts(),
        "max_drawdown": float(account.max_drawdown),
        "pnl_per_traded_bps": float(account.total / account.traded_quote * 10_000)
        if account.traded_quote
        else None,
        "engine_difference": None if session.engine_difference is None else float(session.engine_difference),
        "quoted_share": session.quoted_marks / session.marks if session.marks else None,
        "mean_quoted_spread_bps": _mean(session.quoted_spread_bps),
        "mean_market_spread_bps": _mean(session.market_spread_bps),
        "intents": dict(session.actions),
        "outcomes": dict(session.outcomes),
        "refusals": dict(session.refusals),
        "advice": dict(session.advising.outcomes),
        "advisor": session.advising.numbers(),
        "last_hour": session.hour.numbers(),
        "latency_ms": {action: _percentiles(values) for action, values in sorted(session.latency_ms.items())},
    }


def _read_profit(session: Session, reader: JournalReader) -> None:
    account = session.account
    starts = deque(row.started_ns for row in session.sessions)
    marks: Iterator[MarkRow | FillRow | FundingRow] = reader.marks()
    for row in heapq.merge(marks, reader.fills(), reader.funding(), key=_stamp):
        while starts and row.ts_ns >= starts[0]:
            starts.popleft()
            account.start_session()
        if session.first_ns is None:
            session.first_ns = row.ts_ns
        session.last_ns = row.ts_ns
        if isinstance(row, FillRow):
            account.fill(row)
            session.fills.add(row)
            session.hour.fill(row)
            continue
        if isinstance(row, FundingRow):
            account.fund(row)
            continue
        account.mark(row)
        session.hour.mark(row)
        _take_mark(session, row)
        # A restarted engine counts from nothing, so only a single start can be compared.
        if len(session.sessions) == 1 and row.mid is not None:
            session.engine_difference = row.total - account.total


def _take_mark(session: Session, row: MarkRow) -> None:
    account = session.account
    session.marks += 1
    session.book_states[row.book_state] += 1
    if row.mid is not None and row.bid_quote is not None and row.ask_quote is not None:
        session.quoted_marks += 1
        session.quoted_spread_bps.append(float((row.ask_quote - row.bid_quote) / row.mid * 10_000))
    if row.mid is not None and row.best_bid is not None and row.best_ask is not None:
        session.market_spread_bps.append(float((row.best_ask - row.best_bid) / row.mid * 10_000))
    parts = account.parts()
    session.points.add(
        Point(
            ts_ns=row.ts_ns,
            mid=_number(row.mid),
            bid_quote=_number(row.bid_quote),
            ask_quote=_number(row.ask_quote),
            position=float(account.qty),
            spread_capture=parts["spread_capture"],
            inventory=parts["inventory"],
            fees=parts["fees"],
            funding=parts["funding"],
            total=parts["total"],
        )
    )


def _read_orders(session: Session, reader: JournalReader) -> None:
    waiting: dict[int, tuple[int, str]] = {}
    cancels: dict[str, int] = {}
    intents: Iterator[IntentRow | OutcomeRow] = reader.intents()
    for row in heapq.merge(intents, reader.outcomes(), key=_stamp):
        if isinstance(row, IntentRow):
            session.actions[row.action] += 1
            waiting[row.seq] = (row.ts_ns, row.action)
            if row.action == "cancel" and row.client_id is not None:
                cancels.setdefault(row.client_id, row.seq)
            continue
        session.outcomes[row.state] += 1
        if row.state in _NOT_YET_ANSWERED or row.source == "local":
            continue
        # The venue confirms a cancel by the order's end, which names the order and not the request.
        seq = cancels.pop(row.client_id or "", None) if row.state == "CANCELED" else row.intent_seq
        if seq in waiting:
            sent_ns, action = waiting.pop(seq)
            session.latency_ms.setdefault(action, array("d")).append((row.ts_ns - sent_ns) / 1e6)


def _stamp(row: MarkRow | FillRow | FundingRow | IntentRow | OutcomeRow) -> int:
    return row.ts_ns


def _number(value: Decimal | None) -> float:
    return float("nan") if value is None else float(value)


def _mean(values: array[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _percentiles(values: array[float]) -> dict[str, float]:
    p50, p90, p99 = np.percentile(values, (50, 90, 99))
    return {
        "n": len(values),
        "p50": float(p50),
        "p90": float(p90),
        "p99": float(p99),
        "max": float(max(values)),
    }
