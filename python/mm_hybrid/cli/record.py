"""``mm-hybrid record``: a live stream into files that can be replayed."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import click

from mm_hybrid.cli import EXIT_FAILED, EXIT_INTERRUPTED
from mm_hybrid.cli._moments import iso, moment
from mm_hybrid.cli._progress import LongOperation
from mm_hybrid.cli._signals import run_until_stopped
from mm_hybrid.config import LOCAL_TARDIS_URL, SOURCE_URLS
from mm_hybrid.errors import ConfigError
from mm_hybrid.feed import LiveFeed, RecordTo

LOOK_S = 0.25
NS_PER_S = 1_000_000_000

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
@click.option(
    "--from",
    "from_ns",
    callback=moment,
    metavar="TIME",
    help="Record a tardis-machine's history from here: ISO 8601 or integer ns, a whole minute.",
)
@click.option("--to", "to_ns", callback=moment, metavar="TIME", help="End of that history, not part of it.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Stop after this long.")
@click.option(
    "--rotate-mb", type=click.IntRange(min=1), default=256, show_default=True, help="Size of a file."
)
@click.option(
    "--rotate-minutes", type=click.IntRange(min=1), default=60, show_default=True, help="Time a file spans."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(*, folder: Path, as_json: bool, **values: Any) -> int:
    """Record a live stream or a replay: raw messages with their arrival times, compressed, one line each.

    What comes from an exchange itself is recorded in the form in which a tardis-machine would send it.

    Every message is on disk before a second is over: a crash or kill -9 loses less than that. Ctrl-C ends the recording
    in order. What cannot be decoded is kept apart, in files ``*.rejected.zst``. The exit code is 1 when messages were
    dropped. With --from and --to it is a tardis-machine's history instead, as fast as it comes: begin at 00:00 UTC,
    where the books' snapshots are. ``mm-hybrid book``, ``convert`` and ``serve tardis --data`` read the folder.
    """
    _check_range(values)
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
    if stats["failure"]:
        return str(stats["failure"])
    if not stats["recorded_messages"]:
        return _nothing(stats)
    return ""


def _check_range(values: dict[str, Any]) -> None:
    given = [name for name in ("from_ns", "to_ns") if values[name] is not None]
    if len(given) == 1:
        raise click.UsageError("--from, --to: give both or none")
    if given and values["seconds"] is not None:
        raise click.UsageError("--seconds: a replay ends where --to says")


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
    from_ns: int | None,
    to_ns: int | None,
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
            replay_from=from_ns,
            replay_to=to_ns,
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
            if from_ns is None or to_ns is None:
                shown.update(elapsed_s, seconds, f"{written}, {state}")
            else:
                reached_ns = max(int(stats["last_local_ts_ns"]), from_ns)
                total_s = (to_ns - from_ns) / NS_PER_S
                shown.update(
                    (reached_ns - from_ns) / NS_PER_S, total_s, f"{iso(reached_ns)[:19]}Z, {written}"
                )
            if (
                not stats["running"]
                or stats["recording_failure"]
                or (seconds is not None and elapsed_s >= seconds)
            ):
                break
            left_s = LOOK_S if seconds is None else min(LOOK_S, seconds - elapsed_s)
            try:
                await asyncio.wait_for(stop.wait(), max(left_s, 0.001))
            except TimeoutError:
                continue
    stats = feed.stats()
    if stats["finished"] and from_ns is not None and "book_change" in data_types:
        for symbol in symbols:
            if feed.snapshot(symbol, 1).state == "UNSYNCED":
                shown.line(
                    f"warning: {symbol}: no book at the end: its snapshots are at 00:00 UTC of each day"
                )
    return stats
