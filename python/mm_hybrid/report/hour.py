"""The last hour of a journal in words and numbers: kinds of market, spikes, and how own fills fared afterwards."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from mm_hybrid.journal import FillRow, MarkRow, StateRow

HOUR_NS = 3600 * 1_000_000_000
HORIZONS_S = (1, 5, 30)
"""How long after a fill the price is looked at again, seconds."""


@dataclass(slots=True)
class LastHour:
    """Keeps the last hour of marks, fills and changes of regime while a journal is read."""

    marks: deque[tuple[int, float]] = field(default_factory=deque)
    fills: deque[tuple[int, float, float, float]] = field(default_factory=deque)
    regimes: list[tuple[int, str, str]] = field(default_factory=list)
    alarms: list[tuple[int, str]] = field(default_factory=list)

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
        seconds: Counter[str] = Counter()
        name, since, changes, spikes = "calm", first, 0, 0
        for ts_ns, regime, evidence in self.regimes:
            if ts_ns > first:
                seconds[name] += max(ts_ns - since, 0)
                since = ts_ns
                changes += 1
                spikes += evidence.startswith("spike")
            name = regime
        seconds[name] += max(last - since, 0)
        total = seconds.total()
        moves = {horizon_s: self._moves(horizon_s) for horizon_s in HORIZONS_S}
        five = moves[5]
        return {
            "seconds": (last - first) / 1e9,
            "regimes": {
                regime: share / total if total else 0.0
                for regime, share in seconds.items()
                if share or not total
            },
            "regime_now": name,
            "changes": changes,
            "spikes": spikes,
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

    def _moves(self, horizon_s: int) -> list[float]:
        stamps = [ts_ns for ts_ns, _ in self.marks]
        moves = []
        for ts_ns, sign, _, mid in self.fills:
            index = bisect_left(stamps, ts_ns + horizon_s * 1_000_000_000)
            if index < len(stamps):
                moves.append(sign * (self.marks[index][1] - mid) / mid * 1e4)
        return moves
