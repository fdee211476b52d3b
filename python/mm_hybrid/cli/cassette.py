"""``mm-hybrid cassette``: look into recorded answers of an advisor, and check them."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from mm_hybrid.errors import ConfigError
from mm_hybrid.optimizer.cassette import Cassette, CassetteError, Record

_FILE = click.argument("path", type=click.Path(path_type=Path))
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group()
def command() -> None:
    """Look into a cassette, a recording of an advisor's answers, or check it."""


@command.command()
@_FILE
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="Answers to list.")
@_JSON
def show(*, path: Path, limit: int, as_json: bool) -> None:
    """Print what was recorded, by whom, and what every question led to."""
    cassette = Cassette.read(path)
    facts = summary(cassette)
    if as_json:
        entries = [_entry(record) for record in cassette.records]
        click.echo(json.dumps({**facts, "records": entries}))
        return
    for name, value in facts.items():
        click.echo(f"{name:<16} {json.dumps(value) if isinstance(value, dict) else value}")
    for record in cassette.records[:limit]:
        entry = _entry(record)
        click.echo(
            f"{entry['snapshot']}  pass {entry['pass_id']}  #{record.snapshot_seq}.{record.attempt}  "
            f"{entry['came']:<12} {entry['latency_ms']:>9.1f} ms  {record.key[:12]}  {entry['body']}"
        )
    if len(cassette.records) > limit:
        click.echo(f"... {len(cassette.records) - limit} more (--limit)")


@command.command()
@_FILE
@_JSON
def verify(*, path: Path, as_json: bool) -> None:
    """Check every line; the first one that cannot be used is named, exit code 2."""
    try:
        facts = summary(Cassette.read(path))
    except CassetteError as error:
        if as_json:
            click.echo(json.dumps({"ok": False, "problem": str(error)}))
        raise ConfigError(str(error)) from None
    if as_json:
        click.echo(json.dumps({"ok": True, **facts}))
    else:
        click.echo(
            f"{path}: {facts['questions']} questions, {facts['attempts']} attempts, every line can be used"
        )


def summary(cassette: Cassette) -> dict[str, Any]:
    """Return facts about a cassette as JSON values."""
    records, header = cassette.records, cassette.header
    last = [record for record in records if record.last]
    return {
        "model": header.model,
        "base_url": header.base_url,
        "prompt": header.prompt,
        "response_format": header.response_format,
        "created": _time(header.created_ns // 1000),
        "code_version": header.code_version,
        "attempts": len(records),
        "questions": len(last),
        "passes": dict(Counter(record.pass_id for record in last)),
        "different": len({record.key for record in last}),
        "came": dict(Counter(_came(record) for record in last)),
        "cost_usd": round(sum(record.cost_usd or 0.0 for record in last), 6),
    }


def _entry(record: Record) -> dict[str, Any]:
    text = " ".join(record.as_attempt().text().split())
    return {
        "snapshot": _time(record.snapshot_ts_us),
        "pass_id": record.pass_id,
        "key": record.key,
        "attempt": record.attempt,
        "came": _came(record),
        "latency_ms": record.latency_us / 1000,
        "cost_usd": record.cost_usd,
        "body": "".join(char if char.isprintable() else " " for char in text)[:160],
    }


def _came(record: Record) -> str:
    return record.error or f"HTTP {record.status}"


def _time(us: int) -> str:
    try:
        return datetime.fromtimestamp(us / 1e6, UTC).isoformat(sep=" ", timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return f"{us} us"
