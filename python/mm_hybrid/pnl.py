"""Profit and loss of one symbol, split into parts that add up.

The total is cash plus the marked position; each part is summed from its own events, none by subtraction:

* spread capture: sum of s z (m - p) over fills (s side sign, z quantity, p price, m the mid when the fill was applied);
* inventory: sum of q dm over all moves of the mid, q the position held through the move;
* fees and funding: signed cash, a cost is negative.

Their identity with the total is exact, since everything is decimal arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from mm_hybrid.types import Fill, Position


@dataclass(frozen=True, slots=True, kw_only=True)
class PnlParts:
    """Profit and loss in quote currency; the parts add up to ``total``."""

    total: Decimal = Decimal(0)
    spread_capture: Decimal = Decimal(0)
    inventory: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    funding: Decimal = Decimal(0)

    def as_floats(self) -> dict[str, float]:
        """Return the parts as JSON numbers."""
        return {
            "total": float(self.total),
            "spread_capture": float(self.spread_capture),
            "inventory": float(self.inventory),
            "fees": float(self.fees),
            "funding": float(self.funding),
        }


class PnlLedger:
    """Keeps position, cash and the parts of the profit as fills and marks come in.

    Args:
        opening_base: position held before the session; it counts as bought at the first mid, so that the session's
            profit starts at zero.
    """

    def __init__(self, opening_base: Decimal = Decimal(0)) -> None:
        self._mid: Decimal | None = None
        self._qty = opening_base
        self._cash = Decimal(0)
        self._fees = Decimal(0)
        self._funding = Decimal(0)
        self._spread_capture = Decimal(0)
        self._inventory = Decimal(0)
        self.traded_quote = Decimal(0)

    def mark(self, mid: Decimal) -> None:
        """Move the mid: what is held gains or loses the difference."""
        if self._mid is None:
            self._cash -= self._qty * mid
        else:
            self._inventory += self._qty * (mid - self._mid)
        self._mid = mid

    def fill(self, fill: Fill, mid: Decimal) -> None:
        """Book one execution at its price, with ``mid`` as the market's at this moment."""
        self.mark(mid)
        sign = 1 if fill.side == "buy" else -1
        self._spread_capture += sign * fill.qty * (mid - fill.price)
        self._qty += sign * fill.qty
        self._cash -= sign * fill.qty * fill.price
        self._fees += fill.fee_quote
        self.traded_quote += fill.qty * fill.price

    def fund(self, cash_quote: Decimal) -> None:
        """Book a funding payment; received is positive."""
        self._funding += cash_quote

    @property
    def position(self) -> Position:
        """What is held and what it cost."""
        return Position(
            qty_base=self._qty, cash_quote=self._cash, fees_quote=self._fees, funding_quote=self._funding
        )

    @property
    def parts(self) -> PnlParts:
        """The profit so far, marked at the last mid."""
        marked = Decimal(0) if self._mid is None else self._qty * self._mid
        return PnlParts(
            total=self._cash + marked + self._fees + self._funding,
            spread_capture=self._spread_capture,
            inventory=self._inventory,
            fees=self._fees,
            funding=self._funding,
        )
