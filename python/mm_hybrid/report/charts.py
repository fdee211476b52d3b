"""The charts of a report, as plotly figures."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from html import escape
from typing import Any

import numpy as np

from mm_hybrid.optimizer.base import BAND
from mm_hybrid.report.advising import Advising
from mm_hybrid.report.read import Point, Session
from mm_hybrid.report.shell import GRID as _GRID
from mm_hybrid.report.shell import INK as _INK
from mm_hybrid.report.shell import Figure
from mm_hybrid.report.shell import figure as _figure
from mm_hybrid.report.shell import times as _times

_BUY = "#0f9d8a"
_SELL = "#d9534f"
_BID = "#7cc6bb"
_ASK = "#eba6a3"
_PARTS = {
    "spread_capture": ("Spread capture", "#0f9d8a"),
    "inventory": ("Inventory", "#7c5cc4"),
    "fees": ("Fees", "#d98e04"),
    "funding": ("Funding", "#6b7280"),
}
_ACTIONS = {"create": "#2f6fdb", "amend": "#7c5cc4", "cancel": "#d98e04", "cancel_all": "#6b7280"}
_BINS = 40


def charts(session: Session) -> list[tuple[str, str, Figure]]:
    """Return title, one line of explanation and figure of each chart that has something to show."""
    base, quote = _currencies(session)
    shown: list[tuple[str, str, Figure]] = []
    if session.points.seen:
        shown += [
            ("Prices, quotes and fills", _thinned_note(session), _prices(session, quote)),
            ("Inventory", f"Position after every fill, {escape(base)}.", _inventory(session, base)),
            (
                "Profit and its parts",
                "The parts add up to the total at every moment.",
                _equity(session, quote),
            ),
        ]
    if session.quoted_spread_bps or session.market_spread_bps:
        note = "Full spread over mid at every mark with both sides."
        shown.append(("Spreads", note, _spreads(session)))
    if session.latency_ms:
        note = "From handing an intent to the journal to the venue's first answer, disk and network included."
        shown.append(("Order latency", note, _latencies(session)))
    return shown


def advisor_charts(advising: Advising) -> list[tuple[str, str, Figure]]:
    """Return title, one line of explanation and figure of what an advisor told and took."""
    shown: list[tuple[str, str, Figure]] = []
    if advising.ratio_ts_ns:
        figure = _figure(yaxis_title="advice / model", height=260)
        times = _times(advising.ratio_ts_ns)
        for name, values, color in (("Bid", advising.ratio_bid, _BUY), ("Ask", advising.ratio_ask, _SELL)):
            figure.add_scatter(
                x=times, y=np.array(values), name=name, mode="markers", marker={"color": color, "size": 5}
            )
        for bound in BAND:
            figure.add_hline(y=bound, line={"color": _GRID, "dash": "dash"})
        note = (
            f"Half-spread told over the model's; outside {BAND[0]:g} to {BAND[1]:g} (dashed) it is clamped."
        )
        shown.append(("Advice over the model", note, figure))
    if advising.latency_ms:
        figure = _figure(xaxis_title="ms", yaxis_title="questions", height=240, showlegend=False)
        figure.add_histogram(x=np.array(advising.latency_ms), nbinsx=_BINS, marker={"color": "#7c5cc4"})
        shown.append(
            ("Latency of answers", "From the question to the whole answer, or to giving up.", figure)
        )
    spent_at_ns, spent_usd = advising.spend()
    if spent_usd.size and spent_usd[-1] > 0:
        figure = _figure(yaxis_title="USD", height=220, showlegend=False)
        line = {"color": "#d98e04", "width": 1.6, "shape": "hv"}
        figure.add_scatter(x=_times(spent_at_ns), y=spent_usd, mode="lines", line=line)
        shown.append(
            (
                "Spend",
                "Charged so far; answers without a usage block that can be true at their worst case.",
                figure,
            )
        )
    return shown


def _prices(session: Session, quote: str) -> Figure:
    points = session.points.items
    times = _times(point.ts_ns for point in points)
    figure = _figure(yaxis_title=quote, height=430)
    for name, key, color in (("Own ask", "ask_quote", _ASK), ("Own bid", "bid_quote", _BID)):
        line = {"color": color, "width": 1.2, "shape": "hv"}
        figure.add_scatter(x=times, y=_column(points, key), name=name, mode="lines", line=line)
    figure.add_scatter(
        x=times, y=_column(points, "mid"), name="Mid", mode="lines", line={"color": _INK, "width": 1.2}
    )
    for side, color, symbol in (("buy", _BUY, "triangle-up"), ("sell", _SELL, "triangle-down")):
        fills = [fill for fill in session.fills.items if fill.side == side]
        figure.add_scatter(
            x=_times(fill.ts_ns for fill in fills),
            y=np.array([float(fill.price) for fill in fills]),
            text=[
                escape(f"{fill.qty} at {fill.price}, {'maker' if fill.is_maker else 'taker'}")
                for fill in fills
            ],
            name=f"{side.capitalize()} fill",
            mode="markers",
            hovertemplate="%{text}<br>%{x}<extra>" + side + "</extra>",
            marker={"color": color, "symbol": symbol, "size": 10, "line": {"color": "white", "width": 1}},
        )
    return figure


def _inventory(session: Session, base: str) -> Figure:
    points = session.points.items
    figure = _figure(yaxis_title=base, height=260, showlegend=False)
    line = {"color": "#7c5cc4", "width": 1.4, "shape": "hv"}
    times = _times(point.ts_ns for point in points)
    positions = _column(points, "position")
    figure.add_scatter(x=times, y=positions, name="Position", mode="lines", line=line, fill="tozeroy")
    return figure


def _equity(session: Session, quote: str) -> Figure:
    points = session.points.items
    times = _times(point.ts_ns for point in points)
    figure = _figure(yaxis_title=quote, height=360)
    for key, (name, color) in _PARTS.items():
        values = _column(points, key)
        if key == "funding" and not values.any():
            continue
        figure.add_scatter(x=times, y=values, name=name, mode="lines", line={"color": color, "width": 1.4})
    total = {"color": _INK, "width": 2.4}
    figure.add_scatter(x=times, y=_column(points, "total"), name="Total", mode="lines", line=total)
    return figure


def _spreads(session: Session) -> Figure:
    figure = _figure(xaxis_title="bps of mid", yaxis_title="marks", barmode="overlay", height=300)
    both = (
        ("Market", session.market_spread_bps, "#9ca3af"),
        ("Own quotes", session.quoted_spread_bps, "#2f6fdb"),
    )
    edges = _edges([values for _, values, _ in both], np.linspace)
    for name, values, color in both:
        if values:
            _add_histogram(figure, name, np.histogram(values, edges)[0], edges, color)
    return figure


def _latencies(session: Session) -> Figure:
    figure = _figure(xaxis_title="milliseconds", yaxis_title="requests", barmode="overlay", height=300)
    edges = _edges(list(session.latency_ms.values()), np.geomspace)
    figure.update_xaxes(type="log")
    for action, values in sorted(session.latency_ms.items()):
        name = f"{escape(action)} (median {np.median(values):.1f} ms)"
        _add_histogram(figure, name, np.histogram(values, edges)[0], edges, _ACTIONS.get(action, _INK))
    return figure


def _add_histogram(figure: Figure, name: str, counts: Any, edges: Any, color: str) -> None:
    figure.add_bar(
        x=(edges[:-1] + edges[1:]) / 2,
        y=counts,
        width=np.diff(edges),
        name=name,
        opacity=0.65,
        marker={"color": color, "line": {"width": 0}},
        hovertemplate="%{x:.3g}: %{y}<extra></extra>",
    )


def _edges(samples: list[array[float]], space: Callable[..., Any]) -> Any:
    """Return common bin edges for all samples; zero and below share the first bin of a logarithmic axis."""
    values = np.concatenate([np.asarray(sample) for sample in samples])
    low, high = float(values.min()), float(values.max())
    if space is np.geomspace:
        low = max(low, 1e-3)
        high = max(high, low)
        return np.geomspace(low * 0.95, high * 1.05, _BINS + 1)
    margin = (high - low) * 0.02 or max(abs(high), 1.0) * 0.05
    return np.linspace(low - margin, high + margin, _BINS + 1)


def _column(points: list[Point], name: str) -> Any:
    return np.array([getattr(point, name) for point in points], dtype="float64")


def _currencies(session: Session) -> tuple[str, str]:
    instrument = json.loads(session.sessions[0].instrument_json)
    return str(instrument.get("base", "base")), str(instrument.get("quote", "quote"))


def _thinned_note(session: Session) -> str:
    notes = []
    if session.points.step > 1:
        notes.append(f"every {session.points.step}th of {session.points.seen} marks is drawn")
    if session.fills.step > 1:
        notes.append(f"every {session.fills.step}th of {session.fills.seen} fills is drawn")
    return "Own quotes as they stood at each mark" + "".join(f"; {note}" for note in notes) + "."
