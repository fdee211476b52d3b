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
    """Return the last answers of the advisor beside what the model had, newest first."""
    headings = (
        *("time", "outcome", "bid, bps", "ask, bps", "model bid", "model ask", "bid / model", "ask / model"),
        *("limit", "anomaly", "ms", "USD", "detail"),
    )

    def ratio(told: float | None, base: float | None) -> str:
        return _number(told / base if told is not None and base else None, 2)

    rows = [
        (
            time_of_day(row.ts_ns),
            row.outcome,
            _number(row.bid_half_bps, 3),
            _number(row.ask_half_bps, 3),
            _number(row.base_bid_half_bps, 3),
            _number(row.base_ask_half_bps, 3),
            ratio(row.bid_half_bps, row.base_bid_half_bps),
            ratio(row.ask_half_bps, row.base_ask_half_bps),
            _number(row.position_limit, 3),
            row.anomaly or "",
            _number(row.latency_ms, 1),
            _number(row.cost_usd, 5),
            row.detail,
        )
        for row in reversed(advice)
    ]
    return _table(headings, rows, right={2, 3, 4, 5, 6, 7, 8, 10, 11})


def reason_table(reasons: Counter[tuple[str, str]]) -> str:
    """Return why questions ended as they did, the most frequent reason first; # stands for a number."""
    rows = [(outcome, f"{count:,}", reason) for (outcome, reason), count in reasons.most_common(50)]
    return _table(("outcome", "times", "reason"), rows, right={1})


def hour_table(hour: dict[str, Any]) -> str:
    """Return the kinds of market and the mark-outs of the last hour."""
    rows = [(f"regime {name}", f"{share:.1%}") for name, share in hour["regimes"].items()]
    rows += [
        (f"mid after {horizon} s, {values['n']} fills", f"{values['mean']:+.3f} bps")
        for horizon, values in hour["markout_bps"].items()
    ]
    return _table(("measure", "value"), rows, right={1})


def state_table(states: deque[StateRow]) -> str:
    """Return the last changes of state, newest first."""
    rows = [(time_of_day(row.ts_ns), row.what, row.value, row.detail) for row in reversed(states)]
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


def time_of_day(ts_ns: int) -> str:
    """Return a moment, ns since the epoch, as its time of day, UTC."""
    return datetime.fromtimestamp(ts_ns / 1e9, UTC).strftime("%H:%M:%S.%f")[:-3]


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
