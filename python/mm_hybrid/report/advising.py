"""What an advisor was asked and did, summed up: prompts, outcomes, reasons, ratios, latency, ages, weight, spend."""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mm_hybrid.journal import AdviceRow, SessionRow, StateRow
from mm_hybrid.report.asked import asked_of
from mm_hybrid.report.tables import time_of_day

_NUMBERS = re.compile(r"\d+(\.\d+)?")
_MAX_REASONS = 200
_LAST_TROUBLED = 20


@dataclass(slots=True)
class Weight:
    """What weight advice has had since the last start of the engine.

    Attributes:
        configured: weight of fresh advice; ``None`` when the journal does not tell it.
        is_enabled: whether the advisor was switched on.
        content: the last word on whether the answers deserve any; ``shadow`` takes the weight away.
    """

    configured: float | None = None
    is_enabled: bool = True
    content: StateRow | None = None
    _started_ns: int = 0

    def start(self, row: SessionRow) -> None:
        """Take the next start of the engine in; it trusts anew."""
        self._started_ns, self.content = row.started_ns, None
        try:
            advisor = json.loads(row.config_json)["advisor"]
            self.configured, self.is_enabled = float(advisor["weight"]), bool(advisor.get("enabled", True))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self.configured, self.is_enabled = None, True

    def take_state(self, row: StateRow) -> None:
        """Take a change of trust in the answers in."""
        if row.what == "advisor:content" and row.ts_ns >= self._started_ns:
            self.content = row

    @property
    def is_distrusted(self) -> bool:
        """Whether too many of the last answers were invalid or clamped."""
        return self.content is not None and self.content.value == "shadow"

    @property
    def in_force(self) -> float | None:
        """Weight that fresh advice had in the end; ``None`` when the journal does not tell it."""
        return 0.0 if self.is_distrusted or not self.is_enabled else self.configured

    def sentence(self) -> str:
        """Return the weight in words."""
        if not self.is_enabled:
            return "The advisor is switched off in the last start's configuration: advice moves no quote."
        told = "no weight is told" if self.configured is None else f"{self.configured:g} is configured"
        content = self.content
        if content is not None and self.is_distrusted:
            since = time_of_day(content.ts_ns)
            return f"Weight in force 0 (shadow mode since {since}: {content.detail}); {told}."
        again = (
            "" if content is None else f" Trusted again since {time_of_day(content.ts_ns)}: {content.detail}."
        )
        if self.configured is None:
            return f"The journal does not tell the configured weight.{again}"
        if self.configured == 0:
            return f"Weight in force 0 (shadow mode, as configured): advice moves no quote.{again}"
        return f"Weight in force {self.configured:g}, as configured, for fresh advice; it fades to 0 with age.{again}"


@dataclass(slots=True)
class Advising:
    """Sums over every question of a journal.

    Ratios are of the half-spread told to the model's, one per side and answer that could be read. ``prompts`` counts
    questions by profile and version; ``troubled`` are the last ones that were refused or clamped.
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
    latest: AdviceRow | None = None
    troubled: deque[AdviceRow] = field(default_factory=lambda: deque(maxlen=_LAST_TROUBLED))
    weight: Weight = field(default_factory=Weight)
    uses: int = 0
    age_sum_ms: float = 0.0
    age_max_ms: float = 0.0

    def take(self, row: AdviceRow) -> None:
        """Take the next question in."""
        self.outcomes[row.outcome] += 1
        self.prompts[asked_of(row).prompt] += 1
        self.latest = row
        if row.outcome != "accepted":
            self.troubled.append(row)
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
        self.weight.take_state(row)
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
            "prompts": dict(self.prompts),
            "weight_configured": self.weight.configured,
            "weight_in_force": self.weight.in_force,
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
