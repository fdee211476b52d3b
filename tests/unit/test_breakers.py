"""One breaker for each class of endpoint: which of them stop requests, and how each closes again."""

from __future__ import annotations

import pytest

from mm_hybrid.breaker import BreakerChange, BreakerOpenError
from mm_hybrid.clock import ManualClock
from mm_hybrid.execution.breakers import CLASSES, Breakers, judge
from mm_hybrid.execution.lanes import Lane
from mm_hybrid.execution.outcomes import Failure, VenueError

DOWN = VenueError(Failure(venue="bybit", error="RequestTimeout", message="timeout"))
REFUSED = VenueError(Failure(venue="bybit", error="InvalidOrder", code="110003", message="price band"))
UNSENT = VenueError(Failure(venue="bybit", error="InvalidOrder", message="too small", sent=False))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(10**12)


@pytest.fixture
def changes() -> list[BreakerChange]:
    return []


@pytest.fixture
def breakers(clock, changes) -> Breakers:
    return Breakers(clock, changes.append)


@pytest.mark.parametrize("lane", [Lane.CREATE, Lane.AMEND])
def test_orders_of_a_failing_class_are_turned_away_and_the_other_class_is_not(breakers, lane):
    for _ in range(5):
        judge(breakers.admit(lane), DOWN)
    with pytest.raises(BreakerOpenError):
        breakers.admit(lane)
    breakers.admit(Lane.AMEND if lane is Lane.CREATE else Lane.CREATE)
    assert not breakers.closed


@pytest.mark.parametrize("lane", [Lane.CANCEL, Lane.READ])
def test_cancels_and_reads_are_watched_and_never_stopped(breakers, changes, lane):
    for _ in range(20):
        breakers.watch(lane, DOWN)
    assert not breakers.closed, "but a venue that does not answer them is no place to rest orders at"
    assert [change.name for change in changes] == [lane.name.lower()]


@pytest.mark.parametrize("lane", CLASSES)
def test_every_class_closes_again_after_one_probe_that_is_answered(breakers, clock, lane):
    for _ in range(5):
        breakers.watch(lane, DOWN)
    assert list(breakers.waiting_for_probe()) == []
    clock.advance(6 * 10**9)
    (permit,) = breakers.waiting_for_probe()
    assert list(breakers.waiting_for_probe()) == [], "a single probe"
    judge(permit, None)
    assert breakers.closed


def test_refusals_on_their_merits_and_what_never_left_say_nothing_against_the_venue(breakers):
    for error in (REFUSED, UNSENT) * 10:
        judge(breakers.admit(Lane.CREATE), error)
    assert breakers.closed
    assert set(breakers.states.values()) == {"closed"}
