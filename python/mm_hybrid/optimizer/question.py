"""One question to an advisor: what is known about it, how its answer becomes advice, and its row in the journal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mm_hybrid.breaker import Permit
from mm_hybrid.config import AdvisorConfig
from mm_hybrid.optimizer.advice import (
    Advice,
    AdviceOutcome,
    AdviceRejectedError,
    AdviceReply,
    Completion,
    SeedAdviceReply,
    parse_reply,
)
from mm_hybrid.optimizer.attempt import Attempt
from mm_hybrid.optimizer.base import BaseQuote
from mm_hybrid.optimizer.blend import clamped, within_gate
from mm_hybrid.optimizer.budget import Reservation
from mm_hybrid.optimizer.prepare import Service
from mm_hybrid.optimizer.prompt import Inventory
from mm_hybrid.types import Features

SERVICE_FAILURES = frozenset(
    {
        AdviceOutcome.TIMEOUT,
        AdviceOutcome.INVALID_TRANSPORT,
        AdviceOutcome.INVALID_ENVELOPE,
        AdviceOutcome.HTTP_5XX,
        AdviceOutcome.RATE_LIMITED,
    }
)
"""Outcomes that speak against the service, not against the question."""

FULL_SPREAD_RATIO = (1.9, 2.1)
"""Advice over the model, on both sides, that looks like whole spreads where halves were asked for."""

_RELEASE = re.compile(r"(?:-20\d\d(-?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01]))?", re.ASCII)
"""What may follow a model's name: nothing, or the day of its release."""

NOT_SENT = frozenset({AdviceOutcome.BREAKER_OPEN, AdviceOutcome.BUDGET_DENIED, AdviceOutcome.REPLAY_MISS})


class AdviceJournal(Protocol):
    """Where outcomes are recorded."""

    def advice(
        self,
        *,
        outcome: str,
        request_json: str,
        reply_text: str = "",
        bid_half_bps: float | None = None,
        ask_half_bps: float | None = None,
        base_bid_half_bps: float | None = None,
        base_ask_half_bps: float | None = None,
        latency_ms: float | None = None,
        cost_usd: float | None = None,
        detail: str = "",
        snapshot_ns: int | None = None,
        prompt: str | None = None,
        anomaly: str | None = None,
        confidence: float | None = None,
        position_limit: float | None = None,
        used_bid_half_bps: float | None = None,
        used_ask_half_bps: float | None = None,
    ) -> object:
        """Record one question and what became of it."""
        ...

    def state(self, what: str, value: str, detail: str = "") -> object:
        """Record a change of state."""
        ...


class AdviceClient(Service, Protocol):
    """What carries questions to the service."""

    async def close(self) -> None:
        """Free what it holds."""
        ...


@dataclass(slots=True)
class Question:
    """One question under way and what is known about it.

    Attributes:
        number: counts the questions of a session.
        features: the market asked about.
        base: the model's quote the answer is measured against.
        inventory: position and limit told, in the prompt profile that tells them.
        request: what is sent.
        request_json: the same for the journal.
        sent_ns: wall clock when it was made.
        attempts: what came back so far.
        reservation: money set aside and not yet settled.
        permit: the breaker's leave.
        reply: the answer, once it could be read.
        advice: what came into force.
        void: why the market asked about is gone; ``None`` while it is not.
        remark: what people should know about an answer that passed.
        used: tokens of prompt and reply, as told.
        cost_usd: what it was charged.
    """

    number: int
    features: Features
    base: BaseQuote
    inventory: Inventory
    request: Mapping[str, Any]
    request_json: str
    sent_ns: int
    attempts: list[Attempt] = field(default_factory=list)
    reservation: Reservation | None = None
    permit: Permit | None = None
    reply: AdviceReply | None = None
    advice: Advice | None = None
    void: str | None = None
    remark: str = ""
    used: tuple[int | None, int | None] = (None, None)
    cost_usd: float | None = None


