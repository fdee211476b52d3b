"""Periods of the executor and its parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from mm_hybrid.config import ExecutionConfig
from mm_hybrid.execution.reconcile import ReconcileTimes
from mm_hybrid.execution.resolve import ResolveConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorTimes:
    """Periods of the executor, seconds.

    Attributes:
        tend_s: between two looks at what is open.
        reconcile_s: between two comparisons with the venue over REST.
        unmatched_s: how long an execution waits for its order's id to become known.
        no_funds_pause_s: without orders on a side refused for want of margin.
        crossed_pause_s: without orders on a side after one would have taken: the book it was priced on is old.
        off_target_s: how long an order may rest off its target for want of an amend before it is cancelled.
        drain_s: what requests under way get to end by themselves when execution stops.
        silence_s: without a frame on the private streams until they are connected anew.
        stop_s: for cancelling everything at the end.
        resolve: times of lookups.
        reconcile: times of comparisons.
    """

    tend_s: float = 0.1
    reconcile_s: float = 10.0
    unmatched_s: float = 2.0
    no_funds_pause_s: float = 5.0
    crossed_pause_s: float = 0.25
    off_target_s: float = 0.5
    drain_s: float = 4.0
    silence_s: float = 15.0
    stop_s: float = 20.0
    resolve: ResolveConfig = field(default_factory=ResolveConfig)
    reconcile: ReconcileTimes = field(default_factory=ReconcileTimes)

    @classmethod
    def of(cls, config: ExecutionConfig) -> Self:
        """Return the periods a session's configuration asks for."""
        return cls(
            reconcile_s=config.reconcile_s,
            drain_s=config.request_timeout_s + 1.0,
            silence_s=config.silence_s,
            stop_s=config.stop_s,
            resolve=ResolveConfig(
                grace_s=config.grace_s, window_s=config.window_s, recancel_s=config.recancel_s
            ),
            reconcile=ReconcileTimes(
                position_checks=config.position_checks, position_check_s=config.position_check_s
            ),
        )
