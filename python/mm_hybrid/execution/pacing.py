"""What of a plan may be sent now: the venue's rates and the pauses of a side decide."""

from __future__ import annotations

from typing import Protocol

from mm_hybrid.clock import Clock
from mm_hybrid.execution.batches import Batches
from mm_hybrid.execution.difference import Amend, Plan
from mm_hybrid.execution.lanes import Lane
from mm_hybrid.types import Side

NS_PER_S = 1_000_000_000


class SlotGateway(Protocol):
    """What pacing needs of a gateway."""

    @property
    def batches(self) -> Batches:
        """The venue's rules for batches."""
        ...

    def try_slot(self, lane: Lane, orders: int = 1) -> bool:
        """Take leave to send one request on a lane now."""
        ...


class SidePauses(Protocol):
    """Who knows which side takes no new orders for a while."""

    def side_open(self, side: Side) -> bool:
        """Return whether orders of a side may be sent now."""
        ...


class Pacing:
    """Fits plans to what may be sent; what is left out, a later comparison finds again.

    Args:
        gateway: whose budget is spent.
        pauses: which side rests.
        clock: time of what is overdue.
        off_target_s: how long an order may rest off its target for want of an amend before it is cancelled.
    """

    def __init__(
        self, gateway: SlotGateway, pauses: SidePauses, clock: Clock, *, off_target_s: float
    ) -> None:
        self._gateway = gateway
        self._pauses = pauses
        self._clock = clock
        self._off_target_ns = round(off_target_s * NS_PER_S)

    def fit(self, plan: Plan) -> bool:
        """Leave out of a plan what may not be sent now; return whether its creates are to go in one batch."""
        self._fit_amends(plan)
        wanted = [quote for quote in plan.create if self._pauses.side_open(quote.side)]
        if self._gateway.batches.fits(len(wanted)) and self._gateway.try_slot(Lane.CREATE_BATCH, len(wanted)):
            plan.create = wanted
            return True
        plan.create = [quote for quote in wanted if self._gateway.try_slot(Lane.CREATE)]
        return False

    def _fit_amends(self, plan: Plan) -> None:
        """Amend those first that have waited longest; cancel what has rested off its target for too long.

        An order at an old price is worse than no order, and cancels have rates of their own.
        """
        now_ns = self._clock.monotonic_ns()
        allowed: list[Amend] = []
        for amend in sorted(plan.amend, key=lambda a: a.order.off_target_ns or now_ns):
            if self._gateway.try_slot(Lane.AMEND):
                allowed.append(amend)
                continue
            amend.order.off_target_ns = amend.order.off_target_ns or now_ns
            if now_ns - amend.order.off_target_ns >= self._off_target_ns:
                plan.cancel.append(amend.order)
        plan.amend = allowed
