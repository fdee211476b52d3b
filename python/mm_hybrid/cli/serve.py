"""``mm-hybrid serve``: the local servers by themselves."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel, ValidationError

from mm_hybrid.cli._signals import run_until_stopped
from mm_hybrid.config import describe
from mm_hybrid.errors import ConfigError
from mm_hybrid.instruments import TARDIS_EXCHANGE, split_symbol

Ready = Callable[[dict[str, object]], None]
Serve = Callable[..., Awaitable[None]]


@click.group()
def command() -> None:
    """Run one of the local servers until Ctrl-C: tardis, exchange, advisor."""


def _common(function: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
        click.option(
            "--json", "as_json", is_flag=True, help="Announce the ports as one JSON object on stdout."
        ),
        click.option(
            "--until-stdin-closes", is_flag=True, hidden=True, help="Stop when stdin reaches its end."
        ),
    ):
        function = option(function)
    return function


@command.command()
@click.option(
    "--port", type=int, default=8000, show_default=True, help="HTTP port; WebSocket is the next one. 0: free."
)
@click.option("--ws-port", type=int, default=None, help="WebSocket port, if not the next one.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Tardis file (NDJSON or CSV, may be gz/zst), table or folder.",
)
@click.option(
    "--speed", type=float, default=1.0, show_default=True, help="Pace of files; 0: as clients read."
)
@click.option(
    "--exchange", default="bybit", show_default=True, help="Tardis exchange id of the synthetic market."
)
@click.option("--symbol", default="BTCUSDT", show_default=True, help="Symbol of the synthetic market.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the synthetic market.")
@click.option(
    "--epoch-ns", type=int, default=None, help="Start of the synthetic market; the same continues it."
)
@click.option(
    "--wait-for-clients", type=int, default=1, show_default=True, help="Connections before files start."
)
@click.option(
    "--record", type=click.Path(path_type=Path), default=None, help="Append every streamed message here."
)
@_common
def tardis(*, as_json: bool, until_stdin_closes: bool, **values: Any) -> None:
    """Serve market data as a tardis-machine does: from files, or from a synthetic market."""
    from mm_hybrid.servers.tardis import TardisServerConfig, serve_tardis

    values["data"] = tuple(values["data"])
    _run(TardisServerConfig, serve_tardis, values, as_json=as_json, until_stdin_closes=until_stdin_closes)


@command.command()
@click.option("--venue", type=click.Choice(["bybit", "bitget"]), default="bybit", show_default=True)
@click.option("--port", type=int, default=8100, show_default=True, help="REST and WebSocket port. 0: free.")
@click.option("--symbol", default="BTCUSDT", show_default=True)
@click.option("--base", default=None, help="Coin the contract is sized in; default what SYMBOL says.")
@click.option("--tick-size", default="0.1", show_default=True)
@click.option("--lot-size", default="0.001", show_default=True)
@click.option("--min-qty", default=None, help="Smallest order, base units; default one lot.")
@click.option("--min-notional", default="5", show_default=True, help="Smallest order value, quote currency.")
@click.option("--maker-fee-rate", default="0.00001", show_default=True)
@click.option("--taker-fee-rate", default=None, help="Default: 0.00055 on Bybit, 0.0006 on Bitget.")
@click.option("--fee-coin", default=None, help="Third coin that fees are charged in, such as MNT or BGB.")
@click.option("--fee-coin-price", default="1", show_default=True, help="What one is worth, quote currency.")
@click.option("--balance", default="100000", show_default=True, help="Starting balance, quote currency.")
@click.option("--api-key", default="demo-key", show_default=True, envvar="MM_HYBRID_API_KEY")
@click.option("--api-secret", default="demo-secret", envvar="MM_HYBRID_API_SECRET")
@click.option("--api-password", default="demo-password", envvar="MM_HYBRID_API_PASSWORD")
@click.option(
    "--market-url", default="ws://127.0.0.1:8001", show_default=True, help="tardis-machine WebSocket address."
)
@click.option(
    "--market-source",
    type=click.Choice(["tardis", "bybit", "bitget", "bitget-v2"]),
    default="tardis",
    show_default=True,
    help="Whose stream that is.",
)
@click.option("--market-exchange", default=None, help="Tardis exchange id; default bybit or bitget-futures.")
@click.option("--market-symbol", default=None, help="Symbol there; default the one traded.")
@click.option(
    "--ledger", type=click.Path(path_type=Path), default=None, help="Append each execution here (JSON lines)."
)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=None,
    help="SQLite file of all that happens; started on it again, the exchange goes on from there.",
)
@click.option(
    "--book-push-ms",
    type=int,
    default=20,
    show_default=True,
    help="Public books are pushed at most once in so long; 0: with every batch of market events.",
)
@click.option("--spot", is_flag=True, help="List the symbol for spot trading too.")
@click.option(
    "--venue-limits",
    is_flag=True,
    help="Enforce the venue's own rate limits; without it 1000 a second and kind.",
)
@click.option(
    "--faults", type=click.Path(path_type=Path), default=None, help="Script of what goes wrong (JSON)."
)
@_common
def exchange(*, as_json: bool, until_stdin_closes: bool, **values: Any) -> None:
    """Serve a paper exchange that speaks Bybit v5 or Bitget v2 over the local matching engine."""
    from mm_hybrid.servers.exchange import VENUE_LIMITS, ExchangeServerConfig, FaultScript, serve_exchange

    values["base"] = values["base"] or split_symbol(values["symbol"])[0]
    values["market_exchange"] = values["market_exchange"] or TARDIS_EXCHANGE[values["venue"]]
    values = {key: value for key, value in values.items() if value is not None}
    if values.pop("venue_limits"):
        values["rate_limits"] = VENUE_LIMITS[values["venue"]]
        values["address_limit_per_5s"] = 600 if values["venue"] == "bybit" else None
    if "faults" in values:
        values["faults"] = FaultScript.read(values["faults"])
    _run(ExchangeServerConfig, serve_exchange, values, as_json=as_json, until_stdin_closes=until_stdin_closes)


@command.command()
@click.option("--port", type=int, default=8200, show_default=True, help="HTTP port. 0: free.")
@click.option("--delay-ms", type=int, default=0, show_default=True, help="Answer this much later.")
@click.option(
    "--llm",
    is_flag=True,
    help="Serve a very small language model instead (extra local-llm); tries plumbing, its advice is noise.",
)
@_common
def advisor(*, as_json: bool, until_stdin_closes: bool, llm: bool, **values: Any) -> None:
    """Serve the rule-based advisor: OpenAI-compatible, a few documented rules, no language model unless --llm."""
    from mm_hybrid.servers.advisor import AdvisorServerConfig, serve_advisor

    if llm:
        from mm_hybrid.servers.llm import LlmServerConfig, serve_llm

        if values.pop("delay_ms"):
            raise click.UsageError("--delay-ms: the language model takes its own time")
        _run(LlmServerConfig, serve_llm, values, as_json=as_json, until_stdin_closes=until_stdin_closes)
        return
    _run(AdvisorServerConfig, serve_advisor, values, as_json=as_json, until_stdin_closes=until_stdin_closes)


def _run(
    model: type[BaseModel], serve: Serve, values: dict[str, Any], *, as_json: bool, until_stdin_closes: bool
) -> None:
    try:
        config = model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(describe(error)) from error

    def ready(facts: dict[str, object]) -> None:
        if as_json:
            click.echo(json.dumps(facts))
            sys.stdout.flush()
        else:
            addresses = ", ".join(f"{key} {value}" for key, value in facts.items() if key != "server")
            click.echo(f"{facts['server']} server: {addresses} (Ctrl-C to stop)")

    async def body(stop: asyncio.Event) -> None:
        if until_stdin_closes:
            _stop_at_end_of_stdin(stop)
        await serve(config, ready=ready, stop=stop)

    run_until_stopped(body)


def _stop_at_end_of_stdin(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def wait() -> None:
        while os.read(0, 4096):
            pass
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait, name="stdin-watch", daemon=True).start()
