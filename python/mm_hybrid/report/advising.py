"""What an advisor was asked and did, summed up: outcomes, reasons, ratios to the model, latency, age at use, spend."""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mm_hybrid.journal import AdviceRow, StateRow

_NUMBERS = re.compile(r"\d+(\.\d+)?")
_MAX_REASONS = 200


@dataclass(slots=True)
class Advising:
    """Sums over every question of a journal.

    Ratios are of the half-spread told to the model's, one per side and answer that could be read.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    anomalies: Counter[str] = field(default_factory=Counter)
    prompts: Counter[str] = field(default_factory=Counter)
    retired: Counter[str] = field(default_factory=Counter)
    latency_ms: array[float] = field(default_factory=lambda: array("d"))
    ratio_bid: array[float] = field(default_factory=lambda: array("d"))
    ratio_ask: array[float] = field(default_factory=lambda: array("d"))
    ratio_ts_ns: array[int] = field(default_factory=lambda: array("q"))
    spend_ts_ns: array[int] = field(default_factory=lambda: array("q"))
    spend_usd: array[float] = field(default_factory=lambda: array("d"))
    uses: int = 0
    age_sum_ms: float = 0.0
    age_max_ms: float = 0.0

    def take(self, row: AdviceRow) -> None:
        """Take the next question in."""
        self.outcomes[row.outcome] += 1
        self.prompts[row.prompt or "unknown"] += 1
        if row.detail:
            # Numbers differ from one answer to the next; the reason does not.
            reason = (row.outcome, _NUMBERS.sub("#", row.detail)[:120])
            if reason in self.reasons or len(self.reasons) < _MAX_REASONS:
                self.reasons[reason] += 1
        if row.anomaly:
            self.anomalies[row.anomaly] += 1
        if row.latency_ms is not None:
            self.latency_ms.append(row.latency_ms)
        self._spend(row.ts_ns, row.cost_usd or 0.0)
        if row.bid_half_bps and row.ask_half_bps and row.base_bid_half_bps and row.base_ask_half_bps:
            self.ratio_ts_ns.append(row.ts_ns)
            self.ratio_bid.append(row.bid_half_bps / row.base_bid_half_bps)
            self.ratio_ask.append(row.ask_half_bps / row.base_ask_half_bps)

    def take_state(self, row: StateRow) -> None:
        """Take a change of state in: how advice that ended was used, and what a probe before the questions cost."""
        if row.what == "advisor:probe":
            try:
                self._spend(row.ts_ns, float(json.loads(row.detail)["cost_usd"]))
            except (ValueError, TypeError, KeyError):
                return
        if row.what != "advice:retired":
            return
        self.retired[_NUMBERS.sub("#", row.value)] += 1
        try:
            told = json.loads(row.detail)
            uses, mean_ms, max_ms = int(told["uses"]), float(told["mean_age_ms"]), float(told["max_age_ms"])
        except (ValueError, TypeError, KeyError):
            return
        self.uses += uses
        self.age_sum_ms += uses * mean_ms
        self.age_max_ms = max(self.age_max_ms, max_ms)

    def spend(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return times, ns, and the USD spent up to each."""
        order = np.argsort(np.array(self.spend_ts_ns, dtype=np.int64), kind="stable")
        return np.array(self.spend_ts_ns, dtype=np.int64)[order], np.cumsum(np.array(self.spend_usd)[order])

    def _spend(self, ts_ns: int, usd: float) -> None:
        self.spend_ts_ns.append(ts_ns)
        self.spend_usd.append(usd)

    def numbers(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        asked = self.outcomes.total()
        read = self.outcomes["accepted"] + self.outcomes["clamped"]
        return {
            "asked": asked,
            "accepted": self.outcomes["accepted"],
            "clamped": self.outcomes["clamped"],
            "refused": asked - read,
            "anomalies": dict(self.anomalies),
            "latency_ms": spread_of(self.latency_ms),
            "ratio_bid": spread_of(self.ratio_bid),
            "ratio_ask": spread_of(self.ratio_ask),
            "spent_usd": sum(self.spend_usd),
            "uses": self.uses,
            "mean_age_at_use_ms": self.age_sum_ms / self.uses if self.uses else None,
            "max_age_at_use_ms": self.age_max_ms if self.uses else None,
        }


def spread_of(values: array[float]) -> dict[str, float] | None:
    """Return count, quantiles and largest value; ``None`` without values."""
    if not values:
        return None
    p50, p90, p99 = np.percentile(values, (50, 90, 99))
    return {
        "n": len(values),
        "p50": float(p50),
        "p90": float(p90),
        "p99": float(p99),
        "max": float(max(values)),
    }
