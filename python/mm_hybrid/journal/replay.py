"""From the rows of a journal back to the state they describe: orders, position, cash, what is still open.

Replaying is what a start does before it asks the venue anything, and what any checker can do to a journal: it
uses nothing but the rows.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from mm_hybrid.journal.reader import JournalReader
from mm_hybrid.journal.schema import FillRow, FundingRow, IntentRow, OpeningRow, OutcomeRow, StateRow
from mm_hybrid.types import Position, Side

ENDED = frozenset({"FILLED", "CANCELED", "REJECTED", "NOT_PLACED"})
"""States after which an order cannot fill any more."""

WATERMARK = "watermark"
"""``what`` of the state rows that say up to which venue time, milliseconds, every execution is in the journal."""

FUNDING_WATERMARK = "funding_watermark"
"""The same for funding payments."""

_Row = IntentRow | OutcomeRow | FillRow | FundingRow | OpeningRow | StateRow


@dataclass(slots=True, kw_only=True)
class OpenedOrder:
    """One order as the journal knows it.

    Attributes:
        intent_seq: sequence number of the intent that created it.
        intent_ns: when that was written.
        price: of the last intent that set it; an amend may not have been carried out.
        qty: total quantity, as the last outcome tells it.
        amend_qty: the largest total quantity of amends whose fate is open; ``None`` when none is.
        filled: sum of its executions.
        venue_filled: cumulative quantity known from executions or by the venue's word.
        state: the last one journalled; ``INTENT`` when nothing was heard.
        given_up: whether the last word is that it was looked for and not found.
    """

    client_id: str
    side: Side
    intent_seq: int
    intent_ns: int
    price: Decimal
    qty: Decimal
    amend_qty: Decimal | None = None
    filled: Decimal = Decimal(0)
    venue_filled: Decimal = Decimal(0)
    state: str = "INTENT"
    order_id: str | None = None
    given_up: bool = False

    @property
    def ended(self) -> bool:
        """Whether its end is in the journal."""
        return self.state in ENDED


@dataclass(slots=True)
class ReplayedState:
    """What a journal says happened, summed up.

    Attributes:
        opening: position taken over before the fills that count; ``None`` if none was ever journalled.
        position: opening and fills since, with the cash, fees and funding of every fill and payment.
        orders: every order by client id, in the order of their intents.
        exec_ids: ids of all executions and payments booked, in order.
        watermark_ms: venue time up to which every execution is known; 0 if that was never established.
        funding_watermark_ms: the same for funding payments.
        last_exchange_ts_ns: exchange time of the newest execution.
        nobodys: quantities executed of orders that were not known, by exchange id.
    """

    opening: Decimal | None = None
    position: Position = field(default_factory=Position)
    orders: dict[str, OpenedOrder] = field(default_factory=dict)
    exec_ids: dict[str, None] = field(default_factory=dict)
    watermark_ms: int = 0
    funding_watermark_ms: int = 0
    last_exchange_ts_ns: int = 0
    nobodys: dict[str, Decimal] = field(default_factory=dict)
    buys: int = 0
    sells: int = 0

    @property
    def unsettled(self) -> list[OpenedOrder]:
        """Orders whose end is not in the journal."""
        return [order for order in self.orders.values() if not order.ended]


def replay(path: str | os.PathLike[str]) -> ReplayedState:
    """Read a journal from its first row to its last and return the state it leads to.

    Raises:
        JournalError: it cannot be read.
    """
    with JournalReader(path) as reader:
        rows: Iterable[_Row] = heapq.merge(
            reader.intents(), reader.outcomes(), reader.fills(), reader.funding(), reader.openings(),
            reader.states(), key=_stamp,
        )  # fmt: skip
        state = ReplayedState()
        for row in rows:
            _apply(state, row)
        return state


def _apply(state: ReplayedState, row: _Row) -> None:
    if isinstance(row, IntentRow):
        _intend(state, row)
    elif isinstance(row, OutcomeRow):
        order = state.orders.get(row.client_id or "")
        if order is not None:
            order.state = row.state
            # What a cancel of it was answered afterwards does not say that it was never placed.
            order.given_up = row.state == "NOT_PLACED" and (row.source == "lookup" or order.given_up)
            order.order_id = row.order_id or order.order_id
            order.filled += state.nobodys.pop(order.order_id or "", Decimal(0))
            order.qty = row.qty if row.qty is not None else order.qty
            order.venue_filled = max(order.venue_filled, row.filled or Decimal(0))
            if row.state == "OPEN" or row.state in ENDED:
                order.amend_qty = None
    elif isinstance(row, FillRow):
        _fill(state, row)
    elif isinstance(row, FundingRow):
        state.exec_ids[row.exec_id] = None
        held = state.position
        state.position = Position(
            qty_base=held.qty_base, cash_quote=held.cash_quote, fees_quote=held.fees_quote,
            funding_quote=held.funding_quote + row.amount_quote,
        )  # fmt: skip
    elif isinstance(row, OpeningRow):
        held = state.position
        state.opening = row.qty
        state.exec_ids |= dict.fromkeys(row.contains.split())
        state.position = Position(
            qty_base=row.qty, cash_quote=held.cash_quote, fees_quote=held.fees_quote,
            funding_quote=held.funding_quote,
        )  # fmt: skip
    elif row.what == WATERMARK:
        state.watermark_ms = max(state.watermark_ms, int(row.value))
    elif row.what == FUNDING_WATERMARK:
        state.funding_watermark_ms = max(state.funding_watermark_ms, int(row.value))


def _intend(state: ReplayedState, row: IntentRow) -> None:
    if row.client_id is None:
        return
    if row.action == "create" and row.side is not None and row.price is not None and row.qty is not None:
        state.orders[row.client_id] = OpenedOrder(
            client_id=row.client_id, side=row.side, intent_seq=row.seq, intent_ns=row.ts_ns,
            price=row.price, qty=row.qty,
        )  # fmt: skip
    elif row.action == "amend" and (order := state.orders.get(row.client_id)) is not None:
        order.price = row.price or order.price
        order.amend_qty = max(order.amend_qty or Decimal(0), row.qty or Decimal(0))


def _fill(state: ReplayedState, row: FillRow) -> None:
    sign = 1 if row.side == "buy" else -1
    held = state.position
    state.exec_ids[row.exec_id] = None
    state.last_exchange_ts_ns = max(state.last_exchange_ts_ns, row.exchange_ts_ns)
    state.buys += sign > 0
    state.sells += sign < 0
    state.position = Position(
        qty_base=held.qty_base + sign * row.qty,
        cash_quote=held.cash_quote - sign * row.qty * row.price,
        fees_quote=held.fees_quote + row.fee_quote,
        funding_quote=held.funding_quote,
    )
    order = state.orders.get(row.client_id)
    if order is not None:
        order.filled += row.qty
        order.venue_filled = max(order.venue_filled, order.filled)
        order.order_id = order.order_id or row.order_id
    elif row.exec_type == "trade" and row.order_id:
        state.nobodys[row.order_id] = state.nobodys.get(row.order_id, Decimal(0)) + row.qty


def _stamp(row: _Row) -> int:
    return row.ts_ns
