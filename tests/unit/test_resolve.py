"""When an order that the venue does not show is given up: not before its answers have been without it long enough."""

import asyncio
from decimal import Decimal

import pytest

from mm_hybrid.clock import ManualClock
from mm_hybrid.execution.orders import OrderRecord, Orders, OrderState, VenueOrder
from mm_hybrid.execution.resolve import CONFIRMED_PATIENCE, LEAST_MISSES, ResolveConfig, Resolver
from mm_hybrid.types import Fill

D = Decimal
S = 1_000_000_000
WINDOW_S = 10


class Forgetful:
    """A venue whose queries know nothing but what a test puts there."""

    def __init__(self) -> None:
        self.by_id: VenueOrder | None = None
        self.listed: list[VenueOrder] = []

    async def order(self, client_id: str) -> VenueOrder | None:
        return self.by_id

    async def order_of(self, order_id: str) -> VenueOrder | None:
        return None

    async def open_orders(self) -> list[VenueOrder]:
        return self.listed

    async def executions(self, since_ms: int) -> list[Fill]:
        return []


class Desk:
    """One order and its resolver, on a clock moved by hand."""

    def __init__(self, state: OrderState, *, age_s: int = 0) -> None:
        self.clock = ManualClock(1_000 * S)
        self.venue = Forgetful()
        self.orders = Orders()
        self.record = OrderRecord(
            client_id="mm-1-1", side="buy", price=D(100), qty=D(1), state=state,
            since_ns=self.clock.monotonic_ns() - age_s * S,
        )  # fmt: skip
        self.orders.add(self.record)
        self.has_ownerless_trade = False
        self.resolver = Resolver(
            self.venue,
            self.orders,
            self.clock,
            ResolveConfig(window_s=WINDOW_S),
            on_order=self._take,
            on_fill=lambda _fill: None,
            on_absent=self._give_up,
            may_have_traded=lambda _record: self.has_ownerless_trade,
            since_ms=lambda: 0,
        )

    def confirm(self) -> VenueOrder:
        seen = VenueOrder(
            client_id="mm-1-1", order_id="77", side="buy", price=D(100), qty=D(1), filled=D(0), status="open"
        )
        self._take(seen)
        return seen

    def _take(self, seen: VenueOrder) -> None:
        self.orders.apply_venue(seen, self.clock.monotonic_ns())

    def _give_up(self, record: OrderRecord) -> None:
        self.orders.move(record, OrderState.NOT_PLACED, self.clock.monotonic_ns())

    def ask(self, times: int = 1, *, every_s: float = 0) -> OrderState:
        for _ in range(times):
            self.clock.advance(round(every_s * S))
            asyncio.run(self.resolver.lookup(self.record))
        return self.record.state

    @property
    def exposure(self) -> list[Decimal]:
        return [order.remaining for order in self.orders.exposed()]


def test_an_order_that_rests_for_a_minute_is_not_given_up_for_one_empty_answer():
    desk = Desk(OrderState.ACKED)
    desk.confirm()
    desk.clock.advance(60 * S)
    assert desk.ask() is OrderState.OPEN
    assert desk.exposure == [1], "undecided is live and fillable"
    assert desk.record.unconfirmed, "and said to be unknown"


@pytest.mark.parametrize("age_s", [0, 3_600])
def test_the_window_counts_from_the_first_answer_without_the_order_whatever_its_age(age_s):
    """A start finds orders that are hours old: the venue's first answer is no more certain for it."""
    desk = Desk(OrderState.PENDING_UNKNOWN, age_s=age_s)
    assert desk.ask() is OrderState.PENDING_UNKNOWN
    assert desk.ask(4, every_s=2.4) is OrderState.PENDING_UNKNOWN
    assert desk.exposure == [1]
    assert desk.ask(1, every_s=0.5) is OrderState.NOT_PLACED
    assert desk.exposure == []


def test_a_long_wait_is_no_evidence_without_several_answers():
    desk = Desk(OrderState.PENDING_UNKNOWN)
    assert desk.ask(LEAST_MISSES - 1, every_s=10 * WINDOW_S) is OrderState.PENDING_UNKNOWN
    assert desk.ask() is OrderState.NOT_PLACED


def test_an_order_that_may_own_an_execution_nobody_owns_takes_as_much_as_one_the_venue_has_confirmed():
    desk = Desk(OrderState.PENDING_UNKNOWN)
    desk.has_ownerless_trade = True
    asked = 1 + CONFIRMED_PATIENCE * LEAST_MISSES
    assert desk.ask(asked, every_s=WINDOW_S / 5) is OrderState.PENDING_UNKNOWN
    assert desk.exposure == [1]
    assert desk.ask(1, every_s=CONFIRMED_PATIENCE * WINDOW_S) is OrderState.NOT_PLACED


def test_an_order_the_venue_has_confirmed_takes_more_answers_over_a_longer_time():
    desk = Desk(OrderState.ACKED)
    desk.confirm()
    asked = 1 + CONFIRMED_PATIENCE * LEAST_MISSES
    assert desk.ask(asked, every_s=WINDOW_S / 5) is OrderState.OPEN, "often enough, not long enough"
    assert desk.ask(1, every_s=CONFIRMED_PATIENCE * WINDOW_S) is OrderState.NOT_PLACED


def test_an_order_that_the_list_of_open_orders_has_is_found_whatever_the_query_by_its_id_says():
    desk = Desk(OrderState.ACKED)
    desk.venue.listed = [desk.confirm()]
    assert desk.ask(100, every_s=WINDOW_S) is OrderState.OPEN
    assert desk.record.missing == 0


def test_one_answer_with_the_order_begins_the_count_anew():
    desk = Desk(OrderState.ACKED)
    seen = desk.confirm()
    desk.ask(20, every_s=1.4)
    desk.venue.by_id = seen
    desk.ask()
    desk.venue.by_id = None
    assert desk.ask(20, every_s=1.4) is OrderState.OPEN


def test_an_order_with_answers_missing_is_asked_for_again_although_it_counts_as_open():
    desk = Desk(OrderState.ACKED)
    desk.confirm()
    desk.clock.advance(60 * S)
    assert desk.resolver.due() == []
    desk.ask()
    desk.clock.advance(S)
    assert desk.resolver.due() == [desk.record]
