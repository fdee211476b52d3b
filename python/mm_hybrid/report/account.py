"""Profit of a journal, from its fills and marked mids alone."""

from __future__ import annotations

from decimal import Decimal

from mm_hybrid.journal import FillRow, FundingRow, MarkRow

ZERO = Decimal(0)


class Account:
    """Sums fills and moves of the mid in the order of their stamps.

    With s the side's sign, z quantity, p price, m the mid when a fill was applied and q the position:
    spread capture = sum s z (m - p); inventory = sum q_before (m_i - m_(i-1)) over marks and fills;
    total = cash + q m + fees + funding. Nothing comes by subtraction: the sum of the parts checks it.
    """

    def __init__(self) -> None:
        self.mid: Decimal | None = None
        self.qty = ZERO
        self.cash = ZERO
        self.fees = ZERO
        self.funding = ZERO
        self.spread_capture = ZERO
        self.inventory = ZERO
        self.traded_quote = ZERO
        self.max_position = ZERO
        self.max_drawdown = ZERO
        self.buys = 0
        self.sells = 0
        self.maker_fills = 0
        self._peak = ZERO
        self.adopted_qty = ZERO
        self._opening = False

    def start_session(self) -> None:
        """Begin another start of the engine: its opening position is adopted."""
        self._opening = True

    def mark(self, row: MarkRow) -> None:
        """Move the mid."""
        if row.mid is not None:
            self._move(row.mid)
            self._adopt(row.position, row.mid)
        self._track()

    def fund(self, row: FundingRow) -> None:
        """Book a funding payment."""
        self.funding += row.amount_quote
        self._track()

    def fill(self, row: FillRow) -> None:
        """Book an execution; one without a known mid is taken at the last mid, or else at its own price."""
        mid = row.mid or self.mid or row.price
        self._move(mid)
        signed = row.qty if row.side == "buy" else -row.qty
        self.spread_capture += signed * (mid - row.price)
        self.cash -= signed * row.price
        self.qty += signed
        self.fees += row.fee_quote
        self.traded_quote += row.qty * row.price
        self.max_position = max(self.max_position, abs(self.qty))
        self.buys += row.side == "buy"
        self.sells += row.side == "sell"
        self.maker_fills += row.is_maker
        self._track()

    @property
    def total(self) -> Decimal:
        """Cash and marked position, with fees and funding."""
        marked = ZERO if self.mid is None else self.qty * self.mid
        return self.cash + marked + self.fees + self.funding

    def parts(self) -> dict[str, float]:
        """Return total and parts as JSON numbers."""
        return {
            "total": float(self.total),
            "spread_capture": float(self.spread_capture),
            "inventory": float(self.inventory),
            "fees": float(self.fees),
            "funding": float(self.funding),
        }

    def _move(self, mid: Decimal) -> None:
        if self.mid is not None:
            self.inventory += self.qty * (mid - self.mid)
        self.mid = mid

    def _adopt(self, position: Decimal, mid: Decimal) -> None:
        """Take what an engine held at its start, beyond the fills known here, as bought at the first mid."""
        if self._opening:
            beyond = position - self.qty
            self.cash -= beyond * mid
            self.qty += beyond
            self.adopted_qty += beyond
            self._opening = False

    def _track(self) -> None:
        self._peak = max(self._peak, self.total)
        self.max_drawdown = max(self.max_drawdown, self._peak - self.total)
