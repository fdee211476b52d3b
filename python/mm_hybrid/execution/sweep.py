"""Leaving nothing behind: cancel what is ours until the venue itself says that nothing of ours is open."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from mm_hybrid.errors import GatewayError
from mm_hybrid.execution.account import Account
from mm_hybrid.execution.ahead import note_cancels
from mm_hybrid.execution.orders import OrderRecord, OrderState, VenueOrder
from mm_hybrid.execution.outcomes import VenueError, Verdict
from mm_hybrid.execution.resolve import Resolver
from mm_hybrid.journal import Intent, Journal

_ROUNDS = 5
_ROUND_S = 0.2


class SweepGateway(Protocol):
    """What a sweep needs of a gateway."""

    async def open_orders(self) -> list[VenueOrder]:
        """Return all open orders of the symbol."""
        ...

    async def cancel(self, client_id: str) -> None:
        """Cancel an order."""
        ...

    async def cancel_batch(self, orders: Sequence[tuple[str, str | None]]) -> None:
        """Cancel several orders, given by client id and exchange id."""
        ...


class Sweep:
    """Cancels all orders whose client id starts with the tag.

    Args:
        gateway: the venue.
        account: told what is found.
        resolver: looks up what is unknown meanwhile.
        journal: takes the intents, as long as it can.
        tag: first part of own client ids.
        stop_s: seconds until the sweep gives up.
        foreign: told of open orders that are not ours, which are left alone.
    """

    def __init__(
        self,
        gateway: SweepGateway,
        account: Account,
        resolver: Resolver,
        journal: Journal,
        *,
        tag: str,
        stop_s: float,
        foreign: Callable[[VenueOrder], None],
    ) -> None:
        self._gateway = gateway
        self._account = account
        self._resolver = resolver
        self._journal = journal
        self._prefix = f"{tag}-"
        self._stop_s = stop_s
        self._foreign = foreign

    def is_ours(self, client_id: str) -> bool:
        """Return whether a client id is of this strategy, of whatever start."""
        return client_id.startswith(self._prefix)

    async def cancel_unseen(self, reason: str) -> int:
        """Cancel what of ours the venue lists as open, before anything is known here; return how many orders.

        Raises:
            GatewayError: the venue could not be asked.
        """
        ours = await _open_with(self._gateway, self._prefix)
        if ours:
            await self._note_cancels([seen.client_id for seen in ours], reason)
            await self._cancel([(seen.client_id, seen.order_id) for seen in ours])
        return len(ours)

    async def cancel_known(self, reason: str) -> None:
        """Cancel every order that is known to rest or may, without asking the venue what is open first."""
        known = [r for r in self._account.orders.live() if r.state is not OrderState.INTENT]
        if not known:
            return
        await self._note_cancels([record.client_id for record in known], reason)
        self._expect_end(known)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._deadline_s()):
                await self._cancel([(record.client_id, record.order_id) for record in known])

    async def run(self, reason: str) -> tuple[int, int]:
        """Cancel until none of ours is open, or time is up; a venue in trouble is asked again.

        A list without an order does not end it: of each that was live the venue must tell that it has ended, or
        not know it for long enough.

        Returns:
            Orders of ours found open at first, and those still open when the venue was last asked.

        Raises:
            GatewayError: the venue could not be asked before time was up, or it refuses the key.
        """
        found: set[str] = set()
        left: list[VenueOrder] | None = None
        trouble: VenueError | None = None
        pause_s = 0.05
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._deadline_s()):
                while True:
                    try:
                        left = await self._ours()
                    except VenueError as error:
                        if error.verdict is Verdict.AUTH:
                            raise
                        trouble = error
                    else:
                        if not left and not self._may_rest():
                            return len(found), 0
                        await self._end(left, found, reason)
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, 1.0)
        if left is None:
            raise trouble or GatewayError("the venue did not say in time which orders are open")
        return len(found), len(left)

    def _deadline_s(self) -> float:
        return asyncio.get_running_loop().time() + self._stop_s

    def _may_rest(self) -> list[OrderRecord]:
        """Return the orders that were sent and of which no end is known."""
        return [r for r in self._account.orders.live() if r.state is not OrderState.INTENT]

    def _expect_end(self, records: Iterable[OrderRecord]) -> None:
        """Have orders that are being cancelled looked up until they have ended."""
        for record in records:
            if record.state is OrderState.OPEN:
                self._account.move(record, OrderState.PENDING_CANCEL)

    async def _ours(self) -> list[VenueOrder]:
        """Return our open orders; what they say of known ones is taken in."""
        ours: list[VenueOrder] = []
        for seen in await self._gateway.open_orders():
            if not self.is_ours(seen.client_id):
                self._foreign(seen)
                continue
            ours.append(seen)
            if self._account.orders.find(client_id=seen.client_id, order_id=seen.order_id) is None:
                self._account.adopt(seen)
            else:
                self._account.take_order(seen, source="sweep")
        return ours

    async def _end(self, ours: list[VenueOrder], found: set[str], reason: str) -> None:
        """Cancel open orders, listed or not, each journalled once, and look up what is unknown."""
        orders: dict[str, str | None] = {seen.client_id: seen.order_id for seen in ours}
        resting = [r for r in self._may_rest() if r.state is OrderState.OPEN]
        orders |= {r.client_id: r.order_id for r in resting}
        new = [client_id for client_id in orders if client_id not in found]
        await self._note_cancels(new, reason)
        found.update(new)
        self._expect_end(resting)
        if orders:
            await self._cancel(list(orders.items()))
        await asyncio.gather(*(self._resolver.lookup(record) for record in self._resolver.due()))

    async def _note_cancels(self, client_ids: list[str], reason: str) -> None:
        """Journal cancels about to be sent; they go out even when nothing can be written any more, or not in time."""
        if not client_ids or self._journal.failure is not None:
            return
        intents = [Intent(action="cancel", client_id=client_id, reason=reason) for client_id in client_ids]
        await note_cancels(self._journal, intents)

    async def _cancel(self, orders: list[tuple[str, str | None]]) -> None:
        try:
            if len(orders) == 1:
                await self._gateway.cancel(orders[0][0])
            else:
                await self._gateway.cancel_batch(orders)
        except VenueError:
            return  # The query that follows decides.


async def cancel_ours(gateway: SweepGateway, tag: str) -> tuple[int, int]:
    """Cancel what of a tag the venue lists as open, without a journal; return how many orders, and how many are left.

    Raises:
        GatewayError: the venue could not be asked, or refused.
    """
    found: set[str] = set()
    ours: list[VenueOrder] = []
    for _ in range(_ROUNDS):
        ours = await _open_with(gateway, f"{tag}-")
        if not ours:
            break
        found.update(seen.client_id for seen in ours)
        await gateway.cancel_batch([(seen.client_id, seen.order_id) for seen in ours])
        await asyncio.sleep(_ROUND_S)
    return len(found), len(ours)


async def _open_with(gateway: SweepGateway, prefix: str) -> list[VenueOrder]:
    return [seen for seen in await gateway.open_orders() if seen.client_id.startswith(prefix)]
