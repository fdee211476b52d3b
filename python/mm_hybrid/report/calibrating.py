"""The page of a calibration: how the exponential fits, where it holds, volatility by horizon, parameters over time."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from html import escape
from typing import Any

import numpy as np

from mm_hybrid.report.shell import GRID, INK, Figure, drawing, figure, html_page, section

_FIT = "#2f6fdb"
_RANGE = "#0f9d8a"
_SIGMA = "#7c5cc4"
FEWEST_ORDERS = 25
"""Before so many orders the errors are above a fifth: not drawn."""

_HELD = "rgba(15, 157, 138, 0.10)"


def calibration_page(found: dict[str, Any]) -> str:
    """Return the page of a calibration (the object that ``mm-hybrid calibrate --json`` prints) as HTML."""
    parts = [
        (
            "Fit of the intensity",
            (
                "Market orders beyond a depth, per second and side, with two standard errors. The estimate is "
                "A exp(-k depth); the shade is where an exponential passes the test of fit, with its own line."
            ),
            _intensity(found),
        ),
        (
            "Volatility by horizon",
            "Realised with two standard errors, exponentially forgetting, and two-scale, P per root second.",
            _volatility(found),
        ),
        (
            "A and k over time",
            "As a session would have known them at each moment, with two standard errors.",
            _over_time(found),
        ),
    ]
    drawings = "".join(
        section(heading, note, drawing(chart, f"chart-{index}"))
        for index, (heading, note, chart) in enumerate(parts, start=1)
        if chart is not None
    )
    title = f"Calibration of {found['symbol']} on {found['exchange']}"
    body = f'<div class="cards">{_cards(found)}</div>\n{_warnings(found)}{drawings}'
    return html_page(title, _lead(found), body)


def _lead(found: dict[str, Any]) -> str:
    first, last = (
        datetime.fromtimestamp(found[key] / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")
        for key in ("first_local_ts_ns", "last_local_ts_ns")
    )
    facts = (
        f"{first} to {last} UTC",
        f"{found['seconds']:,.1f} s of readable book",
        f"tick {found['tick_size']:g}",
        f"P is quote currency per base, mid {found['mid_price']:,.8g}",
    )
    return escape(" · ".join(facts))


def _cards(found: dict[str, Any]) -> str:
    fit, volatility, held = found["intensity"], found["volatility"], found["range"]
    cards = [
        ("A, orders per s and side", f"{fit['a']:.4g} ± {fit['sd_a']:.2g}"),
        ("k, 1/P", f"{fit['k']:.4g} ± {fit['sd_k']:.2g}"),
        ("1/k, bps of mid", f"{fit['depth_bps']:.3g}"),
        ("Volatility now, P/√s", f"{volatility['sigma']:.4g}"),
        ("Per minute, bps", f"{volatility['sigma_1m_bps']:.3g}"),
        ("Orders beyond the touch", f"{found['orders']:,} of {found['market_orders']:,}"),
    ]
    if held is not None:
        cards.append(("k where it holds, 1/P", f"{held['k']:.4g} ± {held['sd_k']:.2g}"))
        cards.append(("Test of fit there, p", f"{held['p_value']:.2g}"))
    return "".join(
        f'<div class="card"><span>{escape(name)}</span><b>{escape(value)}</b></div>' for name, value in cards
    )


def _warnings(found: dict[str, Any]) -> str:
    if not found["warnings"]:
        return section("Warnings", "None.", "")
    rows = "".join(
        f"<tr><td>{escape(warning['kind'])}</td><td class=wide>{escape(warning['text'])}</td></tr>"
        for warning in found["warnings"]
    )
    return section(
        "Warnings", "What speaks against believing these numbers, and why.", f"<table>{rows}</table>"
    )


def _intensity(found: dict[str, Any]) -> Figure | None:
    bins = found["bins"]
    if bins is None:
        return None
    edges, counts = np.array(bins["edges"][:-1]), np.array(bins["counts"])
    beyond = counts[::-1].cumsum()[::-1]
    held = beyond > 0
    depth, rate = edges[held], beyond[held] / bins["side_seconds"]
    # Of a Poisson count n the logarithm has the error 1/sqrt(n).
    error = 2 / np.sqrt(beyond[held])
    chart = figure(xaxis_title="depth from mid, P", yaxis_title="ln rate, 1/s and side", height=420)
    chart.add_scatter(
        x=depth,
        y=np.log(rate),
        error_y={"type": "data", "array": error, "color": "#9ca3af", "thickness": 1},
        mode="markers",
        name="Market orders",
        marker={"color": INK, "size": 6},
    )
    last = float(depth[-1]) * 1.05
    _line(chart, "Estimate", found["intensity"], (0.0, last), {"color": _FIT, "width": 2})
    comparison = found["intensity"]["comparison"] or {}
    for name, dash in (("wls", "dash"), ("ols", "dot")):
        line = comparison.get(name)
        if line is not None:
            fit = {"a": line["intensity_a"], "k": line["intensity_k"]}
            _line(chart, name.upper(), fit, (0.0, last), {"color": "#9ca3af", "width": 1.2, "dash": dash})
    where = found["range"]
    if where is not None:
        span = (where["from"], last if where["to"] is None else where["to"])
        chart.add_vrect(x0=span[0], x1=span[1], fillcolor=_HELD, line_width=0, layer="below")
        _line(chart, "Where it holds", where, span, {"color": _RANGE, "width": 2.4})
    return chart


def _line(
    chart: Figure, name: str, fit: dict[str, Any], span: tuple[float, float], line: dict[str, Any]
) -> None:
    depth = np.array(span)
    chart.add_scatter(x=depth, y=math.log(fit["a"]) - fit["k"] * depth, name=name, mode="lines", line=line)


def _volatility(found: dict[str, Any]) -> Figure | None:
    known = [entry for entry in found["volatility"]["horizons"] if entry["realized"] is not None]
    if not known:
        return None
    horizons = [entry["horizon_s"] for entry in known]
    chart = figure(xaxis_title="horizon, s", yaxis_title="P per root second", height=300)
    chart.update_xaxes(type="log", tickvals=horizons)
    chart.add_scatter(
        x=horizons,
        y=[entry["realized"] for entry in known],
        error_y={"type": "data", "array": [2 * entry["sd_realized"] for entry in known], "thickness": 1},
        name="Realised",
        mode="lines+markers",
        line={"color": _SIGMA, "width": 1.6},
    )
    for key, name, color in (
        ("ewma", "Forgetting, at the end", "#d98e04"),
        ("two_scale", "Two-scale", _RANGE),
    ):
        told = [(entry["horizon_s"], entry[key]) for entry in known if entry[key] is not None]
        if told:
            chart.add_scatter(
                x=[horizon for horizon, _ in told],
                y=[value for _, value in told],
                name=name,
                mode="markers",
                marker={"color": color, "size": 8},
            )
    return chart


def _over_time(found: dict[str, Any]) -> Figure | None:
    trace = found["trace"]
    known = [i for i, orders in enumerate(trace["orders"]) if orders >= FEWEST_ORDERS]
    if len(known) < 2:
        return None
    times = np.array([trace["local_ts_ns"][i] for i in known], dtype="int64").astype("datetime64[ns]")
    times = times.astype("datetime64[us]")
    chart = figure(yaxis_title="A, 1/s", height=360)
    chart.update_layout(
        margin={"r": 70},
        yaxis2={"title": "k, 1/P", "overlaying": "y", "side": "right", "gridcolor": GRID, "showgrid": False},
    )
    a, k = (np.array([trace[name][i] for i in known]) for name in ("intensity_a", "intensity_k"))
    se_a = np.array([trace["se_log_a"][i] for i in known])
    se_k = np.array([trace["se_k"][i] for i in known])
    bands = (
        ("A", a, a * np.exp(-2 * se_a), a * np.exp(2 * se_a), _FIT, "rgba(47, 111, 219, 0.12)", "y"),
        ("k", k, np.maximum(k - 2 * se_k, 0), k + 2 * se_k, _RANGE, "rgba(15, 157, 138, 0.12)", "y2"),
    )
    for name, value, low, high, color, shade, axis in bands:
        chart.add_scatter(
            x=np.concatenate([times, times[::-1]]),
            y=np.concatenate([high, low[::-1]]),
            fill="toself",
            fillcolor=shade,
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            yaxis=axis,
        )
        chart.add_scatter(
            x=times, y=value, name=name, mode="lines", line={"color": color, "width": 1.6}, yaxis=axis
        )
    return chart
