"""Identifiers shaped like the venues' own, unique over restarts of the server."""

from __future__ import annotations

import uuid

from mm_hybrid.clock import Clock
from mm_hybrid.servers.exchange.config import Venue

_BITGET_EPOCH_MS = 1_435_708_800_000
_SEQUENCE_BITS = 22


class IdSource:
    """Order and execution ids: UUIDs as Bybit's, or growing 19-digit numbers as Bitget's.

    Both follow from the start time of the server and a counter, so that one ledger never repeats an id and
    neither does the next server started on the same account.
    """

    def __init__(self, venue: Venue, clock: Clock) -> None:
        self._venue = venue
        self._clock = clock
        self._namespace = uuid.uuid5(uuid.NAMESPACE_OID, f"{venue}/{clock.now_ns()}")
        self._count = 0
        self._last = 0

    def skip(self, used: str) -> None:
        """Take note of an id of an earlier run, so that growing ids go on above it."""
        if used.isdigit():
            self._last = max(self._last, int(used))

    def take(self, kind: str) -> str:
        """Return the next id; ``kind`` (``order``, ``execution``, …) keeps UUID families apart."""
        self._count += 1
        if self._venue == "bybit":
            return str(uuid.uuid5(self._namespace, f"{kind}/{self._count}"))
        elapsed_ms = self._clock.now_ns() // 1_000_000 - _BITGET_EPOCH_MS
        self._last = max(self._last + 1, max(elapsed_ms, 0) << _SEQUENCE_BITS)
        return str(self._last)
