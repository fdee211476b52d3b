"""The one door to the exchanges; only this module knows ccxt.

It turns ccxt's untyped world into ours: orders and executions read from the venue's own text, every failure
into a :class:`VenueError` with a verdict, every request through the lanes and under a timeout. It never
repeats a create.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any, Self

import ccxt.async_support as ccxt
import ccxt.pro
import stamina
from pydantic import BaseModel, ConfigDict, SecretStr

from mm_hybrid.clock import Clock
from mm_hybrid.config import VenueConfig
from mm_hybrid.errors import GatewayError
from mm_hybrid.execution import wire
from mm_hybrid.execution.lanes import Budget, Lane, Lanes
from mm_hybrid.execution.orders import VenueOrder
from mm_hybrid.execution.outcomes import Failure, VenueError, Verdict, failure_of
from mm_hybrid.execution.tap import Request, Tap
from mm_hybrid.instruments import ccxt_symbol, from_market
from mm_hybrid.types import Fill, Instrument, Side

KEEP_ALIVE_MS = 5_000


class Credentials(BaseModel):
    """An API key; never shown in logs or representations. ``password`` is Bitget's passphrase."""

    model_config = ConfigDict(frozen=True)

    api_key: SecretStr
    secret: SecretStr
    password: SecretStr = SecretStr("")


