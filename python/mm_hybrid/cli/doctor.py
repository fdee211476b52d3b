"""``mm-hybrid doctor``: checks of the set-up."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

import click

from mm_hybrid.cli import EXIT_FAILED
from mm_hybrid.config import load
from mm_hybrid.doctor import check_config, check_machine

_MARKS = {True: "ok  ", False: "FAIL", None: "warn"}


@click.command()
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), default=None, help="Check this session too."
)
@click.option("--json", "as_json", is_flag=True, help="Print the checks as one JSON object.")
def command(*, config_path: Path | None, as_json: bool) -> int:
    """Check the set-up: package, journal, sockets and, with --config, addresses and secrets (never shown)."""
    config = None if config_path is None else load(config_path)
    checks = check_machine(Path.cwd())
    if config is not None:
        checks += asyncio.run(check_config(config))
    failed = any(check.ok is False for check in checks)
    if as_json:
        click.echo(json.dumps({"ok": not failed, "checks": [asdict(check) for check in checks]}))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            click.echo(f"{_MARKS[check.ok]}  {check.name:<{width}}  {check.detail}")
    return EXIT_FAILED if failed else 0
