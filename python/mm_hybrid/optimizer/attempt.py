"""One try at the service as plain data, and what it means; live answers and recorded ones are read alike."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from mm_hybrid.optimizer.advice import AdviceOutcome, AdviceRejectedError

TransportError = Literal[
    "timeout", "connect", "transport", "too_large", "abandoned", "breaker_open", "budget_denied"
]
"""What went wrong on the way; the last two never left."""

MAX_BODY_BYTES = 64 * 1024
RETRY_STATUSES = frozenset({429, 502, 503, 504})
LATCHING_STATUSES = frozenset({401, 402, 403, 404})
"""Refusals that no repetition changes: key, payment, permission, model."""

KEPT_HEADERS = (
    "content-type",
    "retry-after",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
)
"""Response headers that are looked at and recorded; no other can carry anything into a file."""

_OUTCOMES = {
    "timeout": AdviceOutcome.TIMEOUT,
    "breaker_open": AdviceOutcome.BREAKER_OPEN,
    "budget_denied": AdviceOutcome.BUDGET_DENIED,
}
_MODEL_CODES = frozenset({"model_not_found", "model_not_available", "invalid_model"})


class RefusedError(AdviceRejectedError):
    """The service refused in a way that repetition does not change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What one request led to: a status with a body, or an error.

    Attributes:
        status: HTTP status; ``None`` with an error.
        headers: the ones of :data:`KEPT_HEADERS` that were there.
        body: at most :data:`MAX_BODY_BYTES`, as it came.
        error: what went wrong on the way.
        detail: for people.
        latency_ns: from the question's start to the end of this attempt, waits and earlier attempts included.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: TransportError | None = None
    detail: str = ""
    latency_ns: int = 0

    def text(self) -> str:
        """Return the body for people and for the journal."""
        return self.body.decode("utf-8", errors="replace")


def body_of(attempt: Attempt) -> bytes:
    """Return the body of an answer.

    Raises:
        AdviceRejectedError: ``timeout``, ``invalid_transport``, ``rate_limited``, ``http_5xx`` or ``http_4xx``.
        RefusedError: the key, the account or the model was refused.
    """
    if attempt.error is not None:
        outcome = _OUTCOMES.get(attempt.error, AdviceOutcome.INVALID_TRANSPORT)
        raise AdviceRejectedError(outcome, attempt.detail or attempt.error, attempt.text())
    status = attempt.status or 0
    if status == 200:
        return attempt.body
    outcome = AdviceOutcome.HTTP_4XX
    if status == 429:
        outcome = AdviceOutcome.RATE_LIMITED
    elif status >= 500:
        outcome = AdviceOutcome.HTTP_5XX
    elif not 400 <= status < 500:
        outcome = AdviceOutcome.INVALID_TRANSPORT
    latches = status in LATCHING_STATUSES or (
        400 <= status < 500 and _error_code(attempt.body) in _MODEL_CODES
    )
    kind = RefusedError if latches else AdviceRejectedError
    raise kind(outcome, f"HTTP {status}", attempt.text())


def is_retryable(attempt: Attempt) -> bool:
    """Return whether one more try may help: no connection, or a service that says it is busy."""
    return attempt.error == "connect" or attempt.status in RETRY_STATUSES


def retry_after_s(attempt: Attempt, now_s: float) -> float | None:
    """Return the wait asked for: seconds or an HTTP date in the header, or seconds in the error body."""
    value: Any = attempt.headers.get("retry-after")
    if value is None:
        value = _error_field(attempt.body, "retry_after")
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        try:
            moment = parsedate_to_datetime(str(value))
            # An HTTP date is in GMT, also where it does not say so (RFC 9110, section 5.6.7).
            seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now_s
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _error_field(body: bytes, name: str) -> Any:
    try:
        return json.loads(body)["error"][name]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _error_code(body: bytes) -> str | None:
    code = _error_field(body, "code")
    return code if isinstance(code, str) else None
