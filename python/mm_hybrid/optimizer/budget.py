"""What advice may cost: the worst case is reserved before a call and settled after it.

A call whose usage is unknown (timeout, broken reply, no usage block, nothing for something) is charged its worst case,
because the provider may bill it. A model without a known price is refused.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from mm_hybrid.clock import Clock
from mm_hybrid.config import AdvisorConfig
from mm_hybrid.errors import JournalError
from mm_hybrid.optimizer.advice import MAX_TOKENS_TOLD, AdviceOutcome, AdviceRejectedError
from mm_hybrid.optimizer.ledger import DAY_NS, Ledger

log = logging.getLogger(__name__)

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
        ts_ns: when it was made.
        attempts: tries that it covers.
        prompt_tokens: most tokens one attempt's prompt can have.
        reply_tokens: most tokens one attempt's reply can have.
        usd: what all of them can cost.
        settled: whether it is over.
    """

    number: int
    ts_ns: int
    attempts: int
    prompt_tokens: int
    reply_tokens: int
    usd: float
    settled: bool = False


class Budget:
    """Admits calls while money, tokens and rate allow.

    Args:
        usd_per_day: most that may be spent per day (UTC).
        tokens_per_min: most tokens, prompt and reply, in any 60 s.
        calls_per_min: most calls in any 60 s, retries counted.
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
        """USD spent or reserved today.

        Raises:
            JournalError: the ledger cannot be read.
        """
        return self._spent_on_day_of(self._clock.now_ns())

    def reserve(self, prompt_bytes: int, max_reply_tokens: int) -> Reservation:
        """Set the worst case of one call aside: with a retry if the limits allow two tries, else without.

        Raises:
            AdviceRejectedError: ``budget_denied``, saying which limit.
        """
        price = self._price
        if price is None:
            raise _denied(
                f"the price of {self._model or 'the model'} is unknown: "
                "set advisor.price_in_usd_per_mtok and price_out_usd_per_mtok"
            )
        now_ns = self._clock.now_ns()
        prompt_tokens = -(-prompt_bytes // _BYTES_PER_TOKEN)
        try_usd, try_tokens = (
            price.cost_usd(prompt_tokens, max_reply_tokens),
            prompt_tokens + max_reply_tokens,
        )
        try:
            with self._ledger.alone():
                attempts = self._attempts_that_fit(now_ns, try_usd, try_tokens)
                usd, tokens = attempts * try_usd, attempts * try_tokens
                number = self._ledger.reserve(now_ns, self._model, usd, tokens, attempts)
        except JournalError as error:
            raise _denied(str(error)) from error
        return Reservation(number, now_ns, attempts, prompt_tokens, max_reply_tokens, usd)

    def _attempts_that_fit(self, now_ns: int, try_usd: float, try_tokens: int) -> int:
        spent_usd = self._spent_on_day_of(now_ns)
        # What lies in the future was written before the clock was set back, and is not of this minute.
        minute = self._ledger.spent(now_ns - _MINUTE_NS + 1, now_ns + 1)
        for attempts in range(MAX_ATTEMPTS, 0, -1):
            if spent_usd + attempts * try_usd > self._usd_per_day:
                why = f"{spent_usd:.4f} of {self._usd_per_day:g} USD spent, a call may cost {try_usd:.4f}"
            elif minute.attempts + attempts > self._calls_per_min:
                why = f"{minute.attempts} of {self._calls_per_min} calls in the last minute already"
            elif minute.tokens + attempts * try_tokens > self._tokens_per_min:
                why = (
                    f"{minute.tokens} of {self._tokens_per_min} tokens a minute used, "
                    f"a call may take {try_tokens}"
                )
            else:
                return attempts
        raise _denied(why)

    def _spent_on_day_of(self, ts_ns: int) -> float:
        day_ns = ts_ns - ts_ns % DAY_NS
        return self._ledger.spent(day_ns, day_ns + DAY_NS).usd

    def cancel(self, reservation: Reservation) -> None:
        """Take a reservation back; its call was never sent. A ledger that cannot be written keeps the worst case."""
        _once(reservation)
        try:
            self._ledger.drop(reservation.number)
        except JournalError as error:
            log.warning("%s", error)

    def settle(
        self,
        reservation: Reservation,
        prompt_tokens: int | None,
        completion_tokens: int | None,
        attempts: int = 1,
    ) -> float:
        """Charge what the call cost and return it, USD.

        Usage is charged as told, also where it is more than was reserved, up to what is left of the day; then nothing
        more is asked that day. Usage that is unknown or nothing is charged the worst case, and so are an attempt before
        the last, and a call that cannot be written down now. An attempt that was never made costs nothing.
        """
        _once(reservation)
        most_in, most_out = reservation.prompt_tokens, reservation.reply_tokens
        used_in, used_out = most_in, most_out
        if prompt_tokens and completion_tokens and prompt_tokens > 0 and completion_tokens > 0:
            used_in, used_out = prompt_tokens, completion_tokens
        made = min(max(attempts, 1), reservation.attempts)
        used_in, used_out = used_in + (made - 1) * most_in, used_out + (made - 1) * most_out
        usd = 0.0 if self._price is None else self._price.cost_usd(used_in, used_out)
        try:
            if usd > reservation.usd:
                others_usd = self._spent_on_day_of(reservation.ts_ns) - reservation.usd
                usd = max(min(usd, self._usd_per_day - others_usd), reservation.usd)
            self._ledger.settle(reservation.number, usd, min(used_in + used_out, MAX_TOKENS_TOLD), made)
        except JournalError as error:
            log.warning("%s; a call stays charged with its worst case", error)
            return reservation.usd
        return usd


def _once(reservation: Reservation) -> None:
    if reservation.settled:
        raise ValueError("a reservation is settled exactly once")
    reservation.settled = True


def _denied(detail: str) -> AdviceRejectedError:
    return AdviceRejectedError(AdviceOutcome.BUDGET_DENIED, detail)
