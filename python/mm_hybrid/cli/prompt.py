"""``mm-hybrid prompt``: print exactly what an advisor would be asked about recorded data."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from mm_hybrid.config import AdvisorConfig, MarketConfig, QuotingConfig, SessionConfig
from mm_hybrid.config import load as load_config

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    required=True,
    help="Tardis file (NDJSON or CSV, may be gz/zst); several are merged.",
)
@click.option("--symbol", default=None, help="Symbol; default the one with most messages.")
@click.option(
    "--at", "at", default=None, metavar="TIME", help="Local time: ISO 8601 or integer ns; default the end."
)
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), default=None, help="Session to take from."
)
@click.option("--profile", type=click.Choice(["exogenous", "seed"]), default=None, help="Prompt profile.")
@click.option("--model", default=None, help="Model to address.")
@click.option("--maker-fee-rate", default="0.0001", show_default=True, help="Fraction of traded value.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: where, the request, its key.")
def command(
    *,
    data: tuple[Path, ...],
    symbol: str | None,
    at: str | None,
    config_path: Path | None,
    profile: str | None,
    model: str | None,
    maker_fee_rate: str,
    as_json: bool,
) -> None:
    """Print the body of the request that would be sent at one moment of recorded data, byte for byte.

    Nothing is sent and no key is needed. With the response format left open, json_schema is shown.
    """
    from mm_hybrid.prompting import question_about

    config: SessionConfig | None = None if config_path is None else load_config(config_path)
    advising = AdvisorConfig() if config is None else config.advisor
    changes: dict[str, Any] = {}
    if profile is not None:
        changes["prompt"] = profile
    if model is not None:
        changes["model"] = model
    advising = advising.model_copy(update=changes)
    quoting = QuotingConfig() if config is None else config.quoting
    market: MarketConfig | None = None if config is None else config.market
    question = question_about(
        [str(path) for path in data],
        symbol=symbol or (market.symbol if market else None),
        until_ns=None if at is None else moment(at),
        quoting=quoting,
        advising=advising,
        maker_fee_rate=maker_fee_rate,
    )
    if as_json:
        click.echo(
            json.dumps(
                {
                    "url": f"{advising.base_url}/chat/completions",
                    "symbol": question.symbol,
                    "local_ts_ns": question.local_ts_ns,
                    "prompt": question.prompt,
                    "key": question.key,
                    "request": json.loads(question.body),
                }
            )
        )
    else:
        click.echo(question.body)


def moment(text: str) -> int:
    """Return ISO 8601 (UTC unless it names a zone) or integer nanoseconds as nanoseconds."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is neither an ISO 8601 time nor integer nanoseconds", param_hint="--at"
        ) from None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return (when - _EPOCH) // timedelta(microseconds=1) * 1000
