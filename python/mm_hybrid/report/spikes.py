"""A page with the mid of a recorded market and the alarms it raised."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from mm_hybrid.report.read import Thinned
from mm_hybrid.report.shell import INK, drawing, figure, html_page, section, times

_COLORS = {
    "spike": "#d9534f",
    "thin": "#d98e04",
    "one_sided": "#7c5cc4",
    "volume_burst": "#2f6fdb",
    "feed_fault": "#6b7280",
}


def spikes_page(moments: Thinned[tuple[int, float | None]], document: Mapping[str, Any]) -> str:
    """Return the page as HTML.

    Args:
        moments: local time, ns, and mid, P, then; ``None`` while the book was not live.
        document: the object that ``mm-hybrid spikes --json`` prints.
    """
    chart = figure(height=430, yaxis_title="mid")
    times_ns, mids = zip(*moments.items, strict=True) if moments.seen else ((), ())
    chart.add_scatter(
        x=times(times_ns), y=list(mids), name="mid", mode="lines", line={"color": INK, "width": 1.2}
    )
    for kind, color in _COLORS.items():
        own = [one for one in document["episodes"] if one["kind"] == kind and one["mid"] is not None]
        if own:
            chart.add_scatter(
                x=times(one["start_ns"] for one in own),
                y=[one["mid"] for one in own],
                text=[escape(one["reason"]) for one in own],
                name=f"{kind} ({len(own)})",
                mode="markers",
                marker={"color": color, "size": 10},
            )
    lead = f"{len(document['episodes'])} finished episodes in {document['hours']:.2f} h"
    note = f"Every {moments.step}th of {moments.seen} moments is drawn." if moments.step > 1 else ""
    title = f"Alarms of {document['symbol']} on {document['exchange']}"
    return html_page(title, lead, section("Mid and alarms", note, drawing(chart, "chart-1")))
