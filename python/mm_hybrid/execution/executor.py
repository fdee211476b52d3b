"""Makes live orders equal what was approved, and never loses sight of one.

One worker compares the newest approved quotes with the live orders and sends what is missing; a slow request
never holds up the next comparison, since an order with a request under way is simply left alone. Another task
tends what the venue has left open: lookups, missing executions, the regular reconciliation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from mm_hybrid.breaker import Breaker, BreakerChange, BreakerOpenError, BreakerState
from mm_hybrid.clock import Clock
from mm_hybrid.config import SessionConfig
from mm_hybrid.errors import GatewayError, JournalError
from mm_hybrid.execution.account import Account, Counters, OnFill
from mm_hybrid.execution.difference import Plan, Tolerance, difference
from mm_hybrid.execution.gateway import Gateway
from mm_hybrid.execution.orders import LiveOrder, OrderRecord, OrderState, VenueOrder
from mm_hybrid.execution.outcomes import VenueError
from mm_hybrid.execution.resolve import ResolveConfig, Resolver
from mm_hybrid.execution.sender import Sender, judge
from mm_hybrid.execution.streams import PrivateStreams, StreamHandlers
from mm_hybrid.execution.sweep import Sweep
from mm_hybrid.journal import Intent, Journal
from mm_hybrid.types import Approved, Instrument, Position, Quote, Quotes

__all__ = ["Counters", "Executor", "ExecutorTimes"]

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorTimes:
    """Periods of the executor, seconds.

    Attributes:
        tend_s: between two looks at what is open.
        reconcile_s: between two comparisons with the venue over REST.
        overlap_s: how far back each comparison asks for executions again.
        unmatched_s: how long an execution waits for its order's id to become known.
        no_funds_pause_s: without orders on a side refused for want of margin.
        crossed_pause_s: without orders on a side after one would have taken: the book it was priced on is old.
        position_checks: times a position that differs from the venue's is looked at again before trading stops.
        position_check_s: between two of them.
        stop_s: for cancelling everything at the end.
        resolve: times of lookups.
    """

    tend_s: float = 0.1
    reconcile_s: float = 10.0
    crossed_pause_s: float = 0.25
    position_checks: int = 4
    position_check_s: float = 0.5
    overlap_s: float = 60.0
    unmatched_s: float = 2.0
    no_funds_pause_s: float = 5.0
    stop_s: float = 20.0
    resolve: ResolveConfig = field(default_factory=ResolveConfig)


class Executor:
    """Executes approved quotes at one gateway.

    Args:
        gateway: the open gateway; closing it stays the caller's.
        journal: every intent is on disk there before it is sent; its session must have been recorded.
        clock: time of ages and stamps.
        instrument: what is traded.
        config: where the tolerance of quotes comes from; without one every change is sent.
        tag: first part of every client id, ``tag-epoch-sequence``; letters and digits, at most 12.
        times: periods.
    """

    def __init__(
        self,
        gateway: Gateway,
        journal: Journal,
        clock: Clock,
        instrument: Instrument,
        config: SessionConfig | None = None,
        *,
        tag: str = "mm",
        times: ExecutorTimes | None = None,
    ) -> None:
        if not tag.isalnum() or len(tag) > 12:
            raise ValueError(f"tag {tag!r}: letters and digits, at most 12")
        self.instrument = instrument
        self._gateway = gateway
        self._journal = journal
        self._clock = clock
        self._times = times or ExecutorTimes()
        self._tolerance = Decimal(repr(config.quoting.tolerance)) if config is not None else Decimal(0)
        self._tag = tag
        self._price_tolerance = Decimal(0)
        self._id_prefix = ""
        self._sequence = 0
        self._targets: Quotes = ()
        self._wake = asyncio.Event()
        self._requests: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._stopping = False
        self._halted: str | None = None
        self._watermark_ms = 0
        self._account = account = Account(
            journal,
            clock,
            changed=self._wake.set,
            stranger=self._take_stranger,
            crossed=lambda side: self._sender.pause(side, self._times.crossed_pause_s),
        )
        self._breaker = Breaker("orders", clock=clock, listener=self._note_breaker)
        self._sender = Sender(
            gateway, account, self._breaker, clock,
            halt=self._halt, no_funds_pause_s=self._times.no_funds_pause_s,
        )  # fmt: skip
        self._resolver = Resolver(
            gateway,
            account.orders,
            clock,
            self._times.resolve,
            on_order=lambda seen: account.take_order(seen, source="lookup"),
            on_fill=account.take_fill,
            on_absent=self._declare_absent,
            since_ms=lambda: self._watermark_ms,
        )
        self._sweep = Sweep(
            gateway, account, self._resolver, journal, clock, tag=tag, stop_s=self._times.stop_s
        )
        handlers = StreamHandlers(
            order=lambda seen: account.take_order(seen, source="stream"),
            fill=account.take_fill,
            reconcile=self._reconcile,
            changed=self._note_streams,
        )
        self._streams = PrivateStreams(gateway, handlers, clock)

    @property
    def on_fill(self) -> OnFill | None:
        """Called with each new execution; returns the mid known at that moment, for the journal."""
        return self._account.on_fill

    @on_fill.setter
    def on_fill(self, callback: OnFill | None) -> None:
        self._account.on_fill = callback

    @property
    def counters(self) -> Counters:
        """What has happened to own orders so far."""
        return self._account.counters

    @property
    def position(self) -> Position:
        """The venue's position at the start plus every execution since."""
        return self._account.position

    @property
    def live_orders(self) -> tuple[LiveOrder, ...]:
        """Everything that may still change the position, unknown outcomes included."""
        return self._account.orders.exposed()

    @property
    def unknown_orders(self) -> int:
        """Orders whose outcome is unknown now."""
        return sum(record.state is OrderState.PENDING_UNKNOWN for record in self._account.orders.live())

    @property
    def halted(self) -> str | None:
        """Why execution has stopped for good, or ``None``."""
        return self._halted

    @property
    def reconnects(self) -> int:
        """Times the private streams had to be connected anew."""
        return self._streams.reconnects

    @property
    def healthy(self) -> bool:
        """Whether new orders may be sent: streams up, venue answering, journal writing."""
        return (
            self._streams.healthy
            and not self._stopping
            and self._halted is None
            and self._journal.failure is None
            and self._breaker.state is BreakerState.CLOSED
        )

    async def start(self) -> None:
        """Cancel what an earlier start left open, read the position, and begin to execute.

        Raises:
            GatewayError: the venue cannot be used, or orders of ours could not be cancelled.
            JournalError: the journal cannot be written, or no session was recorded in it.
        """
        epoch = self._journal.boot_epoch
        if epoch == 0:
            raise JournalError(f"{self._journal.path}: no session recorded, so client ids could repeat")
        self._id_prefix = f"{self._tag}-{_base36(epoch)}-"
        self._watermark_ms = self._overlapped_ms()
        self.counters.orphans_canceled, left = await self._sweep.run("left by an earlier start")
        if left:
            raise GatewayError(f"{left} orders of an earlier start could not be cancelled")
        # Nothing of ours rests now, so what has been executed is in the position that is read next.
        for fill in await self._gateway.executions(self._watermark_ms):
            self._account.orders.exec_ids.add(fill.exec_id)
        self._account.position = Position(qty_base=await self._gateway.position())
        await self._streams.start()
        self._loops = [
            asyncio.create_task(self._work(), name="mm-execute"),
            asyncio.create_task(self._tend(), name="mm-tend"),
        ]

    def submit(self, approved: Approved) -> None:
        """Set the wanted quotes; the newest wins. Returns at once."""
        self._targets = approved.quotes
        self._wake.set()

    def pull(self, reason: str) -> None:
        """Want nothing to rest: every live order is cancelled. Returns at once."""
        if self._targets:
            self._note("quotes", "pulled", reason)
        self._targets = ()
        self._wake.set()

    async def stop(self, reason: str) -> int:
        """Cancel everything, ask the venue until none of ours is open, and return how many still are.

        Raises:
            GatewayError: the venue could not be asked.
        """
        self._stopping = True
        self._targets = ()
        self._note("executor", "stopping", reason)
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await asyncio.gather(*self._requests, return_exceptions=True)
        try:
            _, left = await self._sweep.run(reason)
            await self._settle_last()
        finally:
            await self._streams.close()
        self._note("executor", "stopped", f"{left} open")
        return left

    # Wanted quotes become requests.

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._converge()
            except JournalError as error:
                self._halt(str(error))

    async def _converge(self) -> None:
        targets = self._targets if self.healthy else ()
        targets = tuple(quote for quote in targets if self._sender.side_open(quote.side))
        plan = difference(
            targets,
            list(self._account.orders.live()),
            can_amend=self._gateway.can_amend,
            tolerance=Tolerance(price=self._tolerated(targets)),
        )
        plan.amend = [amend for amend in plan.amend if self._gateway.try_create_slot()]
        plan.create = [quote for quote in plan.create if self._gateway.try_create_slot()]
        if not (plan.cancel or plan.amend or plan.create):
            return
        created = self._mark(plan)
        seqs: list[int | None]
        try:
            seqs = list(await self._journal.intents(_intents(plan, created)))
        except JournalError:
            # Cancels go out even when nothing can be written any more; the rest does not.
            for record in plan.cancel:
                self._spawn(self._sender.cancel(record, None))
            for amend in plan.amend:
                amend.order.amend_price = amend.order.amend_qty = None
                self._account.move(amend.order, OrderState.OPEN)
            for record in created:
                self._account.move(record, OrderState.NOT_PLACED)
            raise
        for record in plan.cancel:
            self._spawn(self._sender.cancel(record, seqs.pop(0)))
        for amend in plan.amend:
            self._spawn(self._sender.amend(amend, seqs.pop(0) or 0))
        for record in created:
            record.intent_seq = seqs.pop(0) or 0
            if self.healthy and self._targets:
                self._spawn(self._sender.create(record))
            else:
                self._account.end(record, OrderState.NOT_PLACED, "no longer wanted", source="local")

    def _mark(self, plan: Plan) -> list[OrderRecord]:
        """Note what is about to be sent: the next comparison leaves it alone, exposure counts it."""
        for record in plan.cancel:
            self._account.move(record, OrderState.PENDING_CANCEL)
        for amend in plan.amend:
            amend.order.amend_price, amend.order.amend_qty = amend.price, amend.qty
            self._account.move(amend.order, OrderState.PENDING_AMEND)
        created = [self._new_record(quote) for quote in plan.create]
        for record in created:
            self._account.orders.add(record)
        return created

    def _tolerated(self, targets: Quotes) -> Decimal:
        """Return a share of the half-spread; while one side is wanted, of the last one known."""
        bids = [Decimal(quote.price) for quote in targets if quote.side == "buy"]
        asks = [Decimal(quote.price) for quote in targets if quote.side == "sell"]
        if bids and asks:
            self._price_tolerance = max(Decimal(0), (min(asks) - max(bids)) / 2 * self._tolerance)
        return self._price_tolerance

    def _new_record(self, quote: Quote) -> OrderRecord:
        self._sequence += 1
        return OrderRecord(
            client_id=self._id_prefix + _base36(self._sequence),
            side=quote.side,
            price=Decimal(quote.price),
            qty=Decimal(quote.qty or 0),
            since_ns=self._clock.monotonic_ns(),
        )

    # What is open at the venue is tended.

    async def _tend(self) -> None:
        next_reconcile_ns = self._clock.monotonic_ns() + round(self._times.reconcile_s * NS_PER_S)
        while True:
            await asyncio.sleep(self._times.tend_s)
            now_ns = self._clock.monotonic_ns()
            for record in self._resolver.due():
                record.next_lookup_ns = now_ns + NS_PER_S
                self._spawn(self._look_up(record))
            self._account.match_fills(older_than_ns=now_ns - round(self._times.unmatched_s * NS_PER_S))
            if self._breaker.state is BreakerState.HALF_OPEN:
                await self._probe()
            if now_ns >= next_reconcile_ns and self._streams.healthy:
                next_reconcile_ns = now_ns + round(self._times.reconcile_s * NS_PER_S)
                try:
                    await self._reconcile()
                except GatewayError as error:
                    self._note("reconcile", "failed", str(error))
            self._wake.set()

    async def _look_up(self, record: OrderRecord) -> None:
        try:
            await self._resolver.lookup(record)
        except GatewayError as error:
            self._note("lookup", "failed", f"{record.client_id}: {error}")

    async def _probe(self) -> None:
        """Ask a harmless question to find out whether the venue answers again."""
        try:
            permit = self._breaker.admit()
        except BreakerOpenError:
            return
        try:
            await self._gateway.open_orders()
        except VenueError as error:
            judge(permit, error)
        else:
            permit.success()

    async def _reconcile(self) -> None:
        """Compare with the venue: open orders, and executions since the last time with an overlap."""
        began_ns, next_watermark_ms = self._clock.monotonic_ns(), self._overlapped_ms()
        before = [
            r for r in self._account.orders.live() if r.state not in {OrderState.INTENT, OrderState.SENT}
        ]
        open_now = await self._gateway.open_orders()
        for fill in await self._gateway.executions(self._watermark_ms):
            self._account.take_fill(fill)
        for seen in open_now:
            self._account.take_order(seen, source="reconcile")
        listed = {seen.client_id for seen in open_now}
        for record in before:
            if record.client_id not in listed and record.live and record.since_ns <= began_ns:
                await self._look_up(record)
        self._watermark_ms = max(self._watermark_ms, next_watermark_ms)
        await self._check_position()

    async def _check_position(self) -> None:
        """Compare the position with the venue's; a difference that no execution explains stops trading.

        Executions on their way make the two differ for a moment, so a difference is looked at again first.
        """
        for attempt in range(self._times.position_checks):
            if attempt:
                await asyncio.sleep(self._times.position_check_s)
                for fill in await self._gateway.executions(self._watermark_ms):
                    self._account.take_fill(fill)
            venue_base = await self._gateway.position()
            own_base = self._account.position.qty_base
            if venue_base == own_base:
                return
        self._halt(
            f"position: {venue_base} at the venue, {own_base} by our executions; nothing explains the difference"
        )

    def _declare_absent(self, record: OrderRecord) -> None:
        message = "not found anywhere within the window"
        self._account.end(record, OrderState.NOT_PLACED, message, source="lookup")

    def _take_stranger(self, seen: VenueOrder) -> None:
        """Cancel an open order of ours that this start knows nothing of; leave other people's alone."""
        if not self._sweep.is_ours(seen.client_id) or self._stopping:
            return
        self.counters.orphans_canceled += 1
        self._note("orphan", seen.client_id, f"{seen.side} {seen.qty} at {seen.price}")

        async def cancel() -> None:
            try:
                await self._journal.intents(
                    [Intent(action="cancel", client_id=seen.client_id, reason="orphan")]
                )
                await self._gateway.cancel(seen.client_id)
            except (VenueError, JournalError):
                return  # The next reconciliation finds it again.

        self._spawn(cancel())

    async def _settle_last(self) -> None:
        """Learn how every order of the session ended and take in its last executions."""
        for fill in await self._gateway.executions(self._watermark_ms):
            self._account.take_fill(fill)
        for record in list(self._account.orders.live()):
            if record.state is OrderState.INTENT:
                self._account.end(record, OrderState.NOT_PLACED, "stopped before it was sent", source="local")
            else:
                await self._look_up(record)
        self._account.match_fills(older_than_ns=self._clock.monotonic_ns() + 1)

    def _overlapped_ms(self) -> int:
        return self._gateway.server_ms() - round(self._times.overlap_s * 1000)

    def _halt(self, reason: str) -> None:
        if self._halted is None:
            self._halted = reason
            self._targets = ()
            self._note("executor", "halted", reason)
            self._wake.set()

    def _note_streams(self, healthy: bool, reason: str) -> None:
        self._note("streams", "up" if healthy else "down", reason)
        self._wake.set()

    def _note_breaker(self, change: BreakerChange) -> None:
        self._note(f"breaker:{change.name}", change.after, change.reason)
        self._wake.set()

    def _note(self, what: str, value: str, detail: str) -> None:
        if self._journal.failure is None:
            self._journal.state(what, str(value), detail)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        def done(task: asyncio.Task[None]) -> None:
            self._requests.discard(task)
            self._wake.set()

        task = asyncio.create_task(coroutine)
        self._requests.add(task)
        task.add_done_callback(done)


def _intents(plan: Plan, created: list[OrderRecord]) -> list[Intent]:
    intents = [Intent(action="cancel", client_id=r.client_id, side=r.side) for r in plan.cancel]
    intents += [
        Intent(action="amend", client_id=a.order.client_id, side=a.order.side, price=a.price, qty=a.qty)
        for a in plan.amend
    ]
    intents += [
        Intent(action="create", client_id=r.client_id, side=r.side, price=r.price, qty=r.qty) for r in created
    ]
    return intents


def _base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = digits[digit] + text
    return text or "0"
