"""The advisor beside the quoting loop: asks now and then, checks, records, keeps one piece of advice.

Nothing here is awaited by quoting. ``offer`` takes the market in and perhaps starts a question as a task;
``advice_for`` reads one attribute. Every question ends as one :class:`AdviceOutcome` and one journal record,
so that ``requested = accepted + clamped + rejected + in_flight`` holds at any moment.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mm_hybrid.breaker import Breaker, BreakerOpenError, Permit
from mm_hybrid.clock import Clock
from mm_hybrid.config import AdvisorConfig
from mm_hybrid.optimizer.advice import (
    Advice,
    AdviceOutcome,
    AdviceRejectedError,
    AdviceReply,
    Completion,
    parse_reply,
    read_completion,
)
from mm_hybrid.optimizer.blend import clamped, within_gate
from mm_hybrid.optimizer.budget import LISTED_PRICES, Budget, Price, Reservation
from mm_hybrid.optimizer.client import RefusedError, Response
from mm_hybrid.optimizer.glft import GlftOptimizer
from mm_hybrid.optimizer.prompt import MAX_REPLY_TOKENS, PromptBuilder, chat_request, profile_for
from mm_hybrid.optimizer.validity import volatility_changed, why_void
from mm_hybrid.types import BookState, Features, Position

log = logging.getLogger(__name__)

MIN_GAP_S = 5.0
"""Least time between two questions, whatever triggers them."""

JITTER = 0.1
"""Share by which the interval varies, so that many sessions do not ask in step."""

_SERVICE_FAILURES = frozenset(
    {
        AdviceOutcome.TIMEOUT,
        AdviceOutcome.INVALID_TRANSPORT,
        AdviceOutcome.INVALID_ENVELOPE,
        AdviceOutcome.HTTP_5XX,
        AdviceOutcome.RATE_LIMITED,
    }
)
_NOT_SENT = frozenset({AdviceOutcome.BREAKER_OPEN, AdviceOutcome.BUDGET_DENIED})
_SEMANTIC_WINDOW = 50
_SEMANTIC_LIMIT = 0.2


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
    ) -> object:
        """Record one question and what became of it."""
        ...


class AdviceClient(Protocol):
    """What carries a question to the service."""

    async def ask(self, request: Mapping[str, Any]) -> Response:
        """Return the body of the answer, within a deadline of its own."""
        ...

    async def close(self) -> None:
        """Free what it holds."""
        ...


@dataclass(slots=True)
class _Question:
    """One question under way and what is known about it."""

    features: Features
    base_half_bps: float
    request_json: str
    reply: AdviceReply | None = None
    reply_text: str = ""
    latency_ms: float | None = None
    cost_usd: float | None = None


class Advisor:
    """Keeps advice about one symbol fresh.

    Args:
        config: cadence, life of advice, model, budget.
        client: carries questions; ``None`` when there is no key, then nothing is ever asked.
        journal: where every outcome is recorded.
        clock: cadence and budget run on it; the life of advice runs on the market's own timestamps.
        closed_form: computes the half-spread advice is anchored to.
        rng: source of jitter.
    """

    def __init__(
        self,
        config: AdvisorConfig,
        client: AdviceClient | None,
        journal: AdviceJournal,
        clock: Clock,
        *,
        closed_form: GlftOptimizer,
        rng: random.Random | None = None,
    ) -> None:
        self._config = config
        self._client = client
        self._journal = journal
        self._clock = clock
        self._closed_form = closed_form
        self._rng = rng or random.Random()
        self._profile = profile_for(config.model, config.response_format)
        self._prompt = PromptBuilder()
        self._budget = Budget(
            usd_per_day=config.budget_usd_per_day,
            calls_per_min=config.calls_per_min,
            price=_price(config),
            clock=clock,
        )
        self._breaker = Breaker("advisor", clock=clock, window_s=300.0, open_for_s=30.0, max_open_for_s=600.0)
        self._outcomes: Counter[AdviceOutcome] = Counter()
        self._recent_content: deque[bool] = deque(maxlen=_SEMANTIC_WINDOW)
        self._requested = 0
        self._task: asyncio.Task[None] | None = None
        self._question: _Question | None = None
        self._advice: Advice | None = None
        self._latest: Features | None = None
        self._asked_features: Features | None = None
        self._last_ask_ns: int | None = None
        self._next_ask_ns = 0
        self._latched: str | None = None
        self._warned = False
        self._closed = False
        if client is None:
            self._warn(f"no key in {config.api_key_env}")

    @property
    def counters(self) -> dict[str, int]:
        """Questions by what became of them; ``requested`` is the sum of the others."""
        accepted, clamps = self._outcomes[AdviceOutcome.ACCEPTED], self._outcomes[AdviceOutcome.CLAMPED]
        in_flight = int(self._task is not None)
        return {
            "requested": self._requested,
            "accepted": accepted,
            "clamped": clamps,
            "rejected": self._outcomes.total() - accepted - clamps,
            "in_flight": in_flight,
        }

    @property
    def outcomes(self) -> dict[str, int]:
        """Questions by outcome, every outcome by its own name."""
        return {outcome.value: count for outcome, count in self._outcomes.items()}

    @property
    def spent_usd(self) -> float:
        """USD spent or reserved today."""
        return self._budget.spent_usd

    @property
    def latest(self) -> Advice | None:
        """The advice in force at the last look, for people."""
        return self._advice

    def offer(self, features: Features) -> None:
        """Take a moment of the market in and start a question if it is time. Never waits, never raises.

        Outside a running event loop nothing is asked.
        """
        self._latest = features
        self._drop_if_stale(features)
        self._prompt.observe(features)
        if self._is_due(features):
            self._ask(features)

    def advice_for(self, now_ns: int, features: Features) -> Advice | None:
        """Return the advice that still applies.

        Args:
            now_ns: time on the market's clock (that of ``features.timestamp_ns``).
            features: the market it would be applied to.
        """
        advice = self._advice
        if advice is None or self._shadowed:
            return None
        if not 0 <= now_ns - advice.snapshot_ts_ns < round(self._config.ttl_s * 1e9):
            return None
        return None if why_void(advice, features) else advice

    def invalidate(self) -> None:
        """Forget the advice in force: the book was rebuilt or the configuration changed."""
        self._advice = None

    async def close(self) -> None:
        """End the question under way, if any, and free the connections."""
        self._closed = True
        if self._task is not None:
            task = self._task
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if self._task is not None and self._question is not None:  # cancelled before its first step
                self._conclude(self._question, AdviceOutcome.INVALID_TRANSPORT, "the session ended first")
        if self._client is not None:
            await self._client.close()

    @property
    def _shadowed(self) -> bool:
        """Whether too many of the last answers were invalid or had to be clamped to trust the next one."""
        full = len(self._recent_content) == _SEMANTIC_WINDOW
        return full and self._recent_content.count(False) > _SEMANTIC_LIMIT * _SEMANTIC_WINDOW

    def _drop_if_stale(self, features: Features) -> None:
        advice = self._advice
        if advice is not None and why_void(advice, features):
            self._advice = None

    def _is_due(self, features: Features) -> bool:
        if self._closed or self._client is None or self._latched or self._task is not None:
            return False
        if features.state is not BookState.LIVE:
            return False
        if self._last_ask_ns is None:
            return True
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._last_ask_ns < MIN_GAP_S * 1e9:
            return False
        return now_ns >= self._next_ask_ns or self._has_changed(features)

    def _has_changed(self, features: Features) -> bool:
        asked = self._asked_features
        if asked is None:
            return False
        return (features.spike and not asked.spike) or volatility_changed(
            asked.calibration.sigma, features.calibration.sigma
        )

    def _ask(self, features: Features) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        try:
            quote = self._closed_form.closed_form(features, Position())
        except ValueError as error:
            self._warn(f"no closed form to anchor advice to: {error}")
            return
        now_ns = self._clock.monotonic_ns()
        interval_s = self._config.interval_s * (1 + self._rng.uniform(-JITTER, JITTER))
        self._last_ask_ns, self._next_ask_ns = now_ns, now_ns + round(max(interval_s, MIN_GAP_S) * 1e9)
        self._asked_features = features
        user_text = self._prompt.user_text(
            features, base_half_bps=quote.half_bps, floor_half_bps=quote.floor_bps
        )
        request = chat_request(self._config.model, user_text, self._profile)
        question = _Question(features, quote.half_bps, json.dumps(request, sort_keys=True))
        self._question = question
        self._requested += 1
        self._task = loop.create_task(self._settle(question, request), name="advisor")

    async def _settle(self, question: _Question, request: Mapping[str, Any]) -> None:
        """Bring one question to its outcome, whatever happens on the way."""
        outcome, detail = AdviceOutcome.INVALID_TRANSPORT, ""
        try:
            outcome = await self._exchange(question, request)
        except AdviceRejectedError as error:
            outcome, detail = error.outcome, error.detail
            question.reply_text = question.reply_text or error.reply
            if isinstance(error, RefusedError):
                self._latched = error.detail
            self._warn(str(error))
        except asyncio.CancelledError:
            detail = "the session ended first"
            raise
        except Exception as error:
            log.exception("advisor failed")
            detail = f"{type(error).__name__}: {error}"
        finally:
            self._conclude(question, outcome, detail)

    def _conclude(self, question: _Question, outcome: AdviceOutcome, detail: str) -> None:
        self._task = None
        self._outcomes[outcome] += 1
        if outcome in {AdviceOutcome.ACCEPTED, AdviceOutcome.CLAMPED}:
            self._warned = False
        self._record(question, outcome, detail)

    async def _exchange(self, question: _Question, request: Mapping[str, Any]) -> AdviceOutcome:
        client = self._client
        if client is None:
            raise AdviceRejectedError(AdviceOutcome.INVALID_TRANSPORT, "no key")
        reservation = self._budget.reserve(len(question.request_json.encode()), MAX_REPLY_TOKENS)
        try:
            permit = self._breaker.admit()
        except BreakerOpenError as error:
            self._budget.settle(reservation, 0, 0)
            raise AdviceRejectedError(AdviceOutcome.BREAKER_OPEN, str(error)) from None
        try:
            completion = await self._answer(client, question, request, reservation)
        except AdviceRejectedError as error:
            _judge(permit, error)
            raise
        except BaseException:
            permit.abandon()
            raise
        permit.success()
        try:
            outcome = self._check(question, completion)
        except AdviceRejectedError as error:
            self._recent_content.append(error.outcome is AdviceOutcome.STALE)
            raise
        self._recent_content.append(outcome is AdviceOutcome.ACCEPTED)
        return outcome

    async def _answer(
        self, client: AdviceClient, question: _Question, request: Mapping[str, Any], reservation: Reservation
    ) -> Completion:
        started_ns = self._clock.monotonic_ns()
        completion = None
        try:
            response = await client.ask(request)
            question.latency_ms = response.latency_ms
            question.reply_text = response.body.decode("utf-8", errors="replace")
            completion = read_completion(response.body)
        finally:
            if question.latency_ms is None:
                question.latency_ms = (self._clock.monotonic_ns() - started_ns) / 1e6
            used = (completion.prompt_tokens, completion.completion_tokens) if completion else (None, None)
            question.cost_usd = self._budget.settle(reservation, *used)
        return completion

    def _check(self, question: _Question, completion: Completion) -> AdviceOutcome:
        """Put a reply that passes every check in force and return ``accepted`` or ``clamped``."""
        if completion.model is not None and not _same_model(self._config.model, completion.model):
            raise AdviceRejectedError(
                AdviceOutcome.MODEL_MISMATCH,
                f"asked {self._config.model!r}, answered by {completion.model!r:.80}",
            )
        question.reply = reply = parse_reply(completion.content)
        base = question.base_half_bps
        sides = (reply.recommended_bid_spread_bps, reply.recommended_ask_spread_bps)
        for side in sides:
            if not within_gate(base, side):
                raise AdviceRejectedError(
                    AdviceOutcome.OUT_OF_RATIO, f"{side:g} bps is {side / base:.3g} times the closed form"
                )
        features = question.features
        advice = Advice(
            bid_half_bps=sides[0],
            ask_half_bps=sides[1],
            position_limit_frac=reply.position_limit,
            confidence=reply.confidence,
            anomaly=reply.anomaly,
            reasoning=reply.reasoning,
            snapshot_ts_ns=features.timestamp_ns,
            base_half_bps=base,
            mid_price=features.mid_price,
            sigma=features.calibration.sigma,
        )
        if self._latest is not None and (why := why_void(advice, self._latest)):
            raise AdviceRejectedError(AdviceOutcome.STALE, why)
        self._advice = advice
        moved = any(clamped(base, side) != side for side in sides)
        return AdviceOutcome.CLAMPED if moved else AdviceOutcome.ACCEPTED

    def _record(self, question: _Question, outcome: AdviceOutcome, detail: str) -> None:
        reply = question.reply
        try:
            self._journal.advice(
                outcome=outcome.value,
                request_json=question.request_json,
                reply_text=question.reply_text,
                bid_half_bps=reply.recommended_bid_spread_bps if reply else None,
                ask_half_bps=reply.recommended_ask_spread_bps if reply else None,
                base_bid_half_bps=question.base_half_bps,
                base_ask_half_bps=question.base_half_bps,
                latency_ms=question.latency_ms,
                cost_usd=0.0 if outcome in _NOT_SENT else question.cost_usd,
                detail=detail,
            )
        except Exception:
            log.exception("advice could not be recorded")

    def _warn(self, reason: str) -> None:
        """Say once, until advice arrives again, that the closed form goes on alone."""
        if not self._warned:
            self._warned = True
            log.warning("advisor: %s; quoting goes on with the closed form", reason)


def _judge(permit: Permit, error: AdviceRejectedError) -> None:
    if error.outcome in _SERVICE_FAILURES:
        permit.failure(error.detail)
    else:
        permit.success()


def _same_model(asked: str, answered: str) -> bool:
    """Return whether the answer names the model asked for, or a dated release of it."""
    name = answered.rsplit("/", 1)[-1]
    return name == asked.rsplit("/", 1)[-1] or name.startswith(asked.rsplit("/", 1)[-1] + "-")


def _price(config: AdvisorConfig) -> Price | None:
    if config.price_in_usd_per_mtok is not None and config.price_out_usd_per_mtok is not None:
        return Price(
            in_usd_per_mtok=config.price_in_usd_per_mtok, out_usd_per_mtok=config.price_out_usd_per_mtok
        )
    return LISTED_PRICES.get(config.model)
