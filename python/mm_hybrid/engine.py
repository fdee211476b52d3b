"""The one loop that runs a strategy, the same in every mode.

News of the market comes in; estimates, features, the optimizer's recommendation, the strategy's wishes, the grid, risk
and execution follow in that order, all in one pass that waits for nothing. The loop quotes only on a book that is
``LIVE``; in any other state it pulls what rests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from mm_hybrid import features as features_of
from mm_hybrid._core import AggregatedOrderBook, Estimators
from mm_hybrid.clock import Clock
from mm_hybrid.conditions import Conditions
from mm_hybrid.config import SessionConfig
from mm_hybrid.errors import RiskStopError, StrategyError
from mm_hybrid.execution.executor import Executor
from mm_hybrid.feed import LiveFeed
from mm_hybrid.journal import Journal
from mm_hybrid.optimizer.advisor import Advisor
from mm_hybrid.optimizer.base import SpreadOptimizer
from mm_hybrid.pnl import PnlLedger
from mm_hybrid.quotes import on_grid, order_qty, within_limit
from mm_hybrid.risk import Risk
from mm_hybrid.strategy import Strategy, where
from mm_hybrid.types import (
    Approved,
    BookState,
    Calibration,
    Features,
    Fill,
    Instrument,
    Quotes,
    Refused,
    Regime,
    SpreadRecommendation,
)

MARK_INTERVAL_NS = 200_000_000
"""How often position and profit are marked in the journal."""

SIZE_DRIFT = 0.1
"""Share by which an order's value may leave the wanted one before its quantity is set anew."""

_MS = 1_000_000


@dataclass(slots=True)
class EngineView:
    """What the engine shows to people while it runs; refreshed in place."""

    features: Features | None = None
    state: str = BookState.UNSYNCED
    quotes: Quotes = ()
    quote_updates: int = 0


class Calibrator(Protocol):
    """Where the closed form's parameters come from."""

    def calibration(self, estimates: dict[str, Any], mid_price: float) -> Calibration:
        """Return the parameters to quote with now."""
        ...


@dataclass(frozen=True, kw_only=True)
class EngineParts:
    """Everything one engine is made of; built in one place, closed by whoever built it."""

    config: SessionConfig
    instrument: Instrument
    strategy: Strategy
    strategy_path: Path | None
    feed: LiveFeed
    estimators: Estimators
    calibrator: Calibrator
    conditions: Conditions
    optimizer: SpreadOptimizer
    advisor: Advisor | None
    risk: Risk
    executor: Executor
    journal: Journal
    clock: Clock
    on_alarm: Callable[[dict[str, Any]], None] = lambda _episode: None
    """Is told each episode of alarm once it is over."""


