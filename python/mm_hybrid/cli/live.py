"""``mm-hybrid live``: live data, the venue itself."""

from __future__ import annotations

from pathlib import Path

import click

from mm_hybrid.cli._run import run_mode_command, session_options


@click.command()
@session_options
def command(*, script: Path, config_path: Path, seconds: float | None, as_json: bool) -> int:
    """Run SCRIPT on live data against the venue: its demo hosts, or real money with venue.demo = false."""
    return run_mode_command("live", script, config_path, seconds, as_json=as_json)