class Gateway:
    """One account at one venue, one linear perpetual; get it with :meth:`connect`."""

    def __init__(self, venue: str, exchange: Any, instrument: Instrument, clock: Clock, lanes: Lanes) -> None:
        self.venue = venue
        self.instrument = instrument
        self.can_amend = venue == "bybit"
        """Bitget's amend is a cancel and a new order without a link between them: not used."""
        self._exchange = exchange
        self._symbol = instrument.ccxt_symbol
        self._clock = clock
        self._lanes = lanes
        self._tap = Tap(venue, exchange, lanes, clock)

    @classmethod
    async def connect(
        cls,
        config: VenueConfig,
        credentials: Credentials,
        clock: Clock,
        *,
        budget: Budget | None = None,
        timeout_s: float = 3.0,
    ) -> Self:
        """Load the market, check the key with one signed read, and return the open gateway.

        Raises:
            GatewayError: host unreachable, unknown symbol, wrong key, or an override that leads off this
                machine.
        """
        exchange = _build(config, credentials, timeout_s)
        try:
            instrument = _instrument(config, await exchange.load_markets())
            gateway = cls(config.name, exchange, instrument, clock, Lanes(clock, budget))
            await gateway.position()
            gateway.instrument = await _with_own_fees(exchange, instrument)
        except ccxt.BaseError as error:
            await exchange.close()
            failure = failure_of(config.name, error)
            raise GatewayError(f"{config.name}: {_describe(failure, config.url)}") from None
        except VenueError as error:
            await exchange.close()
            raise GatewayError(f"{config.name}: {_describe(error.failure, config.url)}") from None
        except BaseException:
            await exchange.close()
            raise
        return gateway

    async def create(self, client_id: str, side: Side, price: Decimal, qty: Decimal) -> str:
        """Send a post-only limit order once and return its exchange id: acknowledged, not yet resting.

        Raises:
            VenueError: see its verdict; a reply without an order id is a failure too, an ambiguous one.
        """
        params: dict[str, Any] = {"clientOrderId": client_id, "postOnly": True}
        # A taker of ours must not meet a maker of ours: the resting one stays.
        params |= {"smpType": "CancelTaker"} if self.venue == "bybit" else {"stpMode": "cancel_taker"}
        reply = await self._once(
            Lane.CREATE,
            lambda: self._exchange.create_order(self._symbol, "limit", side, str(qty), str(price), params),
        )
        return self._order_id(reply)

    def try_create_slot(self) -> bool:
        """Take leave to create one order now; ``False`` means the budget is spent."""
        return self._lanes.try_acquire(Lane.CREATE)

    async def amend(self, client_id: str, side: Side, price: Decimal, qty: Decimal) -> str:
        """Change an order in place to an absolute price and total quantity (Bybit only).

        Raises:
            VenueError: see its verdict.
        """
        params = {"orderLinkId": client_id}
        reply = await self._once(
            Lane.CREATE,
            lambda: self._exchange.edit_order(
                None, self._symbol, "limit", side, str(qty), str(price), params
            ),
        )
        return self._order_id(reply)

    async def cancel(self, client_id: str) -> None:
        """Cancel an order by client id, trying again while the outcome is unclear: a cancel may be repeated.

        Raises:
            VenueError: see its verdict; ``GONE`` is not a failure but a reason to look the order up.
        """
        key = "orderLinkId" if self.venue == "bybit" else "clientOrderId"
        await self._again(
            Lane.CANCEL, lambda: self._exchange.cancel_order(None, self._symbol, {key: client_id})
        )

    async def cancel_all(self) -> None:
        """Cancel every open order of the symbol; nothing to cancel is no failure.

        Raises:
            VenueError: it could not be done.
        """
        try:
            await self._again(Lane.CANCEL, lambda: self._exchange.cancel_all_orders(self._symbol))
        except VenueError as error:
            if error.verdict is not Verdict.GONE:
                raise

    async def open_orders(self) -> list[VenueOrder]:
        """Return all open orders of the symbol, from every page."""
        size = 50 if self.venue == "bybit" else 100
        rows = await self._pages(self._exchange.fetch_open_orders, size, {}, id_key="orderId")
        return [order for order in self._orders(rows) if order.status == "open"]

    async def order(self, client_id: str) -> VenueOrder | None:
        """Return one order by client id, open or ended, or ``None`` if the venue does not know it."""
        try:
            if self.venue == "bitget":
                row = await self._again(
                    Lane.READ,
                    lambda: self._exchange.fetch_order(None, self._symbol, {"clientOrderId": client_id}),
                )
                return self._orders([row])[0]
            params = {"orderLinkId": client_id}
            rows = await self._again(
                Lane.READ, lambda: self._exchange.fetch_open_orders(self._symbol, None, None, params)
            )
            if not rows:
                rows = await self._again(
                    Lane.READ,
                    lambda: self._exchange.fetch_canceled_and_closed_orders(self._symbol, None, None, params),
                )
        except VenueError as error:
            if error.verdict is Verdict.GONE:
                return None
            raise
        return next((order for order in self._orders(rows) if order.client_id == client_id), None)

    async def executions(self, since_ms: int) -> list[Fill]:
        """Return own executions since a venue time, oldest first."""
        # As a raw parameter: given as an argument, ccxt would also drop rows by their own time stamps.
        params = {"startTime": since_ms}
        rows = await self._pages(self._exchange.fetch_my_trades, 100, params, id_key="tradeId")
        now_ns = self._clock.now_ns()
        fills = [wire.parse_fill(self.venue, row["info"], now_ns) for row in rows]
        return sorted(fills, key=lambda fill: fill.exchange_ts_ns)

    async def position(self) -> Decimal:
        """Return the signed position in base units.

        Raises:
            GatewayError: the account is in hedge mode, where one symbol has two positions.
        """
        rows = await self._again(Lane.READ, lambda: self._exchange.fetch_positions([self._symbol]))
        total = Decimal(0)
        for row in rows:
            info = row["info"]
            hedged = info.get("posMode") == "hedge_mode" or str(info.get("positionIdx") or "0") != "0"
            qty = Decimal(str(info.get("size") if self.venue == "bybit" else info.get("total")) or "0")
            if hedged and qty:
                raise GatewayError(
                    f"{self.venue}: the account is in hedge mode; switch {self._symbol} to one-way"
                )
            short = str(info.get("side") or info.get("holdSide")).lower() in {"sell", "short"}
            total += -qty if short else qty
        return total * self.instrument.contract_size

    def server_ms(self) -> int:
        """Return the venue's time in milliseconds, as far as the clocks' difference is known."""
        return self._tap.server_ms()

    @property
    def last_frame_ns(self) -> int:
        """Monotonic time of the last frame on a private stream."""
        return self._tap.last_frame_ns

    async def watch_orders(self) -> list[VenueOrder]:
        """Wait for news of orders; a conflated view, not every step. Raises on a dropped connection."""
        return self._orders(await self._streamed(self._exchange.watch_orders(self._symbol)))

    async def watch_fills(self) -> list[Fill]:
        """Wait for executions. Raises on a dropped connection; what happened meanwhile is not repeated."""
        rows = await self._streamed(self._exchange.watch_my_trades(self._symbol))
        now_ns = self._clock.now_ns()
        return [wire.parse_fill(self.venue, row["info"], now_ns) for row in rows]

    async def streams_confirmed(self) -> None:
        """Wait until the venue has confirmed all private channels of the current connection."""
        await self._tap.all_confirmed.wait()

    async def forget_streams(self) -> None:
        """Drop the private connections, so that the next watch makes new ones."""
        clients = list((self._exchange.clients or {}).values())
        self._exchange.clients.clear()
        for client in clients:
            await client.close()
        self._tap.forget_streams()

    async def close(self) -> None:
        """Close all connections; a second call does nothing."""
        self._lanes.close()
        await self._exchange.close()

    def __repr__(self) -> str:
        return f"Gateway({self.venue}, {self.instrument.symbol})"

    async def _once(self, lane: Lane, call: Callable[[], Awaitable[Any]]) -> Any:
        """Make one request whose lane token has been taken already, once."""
        with self._tap.request(lane) as request:
            try:
                return await call()
            except ccxt.BaseError as error:
                raise await self._refused(request, error) from None

    async def _again(self, lane: Lane, call: Callable[[], Awaitable[Any]]) -> Any:
        """Make a request that may be repeated, up to three times while the venue is in trouble."""

        def repeat(error: Exception) -> bool:
            return isinstance(error, VenueError) and error.verdict in {
                Verdict.AMBIGUOUS, Verdict.THROTTLED, Verdict.CLOCK, Verdict.NOT_SENT,
            }  # fmt: skip

        async for attempt in stamina.retry_context(
            on=repeat, attempts=3, timeout=10, wait_initial=0.1, wait_max=1.0
        ):
            with attempt:
                await self._lanes.acquire(lane)
                return await self._once(lane, call)
        raise AssertionError("unreachable")

    async def _pages(self, fetch: Any, size: int, params: dict[str, Any], *, id_key: str) -> list[Any]:
        """Walk all pages of a query; ccxt's own walk cuts the result at a limit and swallows errors."""
        rows: list[Any] = []
        asked = params
        while True:
            page = await self._again(Lane.READ, functools.partial(fetch, self._symbol, None, size, asked))
            rows += page
            if len(page) < size:
                return rows
            infos = [row["info"] for row in page]
            if self.venue == "bybit":
                mark = {
                    "cursor": next((info["nextPageCursor"] for info in infos if "nextPageCursor" in info), "")
                }
            else:
                mark = {"idLessThan": str(min(int(info[id_key]) for info in infos))}
            if not all(mark.values()) or asked == params | mark:
                return rows
            asked = params | mark

    async def _streamed(self, call: Awaitable[Any]) -> list[Any]:
        try:
            rows: list[Any] = await call
        except ccxt.BaseError as error:
            raise VenueError(failure_of(self.venue, error)) from None
        return rows

    async def _refused(self, request: Request, error: Exception) -> VenueError:
        failure = failure_of(self.venue, error, sent=request.sent, http_status=request.http_status)
        refused = VenueError(failure)
        if refused.verdict is Verdict.THROTTLED:
            self._lanes.hold(request.lane, 600.0 if request.http_status == 403 else 1.0)
        elif refused.verdict is Verdict.CLOCK:
            try:
                await self._exchange.load_time_difference()
            except ccxt.BaseError as second:
                failure = failure_of(self.venue, second)
                return VenueError(failure)
        return refused

    def _orders(self, rows: list[Any]) -> list[VenueOrder]:
        return [wire.parse_order(self.venue, row["info"]) for row in rows]

    def _order_id(self, reply: Any) -> str:
        order_id = reply.get("id") if isinstance(reply, dict) else None
        if not order_id:
            message = f"{self.venue}: reply without an order id"
            raise VenueError(Failure(venue=self.venue, error="NoOrderId", message=message))
        return str(order_id)


