"""The fewest requests from live orders to wanted quotes, never with more resting than allowed."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_hybrid.execution.difference import Tolerance, difference
from mm_hybrid.execution.orders import OrderRecord, OrderState
from mm_hybrid.types import Quote

D = Decimal
NEAR = Tolerance(price=D(1))
BUSY = [
    OrderState.SENT,
    OrderState.ACKED,
    OrderState.PENDING_CANCEL,
    OrderState.PENDING_AMEND,
    OrderState.PENDING_UNKNOWN,
]


def order(
    price: int, qty: int = 10, *, side: str = "buy", state: OrderState = OrderState.OPEN, filled: int = 0
):
    return OrderRecord(
        client_id=f"{side}{price}",
        side=side,
        price=D(price),
        qty=D(qty),
        since_ns=0,
        state=state,
        filled=D(filled),
    )


def quote(price: int, qty: int = 10, side: str = "buy") -> Quote:
    return Quote(side, D(price), D(qty))


def test_an_order_within_tolerance_is_kept():
    live = order(100)
    plan = difference([quote(101)], [live], can_amend=True, tolerance=NEAR)
    assert (plan.keep, plan.amend, plan.cancel, plan.create) == ([live], [], [], [])


def test_a_moved_quote_is_one_amend_where_the_venue_can():
    live = order(100, filled=4)
    plan = difference([quote(95)], [live], can_amend=True, tolerance=NEAR)
    (amend,) = plan.amend
    assert (amend.order, amend.price, amend.qty) == (live, 95, 14), "the quantity includes what has filled"
    assert not plan.cancel
    assert not plan.create


def test_without_amend_the_new_order_waits_for_the_cancel():
    live = order(100)
    first = difference([quote(95)], [live], can_amend=False, tolerance=NEAR)
    assert (first.cancel, first.create) == ([live], [])
    live.state = OrderState.PENDING_CANCEL
    assert difference([quote(95)], [live], can_amend=False, tolerance=NEAR).create == []
    assert difference([quote(95)], [], can_amend=False, tolerance=NEAR).create == [quote(95)]


@pytest.mark.parametrize("state", BUSY)
def test_an_order_with_a_request_under_way_blocks_its_side_and_is_left_alone(state):
    plan = difference([quote(95)], [order(100, state=state)], can_amend=True, tolerance=NEAR)
    assert (plan.keep, plan.amend, plan.cancel, plan.create) == ([], [], [], [])


def test_the_other_side_does_not_wait():
    plan = difference([quote(95), quote(105, side="sell")], [order(100)], can_amend=False, tolerance=NEAR)
    assert plan.create == [quote(105, side="sell")]


def test_nothing_wanted_cancels_everything():
    live = [order(100), order(110, side="sell")]
    assert difference([], live, can_amend=True, tolerance=NEAR).cancel == live


def test_levels_are_kept_one_to_one():
    live = [order(100), order(90)]
    plan = difference([quote(90), quote(80)], live, can_amend=False, tolerance=Tolerance())
    assert (plan.keep, plan.cancel, plan.create) == ([live[1]], [live[0]], [])


def test_a_small_partial_fill_does_not_cost_the_place_in_the_queue():
    assert difference([quote(100)], [order(100, filled=4)], can_amend=True, tolerance=NEAR).keep
    assert difference([quote(100)], [order(100, filled=6)], can_amend=True, tolerance=NEAR).amend


SIDES = st.sampled_from(["buy", "sell"])
QUOTES = st.lists(st.builds(quote, st.integers(90, 110), st.integers(1, 20), SIDES), max_size=4)
LIVE = st.lists(
    st.builds(
        lambda price, qty, side, state: order(price, qty, side=side, state=state),
        st.integers(90, 110),
        st.integers(1, 20),
        SIDES,
        st.sampled_from([OrderState.OPEN, *BUSY]),
    ),
    max_size=4,
)


@given(QUOTES, LIVE, st.booleans())
def test_a_side_never_rests_more_than_what_is_live_or_what_is_wanted(targets, live, can_amend):
    plan = difference(targets, live, can_amend=can_amend, tolerance=NEAR)
    amended = {
        id(amend.order): max(amend.order.remaining, amend.qty - amend.order.filled) for amend in plan.amend
    }
    for side in ("buy", "sell"):
        resting = sum((o.remaining for o in live if o.side == side), D(0))
        wanted = sum((q.qty for q in targets if q.side == side), D(0))
        worst = sum((amended.get(id(o), o.remaining) for o in live if o.side == side), D(0))
        worst += sum((q.qty for q in plan.create if q.side == side), D(0))
        assert worst <= max(resting, wanted)


@given(QUOTES, LIVE, st.booleans())
def test_each_open_order_gets_exactly_one_fate_and_busy_ones_none_where_something_is_wanted(
    targets, live, can_amend
):
    plan = difference(targets, live, can_amend=can_amend, tolerance=NEAR)
    touched = [id(o) for o in [*plan.keep, *plan.cancel, *(a.order for a in plan.amend)]]
    wanted = {q.side for q in targets}
    unsure = {OrderState.ACKED, OrderState.PENDING_AMEND, OrderState.PENDING_UNKNOWN}
    expected = [
        id(o) for o in live if o.state is OrderState.OPEN or (o.side not in wanted and o.state in unsure)
    ]
    assert sorted(touched) == sorted(expected)
    assert len(plan.keep) + len(plan.amend) + len(plan.create) <= len(targets)


def test_what_filled_since_the_approval_counts_against_it():
    """The approval was for a position of 8 with 2 more at most; 2 have filled, so nothing more may follow."""
    plan = difference([quote(100, 2)], [], can_amend=True, tolerance=NEAR, moved_base=D(2))
    assert plan.create == []
    other_side = difference([quote(110, 2, "sell")], [], can_amend=True, tolerance=NEAR, moved_base=D(2))
    assert other_side.create == [quote(110, 2, "sell")]


def test_an_ended_order_whose_executions_are_missing_counts_as_resting():
    owed = order(100, 2, state=OrderState.FILLED)
    owed.venue_filled = D(2)
    plan = difference([quote(100, 2)], [owed], can_amend=True, tolerance=NEAR)
    assert plan.create == []


@given(
    wanted=st.lists(st.integers(1, 9), max_size=4),
    resting=st.lists(st.tuples(st.integers(1, 9), st.sampled_from([OrderState.OPEN, *BUSY])), max_size=4),
    filled=st.integers(0, 20),
    can_amend=st.booleans(),
)
def test_position_and_everything_resting_stay_within_what_was_approved(wanted, resting, filled, can_amend):
    targets = [quote(100 - i, qty) for i, qty in enumerate(wanted)]
    live = [order(50 + i, qty, state=state) for i, (qty, state) in enumerate(resting)]
    plan = difference(targets, live, can_amend=can_amend, tolerance=Tolerance(), moved_base=D(filled))
    before = sum((record.remaining for record in live), D(0))
    grown = sum((max(D(0), a.qty - a.order.filled - a.order.remaining) for a in plan.amend), D(0))
    after = before + grown + sum((D(q.qty) for q in plan.create), D(0))
    assert after <= max(before, sum(wanted) - filled)
