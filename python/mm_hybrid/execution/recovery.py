"""What happens before the first quote: everything an earlier start left is found, ended and accounted for.

The journal says what was intended and how far its outcome is known. Orders without an end are taken as live and
fillable until the venue has told; what rests is cancelled; executions that nobody was there to hear are fetched and
journalled; and only when the position these lead to is the venue's own may quoting begin.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal

from mm_hybrid.clock import Clock
from mm_hybrid.errors import GatewayError, RiskStopError
from mm_hybrid.execution.account import Account
from mm_hybrid.execution.orders import ENDED_KEPT, OrderRecord, OrderState
from mm_hybrid.execution.outcomes import VenueError, Verdict
from mm_hybrid.execution.reconcile import Reconciler
from mm_hybrid.execution.resolve import Resolver
from mm_hybrid.execution.sweep import Sweep
from mm_hybrid.journal import Journal, OpenedOrder, ReplayedState, replay

DOUBTED_FOR_NS = 600_000_000_000
"""Age of an intent up to which a start looks its order up again although an earlier one gave it up."""


class Recovery:
    """Brings an account from its journal to agreement with the venue.

    Args:
        account: empty; filled here.
        journal: what is known so far, and where what is found goes.
        clock: time of ages.
        resolver: looks orders up, those given up lately too.
        reconciler: fetches executions and compares positions.
        sweep: cancels what rests and settles what is unknown.
        alert: told what people should see.
        adopt_position: take the venue's position over where the journal does not explain it.
    """

    def __init__(
        self,
        account: Account,
        journal: Journal,
        clock: Clock,
        *,
        resolver: Resolver,
        reconciler: Reconciler,
        sweep: Sweep,
        alert: Callable[[str], None],
        adopt_position: bool,
    ) -> None:
        self._account = account
        self._reconciler = reconciler
        self._resolver = resolver
        self._sweep = sweep
        self._journal = journal
        self._clock = clock
        self._alert = alert
        self._adopt_position = adopt_position

    async def run(self) -> None:
        """Recover; afterwards nothing of ours rests and the position is the venue's.

        Raises:
            GatewayError: the venue cannot be used, or orders of ours could not be cancelled.
            RiskStopError: the venue's position is not explained by the journal and its executions.
            JournalError: the journal cannot be read.
        """
        # What rests is cancelled before anything else: reading a long journal takes its time.
        reason = "left by an earlier start"
        try:
            orphans = await self._sweep.cancel_unseen(reason)
        except VenueError as error:
            if error.verdict is Verdict.AUTH:
                raise
            orphans = 0  # The sweep below asks again, with patience.
        await self._journal.flush()
        known = await asyncio.to_thread(replay, self._journal.path)
        self._restore(known)
        self._reconciler.begin(known.watermark_ms, known.funding_watermark_ms)
        found, left = await self._sweep.run(reason)
        self._account.counters.orphans_canceled = max(orphans, found)
        if left:
            raise GatewayError(f"{left} orders of an earlier start could not be cancelled")
        if known.opening is None:
            await self._take_over("first start")
            return
        await self._reconciler.fetch()
        await self._resolver.owners(self._account, self._clock.monotonic_ns() + 1)
        difference = await self._reconciler.check_position()
        if difference is None:
            return
        for line in difference.lines():
            self._alert(line)
        self._journal.state("position", "differs", str(difference))
        if not self._adopt_position:
            raise RiskStopError(
                f"{difference}; start once with execution.adopt_position = true to take it over"
            )
        await self._take_over(str(difference))

    def _restore(self, known: ReplayedState) -> None:
        """Take orders and position as the journal has them; orders without an end as unknown since their intent.

        Ended orders are remembered as well, the latest ones: a late execution may be theirs, and one that was given
        up as not placed may show up after all.
        """
        self._account.position = known.position
        self._account.orders.know(known.exec_ids)
        self._account.orders.remember_nobodys(known.nobodys)
        self._reconciler.opening_base = known.opening or Decimal(0)
        ended = [order for order in known.orders.values() if order.ended]
        for order in [*ended[-ENDED_KEPT:], *known.unsettled]:
            record = self._record(order)
            self._account.orders.add(record)
            if order.given_up and self._clock.now_ns() - order.intent_ns < DOUBTED_FOR_NS:
                self._resolver.doubt(record)

    def _record(self, order: OpenedOrder) -> OrderRecord:
        age_ns = max(0, self._clock.now_ns() - order.intent_ns)
        state = OrderState(order.state) if order.ended else OrderState.PENDING_UNKNOWN
        return OrderRecord(
            client_id=order.client_id,
            side=order.side,
            price=order.price,
            qty=max(order.qty, order.amend_qty or order.qty),
            filled=order.filled,
            venue_filled=order.venue_filled,
            state=state,
            order_id=order.order_id,
            intent_seq=order.intent_seq,
            since_ns=self._clock.monotonic_ns() - age_ns,
            reason="left by an earlier start",
        )

    async def _take_over(self, reason: str) -> None:
        """Take the venue's position as it is; what has been executed so far is part of it and not booked."""
        opening = await self._reconciler.opening()
        contained = opening.contains - self._account.orders.exec_ids
        self._account.orders.know(contained)
        self._account.open_with(opening.qty_base, until_ms=opening.until_ms)
        self._journal.opening(opening.qty_base, reason, contains=contained)
