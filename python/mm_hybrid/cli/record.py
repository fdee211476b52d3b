"""``mm-hybrid record``: a live stream into files that can be replayed."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import click

from mm_hybrid.cli import EXIT_FAILED, EXIT_INTERRUPTED
from mm_hybrid.cli._progress import LongOperation
from mm_hybrid.cli._signals import run_until_stopped
from mm_hybrid.config import LOCAL_TARDIS_URL, SOURCE_URLS
from mm_hybrid.errors import ConfigError
from mm_hybrid.feed import LiveFeed, RecordTo

LOOK_S = 0.25

Stats = dict[str, int | float | str | bool]


@click.command()
@click.option(
    "--source",
    type=click.Choice(list(SOURCE_URLS)),
    default="tardis",
    show_default=True,
    help="A tardis-machine, or the exchange's own public stream.",
)
@click.option(
    "--url",
    default=None,
    help="WebSocket address of the source; default ws://127.0.0.1:8001, or the exchange's own.",
)
@click.option("--exchange", required=True, help="Tardis exchange id, such as bybit.")
@click.option("--symbol", "symbols", required=True, multiple=True, help="Symbol; may be given many times.")
@click.option(
    "--data-type",
    "data_types",
    multiple=True,
    default=("book_change", "trade"),
    show_default=True,
    help="Tardis data type; may be given many times.",
)
@click.option(
    "--out", "folder", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder."
)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Stop after this long.")
@click.option(
    "--rotate-mb", type=click.IntRange(min=1), default=256, show_default=True, help="Size of a file."
)
@click.option(
    "--rotate-minutes", type=click.IntRange(min=1), default=60, show_default=True, help="Time a file spans."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(*, folder: Path, as_json: bool, **values: Any) -> int:
    """Record a live stream: raw messages with their arrival times, compressed, one line each.

    What comes from an exchange itself is recorded in the form in which a tardis-machine would send it.

    Every message is on disk before a second is over: a crash or kill -9 loses less than that. Ctrl-C ends the recording
    in order. What cannot be decoded is kept apart, in files ``*.rejected.zst``. The exit code is 1 when messages were
    dropped. ``mm-hybrid book``, ``convert`` and ``serve tardis --data`` read the folder.
    """
    started_s = time.monotonic()
    with LongOperation(f"recording {values['exchange']}") as shown:
        stats, interrupted = run_until_stopped(lambda stop: _record(stop, shown, folder=folder, **values))
    document = {
        "folder": str(folder),
        "files": stats["recorded_files"],
        "messages": stats["recorded_messages"],
        "bytes": stats["recorded_bytes"],
        "rejected": stats["recording_rejected"],
        "dropped": stats["recording_dropped"],
        "reconnects": stats["reconnects"],
        "disconnects": stats["disconnects"],
        "decode_errors": stats["decode_errors"],
        "finished": stats["finished"],
        "seconds": time.monotonic() - started_s,
    }
    if as_json:
        click.echo(json.dumps(document))
    else:
        click.echo(_summary(document))
    failure = _failure(stats)
    if failure and not interrupted:
        click.echo(f"mm-hybrid: {failure}", err=True)
        return EXIT_FAILED
    return EXIT_INTERRUPTED if interrupted else 0


def _summary(document: dict[str, Any]) -> str:
    counted = ["{messages} messages"]
    if document["rejected"]:
        counted.append("{rejected} that cannot be decoded")
    if document["dropped"]:
        counted.append("{dropped} dropped")
    return f"{', '.join(counted)}, {{bytes}} bytes in {{files}} files in {{folder}}".format(**document)


def _failure(stats: Stats) -> str:
    if stats["recording_failure"]:
        return f"{stats['recording_failure']}; {stats['recording_dropped']} messages were dropped"
    if stats["recording_dropped"]:
        return f"the disk was too slow: {stats['recording_dropped']} messages were dropped"
    if not stats["recorded_messages"]:
        return _nothing(stats)
    return ""


def _nothing(stats: Stats) -> str:
    return f"no message came: {stats['last_error'] or 'check exchange, symbols and data types'}"


async def _record(
    stop: asyncio.Event,
    shown: LongOperation,
    *,
    source: str,
    url: str | None,
    exchange: str,
    symbols: tuple[str, ...],
    data_types: tuple[str, ...],
    folder: Path,
    seconds: float | None,
    rotate_mb: int,
    rotate_minutes: int,
) -> Stats:
    try:
        feed = LiveFeed(
            url or SOURCE_URLS[source] or LOCAL_TARDIS_URL,
            source=source,
            exchange=exchange,
            symbols=symbols,
            data_types=data_types,
            end_on_finish=True,
            record=RecordTo(folder, rotate_mb=rotate_mb, rotate_minutes=rotate_minutes),
        )
    except ValueError as error:  # names the argument and what it must be
        raise ConfigError(str(error)) from None
    started_s = time.monotonic()
    async with feed:
        while not stop.is_set():
            stats = feed.stats()
            elapsed_s = time.monotonic() - started_s
            state = "connected" if stats["connected"] else f"not connected ({stats['last_error']})"
            written = (
                f"{stats['recorded_messages']:,} messages, {float(stats['recorded_bytes']) / 1e6:,.1f} MB"
            )
            shown.update(elapsed_s, seconds, f"{written}, {state}")
            if (
                stats["finished"]
                or stats["recording_failure"]
                or (seconds is not None and elapsed_s >= seconds)
            ):
                break
            left_s = LOOK_S if seconds is None else min(LOOK_S, seconds - elapsed_s)
            try:
                await asyncio.wait_for(stop.wait(), max(left_s, 0.001))
            except TimeoutError:
                continue
    return feed.stats()
