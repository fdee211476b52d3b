"""One circuit breaker for each class of endpoint at a venue.

Creates and amends are turned away while theirs is open. Cancels and reads never are: their breakers only watch,
and an open one pauses new orders like the others, since a venue that does not answer questions is no place to rest
orders at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mm_hybrid.breaker import Breaker, BreakerChange, BreakerOpenError, BreakerState, Permit
from mm_hybrid.clock import Clock
from mm_hybrid.execution.lanes import Lane
from mm_hybrid.execution.outcomes import VENUE_TROUBLE, VenueError

CLASSES = (Lane.CANCEL, Lane.READ, Lane.AMEND, Lane.CREATE)
"""Classes of endpoints; batches belong to the class of what they are batches of."""


class Breakers:
    """The breakers of one venue, one a class.

    Args:
        clock: whose monotonic time is used.
        changed: called after each change of state of any of them.
    """

    def __init__(self, clock: Clock, changed: Callable[[BreakerChange], None]) -> None:
        self._by_lane = {lane: Breaker(lane.name.lower(), clock=clock, listener=changed) for lane in CLASSES}

    @property
    def closed(self) -> bool:
        """Whether every class of endpoint answers."""
        return all(breaker.state is BreakerState.CLOSED for breaker in self._by_lane.values())

    @property
    def states(self) -> dict[str, str]:
        """State by class of endpoint, for people and metrics."""
        return {breaker.name: str(breaker.state) for breaker in self._by_lane.values()}

    def admit(self, lane: Lane) -> Permit:
        """Return a permit for one request.

        Raises:
            BreakerOpenError: the class's breaker is open, or its probe is under way.
        """
        return self._by_lane[lane].admit()

    def watch(self, lane: Lane, error: VenueError | None) -> None:
        """Take in how a request went that was made without asking."""
        try:
            permit = self._by_lane[Lane.CANCEL if lane is Lane.CANCEL_BATCH else lane].admit()
        except BreakerOpenError:
            return
        judge(permit, error)

    def waiting_for_probe(self) -> Iterator[Permit]:
        """Yield permits to probe the classes that have waited long enough.

        The question to ask is a read: no order is sent to find out whether orders are taken again, and a class that
        is only watched may have nothing to ask for.
        """
        for breaker in self._by_lane.values():
            if breaker.state is BreakerState.HALF_OPEN:
                try:
                    yield breaker.admit()
                except BreakerOpenError:
                    continue


def judge(permit: Permit, error: VenueError | None) -> None:
    """Tell a breaker what an outcome says about the venue: refusals on the merits are answers."""
    if error is None:
        permit.success()
    elif not error.failure.sent:
        permit.abandon()  # Refused on this side of the wire.
    elif error.verdict in VENUE_TROUBLE:
        permit.failure(error.failure.message)
    else:
        permit.success()
