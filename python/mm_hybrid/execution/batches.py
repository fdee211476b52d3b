"""When several orders go in one request, how many, and what one takes of the budget."""

from __future__ import annotations

from collections.abc import Sequence

from mm_hybrid.execution.lanes import Lane, Lanes
from mm_hybrid.execution.outcomes import Failure, VenueError
from mm_hybrid.execution.venue_limits import BATCH_LEAST, BATCH_MOST
from mm_hybrid.execution.wire import BatchLeg


class Batches:
    """The rules of one venue; on Bybit each order of a batch counts against the endpoint's rate, on Bitget the batch.

    Args:
        venue: whose rules.
        lanes: where rates are known.
        by_stream: whether orders go over a trade stream, which takes them one by one.
    """

    def __init__(self, venue: str, lanes: Lanes, *, by_stream: bool) -> None:
        self._venue = venue
        self._lanes = lanes
        self._by_stream = by_stream

    def fits(self, orders: int) -> bool:
        """Return whether so many new orders are best sent by one batch."""
        return not self._by_stream and BATCH_LEAST[self._venue] <= orders <= self.most(Lane.CREATE_BATCH)

    def most(self, lane: Lane) -> int:
        """Return how many orders one batch may have: the venue's bound and, where each counts, a second's worth."""
        most = BATCH_MOST[self._venue]
        return most if self._venue == "bitget" else max(1, min(most, int(self._lanes.rate(lane))))

    def need(self, orders: int) -> float:
        """Return how many tokens a request with so many orders takes."""
        return float(orders) if self._venue == "bybit" else 1.0

    def chunks(self, ids: Sequence[str]) -> list[list[str]]:
        """Return ids to cancel in as few batches as may be."""
        most = self.most(Lane.CANCEL_BATCH)
        return [list(ids[first : first + most]) for first in range(0, len(ids), most)]


def leg_result(venue: str, leg: BatchLeg | None) -> str | VenueError:
    """Return the exchange id of one order of a batch, or its failure; one the reply does not mention is ambiguous."""
    if leg is not None and leg.order_id:
        return leg.order_id
    message = f"{venue}: no word of this order in the batch's reply" if leg is None else leg.message
    code = None if leg is None else leg.code
    return VenueError(Failure(venue=venue, error="BatchLeg", code=code, message=message))
