"""The rule-based advisor: a local OpenAI-compatible server answering from rules, no language model.

Rules, on the numbers of the user message (names as in the advisor's contract):

* half-spread of a side = its base x (1 + sigma_1m_bps / 100, at most 1.5), x 1.5 during a spike,
  x (1 + 0.2 x the part of trade_imb_60s that trades against the side);
* position_limit = 0.5 during a spike, else 1; confidence = 0.5;
* anomaly = spike, else thin_book when both best quantities are under a tenth of their usual size, else
  one_sided when abs(imbalance_l5) > 0.95, else none.

It exists so that the whole path to an advisor runs without a network. It proves plumbing and no value of
advice.

Source of the wire format: OpenAI API reference, Create chat completion, List models.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mm_hybrid.errors import ServerError

MODEL = "rule-based-1"


class AdvisorServerConfig(BaseModel):
    """Where to listen, and faults to serve instead of answers.

    Attributes:
        host: address to listen on.
        port: port, 0 for any free one.
        delay_ms: wait before each answer.
        status: HTTP status of each answer to a completion request.
        raw_body: body sent instead of an answer, as it is.
        retry_after: value of a ``Retry-After`` header.
        shutdown_date: last day told for the model, such as ``2027-01-14``.
        refuse_formats: kinds of ``response_format`` answered with 400, as some services do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    delay_ms: Annotated[int, Field(ge=0, le=600_000)] = 0
    status: Annotated[int, Field(ge=200, le=599)] = 200
    raw_body: str | None = None
    retry_after: str | None = None
    shutdown_date: str | None = None
    refuse_formats: tuple[str, ...] = ()


class _Measurements(BaseModel):
    """The part of the user message the rules read."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    contract: Literal["mmh-advice/1"]
    base_bid_half_bps: Annotated[float, Field(gt=0)]
    base_ask_half_bps: Annotated[float, Field(gt=0)]
    sigma_1m_bps: float | None = None
    trade_imb_60s: float | None = None
    imbalance_l5: float | None = None
    bid_qty_rel: float | None = None
    ask_qty_rel: float | None = None
    spike: bool = False


class _Message(BaseModel):
    role: str
    content: str


class _CompletionRequest(BaseModel):
    model_config = ConfigDict(extra="ignore")

    model: str
    messages: Annotated[list[_Message], Field(min_length=1)]
    response_format: dict[str, Any] | None = None


def advise(measured: _Measurements) -> dict[str, Any]:
    """Return the advice the rules give on one set of measurements."""
    volatility = min(1 + max(measured.sigma_1m_bps or 0.0, 0.0) / 100, 1.5)
    both = volatility * (1.5 if measured.spike else 1.0)
    flow = measured.trade_imb_60s or 0.0
    return {
        "recommended_bid_spread_bps": round(
            measured.base_bid_half_bps * both * (1 + 0.2 * max(-flow, 0.0)), 6
        ),
        "recommended_ask_spread_bps": round(
            measured.base_ask_half_bps * both * (1 + 0.2 * max(flow, 0.0)), 6
        ),
        "position_limit": 0.5 if measured.spike else 1.0,
        "confidence": 0.5,
        "anomaly": _anomaly(measured),
        "reasoning": f"rules: volatility x{volatility:.2f}, spike {measured.spike}, flow {flow:+.2f}",
    }


async def serve_advisor(
    config: AdvisorServerConfig, *, ready: Callable[[dict[str, object]], None], stop: asyncio.Event
) -> None:
    """Serve until ``stop`` is set; ``ready`` gets the address once connections are accepted.

    Raises:
        ServerError: the address cannot be listened on.
    """
    application = web.Application(client_max_size=256 * 1024)
    service = _Service(config, stop)
    application.router.add_post("/v1/chat/completions", service.complete)
    application.router.add_get("/v1/models", service.models)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, config.host, config.port)
        try:
            await site.start()
        except OSError as error:
            reason = error.strerror or str(error)
            raise ServerError(
                f"advisor server: cannot listen on {config.host}:{config.port}: {reason}"
            ) from error
        port = runner.addresses[0][1]
        ready({"server": "advisor", "host": config.host, "port": port})
        await stop.wait()
    finally:
        await runner.cleanup()


class _Service:
    def __init__(self, config: AdvisorServerConfig, stop: asyncio.Event) -> None:
        self._config = config
        self._stop = stop
        self._answered = 0

    async def models(self, request: web.Request) -> web.Response:
        refused = _unauthorized(request)
        model: dict[str, Any] = {"id": MODEL, "object": "model", "created": 0, "owned_by": "local"}
        if self._config.shutdown_date is not None:
            model["shutdown_date"] = self._config.shutdown_date
        return refused or web.json_response({"object": "list", "data": [model]})

    async def complete(self, request: web.Request) -> web.Response:
        if refused := _unauthorized(request):
            return refused
        body = await request.read()
        if self._config.delay_ms:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._config.delay_ms / 1000)
        headers = {} if self._config.retry_after is None else {"Retry-After": self._config.retry_after}
        if self._config.raw_body is not None:
            return web.Response(
                status=self._config.status,
                body=self._config.raw_body.encode(),
                headers=headers,
                content_type="text/plain",
            )
        if self._config.status != 200:
            return _error(self._config.status, "configured fault", "fault", headers)
        return self._answer(body)

    def _answer(self, body: bytes) -> web.Response:
        try:
            request = _CompletionRequest.model_validate_json(body)
        except ValidationError:
            return _error(400, "the body is no chat-completion request", "invalid_request_error")
        if request.model != MODEL:
            return _error(
                404,
                f"the model {request.model[:80]!r} does not exist here, only {MODEL!r}",
                "model_not_found",
            )
        wanted = "none" if request.response_format is None else str(request.response_format.get("type"))
        if wanted in self._config.refuse_formats:
            return _error(400, f"response_format {wanted} is not supported", "invalid_request_error")
        user = request.messages[-1].content
        try:
            measured = _Measurements.model_validate_json(user)
        except ValidationError:
            return _error(
                400, "the user message is no measurement of contract mmh-advice/1", "invalid_request_error"
            )
        self._answered += 1
        content = json.dumps(advise(measured), separators=(",", ":"))
        prompt_tokens = sum(len(message.content) for message in request.messages) // 4
        completion_tokens = len(content) // 4
        return web.json_response(
            {
                "id": f"chatcmpl-rule-{self._answered}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": MODEL,
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": content},
                        "finish_reason": "stop",
                    }
                ],
                "usage": {
                    "prompt_tokens": prompt_tokens,
                    "completion_tokens": completion_tokens,
                    "total_tokens": prompt_tokens + completion_tokens,
                },
            }
        )


def _anomaly(measured: _Measurements) -> str:
    if measured.spike:
        return "spike"
    best_qtys_rel = (measured.bid_qty_rel, measured.ask_qty_rel)
    if all(qty_rel is not None and qty_rel < 0.1 for qty_rel in best_qtys_rel):
        return "thin_book"
    if abs(measured.imbalance_l5 or 0.0) > 0.95:
        return "one_sided"
    return "none"


def _unauthorized(request: web.Request) -> web.Response | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return None
    return _error(401, "a bearer token is required; any will do", "invalid_api_key")


def _error(status: int, message: str, code: str, headers: dict[str, str] | None = None) -> web.Response:
    body = {"error": {"message": message, "type": code, "code": code}}
    return web.json_response(body, status=status, headers=headers)
