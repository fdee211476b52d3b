"""What a session shows while it runs and what it says at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from mm_hybrid.config import Mode
from mm_hybrid.engine import Engine
from mm_hybrid.errors import MmHybridError
from mm_hybrid.execution.executor import Counters, Executor
from mm_hybrid.execution.orders import LiveOrder
from mm_hybrid.optimizer.advisor import Advisor
from mm_hybrid.pnl import PnlParts
from mm_hybrid.types import Features

NO_ADVICE: Mapping[str, int] = {"requested": 0, "accepted": 0, "clamped": 0, "rejected": 0, "in_flight": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """A running session as people see it."""

    features: Features | None
    state: str
    position: Decimal
    pnl: PnlParts
    orders: Mapping[str, int]
    fills: int
    advice: Mapping[str, int]
    trading: bool
    resting: tuple[LiveOrder, ...]

    @classmethod
    def of(cls, engine: Engine, executor: Executor, advisor: Advisor | None) -> Self:
        """Look at a session now."""
        return cls(
            features=engine.view.features,
            state=engine.view.state,
            position=executor.position.qty_base,
            pnl=engine.ledger.parts,
            orders=order_counts(executor.counters),
            fills=executor.counters.fills,
            advice=NO_ADVICE if advisor is None else advisor.counters,
            trading=executor.healthy,
            resting=executor.live_orders,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResult:
    """What a session did; :meth:`as_json` is the command line's stable JSON."""

    mode: Mode
    exchange: str
    symbol: str
    seconds: float
    feed: Mapping[str, Any]
    quotes: int
    orders: Mapping[str, int]
    fills: int
    position: Decimal
    pnl: PnlParts
    advice: Mapping[str, int]
    execution: Mapping[str, Any]
    open_orders_at_exit: int
    unknown_orders_at_exit: int
    report: Path
    journal: Path
    error: MmHybridError | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the result under the names the command line promises."""
        return {
            "mode": self.mode,
            "exchange": self.exchange,
            "symbol": self.symbol,
            "seconds": round(self.seconds, 3),
            "messages": self.feed["messages"],
            "book_changes": self.feed["book_changes"],
            "trades": self.feed["trades"],
            "quotes": self.quotes,
            "orders_placed": self.orders["placed"],
            "orders_amended": self.orders["amended"],
            "orders_canceled": self.orders["canceled"],
            "orders_rejected": self.orders["rejected"],
            "fills": self.fills,
            "position": float(self.position),
            "pnl": self.pnl.as_floats(),
            "advice": dict(self.advice),
            "feed": {
                "state": self.feed["state"],
                "reconnects": self.feed["reconnects"],
                "stale_seconds": self.feed["stale_seconds"],
            },
            "execution": dict(self.execution),
            "open_orders_at_exit": self.open_orders_at_exit,
            "unknown_orders_at_exit": self.unknown_orders_at_exit,
            "report": str(self.report),
            "journal": str(self.journal),
        }


def order_counts(counters: Counters) -> dict[str, int]:
    """Return what happened to own orders; a post-only order that would have crossed counts as rejected."""
    return {
        "placed": counters.orders_placed,
        "amended": counters.amended,
        "canceled": counters.canceled,
        "rejected": counters.rejected + counters.post_only_crossed,
    }
