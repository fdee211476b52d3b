"""Finding out what became of an order when nobody has told.

The stream gets a moment first. Then the order is looked up by client id, among open and ended orders, and
its executions with it, with growing pauses. Only when the answers of a whole window, counted from the first that
does not know it, have had no trace of it is it taken as not placed, because an accepted request can show up late;
and even then its record stays, so that it is recognised if it does, and it is looked up a few times more, with
pauses that double.

An order that the venue has once confirmed does not vanish: answers without it are most likely a fault of the
venue's read side. It takes more of them, over a longer time, and the list of open orders must be without it too.
Until then it counts as live.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mm_hybrid.clock import Clock
from mm_hybrid.execution.account import Account
from mm_hybrid.execution.orders import UNSETTLED, OrderRecord, Orders, OrderState, VenueOrder
from mm_hybrid.execution.outcomes import VenueError
from mm_hybrid.types import Fill

NS_PER_S = 1_000_000_000

_MOST_DOUBLINGS = 16

LEAST_MISSES = 3
"""Answers without a trace of an order before it can be declared not placed, however long they took."""

CONFIRMED_PATIENCE = 3
"""How many times as many answers and windows it takes for an order that the venue has confirmed once."""

LATER_LOOKUPS = 5
"""How often an order that was given up is looked up again; the pauses double from one window on."""


class LookupGateway(Protocol):
    """What a lookup needs of a gateway."""

    async def order(self, client_id: str) -> VenueOrder | None:
        """Return an order by client id, open or ended, if the venue knows it."""
        ...

    async def order_of(self, order_id: str) -> VenueOrder | None:
        """Return the order of an execution that came without a client id, if there is one."""
        ...

    async def open_orders(self) -> list[VenueOrder]:
        """Return all open orders of the symbol."""
        ...

    async def executions(self, since_ms: int) -> list[Fill]:
        """Return own executions since a venue time."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveConfig:
    """Times of the resolution, seconds.

    Attributes:
        grace_s: what the stream gets before the first lookup.
        window_s: how long answers must be without an order to declare it not placed, counted from the first such
            answer; at least the venue's receive window plus its longest latency.
        recancel_s: how long an order may stay open after its cancel before it is cancelled again.
        pause_s: first and longest pause between lookups.
    """

    grace_s: float = 0.5
    window_s: float = 10.0
    recancel_s: float = 1.0
    pause_s: tuple[float, float] = (0.5, 2.0)


