"""Times on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

_NS_PER_US = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NS_BOUND = 2**63


def moment(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Read ISO 8601 (UTC unless it names a zone) or integer nanoseconds; return nanoseconds."""
    if value is None:
        return None
    ns = _ns(value)
    if ns is None:
        reason = f"{value!r} is neither an ISO 8601 time nor integer nanoseconds"
        raise click.BadParameter(reason, ctx=ctx, param=param)
    if not -_NS_BOUND <= ns < _NS_BOUND:
        reason = f"{value!r} is not within the years 1678 to 2261, which nanoseconds can name"
        raise click.BadParameter(reason, ctx=ctx, param=param)
    return ns


def iso(ns: int) -> str:
    """Write nanoseconds since the epoch as ISO 8601, UTC, to the microsecond."""
    return (_EPOCH + timedelta(microseconds=ns // _NS_PER_US)).isoformat().replace("+00:00", "Z")


def _ns(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return (at - _EPOCH) // timedelta(microseconds=1) * _NS_PER_US
