"""The last hour of a journal in words and numbers: kinds of market, spikes, and how own fills fared afterwards."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mm_hybrid.journal import FillRow, MarkRow, SessionRow, StateRow

HOUR_NS = 3600 * 1_000_000_000
HORIZONS_S = (1, 5, 30)
"""How long after a fill the price is looked at again, seconds."""


class _Market(NamedTuple):
    """What the sessions said of the market in the hour."""

    told_ns: dict[str, int]
    now: str | None
    changes: int
    spikes: int


@dataclass(slots=True)
class LastHour:
    """Keeps the last hour of marks, fills and changes of regime while a journal is read.

    A start of the engine ends what was said before it: no regime is carried over, and no fill is judged by a mid of a
    later session.
    """

    marks: deque[tuple[int, float]] = field(default_factory=deque)
    fills: deque[tuple[int, float, float, float]] = field(default_factory=deque)
    starts: list[int] = field(default_factory=list)
    regimes: list[tuple[int, str, str]] = field(default_factory=list)
    alarms: list[tuple[int, str]] = field(default_factory=list)

    def start(self, row: SessionRow) -> None:
        """Take the next start of the engine in."""
        self.starts.append(row.started_ns)

    def mark(self, row: MarkRow) -> None:
        """Take the next mark in."""
        if row.mid is None:
            return
        self.marks.append((row.ts_ns, float(row.mid)))
        oldest = row.ts_ns - HOUR_NS
        while self.marks[0][0] < oldest:
            self.marks.popleft()
        while self.fills and self.fills[0][0] < oldest:
            self.fills.popleft()

    def fill(self, row: FillRow) -> None:
        """Take the next fill in."""
        if row.mid is not None:
            sign = 1.0 if row.side == "buy" else -1.0
            self.fills.append((row.ts_ns, sign, float(row.price), float(row.mid)))

    def state(self, row: StateRow) -> None:
        """Take a change of regime or an alarm in."""
        if row.what == "regime":
            self.regimes.append((row.ts_ns, row.value, row.detail))
        elif row.what == "alarm":
            self.alarms.append((row.ts_ns, row.value))

    def numbers(self) -> dict[str, Any]:
        """Return the hour as JSON values.

        Shares are of the time between the first and the last mark; what no session told a regime of is in none of them.
        Mark-outs are in bps of the fill's mid, positive when the price moved with the fill: from the mid at the fill to
        the mid a horizon later. ``toxic_share`` is the share of fills the price moved against within 5 s.
        """
        if not self.marks:
            return {
                "seconds": 0.0,
                "regimes": {},
                "changes": 0,
                "spikes": 0,
                "alarms": {},
                "fills": 0,
                "markout_bps": {},
            }
        first, last = self.marks[0][0], self.marks[-1][0]
        market = self._market()
        moves = {horizon_s: self._moves(horizon_s) for horizon_s in HORIZONS_S}
        five = moves[5]
        return {
            "seconds": (last - first) / 1e9,
            "regimes": {
                regime: told_ns / (last - first) for regime, told_ns in market.told_ns.items() if told_ns
            },
            "regime_now": market.now,
            "changes": market.changes,
            "spikes": market.spikes,
            "alarms": dict(Counter(kind for ts_ns, kind in self.alarms if ts_ns >= first)),
            "fills": len(self.fills),
            "markout_bps": {
                str(horizon_s): {"n": len(values), "mean": sum(values) / len(values)}
                for horizon_s, values in moves.items()
                if values
            },
            "toxic_share": sum(move < 0 for move in five) / len(five) if five else None,
        }

    def sentence(self) -> str:
        """Return the hour in words."""
        got = self.numbers()
        if not got["seconds"]:
            return "Nothing was marked."
        shares = sorted(got["regimes"].items(), key=lambda item: -item[1])
        untold = 1 - sum(share for _, share in shares)
        if untold >= 0.005:
            shares.append(("not told", untold))
        market = ", ".join(f"{regime} {share:.0%}" for regime, share in shares)
        words = [f"{got['seconds'] / 60:.1f} minutes: {market} of the time, {got['changes']} changes"]
        words.append(f"{got['spikes']} spikes" if got["spikes"] != 1 else "1 spike")
        if got["alarms"]:
            told = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in got["alarms"].items())
            words.append(f"alarms: {told}")
        if got["fills"]:
            after = ", ".join(
                f"{values['mean']:+.3f} bps after {horizon} s"
                for horizon, values in got["markout_bps"].items()
            )
            words.append(f"{got['fills']} fills" + (f", the mid moving {after}" if after else ""))
            if got["toxic_share"] is not None:
                words.append(f"{got['toxic_share']:.0%} of them toxic (against us within 5 s)")
        else:
            words.append("no fills")
        return "; ".join(words) + "."

    def _market(self) -> _Market:
        """Follow the regimes of each session from what it said first to its last mark, within the hour."""
        stamps = [ts_ns for ts_ns, _ in self.marks]
        first, last = stamps[0], stamps[-1]
        told_ns: Counter[str] = Counter()
        changes = spikes = 0
        name: str | None = None
        since = first
        for ts_ns, regime, evidence in self._said():
            until = ts_ns
            if regime is None:
                before = bisect_left(stamps, ts_ns)
                until = stamps[before - 1] if before else first
            if name is not None:
                told_ns[name] += max(min(until, last) - since, 0)
            if ts_ns > first and regime is not None:
                changes += name is not None and name != regime
                spikes += evidence.startswith("spike")
            name, since = regime, max(ts_ns, first)
        if name is not None:
            told_ns[name] += max(last - since, 0)
        return _Market(told_ns, name, changes, spikes)

    def _said(self) -> Iterator[tuple[int, str | None, str]]:
        """Yield changes of regime in order, with ``None`` where a session begins."""
        starts: list[tuple[int, str | None, str]] = [(ts_ns, None, "") for ts_ns in self.starts]
        return heapq.merge(starts, self.regimes, key=lambda said: said[0])

    def _moves(self, horizon_s: int) -> list[float]:
        stamps = [ts_ns for ts_ns, _ in self.marks]
        moves = []
        for ts_ns, sign, _, mid in self.fills:
            index = bisect_left(stamps, ts_ns + horizon_s * 1_000_000_000)
            if index < len(stamps) and bisect_right(self.starts, ts_ns) == bisect_right(
                self.starts, stamps[index]
            ):
                moves.append(sign * (self.marks[index][1] - mid) / mid * 1e4)
        return moves
