"""Before the first question: is the model there, will it stay, and which shape of reply does the service keep.

All of it happens once, is told once, and costs at most three small calls that the budget admits like any other. What
the probe found is remembered in the ledger, so that a restart does not probe again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Protocol

from mm_hybrid.clock import Clock
from mm_hybrid.config import AdvisorConfig
from mm_hybrid.optimizer.advice import (
    AdviceOutcome,
    AdviceRejectedError,
    Completion,
    parse_reply,
    read_completion,
)
from mm_hybrid.optimizer.attempt import Attempt, RefusedError, body_of
from mm_hybrid.optimizer.budget import MAX_ATTEMPTS, Budget
from mm_hybrid.optimizer.client import ListedModel
from mm_hybrid.optimizer.ledger import Ledger
from mm_hybrid.optimizer.prompt import (
    MAX_REPLY_TOKENS,
    ProviderProfile,
    ResponseFormat,
    canonical,
    chat_request,
    profile_for,
)

log = logging.getLogger(__name__)

SHUTDOWN_NOTICE_DAYS = 30
FORMATS: tuple[ResponseFormat, ...] = ("json_schema", "json_object", "none")
"""Shapes of reply in the order they are tried."""

Tell = Callable[[str, str, str], object]

_EXAMPLE = canonical(
    {
        "contract": "mmh-advice/1", "asset": "A1", "mid_index": 10_000.0, "market_spread_bps": 0.2,
        "bid_qty_rel": 1.0, "ask_qty_rel": 1.0, "imbalance_l5": 0.0, "depth_bid_quote": 1e6, "depth_ask_quote": 1e6,
        "depth_complete": True, "sigma_1m_bps": 6.0, "ret_10s_bps": 0.0, "ret_60s_bps": 0.0, "trade_imb_60s": 0.0,
        "spike": False, "base_bid_half_bps": 1.0, "base_ask_half_bps": 1.0, "floor_half_bps": 0.1,
    }
)  # fmt: skip


class Service(Protocol):
    """What carries questions."""

    async def ask(
        self, request: Mapping[str, Any], attempts: list[Attempt], *, most_attempts: int = MAX_ATTEMPTS
    ) -> None:
        """Send one question; what came of it is appended to ``attempts``."""
        ...

    async def models(self) -> Sequence[ListedModel]:
        """Return what the service offers."""
        ...


def check_model(model: str, offered: Sequence[ListedModel], today: date) -> str:
    """Return one line about a model for people.

    Raises:
        RefusedError: it is not offered, or its last day is over; nothing was spent.
    """
    found = next((listed for listed in offered if listed.name == model), None)
    if found is None:
        names = ", ".join(sorted(listed.name for listed in offered)[:20]) or "none"
        raise RefusedError(
            AdviceOutcome.MODEL_MISMATCH, f"advisor.model {model!r} is not offered; offered: {names}"
        )
    if found.shutdown is None:
        return f"{model} is offered"
    if found.shutdown <= today:
        raise RefusedError(
            AdviceOutcome.MODEL_MISMATCH,
            f"advisor.model {model!r} was shut down on {found.shutdown}: choose another",
        )
    left = (found.shutdown - today).days
    return f"{model} is offered until {found.shutdown}, {left} days"


async def prepare(
    config: AdvisorConfig, service: Service, *, budget: Budget, ledger: Ledger, clock: Clock, tell: Tell
) -> ProviderProfile:
    """Return how to ask; ``tell`` gets what was found, as the journal's changes of state.

    Raises:
        RefusedError: the key or the model is refused. AdviceRejectedError: the probe could not be made now.
    """
    if config.check_models:
        try:
            offered = await service.models()
        except RefusedError as error:
            if error.detail != "HTTP 404":  # a service without a list
                raise
            tell("advisor:model", "unlisted", error.detail)
        except AdviceRejectedError as error:
            tell("advisor:model", "unlisted", error.detail)
        else:
            today = datetime.fromtimestamp(clock.now_ns() / 1e9, UTC).date()
            line = check_model(config.model, offered, today)
            found = next(listed for listed in offered if listed.name == config.model)
            if found.shutdown is not None and (found.shutdown - today).days <= SHUTDOWN_NOTICE_DAYS:
                log.warning("advisor: %s", line)
            tell("advisor:model", "offered", line)
    if config.response_format != "auto":
        return profile_for(config.model, config.response_format)
    remembered = ledger.profile(config.base_url, config.model)
    for known in FORMATS:
        if known == remembered:
            return profile_for(config.model, known)
    return await _probe(config, service, budget=budget, ledger=ledger, clock=clock, tell=tell)


async def _probe(
    config: AdvisorConfig, service: Service, *, budget: Budget, ledger: Ledger, clock: Clock, tell: Tell
) -> ProviderProfile:
    reasons = []
    for response_format in FORMATS:
        profile = profile_for(config.model, response_format)
        try:
            await _try(chat_request(config.model, _EXAMPLE, profile), service, budget, response_format, tell)
        except RefusedError:
            raise
        except AdviceRejectedError as error:
            reasons.append(f"{response_format}: {error.outcome}: {error.detail}")
            # Only an answer about the shape is a reason to ask for another one.
            if error.outcome not in {
                AdviceOutcome.HTTP_4XX,
                AdviceOutcome.INVALID_ENVELOPE,
                AdviceOutcome.INVALID_JSON,
                AdviceOutcome.INVALID_SCHEMA,
            }:
                raise
        else:
            detail = "; ".join(reasons) or "kept at the first try"
            ledger.remember_profile(config.base_url, config.model, response_format, clock.now_ns(), detail)
            tell("advisor:response_format", response_format, detail)
            return profile
    raise AdviceRejectedError(
        AdviceOutcome.INVALID_SCHEMA, "no shape of reply is kept: " + "; ".join(reasons)
    )


async def _try(
    request: Mapping[str, Any], service: Service, budget: Budget, response_format: str, tell: Tell
) -> None:
    reservation = budget.reserve(len(json.dumps(request)), MAX_REPLY_TOKENS)
    attempts: list[Attempt] = []
    completion: Completion | None = None
    try:
        await service.ask(request, attempts, most_attempts=reservation.attempts)
        completion = read_completion(body_of(attempts[-1]))
        parse_reply(completion.content)
    finally:
        used = (completion.prompt_tokens, completion.completion_tokens) if completion else (None, None)
        usd = budget.settle(reservation, *used, attempts=len(attempts))
        tell("advisor:probe", response_format, json.dumps({"cost_usd": usd}))
