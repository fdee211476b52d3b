"""The one place that talks HTTP to an advisor: one question, one deadline, one retry at most.

The deadline covers everything, connection and retries and a body that drips in byte by byte; the body is
capped; redirects are not followed; unencrypted HTTP is allowed to this machine only. The key travels in one
header and stands in no message, log or repr.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from mm_hybrid.clock import Clock
from mm_hybrid.config import AdvisorConfig
from mm_hybrid.errors import ConfigError
from mm_hybrid.optimizer.advice import AdviceOutcome, AdviceRejectedError

MAX_BODY_BYTES = 64 * 1024
CONNECT_TIMEOUT_S = 0.5
RETRY_STATUSES = frozenset({429, 502, 503, 504})
LATCHING_STATUSES = frozenset({401, 402, 403, 404})
"""Refusals that no repetition changes: key, payment, permission, model."""

_FIRST_BACKOFF_S = 0.5
_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Response:
    """A 200 answer's body, and how long everything took."""

    body: bytes
    latency_ms: float


class RefusedError(AdviceRejectedError):
    """The service refused in a way that repetition does not change."""


def key_from_env(config: AdvisorConfig, environ: Mapping[str, str] | None = None) -> SecretStr | None:
    """Return the key from the environment variable the configuration names; ``None`` when unset."""
    key = (os.environ if environ is None else environ).get(config.api_key_env, "").strip()
    return SecretStr(key) if key else None


def is_loopback(url: str) -> bool:
    """Return whether a URL points at this machine."""
    return urlsplit(url).hostname in _LOOPBACK_HOSTS


class AdvisorClient:
    """Sends chat-completion requests to one OpenAI-compatible service.

    Args:
        config: base URL and deadline.
        api_key: sent as bearer token.
        clock: where elapsed time comes from.

    Raises:
        ConfigError: the URL is unencrypted and not on this machine, or the key holds characters no header can
        carry.
    """

    def __init__(self, config: AdvisorConfig, api_key: SecretStr, clock: Clock) -> None:
        url = config.base_url.rstrip("/")
        if urlsplit(url).scheme != "https" and not (urlsplit(url).scheme == "http" and is_loopback(url)):
            raise ConfigError(f"advisor.base_url {url!r}: use https, or http on this machine")
        if not api_key.get_secret_value().isascii() or not api_key.get_secret_value().isprintable():
            raise ConfigError(f"{config.api_key_env}: the key holds characters that no HTTP header can carry")
        self._url = f"{url}/chat/completions"
        self._timeout_s = config.timeout_s
        self._key = api_key
        self._clock = clock
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(config.timeout_s, connect=min(CONNECT_TIMEOUT_S, config.timeout_s)),
            follow_redirects=False,
            trust_env=not is_loopback(url),
            limits=httpx.Limits(max_connections=2),
        )

    def __repr__(self) -> str:
        """Name the service, never the key."""
        return f"AdvisorClient({self._url!r})"

    async def ask(self, request: Mapping[str, Any]) -> Response:
        """Send one question and return the body of its answer.

        Raises:
            AdviceRejectedError: ``timeout``, ``invalid_transport``, ``rate_limited``, ``http_5xx`` or
            ``http_4xx``. RefusedError: the key, the account or the model was refused.
        """
        started_ns = self._clock.monotonic_ns()
        content = json.dumps(request, separators=(",", ":"), ensure_ascii=False).encode()
        try:
            async with asyncio.timeout(self._timeout_s) as deadline:
                body = await self._ask_with_retry(content, deadline)
        except TimeoutError:
            raise AdviceRejectedError(
                AdviceOutcome.TIMEOUT, f"no whole answer in {self._timeout_s:g} s"
            ) from None
        return Response(body, (self._clock.monotonic_ns() - started_ns) / 1e6)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _ask_with_retry(self, content: bytes, deadline: asyncio.Timeout) -> bytes:
        try:
            return await self._ask_once(content)
        except _RetryableError as error:
            first = error.rejection
            wait_s = error.retry_after_s
        if wait_s is None:
            wait_s = random.uniform(0, _FIRST_BACKOFF_S)
        left_s = (deadline.when() or 0.0) - asyncio.get_running_loop().time()
        if wait_s >= left_s:
            raise first
        await asyncio.sleep(wait_s)
        try:
            return await self._ask_once(content)
        except _RetryableError as error:
            raise error.rejection from None

    async def _ask_once(self, content: bytes) -> bytes:
        headers = {
            "Authorization": f"Bearer {self._key.get_secret_value()}",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "X-Request-Id": uuid.uuid4().hex,
        }
        try:
            async with self._http.stream("POST", self._url, content=content, headers=headers) as response:
                body = await _read_capped(response)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _RetryableError(_transport(error)) from None
        except httpx.TimeoutException:
            raise TimeoutError from None
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise _transport(error) from None
        if response.status_code == 200:
            return body
        raise _refusal(response, body, self._clock.now_ns() / 1e9)


class _RetryableError(Exception):
    def __init__(self, rejection: AdviceRejectedError, retry_after_s: float | None = None) -> None:
        super().__init__(str(rejection))
        self.rejection = rejection
        self.retry_after_s = retry_after_s


async def _read_capped(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise AdviceRejectedError(
                AdviceOutcome.INVALID_TRANSPORT, f"the body is over {MAX_BODY_BYTES} bytes"
            )
    return bytes(body)


def _transport(error: Exception) -> AdviceRejectedError:
    return AdviceRejectedError(
        AdviceOutcome.INVALID_TRANSPORT, f"{type(error).__name__}: {error}".rstrip(": ")
    )


def _refusal(response: httpx.Response, body: bytes, now_s: float) -> Exception:
    """Return the exception of an answer that is no 200."""
    status = response.status_code
    outcome = AdviceOutcome.HTTP_4XX
    if status == 429:
        outcome = AdviceOutcome.RATE_LIMITED
    elif status >= 500:
        outcome = AdviceOutcome.HTTP_5XX
    elif not 400 <= status < 500:
        outcome = AdviceOutcome.INVALID_TRANSPORT
    text = body.decode("utf-8", errors="replace")
    if status in LATCHING_STATUSES:
        return RefusedError(outcome, f"HTTP {status}", text)
    rejection = AdviceRejectedError(outcome, f"HTTP {status}", text)
    if status in RETRY_STATUSES:
        return _RetryableError(rejection, _retry_after_s(response.headers.get("retry-after"), body, now_s))
    return rejection


def _retry_after_s(header: str | None, body: bytes, now_s: float) -> float | None:
    """Return the wait asked for: seconds or an HTTP date in the header, or seconds in the error body."""
    value: Any = header
    if value is None:
        try:
            value = json.loads(body)["error"]["retry_after"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        try:
            seconds = parsedate_to_datetime(str(value)).timestamp() - now_s
        except (ValueError, TypeError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
