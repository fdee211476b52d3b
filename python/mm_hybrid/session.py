"""One trading session: build the parts, run the engine, cancel everything, confirm it, say what happened.

Demo, paper and live differ only in the addresses they put into the configuration; from here on they are the same.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr

from mm_hybrid._core import Cache, CacheError, Estimators, __version__
from mm_hybrid.calibration import CACHE_MAX_AGE_NS, StreamCalibrator
from mm_hybrid.clock import Clock, WallClock
from mm_hybrid.conditions import Conditions
from mm_hybrid.config import KILL_FILE, Mode, SessionConfig
from mm_hybrid.engine import Engine, EngineParts
from mm_hybrid.errors import GatewayError, JournalError, MmHybridError, SessionInterruptedError
from mm_hybrid.execution.credentials import Credentials
from mm_hybrid.execution.executor import Executor
from mm_hybrid.execution.gateway import Gateway
from mm_hybrid.execution.setup import require_funds
from mm_hybrid.execution.sweep import cancel_ours
from mm_hybrid.feed import LiveFeed
from mm_hybrid.journal import Journal
from mm_hybrid.optimizer.assemble import assemble
from mm_hybrid.report import build_report
from mm_hybrid.result import NO_ADVICE, SessionResult, SessionView, order_counts
from mm_hybrid.risk import Risk, RiskLimits
from mm_hybrid.strategy import Strategy
from mm_hybrid.types import Calibration, Instrument

T = TypeVar("T")

_log = logging.getLogger(__name__)

JOURNAL_FILE = "journal.sqlite"
CACHE_FILE = "cache.sqlite"
REMEMBER_EVERY_NS = 10 * 1_000_000_000
REPORT_FILE = "report.html"


class Session:
    """Owns the parts of one session from the first connection to the last confirmation."""

    def __init__(
        self,
        *,
        config: SessionConfig,
        mode: Mode,
        strategy: Strategy,
        strategy_path: Path | None,
        credentials: Credentials,
        advisor_key: SecretStr | str | None,
        finite_feed: bool,
        on_line: Callable[[str], None],
        clock: Clock | None = None,
    ) -> None:
        self._config = config
        self._mode: Mode = mode
        self._strategy = strategy
        self._strategy_path = strategy_path
        self._credentials = credentials
        self._advisor_key = advisor_key
        self._finite_feed = finite_feed
        self._on_line = on_line
        self._clock = clock or WallClock()
        self._folder = config.output.dir

    async def run(
        self,
        stop: asyncio.Event,
        *,
        seconds: float | None,
        on_started: Callable[[], None],
        on_tick: Callable[[SessionView], None],
    ) -> SessionResult:
        """Trade until ``stop`` is set, ``seconds`` have passed or a finite feed ends; then leave nothing open.

        A failure while trading is returned in ``SessionResult.error``, after the orders were cancelled.

        Raises:
            MmHybridError: the session could not start; nothing was quoted.
        """
        config, clock, folder = self._config, self._clock, self._folder
        async with AsyncExitStack() as stack:
            journal = Journal.open(folder / JOURNAL_FILE, clock)
            stack.push_async_callback(journal.close)
            gateway = await _unless_stopped(
                stop,
                Gateway.open(
                    config.trading_venue,
                    self._credentials,
                    clock,
                    timeout_s=config.execution.request_timeout_s,
                    orders_via=config.execution.orders_via,
                ),
            )
            stack.push_async_callback(gateway.close)
            stack.push_async_exit(self._leave_nothing(gateway, journal))
            await _unless_stopped(stop, gateway.require_usable())
            await journal.session(
                mode=self._mode,
                exchange=config.venue.name,
                instrument=gateway.instrument,
                config_json=json.dumps(config.public()),
                version=__version__,
            )
            executor = Executor(
                gateway,
                journal,
                clock,
                gateway.instrument,
                config,
                tag=config.execution.tag,
                alert=self._on_line,
            )
            cache = self._open_cache(folder / CACHE_FILE)
            if cache is not None:
                stack.callback(cache.close)
            optimizer, advisor = assemble(
                config.quoting,
                config.advisor,
                api_key=self._advisor_key,
                journal=journal,
                clock=clock,
                folder=folder,
            )
            if advisor is not None:
                stack.push_async_callback(advisor.close)
            feed = LiveFeed.of(config.market, cache=cache, end_on_finish=self._finite_feed)
            stack.push_async_callback(feed.aclose)
            # Judged when nothing of ours binds margin any more.
            order_size_quote = config.quoting.order_size_quote
            funds = functools.partial(require_funds, gateway, order_size_quote)
            await _unless_stopped(stop, executor.start(ready=funds))
            engine = Engine(
                EngineParts(
                    config=config,
                    instrument=gateway.instrument,
                    strategy=self._strategy,
                    strategy_path=self._strategy_path,
                    feed=feed,
                    estimators=_estimators(config, gateway.instrument),
                    calibrator=StreamCalibrator(config.quoting, self._cached(cache)),
                    conditions=Conditions(
                        config.quoting,
                        symbol=config.market.symbol,
                        tick_size=float(gateway.instrument.tick_size),
                    ),
                    optimizer=optimizer,
                    advisor=advisor,
                    risk=Risk(_limits(config), gateway.instrument, clock, kill_file=folder / KILL_FILE),
                    executor=executor,
                    journal=journal,
                    clock=clock,
                    on_alarm=lambda episode: self._note_spike(cache, episode),
                )
            )

            def view() -> SessionView:
                return SessionView.of(engine, executor, advisor)

            remember_at_ns = 0

            def tick() -> None:
                nonlocal remember_at_ns
                if (now_ns := clock.monotonic_ns()) >= remember_at_ns:
                    # Now and then: after a kill there is no last time.
                    remember_at_ns = now_ns + REMEMBER_EVERY_NS
                    self._remember(cache, engine)
                on_tick(view())

            on_started()
            started_ns = clock.monotonic_ns()
            error: MmHybridError | None = None
            feed.start()
            try:
                await engine.run(stop, seconds=seconds, on_tick=tick)
            except MmHybridError as caught:
                error = caught
            finally:
                seconds_run = (clock.monotonic_ns() - started_ns) / 1e9
                feed_state = str(feed.snapshot().state)
                open_orders, unconfirmed = await _leave_nothing_open(executor, gateway, error)
            engine.mark_now()
            self._remember(cache, engine)
            result = SessionResult(
                mode=self._mode,
                exchange=config.venue.name,
                symbol=gateway.instrument.symbol,
                seconds=seconds_run,
                feed={**feed.stats(), "state": feed_state},
                quotes=engine.view.quote_updates,
                orders=order_counts(executor.counters),
                fills=executor.counters.fills,
                position=executor.position.qty_base,
                pnl=engine.ledger.parts,
                advice=NO_ADVICE if advisor is None else advisor.counters,
                execution=executor.metrics,
                open_orders_at_exit=open_orders,
                unknown_orders_at_exit=executor.unknown_orders,
                report=folder / REPORT_FILE,
                journal=folder / JOURNAL_FILE,
                error=error or unconfirmed,
            )
        # The journal is closed and complete: the report reads it like anybody else would.
        build_report(result.journal, result.report)
        return result

    def _leave_nothing(
        self, gateway: Gateway, journal: Journal
    ) -> Callable[[type[BaseException] | None, BaseException | None, object], Awaitable[None]]:
        """Return what a start that fails does last: orders of ours may rest from an earlier run.

        A journal that is another account's is left alone, and so is what its session may have placed.
        """

        async def clear(_kind: object, error: BaseException | None, _trace: object) -> None:
            foreign = isinstance(error, JournalError) and journal.failure is None
            if not isinstance(error, MmHybridError) or foreign:
                return
            try:
                async with asyncio.timeout(self._config.execution.stop_s):
                    found, left = await cancel_ours(gateway, self._config.execution.tag)
            except (GatewayError, TimeoutError) as trouble:
                self._on_line(
                    f"orders of an earlier run may still rest at the venue: {trouble or 'no answer'}"
                )
                return
            if found:
                still = f", {left} of them still rest at the venue" if left else ""
                self._on_line(f"cancelled {found} orders of an earlier run{still}")

        return clear

    def _open_cache(self, path: Path) -> Cache | None:
        """Open the cache; nothing in it is needed, so a session goes on without one that cannot be opened."""
        try:
            cache = Cache(str(path))
        except CacheError as error:
            self._on_line(f"no cache, and so no warm start next time: {error}")
            return None
        if cache.warning:
            self._on_line(cache.warning)
        return cache

    def _note_spike(self, cache: Cache | None, episode: dict[str, Any]) -> None:
        if cache is not None:
            cache.record_spike(self._config.market.exchange, self._config.market.symbol, episode)

    def _cached(self, cache: Cache | None) -> Calibration | None:
        if cache is None:
            return None
        market = self._config.market
        try:
            row = cache.get_calibration(market.exchange, market.symbol, CACHE_MAX_AGE_NS)
        except CacheError as error:
            self._on_line(f"no warm start: {error}")
            return None
        if row is None:
            return None
        self._on_line(f"warm start: parameters of {market.exchange} {market.symbol} from the cache")
        return Calibration(
            intensity_a=row.intensity_a,
            intensity_k=row.intensity_k,
            sigma=row.sigma,
            source="cache",
            se_log_k=row.se_k / row.intensity_k if row.se_k else 1 / math.sqrt(max(row.orders_seen, 1)),
        )

    def _remember(self, cache: Cache | None, engine: Engine) -> None:
        """Keep parameters the stream itself has shown, for a start soon after."""
        features, market = engine.view.features, self._config.market
        if cache is None or features is None or features.calibration.source != "stream":
            return
        fit = features.calibration
        # Never waits: what the disk refuses is counted and shown in the cache's warning.
        cache.put_calibration(
            market.exchange,
            market.symbol,
            intensity_a=fit.intensity_a,
            intensity_k=fit.intensity_k,
            sigma=fit.sigma,
            orders_seen=fit.orders_seen,
            seconds_seen=fit.seconds_seen,
            se_k=fit.se_log_k * fit.intensity_k or None,
            wait=False,
        )


def _estimators(config: SessionConfig, instrument: Instrument) -> Estimators:
    quoting = config.quoting
    return Estimators(
        symbol=config.market.symbol,
        tick_size=float(instrument.tick_size),
        prior_intensity_a=quoting.prior_intensity_a,
        prior_depth_bps=quoting.prior_depth_bps,
        prior_volatility_1m_bps=quoting.prior_volatility_1m_bps,
        half_life_s=quoting.half_life_s,
        sigma_half_life_s=quoting.sigma_half_life_s,
    )


def _limits(config: SessionConfig) -> RiskLimits:
    risk = config.risk
    return RiskLimits(
        max_position_quote=Decimal(repr(risk.max_position_quote)),
        max_order_quote=Decimal(repr(risk.max_order_quote)),
        max_distance_bps=Decimal(repr(risk.max_distance_bps)),
        max_book_age_ns=risk.max_book_age_ms * 1_000_000,
        max_loss_quote=Decimal(repr(risk.max_loss_quote)),
        max_position_base=None if risk.max_position_base is None else Decimal(repr(risk.max_position_base)),
    )


async def _leave_nothing_open(
    executor: Executor, gateway: Gateway, error: MmHybridError | None
) -> tuple[int, GatewayError | None]:
    """Cancel everything and ask what is open; where the venue cannot be asked, what is not known to be over counts."""
    try:
        await executor.stop("session over" if error is None else str(error))
        still_open = [order for order in await gateway.open_orders() if executor.is_ours(order.client_id)]
    except Exception as failure:
        # Whatever went wrong, the session says what may be open instead of ending in a traceback.
        if not isinstance(failure, MmHybridError):
            _log.exception("the end of the session could not be confirmed")
        live = len(executor.live_orders)
        return live, GatewayError(f"could not confirm that no order is open ({live} may be): {failure}")
    return len(still_open), None


async def _unless_stopped(stop: asyncio.Event, work: Awaitable[T]) -> T:
    """Wait for ``work``; when ``stop`` is set first, cancel it and raise :class:`SessionInterruptedError`."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise SessionInterruptedError("stopped before trading began")
    finally:
        stopped.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
