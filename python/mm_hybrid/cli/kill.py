"""``mm-hybrid kill``: latch the kill switch."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from mm_hybrid.config import KILL_FILE, load


@click.command()
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), default=None, help="Session to stop."
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=None, help="Its output folder, if there is no file."
)
@click.option("--reason", default="kill command", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def command(*, config_path: Path | None, out: Path | None, reason: str, as_json: bool) -> None:
    """Latch the kill switch of a session: it cancels everything, stops, and does not start again.

    Remove the file that is named to allow trading again.
    """
    if (config_path is None) == (out is None):
        raise click.UsageError("name the session by either --config or --out")
    folder = load(config_path).output.dir if config_path is not None else out
    path = Path(str(folder)) / KILL_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{time.time_ns()} {' '.join(reason.split())}\n")
    click.echo(
        json.dumps({"kill_file": str(path)}) if as_json else f"latched: {path} (remove it to trade again)"
    )
