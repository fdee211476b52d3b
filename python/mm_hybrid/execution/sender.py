"""Sends requests whose intents are on disk, and files what came of them.

A create is sent once. Its failure is a refusal only if that is certain; otherwise the order is unknown,
counts as live and is looked up. Breakers stop creates and amends while the venue mostly fails, never cancels.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Protocol

from mm_hybrid.breaker import BreakerOpenError, Permit
from mm_hybrid.clock import Clock
from mm_hybrid.execution.account import Account
from mm_hybrid.execution.breakers import Breakers, judge
from mm_hybrid.execution.difference import Amend
from mm_hybrid.execution.lanes import Lane
from mm_hybrid.execution.orders import NewOrder, OrderRecord, OrderState
from mm_hybrid.execution.outcomes import NOT_PLACED, VenueError, Verdict
from mm_hybrid.types import Side

NS_PER_S = 1_000_000_000


class OrderGateway(Protocol):
    """What sending needs of a gateway."""

    async def create(self, client_id: str, side: Side, price: Decimal, qty: Decimal) -> str:
        """Send an order once and return its exchange id."""
        ...

    async def create_batch(self, orders: Sequence[NewOrder]) -> list[str | VenueError]:
        """Send several orders in one request, once; return an exchange id or a failure for each."""
        ...

    async def amend(self, client_id: str, side: Side, price: Decimal, qty: Decimal) -> str:
        """Change an order in place."""
        ...

    async def cancel(self, client_id: str) -> None:
        """Cancel an order."""
        ...

    async def cancel_batch(self, orders: Sequence[tuple[str, str | None]]) -> None:
        """Cancel several orders, given by client id and exchange id."""
        ...


class Sender:
    """Creates, amends and cancels orders of one account.

    Args:
        gateway: where requests go.
        account: where outcomes are filed.
        breakers: guard creates and amends.
        clock: time of pauses.
        halt: called when the venue refuses the key.
        no_funds_pause_s: seconds without orders on a side that the venue refused for want of margin.
    """

    def __init__(
        self,
        gateway: OrderGateway,
        account: Account,
        breakers: Breakers,
        clock: Clock,
        *,
        halt: Callable[[str], None],
        no_funds_pause_s: float,
    ) -> None:
        self._gateway = gateway
        self._account = account
        self._breakers = breakers
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

    async def create(self, records: Sequence[OrderRecord]) -> None:
        """Send orders whose intents are on disk, once; several go in one request."""
        try:
            permit = self._breakers.admit(Lane.CREATE)
        except BreakerOpenError as error:
            for record in records:
                self._account.end(record, OrderState.NOT_PLACED, str(error), source="local")
            return
        for record in records:
            self._account.move(record, OrderState.SENT)
            self._account.counters.orders_placed += 1
        try:
            results = await self._send(records)
        except VenueError as error:
            judge(permit, error)
            for record in records:
                self._create_failed(record, error)
        except asyncio.CancelledError:
            permit.abandon()
            for record in records:
                if record.state is OrderState.SENT:
                    self._account.unknown(record, "cancelled while under way", None)
            raise
        except Exception as error:
            permit.abandon()
            for record in records:
                if record.state is OrderState.SENT:
                    self._account.unknown(record, f"{type(error).__name__}: {error}", None)
            raise
        else:
            self._file(permit, records, results)

    async def _send(self, records: Sequence[OrderRecord]) -> list[str | VenueError]:
        if len(records) == 1:
            (record,) = records
            return [await self._gateway.create(record.client_id, record.side, record.price, record.qty)]
        orders = [NewOrder(client_id=r.client_id, side=r.side, price=r.price, qty=r.qty) for r in records]
        return await self._gateway.create_batch(orders)

    def _file(
        self, permit: Permit, records: Sequence[OrderRecord], results: Sequence[str | VenueError]
    ) -> None:
        failures = [result for result in results if isinstance(result, VenueError)]
        judge(permit, failures[0] if len(failures) == len(results) else None)
        for record, result in zip(records, results, strict=True):
            if isinstance(result, VenueError):
                self._create_failed(record, result)
                continue
            self._account.orders.identify(record, result)
            if record.state is OrderState.SENT:
                self._account.move(record, OrderState.ACKED)
                self._account.outcome(record, source="rest")
        self._account.match_fills()

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
            permit = self._breakers.admit(Lane.AMEND)
        except BreakerOpenError:
            self._leave_as_it_was(record)
            return
        try:
            await self._gateway.amend(record.client_id, record.side, amend.price, amend.qty)
        except VenueError as error:
            judge(permit, error)
            self._account.outcome(record, source="rest", intent_seq=intent_seq, error=error)
            if error.verdict in NOT_PLACED:
                self._leave_as_it_was(record)
        except BaseException:
            permit.abandon()
            raise
        else:
            permit.success()
            self._account.counters.amended += 1
            self._account.outcome(record, source="rest", intent_seq=intent_seq)

    def _leave_as_it_was(self, record: OrderRecord) -> None:
        if record.state is OrderState.PENDING_AMEND:
            record.amend_price = record.amend_qty = None
            self._account.move(record, OrderState.OPEN)

    async def cancel(self, records: Sequence[OrderRecord], intent_seqs: Sequence[int | None]) -> None:
        """Send cancels, several in one request; whether an order is gone only the stream or a lookup says."""
        try:
            if len(records) == 1:
                await self._gateway.cancel(records[0].client_id)
            else:
                await self._gateway.cancel_batch([(r.client_id, r.order_id) for r in records])
        except VenueError as error:
            for record, intent_seq in zip(records, intent_seqs, strict=True):
                self._account.outcome(record, source="rest", intent_seq=intent_seq, error=error)