class Resolver:
    """Looks up orders whose state has been open for too long.

    Args:
        gateway: where to look.
        orders: the records; findings are applied to them by the callbacks.
        clock: its monotonic time.
        config: the times.
        on_order: takes an order found.
        on_fill: takes an execution found, new or not.
        on_absent: takes a record declared not placed.
        may_have_traded: whether an execution that waits for its order may be of a record.
        since_ms: venue time from which executions are asked for.
    """

    def __init__(
        self,
        gateway: LookupGateway,
        orders: Orders,
        clock: Clock,
        config: ResolveConfig,
        *,
        on_order: Callable[[VenueOrder], None],
        on_fill: Callable[[Fill], None],
        on_absent: Callable[[OrderRecord], None],
        may_have_traded: Callable[[OrderRecord], bool],
        since_ms: Callable[[], int],
    ) -> None:
        self._gateway = gateway
        self._orders = orders
        self._clock = clock
        self._config = config
        self._on_order = on_order
        self._on_fill = on_fill
        self._on_absent = on_absent
        self._may_have_traded = may_have_traded
        self._since_ms = since_ms
        self._given_up: list[OrderRecord] = []

    @property
    def given_up(self) -> tuple[OrderRecord, ...]:
        """Orders declared not placed that are still looked up now and then."""
        return tuple(self._given_up)

    def doubt(self, record: OrderRecord) -> None:
        """Look an order up again for a while although it was declared not placed."""
        record.lookups = 0
        record.next_lookup_ns = 0
        self._given_up.append(record)

    def due(self) -> list[OrderRecord]:
        """Return the records to look up now."""
        now_ns = self._clock.monotonic_ns()
        grace_ns = round(self._config.grace_s * NS_PER_S)
        waiting = [r for r in self._orders.live() if r.state in UNSETTLED or r.missing > 0]
        waiting += self._orders.unaccounted()
        self._given_up = [
            record
            for record in self._given_up
            if record.state is OrderState.NOT_PLACED and record.lookups < LATER_LOOKUPS
        ]
        waiting += self._given_up
        return [r for r in waiting if now_ns >= max(r.since_ns + grace_ns, r.next_lookup_ns)]

    async def lookup(self, record: OrderRecord) -> None:
        """Look one order up and apply what is found; a failing lookup only postpones the next."""
        self._postpone(record)
        since_ns = record.since_ns
        try:
            found = await self._gateway.order(record.client_id)
            if found is None or found.filled > record.filled:
                for fill in await self._gateway.executions(self._since_ms()):
                    self._on_fill(fill)
            if found is None and record.live and record.order_id is not None:
                found = await self._listed(record)
        except VenueError:
            return
        if record.since_ns != since_ns and found is None:
            return  # The stream was faster; what is known now is newer than this answer.
        if found is not None:
            self._on_order(found)
            self._settle(record, found)
        elif record.live:
            record.miss(self._clock.monotonic_ns())
            if self._absent(record):
                self._on_absent(record)
                self.doubt(record)
                self._postpone(record)

    async def owners(self, account: Account, older_than_ns: int, *, last: bool = False) -> None:
        """Find out whose the executions are that have waited for their order since before a monotonic time.

        One whose order the venue cannot tell now goes on waiting, and so does one it does not know: only after a whole
        window without a trace it is taken for nobody's. Should an order of ours turn out to own it after all, the
        order's record claims it by the exchange's id.

        Args:
            account: whose executions.
            older_than_ns: monotonic time.
            last: there is no later time to decide.
        """
        waited_ns = round(self._config.window_s * NS_PER_S)
        for order_id in account.unmatched_orders(older_than_ns):
            try:
                found = await self._gateway.order_of(order_id)
            except VenueError:
                continue
            long_ago = account.unmatched_orders(self._clock.monotonic_ns() - waited_ns)
            if found is None and not last and order_id not in long_ago:
                continue
            if found is not None and self._orders.find(client_id=found.client_id, order_id="") is not None:
                self._on_order(found)
            account.match_fills(nobodys=order_id)

    async def _listed(self, record: OrderRecord) -> VenueOrder | None:
        """Return an order that a query by its id does not know, if the open orders have it."""
        listed = await self._gateway.open_orders()
        return next((seen for seen in listed if seen.client_id == record.client_id), None)

    def _absent(self, record: OrderRecord) -> bool:
        """Return whether there have been enough answers without an order, over a long enough time."""
        # An execution that nobody owns yet may be of this order: as good a sign that it exists as a confirmation.
        doubted = record.order_id is None and not self._may_have_traded(record)
        patience = 1 if doubted else CONFIRMED_PATIENCE
        missing_ns = self._clock.monotonic_ns() - record.missing_since_ns
        long_enough = missing_ns >= round(patience * self._config.window_s * NS_PER_S)
        return long_enough and record.missing >= patience * LEAST_MISSES

    def _settle(self, record: OrderRecord, found: VenueOrder) -> None:
        """End a request under way that the venue, asked after it, shows as not carried out."""
        # A cancel may be repeated at any time; an amend seen too early could still be carried out.
        cancelling = record.state is OrderState.PENDING_CANCEL
        patience_s = self._config.recancel_s if cancelling else self._config.window_s
        if found.status != "open" or self._unseen_ns(record) < round(patience_s * NS_PER_S):
            return
        now_ns = self._clock.monotonic_ns()
        if record.state in {OrderState.PENDING_AMEND, OrderState.PENDING_CANCEL}:
            record.amend_price = record.amend_qty = None
            record.price, record.qty = found.price, found.qty
            self._orders.move(record, OrderState.OPEN, now_ns)

    def _unseen_ns(self, record: OrderRecord) -> int:
        return self._clock.monotonic_ns() - record.since_ns

    def _postpone(self, record: OrderRecord) -> None:
        first_s, longest_s = self._config.pause_s
        if record.state is OrderState.NOT_PLACED:
            first_s, longest_s = self._config.window_s, math.inf
        pause_s = min(first_s * 2.0 ** min(record.lookups, _MOST_DOUBLINGS), longest_s)
        record.lookups += 1
        record.next_lookup_ns = self._clock.monotonic_ns() + round(pause_s * NS_PER_S)
