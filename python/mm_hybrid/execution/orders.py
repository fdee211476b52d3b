"""Own orders: what was asked, what is known, and how far fills may still go.

A record lives from the intent on and long beyond its end, so that a fill or a push that comes late finds it.
Fills come from executions alone, keyed by execution id; an order's status only says whether more may come.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Literal, NamedTuple

from mm_hybrid.types import Fill, Side

ZERO = Decimal(0)


class OrderState(StrEnum):
    """Where an order is in its life."""

    INTENT = "INTENT"
    SENT = "SENT"
    ACKED = "ACKED"
    OPEN = "OPEN"
    PENDING_AMEND = "PENDING_AMEND"
    PENDING_CANCEL = "PENDING_CANCEL"
    PENDING_UNKNOWN = "PENDING_UNKNOWN"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    NOT_PLACED = "NOT_PLACED"


TERMINAL = frozenset({OrderState.FILLED, OrderState.CANCELED, OrderState.REJECTED, OrderState.NOT_PLACED})
UNSETTLED = frozenset(
    {OrderState.ACKED, OrderState.PENDING_AMEND, OrderState.PENDING_CANCEL, OrderState.PENDING_UNKNOWN}
)
"""States that the venue's stream should end soon; a lookup does if it does not."""

PRESUMED_ABSENT = frozenset({OrderState.REJECTED, OrderState.NOT_PLACED})
"""Ends that this side concluded; an order the venue tells of all the same exists."""

ENDED_KEPT = 20_000
_NOBODYS_KEPT = 1_000
"""Ended orders remembered, the latest ones, for news that comes late."""

EXECUTIONS_KEPT = 100_000
"""Execution ids remembered, the latest ones; many more than a watermark's overlap can repeat."""

