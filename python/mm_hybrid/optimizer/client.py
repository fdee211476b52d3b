"""The one place that talks HTTP to an advisor: one question, one deadline, one retry at most.

The deadline covers everything, connection and retries and a body that drips in byte by byte; the body is
capped; redirects are not followed; unencrypted HTTP is allowed to this machine only. The key travels in one
header and stands in no message, log, repr or recording: what comes back is rid of it before anything else sees it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from mm_hybrid.clock import Clock
from mm_hybrid.config import AdvisorConfig
from mm_hybrid.errors import ConfigError
from mm_hybrid.optimizer.advice import AdviceOutcome, AdviceRejectedError, streamed_texts
from mm_hybrid.optimizer.attempt import (
    KEPT_HEADERS,
    MAX_BODY_BYTES,
    Attempt,
    body_of,
    is_retryable,
    retry_after_s,
)
from mm_hybrid.optimizer.budget import MAX_ATTEMPTS
from mm_hybrid.optimizer.prompt import wire_body
from mm_hybrid.optimizer.redaction import HIDDEN, Redactor

CONNECT_TIMEOUT_S = 0.5
MAX_LIST_BYTES = 2 * 1024 * 1024
"""A list of models may be long; nothing of it is kept but names and dates."""

MAX_PIECES = 8192
"""Chunks a body may come in: an answer of two hundred tokens takes some hundred."""

_PIECES_A_TURN = 16
"""Chunks that are taken in one turn of the event loop, whose other work waits for them."""

MAX_NAME_CHARS = 100
"""Characters of a model's name that are kept."""

_FIRST_BACKOFF_S = 0.5
_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """A model the service offers, and the day it goes away if that is known."""

    name: str
    shutdown: date | None = None


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
        self._url = url
        self._timeout_s = config.deadline_s
        self._key = api_key
        self._redactor = Redactor(api_key.get_secret_value())
        self._clock = clock
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(config.deadline_s, connect=min(CONNECT_TIMEOUT_S, config.deadline_s)),
            follow_redirects=False,
            trust_env=not is_loopback(url),
            limits=httpx.Limits(max_connections=2),
        )

    def __repr__(self) -> str:
        """Name the service, never the key."""
        return f"AdvisorClient({self._url!r})"

    async def ask(
        self, request: Mapping[str, Any], attempts: list[Attempt], *, most_attempts: int = MAX_ATTEMPTS
    ) -> None:
        """Send one question; what came of it, with at most one retry, is appended to ``attempts``. Never raises.

        A question that is cancelled leaves what was known until then.
        """
        started_ns = self._clock.monotonic_ns()
        content = wire_body(request)
        try:
            async with asyncio.timeout(self._timeout_s) as deadline:
                await self._ask_with_retry(content, deadline, started_ns, attempts, most_attempts)
        except TimeoutError:
            attempts.append(
                Attempt(
                    error="timeout",
                    detail=f"no whole answer in {self._timeout_s:g} s",
                    latency_ns=self._clock.monotonic_ns() - started_ns,
                )
            )

    async def models(self) -> list[ListedModel]:
        """Return what the service offers.

        Raises:
            AdviceRejectedError: there is no list, or none that can be read. RefusedError: the key was refused.

        Source: OpenAI API reference, List models; ``shutdown_date`` as on its deprecations page.
        """
        started_ns = self._clock.monotonic_ns()
        try:
            async with asyncio.timeout(self._timeout_s):
                attempt = await self._send("GET", "/models", None, started_ns, MAX_LIST_BYTES)
        except TimeoutError:
            attempt = Attempt(error="timeout", detail=f"no list of models in {self._timeout_s:g} s")
        return read_models(body_of(attempt))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _ask_with_retry(
        self,
        content: bytes,
        deadline: asyncio.Timeout,
        started_ns: int,
        attempts: list[Attempt],
        most_attempts: int,
    ) -> None:
        first = await self._send("POST", "/chat/completions", content, started_ns, MAX_BODY_BYTES)
        attempts.append(first)
        if most_attempts < MAX_ATTEMPTS or not is_retryable(first):
            return
        wait_s = retry_after_s(first, self._clock.now_ns() / 1e9)
        if wait_s is None:
            wait_s = random.uniform(0, _FIRST_BACKOFF_S)
        left_s = (deadline.when() or 0.0) - asyncio.get_running_loop().time()
        if wait_s >= left_s:
            return
        await asyncio.sleep(wait_s)
        attempts.append(await self._send("POST", "/chat/completions", content, started_ns, MAX_BODY_BYTES))

    async def _send(
        self, method: str, path: str, content: bytes | None, started_ns: int, max_bytes: int
    ) -> Attempt:
        """Make one request. Raises ``TimeoutError`` alone."""
        headers = {
            "Authorization": f"Bearer {self._key.get_secret_value()}",
            "Accept-Encoding": "identity",
            "X-Request-Id": uuid.uuid4().hex,
        }
        if content is not None:
            headers["Content-Type"] = "application/json"

        def failed(kind: Any, error: Exception | str) -> Attempt:
            detail = error if isinstance(error, str) else f"{type(error).__name__}: {error}".rstrip(": ")
            detail = self._redactor.clean_text(detail)
            return Attempt(error=kind, detail=detail, latency_ns=self._clock.monotonic_ns() - started_ns)

        body = bytearray()
        try:
            async with self._http.stream(
                method, f"{self._url}{path}", content=content, headers=headers
            ) as response:
                pieces = 0
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > max_bytes:
                        return failed("too_large", f"the body is over {max_bytes} bytes")
                    pieces += 1
                    if pieces > MAX_PIECES:
                        return failed("too_large", f"the body comes in over {MAX_PIECES} pieces")
                    if pieces % _PIECES_A_TURN == 0:
                        await asyncio.sleep(0)
                status, received = response.status_code, response.headers
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            return failed("connect", error)
        except httpx.TimeoutException:
            raise TimeoutError from None
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, ValueError) as error:
            return failed("transport", error)
        return Attempt(
            status=status,
            headers={
                name: self._redactor.clean_text(received[name])[:200]
                for name in KEPT_HEADERS
                if name in received
            },
            body=self._without_key(bytes(body)),
            latency_ns=self._clock.monotonic_ns() - started_ns,
        )

    def _without_key(self, body: bytes) -> bytes:
        """Take the key out of a body; one whose pieces make it up together says nothing at all."""
        body = self._redactor.clean(body)
        if any(self._redactor.clean_text(text) != text for text in streamed_texts(body)):
            return HIDDEN
        return body


def read_models(body: bytes) -> list[ListedModel]:
    """Return the models of a list.

    Raises:
        AdviceRejectedError: ``invalid_envelope``; it is no list of models.
    """
    try:
        entries = json.loads(body)["data"]
        names = [
            (_short(entry["id"]), entry.get("shutdown_date"))
            for entry in entries
            if isinstance(entry["id"], str)
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise AdviceRejectedError(
            AdviceOutcome.INVALID_ENVELOPE, "the list of models cannot be read"
        ) from None
    return [ListedModel(name=name, shutdown=_day(day)) for name, day in names]


def _short(name: str) -> str:
    return "".join(char if char.isprintable() else " " for char in name[:MAX_NAME_CHARS])


def _day(value: object) -> date | None:
    """Return a day written as ``2027-01-14``, with or without a time, or as seconds since 1970."""
    try:
        if isinstance(value, str):
            return date.fromisoformat(value[:10])
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC).date()
    except (ValueError, OverflowError, OSError):
        pass
    return None
