"""``mm-hybrid demo``: the whole system on loopback."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

import click

from mm_hybrid.cli._display import Display
from mm_hybrid.cli._run import present, run_shown
from mm_hybrid.config import Venue
from mm_hybrid.demo import DemoOptions, run_demo
from mm_hybrid.result import SessionResult
from mm_hybrid.strategy import ClosedForm, load


@click.command()
@click.option(
    "--exchange", "venue", type=click.Choice(["bybit", "bitget"]), default="bybit", show_default=True
)
@click.option(
    "--seconds", type=click.FloatRange(min=1), default=30, show_default=True, help="How long to trade."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Tardis file instead of a synthetic market; repeatable.",
)
@click.argument("more_data", nargs=-1, type=click.Path(path_type=Path), metavar="")
@click.option("--symbol", default=None, help="Symbol to trade; default the one with most messages.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Pace of --data, times real time.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the synthetic market.")
@click.option(
    "--strategy",
    "script",
    type=click.Path(path_type=Path),
    default=None,
    help="Python script to run; default the closed form.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder for journal and report; default out/demo-TIME.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def command(
    *,
    venue: Venue,
    seconds: float,
    data: tuple[Path, ...],
    more_data: tuple[Path, ...],
    symbol: str | None,
    speed: float,
    seed: int,
    script: Path | None,
    out: Path | None,
    as_json: bool,
) -> int:
    """Run the whole system on loopback: local market, local exchange, local advisor; no key, no network."""
    files = (*data, *more_data)
    if more_data and not data:
        raise click.UsageError(f"unexpected argument {more_data[0]}: files follow --data")
    for path in files:
        if not path.is_file():
            raise click.UsageError(f"--data {path}: no such file")
    options = DemoOptions(
        venue=venue,
        seconds=seconds,
        data=files,
        symbol=symbol,
        speed=speed,
        seed=seed,
        strategy=ClosedForm() if script is None else load(script),
        strategy_path=script,
        out=_fresh_folder(out),
    )

    async def body(stop: asyncio.Event, display: Display) -> SessionResult:
        return await run_demo(
            options, stop, on_line=display.line, on_started=display.started, on_tick=display.tick
        )

    result, interrupted = run_shown(f"demo on {venue}", seconds, body)
    return present(result, interrupted, as_json=as_json)


def _fresh_folder(out: Path | None) -> Path:
    """Return a folder without a journal in it: an earlier run's records are never touched."""
    wanted = Path("out") / f"demo-{datetime.now().astimezone():%Y%m%d-%H%M%S}" if out is None else out
    folder, number = wanted, 1
    while (folder / "journal.sqlite").exists():
        number += 1
        folder = wanted / f"run-{number}"
    return folder
