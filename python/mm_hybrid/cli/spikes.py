"""``mm-hybrid spikes``: the alarms a recorded market would have raised."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import click

from mm_hybrid._core import EventReader, scan_files
from mm_hybrid.cli._progress import LongOperation
from mm_hybrid.cli._symbols import choose
from mm_hybrid.models import MarketMetrics
from mm_hybrid.report.read import Thinned
from mm_hybrid.report.spikes import spikes_page

_BATCH_EVENTS = 2000
_SAMPLE_NS = 100_000_000


@click.command()
@click.option(
    "--data",
    "files",
    multiple=True,
    required=True,
    type=click.Path(exists=True, readable=True),
    help="Tardis file or folder; may be repeated.",
)
@click.option("--exchange", help="Tardis exchange id; needed when the files hold several.")
@click.option("--symbol", help="Symbol as the exchange writes it; needed when the files hold several.")
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
    help="False episodes an hour that are allowed; thresholds follow from it.",
)
@click.option(
    "--warm-up",
    "warm_up_s",
    type=click.FloatRange(min=1),
    default=120.0,
    show_default=True,
    help="Seconds before the first alarm, in which the thresholds are learned; a session takes 600.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write a page with a plot.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    *,
    files: tuple[str, ...],
    exchange: str | None,
    symbol: str | None,
    budget: float,
    warm_up_s: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """Play recorded files through the alarms and list the episodes: spikes, thin or one-sided book, bursts, faults."""
    with LongOperation("looking through the files") as shown:
        scans = scan_files(list(files), on_progress=shown.on_bytes)
    held = sorted((scan.exchange, scan.symbol) for scan in scans)
    exchange, symbol = choose(held, exchange, symbol)
    metrics = MarketMetrics(symbol=symbol, false_alarms_per_hour=budget, alarm_warm_up_s=warm_up_s)
    reader = EventReader(list(files), exchange=exchange, symbol=symbol)
    moments: Thinned[tuple[int, float | None]] = Thinned()
    first_ns = last_ns = events = 0
    episodes: list[dict[str, Any]] = []
    with LongOperation("playing") as shown:
        until_ns = reader.next_local_ts_ns
        while until_ns is not None:
            until_ns += _SAMPLE_NS
            while len(batch := reader.read(_BATCH_EVENTS, until_ns)):
                metrics.update(batch)
                events += len(batch)
            reading = metrics.read()
            if reading["timestamp_ns"]:
                last_ns = reading["timestamp_ns"]
                first_ns = first_ns or last_ns
                moments.add((last_ns, reading["mid_price"]))
            episodes += metrics.take_episodes()
            shown.update(*reader.progress(), f"{events:,} events")
            until_ns = reader.next_local_ts_ns
    episodes.sort(key=lambda episode: episode["start_ns"])
    document = {
        "exchange": exchange,
        "symbol": symbol,
        "hours": (last_ns - first_ns) / 3.6e12,
        "budget_per_hour": budget,
        "warm_up_s": warm_up_s,
        "thresholds_known": metrics.alarms()[0],
        "episodes_seen": metrics.read()["episodes"],
        "counts": dict(Counter(episode["kind"] for episode in episodes)),
        "episodes": episodes,
    }
    if out is not None:
        out.write_text(spikes_page(moments, document), encoding="utf-8")
        document["page"] = str(out)
    if as_json:
        click.echo(json.dumps(document, allow_nan=False))
        return
    click.echo(f"{exchange} {symbol}: {len(episodes)} finished episodes in {document['hours']:.2f} h")
    if not document["thresholds_known"]:
        click.echo(
            f"the thresholds were never known: they take {warm_up_s:.0f} s of a live book (--warm-up), so that only "
            "faults of the feed could be seen",
            err=True,
        )
    for episode in episodes:
        line = f"{episode['start_ns']}  {episode['kind']:<12} {episode['severity']:<8} {episode['reason']}"
        click.echo(line)
