"""Makes live orders equal what was approved, and never loses sight of one.

One worker compares the newest approved quotes with the live orders and sends what is missing; a slow request
never holds up the next comparison, since an order with a request under way is simply left alone. Another task
tends what the venue has left open: lookups, missing executions, the regular reconciliation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from decimal import Decimal
from typing import Any

from mm_hybrid.breaker import BreakerChange, Permit
from mm_hybrid.clock import Clock
from mm_hybrid.config import ExecutionConfig, SessionConfig
from mm_hybrid.errors import GatewayError, JournalError, RiskStopError
from mm_hybrid.execution.account import Account, Counters, OnFill, OnFunding
from mm_hybrid.execution.ahead import note_cancels
from mm_hybrid.execution.breakers import Breakers, judge
from mm_hybrid.execution.difference import Amend, Plan, Tolerance, difference
from mm_hybrid.execution.gateway import Gateway
from mm_hybrid.execution.lanes import Lane
from mm_hybrid.execution.orders import LiveOrder, OrderRecord, OrderState, VenueOrder
from mm_hybrid.execution.outcomes import VenueError, Verdict, describe
from mm_hybrid.execution.pacing import Pacing
from mm_hybrid.execution.reconcile import PositionDifference, Reconciler
from mm_hybrid.execution.recovery import Recovery
from mm_hybrid.execution.resolve import Resolver
from mm_hybrid.execution.sender import Sender
from mm_hybrid.execution.streams import PrivateStreams, StreamHandlers
from mm_hybrid.execution.sweep import Sweep
from mm_hybrid.execution.times import ExecutorTimes
from mm_hybrid.journal import Intent, Journal
from mm_hybrid.types import Approved, Fill, Instrument, Position, Quote, Quotes

__all__ = ["Counters", "Executor", "ExecutorTimes"]

NS_PER_S = 1_000_000_000

_log = logging.getLogger(__name__)


class Executor:
    """Executes approved quotes at one gateway.

    Args:
        gateway: the open gateway; closing it stays the caller's.
        journal: creates and amends are on disk there before they are sent, cancels unless the disk is slow; its
            session must have been recorded.
        clock: time of ages and stamps.
        instrument: what is traded.
        config: where the tolerance of quotes and the periods come from; without one every change is sent.
        tag: first part of every client id, ``tag-epoch-sequence``; letters and digits, at most 12.
        times: periods, if not the configuration's.
        alert: told, in lines for people, what needs their eyes: foreign orders, differences, a halt.
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
        alert: Callable[[str], None] = lambda _line: None,
    ) -> None:
        if not tag.isalnum() or len(tag) > 12:
            raise ValueError(f"tag {tag!r}: letters and digits, at most 12")
        execution = ExecutionConfig() if config is None else config.execution
        self.instrument = instrument
        self._gateway = gateway
        self._journal = journal
        self._clock = clock
        self._alert = alert
        self._times = times or ExecutorTimes.of(execution)
        self._tolerance = Decimal(repr(config.quoting.tolerance)) if config is not None else Decimal(0)
        self._adopt_position = execution.adopt_position
        self._tag = tag
        self._price_tolerance = Decimal(0)
        self._id_prefix = ""
        self._sequence = 0
        self._targets: Quotes = ()
        self._approved_at_base = Decimal(0)
        self._seen_foreign: set[str] = set()
        self._unvalued_fees: set[str] = set()
        self._wake = asyncio.Event()
        self._requests: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._stopping = False
        self._halted: str | None = None
        self._next_reconcile_ns = 0
        self._account = account = Account(
            journal,
            clock,
            changed=self._wake.set,
            stranger=self._take_stranger,
            foreign=self._note_foreign_trade,
            ours=self.is_ours,
            broken=lambda error: self._halt(f"taking a fill in failed: {type(error).__name__}: {error}"),
            crossed=lambda side: self._sender.pause(side, self._times.crossed_pause_s),
        )
        self._breakers = Breakers(clock, self._note_breaker)
        gateway.on_outcome = self._note_outcome
        self._sender = Sender(
            gateway, account, self._breakers, clock,
            halt=self._halt, no_funds_pause_s=self._times.no_funds_pause_s,
        )  # fmt: skip
        self._pacing = Pacing(gateway, self._sender, clock, off_target_s=self._times.off_target_s)
        self._resolver = Resolver(
            gateway,
            account.orders,
            clock,
            self._times.resolve,
            on_order=lambda seen: account.take_order(seen, source="lookup"),
            on_fill=self._take_fill,
            on_absent=self._declare_absent,
            may_have_traded=account.may_have_traded,
            since_ms=lambda: self._reconciler.watermark_ms,
        )
        self._sweep = Sweep(
            gateway, account, self._resolver, journal,
            tag=tag, stop_s=self._times.stop_s, foreign=self._note_foreign,
        )  # fmt: skip
        self._reconciler = Reconciler(
            gateway, account, journal, clock, self._times.reconcile,
            on_fill=self._take_fill, look_up=self._look_up, owners=self._owners, symbol=instrument.symbol,
        )  # fmt: skip
        handlers = StreamHandlers(
            order=lambda seen: account.take_order(seen, source="stream"),
            fill=self._take_fill,
            reconcile=self._reconcile,
            changed=self._note_streams,
        )
        self._streams = PrivateStreams(gateway, handlers, clock, silence_s=self._times.silence_s)

    @property
    def on_fill(self) -> OnFill | None:
        """Called with each new execution; returns the mid known at that moment, for the journal."""
        return self._account.on_fill

    @on_fill.setter
    def on_fill(self, callback: OnFill | None) -> None:
        self._account.on_fill = callback

    @property
    def on_funding(self) -> OnFunding | None:
        """Called with each new funding payment."""
        return self._account.on_funding

    @on_funding.setter
    def on_funding(self, callback: OnFunding | None) -> None:
        self._account.on_funding = callback

    @property
    def counters(self) -> Counters:
        """What has happened to own orders so far."""
        return self._account.counters

    @property
    def position(self) -> Position:
        """What the journal and every execution since lead to; at a start it was the venue's."""
        return self._account.position

    @property
    def live_orders(self) -> tuple[LiveOrder, ...]:
        """Everything that may still change the position, unknown outcomes included."""
        return self._account.orders.exposed()

    @property
    def unknown_orders(self) -> int:
        """Orders whose outcome is unknown now."""
        return sum(record.unconfirmed for record in self._account.orders.live())

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
        """Whether new orders may be sent: streams up, venue answering and not refusing us, journal writing."""
        return (
            self._streams.healthy
            and not self._stopping
            and self._halted is None
            and self._journal.failure is None
            and self._breakers.closed
            and not self._gateway.lanes.banned
        )

    @property
    def metrics(self) -> dict[str, Any]:
        """Figures for people and dashboards: breakers, unknown outcomes, waits of cancels in our own queue."""
        waits_ms = sorted(1000 * wait_s for wait_s in self._gateway.lanes.cancel_waits_s)
        p99_ms = waits_ms[min(len(waits_ms) - 1, len(waits_ms) * 99 // 100)] if waits_ms else 0.0
        return {
            "breakers": self._breakers.states,
            "reconnects": self.reconnects,
            "unknown_orders": self.unknown_orders,
            "unknown_total": self.counters.unknown,
            "orphans_canceled": self.counters.orphans_canceled,
            "exposed_orders": len(self.live_orders),
            "foreign_orders": len(self._seen_foreign),
            "post_only_crossed": self.counters.post_only_crossed,
            "cancel_wait_ms_p99": round(p99_ms, 3),
            "halted": self._halted,
        }

    async def start(self, *, ready: Callable[[], Awaitable[object]] | None = None) -> None:
        """Settle what an earlier start left, agree with the venue on the position, and begin to execute.

        Args:
            ready: the last check, made when nothing of ours rests any more; what it raises ends the start.

        Raises:
            GatewayError: the venue cannot be used, or orders of ours could not be cancelled.
            RiskStopError: the venue's position is not what the journal and its executions lead to.
            JournalError: the journal cannot be read or written, or no session was recorded in it.
        """
        epoch = self._journal.boot_epoch
        if epoch == 0:
            raise JournalError(f"{self._journal.path}: no session recorded, so client ids could repeat")
        self._id_prefix = f"{self._tag}-{_base36(epoch)}-"
        recovery = Recovery(
            self._account,
            self._journal,
            self._clock,
            resolver=self._resolver,
            reconciler=self._reconciler,
            sweep=self._sweep,
            alert=self._alert,
            adopt_position=self._adopt_position,
        )
        await recovery.run()
        if ready is not None:
            await ready()
        await self._streams.start()
        if self._halted is not None:
            await self._streams.close()
            raise RiskStopError(self._halted)
        self._loops = [
            asyncio.create_task(self._work(), name="mm-execute"),
            asyncio.create_task(self._tend(), name="mm-tend"),
        ]

    def is_ours(self, client_id: str) -> bool:
        """Return whether a client id is of this strategy, of whatever start."""
        return self._sweep.is_ours(client_id)

    def submit(self, approved: Approved) -> None:
        """Set the wanted quotes; the newest wins. Returns at once.

        They were approved for the position of this moment: what fills later counts against them.
        """
        self._targets = approved.quotes
        self._approved_at_base = self._account.position.qty_base
        self._wake.set()

    def pull(self, reason: str) -> None:
        """Want nothing to rest: every live order is cancelled. Returns at once."""
        if self._targets:
            self._note("quotes", "pulled", reason)
        self._targets = ()
        self._wake.set()

    async def stop(self, reason: str) -> int:
        """Cancel everything, ask the venue until none of ours is open, and return how many still are.

        Takes a little more than twice ``stop_s`` at most, whatever the venue does: what is known to rest is cancelled
        before anything is asked.

        Raises:
            GatewayError: the venue could not be asked in time.
        """
        self._stopping = True
        self._targets = ()
        self._note("executor", "stopping", reason)
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self._drain()
        try:
            await self._sweep.cancel_known(reason)
            _, left = await self._sweep.run(reason)
            async with asyncio.timeout(self._times.stop_s):
                await self._settle_last()
        except TimeoutError:
            self._note("executor", "unsettled", "the last orders could not be looked up in time")
        finally:
            await self._streams.close()
        self._note("executor", "stopped", f"{left} open")
        return left

    async def _drain(self) -> None:
        """Let requests under way end, or end them: one that is cut off leaves its order unknown."""
        if not self._requests:
            return
        _, under_way = await asyncio.wait(self._requests, timeout=self._times.drain_s)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    # Wanted quotes become requests.

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                self._converge()
            except Exception as error:  # A loop that ends unseen would leave orders unattended.
                self._halt(f"execution failed: {type(error).__name__}: {error}")
                _log.exception("execution failed")

    def _converge(self) -> None:
        targets = self._targets if self.healthy else ()
        orders = self._account.orders
        plan = difference(
            targets,
            [*orders.live(), *orders.unaccounted()],
            can_amend=self._gateway.can_amend,
            tolerance=Tolerance(price=self._tolerated(targets)),
            moved_base=self._account.position.qty_base - self._approved_at_base,
        )
        batch = self._pacing.fit(plan)
        if not (plan.cancel or plan.amend or plan.create):
            return
        created = self._mark(plan)
        if plan.cancel:
            self._spawn(self._cancel(plan.cancel))
        if plan.amend or created:
            self._spawn(self._place(plan.amend, created, batch=batch))

    async def _cancel(self, records: list[OrderRecord]) -> None:
        """Cancel orders; the disk may delay that for a moment, but neither its slowness nor its failure prevents it."""
        intents = [Intent(action="cancel", client_id=r.client_id, side=r.side) for r in records]
        seqs = await note_cancels(self._journal, intents, failed=self._journal_failed)
        await self._sender.cancel(records, seqs)

    async def _place(self, amends: list[Amend], created: list[OrderRecord], *, batch: bool) -> None:
        """Send amends and creates once their intents are on disk, and not at all if they cannot be written."""
        try:
            seqs = await self._journal.intents(_intents(amends, created))
        except JournalError as error:
            for amend in amends:
                self._leave(amend)
            for record in created:
                self._account.move(record, OrderState.NOT_PLACED)
            self._journal_failed(error)
            return
        for amend, seq in zip(amends, seqs, strict=False):
            order = amend.order  # Meanwhile it may have ended, have to go, or be amended to something newer.
            asked = order.state, order.amend_price, order.amend_qty
            if asked == (OrderState.PENDING_AMEND, amend.price, amend.qty):
                self._spawn(self._sender.amend(amend, seq))
        for record, seq in zip(created, seqs[len(amends) :], strict=True):
            record.intent_seq = seq
        self._send(created, batch=batch)

    def _leave(self, amend: Amend) -> None:
        """Take an amend back that has not been sent."""
        amend.order.amend_price = amend.order.amend_qty = None
        if amend.order.state is OrderState.PENDING_AMEND:
            self._account.move(amend.order, OrderState.OPEN)

    def _journal_failed(self, error: JournalError) -> None:
        self._halt(str(error))

    def _send(self, created: list[OrderRecord], *, batch: bool) -> None:
        """Send orders whose intents are on disk, unless they are not wanted any more."""
        sides = {quote.side for quote in self._targets} if self.healthy else set()
        for record in created:
            if record.side not in sides:
                self._account.end(record, OrderState.NOT_PLACED, "no longer wanted", source="local")
        created = [record for record in created if record.live]
        groups = [created] if batch and created else [[record] for record in created]
        for group in groups:
            self._spawn(self._sender.create(group))

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
        return OrderRecord(
            client_id=self._next_client_id(),
            side=quote.side,
            price=Decimal(quote.price),
            qty=Decimal(quote.qty or 0),
            since_ns=self._clock.monotonic_ns(),
        )

    def _next_client_id(self) -> str:
        """Return an id never used before, here or by an order found at the venue."""
        while True:
            self._sequence += 1
            client_id = self._id_prefix + _base36(self._sequence)
            if self._account.orders.find(client_id=client_id, order_id="") is None:
                return client_id

    # What is open at the venue is tended.

    async def _tend(self) -> None:
        self._next_reconcile_ns = self._clock.monotonic_ns() + round(self._times.reconcile_s * NS_PER_S)
        while True:
            await asyncio.sleep(self._times.tend_s)
            try:
                await self._tend_once(self._clock.monotonic_ns())
            except GatewayError as error:
                self._note("reconcile", "failed", str(error))
            except Exception as error:
                self._halt(f"tending orders failed: {type(error).__name__}: {error}")
                _log.exception("tending orders failed")
            self._wake.set()

    async def _tend_once(self, now_ns: int) -> None:
        for record in self._resolver.due():
            record.next_lookup_ns = now_ns + NS_PER_S
            self._spawn(self._look_up(record))
        await self._resolver.owners(self._account, now_ns - round(self._times.unmatched_s * NS_PER_S))
        for permit in self._breakers.waiting_for_probe():
            await self._probe(permit)
        if now_ns >= self._next_reconcile_ns and self._streams.healthy:
            self._next_reconcile_ns = now_ns + round(self._times.reconcile_s * NS_PER_S)
            await self._reconcile()

    async def _look_up(self, record: OrderRecord) -> None:
        try:
            await self._resolver.lookup(record)
        except GatewayError as error:
            self._note("lookup", "failed", f"{record.client_id}: {error}")

    async def _probe(self, permit: Permit) -> None:
        """Ask a harmless question to find out whether the venue answers again."""
        try:
            await self._gateway.open_orders()
        except VenueError as error:
            judge(permit, error)
        else:
            permit.success()
        finally:
            permit.abandon()  # Whatever else happened, the next probe must be possible.

    def _note_outcome(self, lane: Lane, error: VenueError | None) -> None:
        """Tell the breakers how a cancel or a read went; a key that is refused stops trading, whoever notices."""
        self._breakers.watch(lane, error)
        if error is not None and error.verdict is Verdict.AUTH:
            self._halt(describe(error.failure, None))

    async def _reconcile(self) -> None:
        """Compare with the venue; a position that nothing explains stops trading for good."""
        found = await self._reconciler.run()
        if found is not None:
            self._differ(found)

    def _differ(self, found: PositionDifference) -> None:
        for line in found.lines():
            self._alert(line)
        self._halt(str(found))

    def _declare_absent(self, record: OrderRecord) -> None:
        message = "not found anywhere within the window"
        self._account.end(record, OrderState.NOT_PLACED, message, source="lookup")

    def _take_fill(self, fill: Fill) -> None:
        if not (self._gateway.fees.knows(fill.fee_currency) or fill.fee_currency in self._unvalued_fees):
            self._unvalued_fees.add(fill.fee_currency)
            self._note("fees", fill.fee_currency, "no price known: fees in it count as 0 in quote currency")
            self._alert(
                f"fees are paid in {fill.fee_currency}, whose price is not known here: they count as 0"
            )
        self._account.take_fill(fill)

    def _note_foreign_trade(self, fill: Fill) -> None:
        """Tell of a trade somebody else made on this account: it is in the position, and none of our orders' doing."""
        what = f"{fill.side} {fill.qty} at {fill.price}"
        self._note("foreign_trade", fill.exec_id, f"{what}, client id {fill.client_id or 'none'}")
        self._alert(f"a trade on this account is not of our orders ({what}): it is in the position now")

    def _take_stranger(self, seen: VenueOrder) -> None:
        """Take in an open order of ours that this start knows nothing of; leave other people's alone.

        Once known it is an order like the others: kept where it is wanted, cancelled where it is not.
        """
        if self._stopping:
            return
        if not self._sweep.is_ours(seen.client_id):
            self._note_foreign(seen)
            return
        self.counters.orphans_canceled += 1
        self._note("orphan", seen.client_id, f"{seen.side} {seen.qty} at {seen.price}")
        self._account.adopt(seen)

    def _note_foreign(self, seen: VenueOrder) -> None:
        """Report an order of somebody else on this account, once; it is left alone."""
        if seen.order_id in self._seen_foreign:
            return
        self._seen_foreign.add(seen.order_id)
        what = f"{seen.side} {seen.qty} at {seen.price}"
        self._note("foreign_order", seen.order_id, f"{what}, client id {seen.client_id or 'none'}")
        self._alert(f"order {seen.order_id} on this account is not ours ({what}): left alone")

    async def _owners(self, *, last: bool = False) -> None:
        await self._resolver.owners(self._account, self._clock.monotonic_ns() + 1, last=last)

    async def _settle_last(self) -> None:
        """Learn how every order of the session ended and take in its last executions."""
        await self._reconciler.fetch(last=True)
        for record in list(self._account.orders.live()):
            if record.state is OrderState.INTENT:
                self._account.end(record, OrderState.NOT_PLACED, "stopped before it was sent", source="local")
            else:
                await self._look_up(record)
        for record in self._resolver.given_up:
            await self._look_up(record)
        await self._owners(last=True)

    def _halt(self, reason: str) -> None:
        if self._halted is None:
            self._halted = reason
            self._targets = ()
            self._note("executor", "halted", reason)
            self._alert(f"execution stops: {reason}")
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
            error = None if task.cancelled() else task.exception()
            if error is not None:
                self._halt(f"a request failed: {type(error).__name__}: {error}")
                _log.error("a request failed", exc_info=error)

        task = asyncio.create_task(coroutine)
        self._requests.add(task)
        task.add_done_callback(done)


def _intents(amends: list[Amend], created: list[OrderRecord]) -> list[Intent]:
    intents = [
        Intent(action="amend", client_id=a.order.client_id, side=a.order.side, price=a.price, qty=a.qty)
        for a in amends
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
