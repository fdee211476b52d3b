"""Request budgets: cancels overtake everything, reads overtake orders, some tokens are only for cancels.

A client library's own throttle is one queue for all requests, in which a cancel waits behind every create.
Here each lane has its own bucket beside the shared one, and what the venue says in its headers sets a lane's
rate and lowers its bucket. A lane the venue has refused rests, but a cancel never for longer than
``CANCEL_HOLD_S``: an order that should be gone is worse than a request refused once more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Self

from mm_hybrid.clock import Clock
from mm_hybrid.errors import MmHybridError

NS_PER_S = 1_000_000_000

CANCEL_HOLD_S = 0.2
"""Longest rest of the cancel lane after a refusal for rate."""

CANCEL_BAN_HOLD_S = 5.0
"""The same while the venue refuses this address altogether: cancels only probe for the end of the ban."""

LONGEST_WAIT_S = 5.0
"""Longest rest of a lane that a request waits for; through a longer one it is turned away instead."""

_WAITS_KEPT = 10_000


class LaneClosedError(MmHybridError):
    """A request was not sent: its lane rests for longer than anything should wait."""


class Lane(IntEnum):
    """Kinds of requests, most urgent first."""

    CANCEL = 0
    CANCEL_BATCH = 1
    READ = 2
    AMEND = 3
    CREATE = 4
    CREATE_BATCH = 5


CANCELS = frozenset({Lane.CANCEL, Lane.CANCEL_BATCH})


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Requests per second, shared and per lane; a bucket holds one second's worth.

    The lanes of batches have endpoints of their own; on Bybit each order of a batch counts as one.

    ``reserved_for_cancels`` tokens of the shared bucket are never spent on anything else. Rates of cancels,
    amends and creates are those of the venues' base tier until a reply's headers tell the account's own.

    Source: Bybit v5 API documentation, Rate Limit Rules (600 requests in 5 s an address, 10/s an order endpoint);
    Bitget API documentation, Rate Limit (10/s an order endpoint, batches of creates 1/s).
    """

    shared_per_s: float = 100.0
    cancel_per_s: float = 10.0
    read_per_s: float = 20.0
    amend_per_s: float = 10.0
    create_per_s: float = 10.0
    cancel_batch_per_s: float = 10.0
    create_batch_per_s: float = 10.0
    reserved_for_cancels: float = 20.0

    @classmethod
    def of(cls, venue: str) -> Self:
        """Return a venue's base tier."""
        return cls() if venue == "bybit" else cls(create_batch_per_s=1.0)


@dataclass(slots=True)
class _Bucket:
    per_s: float
    tokens: float
    filled_ns: int
    blocked_until_ns: int = 0

    def refill(self, now_ns: int) -> None:
        gained = (now_ns - self.filled_ns) / NS_PER_S * self.per_s
        self.tokens = min(self.per_s, self.tokens + gained)
        self.filled_ns = now_ns

    def wait_s(self, need: float, now_ns: int) -> float:
        """Return seconds until ``need`` tokens are there; 0 means now."""
        blocked_s = max(0, self.blocked_until_ns - now_ns) / NS_PER_S
        return max(blocked_s, (need - self.tokens) / self.per_s, 0.0)


@dataclass(slots=True)
class _Queue:
    bucket: _Bucket
    waiters: deque[tuple[asyncio.Future[None], float]] = field(default_factory=deque)


