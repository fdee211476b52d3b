"""The tables of a report; every text from the journal is escaped."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from html import escape
from typing import Any

from mm_hybrid.journal import AdviceRow, StateRow


def count_table(counts: Counter[str], heading: str) -> str:
    """Return a table of counts, largest first."""
    return _table(
        (heading, "count"), [(name, f"{count:,}") for name, count in counts.most_common()], right={1}
    )


def latency_table(latencies: dict[str, dict[str, float]]) -> str:
    """Return percentiles of latencies by action, in milliseconds."""
    keys = ("n", "p50", "p90", "p99", "max")
    rows = [
        (action, f"{values['n']:,}", *(f"{values[key]:,.2f}" for key in keys[1:]))
        for action, values in latencies.items()
    ]
    return _table(("action", *keys), rows, right={1, 2, 3, 4, 5})


def advice_table(advice: deque[AdviceRow]) -> str:
    """Return the last answers of the advisor beside what the closed form had, newest first."""
    headings = (
        "time",
        "outcome",
        "bid, bps",
        "ask, bps",
        "closed form bid",
        "closed form ask",
        "ms",
        "detail",
    )
    rows = [
        (
            _time(row.ts_ns),
            row.outcome,
            _number(row.bid_half_bps, 3),
            _number(row.ask_half_bps, 3),
            _number(row.base_bid_half_bps, 3),
            _number(row.base_ask_half_bps, 3),
            _number(row.latency_ms, 1),
            row.detail,
        )
        for row in reversed(advice)
    ]
    return _table(headings, rows, right={2, 3, 4, 5, 6})


def state_table(states: deque[StateRow]) -> str:
    """Return the last changes of state, newest first."""
    rows = [(_time(row.ts_ns), row.what, row.value, row.detail) for row in reversed(states)]
    return _table(("time", "what", "value", "detail"), rows)


def _table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], right: AbstractSet[int] = frozenset()
) -> str:
    rows = list(rows)
    if not rows:
        return "<p>None.</p>"
    head = _row(headings, "th", right)
    body = "".join(_row(row, "td", right) for row in rows)
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def _row(cells: Sequence[Any], tag: str, right: AbstractSet[int]) -> str:
    inner = "".join(
        f"<{tag}{' class=n' if index in right else ''}>{escape(str(cell))}</{tag}>"
        for index, cell in enumerate(cells)
    )
    return f"<tr>{inner}</tr>"


def _time(ts_ns: int) -> str:
    return datetime.fromtimestamp(ts_ns / 1e9, UTC).strftime("%H:%M:%S.%f")[:-3]


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
