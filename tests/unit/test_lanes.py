"""Who may send next: cancels first, some tokens for them alone, and what the venue says counts."""

import asyncio

import pytest

from mm_hybrid.clock import ManualClock
from mm_hybrid.execution.lanes import Budget, Lane, LaneClosedError, Lanes

SECOND = 1_000_000_000
BUDGET = Budget(shared_per_s=10, cancel_per_s=10, read_per_s=10, create_per_s=4, reserved_for_cancels=3)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000 * SECOND)


def drain(lanes: Lanes, lane: Lane) -> int:
    count = 0
    while lanes.try_acquire(lane):
        count += 1
    return count


def test_a_lane_has_its_own_budget_within_the_shared_one(clock):
    assert drain(Lanes(clock, BUDGET), Lane.CREATE) == 4


def test_tokens_are_kept_for_cancels_alone(clock):
    lanes = Lanes(clock, BUDGET)
    assert drain(lanes, Lane.READ) == 7
    assert drain(lanes, Lane.CANCEL) == 3


def test_tokens_come_back_with_time(clock):
    lanes = Lanes(clock, BUDGET)
    drain(lanes, Lane.CREATE)
    clock.advance(SECOND // 2)
    assert drain(lanes, Lane.CREATE) == 2


async def test_a_cancel_overtakes_reads_and_creates_that_wait(clock):
    lanes = Lanes(clock, BUDGET)
    drain(lanes, Lane.CANCEL)
    served: list[Lane] = []

    async def want(lane: Lane) -> None:
        await lanes.acquire(lane)
        served.append(lane)

    tasks = [asyncio.create_task(want(lane)) for lane in (Lane.CREATE, Lane.READ, Lane.CANCEL)]
    await asyncio.sleep(0)
    clock.advance(SECOND)
    lanes.pump()
    await asyncio.gather(*tasks)
    assert served == [Lane.CANCEL, Lane.READ, Lane.CREATE]
    lanes.close()


async def test_whoever_waits_is_not_overtaken_by_an_equal(clock):
    lanes = Lanes(clock, BUDGET)
    drain(lanes, Lane.CREATE)
    waiting = asyncio.create_task(lanes.acquire(Lane.CREATE))
    await asyncio.sleep(0)
    clock.advance(SECOND // 4)
    assert not lanes.try_acquire(Lane.CREATE)
    lanes.pump()
    await waiting
    lanes.close()


async def test_a_waiter_that_gives_up_costs_nothing(clock):
    lanes = Lanes(clock, BUDGET)
    drain(lanes, Lane.CREATE)
    waiting = asyncio.create_task(lanes.acquire(Lane.CREATE))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    clock.advance(SECOND // 4)
    assert lanes.try_acquire(Lane.CREATE)
    lanes.close()


def test_what_the_venue_says_is_left_lowers_a_lane_and_no_other(clock):
    lanes = Lanes(clock, BUDGET)
    lanes.limit_seen(Lane.CREATE, per_s=None, remaining=1, reset_in_s=1)
    assert drain(lanes, Lane.CREATE) == 1
    lanes.limit_seen(Lane.CREATE, per_s=None, remaining=0, reset_in_s=2)
    clock.advance(SECOND)
    assert drain(lanes, Lane.CREATE) == 0
    assert lanes.try_acquire(Lane.CANCEL)
    clock.advance(SECOND)
    assert drain(lanes, Lane.CREATE) == 4


def test_the_venue_s_own_rate_replaces_the_assumed_one(clock):
    lanes = Lanes(clock, Budget(shared_per_s=500, create_per_s=4, cancel_per_s=4))
    lanes.limit_seen(Lane.CREATE, per_s=20, remaining=19, reset_in_s=1)
    clock.advance(SECOND)
    assert drain(lanes, Lane.CREATE) == 20
    lanes.limit_seen(Lane.READ, per_s=1, remaining=1, reset_in_s=1)
    clock.advance(SECOND)
    assert drain(lanes, Lane.READ) == 20, "many endpoints share the lane of reads"


def test_a_refused_cancel_is_tried_again_soon_whatever_the_venue_says(clock):
    lanes = Lanes(clock, BUDGET)
    lanes.limit_seen(Lane.CANCEL, per_s=10, remaining=0, reset_in_s=5)
    lanes.hold(Lane.CANCEL, 5)
    assert not lanes.try_acquire(Lane.CANCEL)
    clock.advance(SECOND * 25 // 100)
    assert lanes.try_acquire(Lane.CANCEL)


def test_a_ban_stops_everything_but_a_cancel_now_and_then(clock):
    lanes = Lanes(clock, BUDGET)
    lanes.ban(600)
    clock.advance(6 * SECOND)
    assert lanes.try_acquire(Lane.CANCEL)
    assert not lanes.try_acquire(Lane.READ)
    assert not lanes.try_acquire(Lane.CREATE)
    clock.advance(600 * SECOND)
    assert lanes.try_acquire(Lane.CREATE)


async def test_waits_of_cancels_are_measured(clock):
    lanes = Lanes(clock, BUDGET)
    await lanes.acquire(Lane.CANCEL)
    assert list(lanes.cancel_waits_s) == [0.0]


def test_a_batch_takes_as_many_tokens_as_it_has_orders_of_its_own_lane(clock):
    lanes = Lanes(clock, Budget(cancel_batch_per_s=10, cancel_per_s=3))
    assert lanes.try_acquire(Lane.CANCEL_BATCH, 8)
    assert not lanes.try_acquire(Lane.CANCEL_BATCH, 8)
    assert drain(lanes, Lane.CANCEL) == 3, "single cancels have a budget of their own"
    clock.advance(SECOND)
    assert lanes.try_acquire(Lane.CANCEL_BATCH, 25), "what is larger than a bucket needs a full one"


async def test_nothing_waits_through_a_ban(clock):
    lanes = Lanes(clock, BUDGET)
    lanes.ban(600)
    assert lanes.banned
    with pytest.raises(LaneClosedError, match="another 600 s"):
        await lanes.acquire(Lane.READ)