class Lanes:
    """Hands out leave to send requests, in order of urgency.

    Example:
        ``await lanes.acquire(Lane.CANCEL)`` before a cancel; ``lanes.try_acquire(Lane.CREATE)`` where a
        request that cannot go now should not go at all.
    """

    def __init__(self, clock: Clock, budget: Budget | None = None) -> None:
        budget = budget or Budget()
        if budget.reserved_for_cancels >= budget.shared_per_s:
            raise ValueError("more tokens are reserved for cancels than there are")
        now_ns = clock.monotonic_ns()
        self._clock = clock
        self._reserved = budget.reserved_for_cancels
        self._shared = _Bucket(budget.shared_per_s, budget.shared_per_s, now_ns)
        rates = {
            Lane.CANCEL: budget.cancel_per_s,
            Lane.READ: budget.read_per_s,
            Lane.AMEND: budget.amend_per_s,
            Lane.CREATE: budget.create_per_s,
            Lane.CANCEL_BATCH: budget.cancel_batch_per_s,
            Lane.CREATE_BATCH: budget.create_batch_per_s,
        }
        self.cancel_waits_s: deque[float] = deque(maxlen=_WAITS_KEPT)
        self._queues = {lane: _Queue(_Bucket(rate, rate, now_ns)) for lane, rate in rates.items()}
        self._timer: asyncio.TimerHandle | None = None

    def try_acquire(self, lane: Lane, need: float = 1.0) -> bool:
        """Take tokens if they are free now and nobody more urgent or earlier waits; return whether.

        Args:
            lane: kind of request.
            need: tokens it takes of its lane; one request is one of the shared bucket in any case.
        """
        self._refill()
        if any(queue.waiters for other, queue in self._queues.items() if other <= lane):
            return False
        if self._wait_s(lane, need) > 0:
            return False
        self._take(lane, need)
        return True

    def rate(self, lane: Lane) -> float:
        """Return how many tokens a second a lane has, which is also the most it ever holds."""
        return self._queues[lane].bucket.per_s

    def rests_for_s(self, lane: Lane) -> float:
        """Return for how many seconds the venue has made a lane rest; 0 when it has not."""
        return max(0, self._queues[lane].bucket.blocked_until_ns - self._clock.monotonic_ns()) / NS_PER_S

    @property
    def banned(self) -> bool:
        """Whether the venue refuses this address altogether."""
        return self.rests_for_s(Lane.CREATE) > LONGEST_WAIT_S

    async def acquire(self, lane: Lane, need: float = 1.0) -> None:
        """Wait for tokens; see :meth:`try_acquire`.

        Raises:
            LaneClosedError: the lane rests for longer than ``LONGEST_WAIT_S``.
        """
        rests_for_s = self.rests_for_s(lane)
        if rests_for_s > LONGEST_WAIT_S:
            raise LaneClosedError(f"the venue refuses this address for another {rests_for_s:.0f} s")
        began_ns = self._clock.monotonic_ns()
        await self._acquire(lane, need)
        if lane in CANCELS:
            self.cancel_waits_s.append((self._clock.monotonic_ns() - began_ns) / NS_PER_S)

    async def _acquire(self, lane: Lane, need: float) -> None:
        if self.try_acquire(lane, need):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (waiter, need)
        self._queues[lane].waiters.append(place)
        self.pump()
        try:
            await waiter
        except asyncio.CancelledError:
            if place in self._queues[lane].waiters:
                self._queues[lane].waiters.remove(place)
            raise

    def limit_seen(self, lane: Lane, *, per_s: float | None, remaining: int, reset_in_s: float) -> None:
        """Take over what the venue says of a lane's endpoint: its rate, and what is left until the reset.

        Reads of many endpoints share one lane, so that the rate of one of them says little: it is not taken over.
        """
        bucket = self._queues[lane].bucket
        bucket.refill(self._clock.monotonic_ns())
        if per_s is not None and per_s > 0 and lane is not Lane.READ:
            bucket.per_s = per_s
        bucket.tokens = min(bucket.tokens, float(remaining))
        if remaining <= 0:
            self.hold(lane, min(reset_in_s, 5.0))

    def hold(self, lane: Lane, for_s: float) -> None:
        """Send nothing on a lane for a while: the venue refused for being asked too often."""
        if lane in CANCELS:
            for_s = min(for_s, CANCEL_HOLD_S)
        self._block(lane, for_s)

    def ban(self, for_s: float) -> None:
        """Send nothing at all for a while, but for a cancel now and then: the venue refuses this address."""
        for lane in Lane:
            self._block(lane, min(for_s, CANCEL_BAN_HOLD_S) if lane in CANCELS else for_s)

    def _block(self, lane: Lane, for_s: float) -> None:
        bucket = self._queues[lane].bucket
        until_ns = self._clock.monotonic_ns() + round(for_s * NS_PER_S)
        bucket.blocked_until_ns = max(bucket.blocked_until_ns, until_ns)

    def pump(self) -> None:
        """Serve waiters that can go now and set a timer for the next one."""
        self._refill()
        soonest: float | None = None
        for lane in Lane:
            waiters = self._queues[lane].waiters
            while waiters and (wait_s := self._wait_s(lane, waiters[0][1])) <= 0:
                waiter, need = waiters.popleft()
                if not waiter.done():
                    self._take(lane, need)
                    waiter.set_result(None)
            if waiters:
                soonest = wait_s if soonest is None else min(soonest, wait_s)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if soonest is not None:
            self._timer = asyncio.get_running_loop().call_later(max(soonest, 0.001), self.pump)

    def close(self) -> None:
        """Stop the timer and turn all waiters away."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for queue in self._queues.values():
            for waiter, _ in queue.waiters:
                waiter.cancel()
            queue.waiters.clear()

    def _wait_s(self, lane: Lane, need: float) -> float:
        now_ns = self._clock.monotonic_ns()
        reserved = 0.0 if lane in CANCELS else self._reserved
        bucket = self._queues[lane].bucket
        return max(self._shared.wait_s(1 + reserved, now_ns), bucket.wait_s(min(need, bucket.per_s), now_ns))

    def _take(self, lane: Lane, need: float) -> None:
        self._shared.tokens -= 1
        self._queues[lane].bucket.tokens -= need

    def _refill(self) -> None:
        now_ns = self._clock.monotonic_ns()
        self._shared.refill(now_ns)
        for queue in self._queues.values():
            queue.bucket.refill(now_ns)
