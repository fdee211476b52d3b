"""What advice may cost: the worst case is reserved before a call and settled after it.

A call whose usage is unknown (timeout, broken reply, no usage block) or cannot be true (nothing for something, more
than was sent or allowed) is charged its worst case, because the provider may bill it. A model without a known price
is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from mm_hybrid.clock import Clock
from mm_hybrid.config import AdvisorConfig
from mm_hybrid.optimizer.advice import AdviceOutcome, AdviceRejectedError
from mm_hybrid.optimizer.ledger import DAY_NS, Ledger

_MINUTE_NS = 60 * 1_000_000_000
MAX_ATTEMPTS = 2
"""Attempts a call may take; each may be billed, so the worst case covers them all."""

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


def price_of(config: AdvisorConfig) -> Price | None:
    """Return what the configured model costs: as configured, else as listed; ``None`` when nobody says."""
    if config.price_in_usd_per_mtok is not None and config.price_out_usd_per_mtok is not None:
        return Price(
            in_usd_per_mtok=config.price_in_usd_per_mtok, out_usd_per_mtok=config.price_out_usd_per_mtok
        )
    return LISTED_PRICES.get(config.model)


@dataclass(slots=True)
class Reservation:
    """Money and tokens set aside for one call; settle it exactly once.

    Attributes:
        number: of the call in the ledger.
        prompt_tokens: most tokens one attempt's prompt can have.
        reply_tokens: most tokens one attempt's reply can have.
        settled: whether it is over.
    """

    number: int
    prompt_tokens: int
    reply_tokens: int
    settled: bool = False


class Budget:
    """Admits calls while money, tokens and rate allow.

    Args:
        usd_per_day: most that may be spent per day (UTC).
        tokens_per_min: most tokens, prompt and reply, in any 60 s.
        calls_per_min: most calls in any 60 s.
        model: what is paid for.
        price: what it costs; ``None`` refuses every call.
        clock: where day and minute come from.
        ledger: where calls are written before they are sent; in memory by default.
    """

    def __init__(
        self,
        *,
        usd_per_day: float,
        calls_per_min: int,
        price: Price | None,
        clock: Clock,
        tokens_per_min: int = 1_000_000_000,
        model: str = "",
        ledger: Ledger | None = None,
    ) -> None:
        self._usd_per_day = usd_per_day
        self._tokens_per_min = tokens_per_min
        self._calls_per_min = calls_per_min
        self._model = model
        self._price = price
        self._clock = clock
        self._ledger = ledger or Ledger()

    @property
    def spent_usd(self) -> float:
        """USD spent or reserved today."""
        now_ns = self._clock.now_ns()
        return self._ledger.spent(now_ns - now_ns % DAY_NS).usd

    def reserve(self, prompt_bytes: int, max_reply_tokens: int) -> Reservation:
        """Set the worst case of one call aside.

        Raises:
            AdviceRejectedError: ``budget_denied``, saying which limit.
        """
        if self._price is None:
            raise _denied(
                f"the price of {self._model or 'the model'} is unknown: "
                "set advisor.price_in_usd_per_mtok and price_out_usd_per_mtok"
            )
        now_ns = self._clock.now_ns()
        prompt_tokens = -(-prompt_bytes // _BYTES_PER_TOKEN)
        worst_usd = MAX_ATTEMPTS * self._price.cost_usd(prompt_tokens, max_reply_tokens)
        worst_tokens = MAX_ATTEMPTS * (prompt_tokens + max_reply_tokens)
        with self._ledger.alone():
            self._check(now_ns, worst_usd, worst_tokens)
            number = self._ledger.reserve(now_ns, self._model, worst_usd, worst_tokens)
        return Reservation(number, prompt_tokens, max_reply_tokens)

    def _check(self, now_ns: int, worst_usd: float, worst_tokens: int) -> None:
        spent_usd = self._ledger.spent(now_ns - now_ns % DAY_NS).usd
        if spent_usd + worst_usd > self._usd_per_day:
            raise _denied(
                f"{spent_usd:.4f} of {self._usd_per_day:g} USD spent, a call may cost {worst_usd:.4f}"
            )
        minute = self._ledger.spent(now_ns - _MINUTE_NS + 1)
        if minute.calls >= self._calls_per_min:
            raise _denied(f"{self._calls_per_min} calls in the last minute already")
        if minute.tokens + worst_tokens > self._tokens_per_min:
            raise _denied(
                f"{minute.tokens} of {self._tokens_per_min} tokens a minute used, a call may take {worst_tokens}"
            )

    def cancel(self, reservation: Reservation) -> None:
        """Take a reservation back; its call was never sent."""
        _once(reservation)
        self._ledger.drop(reservation.number)

    def settle(
        self,
        reservation: Reservation,
        prompt_tokens: int | None,
        completion_tokens: int | None,
        attempts: int = 1,
    ) -> float:
        """Charge what the call cost and return it, USD: never more than was reserved.

        Usage that is unknown or cannot be true is charged the worst case. An attempt before the last is charged its
        worst case, one that was never made nothing.
        """
        _once(reservation)
        most_in, most_out = reservation.prompt_tokens, reservation.reply_tokens
        used_in, used_out = most_in, most_out
        if 0 < (prompt_tokens or 0) <= most_in and 0 < (completion_tokens or 0) <= most_out:
            used_in, used_out = prompt_tokens or most_in, completion_tokens or most_out
        earlier = min(max(attempts, 1), MAX_ATTEMPTS) - 1
        used_in, used_out = used_in + earlier * most_in, used_out + earlier * most_out
        usd = 0.0 if self._price is None else self._price.cost_usd(used_in, used_out)
        self._ledger.settle(reservation.number, usd, used_in + used_out)
        return usd


def _once(reservation: Reservation) -> None:
    if reservation.settled:
        raise ValueError("a reservation is settled exactly once")
    reservation.settled = True


def _denied(detail: str) -> AdviceRejectedError:
    return AdviceRejectedError(AdviceOutcome.BUDGET_DENIED, detail)
