"""What advice may cost: the worst case is reserved before a call and settled after it.

A call whose usage is unknown (timeout, broken reply, no usage block) is charged its worst case, because the
provider may bill it. A model without a known price is refused.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from mm_hybrid.clock import Clock
from mm_hybrid.optimizer.advice import AdviceOutcome, AdviceRejectedError

_DAY_NS = 86_400 * 1_000_000_000
_MINUTE_NS = 60 * 1_000_000_000
_BYTES_PER_TOKEN = 3
"""Fewest bytes of a prompt that make a token; English and JSON take about four."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """USD per million tokens."""

    in_usd_per_mtok: float
    out_usd_per_mtok: float

    def cost_usd(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the price of one call."""
        return (prompt_tokens * self.in_usd_per_mtok + completion_tokens * self.out_usd_per_mtok) / 1e6


LISTED_PRICES = {
    "gpt-4.1": Price(in_usd_per_mtok=2.50, out_usd_per_mtok=8.00),
    "claude-sonnet-4.5": Price(in_usd_per_mtok=3.00, out_usd_per_mtok=15.00),
    "gemini-2.5-flash": Price(in_usd_per_mtok=0.35, out_usd_per_mtok=2.50),
    "deepseek-v3.2": Price(in_usd_per_mtok=0.27, out_usd_per_mtok=0.42),
}
"""HolySheep's published prices of April 2026; configured prices take precedence."""


@dataclass(slots=True)
class Reservation:
    """Money set aside for one call; settle it exactly once."""

    worst_usd: float
    worst_prompt_tokens: int
    settled: bool = False


class Budget:
    """Admits calls while money and rate allow.

    Args:
        usd_per_day: most that may be spent per day (UTC).
        calls_per_min: most calls in any 60 s.
        price: what the model costs; ``None`` refuses every call.
        clock: where day and minute come from.
    """

    def __init__(self, *, usd_per_day: float, calls_per_min: int, price: Price | None, clock: Clock) -> None:
        self._usd_per_day = usd_per_day
        self._calls_per_min = calls_per_min
        self._price = price
        self._clock = clock
        self._day = clock.now_ns() // _DAY_NS
        self._spent_usd = 0.0
        self._calls: deque[int] = deque()

    @property
    def spent_usd(self) -> float:
        """USD spent or reserved today."""
        return self._spent_usd

    def reserve(self, prompt_bytes: int, max_reply_tokens: int) -> Reservation:
        """Set the worst case of one call aside.

        Raises:
            AdviceRejectedError: ``budget_denied``, saying which limit.
        """
        if self._price is None:
            raise AdviceRejectedError(
                AdviceOutcome.BUDGET_DENIED,
                "the model's price is unknown: set advisor.price_in_usd_per_mtok and price_out_usd_per_mtok",
            )
        self._roll()
        prompt_tokens = -(-prompt_bytes // _BYTES_PER_TOKEN)
        worst = self._price.cost_usd(prompt_tokens, max_reply_tokens)
        if self._spent_usd + worst > self._usd_per_day:
            raise AdviceRejectedError(
                AdviceOutcome.BUDGET_DENIED,
                f"{self._spent_usd:.4f} of {self._usd_per_day:g} USD spent, a call may cost {worst:.4f}",
            )
        if len(self._calls) >= self._calls_per_min:
            raise AdviceRejectedError(
                AdviceOutcome.BUDGET_DENIED, f"{self._calls_per_min} calls in the last minute already"
            )
        self._calls.append(self._clock.monotonic_ns())
        self._spent_usd += worst
        return Reservation(worst, prompt_tokens)

    def settle(
        self, reservation: Reservation, prompt_tokens: int | None, completion_tokens: int | None
    ) -> float:
        """Charge what the call cost and return it, USD; unknown usage is charged the worst case."""
        if reservation.settled or self._price is None:
            raise ValueError("a reservation is settled exactly once")
        reservation.settled = True
        if prompt_tokens is None or completion_tokens is None:
            return reservation.worst_usd
        cost = self._price.cost_usd(prompt_tokens, completion_tokens)
        self._spent_usd = max(0.0, self._spent_usd + cost - reservation.worst_usd)
        return cost

    def _roll(self) -> None:
        day = self._clock.now_ns() // _DAY_NS
        if day != self._day:
            self._day, self._spent_usd = day, 0.0
        oldest = self._clock.monotonic_ns() - _MINUTE_NS
        while self._calls and self._calls[0] <= oldest:
            self._calls.popleft()
