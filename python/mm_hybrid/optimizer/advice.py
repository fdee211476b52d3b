"""What an advisor may say, and how a reply of any shape becomes that or nothing.

A reply is sniffed (JSON or server-sent events, whatever was asked for), one Markdown fence is taken off, and
the one JSON object left must fit the model exactly. Numbers are never repaired: text, booleans, NaN,
infinities and duplicate keys reject the whole reply.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mm_hybrid._core import MmHybridError

REASONING_LIMIT = 200
"""Characters of reasoning that are kept, for people."""

MAX_TOKENS_TOLD = 2**53
"""A larger number of tokens is as good as none told, and would not fit into a file."""

DETAIL_LIMIT = 500
"""Characters of a reason that are kept; what a service wrote may be part of it."""

_FENCE = "```"
_LINE_END = re.compile(r"\r\n|\r|\n")


class Anomaly(StrEnum):
    """What the advisor thinks is wrong with the market; anything but ``none`` may only widen or reduce."""

    NONE = "none"
    SPIKE = "spike"
    THIN_BOOK = "thin_book"
    ONE_SIDED = "one_sided"
    DATA_FAULT = "data_fault"


class AdviceOutcome(StrEnum):
    """What became of one question; every question ends as exactly one of these."""

    ACCEPTED = "accepted"
    CLAMPED = "clamped"
    INVALID_TRANSPORT = "invalid_transport"
    INVALID_ENVELOPE = "invalid_envelope"
    INVALID_JSON = "invalid_json"
    INVALID_SCHEMA = "invalid_schema"
    OUT_OF_RATIO = "out_of_ratio"
    TIMEOUT = "timeout"
    HTTP_4XX = "http_4xx"
    RATE_LIMITED = "rate_limited"
    HTTP_5XX = "http_5xx"
    BREAKER_OPEN = "breaker_open"
    BUDGET_DENIED = "budget_denied"
    STALE = "stale"
    MODEL_MISMATCH = "model_mismatch"
    REPLAY_MISS = "replay_miss"


def printable(text: str, limit: int) -> str:
    """Return the first ``limit`` characters of foreign text, each that is not printable as a space."""
    return "".join(char if char.isprintable() else " " for char in text[:limit])


class AdviceRejectedError(MmHybridError):
    """A question that led to no advice; ``outcome`` says why, ``reply`` holds what came back."""

    def __init__(self, outcome: AdviceOutcome, detail: str, reply: str = "") -> None:
        self.detail = printable(detail, DETAIL_LIMIT)
        super().__init__(f"{outcome}: {self.detail}")
        self.outcome = outcome
        self.reply = reply


HalfSpreadBps = Annotated[float, Field(gt=0, le=500)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class AdviceReply(BaseModel):
    """The fields of a reply, as they travel.

    Attributes:
        recommended_bid_spread_bps: half-spread below the reference price, bps of mid.
        recommended_ask_spread_bps: half-spread above it, bps of mid.
        position_limit: fraction of the configured position limit.
        confidence: the advisor's own opinion of itself; recorded, not used.
        anomaly: label of what looks wrong.
        reasoning: for the log only; never parsed, never sent anywhere.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    recommended_bid_spread_bps: HalfSpreadBps
    recommended_ask_spread_bps: HalfSpreadBps
    position_limit: Fraction
    confidence: Fraction
    anomaly: Anomaly
    reasoning: str

    @field_validator("reasoning")
    @classmethod
    def _printable(cls, text: str) -> str:
        return printable(text, REASONING_LIMIT)


