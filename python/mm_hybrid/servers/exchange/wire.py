"""What both venues' protocols share: text of numbers and times, signatures, bodies, pages, rate limits."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import TypeVar

Row = TypeVar("Row")

Fields = dict[str, object]
"""A JSON object on the wire, either way."""


def number(value: Decimal) -> str:
    """Return decimal text without exponent and trailing zeros."""
    if value == 0:
        return "0"
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def rounded(value: Decimal, places: int = 8) -> str:
    """Return decimal text rounded to ``places``, for amounts no client reckons with exactly."""
    return number(round(value, places))


FUNDING_INTERVAL_MS = 8 * 3_600_000


def millis(time_ns: int) -> str:
    """Return nanoseconds as the venues' millisecond text."""
    return str(time_ns // 1_000_000)


def parse_decimal(value: object) -> Decimal | None:
    """Read a number sent as text or JSON number; absent, empty and unreadable are ``None``."""
    if value is None or value == "" or isinstance(value, bool):
        return None
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return None


def text(fields: Fields, key: str) -> str:
    """Return a field as text; absent and null are empty."""
    value = fields.get(key)
    return "" if value is None else str(value)


def parse_object(body: str | bytes) -> Fields | None:
    """Read a JSON object; anything else is ``None``."""
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def sign(secret: str, payload: str) -> bytes:
    """Return HMAC-SHA256 of ``payload``; the venues differ in how they write it down."""
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).digest()


def page_size(wanted: object, default: int, most: int) -> int:
    """Return the rows of a page: the client's wish within the venue's bounds."""
    value = parse_decimal(wanted)
    return default if value is None else max(1, min(int(value), most))


def first(rows: Iterable[Row], count: int) -> list[Row]:
    """Return at most ``count`` rows."""
    return list(islice(rows, count))


def window_ns(params: Fields) -> tuple[int, int]:
    """Return the time window a query asks for by ``startTime`` and ``endTime``; open where not given."""
    begin, end = text(params, "startTime"), text(params, "endTime")
    return (
        int(begin) * 1_000_000 if begin.isdigit() else 0,
        int(end) * 1_000_000 + 999_999 if end.isdigit() else 1 << 63,
    )


def next_funding_ms(now_ms: int) -> int:
    """Return the next full eight hours, when both venues settle funding by default."""
    return (now_ms // FUNDING_INTERVAL_MS + 1) * FUNDING_INTERVAL_MS
