"""Checks between what a strategy wants and what may rest: exact, and closed when in doubt.

An exception inside a check refuses. Cancels never come here: they always pass.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from mm_hybrid.clock import Clock
from mm_hybrid.types import Approved, BookState, Features, Instrument, Position, Quote, Quotes, Refused, Side


class Exposure(Protocol):
    """An order that may still fill; ``remaining`` is the worst case."""

    @property
    def side(self) -> Side:
        """Which way it would change the position."""
        ...

    @property
    def remaining(self) -> Decimal:
        """Quantity that may still fill, base units."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskLimits:
    """What may never be passed; money in quote currency.

    Attributes:
        max_position_quote: value at the mid of the position at worst, all live and unknown orders of a side
            filled.
        max_position_base: the same in base units, whatever the price does; ``None`` for no such limit.
        max_order_quote: value of one order.
        max_distance_bps: distance of a price from the mid.
        max_book_age_ns: age of the book.
        max_loss_quote: loss of the session that stops trading for good.
    """

    max_position_quote: Decimal
    max_order_quote: Decimal
    max_distance_bps: Decimal
    max_book_age_ns: int
    max_loss_quote: Decimal
    max_position_base: Decimal | None = None


class Risk:
    """Approves or refuses target quotes as a whole.

    Args:
        limits: the limits.
        instrument: grid and minima of orders.
        clock: time of a kill.
        kill_file: the kill switch; while this file exists nothing is approved.
    """

    def __init__(
        self, limits: RiskLimits, instrument: Instrument, clock: Clock, *, kill_file: Path | None = None
    ) -> None:
        self.limits = limits
        self._instrument = instrument
        self._clock = clock
        self._kill_file = kill_file
        self._latched: str | None = None

    @property
    def latched(self) -> str | None:
        """Why trading is stopped for good, or ``None``; only a new start with the cause gone lifts it."""
        return self._latched

    def kill(self, reason: str) -> None:
        """Stop trading for good; a kill file, where configured, keeps later starts stopped too."""
        self._latched = self._latched or reason
        if self._kill_file is not None:
            self._kill_file.parent.mkdir(parents=True, exist_ok=True)
            with self._kill_file.open("a", encoding="utf-8") as file:
                file.write(f"{self._clock.now_ns()} {reason}\n")
                file.flush()
                os.fsync(file.fileno())

    def note_profit(self, total_quote: Decimal) -> None:
        """Take in the session's total profit or loss; a loss at the limit latches."""
        if total_quote <= -self.limits.max_loss_quote and self._latched is None:
            self._latched = f"loss {total_quote:.2f} reached the limit of {self.limits.max_loss_quote:.2f}"

    def check(
        self,
        quotes: Quotes,
        features: Features,
        *,
        book_age_ns: int,
        position: Position,
        live: Sequence[Exposure] = (),
    ) -> Approved | Refused:
        """Return the quotes approved as they are, or why not; never raises."""
        try:
            reason = self._reason(quotes, features, book_age_ns, position, live)
        except Exception as error:
            reason = f"a check failed: {type(error).__name__}: {error}"
        if reason is not None:
            return Refused(reason=reason, quotes=quotes)
        return Approved(quotes=quotes)

    def _reason(
        self,
        quotes: Quotes,
        features: Features,
        book_age_ns: int,
        position: Position,
        live: Sequence[Exposure],
    ) -> str | None:
        if self._latched is not None:
            return self._latched
        if self._kill_file is not None and self._kill_file.exists():
            self._latched = f"kill switch {self._kill_file}"
            return self._latched
        if features.state is not BookState.LIVE:
            return f"book is {features.state}"
        if not 0 <= book_age_ns <= self.limits.max_book_age_ns:
            return f"book is {book_age_ns / 1e6:.0f} ms old, limit {self.limits.max_book_age_ns / 1e6:.0f} ms"
        mid = Decimal(repr(features.mid_price))
        bid, ask = Decimal(repr(features.best_bid)), Decimal(repr(features.best_ask))
        if not (mid.is_finite() and 0 < bid < ask and bid <= mid <= ask):
            return f"mid {mid} does not lie between bid {bid} and ask {ask}"
        for quote in quotes:
            reason = self._one(quote, mid, bid, ask)
            if reason is not None:
                return reason
        return self._self_cross(quotes) or self._worst_case(quotes, mid, position, live)

    def _one(self, quote: Quote, mid: Decimal, bid: Decimal, ask: Decimal) -> str | None:
        price, qty = _exact(quote.price), _exact(quote.qty)
        what = f"{quote.side} {qty} at {price}"
        instrument, limits = self._instrument, self.limits
        if quote.side not in {"buy", "sell"} or not (price > 0 and qty > 0):
            return f"{what}: no usable order"
        if price % instrument.tick_size or qty % instrument.lot_size:
            return f"{what}: not on the grid of {instrument.tick_size} and {instrument.lot_size}"
        if qty < instrument.min_qty or price * qty < instrument.min_notional:
            return f"{what}: below the venue's minimum"
        if price * qty * instrument.contract_size > limits.max_order_quote:
            return f"{what}: worth more than {limits.max_order_quote} {instrument.quote}"
        if abs(price - mid) > limits.max_distance_bps / 10_000 * mid:
            return f"{what}: more than {limits.max_distance_bps} bps from the mid {mid}"
        if (quote.side == "buy" and price >= ask) or (quote.side == "sell" and price <= bid):
            return f"{what}: would cross the book ({bid} / {ask})"
        return None

    @staticmethod
    def _self_cross(quotes: Quotes) -> str | None:
        buys = [_exact(quote.price) for quote in quotes if quote.side == "buy"]
        sells = [_exact(quote.price) for quote in quotes if quote.side == "sell"]
        if buys and sells and max(buys) >= min(sells):
            return f"own buy at {max(buys)} would meet own sell at {min(sells)}"
        return None

    def _worst_case(
        self, quotes: Quotes, mid: Decimal, position: Position, live: Sequence[Exposure]
    ) -> str | None:
        """Refuse a side that could carry the position past the limit.

        While orders are replaced, a side never has more resting than the larger of what is live and what is
        wanted.
        """
        for side, sign in (("buy", 1), ("sell", -1)):
            wanted = _total(_exact(quote.qty) for quote in quotes if quote.side == side)
            resting = _total(order.remaining for order in live if order.side == side)
            worst = sign * position.qty_base + max(wanted, resting)
            value = worst * mid * self._instrument.contract_size
            if wanted and value > self.limits.max_position_quote:
                limit = f"{self.limits.max_position_quote} {self._instrument.quote}"
                return f"{side}: position could reach {worst}, worth more than {limit}"
            limit_base = self.limits.max_position_base
            if wanted and limit_base is not None and worst > limit_base:
                return f"{side}: position could reach {worst}, more than {limit_base} {self._instrument.base}"
        return None


def _exact(value: Decimal | float | None) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(repr(value))


def _total(values: Iterable[Decimal]) -> Decimal:
    return sum(values, Decimal(0))
