"""What is known of own orders and fills: one place takes in all news, from whatever source, in any order.

Pushes, replies, lookups and reconciliations all end here. Each execution moves the position once, whoever
tells it first; each change of an order's state is journalled with its source.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import accumulate

from mm_hybrid.clock import Clock
from mm_hybrid.execution.orders import OrderRecord, Orders, OrderState, VenueOrder
from mm_hybrid.execution.outcomes import VenueError
from mm_hybrid.journal import Journal
from mm_hybrid.types import Fill, Funding, Position, Side

_HELD_KEPT = 10_000

_LISTED_LATE_NS = 60_000_000_000
"""How long after a take-over an execution of before may still be listed for the first time."""

OnFill = Callable[[Fill], Decimal | None]
OnFunding = Callable[[Funding], None]


@dataclass(slots=True)
class Counters:
    """What has happened to own orders in this session; ``unknown`` counts outcomes left open by a reply."""

    orders_placed: int = 0
    amended: int = 0
    canceled: int = 0
    rejected: int = 0
    post_only_crossed: int = 0
    fills: int = 0
    unknown: int = 0
    orphans_canceled: int = 0


class Account:
    """Own orders, position and counters of a session.

    Args:
        journal: takes outcomes and fills.
        clock: time of changes.
        changed: called when something changed that may ask for new requests.
        stranger: called with an open order that has no record here.
        foreign: called with an execution that is nobody's here, once it is booked.
        ours: tells whether a client id is of this strategy, of whatever start.
        broken: called with what :attr:`on_fill` raised, once the execution is journalled.
        crossed: called with the side of an order that was cancelled because it would have taken.

    Attributes:
        booked: executions booked in this session.
        on_fill: called with each new execution; returns the mid known at that moment, for the journal.
        on_funding: called with each new funding payment.
    """

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        *,
        changed: Callable[[], None],
        stranger: Callable[[VenueOrder], None],
        foreign: Callable[[Fill], None] = lambda _fill: None,
        ours: Callable[[str], bool] = bool,
        broken: Callable[[Exception], None] = lambda _error: None,
        crossed: Callable[[Side], None] = lambda _side: None,
    ) -> None:
        self.orders = Orders()
        self.position = Position()
        self.counters = Counters()
        self.on_fill: OnFill | None = None
        self.on_funding: OnFunding | None = None
        self._journal = journal
        self._clock = clock
        self._changed = changed
        self._stranger = stranger
        self._foreign = foreign
        self._ours = ours
        self._broken = broken
        self._opened_ms = self._opened_ns = 0
        self._opened_with: frozenset[str] = frozenset()
        self._crossed = crossed
        self.booked = 0
        self._unmatched: list[tuple[int, Fill]] = []
        self._doubtful: list[tuple[int, Fill]] = []
        self._held: deque[tuple[int, Decimal]] = deque(
            [(clock.monotonic_ns(), Decimal(0))], maxlen=_HELD_KEPT
        )

    @property
    def executed_base(self) -> Decimal:
        """The position with the executions that still wait: for their order to become known, or in doubt."""
        waiting = (_signed(fill) for _, fill in (*self._unmatched, *self._doubtful))
        return self.position.qty_base + sum(waiting, Decimal(0))

    def held_since(self, since_ns: int) -> set[Decimal]:
        """Return every position held since a monotonic time, the one held then included."""
        held = {qty for came_ns, qty in self._held if came_ns >= since_ns}
        before = [qty for came_ns, qty in self._held if came_ns < since_ns]
        return held | ({before[-1]} if before else set()) | {self.executed_base}

    def _note_held(self) -> None:
        self._held.append((self._clock.monotonic_ns(), self.executed_base))

    def open_with(self, qty_base: Decimal, *, until_ms: int) -> None:
        """Take a position over as it is; cash, fees and funding stay what they were.

        Args:
            qty_base: signed, base units.
            until_ms: venue time up to which executions may be part of it although the venue lists them only later.
        """
        self._opened_ms = until_ms
        self._opened_ns = self._clock.monotonic_ns()
        self._opened_with = self.orders.client_ids()
        self.position = replace(self.position, qty_base=qty_base)
        self._note_held()

    def take_order(self, seen: VenueOrder, *, source: str) -> None:
        """Take in what the venue says of an order."""
        record = self.orders.find(client_id=seen.client_id, order_id=seen.order_id)
        if record is not None and record.collides(seen):
            # Another order bears the id, so ours was refused: from here on the record is that one's.
            self.counters.rejected += 1
            record.side, record.price, record.qty = seen.side, seen.price, seen.qty
            record.reason = "its client id is another order's"
        applied = self.orders.apply_venue(seen, self._clock.monotonic_ns())
        if applied is None:
            if seen.status == "open":
                self._stranger(seen)
            return
        record, changed = applied
        self.match_fills()
        if not changed:
            return
        if record.state is OrderState.CANCELED:
            if is_post_only_cross(record.reason):
                self.counters.post_only_crossed += 1
                self._crossed(record.side)
            else:
                self.counters.canceled += 1
        elif record.state is OrderState.REJECTED:
            self.counters.rejected += 1
        self.outcome(record, source=source)
        self._changed()

    def adopt(self, seen: VenueOrder) -> OrderRecord:
        """Take in an open order of ours that nothing is known of here: it is exposure like any other.

        What it has filled before may be booked already, under whatever name, or come with the executions that are
        asked for next: until the venue tells more it only lowers what may still fill.
        """
        record = OrderRecord(
            client_id=seen.client_id,
            side=seen.side,
            price=seen.price,
            qty=seen.qty,
            since_ns=self._clock.monotonic_ns(),
            state=OrderState.OPEN,
            order_id=seen.order_id,
            filled_before=seen.filled,
            update_ms=seen.update_ms,
            reason="found at the venue",
        )
        self.orders.add(record)
        self.outcome(record, source="reconcile")
        self._changed()
        return record

    def take_fill(self, fill: Fill) -> None:
        """Take in an execution; one already applied changes nothing."""
        if fill.exec_id in self.orders.exec_ids:
            return
        record = self.orders.find(client_id=fill.client_id, order_id=fill.order_id)
        if self._may_be_contained(fill, record):
            if all(waiting.exec_id != fill.exec_id for _, waiting in self._doubtful):
                self._doubtful.append((self._clock.monotonic_ns(), fill))
                self._note_held()
            return
        if record is None and not fill.client_id and fill.exec_type == "trade":
            # It may be ahead of the acknowledgement that will tell whose order this id is.
            if all(waiting.exec_id != fill.exec_id for _, waiting in self._unmatched):
                self._unmatched.append((self._clock.monotonic_ns(), fill))
                self._note_held()
            return
        self._book(fill, record)

    def take_funding(self, payment: Funding) -> None:
        """Take in a funding payment; one already applied changes nothing."""
        if payment.exec_id in self.orders.exec_ids:
            return
        self.orders.know([payment.exec_id])
        funding_quote = self.position.funding_quote + payment.amount_quote
        self.position = replace(self.position, funding_quote=funding_quote)
        if self.on_funding is not None:
            self.on_funding(payment)
        if self._journal.failure is None:
            self._journal.funding(payment)

    def match_fills(self, *, nobodys: str | None = None) -> None:
        """Book executions whose order has become known, and those of an order known to be nobody's here.

        Args:
            nobodys: exchange id of an order that the venue says is none of ours.
        """
        doubtful, self._doubtful = self._doubtful, []
        for came_ns, fill in doubtful:
            record = self.orders.find(client_id=fill.client_id, order_id=fill.order_id)
            if self._may_be_contained(fill, record):
                self._doubtful.append((came_ns, fill))
            else:
                self.take_fill(fill)
        waiting, self._unmatched = self._unmatched, []
        for came_ns, fill in waiting:
            record = self.orders.find(client_id="", order_id=fill.order_id)
            if record is not None or fill.order_id == nobodys:
                self._book(fill, record)
            else:
                self._unmatched.append((came_ns, fill))

    @property
    def oldest_unmatched_ms(self) -> int | None:
        """Venue time of the oldest execution that waits for its order, and so is not in the journal yet."""
        waiting = (*self._unmatched, *self._doubtful)
        return min((fill.exchange_ts_ns // 1_000_000 for _, fill in waiting), default=None)

    def may_have_traded(self, record: OrderRecord) -> bool:
        """Return whether an execution that waits for its order may be of this one, as far as side and price tell."""
        sign = 1 if record.side == "buy" else -1
        return any(
            fill.side == record.side
            and fill.qty <= record.qty - record.filled
            and sign * fill.price <= sign * record.price
            for _, fill in self._unmatched
        )

    def unmatched_orders(self, older_than_ns: int) -> set[str]:
        """Return exchange ids of orders that executions have waited for since before a monotonic time."""
        return {fill.order_id for came_ns, fill in self._unmatched if came_ns < older_than_ns}

    def move(self, record: OrderRecord, state: OrderState) -> bool:
        """Change an order's state by what this side did; nothing is journalled."""
        return self.orders.move(record, state, self._clock.monotonic_ns())

    def unknown(self, record: OrderRecord, message: str, code: str | None) -> None:
        """Note that a request's outcome is open: the order counts as live until it is looked up."""
        self.counters.unknown += 1
        record.reason = message
        self.move(record, OrderState.PENDING_UNKNOWN)
        self.outcome(record, source="rest", code=code)

    def end(
        self,
        record: OrderRecord,
        state: OrderState,
        message: str,
        *,
        code: str | None = None,
        source: str = "rest",
    ) -> None:
        """Note that an order has ended, by a definite refusal or because it never existed."""
        record.reason = message
        if self.move(record, state):
            self.counters.rejected += state is OrderState.REJECTED
            self.outcome(record, source=source, code=code)
            self._changed()

    def outcome(
        self,
        record: OrderRecord,
        *,
        source: str,
        intent_seq: int | None = None,
        code: str | None = None,
        error: VenueError | None = None,
    ) -> None:
        """Journal an order's state; ``error`` is a request that failed without ending it."""
        if self._journal.failure is not None:
            return
        self._journal.outcome(
            state=str(record.state),
            client_id=record.client_id,
            intent_seq=intent_seq or record.intent_seq or None,
            order_id=record.order_id,
            code=code if error is None else error.failure.code,
            message=record.reason if error is None else f"{error.verdict}: {error.failure.message}",
            source=source,
            qty=record.qty,
            filled=max(record.filled, record.venue_filled),
        )

    def _book(self, fill: Fill, record: OrderRecord | None) -> None:
        if record is not None and not fill.client_id:
            fill = replace(fill, client_id=record.client_id)
        if not self.orders.apply_fill(fill, self._clock.monotonic_ns()):
            return
        self.booked += 1
        ours = record is not None or self._ours(fill.client_id)
        self.counters.fills += ours
        sign = 1 if fill.side == "buy" else -1
        self.position = replace(
            self.position,
            qty_base=self.position.qty_base + sign * fill.qty,
            cash_quote=self.position.cash_quote - sign * fill.qty * fill.price,
            fees_quote=self.position.fees_quote + fill.fee_quote,
        )
        self._note_held()
        mid, broken = None, None
        try:
            mid = self.on_fill(fill) if self.on_fill is not None else None
        except Exception as error:
            # The fill has moved the position: whatever fails here, it must be in the journal.
            broken = error
        if self._journal.failure is None:
            self._journal.fill(fill, mid=mid)
        if record is not None and record.state is OrderState.FILLED:
            self.outcome(record, source="execution")
        if not ours:
            self._foreign(fill)
        if broken is not None:
            self._broken(broken)
        self._changed()

    def _may_be_contained(self, fill: Fill, record: OrderRecord | None) -> bool:
        """Return whether an execution may be part of the position that was taken over, although it is told only now.

        Queries of position and executions need not agree at a moment. What was sent later cannot be part of it,
        whatever the clocks say.
        """
        earlier = record is None or record.client_id in self._opened_with
        soon = self._clock.monotonic_ns() < self._opened_ns + _LISTED_LATE_NS
        return earlier and soon and fill.exchange_ts_ns // 1_000_000 <= self._opened_ms

    def agrees(self, venue_base: Decimal, asked_ns: int) -> bool:
        """Return whether a position of the venue is one that was held since it was asked for.

        It also decides which of the executions in doubt the position taken over contains: the earliest so many with
        which the two agree. Those that came after the question stay in doubt.
        """
        decided = sorted(
            (one for one in self._doubtful if one[0] < asked_ns), key=lambda one: one[1].exchange_ts_ns
        )
        totals = enumerate(accumulate(_signed(fill) for _, fill in decided), 1)
        contained = max((n for n, total in totals if self.executed_base - total == venue_base), default=0)
        agreed = contained > 0 or venue_base in self.held_since(asked_ns)
        if agreed and decided:
            self._doubtful = [one for one in self._doubtful if one not in decided]
            for place, (_, fill) in enumerate(decided):
                if place < contained:
                    self._take_contained(fill)
                else:
                    self._book(fill, self.orders.find(client_id=fill.client_id, order_id=fill.order_id))
        return agreed

    def _take_contained(self, fill: Fill) -> None:
        self.orders.apply_fill(fill, self._clock.monotonic_ns())
        if self._journal.failure is None:
            reason = f"it contains execution {fill.exec_id}, listed later"
            self._journal.opening(self.position.qty_base, reason, contains=[fill.exec_id])
        self._note_held()


def _signed(fill: Fill) -> Decimal:
    return fill.qty if fill.side == "buy" else -fill.qty


def is_post_only_cross(reason: str) -> bool:
    """Return whether a cancel's reason says that a post-only order would have taken liquidity.

    Source: Bybit v5 API documentation, Enums Definitions, rejectReason; Bitget's ``cancelReason`` likewise.
    """
    return "postonly" in reason.lower().replace("_", "")
