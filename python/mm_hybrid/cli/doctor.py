"""``mm-hybrid doctor``: checks of the set-up, and of one market-data source against another."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mm_hybrid.cli import EXIT_FAILED, EXIT_INTERRUPTED
from mm_hybrid.cli._progress import LongOperation
from mm_hybrid.cli._signals import run_until_stopped
from mm_hybrid.config import LOCAL_TARDIS_URL, SOURCE_URLS, load
from mm_hybrid.doctor import check_config, check_machine
from mm_hybrid.errors import ConfigError

_MARKS = {True: "ok  ", False: "FAIL", None: "warn"}


@click.group(invoke_without_command=True)
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), default=None, help="Check this session too."
)
@click.option("--json", "as_json", is_flag=True, help="Print the checks as one JSON object.")
@click.pass_context
def command(context: click.Context, *, config_path: Path | None, as_json: bool) -> int:
    """Check the set-up: package, journal, sockets and, with --config, addresses and secrets (never shown).

    `mm-hybrid doctor feed` compares two sources of one market.
    """
    if context.invoked_subcommand is not None:
        return 0
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


def _source(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, str]:
    """Read ``SOURCE`` or ``SOURCE=URL``; return source and address."""
    source, _, url = value.partition("=")
    if source not in SOURCE_URLS:
        reason = f"{source!r} is not one of {', '.join(SOURCE_URLS)}"
        raise click.BadParameter(reason, ctx=ctx, param=param)
    return source, url or SOURCE_URLS[source] or LOCAL_TARDIS_URL


@command.command("feed")
@click.argument("first", callback=_source, metavar="SOURCE[=URL]")
@click.argument("second", callback=_source, metavar="SOURCE[=URL]")
@click.option("--exchange", required=True, help="Tardis exchange id, such as bybit or bitget-futures.")
@click.option("--symbol", required=True, help="Symbol as the exchange writes it.")
@click.option(
    "--seconds", type=click.FloatRange(min=0.5), default=30.0, show_default=True, help="How long to watch."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def feed(
    *,
    first: tuple[str, str],
    second: tuple[str, str],
    exchange: str,
    symbol: str,
    seconds: float,
    as_json: bool,
) -> int:
    """Compare two sources of one market: which lags, by how much, which lost what.

    A source is tardis, bybit, bitget or bitget-v2, with its address if it is not the usual one:

        mm-hybrid doctor feed tardis=ws://127.0.0.1:8001 bybit --exchange bybit --symbol BTCUSDT
    """
    from mm_hybrid.feed_comparison import Comparison, compare, feed_of

    names = [first[0], second[0]]
    if names[0] == names[1]:
        names = [f"{source}={url}" for source, url in (first, second)]
    if names[0] == names[1]:
        names = [f"{name} ({which})" for name, which in zip(names, ("first", "second"), strict=True)]
    try:
        feeds = [feed_of(*source, exchange=exchange, symbol=symbol) for source in (first, second)]
    except ValueError as error:
        raise ConfigError(str(error)) from error
    with LongOperation(f"comparing {' and '.join(names)}") as shown:
        compared: Comparison
        compared, interrupted = run_until_stopped(
            lambda stop: compare(
                ((names[0], feeds[0]), (names[1], feeds[1])),
                seconds=seconds,
                stop=stop,
                on_progress=lambda elapsed_s, detail: shown.update(min(elapsed_s, seconds), seconds, detail),
            )
        )
    if as_json:
        click.echo(json.dumps(compared.document(), allow_nan=False))
    else:
        _print(compared)
    nothing_in_common = compared.trades.matched + compared.touches.matched == 0
    if nothing_in_common and not interrupted:
        for (name, url), report in zip((first, second), (compared.first, compared.second), strict=True):
            trouble = report.last_error or "no trouble reported"
            click.echo(f"mm-hybrid: {name} at {url}: {report.messages} messages, {trouble}", err=True)
        return EXIT_FAILED
    return EXIT_INTERRUPTED if interrupted else 0


def _print(compared: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", compared.first.name, compared.second.name)
    pairs = (compared.first, compared.second)
    table.add_row("messages", *(f"{source.messages:,}" for source in pairs))
    table.add_row("trades", *(f"{source.trades:,}" for source in pairs))
    table.add_row("trades the other lacks", str(compared.trades.only_first), str(compared.trades.only_second))
    table.add_row("LIVE", *(f"{source.live_pct:.1f} %" for source in pairs))
    for name in compared.first.counters:
        table.add_row(name.replace("_", " "), *(str(source.counters[name]) for source in pairs))
    console = Console()
    console.print(table)
    for name, lag in (("trades", compared.trades), ("best prices", compared.touches)):
        if lag.p50_ms is not None:
            console.print(
                f"{name}: {compared.second.name} minus {compared.first.name}, ms: p50 {lag.p50_ms:+.2f}, "
                f"p90 {lag.p90_ms:+.2f}, p99 {lag.p99_ms:+.2f} ({lag.matched:,} matched)"
            )
    if compared.mid_difference_bps_p50 is not None:
        console.print(
            f"mid prices at the same moment differ by {compared.mid_difference_bps_p50:.3f} bps (median), "
            f"{compared.mid_difference_bps_max:.3f} bps at most"
        )
    for line in compared.verdict():
        console.print(line)
