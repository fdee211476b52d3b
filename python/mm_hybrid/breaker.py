"""A circuit breaker: stop asking a service that mostly fails, then let one question find out if it is back.

The failure *rate* over a sliding window decides, so one lucky success does not hide an outage; where calls are
rare, a run of failures may decide too. Time is the injected clock's monotonic one. While open nothing is admitted;
after ``open_for_s`` a single caller is admitted as the probe and everyone else is still turned away until that probe
has answered.

Example:
    >>> from mm_hybrid.clock import ManualClock
    >>> breaker = Breaker("orders", clock=ManualClock(), min_calls=1, failure_rate=1.0)
    >>> with breaker.admit() as permit:
    ...     permit.failure("timeout")
    >>> breaker.state
    <BreakerState.OPEN: 'open'>
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import NamedTuple, Self

from mm_hybrid._core import MmHybridError
from mm_hybrid.clock import Clock

NS_PER_S = 1_000_000_000


class BreakerState(StrEnum):
    """Whether calls are admitted."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerOpenError(MmHybridError):
    """A call was not made because the breaker is open or its probe is still under way."""


class BreakerChange(NamedTuple):
    """A change of state, as a listener gets it."""

    name: str
    before: BreakerState
    after: BreakerState
    reason: str


Listener = Callable[[BreakerChange], None]


class Permit:
    """Leave to make one call; tell it how the call went, once.

    As a context manager an exception counts as a failure, a normal end as a success. Cancellation and
    anything else that is no :class:`Exception` says nothing about the service: it is abandoned, which frees
    the probe unjudged.
    """

    __slots__ = ("_breaker", "_generation", "_told")

    def __init__(self, breaker: Breaker, generation: int) -> None:
        self._breaker = breaker
        self._generation = generation
        self._told = False

    def success(self) -> None:
        """Tell that the service answered; a refusal on business grounds is an answer."""
        self._tell(ok=True, reason="probe answered")

    def failure(self, reason: str) -> None:
        """Tell that the service did not answer properly."""
        self._tell(ok=False, reason=reason)

    def abandon(self) -> None:
        """Give the permit back without a judgement."""
        if not self._told:
            self._told = True
            self._breaker._release_probe(self._generation)  # noqa: SLF001 (one unit, two classes)

    def _tell(self, *, ok: bool, reason: str) -> None:
        if not self._told:
            self._told = True
            self._breaker._judge(self._generation, ok=ok, reason=reason)  # noqa: SLF001

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.success()
        elif isinstance(error, Exception):
            self.failure(f"{type(error).__name__}: {error}")
        else:
            self.abandon()


