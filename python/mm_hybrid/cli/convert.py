"""``mm-hybrid convert``: Tardis files into the fast local format."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from mm_hybrid._core import convert_files
from mm_hybrid.cli import EXIT_FAILED
from mm_hybrid.cli._progress import LongOperation


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, readable=True))
@click.option(
    "--out",
    "folder",
    required=True,
    type=click.Path(file_okay=False),
    help="Folder for the tables; made if need be.",
)
@click.option("--overwrite", is_flag=True, help="Replace tables that are there already.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(*, files: tuple[str, ...], folder: str, overwrite: bool, as_json: bool) -> int:
    """Convert Tardis FILES (or folders of them) to Arrow tables, one a market and UTC day.

    The tables hold every message with checksums, are read many times faster than the files, and are opened by polars,
    pyarrow and duckdb. A file that cannot be used is named, the others are converted without it, and the
    exit code is 1. The tables appear, and replace others, when everything was read; Ctrl-C leaves none behind.
    """
    started_s = time.monotonic()
    with LongOperation("converting") as shown:
        tables, lines, messages, refused = convert_files(
            files, folder, overwrite=overwrite, on_progress=shown.on_bytes
        )
    seconds = time.monotonic() - started_s
    written = sum(path.stat().st_size for path in tables)
    if as_json:
        document = {
            "files": [str(path) for path in tables],
            "lines": lines,
            "messages": messages,
            "refused": refused,
            "bytes_in": _size(files),
            "bytes_out": written,
            "seconds": seconds,
        }
        click.echo(json.dumps(document))
    else:
        for path in tables:
            click.echo(path)
        made = f"{messages:,} messages in {len(tables)} tables, {written / 1e6:,.1f} MB, {seconds:.1f} s"
        click.echo(made, err=True)
    for reason in refused:
        click.echo(f"mm-hybrid: not converted: {reason}", err=True)
    return EXIT_FAILED if refused else 0


def _size(paths: tuple[str, ...]) -> int:
    files = (file for path in map(Path, paths) for file in (path.iterdir() if path.is_dir() else [path]))
    return sum(file.stat().st_size for file in files if file.is_file())
