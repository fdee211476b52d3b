"""A page with the mid of a recorded market and the alarms it raised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from plotly import graph_objects as go

_COLORS = {
    "spike": "#d9534f",
    "thin": "#d98e04",
    "one_sided": "#7c5cc4",
    "volume_burst": "#2f6fdb",
    "feed_fault": "#6b7280",
}


def write_page(
    path: Path, times_ns: Sequence[int], mids: Sequence[float | None], document: Mapping[str, Any]
) -> None:
    """Write the plot as one page that needs no network.

    Args:
        path: where to; overwritten.
        times_ns: local times, ns.
        mids: mid at each of them, P; ``None`` while the book was not live.
        document: exchange, symbol and episodes as ``mm-hybrid spikes`` prints them.
    """
    figure = go.Figure()
    moments = np.array(times_ns, dtype="datetime64[ns]")
    figure.add_scattergl(x=moments, y=list(mids), name="mid", mode="lines", line={"color": "#1f2937"})
    for kind, color in _COLORS.items():
        own = [one for one in document["episodes"] if one["kind"] == kind and one["mid"] is not None]
        if own:
            figure.add_scatter(
                x=np.array([one["start_ns"] for one in own], dtype="datetime64[ns]"),
                y=[one["mid"] for one in own],
                text=[one["reason"] for one in own],
                name=f"{kind} ({len(own)})",
                mode="markers",
                marker={"color": color, "size": 10},
            )
    figure.update_layout(title=f"{document['exchange']} {document['symbol']}", template="plotly_white")
    figure.write_html(path, include_plotlyjs=True)