VenueStatus = Literal["open", "filled", "canceled", "rejected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrder:
    """A post-only limit order to send."""

    client_id: str
    side: Side
    price: Decimal
    qty: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueOrder:
    """An order as the venue tells it, by push or by query.

    ``filled`` is the cumulative quantity; ``update_ms`` the venue's time of the last change, 0 if not told.
    """

    client_id: str
    order_id: str
    side: Side
    price: Decimal
    qty: Decimal
    filled: Decimal
    status: VenueStatus
    reason: str = ""
    update_ms: int = 0


class LiveOrder(NamedTuple):
    """An order that may rest or fill, as risk checks and reports see it; ``remaining`` is the worst case."""

    client_id: str
    side: Side
    price: Decimal
    remaining: Decimal
    state: OrderState


@dataclass(slots=True, kw_only=True)
class OrderRecord:
    """One own order, from intent to end.

    Attributes:
        filled: quantity of the executions applied.
        venue_filled: cumulative quantity the venue has reported, which may run ahead of its executions.
        filled_before: what an adopted order had filled when it was found; its executions may never come.
        amend_price: price of an amend under way.
        amend_qty: total quantity of an amend under way.
        venue_ended: whether its end is the venue's word and not this side's conclusion.
        since_ns: monotonic time of the last change of state.
        off_target_ns: monotonic time since which it should have been amended and the rates did not allow it; 0 when
            nothing is overdue.
        lookups: lookups made in this state.
        next_lookup_ns: monotonic time of the next one.
        missing: answers in a row that did not know it, since the venue last told of it.
        missing_since_ns: monotonic time of the first of them.
    """

    client_id: str
    side: Side
    price: Decimal
    qty: Decimal
    since_ns: int
    off_target_ns: int = 0
    intent_seq: int = 0
    state: OrderState = OrderState.INTENT
    order_id: str | None = None
    filled: Decimal = ZERO
    venue_filled: Decimal = ZERO
    filled_before: Decimal | None = None
    amend_price: Decimal | None = None
    amend_qty: Decimal | None = None
    update_ms: int = 0
    venue_ended: bool = False
    lookups: int = 0
    next_lookup_ns: int = 0
    missing: int = 0
    missing_since_ns: int = 0
    reason: str = ""

    @property
    def live(self) -> bool:
        """Whether it may rest at the venue."""
        return self.state not in TERMINAL

    @property
    def unconfirmed(self) -> bool:
        """Whether the venue has not shown yet that it exists, or does not show it any more, and it may."""
        if not self.live or self.state in {OrderState.INTENT, OrderState.SENT}:
            return False
        return self.state is OrderState.PENDING_UNKNOWN or self.order_id is None or self.missing > 0

    def miss(self, now_ns: int) -> None:
        """Count an answer of the venue that does not know it."""
        if self.missing == 0:
            self.missing_since_ns = now_ns
        self.missing += 1

    @property
    def remaining(self) -> Decimal:
        """Quantity that may still fill, at worst: an amend under way counts at its larger quantity."""
        if self.live:
            filled = max(self.filled, self.filled_before or ZERO)
            return max(ZERO, max(self.qty, self.amend_qty or ZERO) - filled)
        return self.owed

    @property
    def owed(self) -> Decimal:
        """Quantity the venue has reported as filled and no execution has accounted for yet."""
        if self.filled_before is not None:
            return ZERO
        return max(ZERO, self.venue_filled - self.filled)

    def collides(self, seen: VenueOrder) -> bool:
        """Return whether an order at the venue bears this one's client id and is not what was asked for.

        Only while nothing is known of this one: later its price and quantity may have been amended.
        """
        if self.order_id is not None or self.state not in {OrderState.SENT, OrderState.PENDING_UNKNOWN}:
            return False
        return (seen.side, seen.price, seen.qty) != (self.side, self.price, self.qty)

    def move(self, state: OrderState, now_ns: int) -> bool:
        """Change the state; return whether it changed. :meth:`Orders.move` is for orders that are in one.

        Ends stay, but for those this side concluded and the venue contradicts: ``NOT_PLACED`` and ``REJECTED``.
        """
        if state is self.state:
            return False
        if self.state in TERMINAL and (self.venue_ended or self.state not in PRESUMED_ABSENT):
            return False
        self.state = state
        self.since_ns = now_ns
        self.off_target_ns = 0
        self.lookups = 0
        self.next_lookup_ns = 0
        return True


class Orders:
    """All own orders, by client id and by exchange id, and the executions already applied.

    Orders that may still change the position are held apart, so that looking at them costs nothing for those that
    have ended; of the ended ones, and of execution ids, the latest are kept.
    """

    def __init__(self) -> None:
        self._active: dict[str, OrderRecord] = {}
        self._ended: dict[str, OrderRecord] = {}
        self._by_order: dict[str, OrderRecord] = {}
        self._exec_ids: dict[str, None] = {}
        self._nobodys: dict[str, Decimal] = {}

    @property
    def exec_ids(self) -> AbstractSet[str]:
        """Ids of the executions and payments applied, the latest ones."""
        return self._exec_ids.keys()

    def know(self, exec_ids: Iterable[str]) -> None:
        """Take executions and payments as applied."""
        for exec_id in exec_ids:
            self._exec_ids[exec_id] = None
            if len(self._exec_ids) > EXECUTIONS_KEPT:
                del self._exec_ids[next(iter(self._exec_ids))]

    def add(self, record: OrderRecord) -> None:
        """Take in a new order.

        Raises:
            ValueError: the client id has been used; ids are never used twice.
        """
        if record.client_id in self._active or record.client_id in self._ended:
            raise ValueError(f"client id {record.client_id} is taken")
        self._active[record.client_id] = record
        self.identify(record, record.order_id or "")
        self._sort(record)

    def move(self, record: OrderRecord, state: OrderState, now_ns: int) -> bool:
        """Change an order's state; return whether it changed. See :meth:`OrderRecord.move`."""
        changed = record.move(state, now_ns)
        self._sort(record)
        return changed

    def live(self) -> Iterator[OrderRecord]:
        """Yield the orders that may rest at the venue."""
        return (record for record in self._active.values() if record.live)

    def unaccounted(self) -> Iterator[OrderRecord]:
        """Yield ended orders whose last executions have not arrived yet."""
        return (record for record in self._active.values() if not record.live)

    def exposed(self) -> tuple[LiveOrder, ...]:
        """Return everything that may still change the position."""
        return tuple(
            LiveOrder(r.client_id, r.side, r.price, r.remaining, r.state)
            for r in self._active.values()
            if r.remaining > 0
        )

    def client_ids(self) -> frozenset[str]:
        """Return the client ids of all orders known now."""
        return frozenset([*self._active, *self._ended])

    def find(self, *, client_id: str, order_id: str) -> OrderRecord | None:
        """Return the record of an order by either id."""
        return self._active.get(client_id) or self._ended.get(client_id) or self._by_order.get(order_id)

    def identify(self, record: OrderRecord, order_id: str) -> None:
        """Remember the exchange id of an order."""
        if order_id:
            record.order_id = order_id
            self._by_order[order_id] = record
            if record.filled_before is None:
                record.filled += self._nobodys.pop(order_id, ZERO)

    def _sort(self, record: OrderRecord) -> None:
        """Keep a record among those that may change the position, or among the ended, as it is now."""
        if record.live or record.owed > 0:
            self._ended.pop(record.client_id, None)
            self._active[record.client_id] = record
        elif self._active.pop(record.client_id, None) is not None:
            self._ended[record.client_id] = record
            if len(self._ended) > ENDED_KEPT:
                oldest = self._ended.pop(next(iter(self._ended)))
                self._by_order.pop(oldest.order_id or "", None)

    def apply_fill(self, fill: Fill, now_ns: int) -> bool:
        """Apply an execution; return whether it is new. Fills count in any state, ended orders included."""
        if fill.exec_id in self._exec_ids:
            return False
        self.know([fill.exec_id])
        record = self.find(client_id=fill.client_id, order_id=fill.order_id)
        if record is not None:
            self.identify(record, fill.order_id)
            record.missing = 0
            record.filled += fill.qty
            if record.filled >= record.qty and record.amend_qty is None:
                record.move(OrderState.FILLED, now_ns)
            self._sort(record)
        elif fill.exec_type == "trade":
            self.remember_nobodys({fill.order_id: self._nobodys.get(fill.order_id, ZERO) + fill.qty})
        return True

    def remember_nobodys(self, executed: Mapping[str, Decimal]) -> None:
        """Remember quantities executed of orders that are not known, by exchange id: one may turn out to be ours."""
        self._nobodys.update(executed)
        while len(self._nobodys) > _NOBODYS_KEPT:
            del self._nobodys[next(iter(self._nobodys))]

    def apply_venue(self, seen: VenueOrder, now_ns: int) -> tuple[OrderRecord, bool] | None:
        """Apply what the venue says of an order; return its record and whether its state changed.

        News older than what is known changes nothing but the ids and the cumulative quantity, which only
        grows.
        """
        record = self.find(client_id=seen.client_id, order_id=seen.order_id)
        if record is None:
            return None
        self.identify(record, seen.order_id)
        changed = self._apply(record, seen, now_ns)
        self._sort(record)
        return record, changed

    def _apply(self, record: OrderRecord, seen: VenueOrder, now_ns: int) -> bool:
        record.missing = 0
        record.venue_filled = max(record.venue_filled, seen.filled)
        if seen.update_ms and seen.update_ms < record.update_ms:
            return False
        record.update_ms = max(record.update_ms, seen.update_ms)
        record.reason = seen.reason or record.reason
        if seen.status == "open":
            return self._apply_open(record, seen, now_ns)
        state = {"filled": OrderState.FILLED, "rejected": OrderState.REJECTED}.get(
            seen.status, OrderState.CANCELED
        )
        record.amend_price = record.amend_qty = None
        changed = record.move(state, now_ns)
        record.venue_ended = True
        return changed

    def _apply_open(self, record: OrderRecord, seen: VenueOrder, now_ns: int) -> bool:
        if record.state in TERMINAL and (record.venue_ended or record.state not in PRESUMED_ABSENT):
            return False
        if record.state is OrderState.PENDING_AMEND:
            if (seen.price, seen.qty) != (record.amend_price, record.amend_qty):
                return False
            record.amend_price = record.amend_qty = None
        record.price, record.qty = seen.price, seen.qty
        if record.state is OrderState.PENDING_CANCEL:
            return False
        return record.move(OrderState.OPEN, now_ns)