class Engine:
    """Quotes one symbol until told to stop."""

    def __init__(self, parts: EngineParts) -> None:
        self.parts = parts
        self.ledger = PnlLedger(parts.executor.position.qty_base)
        self.view = EngineView()
        self._mid: Decimal | None = None
        self._last_refusal = ""
        self._next_quote_ns = 0
        self._next_mark_ns = 0
        self._last_state: tuple[str, str] | None = None
        self._last_regime: Regime | None = None
        self._last_wanted: Quotes | None = None
        self._book: AggregatedOrderBook | None = None
        self._kept_qty: Decimal | None = None
        parts.executor.on_fill = self._on_fill
        parts.executor.on_funding = lambda payment: self.ledger.fund(payment.amount_quote)

    async def run(
        self, stop: asyncio.Event, *, seconds: float | None = None, on_tick: Callable[[], None] = lambda: None
    ) -> None:
        """Quote until ``stop`` is set, ``seconds`` have passed or a finite feed has ended.

        Raises:
            RiskStopError: a limit or the kill switch stopped trading.
            StrategyError: the user's script failed.
        """
        parts = self.parts
        deadline_ns = None if seconds is None else parts.clock.monotonic_ns() + int(seconds * 1e9)
        wait_s = parts.config.quoting.requote_ms / 1000
        while not stop.is_set():
            now_ns = parts.clock.monotonic_ns()
            if deadline_ns is not None and now_ns >= deadline_ns:
                return
            await parts.feed.wait_news(wait_s)
            self.step()
            on_tick()
            if parts.executor.halted is not None:
                raise RiskStopError(parts.executor.halted)
            if parts.feed.finished:
                return
            await asyncio.sleep(0)

    def step(self) -> None:
        """Take in what is new and, when it is time, decide anew. Never waits."""
        parts = self.parts
        now_ns = parts.clock.monotonic_ns()
        batch = parts.feed.drain()
        parts.estimators.update(batch)
        parts.conditions.update(batch)
        if now_ns < self._next_quote_ns:
            return
        self._next_quote_ns = now_ns + parts.config.quoting.requote_ms * _MS
        self._book = book = parts.feed.snapshot()
        self._note_state(book)
        self._note_alarms()
        if book.state != BookState.LIVE:
            self._pull(f"book is {book.state}: {book.reason}")
        else:
            self._decide(book)
        self._mark(now_ns)

    def _decide(self, book: AggregatedOrderBook) -> None:
        parts = self.parts
        if book.mid_price is None or book.best_bid is None or book.best_ask is None:
            self._pull("one side of the book is empty")
            return
        self._mid = (Decimal(repr(book.best_bid)) + Decimal(repr(book.best_ask))) / 2
        self.ledger.mark(self._mid)
        estimates = parts.estimators.read()
        calibration = parts.calibrator.calibration(estimates, book.mid_price)
        regime, evidence, spike = parts.conditions.observe(book, estimates, calibration)
        calibration = parts.conditions.refine(calibration, parts.journal.round_trips.mean_s)
        features = features_of.build(
            book,
            {**estimates, "spike": spike},
            calibration,
            parts.instrument,
            regime=regime,
            regime_evidence=evidence,
        )
        if regime != self._last_regime:
            self._last_regime = regime
            parts.journal.state(what="regime", value=regime, detail=evidence)
        self.view.features = features
        parts.risk.note_profit(self.ledger.parts.total)
        position = self.ledger.position
        if parts.advisor is not None:
            parts.advisor.offer(features, position)
        advice = parts.optimizer.recommend(features, position)
        if advice.basis == "none":
            self._pull(f"nothing to quote on: {advice.reasoning}")
            return
        wanted = self._ask_strategy(features, advice)
        quotes = within_limit(wanted, position, Decimal(repr(advice.position_limit)))
        verdict = parts.risk.check(
            quotes, features, book_age_ns=book.age_ns, position=position, live=parts.executor.live_orders
        )
        if isinstance(verdict, Refused):
            self._refuse(verdict)
        else:
            self._submit(verdict)

    def _order_qty(self, mid_price: float) -> Decimal:
        """Return the size of one order: kept while its value stays near the wanted one, so that orders can stay too."""
        wanted_quote = self.parts.config.quoting.order_size_quote
        kept = self._kept_qty
        if kept is None or abs(float(kept) * mid_price / wanted_quote - 1) > SIZE_DRIFT:
            kept = self._kept_qty = order_qty(self.parts.instrument, wanted_quote, mid_price)
        return kept

    def _ask_strategy(self, features: Features, advice: SpreadRecommendation) -> Quotes:
        """Return the strategy's quotes on the grid; whatever goes wrong names the script."""
        parts = self.parts
        try:
            wanted = parts.strategy.quotes(features, self.ledger.position, advice)
            return on_grid(wanted, parts.instrument, self._order_qty(features.mid_price))
        except StrategyError as error:
            if parts.strategy_path is None:
                raise
            raise StrategyError(f"{parts.strategy_path}: {error}") from error
        except (Exception, SystemExit) as error:
            place = (
                where(error, parts.strategy_path) if parts.strategy_path else type(parts.strategy).__name__
            )
            raise StrategyError(f"{place}: {type(error).__name__}: {error}") from error

    def _submit(self, approved: Approved) -> None:
        self.view.quotes = approved.quotes
        if approved.quotes != self._last_wanted and self.parts.executor.healthy:
            self._last_wanted = approved.quotes
            self.view.quote_updates += 1
        self.parts.executor.submit(approved)

    def _refuse(self, refused: Refused) -> None:
        if refused.reason != self._last_refusal:
            self._last_refusal = refused.reason
            self.parts.journal.refusal(reason=refused.reason, detail="")
        self._pull(f"risk refused: {refused.reason}")
        if self.parts.risk.latched is not None:
            raise RiskStopError(self.parts.risk.latched)

    def _pull(self, reason: str) -> None:
        self.view.quotes = ()
        self._last_wanted = None
        self.parts.executor.pull(reason)

    def _note_alarms(self) -> None:
        for episode in self.parts.conditions.take_episodes():
            self.parts.journal.state(what="alarm", value=episode["kind"], detail=episode["reason"])
            self.parts.on_alarm(episode)

    def _note_state(self, book: AggregatedOrderBook) -> None:
        self.view.state = book.state
        if self._last_state != (book.state, book.reason):
            self._last_state = (book.state, book.reason)
            if book.state != BookState.LIVE and self.parts.advisor is not None:
                self.parts.advisor.invalidate(f"book is {book.state}")
            self.parts.journal.state(what="book", value=book.state, detail=book.reason)

    def _on_fill(self, fill: Fill) -> Decimal | None:
        """Book a fill at the mid known now and return that mid, for the journal."""
        mid = self._mid if self._mid is not None else fill.price
        self.ledger.fill(fill, mid)
        if fill.exec_type == "trade" and self._book is not None:
            self.parts.conditions.fill(self._book.timestamp, fill.side, float(mid))
        return mid

    def _mark(self, now_ns: int) -> None:
        if now_ns < self._next_mark_ns or self._book is None or self._mid is None:
            return
        self._next_mark_ns = now_ns + MARK_INTERVAL_NS
        self.mark_now()

    def mark_now(self) -> None:
        """Write position and profit at the last mid to the journal."""
        book, mid = self._book, self._mid
        if book is None or mid is None:
            return
        by_side = {quote.side: quote.price for quote in reversed(self.view.quotes)}
        position, parts = self.ledger.position, self.ledger.parts
        self.parts.journal.mark(
            market_ts_ns=book.timestamp,
            mid=mid,
            best_bid=book.best_bid,
            best_ask=book.best_ask,
            book_state=str(book.state),
            bid_quote=by_side.get("buy"),
            ask_quote=by_side.get("sell"),
            position=position.qty_base,
            cash=position.cash_quote,
            fees=position.fees_quote,
            funding=position.funding_quote,
            spread_capture=parts.spread_capture,
            inventory_pnl=parts.inventory,
            total=parts.total,
        )