def _build(config: VenueConfig, credentials: Credentials, timeout_s: float) -> Any:
    bybit = config.name == "bybit"
    options: dict[str, Any] = {
        "fetchMarkets": {"types": ["linear" if bybit else "swap"]},
        "defaultType": "swap",
        "maxRetriesOnFailure": 0,
        "ws": {"keepAlive": KEEP_ALIVE_MS},
    }
    # Preset, since ccxt would ask with hidden requests, and on Bitget takes any failure for an answer.
    if bybit:
        options |= {"enableUnifiedMargin": False, "enableUnifiedAccount": True, "unifiedMarginStatus": 6}
    else:
        options |= {"uta": False}
    exchange = getattr(ccxt.pro, config.name)({
        "apiKey": credentials.api_key.get_secret_value(),
        "secret": credentials.secret.get_secret_value(),
        "password": credentials.password.get_secret_value(),
        "enableRateLimit": False,
        "timeout": round(timeout_s * 1000),
        "options": options,
    })  # fmt: skip
    exchange.has["fetchCurrencies"] = False
    exchange.timeout_on_exit = 0
    # Its own logger writes headers, and with them the key, at DEBUG.
    exchange.logger = logging.getLogger("mm_hybrid.execution.ccxt")
    exchange.logger.setLevel(logging.WARNING)
    if config.url is not None:
        exchange.urls["api"] = wire.rewrite_urls(exchange.urls["api"], config.url)
        wire.require_loopback(exchange.urls["api"])
    elif config.demo:
        exchange.enable_demo_trading(True)
    return exchange


def _instrument(config: VenueConfig, markets: dict[str, Any]) -> Instrument:
    if config.symbol is None:
        raise GatewayError(f"{config.name}: no symbol to trade")
    market = markets.get(ccxt_symbol(config.symbol))
    if market is None:
        raise GatewayError(f"{config.name}: no linear perpetual {config.symbol}")
    return from_market(config.name, market)


async def _with_own_fees(exchange: Any, instrument: Instrument) -> Instrument:
    """Return the instrument with the account's own fee rates, where the venue tells them.

    The market's rates are those of the base tier; a maker with others would quote at the wrong width.
    """
    try:
        rates = await exchange.fetch_trading_fee(instrument.ccxt_symbol)
        maker, taker = Decimal(str(rates["maker"])), Decimal(str(rates["taker"]))
    except (ccxt.BaseError, KeyError, ArithmeticError, TypeError):
        return instrument
    return replace(instrument, maker_fee_rate=maker, taker_fee_rate=taker)


def _describe(failure: Failure, url: str | None) -> str:
    """Return one line a user can act on."""
    verdict = VenueError(failure).verdict
    if verdict is Verdict.AUTH:
        return f"the API key was refused ({failure.message})"
    if verdict is Verdict.NOT_SENT:
        return f"cannot reach {url or 'the exchange'} ({failure.message})"
    return failure.message
