"""Time comes from here and from nowhere else, so that a replay can own it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where the engine's time comes from."""

    def now_ns(self) -> int:
        """Return wall-clock nanoseconds since the epoch, UTC."""
        ...

    def monotonic_ns(self) -> int:
        """Return nanoseconds that never go back, for ages and timeouts."""
        ...


class WallClock:
    """The machine's own clocks."""

    def now_ns(self) -> int:
        """Return the system time in nanoseconds."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Return the monotonic time in nanoseconds."""
        return time.monotonic_ns()


class ManualClock:
    """A clock that moves only when told; for replays and tests."""

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        """Return the time last set."""
        return self._now_ns

    def monotonic_ns(self) -> int:
        """Return the time last set."""
        return self._now_ns

    def advance(self, by_ns: int) -> None:
        """Move forward by ``by_ns`` nanoseconds; going back raises ``ValueError``."""
        if by_ns < 0:
            raise ValueError(f"a clock cannot go back: advance({by_ns})")
        self._now_ns += by_ns
