"""The advisor beside the quoting loop: asks now and then, checks, records, keeps one piece of advice.

Nothing here is awaited by quoting. ``offer`` takes the market in and perhaps starts a question as a task;
``advice_for`` reads one attribute. Every question ends as one :class:`AdviceOutcome` and one journal record,
so that ``requested = accepted + clamped + rejected + in_flight`` holds at any moment.

With a cassette to replay nothing is started at all: a recorded answer is taken in at the first moment of the market
that lies its recorded latency after the snapshot it was asked about.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import Counter, deque
from dataclasses import dataclass

from mm_hybrid.breaker import Breaker, BreakerOpenError
from mm_hybrid.clock import Clock
from mm_hybrid.config import AdvisorConfig
from mm_hybrid.errors import JournalError
from mm_hybrid.optimizer.advice import (
    Advice,
    AdviceOutcome,
    AdviceRejectedError,
    Completion,
    read_completion,
)
from mm_hybrid.optimizer.attempt import Attempt, RefusedError, TransportError, body_of
from mm_hybrid.optimizer.base import Model
from mm_hybrid.optimizer.budget import Budget, Reservation, price_of
from mm_hybrid.optimizer.cassette import CassetteMissError, Recorder, Replay, request_key
from mm_hybrid.optimizer.ledger import Ledger
from mm_hybrid.optimizer.prepare import prepare
from mm_hybrid.optimizer.prompt import (
    MAX_REPLY_TOKENS,
    Anchors,
    Inventory,
    PromptBuilder,
    ProviderProfile,
    chat_request,
    profile_for,
)
from mm_hybrid.optimizer.question import (
    SERVICE_FAILURES,
    AdviceClient,
    AdviceJournal,
    Question,
    advice_from,
    journal_row,
    judge,
)
from mm_hybrid.optimizer.validity import volatility_changed, why_void
from mm_hybrid.types import BookState, Features, Position

log = logging.getLogger(__name__)

MIN_GAP_S = 5.0
"""Least time between two questions, whatever triggers them."""

JITTER = 0.1
"""Share by which the interval varies, so that many sessions do not ask in step."""

PREPARE_AGAIN_S = 60.0
"""Wait before a failed preparation is tried again; the breaker makes it longer."""

_SEMANTIC_WINDOW = 50
_SEMANTIC_LIMIT = 0.2


@dataclass(slots=True)
class _Use:
    """How often and at which ages a piece of advice was looked up and applied."""

    count: int = 0
    age_sum_ns: int = 0
    oldest_ns: int = 0


class Advisor:
    """Keeps advice about one symbol fresh.

    Args:
        config: cadence, life of advice, model, budget.
        client: carries questions; ``None`` when there is no key, then nothing is ever asked.
        journal: where every outcome is recorded.
        clock: cadence, breaker and budget run on it; the life of advice runs on the market's own timestamps.
        model: computes the half-spreads advice is anchored to.
        rng: source of jitter; a cassette needs the same one at recording and replay, and gets it by default.
        ledger: where spending is written; in memory by default.
        recorder: writes every answer into a cassette.
        replay: answers from a cassette instead of a service.
    """

    def __init__(
        self,
        config: AdvisorConfig,
        client: AdviceClient | None,
        journal: AdviceJournal,
        clock: Clock,
        *,
        model: Model,
        rng: random.Random | None = None,
        ledger: Ledger | None = None,
        recorder: Recorder | None = None,
        replay: Replay | None = None,
    ) -> None:
        self._config = config
        self._client = client
        self._journal = journal
        self._clock = clock
        self._model = model
        self._recorder = recorder
        self._replay = replay
        self._rng = rng or random.Random(None if config.cassette_mode == "off" else 1)
        self._ledger = ledger or Ledger(now_ns=clock.now_ns())
        self._prompt = PromptBuilder(config.prompt)
        self._budget = Budget(
            usd_per_day=config.budget_usd_per_day,
            tokens_per_min=config.tokens_per_min,
            calls_per_min=config.calls_per_min,
            model=config.model,
            price=price_of(config),
            clock=clock,
            ledger=self._ledger,
        )
        self._breaker = Breaker(
            "advisor",
            clock=clock,
            window_s=86_400.0,
            window_calls=20,
            min_calls=20,
            failures_in_a_row=5,
            open_for_s=30.0,
            max_open_for_s=600.0,
            jitter=JITTER,
            listener=lambda change: self._tell("breaker:advisor", change.after.value, change.reason),
        )
        self._profile: ProviderProfile | None = None
        if config.response_format != "auto" and (replay is not None or not config.check_models):
            self._profile = profile_for(config.model, config.response_format)
        self._outcomes: Counter[AdviceOutcome] = Counter()
        self._recent_content: deque[bool] = deque(maxlen=_SEMANTIC_WINDOW)
        self._distrusted = False
        self._requested = 0
        self._task: asyncio.Task[None] | None = None
        self._preparing: asyncio.Task[None] | None = None
        self._prepare_after_ns = 0
        self._question: Question | None = None
        self._visible_ns = 0
        self._advice: Advice | None = None
        self._use = _Use()
        self._latest: tuple[Features, Inventory] | None = None
        self._asked_features: Features | None = None
        self._last_ask_ns: int | None = None
        self._next_ask_ns = 0
        self._latched: str | None = None
        self._warned = False
        self._closed = False
        if replay is None:
            self._refuse_early()

    def _refuse_early(self) -> None:
        """Refuse before anything is sent: no key, or a price nobody knows."""
        if self._client is None:
            self._warn(f"no key in {self._config.api_key_env}")
        elif price_of(self._config) is None:
            self._warn(
                f"the price of {self._config.model!r} is unknown, so nothing is asked: "
                "set advisor.price_in_usd_per_mtok and price_out_usd_per_mtok"
            )

    @property
    def counters(self) -> dict[str, int]:
        """Questions by what became of them; ``requested`` is the sum of the others."""
        accepted, clamps = self._outcomes[AdviceOutcome.ACCEPTED], self._outcomes[AdviceOutcome.CLAMPED]
        in_flight = int(self._question is not None)
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

    def offer(self, features: Features, position: Position = Position()) -> None:  # noqa: B008 (frozen)
        """Take a moment of the market in and start a question if it is time. Never waits.

        Outside a running event loop nothing is asked, unless answers come from a cassette.

        Raises:
            CassetteMissError: in strict replay, a question that was never recorded; nothing else is ever raised.
        """
        inventory = Inventory(float(position.qty_base), 0.0)
        if self._config.prompt == "seed":
            inventory = Inventory(inventory.qty_base, self._limit_base(features))
        self._latest = (features, inventory)
        if features.state is not BookState.LIVE:
            self.invalidate(f"book is {features.state}")
        self._drop_if_void(features, inventory)
        self._prompt.observe(features)
        if (
            self._replay is not None
            and self._question is not None
            and features.timestamp_ns >= self._visible_ns
        ):
            self._conclude(self._question)
        if self._is_due(features):
            self._ask(features, inventory)

    def advice_for(self, now_ns: int, features: Features) -> Advice | None:
        """Return the advice that still applies.

        Args:
            now_ns: time on the market's clock (that of ``features.timestamp_ns``).
            features: the market it would be applied to.
        """
        advice = self._advice
        if advice is None or self._distrusted:
            return None
        age_ns = now_ns - advice.snapshot_ts_ns
        if not 0 <= age_ns < round(self._config.ttl_s * 1e9):
            return None
        if why_void(advice, features, self._bucket()):
            return None
        use = self._use
        use.count += 1
        use.age_sum_ns += age_ns
        use.oldest_ns = max(use.oldest_ns, age_ns)
        return advice

    def invalidate(self, reason: str = "the book was rebuilt") -> None:
        """Forget the advice in force and refuse the answer under way: it is about a market that is gone."""
        if self._question is not None:
            self._question.void = reason
        if self._advice is not None:
            self._retire(reason)

    async def close(self) -> None:
        """End the question under way, if any, and free the connections."""
        self._closed = True
        tasks = [task for task in (self._task, self._preparing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if (
            self._question is not None
        ):  # cancelled before its first step, or a recorded answer still on its way
            self._abandon(self._question)
        self.invalidate("the session ended")
        if self._client is not None:
            await self._client.close()
        if self._recorder is not None:
            self._recorder.close()
        self._ledger.close()

    def _limit_base(self, features: Features) -> float:
        try:
            return self._model.base_quote(features, Position()).position_limit
        except ValueError:
            return 0.0

    def _bucket(self) -> float | None:
        return self._latest[1].bucket if self._config.prompt == "seed" and self._latest else None

    def _drop_if_void(self, features: Features, inventory: Inventory) -> None:
        advice = self._advice
        if advice is None:
            return
        bucket = inventory.bucket if self._config.prompt == "seed" else None
        if why := why_void(advice, features, bucket):
            self._retire(why)
        elif features.timestamp_ns - advice.snapshot_ts_ns >= round(self._config.ttl_s * 1e9):
            self._retire("its life is over")

    def _retire(self, reason: str) -> None:
        """Take the advice in force away and tell how it was used."""
        use, self._use, self._advice = self._use, _Use(), None
        mean_ms = use.age_sum_ns / use.count / 1e6 if use.count else 0.0
        detail = json.dumps(
            {"uses": use.count, "mean_age_ms": round(mean_ms, 1), "max_age_ms": round(use.oldest_ns / 1e6, 1)}
        )
        self._tell("advice:retired", reason, detail)

    def _is_due(self, features: Features) -> bool:
        asks = self._client is not None or self._replay is not None
        if self._closed or not asks or self._latched or self._question is not None:
            return False
        if features.state is not BookState.LIVE:
            return False
        if self._profile is None:
            self._start_preparing()
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

    def _start_preparing(self) -> None:
        if self._preparing is not None or self._clock.monotonic_ns() < self._prepare_after_ns:
            return
        try:
            self._preparing = asyncio.get_running_loop().create_task(self._prepare(), name="advisor-prepare")
        except RuntimeError:
            return

    async def _prepare(self) -> None:
        client, permit = self._client, None
        again_s = PREPARE_AGAIN_S
        try:
            permit = self._breaker.admit()
            if client is not None:
                self._profile = await prepare(
                    self._config,
                    client,
                    budget=self._budget,
                    ledger=self._ledger,
                    clock=self._clock,
                    tell=self._tell,
                )
        except BreakerOpenError:
            again_s = self._breaker.seconds_until_probe or PREPARE_AGAIN_S
        except AdviceRejectedError as error:
            if permit is not None and error.outcome in SERVICE_FAILURES:
                permit.failure(error.detail)
            if isinstance(error, RefusedError):
                self._latched = error.detail
            self._tell("advisor:prepare", error.outcome.value, error.detail)
            self._warn(error.detail)
        except JournalError as error:  # a ledger that another session holds: later again
            self._tell("advisor:prepare", "ledger", str(error))
            self._warn(str(error))
        except Exception as error:
            log.exception("advisor failed")
            self._latched = f"{type(error).__name__}: {error}"
        finally:
            if permit is not None:  # what is not told yet, the first question tells
                permit.abandon()
            self._prepare_after_ns = self._clock.monotonic_ns() + round(again_s * 1e9)
            self._preparing = None

    def _ask(self, features: Features, inventory: Inventory) -> None:
        loop = None
        if self._replay is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                return
        try:
            base = self._model.base_quote(features, Position())
        except ValueError as error:
            self._warn(f"nothing to anchor advice to: {error}")
            return
        if base.basis != "live" or self._profile is None:
            return
        now_ns = self._clock.monotonic_ns()
        interval_s = self._config.interval_s * (1 + self._rng.uniform(-JITTER, JITTER))
        self._last_ask_ns, self._next_ask_ns = now_ns, now_ns + round(max(interval_s, MIN_GAP_S) * 1e9)
        self._asked_features = features
        anchors = Anchors(base.bid_half_bps, base.ask_half_bps, base.floor_bps)
        user_text = self._prompt.user_text(features, anchors, inventory)
        request = chat_request(self._config.model, user_text, self._profile, self._config.prompt)
        request_json = json.dumps(request, sort_keys=True)
        question = Question(
            self._requested, features, base, inventory, request, request_json, self._clock.now_ns()
        )
        self._question = question
        self._requested += 1
        if loop is not None:
            self._task = loop.create_task(self._settle(question), name="advisor")
        elif self._replay is not None:
            self._look_up(question, self._replay)

    def _look_up(self, question: Question, replay: Replay) -> None:
        """Take the answer from the cassette; it becomes visible when its recorded latency has passed."""
        key, asked_ns = request_key(question.request), question.features.timestamp_ns
        records = replay.take(key)
        if records is None:
            why = replay.miss(key, asked_ns)
            self._finish(question, AdviceOutcome.REPLAY_MISS, why)
            if self._config.cassette_mode == "replay_strict":
                raise CassetteMissError(why)
            return
        question.attempts.extend(record.as_attempt() for record in records)
        question.cost_usd = records[-1].cost_usd
        self._visible_ns = asked_ns + question.attempts[-1].latency_ns

    async def _settle(self, question: Question) -> None:
        """Bring one question to its outcome, whatever happens on the way."""
        client = self._client
        try:
            reservation = self._admit(question)
            if client is not None:
                await client.ask(question.request, question.attempts, most_attempts=reservation.attempts)
        except AdviceRejectedError as error:
            self._task = None
            self._warn(str(error))
            kind: TransportError = (
                "breaker_open" if error.outcome is AdviceOutcome.BREAKER_OPEN else "budget_denied"
            )
            question.attempts.append(Attempt(error=kind, detail=error.detail))
            self._charge(question)
            self._finish(question, error.outcome, error.detail)
        except asyncio.CancelledError:
            self._task = None
            self._abandon(question)
            raise
        except Exception as error:
            log.exception("advisor failed")
            self._task = None
            self._abandon(question, f"{type(error).__name__}: {error}")
        else:
            self._task = None
            self._conclude(question)

    def _admit(self, question: Question) -> Reservation:
        """Set money aside and get the breaker's leave. A replay needs neither: it follows what was recorded.

        Raises:
            AdviceRejectedError: ``budget_denied`` or ``breaker_open``; nothing was sent.
        """
        reservation = self._budget.reserve(len(question.request_json.encode()), MAX_REPLY_TOKENS)
        try:
            question.permit = self._breaker.admit()
        except BreakerOpenError as error:
            self._budget.cancel(reservation)
            raise AdviceRejectedError(AdviceOutcome.BREAKER_OPEN, str(error)) from None
        question.reservation = reservation
        return reservation

    def _abandon(self, question: Question, detail: str = "the session ended first") -> None:
        """Account for a question that gets no answer any more; it is charged, since it may have been sent."""
        if question.permit is not None:
            question.permit.abandon()
        if self._replay is None and question.reservation is not None:
            waited_ns = max(self._clock.now_ns() - question.sent_ns, 0)
            question.attempts.append(Attempt(error="abandoned", detail=detail, latency_ns=waited_ns))
            self._charge(question)
        self._finish(question, AdviceOutcome.INVALID_TRANSPORT, detail)

    def _charge(self, question: Question) -> None:
        """Settle the money of a question and record its attempts."""
        reservation, attempts = question.reservation, question.attempts
        if reservation is not None:
            question.cost_usd = self._budget.settle(reservation, *question.used, attempts=len(attempts))
            question.reservation = None
        if self._recorder is not None:
            prompt_tokens, completion_tokens = question.used
            try:
                self._recorder.record(
                    key=request_key(question.request),
                    symbol="A1",
                    snapshot_seq=question.number,
                    snapshot_ts_ns=question.features.timestamp_ns,
                    sent_ts_ns=question.sent_ns,
                    attempts=attempts,
                    prompt_tokens=prompt_tokens,
                    completion_tokens=completion_tokens,
                    cost_usd=question.cost_usd,
                )
            except (OSError, ValueError):
                log.exception("an answer could not be recorded")

    def _conclude(self, question: Question) -> None:
        """Read the answer, live or recorded, and bring the question to its outcome."""
        outcome, detail = AdviceOutcome.INVALID_TRANSPORT, ""
        try:
            outcome, detail = self._read(question), question.remark
        except AdviceRejectedError as error:
            outcome, detail = error.outcome, error.detail
            if isinstance(error, RefusedError):
                self._latched = error.detail
            self._warn(str(error))
        except Exception as error:
            log.exception("advisor failed")
            detail = f"{type(error).__name__}: {error}"
            if question.permit is not None:
                question.permit.abandon()
        self._finish(question, outcome, detail)

    def _read(self, question: Question) -> AdviceOutcome:
        completion: Completion | None = None
        permit = question.permit
        try:
            completion = read_completion(body_of(question.attempts[-1]))
            question.used = (completion.prompt_tokens, completion.completion_tokens)
        except AdviceRejectedError as error:
            if permit is not None:
                judge(permit, error)
            raise
        finally:
            self._charge(question)
        if permit is not None:
            permit.success()
        try:
            outcome = self._check(question, completion)
        except AdviceRejectedError as error:
            self._note_content(error.outcome is AdviceOutcome.STALE)
            raise
        self._note_content(outcome is AdviceOutcome.ACCEPTED)
        return outcome

    def _note_content(self, good: bool) -> None:
        """Trust or distrust the service by the share of its last answers that were invalid or had to be clamped."""
        self._recent_content.append(good)
        bad = self._recent_content.count(False)
        full = len(self._recent_content) == _SEMANTIC_WINDOW
        distrusted = full and bad > _SEMANTIC_LIMIT * _SEMANTIC_WINDOW
        if distrusted != self._distrusted:
            self._distrusted = distrusted
            value = "shadow" if distrusted else "trusted"
            self._tell(
                "advisor:content", value, f"{bad} of the last {_SEMANTIC_WINDOW} answers invalid or clamped"
            )

    def _check(self, question: Question, completion: Completion) -> AdviceOutcome:
        """Put a reply that passes every check in force and return ``accepted`` or ``clamped``."""
        advice, outcome = advice_from(question, completion, self._config)
        why = question.void
        if why is None and self._latest is not None:
            why = why_void(advice, self._latest[0], self._bucket())
        if why is not None:
            raise AdviceRejectedError(AdviceOutcome.STALE, why)
        if self._advice is not None:
            self._retire("newer advice")
        self._advice = question.advice = advice
        return outcome

    def _finish(self, question: Question, outcome: AdviceOutcome, detail: str) -> None:
        self._question = None
        self._outcomes[outcome] += 1
        if outcome in {AdviceOutcome.ACCEPTED, AdviceOutcome.CLAMPED}:
            self._warned = False
        self._record(question, outcome, detail)

    def _record(self, question: Question, outcome: AdviceOutcome, detail: str) -> None:
        try:
            self._journal.advice(**journal_row(question, outcome, detail, self._config.prompt))
        except Exception:
            log.exception("advice could not be recorded")

    def _tell(self, what: str, value: str, detail: str) -> None:
        try:
            self._journal.state(what, value, detail)
        except Exception:
            log.exception("a change of the advisor could not be recorded")

    def _warn(self, reason: str) -> None:
        """Say once, until advice arrives again, that the model goes on alone."""
        if not self._warned:
            self._warned = True
            log.warning("advisor: %s; quoting goes on with the closed form", reason)
