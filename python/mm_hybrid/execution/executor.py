"""Makes live orders equal what was approved, and never loses sight of one.

One worker compares the newest approved quotes with the live orders and sends what is missing; a slow request
never holds up the next comparison, since an order with a request under way is simply left alone. Another task
tends what the venue has left open: lookups, missing executions, the regular reconciliation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from mm_hybrid.breaker import Breaker, BreakerChange, BreakerOpenError, BreakerState, Permit
from mm_hybrid.clock import Clock
from mm_hybrid.config import SessionConfig
from mm_hybrid.errors import GatewayError, JournalError
from mm_hybrid.execution.difference import Amend, Tolerance, difference
from mm_hybrid.execution.gateway import Gateway
from mm_hybrid.execution.orders import (
    UNSETTLED,
    LiveOrder,
    OrderRecord,
    Orders,
    OrderState,
    VenueOrder,
)
from mm_hybrid.execution.outcomes import NOT_PLACED, VENUE_TROUBLE, VenueError, Verdict
from mm_hybrid.execution.resolve import ResolveConfig, Resolver
from mm_hybrid.execution.streams import PrivateStreams, StreamHandlers
from mm_hybrid.journal import Intent, Journal
from mm_hybrid.types import Approved, Fill, Instrument, Position, Quote, Quotes, Side

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

OnFill = Callable[[Fill], Decimal | None]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorTimes:
    """Periods of the executor, seconds."""

    tend_s: float = 0.1
    reconcile_s: float = 10.0
    overlap_s: float = 60.0
    no_funds_pause_s: float = 5.0
    stop_s: float = 20.0
    resolve: ResolveConfig = field(default_factory=ResolveConfig)


class Executor:
    """Executes approved quotes at one gateway.

    Args:
        gateway: the open gateway; closing it stays the caller's.
        journal: every intent is on disk there before it is sent.
        clock: time of ages and stamps.
        instrument: what is traded.
        config: tolerance of quotes and order rate.
        tag: first part of every client id; ``tag-epoch-sequence``.
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
        self.on_fill: OnFill | None = None
        self.counters = Counters()
        self._gateway = gateway
        self._journal = journal
        self._clock = clock
        self._instrument = instrument
        self._times = times or ExecutorTimes()
        self._tolerance_fraction = (
            Decimal(repr(config.quoting.tolerance)) if config is not None else Decimal(0)
        )
        self._tag = tag
        self._prefix = ""
        self._sequence = 0
        self._orders = Orders()
        self._position = Position()
        self._targets: Quotes = ()
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._unmatched: list[tuple[int, Fill]] = []
        self._side_paused_until_ns: dict[Side, int] = {"buy": 0, "sell": 0}
        self._stopping = False
        self._halted: str | None = None
        self._watermark_ms = 0
        self._breaker = Breaker("orders", clock=clock, listener=self._note_breaker)
        self._resolver = Resolver(
            gateway,
            self._orders,
            clock,
            self._times.resolve,
            on_order=lambda seen: self._take_order(seen, source="lookup"),
            on_fill=self._take_fill,
            on_absent=self._declare_absent,
            since_ms=lambda: self._watermark_ms,
        )
        handlers = StreamHandlers(
            order=lambda seen: self._take_order(seen, source="stream"),
            fill=self._take_fill,
            reconcile=self._reconcile,
            changed=self._note_streams,
        )
        self._streams = PrivateStreams(gateway, handlers, clock)

    @property
    def position(self) -> Position:
        """The position from the venue's at the start and every execution since."""
        return self._position

    @property
    def live_orders(self) -> tuple[LiveOrder, ...]:
        """Everything that may still change the position, unknown outcomes included."""
        return self._orders.exposed()

    @property
    def unknown_orders(self) -> int:
        """Orders whose outcome is unknown now."""
        return sum(record.state is OrderState.PENDING_UNKNOWN for record in self._orders.live())

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
            JournalError: the journal cannot be written.
        """
        epoch = self._journal.boot_epoch
        if epoch == 0:
            raise JournalError(f"{self._journal.path}: no session recorded, so client ids could repeat")
        self._prefix = f"{self._tag}-{_base36(epoch)}-"
        self._watermark_ms = self._gateway.server_ms() - round(self._times.overlap_s * 1000)
        await self._cancel_leftovers()
        for fill in await self._gateway.executions(self._watermark_ms):
            self._orders.exec_ids.add(fill.exec_id)
        self._position = Position(qty_base=await self._gateway.position())
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
            self._journal_state("quotes", "pulled", reason)
        self._targets = ()
        self._wake.set()

    async def stop(self, reason: str) -> int:
        """Cancel everything, ask the venue until none of ours is open, and return how many still are.

        Raises:
            GatewayError: the venue could not be asked.
        """
        self._stopping = True
        self._targets = ()
        self._journal_state("executor", "stopping", reason)
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            left = await self._cancel_until_none(reason)
            await self._settle_last()
        finally:
            await self._streams.close()
        self._journal_state("executor", "stopped", f"{left} open")
        return left

    # -- wanted quotes -> requests

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._converge()
            except JournalError as error:
                self._halt(str(error))
                self._cancel_without_journal()

    async def _converge(self) -> None:
        targets = self._targets if self.healthy else ()
        now_ns = self._clock.monotonic_ns()
        targets = tuple(quote for quote in targets if now_ns >= self._side_paused_until_ns[quote.side])
        plan = difference(
            targets,
            list(self._orders.live()),
            can_amend=self._gateway.can_amend,
            tolerance=Tolerance(price=self._price_tolerance(targets)),
        )
        amends = [amend for amend in plan.amend if self._gateway.try_create_slot()]
        creates = [quote for quote in plan.create if self._gateway.try_create_slot()]
        if not (plan.cancel or amends or creates):
            return
        created = [self._new_record(quote) for quote in creates]
        intents = [Intent(action="cancel", client_id=r.client_id, side=r.side) for r in plan.cancel]
        intents += [
            Intent(action="amend", client_id=a.order.client_id, side=a.order.side, price=a.price, qty=a.qty)
            for a in amends
        ]
        intents += [
            Intent(action="create", client_id=r.client_id, side=r.side, price=r.price, qty=r.qty)
            for r in created
        ]
        # Marked before the wait, so that the next comparison leaves them alone and exposure counts them.
        for record in plan.cancel:
            record.move(OrderState.PENDING_CANCEL, now_ns)
        for amend in amends:
            amend.order.amend_price, amend.order.amend_qty = amend.price, amend.qty
            amend.order.move(OrderState.PENDING_AMEND, now_ns)
        for record in created:
            self._orders.add(record)
        seqs = await self._journal.intents(intents)
        # The wait was short, but the world may have changed: what was not wanted meanwhile is not sent.
        for record in plan.cancel:
            self._spawn(self._cancel(record, seqs.pop(0)))
        for amend in amends:
            self._spawn(self._amend(amend, seqs.pop(0)))
        for record in created:
            record.intent_seq = seqs.pop(0)
            self._spawn(self._create(record))

    def _price_tolerance(self, targets: Quotes) -> Decimal:
        bids = [Decimal(quote.price) for quote in targets if quote.side == "buy"]
        asks = [Decimal(quote.price) for quote in targets if quote.side == "sell"]
        if not bids or not asks:
            return Decimal(0)
        return max(Decimal(0), (min(asks) - max(bids)) / 2 * self._tolerance_fraction)

    def _new_record(self, quote: Quote) -> OrderRecord:
        self._sequence += 1
        return OrderRecord(
            client_id=self._prefix + _base36(self._sequence),
            side=quote.side,
            price=Decimal(quote.price),
            qty=Decimal(quote.qty or 0),
            since_ns=self._clock.monotonic_ns(),
        )

    async def _create(self, record: OrderRecord) -> None:
        try:
            permit = self._breaker.admit()
        except BreakerOpenError as error:
            self._end(record, OrderState.NOT_PLACED, str(error))
            return
        if not self.healthy or not self._targets:
            permit.abandon()
            self._end(record, OrderState.NOT_PLACED, "no longer wanted")
            return
        record.move(OrderState.SENT, self._clock.monotonic_ns())
        self.counters.orders_placed += 1
        try:
            order_id = await self._gateway.create(record.client_id, record.side, record.price, record.qty)
        except VenueError as error:
            self._judge(permit, error)
            self._create_failed(record, error)
        except asyncio.CancelledError:
            permit.abandon()
            self._unknown(record, "cancelled while under way", None)
            raise
        else:
            permit.success()
            self._orders.identify(record, order_id)
            self._match_fills()
            if record.state is OrderState.SENT:
                record.move(OrderState.ACKED, self._clock.monotonic_ns())
                self._outcome(record, source="rest")
        self._wake.set()

    def _create_failed(self, record: OrderRecord, error: VenueError) -> None:
        verdict = error.verdict
        if record.state is not OrderState.SENT:
            return  # The stream has told already; it knows better than a failed reply.
        if verdict in NOT_PLACED:
            state = OrderState.NOT_PLACED if verdict is Verdict.NOT_SENT else OrderState.REJECTED
            self._end(record, state, error.failure.message, code=error.failure.code)
            if verdict is Verdict.NO_FUNDS:
                pause_ns = round(self._times.no_funds_pause_s * NS_PER_S)
                self._side_paused_until_ns[record.side] = self._clock.monotonic_ns() + pause_ns
            elif verdict is Verdict.AUTH:
                self._halt(error.failure.message)
        else:
            self._unknown(record, error.failure.message, error.failure.code)

    async def _amend(self, amend: Amend, intent_seq: int) -> None:
        record = amend.order
        try:
            await self._gateway.amend(record.client_id, record.side, amend.price, amend.qty)
        except VenueError as error:
            self._outcome(record, source="rest", intent_seq=intent_seq, error=error)
            if error.verdict in NOT_PLACED and record.state is OrderState.PENDING_AMEND:
                record.amend_price = record.amend_qty = None
                record.move(OrderState.OPEN, self._clock.monotonic_ns())
        else:
            self.counters.amended += 1
            self._outcome(record, source="rest", intent_seq=intent_seq)
        self._wake.set()

    async def _cancel(self, record: OrderRecord, intent_seq: int | None) -> None:
        try:
            await self._gateway.cancel(record.client_id)
        except VenueError as error:
            self._outcome(record, source="rest", intent_seq=intent_seq, error=error)
            record.next_lookup_ns = 0
        self._wake.set()

    def _cancel_without_journal(self) -> None:
        """Cancels go out even when nothing can be written any more."""
        for record in list(self._orders.live()):
            if record.state is OrderState.INTENT:
                record.move(OrderState.NOT_PLACED, self._clock.monotonic_ns())
            elif record.state is not OrderState.PENDING_CANCEL or not self._tasks:
                record.move(OrderState.PENDING_CANCEL, self._clock.monotonic_ns())
                self._spawn(self._cancel(record, None))

    # -- what the venue tells

    def _take_order(self, seen: VenueOrder, *, source: str) -> None:
        applied = self._orders.apply_venue(seen, self._clock.monotonic_ns())
        if applied is None:
            if seen.status == "open" and self._is_ours(seen.client_id):
                self._cancel_orphan(seen)
            return
        record, changed = applied
        self._match_fills()
        if changed:
            if record.state is OrderState.CANCELED:
                if "PostOnly" in record.reason or "post_only" in record.reason.lower():
                    self.counters.post_only_crossed += 1
                else:
                    self.counters.canceled += 1
            elif record.state is OrderState.REJECTED:
                self.counters.rejected += 1
            self._outcome(record, source=source)
            self._wake.set()

    def _take_fill(self, fill: Fill) -> None:
        if fill.exec_id in self._orders.exec_ids:
            return
        record = self._orders.find(client_id=fill.client_id, order_id=fill.order_id)
        if record is None and not fill.client_id:
            # It may be ahead of the acknowledgement that will tell whose order this id is.
            if all(waiting.exec_id != fill.exec_id for _, waiting in self._unmatched):
                self._unmatched.append((self._clock.monotonic_ns(), fill))
            return
        self._book(fill, record)

    def _match_fills(self, *, older_than_ns: int | None = None) -> None:
        """Book executions whose order has become known, and those that have waited too long for it."""
        waiting, self._unmatched = self._unmatched, []
        for came_ns, fill in waiting:
            record = self._orders.find(client_id="", order_id=fill.order_id)
            if record is not None or (older_than_ns is not None and came_ns < older_than_ns):
                self._book(fill, record)
            else:
                self._unmatched.append((came_ns, fill))

    def _book(self, fill: Fill, record: OrderRecord | None) -> None:
        if record is not None and not fill.client_id:
            fill = replace(fill, client_id=record.client_id)
        if not self._orders.apply_fill(fill, self._clock.monotonic_ns()):
            return
        self.counters.fills += 1
        sign = 1 if fill.side == "buy" else -1
        self._position = replace(
            self._position,
            qty_base=self._position.qty_base + sign * fill.qty,
            cash_quote=self._position.cash_quote - sign * fill.qty * fill.price,
            fees_quote=self._position.fees_quote + fill.fee_quote,
        )
        mid = self.on_fill(fill) if self.on_fill is not None else None
        if self._journal.failure is None:
            self._journal.fill(fill, mid=mid)
        if record is not None and record.state is OrderState.FILLED:
            self._outcome(record, source="execution")
        self._wake.set()

    def _declare_absent(self, record: OrderRecord) -> None:
        self._end(record, OrderState.NOT_PLACED, "not found anywhere within the window", source="lookup")
        self._wake.set()

    def _cancel_orphan(self, seen: VenueOrder) -> None:
        self.counters.orphans_canceled += 1
        self._journal_state("orphan", seen.client_id, f"{seen.side} {seen.qty} at {seen.price}")

        async def cancel() -> None:
            try:
                await self._journal.intents(
                    [Intent(action="cancel", client_id=seen.client_id, reason="orphan")]
                )
                await self._gateway.cancel(seen.client_id)
            except (VenueError, JournalError):
                return  # The next reconciliation finds it again.

        self._spawn(cancel())

    # -- tending

    async def _tend(self) -> None:
        next_reconcile_ns = self._clock.monotonic_ns() + round(self._times.reconcile_s * NS_PER_S)
        while True:
            await asyncio.sleep(self._times.tend_s)
            now_ns = self._clock.monotonic_ns()
            for record in self._resolver.due():
                record.next_lookup_ns = now_ns + NS_PER_S
                self._spawn(self._look_up(record))
            self._match_fills(older_than_ns=now_ns - 2 * NS_PER_S)
            if self._breaker.state is BreakerState.HALF_OPEN:
                await self._probe()
            if now_ns >= next_reconcile_ns and self._streams.healthy:
                next_reconcile_ns = now_ns + round(self._times.reconcile_s * NS_PER_S)
                try:
                    await self._reconcile()
                except GatewayError as error:
                    self._journal_state("reconcile", "failed", str(error))
            self._wake.set()

    async def _look_up(self, record: OrderRecord) -> None:
        try:
            await self._resolver.lookup(record)
        except GatewayError as error:
            self._journal_state("lookup", "failed", f"{record.client_id}: {error}")

    async def _probe(self) -> None:
        """Ask a harmless question to find out whether the venue answers again."""
        try:
            permit = self._breaker.admit()
        except BreakerOpenError:
            return
        try:
            await self._gateway.open_orders()
        except VenueError as error:
            permit.failure(error.failure.message)
        else:
            permit.success()

    async def _reconcile(self) -> None:
        """Compare with the venue: open orders, and executions since the last time with an overlap."""
        began_ns, began_ms = self._clock.monotonic_ns(), self._gateway.server_ms()
        settled_before = [
            r for r in self._orders.live() if r.state in UNSETTLED or r.state is OrderState.OPEN
        ]
        open_now = await self._gateway.open_orders()
        for fill in await self._gateway.executions(self._watermark_ms):
            self._take_fill(fill)
        for seen in open_now:
            self._take_order(seen, source="reconcile")
        listed = {seen.client_id for seen in open_now}
        for record in settled_before:
            if record.client_id not in listed and record.live and record.since_ns <= began_ns:
                await self._look_up(record)
        self._watermark_ms = max(self._watermark_ms, began_ms - round(self._times.overlap_s * 1000))

    # -- start and stop

    async def _cancel_leftovers(self) -> None:
        leftovers = [seen for seen in await self._gateway.open_orders() if self._is_ours(seen.client_id)]
        if not leftovers:
            return
        await self._journal.intents(
            [
                Intent(action="cancel", client_id=seen.client_id, reason="left by an earlier start")
                for seen in leftovers
            ]
        )
        self.counters.orphans_canceled += len(leftovers)
        left = await self._cancel_until_none("left by an earlier start", journalled=True)
        if left:
            raise GatewayError(f"{left} orders of an earlier start could not be cancelled")

    async def _cancel_until_none(self, reason: str, *, journalled: bool = False) -> int:
        """Cancel all of ours and ask until none is open or time is up; return how many are."""
        deadline_ns = self._clock.monotonic_ns() + round(self._times.stop_s * NS_PER_S)
        pause_s = 0.05
        while True:
            ours = [seen for seen in await self._gateway.open_orders() if self._is_ours(seen.client_id)]
            for seen in ours:
                self._orders.apply_venue(seen, self._clock.monotonic_ns())
            in_flight = any(record.state is OrderState.PENDING_UNKNOWN for record in self._orders.live())
            if not ours and not in_flight:
                return 0
            if self._clock.monotonic_ns() >= deadline_ns:
                return len(ours)
            if not journalled and self._journal.failure is None:
                await self._journal.intents([Intent(action="cancel_all", reason=reason)])
                journalled = True
            await asyncio.gather(*(self._cancel_seen(seen) for seen in ours))
            for record in self._resolver.due():
                await self._look_up(record)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 1.0)

    async def _cancel_seen(self, seen: VenueOrder) -> None:
        try:
            await self._gateway.cancel(seen.client_id)
        except VenueError:
            return  # The query that follows decides.

    async def _settle_last(self) -> None:
        """Learn how every order of the session ended and take in its last executions."""
        for fill in await self._gateway.executions(self._watermark_ms):
            self._take_fill(fill)
        for record in list(self._orders.live()):
            if record.state is OrderState.INTENT:
                self._end(record, OrderState.NOT_PLACED, "stopped before it was sent")
            else:
                await self._look_up(record)
        self._match_fills(older_than_ns=self._clock.monotonic_ns() + 1)

    # -- records and state

    def _is_ours(self, client_id: str) -> bool:
        return client_id.startswith(f"{self._tag}-")

    def _unknown(self, record: OrderRecord, message: str, code: str | None) -> None:
        self.counters.unknown += 1
        record.reason = message
        record.move(OrderState.PENDING_UNKNOWN, self._clock.monotonic_ns())
        self._outcome(record, source="rest", code=code)

    def _end(
        self,
        record: OrderRecord,
        state: OrderState,
        message: str,
        *,
        code: str | None = None,
        source: str = "rest",
    ) -> None:
        record.reason = message
        if record.move(state, self._clock.monotonic_ns()):
            self.counters.rejected += state is OrderState.REJECTED
            self._outcome(record, source=source, code=code)

    def _outcome(
        self,
        record: OrderRecord,
        *,
        source: str,
        intent_seq: int | None = None,
        code: str | None = None,
        error: VenueError | None = None,
    ) -> None:
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
        )

    def _judge(self, permit: Permit, error: VenueError) -> None:
        if error.verdict in VENUE_TROUBLE:
            permit.failure(error.failure.message)
        else:
            permit.success()

    def _halt(self, reason: str) -> None:
        if self._halted is None:
            self._halted = reason
            self._targets = ()
            self._journal_state("executor", "halted", reason)
            self._wake.set()

    def _note_streams(self, healthy: bool, reason: str) -> None:
        self._journal_state("streams", "up" if healthy else "down", reason)
        self._wake.set()

    def _note_breaker(self, change: BreakerChange) -> None:
        self._journal_state(f"breaker:{change.name}", change.after, change.reason)
        self._wake.set()

    def _journal_state(self, what: str, value: str, detail: str) -> None:
        if self._journal.failure is None:
            self._journal.state(what, str(value), detail)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = digits[digit] + text
    return text or "0"
