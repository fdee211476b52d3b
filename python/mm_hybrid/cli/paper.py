"""``mm-hybrid paper``: live data, local exchange."""

from __future__ import annotations

from pathlib import Path

import click

from mm_hybrid.cli._run import run_mode_command, session_options


@click.command()
@session_options
def command(*, script: Path, config_path: Path, seconds: float | None, as_json: bool) -> int:
    """Run SCRIPT on live data against a local exchange.

    The exchange is the one at venue.url, or one started for the session that matches orders against the same data.
    """
    return run_mode_command("paper", script, config_path, seconds, as_json=as_json)
