"""Sends requests whose intents are on disk, and files what came of them.

A create is sent once. Its failure is a refusal only if that is certain; otherwise the order is unknown,
counts as live and is looked up. A breaker stops creates while the venue mostly fails, never cancels or reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Protocol

from mm_hybrid.breaker import Breaker, BreakerOpenError, Permit
from mm_hybrid.clock import Clock
from mm_hybrid.execution.account import Account
from mm_hybrid.execution.difference import Amend
from mm_hybrid.execution.orders import OrderRecord, OrderState
from mm_hybrid.execution.outcomes import NOT_PLACED, VENUE_TROUBLE, VenueError, Verdict
from mm_hybrid.types import Side

NS_PER_S = 1_000_000_000


class OrderGateway(Protocol):
    """What sending needs of a gateway."""

    async def create(self, client_id: str, side: Side, price: Decimal, qty: Decimal) -> str:
        """Send an order once and return its exchange id."""
        ...

    async def amend(self, client_id: str, side: Side, price: Decimal, qty: Decimal) -> str:
        """Change an order in place."""
        ...

    async def cancel(self, client_id: str) -> None:
        """Cancel an order."""
        ...


class Sender:
    """Creates, amends and cancels orders of one account.

    Args:
        gateway: where requests go.
        account: where outcomes are filed.
        breaker: guards creates.
        clock: time of pauses.
        halt: called when the venue refuses the key.
        no_funds_pause_s: seconds without orders on a side that the venue refused for want of margin.
    """

    def __init__(
        self,
        gateway: OrderGateway,
        account: Account,
        breaker: Breaker,
        clock: Clock,
        *,
        halt: Callable[[str], None],
        no_funds_pause_s: float,
    ) -> None:
        self._gateway = gateway
        self._account = account
        self._breaker = breaker
        self._clock = clock
        self._halt = halt
        self._no_funds_pause_s = no_funds_pause_s
        self._paused_until_ns: dict[Side, int] = {"buy": 0, "sell": 0}

    def pause(self, side: Side, seconds: float) -> None:
        """Send no orders of a side for a while."""
        until_ns = self._clock.monotonic_ns() + round(seconds * NS_PER_S)
        self._paused_until_ns[side] = max(self._paused_until_ns[side], until_ns)

    def side_open(self, side: Side) -> bool:
        """Return whether orders of a side may be sent now."""
        return self._clock.monotonic_ns() >= self._paused_until_ns[side]

    async def create(self, record: OrderRecord) -> None:
        """Send one order whose intent is on disk, once."""
        try:
            permit = self._breaker.admit()
        except BreakerOpenError as error:
            self._account.end(record, OrderState.NOT_PLACED, str(error), source="local")
            return
        self._account.move(record, OrderState.SENT)
        self._account.counters.orders_placed += 1
        try:
            order_id = await self._gateway.create(record.client_id, record.side, record.price, record.qty)
        except VenueError as error:
            judge(permit, error)
            self._create_failed(record, error)
        except asyncio.CancelledError:
            permit.abandon()
            if record.state is OrderState.SENT:
                self._account.unknown(record, "cancelled while under way", None)
            raise
        else:
            permit.success()
            self._account.orders.identify(record, order_id)
            self._account.match_fills()
            if record.state is OrderState.SENT:
                self._account.move(record, OrderState.ACKED)
                self._account.outcome(record, source="rest")

    def _create_failed(self, record: OrderRecord, error: VenueError) -> None:
        if record.state is not OrderState.SENT:
            return  # The stream has told already, and knows better than a failed reply.
        failure, verdict = error.failure, error.verdict
        if verdict not in NOT_PLACED:
            self._account.unknown(record, failure.message, failure.code)
            return
        state = OrderState.NOT_PLACED if verdict is Verdict.NOT_SENT else OrderState.REJECTED
        self._account.end(record, state, failure.message, code=failure.code)
        if verdict is Verdict.NO_FUNDS:
            self.pause(record.side, self._no_funds_pause_s)
        elif verdict is Verdict.AUTH:
            self._halt(failure.message)

    async def amend(self, amend: Amend, intent_seq: int) -> None:
        """Send one amend; a definite refusal leaves the order as it was, anything else is looked up."""
        record = amend.order
        try:
            await self._gateway.amend(record.client_id, record.side, amend.price, amend.qty)
        except VenueError as error:
            self._account.outcome(record, source="rest", intent_seq=intent_seq, error=error)
            if error.verdict in NOT_PLACED and record.state is OrderState.PENDING_AMEND:
                record.amend_price = record.amend_qty = None
                self._account.move(record, OrderState.OPEN)
        else:
            self._account.counters.amended += 1
            self._account.outcome(record, source="rest", intent_seq=intent_seq)

    async def cancel(self, record: OrderRecord, intent_seq: int | None) -> None:
        """Send one cancel; whether the order is gone only the stream or a lookup says."""
        try:
            await self._gateway.cancel(record.client_id)
        except VenueError as error:
            self._account.outcome(record, source="rest", intent_seq=intent_seq, error=error)


def judge(permit: Permit, error: VenueError) -> None:
    """Tell the breaker what a failure says about the venue: refusals on the merits are answers."""
    if not error.failure.sent:
        permit.abandon()  # Refused on this side of the wire.
    elif error.verdict in VENUE_TROUBLE:
        permit.failure(error.failure.message)
    else:
        permit.success()
