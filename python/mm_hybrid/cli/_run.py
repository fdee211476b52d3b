"""Running a session from the command line and saying how it ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from mm_hybrid.cli import EXIT_FAILED, EXIT_INTERRUPTED
from mm_hybrid.cli._display import Display
from mm_hybrid.cli._signals import run_until_stopped
from mm_hybrid.config import Mode
from mm_hybrid.config import load as load_config
from mm_hybrid.modes import run_mode
from mm_hybrid.result import SessionResult
from mm_hybrid.strategy import load as load_strategy

Body = Callable[[asyncio.Event, Display], Awaitable[SessionResult]]


def run_shown(title: str, seconds: float | None, body: Body) -> tuple[SessionResult, bool]:
    """Run a session under a display; return its result and whether a signal ended it."""
    with Display(title, seconds) as display:
        return run_until_stopped(lambda stop: body(stop, display))


def present(result: SessionResult, interrupted: bool, *, as_json: bool) -> int:
    """Print the result, raise what ended the session early if something did, and return the exit code."""
    if as_json:
        click.echo(json.dumps(result.as_json()))
    else:
        click.echo(_summary(result))
    if result.error is not None:
        raise result.error
    if result.open_orders_at_exit or result.unknown_orders_at_exit:
        click.echo(
            f"mm-hybrid: at the exchange {result.open_orders_at_exit} orders may still be open, "
            f"the fate of {result.unknown_orders_at_exit} is unknown",
            err=True,
        )
        return EXIT_FAILED
    return EXIT_INTERRUPTED if interrupted else 0


def _summary(result: SessionResult) -> str:
    pnl = result.pnl
    return "\n".join(
        (
            (
                f"{result.mode} on {result.exchange} {result.symbol}, {result.seconds:.1f} s: "
                f"{result.feed['messages']} messages, {result.quotes} quotes, {result.fills} fills"
            ),
            (
                f"profit {pnl.total:+.4f} = spread {pnl.spread_capture:+.4f} + inventory {pnl.inventory:+.4f} "
                f"+ fees {pnl.fees:+.4f} + funding {pnl.funding:+.4f}; position {result.position}"
            ),
            f"open orders at exit: {result.open_orders_at_exit}, unknown: {result.unknown_orders_at_exit}",
            f"report:  {result.report}",
            f"journal: {result.journal}",
        )
    )


def session_options(function: Callable[..., int]) -> Callable[..., int]:
    """Add the arguments that ``paper`` and ``live`` share."""
    for decorate in (
        click.argument("script", type=click.Path(path_type=Path)),
        click.option(
            "--config", "config_path", required=True, type=click.Path(path_type=Path), help="TOML file."
        ),
        click.option("--seconds", type=click.FloatRange(min=1), default=None, help="Stop after this long."),
        click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object."),
    ):
        function = decorate(function)
    return function


def run_mode_command(
    mode: Mode, script: Path, config_path: Path, seconds: float | None, *, as_json: bool
) -> int:
    """Run a paper or live session as the command line asked for it."""
    config = load_config(config_path)
    strategy = load_strategy(script)

    async def body(stop: asyncio.Event, display: Display) -> SessionResult:
        return await run_mode(
            mode,
            config,
            strategy,
            script,
            stop,
            seconds=seconds,
            on_line=display.line,
            on_started=display.started,
            on_tick=display.tick,
        )

    result, interrupted = run_shown(f"{mode} on {config.venue.name}", seconds, body)
    return present(result, interrupted, as_json=as_json)