def advice_from(
    question: Question, completion: Completion, config: AdvisorConfig
) -> tuple[Advice, AdviceOutcome]:
    """Return the advice of an answer that passes every check, and whether it is ``accepted`` or ``clamped``.

    Raises:
        AdviceRejectedError: another model answered, the reply does not fit, or it is a unit error.
    """
    if completion.model is not None and not same_model(config.model, completion.model):
        raise AdviceRejectedError(
            AdviceOutcome.MODEL_MISMATCH, f"asked {config.model!r}, answered by {completion.model!r:.80}"
        )
    tells_inventory = config.prompt == "seed"
    kind = SeedAdviceReply if tells_inventory else AdviceReply
    question.reply = reply = parse_reply(completion.content, kind)
    base, features, inventory = question.base, question.features, question.inventory
    sides = (
        (base.bid_half_bps, reply.recommended_bid_spread_bps),
        (base.ask_half_bps, reply.recommended_ask_spread_bps),
    )
    if all(FULL_SPREAD_RATIO[0] <= side / anchor <= FULL_SPREAD_RATIO[1] for anchor, side in sides):
        question.remark = "both sides are about twice the model: a whole spread given for half of it?"
    for anchor, side in sides:
        if not within_gate(anchor, side):
            raise AdviceRejectedError(
                AdviceOutcome.OUT_OF_RATIO, f"{side:g} bps is {side / anchor:.3g} times the model"
            )
    limit = reply.position_limit
    if tells_inventory:
        limit = min(limit / inventory.limit_base, 1.0) if inventory.limit_base > 0 else 1.0
    advice = Advice(
        bid_half_bps=reply.recommended_bid_spread_bps,
        ask_half_bps=reply.recommended_ask_spread_bps,
        position_limit_frac=limit,
        confidence=reply.confidence,
        anomaly=reply.anomaly,
        reasoning=reply.reasoning,
        snapshot_ts_ns=features.timestamp_ns,
        base_bid_half_bps=base.bid_half_bps,
        base_ask_half_bps=base.ask_half_bps,
        mid_price=features.mid_price,
        sigma=features.calibration.sigma,
        inventory_bucket=inventory.bucket if tells_inventory else None,
    )
    moved = any(clamped(anchor, side) != side for anchor, side in sides)
    return advice, AdviceOutcome.CLAMPED if moved else AdviceOutcome.ACCEPTED


def journal_row(question: Question, outcome: AdviceOutcome, detail: str, prompt: str) -> dict[str, Any]:
    """Return a question that is over as the arguments of :meth:`AdviceJournal.advice`."""
    reply, base, advice = question.reply, question.base, question.advice
    last = question.attempts[-1] if question.attempts else None
    sent = outcome not in NOT_SENT
    return {
        "outcome": outcome.value,
        "request_json": question.request_json,
        "reply_text": last.text() if last else "",
        "bid_half_bps": reply.recommended_bid_spread_bps if reply else None,
        "ask_half_bps": reply.recommended_ask_spread_bps if reply else None,
        "base_bid_half_bps": base.bid_half_bps,
        "base_ask_half_bps": base.ask_half_bps,
        "latency_ms": last.latency_ns / 1e6 if last and sent else None,
        "cost_usd": question.cost_usd if sent else 0.0,
        "detail": detail,
        "snapshot_ns": question.features.timestamp_ns,
        "prompt": prompt,
        "anomaly": reply.anomaly.value if reply else None,
        "confidence": reply.confidence if reply else None,
        "position_limit": reply.position_limit if reply else None,
        "used_bid_half_bps": clamped(base.bid_half_bps, advice.bid_half_bps) if advice else None,
        "used_ask_half_bps": clamped(base.ask_half_bps, advice.ask_half_bps) if advice else None,
    }


def judge(permit: Permit, error: AdviceRejectedError) -> None:
    """Tell the breaker whether a rejection speaks against the service."""
    if error.outcome in SERVICE_FAILURES:
        permit.failure(error.detail)
    else:
        permit.success()


def same_model(asked: str, answered: str) -> bool:
    """Return whether the answer names the model asked for, or a dated release of it.

    A vendor's prefix that was asked for may be missing in the answer; one that was not asked for may not stand there.
    """
    return any(
        answered.startswith(name) and _RELEASE.fullmatch(answered[len(name) :])
        for name in (asked, asked.rsplit("/", 1)[-1])
    )