class Breaker:
    """Admits calls while the service answers; see the module for the rules.

    Args:
        name: what is guarded, for messages and listeners.
        clock: whose monotonic time is used.
        failure_rate: share of failures within the window that opens the breaker, in (0, 1].
        min_calls: judged calls the window must hold before the rate counts.
        window_s: length of the sliding window, seconds.
        window_calls: most calls the window holds; ``None`` for any number.
        failures_in_a_row: failures one after the other that open it whatever the rate; ``None`` for no such rule.
        open_for_s: seconds until the first probe after opening.
        max_open_for_s: cap of that wait; it doubles with each probe that fails.
        jitter: share by which each wait varies, so that many do not probe in step.
        rng: source of that; seeded by the system by default.
        listener: called after each change of state; its exceptions reach the caller.
    """

    def __init__(
        self,
        name: str,
        *,
        clock: Clock,
        failure_rate: float = 0.5,
        min_calls: int = 5,
        window_s: float = 30.0,
        window_calls: int | None = None,
        failures_in_a_row: int | None = None,
        open_for_s: float = 5.0,
        max_open_for_s: float = 60.0,
        jitter: float = 0.0,
        rng: random.Random | None = None,
        listener: Listener | None = None,
    ) -> None:
        if not 0 < failure_rate <= 1:
            raise ValueError(f"failure_rate must be in (0, 1], got {failure_rate}")
        if min_calls < 1 or window_s <= 0 or not 0 < open_for_s <= max_open_for_s:
            raise ValueError("min_calls >= 1, window_s > 0 and 0 < open_for_s <= max_open_for_s must hold")
        if not 0 <= jitter < 1:
            raise ValueError(f"jitter must be in [0, 1), got {jitter}")
        if (window_calls is not None and window_calls < min_calls) or (
            failures_in_a_row is not None and failures_in_a_row < 1
        ):
            raise ValueError("window_calls >= min_calls and failures_in_a_row >= 1 must hold")
        self.name = name
        self._clock = clock
        self._failure_rate = failure_rate
        self._min_calls = min_calls
        self._window_ns = round(window_s * NS_PER_S)
        self._open_for_ns = round(open_for_s * NS_PER_S)
        self._max_open_for_ns = round(max_open_for_s * NS_PER_S)
        self._listener = listener
        self._results: deque[tuple[int, bool]] = deque(maxlen=window_calls)
        self._failures_in_a_row = failures_in_a_row
        self._run = 0
        self._jitter = jitter
        self._rng = rng or random.Random()
        self._state = BreakerState.CLOSED
        # Counts changes of state: the result of a call admitted before a change says nothing about after it.
        self._generation = 0
        self._probe_ns = 0
        self._wait_ns = self._open_for_ns
        self._probing = False

    @property
    def state(self) -> BreakerState:
        """The state now; ``OPEN`` turns to ``HALF_OPEN`` by time alone."""
        if self._state is BreakerState.OPEN and self.seconds_until_probe == 0:
            return BreakerState.HALF_OPEN
        return self._state

    @property
    def seconds_until_probe(self) -> float:
        """Seconds until a probe is admitted; 0 when not open."""
        if self._state is not BreakerState.OPEN:
            return 0.0
        return max(0, self._probe_ns - self._clock.monotonic_ns()) / NS_PER_S

    def admit(self) -> Permit:
        """Return a permit for one call.

        Raises:
            BreakerOpenError: the breaker is open, or half open with its probe under way.
        """
        if self._state is BreakerState.OPEN:
            wait_s = self.seconds_until_probe
            if wait_s > 0:
                raise BreakerOpenError(f"{self.name}: breaker open, next probe in {wait_s:.1f} s")
            self._change(BreakerState.HALF_OPEN, "waited long enough")
        if self._state is BreakerState.HALF_OPEN:
            if self._probing:
                raise BreakerOpenError(f"{self.name}: breaker half open, its probe is under way")
            self._probing = True
        return Permit(self, self._generation)

    def _judge(self, generation: int, *, ok: bool, reason: str) -> None:
        if generation != self._generation:
            return
        now_ns = self._clock.monotonic_ns()
        if self._state is BreakerState.HALF_OPEN:
            self._probing = False
            if ok:
                self._wait_ns = self._open_for_ns
                self._change(BreakerState.CLOSED, reason)
            else:
                self._wait_ns = min(2 * self._wait_ns, self._max_open_for_ns)
                self._open(now_ns, reason)
            return
        self._results.append((now_ns, ok))
        while self._results[0][0] <= now_ns - self._window_ns:
            self._results.popleft()
        failures = sum(not was_ok for _, was_ok in self._results)
        self._run = 0 if ok else self._run + 1
        if self._failures_in_a_row is not None and self._run >= self._failures_in_a_row:
            self._open(now_ns, f"{self._run} calls failed in a row, last: {reason}")
        elif len(self._results) >= self._min_calls and failures >= self._failure_rate * len(self._results):
            self._open(now_ns, f"{failures} of {len(self._results)} calls failed, last: {reason}")

    def _release_probe(self, generation: int) -> None:
        if generation == self._generation:
            self._probing = False

    def _open(self, now_ns: int, reason: str) -> None:
        self._probe_ns = now_ns + round(self._wait_ns * (1 + self._rng.uniform(-self._jitter, self._jitter)))
        self._change(BreakerState.OPEN, reason)

    def _change(self, after: BreakerState, reason: str) -> None:
        before, self._state = self._state, after
        self._generation += 1
        self._probing = False
        self._results.clear()
        self._run = 0
        if self._listener is not None:
            self._listener(BreakerChange(self.name, before, after, reason))
