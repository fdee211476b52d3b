"""The one door to the exchanges; only this module and the client it builds know ccxt.

It turns ccxt's untyped world into ours: orders and executions read from the venue's own text, every failure
into a :class:`VenueError` with a verdict, every request through the lanes and under a timeout. It never
repeats a create.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal, Self

import ccxt.async_support as ccxt
import stamina

from mm_hybrid.clock import Clock
from mm_hybrid.config import VenueConfig
from mm_hybrid.errors import GatewayError
from mm_hybrid.execution import wire
from mm_hybrid.execution.batches import Batches, leg_result
from mm_hybrid.execution.client import client_of
from mm_hybrid.execution.credentials import Credentials
from mm_hybrid.execution.fees import FeePrices
from mm_hybrid.execution.lanes import Budget, Lane, LaneClosedError, Lanes
from mm_hybrid.execution.orders import NewOrder, VenueOrder
from mm_hybrid.execution.outcomes import Failure, VenueError, Verdict, describe, failure_of
from mm_hybrid.execution.paging import Mark, all_pages, all_spans, next_mark
from mm_hybrid.execution.setup import AccountFacts, require_usable
from mm_hybrid.execution.tap import Request, Tap
from mm_hybrid.execution.venue_limits import BAN_S, PAGE_ROWS, WINDOW_MS
from mm_hybrid.instruments import listed_instrument, tradable_status
from mm_hybrid.types import Fill, Funding, Instrument, Side

_UNSIGNED_MOST = 3  # Refusals in a row of freshly connected trade streams until the key is to blame.

OrdersVia = Literal["rest", "websocket"]


class Gateway:
    """One account at one venue, one linear perpetual; get it with :meth:`connect` or :meth:`open`."""

    def __init__(
        self,
        venue: str,
        exchange: Any,
        instrument: Instrument,
        clock: Clock,
        lanes: Lanes,
        *,
        timeout_s: float = 3.0,
        orders_via: OrdersVia = "rest",
    ) -> None:
        self.venue = venue
        self.instrument = instrument
        self.can_amend = venue == "bybit"
        """Bitget's amend is a cancel and a new order without a link between them: not used."""
        self.on_outcome: Callable[[Lane, VenueError | None], None] = lambda _lane, _error: None
        """Told how each request that may be repeated went, cancels and reads."""
        self.lanes = lanes
        self._exchange = exchange
        self._symbol = instrument.ccxt_symbol
        self._clock = clock
        self._timeout_s = timeout_s
        self.batches = Batches(venue, lanes, by_stream=orders_via == "websocket")
        self._url: str | None = None
        self._unsigned = 0
        self._by_stream = orders_via == "websocket"
        self.fees = FeePrices(venue, instrument)
        self._tap = Tap(venue, exchange, lanes, clock)

    @classmethod
    async def connect(
        cls, config: VenueConfig, credentials: Credentials, clock: Clock, **options: Any
    ) -> Self:
        """Open a gateway and make sure that it can trade: :meth:`open`, then :meth:`require_usable`.

        Raises:
            GatewayError: see there; nothing stays open.
        """
        gateway = await cls.open(config, credentials, clock, **options)
        try:
            await gateway.require_usable()
        except BaseException:
            await gateway.close()
            raise
        return gateway

    @classmethod
    async def open(
        cls,
        config: VenueConfig,
        credentials: Credentials,
        clock: Clock,
        *,
        budget: Budget | None = None,
        timeout_s: float = 3.0,
        orders_via: OrdersVia = "rest",
    ) -> Self:
        """Load the market and return the open gateway, able to ask and to cancel; see :meth:`require_usable`.

        Raises:
            GatewayError: host unreachable, symbol unknown, or an override that leads off this machine.
        """
        exchange = client_of(config, credentials, timeout_s)
        try:
            instrument = listed_instrument(config.name, config.symbol, await exchange.load_markets())
            lanes = Lanes(clock, budget or Budget.of(config.name))
            gateway = cls(
                config.name, exchange, instrument, clock, lanes, timeout_s=timeout_s, orders_via=orders_via
            )
            gateway._url = config.url
        except ccxt.BaseError as error:
            await exchange.close()
            failure = failure_of(config.name, error)
            raise GatewayError(f"{config.name}: {describe(failure, config.url)}") from None
        except BaseException:
            await exchange.close()
            raise
        return gateway

    async def require_usable(self) -> None:
        """Check symbol, key and account with signed reads, and learn the account's own fee rates.

        Raises:
            GatewayError: symbol not trading, key refused (which says why) or read-only, or account in hedge mode.
        """
        status = tradable_status(self.venue, self._exchange.markets[self._symbol])
        if status is not None:
            raise GatewayError(f"{self.venue}: {self.instrument.symbol} is not trading now (status {status})")
        try:
            require_usable(self.venue, await self.account())
            await self._learn_own_fees()
            await self.refresh_fee_prices()
        except VenueError as error:
            raise GatewayError(f"{self.venue}: {describe(error.failure, self._url)}") from None

    async def _learn_own_fees(self) -> None:
        """Take the account's own fee rates, where the venue tells them.

        The market's rates are those of the base tier; a maker with others would quote at the wrong width.
        """
        try:
            rates = await self._optional(lambda: self._exchange.fetch_trading_fee(self._symbol))
            maker, taker = Decimal(str(rates["maker"])), Decimal(str(rates["taker"]))
        except (VenueError, KeyError, ArithmeticError, TypeError):
            return
        self.instrument = replace(self.instrument, maker_fee_rate=maker, taker_fee_rate=taker)

    # Orders

    async def create(self, client_id: str, side: Side, price: Decimal, qty: Decimal) -> str:
        """Send a post-only limit order once and return its exchange id: acknowledged, not yet resting.

        Raises:
            VenueError: see its verdict; a reply without an order id is a failure too, an ambiguous one.
        """
        arguments = (self._symbol, "limit", side, str(qty), str(price), self._order_params(client_id))
        if self._by_stream:
            return self._order_id(await self._trade(Lane.CREATE, self._exchange.create_order_ws, *arguments))
        return self._order_id(await self._once(Lane.CREATE, lambda: self._exchange.create_order(*arguments)))

    async def create_batch(self, orders: Sequence[NewOrder]) -> list[str | VenueError]:
        """Send as many orders as :attr:`batches` takes in one request, once; return an id or a failure for each.

        A leg the reply does not mention is ambiguous, whatever became of the others.

        Raises:
            VenueError: of the request as a whole; it holds for every order.
        """
        rows = [
            {
                "symbol": self._symbol, "type": "limit", "side": order.side, "amount": str(order.qty),
                "price": str(order.price), "params": self._order_params(order.client_id),
            }
            for order in orders
        ]  # fmt: skip
        with self._tap.request(Lane.CREATE_BATCH) as request:
            try:
                await self._exchange.create_orders(rows)
            except Exception as error:
                raise await self._refused(request, error) from None
        legs = wire.batch_legs(self.venue, request.reply)
        return [leg_result(self.venue, legs.get(order.client_id)) for order in orders]

    def try_slot(self, lane: Lane, orders: int = 1) -> bool:
        """Take leave to send one request on a lane now; ``False`` means the budget is spent."""
        return self.lanes.try_acquire(lane, self.batches.need(orders))

    async def amend(self, client_id: str, side: Side, price: Decimal, qty: Decimal) -> str:
        """Change an order in place to an absolute price and total quantity (Bybit only).

        Raises:
            VenueError: see its verdict.
        """
        arguments = (None, self._symbol, "limit", side, str(qty), str(price), {"orderLinkId": client_id})
        if self._by_stream:
            return self._order_id(await self._trade(Lane.AMEND, self._exchange.edit_order_ws, *arguments))
        return self._order_id(await self._once(Lane.AMEND, lambda: self._exchange.edit_order(*arguments)))

    async def cancel(self, client_id: str) -> None:
        """Cancel an order by client id, again while the outcome is unclear: a cancel may be repeated.

        Raises:
            VenueError: see its verdict; ``GONE`` is a reason to look the order up.
        """
        key = "orderLinkId" if self.venue == "bybit" else "clientOrderId"
        await self._again(
            Lane.CANCEL, lambda: self._exchange.cancel_order(None, self._symbol, {key: client_id})
        )

    async def cancel_batch(self, orders: Sequence[tuple[str, str | None]]) -> None:
        """Ask for the end of several orders, given by client id and exchange id, in as few requests as may be.

        What became of each only the stream or a lookup says: neither venue's reply is reported leg by leg. An order
        without an exchange id is cancelled by itself where the venue's batch takes no client ids (Bitget).

        Raises:
            VenueError: of the first request that failed; the others have been made.
        """
        requests: list[Awaitable[None]] = []
        if self.venue == "bybit":
            chunks = self.batches.chunks([client_id for client_id, _ in orders])
            requests += [self._cancel_chunk([], {"clientOrderIds": ids}, len(ids)) for ids in chunks]
        else:
            known = [order_id for _, order_id in orders if order_id is not None]
            requests += [self._cancel_chunk(chunk, {}, len(chunk)) for chunk in self.batches.chunks(known)]
            requests += [self.cancel(client_id) for client_id, order_id in orders if order_id is None]
        for result in await asyncio.gather(*requests, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _cancel_chunk(self, order_ids: list[str], params: dict[str, Any], orders: int) -> None:
        await self._again(
            Lane.CANCEL_BATCH,
            lambda: self._exchange.cancel_orders(order_ids, self._symbol, dict(params)),
            self.batches.need(orders),
        )

    # Queries

    async def open_orders(self) -> list[VenueOrder]:
        """Return all open orders of the symbol, from every page, other people's too."""
        rows = await all_pages(self._open_orders_page)
        return [order for order in self._orders(rows) if order.status == "open"]

    async def _open_orders_page(self, mark: Mark) -> tuple[list[Any], Mark | None]:
        size = PAGE_ROWS[self.venue]
        rows = await self._again(
            Lane.READ, lambda: self._exchange.fetch_open_orders(self._symbol, None, size, dict(mark))
        )
        return rows, next_mark(self.venue, [row["info"] for row in rows], "orderId")

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

    async def order_of(self, order_id: str) -> VenueOrder | None:
        """Return the order of an execution that came without a client id, or ``None`` if it is nobody's here.

        Bitget's executions never carry one in queries; Bybit's always do, unless the order has none.
        """
        if self.venue == "bybit":
            return None
        try:
            row = await self._again(Lane.READ, lambda: self._exchange.fetch_order(order_id, self._symbol))
        except VenueError as error:
            if error.verdict is Verdict.GONE:
                return None
            raise
        return self._orders([row])[0]

    async def executions(self, since_ms: int) -> list[Fill]:
        """Return the account's executions of the symbol since a venue time, oldest first, the venue's own included."""
        rows = await all_spans(self._executions_page, since_ms, self.server_ms(), WINDOW_MS)
        now_ns = self._clock.now_ns()
        fills = [
            wire.parse_fill(self.venue, row, now_ns, self.fees.worth)
            for row in rows
            if not wire.is_funding(self.venue, row)
        ]
        return sorted(fills, key=lambda fill: fill.exchange_ts_ns)

    async def funding(self, since_ms: int) -> list[Funding]:
        """Return funding payments of the symbol since a venue time."""
        rows = await all_spans(self._funding_page, since_ms, self.server_ms(), WINDOW_MS)
        return [wire.parse_funding(self.venue, row) for row in rows]

    async def _executions_page(self, mark: Mark) -> tuple[list[Any], Mark | None]:
        """Ask for one page of executions of every kind.

        On Bybit the client library's own query leaves out what the venue made the account trade; its raw method
        does not.
        """
        if self.venue == "bybit":
            return await self._bybit_executions_page(mark)
        rows = await self._again(
            Lane.READ, lambda: self._exchange.fetch_my_trades(self._symbol, None, 100, dict(mark))
        )
        infos = [row["info"] for row in rows]
        return infos, next_mark(self.venue, infos, "tradeId")

    async def _funding_page(self, mark: Mark) -> tuple[list[Any], Mark | None]:
        if self.venue == "bybit":
            return await self._bybit_executions_page({"execType": "Funding", **mark})
        asked = {"businessType": "contract_settle_fee", **mark}
        rows = await self._optional(
            lambda: self._exchange.fetch_funding_history(self._symbol, None, 100, dict(asked))
        )
        infos = [row["info"] for row in rows]
        return infos, next_mark(self.venue, infos, "billId")

    async def _bybit_executions_page(self, mark: Mark) -> tuple[list[Any], Mark | None]:
        asked = {"category": "linear", "symbol": self.instrument.symbol, "limit": 100, **mark}
        reply = await self._again(
            Lane.READ, lambda: self._exchange.private_get_v5_execution_list(dict(asked))
        )
        result = reply["result"]
        if not isinstance(result.get("list"), list):
            raise VenueError(
                Failure(venue=self.venue, error="NoList", message="bybit: executions without a list")
            )
        cursor = result.get("nextPageCursor")
        return result["list"], {"cursor": cursor} if cursor and result["list"] else None

    async def position(self) -> Decimal:
        """Return the signed position in base units.

        Raises:
            GatewayError: the account is in hedge mode, where one symbol has two positions.
        """
        rows = await self._again(Lane.READ, lambda: self._exchange.fetch_positions([self._symbol]))
        return wire.position(self.venue, [row["info"] for row in rows]) * self.instrument.contract_size

    async def account(self) -> AccountFacts:
        """Return what decides whether the account can trade the symbol.

        Raises:
            VenueError: the key was refused, or the venue could not be asked.
        """
        facts = await (self._bybit_account() if self.venue == "bybit" else self._bitget_account())
        return AccountFacts(**facts)

    async def _bybit_account(self) -> dict[str, Any]:
        rows = await self._again(Lane.READ, lambda: self._exchange.fetch_positions([self._symbol]))
        wallet = await self._again(
            Lane.READ,
            lambda: self._exchange.private_get_v5_account_wallet_balance({"accountType": "UNIFIED"}),
        )
        facts = wire.bybit_account([row["info"] for row in rows], wallet, self.instrument.quote)
        try:
            key = await self._optional(lambda: self._exchange.private_get_v5_user_query_api({}))
        except VenueError:
            return facts
        return {**facts, "read_only": str(key["result"].get("readOnly")) == "1"}

    async def _bitget_account(self) -> dict[str, Any]:
        """Ask for the symbol's account, which knows mode and leverage, or else for the list of accounts."""
        coin = self.instrument.quote
        product = {"productType": f"{coin}-FUTURES"}
        asked = {"symbol": self.instrument.symbol, "marginCoin": coin, **product}
        try:
            reply = await self._optional(
                lambda: self._exchange.private_mix_get_v2_mix_account_account(dict(asked))
            )
        except VenueError as error:
            if error.verdict is Verdict.AUTH:
                raise
            reply = await self._again(
                Lane.READ, lambda: self._exchange.private_mix_get_v2_mix_account_accounts(dict(product))
            )
        facts = wire.bitget_account(reply, coin)
        try:
            key = await self._optional(lambda: self._exchange.private_spot_get_v2_spot_account_info({}))
        except VenueError:
            return facts
        return {**facts, "read_only": wire.bitget_reads_only(key)}

    async def refresh_fee_prices(self) -> None:
        """Learn the price of the venue's own coin, in which fees may be paid, where it is listed here."""
        symbol = f"{self.fees.coin}/{self.instrument.quote}:{self.instrument.quote}"
        if symbol not in self._exchange.markets:
            return
        try:
            ticker = await self._optional(lambda: self._exchange.fetch_ticker(symbol))
            self.fees.learn(Decimal(str(ticker["last"])))
        except (VenueError, KeyError, ArithmeticError):
            return  # The last known price stays.

    async def clock_ahead_ms(self) -> int:
        """Return by how many milliseconds this machine's clock runs ahead of the venue's, half a round trip aside.

        Raises:
            VenueError: the venue could not be asked.
        """
        began_ns = self._clock.now_ns()
        venue_ms = await self._again(Lane.READ, self._exchange.fetch_time)
        return (began_ns + self._clock.now_ns()) // 2_000_000 - int(venue_ms)

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
        return [wire.parse_fill(self.venue, row["info"], now_ns, self.fees.worth) for row in rows]

    async def streams_confirmed(self) -> None:
        """Wait until the venue has confirmed all private channels of the current connection."""
        await self._tap.all_confirmed.wait()

    async def forget_streams(self) -> None:
        """Drop the private connections, so that the next watch makes new ones; the trade stream stays."""
        await self._drop_clients(lambda url: not wire.is_trade_stream(url))
        self._tap.forget_streams()

    async def _drop_clients(self, which: Callable[[str], bool]) -> None:
        clients = [(url, client) for url, client in (self._exchange.clients or {}).items() if which(url)]
        for url, client in clients:
            del self._exchange.clients[url]
            await client.close()

    async def close(self) -> None:
        """Close all connections; a second call does nothing."""
        self.lanes.close()
        await self._exchange.close()

    def __repr__(self) -> str:
        return f"Gateway({self.venue}, {self.instrument.symbol})"

    def _order_params(self, client_id: str) -> dict[str, Any]:
        # A taker of ours must not meet a maker of ours: the resting one stays.
        own = {"smpType": "CancelTaker"} if self.venue == "bybit" else {"stpMode": "cancel_taker"}
        return {"clientOrderId": client_id, "postOnly": True, **own}

    async def _once(self, lane: Lane, call: Callable[[], Awaitable[Any]]) -> Any:
        """Make one request whose lane token has been taken already, once."""
        with self._tap.request(lane) as request:
            try:
                parsed = await call()
            except VenueError:
                raise
            except Exception as error:
                # The client library lets a spoiled reply raise whatever its parser raises.
                raise await self._refused(request, error) from None
            # Or it takes it for an empty answer: no orders open, nothing executed.
            if not wire.is_answer(self.venue, request.reply):
                message = f"{self.venue}: unreadable reply of {len(request.reply)} characters"
                raise VenueError(
                    Failure(
                        venue=self.venue, error="NoAnswer", message=message, http_status=request.http_status
                    )
                )
            return parsed

    async def _optional(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Ask something a session can do without, once; a failure says nothing about the venue's health."""
        await self._slot(Lane.READ)
        return await self._once(Lane.READ, call)

    async def _slot(self, lane: Lane, need: float = 1.0) -> None:
        try:
            await self.lanes.acquire(lane, need)
        except LaneClosedError as error:
            raise VenueError(
                Failure(venue=self.venue, error="LaneClosed", message=f"{self.venue}: {error}", sent=False)
            ) from None

    async def _trade(self, lane: Lane, call: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """Make one request on the trade stream, under a timeout the client library does not have.

        A stream that leaves a request unanswered is dropped: whatever else waits on it fails at once, as unknown as
        this one, and the next request connects anew. So is one that is not signed in, as after a connection that
        broke while ccxt signed in; the refused request was not carried out, and the key is none the worse.
        """
        request = Request(lane, sent=True)
        try:
            reply = await asyncio.wait_for(call(*arguments), self._timeout_s)
        except TimeoutError:
            await self._drop_clients(wire.is_trade_stream)
            message = f"{self.venue}: no reply on the trade stream within {self._timeout_s:g} s"
            raise VenueError(Failure(venue=self.venue, error="RequestTimeout", message=message)) from None
        except Exception as error:
            refused = await self._refused(request, error)
            if refused.verdict is Verdict.AUTH and self._unsigned < _UNSIGNED_MOST:
                self._unsigned += 1
                await self._drop_clients(wire.is_trade_stream)
                message = f"{self.venue}: the trade stream was not signed in"
                raise VenueError(
                    Failure(venue=self.venue, error="NotSignedIn", message=message, sent=False)
                ) from None
            raise refused from None
        self._unsigned = 0
        return reply

    async def _again(self, lane: Lane, call: Callable[[], Awaitable[Any]], need: float = 1.0) -> Any:
        """Make a request that may be repeated, up to three times while the venue is in trouble."""

        def repeat(error: Exception) -> bool:
            return isinstance(error, VenueError) and error.verdict in {
                Verdict.AMBIGUOUS, Verdict.THROTTLED, Verdict.CLOCK, Verdict.NOT_SENT,
            }  # fmt: skip

        async for attempt in stamina.retry_context(
            on=repeat, attempts=3, timeout=10, wait_initial=0.1, wait_max=1.0
        ):
            with attempt:
                await self._slot(lane, need)
                try:
                    reply = await self._once(lane, call)
                except VenueError as error:
                    self.on_outcome(lane, error)
                    raise
                self.on_outcome(lane, None)
                return reply
        raise AssertionError("unreachable")

    async def _streamed(self, call: Awaitable[Any]) -> list[Any]:
        try:
            rows: list[Any] = await call
        except Exception as error:
            raise VenueError(failure_of(self.venue, error)) from None
        return rows

    async def _refused(self, request: Request, error: Exception) -> VenueError:
        failure = failure_of(self.venue, error, sent=request.sent, http_status=request.http_status)
        refused = VenueError(failure)
        if refused.verdict is Verdict.THROTTLED:
            if request.http_status == 403:
                self.lanes.ban(BAN_S)
            else:
                self.lanes.hold(request.lane, 1.0)
        elif refused.verdict is Verdict.CLOCK:
            try:
                await self._exchange.load_time_difference()
            except Exception as second:
                # The client library lets a spoiled reply raise whatever its parser raises.
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
