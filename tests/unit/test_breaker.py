"""What a circuit breaker admits, and when."""

import asyncio
import random

import pytest

from mm_hybrid.breaker import Breaker, BreakerChange, BreakerOpenError, BreakerState
from mm_hybrid.clock import ManualClock

SECOND = 1_000_000_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000 * SECOND)


def breaker(clock: ManualClock, **options: object) -> Breaker:
    settings: dict = {
        "failure_rate": 0.5,
        "min_calls": 4,
        "window_s": 10,
        "open_for_s": 5,
        "max_open_for_s": 20,
    }
    return Breaker("orders", clock=clock, **(settings | options))


def tell(subject: Breaker, results: str) -> None:
    for result in results:
        permit = subject.admit()
        permit.success() if result == "+" else permit.failure("boom")


def test_stays_closed_below_the_failure_rate(clock):
    subject = breaker(clock)
    tell(subject, "+++-++-")
    assert subject.state is BreakerState.CLOSED


def test_one_success_among_failures_does_not_keep_it_closed(clock):
    subject = breaker(clock)
    tell(subject, "-+--")
    assert subject.state is BreakerState.OPEN


def test_too_few_calls_are_no_evidence(clock):
    subject = breaker(clock)
    tell(subject, "---")
    assert subject.state is BreakerState.CLOSED


def test_failures_in_a_row_open_it_whatever_the_window_says(clock):
    subject = breaker(clock, min_calls=20, window_calls=20, failures_in_a_row=5)
    tell(subject, "+" * 15 + "----")
    assert subject.state is BreakerState.CLOSED
    tell(subject, "-")
    assert subject.state is BreakerState.OPEN


def test_half_of_the_last_calls_open_it_however_long_they_took(clock):
    subject = breaker(clock, min_calls=20, window_calls=20, window_s=86_400, failures_in_a_row=5)
    for result in "--+" * 10:
        if subject.state is not BreakerState.CLOSED:
            break
        tell(subject, result)
        clock.advance(120 * SECOND)
    assert subject.state is not BreakerState.CLOSED


def test_waits_vary_so_that_many_do_not_probe_in_step(clock):
    waits = set()
    for seed in range(20):
        subject = breaker(clock, jitter=0.1, rng=random.Random(seed))
        tell(subject, "----")
        waits.add(subject.seconds_until_probe)
    assert len(waits) == 20
    assert all(4.5 <= wait <= 5.5 for wait in waits)


def test_failures_leave_the_window_with_time(clock):
    subject = breaker(clock)
    tell(subject, "---")
    clock.advance(10 * SECOND)
    tell(subject, "+++-")
    assert subject.state is BreakerState.CLOSED


def test_open_admits_nothing_and_says_for_how_long(clock):
    subject = breaker(clock)
    tell(subject, "----")
    clock.advance(2 * SECOND)
    with pytest.raises(BreakerOpenError, match=r"orders: breaker open, next probe in 3\.0 s"):
        subject.admit()


def test_half_open_admits_exactly_one_probe(clock):
    subject = breaker(clock)
    tell(subject, "----")
    clock.advance(5 * SECOND)
    assert subject.state is BreakerState.HALF_OPEN
    probe = subject.admit()
    with pytest.raises(BreakerOpenError, match="probe is under way"):
        subject.admit()
    probe.success()
    assert subject.state is BreakerState.CLOSED
    tell(subject, "+++")


def test_a_failed_probe_doubles_the_wait_up_to_the_cap(clock):
    subject = breaker(clock)
    tell(subject, "----")
    waits = []
    for _ in range(4):
        waits.append(subject.seconds_until_probe)
        clock.advance(round(subject.seconds_until_probe * SECOND))
        tell(subject, "-")
    assert waits == [5, 10, 20, 20]


def test_a_result_from_before_opening_does_not_judge_the_probe(clock):
    subject = breaker(clock)
    slow = subject.admit()
    tell(subject, "----")
    clock.advance(5 * SECOND)
    probe = subject.admit()
    slow.failure("late")
    assert subject.state is BreakerState.HALF_OPEN
    probe.success()
    assert subject.state is BreakerState.CLOSED


def test_a_cancelled_call_judges_nothing_and_frees_the_probe(clock):
    subject = breaker(clock)
    tell(subject, "----")
    clock.advance(5 * SECOND)
    with pytest.raises(asyncio.CancelledError), subject.admit():
        raise asyncio.CancelledError
    tell(subject, "+")
    assert subject.state is BreakerState.CLOSED


def test_the_listener_hears_each_change_with_its_reason(clock):
    heard: list[BreakerChange] = []
    subject = breaker(clock, listener=heard.append)
    tell(subject, "----")
    clock.advance(5 * SECOND)
    tell(subject, "+")
    assert [(c.before, c.after) for c in heard] == [
        ("closed", "open"),
        ("open", "half_open"),
        ("half_open", "closed"),
    ]
    assert heard[0].reason == "4 of 4 calls failed, last: boom"


def test_impossible_settings_are_refused(clock):
    with pytest.raises(ValueError, match="failure_rate"):
        breaker(clock, failure_rate=0)
    with pytest.raises(ValueError, match="open_for_s"):
        breaker(clock, open_for_s=30)
