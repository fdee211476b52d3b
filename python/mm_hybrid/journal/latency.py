"""How long the venue takes to answer, seen from the journal: from an intent's stamp to its first answer's."""

from __future__ import annotations

WEIGHT = 0.05
"""Share a new answer has in the mean; some twenty answers are remembered."""

_MAX_WAITING = 1000
_NO_ANSWER = frozenset({"INTENT", "SENT", "PENDING_UNKNOWN"})


class RoundTrips:
    """A moving mean of the time between an intent and the venue's answer."""

    def __init__(self) -> None:
        self._sent: dict[int, int] = {}
        self._mean_ns: float | None = None

    @property
    def mean_s(self) -> float | None:
        """Seconds; ``None`` before the first answer."""
        return None if self._mean_ns is None else self._mean_ns / 1e9

    def sent(self, intent_seq: int, ts_ns: int) -> None:
        """Note an intent that is about to be sent."""
        if len(self._sent) >= _MAX_WAITING:
            del self._sent[next(iter(self._sent))]
        self._sent[intent_seq] = ts_ns

    def answered(self, intent_seq: int | None, state: str, source: str, ts_ns: int) -> None:
        """Note what became of it; only the venue's own first answer counts."""
        if intent_seq is None or state in _NO_ANSWER or source not in {"rest", "stream"}:
            return
        sent_ns = self._sent.pop(intent_seq, None)
        if sent_ns is None or ts_ns < sent_ns:
            return
        took_ns = float(ts_ns - sent_ns)
        self._mean_ns = took_ns if self._mean_ns is None else (1 - WEIGHT) * self._mean_ns + WEIGHT * took_ns