class SeedAdviceReply(AdviceReply):
    """The same in the prompt profile ``seed``, where the position limit is an absolute cap in base units."""

    position_limit: Annotated[float, Field(ge=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Advice in force: a reply that passed every check, with the market it was given about.

    Half-spreads are as the advisor said them, bps of mid; clamping happens where they are used, against the
    model of that moment. ``base_*_half_bps``, ``mid_price``, ``sigma`` and ``inventory_bucket`` belong to the snapshot
    asked about; the bucket is ``None`` where the question did not tell the inventory.
    """

    bid_half_bps: float
    ask_half_bps: float
    position_limit_frac: float
    confidence: float
    anomaly: Anomaly
    reasoning: str
    snapshot_ts_ns: int
    base_bid_half_bps: float
    base_ask_half_bps: float
    mid_price: float
    sigma: float
    inventory_bucket: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """The one answer inside a chat-completion envelope."""

    content: str
    model: str | None
    prompt_tokens: int | None
    completion_tokens: int | None


def read_completion(body: bytes) -> Completion:
    """Take the answer out of a response body: a JSON envelope or a stream of events, told apart by sniffing.

    Raises:
        AdviceRejectedError: ``invalid_envelope``; the body holds no single finished answer.

    Source: OpenAI API reference, Chat Completions (object and streamed chunks) and Responses streaming
    events.
    """
    text = body.decode("utf-8", errors="replace").lstrip("\ufeff \t\r\n")
    if text.startswith("{"):
        try:
            envelope = json.loads(text)
        except (ValueError, RecursionError):
            _reject(AdviceOutcome.INVALID_ENVELOPE, "the body is no complete JSON object", text)
        return _from_envelope(envelope, text)
    if text.startswith(("data:", "event:", "id:", "retry:", ":")):
        return _from_events(text)
    raise AdviceRejectedError(
        AdviceOutcome.INVALID_ENVELOPE, "the body is neither JSON nor an event stream", text
    )


def parse_reply(content: str, kind: type[AdviceReply] = AdviceReply) -> AdviceReply:
    """Check the text of an answer against the reply of a prompt profile.

    Raises:
        AdviceRejectedError: ``invalid_json`` or ``invalid_schema``, naming the field.
    """
    text = _without_fence(content.strip())
    try:
        value = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise AdviceRejectedError(AdviceOutcome.INVALID_JSON, str(error)[:REASONING_LIMIT], content) from None
    if not isinstance(value, dict):
        _reject(AdviceOutcome.INVALID_JSON, f"one JSON object expected, got {type(value).__name__}", content)
    reasoning = value.get("reasoning")
    if isinstance(reasoning, str) and any("\ud800" <= char <= "\udfff" for char in reasoning):
        # Half a pair of code units is no text, but reasoning is no reason to refuse.
        value["reasoning"] = reasoning.encode("utf-8", "replace").decode()
        text = json.dumps(value)
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        # A name that is not ours may say anything.
        name = str(first["loc"][0]) if first["loc"] else "reply"
        field = name if name in kind.model_fields or name == "reply" else "a field nobody asked for"
        raise AdviceRejectedError(AdviceOutcome.INVALID_SCHEMA, f"{field}: {first['msg']}", content) from None


def _without_fence(text: str) -> str:
    """Take one Markdown fence off, if there is one."""
    if len(text) < 2 * len(_FENCE) or not (text.startswith(_FENCE) and text.endswith(_FENCE)):
        return text
    label, line_end, inside = text[len(_FENCE) : -len(_FENCE)].partition("\n")
    label = label.strip()
    return inside.strip() if line_end and (not label or (label.isascii() and label.isalpha())) else text


def _reject(outcome: AdviceOutcome, detail: str, reply: str) -> NoReturn:
    raise AdviceRejectedError(outcome, detail, reply)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _from_envelope(envelope: Any, text: str) -> Completion:
    choices = envelope.get("choices") if isinstance(envelope, dict) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        _reject(AdviceOutcome.INVALID_ENVELOPE, "exactly one choice expected", text)
    choice = choices[0]
    message = choice.get("message")
    if choice.get("finish_reason") != "stop":
        _reject(AdviceOutcome.INVALID_ENVELOPE, f"finish_reason is {choice.get('finish_reason')!r:.40}", text)
    if not isinstance(message, dict) or message.get("refusal") or message.get("tool_calls"):
        _reject(AdviceOutcome.INVALID_ENVELOPE, "a refusal or tool calls instead of an answer", text)
    content = message.get("content")
    if not isinstance(content, str) or not content.strip():
        _reject(AdviceOutcome.INVALID_ENVELOPE, "the answer is empty", text)
    return _completion(content, envelope.get("model"), envelope.get("usage"))


def _from_events(text: str) -> Completion:
    parts: list[str] = []
    finish: Any = None
    refused = False
    model: Any = None
    usage: Any = None
    for event in _events(text):
        model, usage = event.get("model") or model, event.get("usage") or usage
        choices = event.get("choices")
        if isinstance(choices, list):
            for choice in choices:
                if not isinstance(choice, dict) or choice.get("index", 0) != 0:
                    _reject(AdviceOutcome.INVALID_ENVELOPE, "exactly one choice expected", text)
                delta = choice.get("delta")
                if isinstance(delta, dict):
                    refused = refused or bool(delta.get("refusal") or delta.get("tool_calls"))
                    if isinstance(delta.get("content"), str):
                        parts.append(delta["content"])
                finish = choice.get("finish_reason") or finish
        elif event.get("type") == "response.output_text.delta" and isinstance(event.get("delta"), str):
            parts.append(event["delta"])
        elif event.get("type") == "response.completed" and isinstance(event.get("response"), dict):
            finish = "stop"
            model, usage = event["response"].get("model") or model, event["response"].get("usage") or usage
    message = {"content": "".join(parts), "refusal": refused}
    envelope = {"choices": [{"message": message, "finish_reason": finish}], "model": model, "usage": usage}
    return _from_envelope(envelope, text)


def streamed_texts(body: bytes) -> list[str]:
    """Return each text that a stream of events carries in pieces, whatever else is wrong with the stream."""
    pieces: defaultdict[str, list[str]] = defaultdict(list)
    for data in _event_data(body.decode("utf-8", errors="replace")):
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            continue
        if not isinstance(event, dict):
            continue
        choices, delta = event.get("choices"), event.get("delta")
        deltas: list[Any] = [delta if isinstance(delta, dict) else {"delta": delta}]
        if isinstance(choices, list):
            deltas += [choice.get("delta") for choice in choices if isinstance(choice, dict)]
        for named in filter(lambda one: isinstance(one, dict), deltas):
            for name, text in named.items():
                if isinstance(text, str):
                    pieces[name].append(text)
    return ["".join(texts) for texts in pieces.values()]


def _event_data(text: str) -> Iterator[str]:
    """Yield what the events of a stream carry."""
    for line in _LINE_END.split(text):
        data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
        if data and data != "[DONE]":
            yield data


def _events(text: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for data in _event_data(text):
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            _reject(AdviceOutcome.INVALID_ENVELOPE, "an event is no JSON", text)
        if isinstance(event, dict):
            events.append(event)
    return events


def _completion(content: str, model: Any, usage: Any) -> Completion:
    def tokens(*names: str) -> int | None:
        for name in names:
            value = usage.get(name) if isinstance(usage, dict) else None
            if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS_TOLD:
                return value
        return None

    return Completion(
        content=content,
        model=None if model is None else str(model)[:REASONING_LIMIT],
        prompt_tokens=tokens("prompt_tokens", "input_tokens"),
        completion_tokens=tokens("completion_tokens", "output_tokens"),
    )
