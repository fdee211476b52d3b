"""Leaving nothing behind: cancel what is ours until the venue itself says that nothing of ours is open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from mm_hybrid.clock import Clock
from mm_hybrid.execution.account import Account
from mm_hybrid.execution.orders import OrderState, VenueOrder
from mm_hybrid.execution.outcomes import VenueError, Verdict
from mm_hybrid.execution.resolve import Resolver
from mm_hybrid.journal import Intent, Journal

NS_PER_S = 1_000_000_000


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
        clock: time of the deadline.
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
        clock: Clock,
        *,
        tag: str,
        stop_s: float,
        foreign: Callable[[VenueOrder], None],
    ) -> None:
        self._gateway = gateway
        self._account = account
        self._resolver = resolver
        self._journal = journal
        self._clock = clock
        self._prefix = f"{tag}-"
        self._stop_ns = round(stop_s * NS_PER_S)
        self._foreign = foreign

    def is_ours(self, client_id: str) -> bool:
        """Return whether a client id is of this strategy, of whatever start."""
        return client_id.startswith(self._prefix)

    async def run(self, reason: str) -> tuple[int, int]:
        """Cancel until none of ours is open and none unknown, or time is up; a venue in trouble is asked again.

        Returns:
            Orders of ours found open at first, and those still open at the end.

        Raises:
            GatewayError: the venue could not be asked when time was up, or it refuses the key.
        """
        deadline_ns = self._clock.monotonic_ns() + self._stop_ns
        pause_s = 0.05
        found: set[str] = set()
        while True:
            try:
                ours = await self._ours()
            except VenueError as error:
                if error.verdict is Verdict.AUTH or self._clock.monotonic_ns() >= deadline_ns:
                    raise
                ours = None
            if ours is not None:
                unknown = any(r.state is OrderState.PENDING_UNKNOWN for r in self._account.orders.live())
                done = not ours and not unknown
                if done or self._clock.monotonic_ns() >= deadline_ns:
                    return len(found), len(ours)
                await self._end(ours, found, reason)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 1.0)

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
        """Cancel open orders, each journalled once, and look up what is unknown."""
        new = [seen.client_id for seen in ours if seen.client_id not in found]
        if new and self._journal.failure is None:
            await self._journal.intents(
                [Intent(action="cancel", client_id=client_id, reason=reason) for client_id in new]
            )
        found.update(new)
        if ours:
            await self._cancel(ours)
        await asyncio.gather(*(self._resolver.lookup(record) for record in self._resolver.due()))

    async def _cancel(self, ours: list[VenueOrder]) -> None:
        try:
            if len(ours) == 1:
                await self._gateway.cancel(ours[0].client_id)
            else:
                await self._gateway.cancel_batch([(seen.client_id, seen.order_id) for seen in ours])
        except VenueError:
            return  # The query that follows decides.
