"""Position and wallet arithmetic of one linear contract in one-way mode, exact in decimals."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from mm_hybrid.types import Side

_ZERO = Decimal(0)


@dataclass(slots=True)
class PositionBook:
    """Net position with its average entry price.

    ``cash`` is the exact signed quote flow of all trades (buys negative). ``entry_value`` is the signed value
    the open quantity was entered at. What has been realised is their sum, so that rounding of an average
    price never leaks: once flat, ``entry_value`` is zero and the profit is the cash itself.

    Attributes:
        qty: signed base quantity, long positive.
        entry_value: signed quote value at entry.
        cash: signed quote cash from trading, fees not included.
        fees: quote fees paid; negative is a net rebate.
        funding: quote cash from funding; received is positive.
        other_fees: fees paid in another coin than the quote: in the base coin, as spot buys do, where they take nothing
            off ``qty``, or in a third one.
        opened_ns: when the position last left zero.
        updated_ns: when it last changed.
    """

    qty: Decimal = _ZERO
    entry_value: Decimal = _ZERO
    cash: Decimal = _ZERO
    fees: Decimal = _ZERO
    funding: Decimal = _ZERO
    other_fees: Decimal = _ZERO
    opened_ns: int = 0
    updated_ns: int = 0

    def apply(
        self, side: Side, price: Decimal, qty: Decimal, fee: Decimal, now_ns: int
    ) -> tuple[Decimal, Decimal]:
        """Book one trade; return the quantity it closed and the profit that realised, fee not included."""
        signed = qty if side == "buy" else -qty
        before = self.realised_profit
        closed = min(qty, abs(self.qty)) if self.qty * signed < 0 else _ZERO
        if closed:
            self.entry_value -= self.entry_value * closed / abs(self.qty)
            if closed == abs(self.qty):
                self.entry_value = _ZERO
        opened = signed - closed.copy_sign(signed)
        if opened and (closed or not self.qty):
            self.opened_ns = now_ns
        self.entry_value += opened * price
        self.qty += signed
        self.cash -= signed * price
        self.fees += fee
        self.updated_ns = now_ns
        return closed, self.realised_profit - before

    @property
    def entry_price(self) -> Decimal:
        """Average entry price of the open quantity; 0 when flat."""
        return self.entry_value / self.qty if self.qty else _ZERO

    @property
    def realised_profit(self) -> Decimal:
        """Quote profit of closed quantity, fees not included."""
        return self.cash + self.entry_value

    def unrealised_profit(self, mark: Decimal) -> Decimal:
        """Quote profit of the open quantity at ``mark``."""
        return self.qty * mark - self.entry_value
