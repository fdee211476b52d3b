"""Leaving nothing behind: cancel what is ours until the venue itself says that nothing of ours is open."""

from __future__ import annotations

import asyncio
from typing import Protocol

from mm_hybrid.clock import Clock
from mm_hybrid.execution.account import Account
from mm_hybrid.execution.orders import OrderState, VenueOrder
from mm_hybrid.execution.outcomes import VenueError
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
    ) -> None:
        self._gateway = gateway
        self._account = account
        self._resolver = resolver
        self._journal = journal
        self._clock = clock
        self._prefix = f"{tag}-"
        self._stop_ns = round(stop_s * NS_PER_S)

    def is_ours(self, client_id: str) -> bool:
        """Return whether a client id is of this strategy, of whatever start."""
        return client_id.startswith(self._prefix)

    async def run(self, reason: str) -> tuple[int, int]:
        """Cancel until none of ours is open and none unknown, or time is up.

        Returns:
            Orders of ours found open at first, and those still open at the end.

        Raises:
            GatewayError: the venue could not be asked.
        """
        deadline_ns = self._clock.monotonic_ns() + self._stop_ns
        pause_s = 0.05
        found: set[str] = set()
        while True:
            ours = [seen for seen in await self._gateway.open_orders() if self.is_ours(seen.client_id)]
            for seen in ours:
                self._account.orders.apply_venue(seen, self._clock.monotonic_ns())
            unknown = any(r.state is OrderState.PENDING_UNKNOWN for r in self._account.orders.live())
            done = not ours and not unknown
            if done or self._clock.monotonic_ns() >= deadline_ns:
                return len(found), len(ours)
            new = [seen.client_id for seen in ours if seen.client_id not in found]
            if new and self._journal.failure is None:
                await self._journal.intents(
                    [Intent(action="cancel", client_id=client_id, reason=reason) for client_id in new]
                )
            found.update(new)
            await asyncio.gather(*(self._cancel(seen) for seen in ours))
            await asyncio.gather(*(self._resolver.lookup(record) for record in self._resolver.due()))
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 1.0)

    async def _cancel(self, seen: VenueOrder) -> None:
        try:
            await self._gateway.cancel(seen.client_id)
        except VenueError:
            return  # The query that follows decides.
