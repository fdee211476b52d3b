"""What every page of this package is made of: one HTML file that needs nothing else, sections and drawings."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

import numpy as np
import plotly.io
from plotly import graph_objects as go
from plotly.offline import get_plotlyjs

Figure = Any

INK = "#1f2937"
GRID = "#e5e7eb"

# No address may be asked for anything; the browser enforces what the page promises.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:"
)

_STYLE = """
:root { --ink: #1f2937; --soft: #6b7280; --line: #e5e7eb; --good: #0b7a6b; --bad: #b93632; }
* { box-sizing: border-box; }
body { margin: 0; background: #f6f7f9; color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 17px; margin: 0 0 2px; }
.lead { color: var(--soft); margin: 4px 0 20px; }
section, .card { background: white; border: 1px solid var(--line); border-radius: 10px; }
section { padding: 16px 18px; margin: 16px 0; overflow-x: auto; }
section > p { color: var(--soft); margin: 0 0 8px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px; }
.card { padding: 10px 14px; } .card b { display: block; font-size: 20px; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: 13px; } .good { color: var(--good); } .bad { color: var(--bad); }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 0 16px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 600; }
th, td { padding: 4px 10px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
h3 { font-size: 14px; margin: 18px 0 2px; } p.words { color: var(--ink); }
td.n, th.n { text-align: right; } td.wide { min-width: 220px; }
details.question { border: 1px solid var(--line); border-radius: 8px; padding: 6px 12px; margin: 6px 0; }
details { font-size: 13px; }
summary { cursor: pointer; overflow-wrap: anywhere; } summary small, details p { color: var(--soft); }
details details { margin-top: 6px; } details pre { white-space: pre-wrap; overflow-wrap: anywhere; }
.fields { display: grid; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); gap: 0 24px; margin-top: 4px; }
.fields div { display: flex; justify-content: space-between; gap: 8px; border-bottom: 1px solid var(--line); }
.fields span { color: var(--soft); } .fields b { font-weight: 600; font-variant-numeric: tabular-nums; }
.fields span, .fields b { overflow-wrap: anywhere; }
"""


def html_page(title: str, lead: str, body: str) -> str:
    """Return a whole page; ``lead`` and ``body`` are HTML, ``title`` is text."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} - mm_hybrid</title>
<style>{_STYLE}</style>
<script>{get_plotlyjs()}</script>
</head>
<body><main>
<h1>{escape(title)}</h1>
<p class="lead">{lead}</p>
{body}
</main></body></html>
"""


def section(heading: str, note: str, body: str) -> str:
    """Return a framed part of a page; all three are HTML."""
    return f"<section><h2>{heading}</h2><p>{note}</p>{body}</section>\n"


def drawing(figure: Figure, div_id: str) -> str:
    """Return a figure as HTML that expects the page's script."""
    settings = {"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}
    html: str = plotly.io.to_html(
        figure, full_html=False, include_plotlyjs=False, config=settings, div_id=div_id, default_height=None
    )
    return html


def figure(*, height: int, xaxis_title: str | None = None, yaxis_title: str, **layout: Any) -> Figure:
    """Return an empty figure in the style of the pages."""
    chart = go.Figure()
    chart.update_layout(
        template=None,
        height=height,
        margin={"l": 70, "r": 16, "t": 8, "b": 44},
        paper_bgcolor="white",
        plot_bgcolor="white",
        font={"family": "system-ui, sans-serif", "size": 12, "color": INK},
        hovermode="closest",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        **layout,
    )
    axis = {"gridcolor": GRID, "linecolor": GRID, "zerolinecolor": "#9ca3af", "automargin": True}
    chart.update_xaxes(title=xaxis_title, **axis)
    chart.update_yaxes(title=escape(yaxis_title), tickformat=",", **axis)
    return chart


def times(stamps_ns: Iterable[int]) -> Any:
    """Return moments, ns since the epoch, as a figure takes them."""
    return np.array(list(stamps_ns), dtype="int64").astype("datetime64[ns]").astype("datetime64[us]")
