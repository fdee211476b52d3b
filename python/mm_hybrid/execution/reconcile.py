"""Comparing what is known here with what the venue says: open orders, executions, funding, the position.

The venue is right. What it reports and is not known here is taken in; what is known here and not reported is
looked up; a position that no execution explains stops trading, with the difference spelled out, and is never
explained away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from mm_hybrid.clock import Clock
from mm_hybrid.execution.account import Account
from mm_hybrid.execution.orders import OrderRecord, OrderState, VenueOrder
from mm_hybrid.execution.outcomes import VenueError
from mm_hybrid.journal import FUNDING_WATERMARK, WATERMARK, Journal
from mm_hybrid.types import Fill, Funding

NS_PER_S = 1_000_000_000


class ReconcileGateway(Protocol):
    """What a comparison needs of a gateway."""

    async def open_orders(self) -> list[VenueOrder]:
        """Return all open orders of the symbol."""
        ...

    async def executions(self, since_ms: int) -> list[Fill]:
        """Return executions since a venue time."""
        ...

    async def funding(self, since_ms: int) -> list[Funding]:
        """Return funding payments since a venue time."""
        ...

    async def position(self) -> Decimal:
        """Return the signed position in base units."""
        ...

    async def refresh_fee_prices(self) -> None:
        """Learn the prices of coins that fees may be paid in."""
        ...

    def server_ms(self) -> int:
        """Return the venue's time in milliseconds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileTimes:
    """Periods of a comparison, seconds.

    Attributes:
        overlap_s: how far back each comparison asks for executions again.
        funding_s: between two questions for funding payments, which come every few hours.
        position_checks: looks at a position that differs from the venue's until trading stops.
        position_check_s: between two of them.
    """

    overlap_s: float = 60.0
    funding_s: float = 60.0
    position_checks: int = 4
    position_check_s: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionDifference:
    """A position at the venue that what is known here does not explain; base units."""

    symbol: str
    venue_base: Decimal
    own_base: Decimal
    opening_base: Decimal
    fills: int
    exposed: int

    def lines(self) -> list[str]:
        """Return the difference as lines for people."""
        return [
            f"{self.symbol}: the position at the venue is not the one our executions lead to",
            f"  venue       {self.venue_base:+f}",
            f"  executions  {self.own_base:+f}  (opening {self.opening_base:+f}, {self.fills} fills since)",
            f"  difference  {self.venue_base - self.own_base:+f}",
            f"  {self.exposed} orders of ours may still fill",
            "  Look for trades made by hand or by another program on this account. Once the difference is understood,",
            "  start once with execution.adopt_position = true to take the venue's position over.",
        ]

    def __str__(self) -> str:
        return (
            f"position {self.venue_base:f} at the venue, {self.own_base:f} by our executions; nothing explains the "
            f"difference of {self.venue_base - self.own_base:+f} {self.symbol}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A position to take over.

    Attributes:
        qty_base: signed, base units.
        contains: ids of the executions and payments listed that are part of it.
        until_ms: venue time at which it was asked for: executions up to then may be part of it, listed or not.
    """

    qty_base: Decimal
    contains: set[str]
    until_ms: int


class Reconciler:
    """Compares one account with the venue.

    Args:
        gateway: the venue.
        account: told what is found.
        journal: remembers how far executions are complete.
        clock: time of pauses.
        times: periods.
        on_fill: takes every execution found, as it does those pushed.
        look_up: finds out what became of one order.
        owners: finds out whose the executions are that wait for their order.
        symbol: what is traded, for messages.

    Attributes:
        watermark_ms: venue time up to which every execution is known.
        funding_watermark_ms: the same for funding payments.
        opening_base: position taken over before the fills known here.
    """

    def __init__(
        self,
        gateway: ReconcileGateway,
        account: Account,
        journal: Journal,
        clock: Clock,
        times: ReconcileTimes,
        *,
        on_fill: Callable[[Fill], None],
        look_up: Callable[[OrderRecord], Awaitable[None]],
        owners: Callable[[], Awaitable[None]],
        symbol: str,
    ) -> None:
        self.watermark_ms = 0
        self.funding_watermark_ms = 0
        self.opening_base = Decimal(0)
        self._gateway = gateway
        self._account = account
        self._journal = journal
        self._clock = clock
        self._times = times
        self._on_fill = on_fill
        self._look_up = look_up
        self._owners = owners
        self._symbol = symbol
        self._next_extras_ns = 0
        self._funding_known = True

    def begin(self, watermark_ms: int, funding_watermark_ms: int) -> None:
        """Start from the journal's watermarks, or from a little before now where it has none."""
        self.watermark_ms = watermark_ms or self._overlapped_ms()
        self.funding_watermark_ms = funding_watermark_ms or self.watermark_ms

    async def opening(self) -> Opening:
        """Return the venue's position, asked for until nothing changes between two looks, and what it contains.

        Raises:
            GatewayError: the venue could not be asked.
        """
        found = await self._look()
        for _ in range(self._times.position_checks):
            before, found = found, await self._look()
            if (found.qty_base, found.contains) == (before.qty_base, before.contains):
                break
            await asyncio.sleep(self._times.position_check_s)
        self.opening_base = found.qty_base
        return found

    async def _look(self) -> Opening:
        contained = {fill.exec_id for fill in await self._gateway.executions(self.watermark_ms)}
        contained |= {paid.exec_id for paid in await self._funding()}
        asked_ms = self._gateway.server_ms()
        return Opening(qty_base=await self._gateway.position(), contains=contained, until_ms=asked_ms)

    async def run(self) -> PositionDifference | None:
        """Compare everything once; return the position's difference if there is one that nothing explains.

        Raises:
            GatewayError: the venue could not be asked.
        """
        began_ns = self._clock.monotonic_ns()
        settled = {OrderState.INTENT, OrderState.SENT}
        before = [record for record in self._account.orders.live() if record.state not in settled]
        open_now = await self._gateway.open_orders()
        await self.fetch()
        for seen in open_now:
            self._account.take_order(seen, source="reconcile")
        listed = {seen.client_id for seen in open_now}
        for record in before:
            if record.client_id not in listed and record.live and record.since_ns <= began_ns:
                await self._look_up(record)
        return await self.check_position()

    async def fetch(self, *, last: bool = False) -> None:
        """Take in every execution since the watermark and, now and then or at last, funding; move the watermarks.

        Raises:
            GatewayError: the venue could not be asked for executions.
        """
        asked_ms = self._overlapped_ms()
        for fill in await self._gateway.executions(self.watermark_ms):
            self._on_fill(fill)
        if self._clock.monotonic_ns() < self._next_extras_ns and not last:
            return
        self._next_extras_ns = self._clock.monotonic_ns() + round(self._times.funding_s * NS_PER_S)
        await self._gateway.refresh_fee_prices()
        for payment in await self._funding():
            self._account.take_funding(payment)
        if self._funding_known:
            self.funding_watermark_ms = self._advance(FUNDING_WATERMARK, self.funding_watermark_ms, asked_ms)
        waiting_ms = self._account.oldest_unmatched_ms
        known_ms = asked_ms if waiting_ms is None else min(asked_ms, waiting_ms - 1)
        self.watermark_ms = self._advance(WATERMARK, self.watermark_ms, known_ms)

    async def _funding(self) -> list[Funding]:
        """Return funding payments since their watermark; a venue that cannot tell stops nothing, and is noted."""
        try:
            payments = await self._gateway.funding(self.funding_watermark_ms)
        except VenueError as error:
            if self._funding_known and self._journal.failure is None:
                self._journal.state("funding", "unreadable", str(error))
            self._funding_known = False
            return []
        self._funding_known = True
        return payments

    def _advance(self, what: str, watermark_ms: int, asked_ms: int) -> int:
        """Return the time from which to ask the next time, journalled if it is later; it never goes back."""
        if asked_ms <= watermark_ms:
            return watermark_ms
        if self._journal.failure is None:
            self._journal.state(what, str(asked_ms))
        return asked_ms

    def _overlapped_ms(self) -> int:
        return self._gateway.server_ms() - round(self._times.overlap_s * 1000)

    async def check_position(self) -> PositionDifference | None:
        """Compare the position with the venue's; executions on their way make the two differ for a moment.

        Raises:
            GatewayError: the venue could not be asked.
        """
        venue_base = Decimal(0)
        for _ in range(self._times.position_checks):
            asked_ns = self._clock.monotonic_ns()
            venue_base = await self._gateway.position()
            # The venue's word is of some moment since the question; the executions up to it may still be on their way.
            if self._account.agrees(venue_base, asked_ns):
                return None
            await asyncio.sleep(self._times.position_check_s)
            await self.fetch()
            await self._owners()
            if self._account.agrees(venue_base, asked_ns):
                return None
        return PositionDifference(
            symbol=self._symbol,
            venue_base=venue_base,
            own_base=self._account.position.qty_base,
            opening_base=self.opening_base,
            fills=self._account.booked,
            exposed=len(self._account.orders.exposed()),
        )
