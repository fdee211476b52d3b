"""One account trading one contract: orders, executions, position, wallet; no venue's spelling anywhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any, Literal

from mm_hybrid.clock import Clock
from mm_hybrid.servers.exchange.config import ExchangeServerConfig
from mm_hybrid.servers.exchange.ids import IdSource
from mm_hybrid.servers.exchange.ledger import Ledger
from mm_hybrid.servers.exchange.matching import Matching
from mm_hybrid.servers.exchange.orders import (
    CancelCause,
    Order,
    OrderRefusedError,
    OrderRequest,
    OrderStatus,
    OwnExecution,
    RefusalReason,
)
from mm_hybrid.servers.exchange.position import PositionBook

_CLIENT_ID = re.compile(r"[A-Za-z0-9_.:#/-]+")

Change = Order | OwnExecution | Literal["balance"]
"""What subscribers hear of: an order that changed, an execution, or position and wallet after executions."""


class Account:
    """Checks requests, hands them to the matching engine and books what comes back.

    Every method runs on the event loop's thread and finishes without awaiting: no request is half booked.
    """

    def __init__(self, config: ExchangeServerConfig, matching: Matching, clock: Clock) -> None:
        self.config = config
        self.ids = IdSource(config.venue, clock)
        self.ledger = Ledger(config.ledger)
        self.position = PositionBook()
        self._matching = matching
        self._clock = clock
        self._orders: dict[str, Order] = {}
        self._open: dict[str, Order] = {}
        self._by_client_id: dict[str, Order] = {}
        self._subscribers: list[Callable[[Change], None]] = []
        self._last_price = Decimal(0)

    def subscribe(self, subscriber: Callable[[Change], None]) -> None:
        """Call ``subscriber`` for every change from now on, in the sequence of booking."""
        self._subscribers.append(subscriber)

    def now_ms(self) -> int:
        """Return the server's time in milliseconds."""
        return self._clock.now_ns() // 1_000_000

    # Requests

    def place(self, request: OrderRequest) -> Order:
        """Accept an order; a post-only order that would cross is accepted, then cancelled.

        Raises:
            OrderRefusedError: nothing was placed.
        """
        self._check_market()
        self._check_new(request)
        now_ns = self._clock.now_ns()
        order = Order(
            serial=len(self._orders) + 1,
            order_id=self.ids.take("order"),
            client_id=request.client_id,
            side=request.side,
            price=request.price,
            qty=request.qty,
            post_only=request.post_only,
            ioc=request.ioc or request.price is None,
            reduce_only=request.reduce_only,
            created_ns=now_ns,
            updated_ns=now_ns,
            mid_at_creation=self.mark_price(),
        )
        self._orders[order.order_id] = order
        self._open[order.order_id] = order
        if order.client_id:
            self._by_client_id[order.client_id] = order
        status, trades = self._matching.place(
            order.order_id,
            order.side,
            None if order.price is None else str(order.price),
            str(order.qty),
            post_only=order.post_only,
            ioc=order.ioc,
            now_ns=now_ns,
        )
        if status == "open" and not trades:
            self._tell(order)
        self.book_trades(trades)
        if status == "canceled" and order.is_open:
            self._end(order, CancelCause.POST_ONLY if order.post_only else CancelCause.NO_LIQUIDITY)
        return order

    def amend(self, order: Order, *, price: Decimal | None, qty: Decimal | None) -> None:
        """Change price and/or total quantity of an open order in place.

        Raises:
            OrderRefusedError: the order stands as it was.
        """
        if not order.is_open:
            raise OrderRefusedError(
                RefusalReason.ORDER_NOT_FOUND, f"order {order.order_id} is {order.status}"
            )
        self._check_market()
        new_price = order.price if price is None else price
        new_qty = order.qty if qty is None else qty
        if (new_price, new_qty) == (order.price, order.qty):
            raise OrderRefusedError(RefusalReason.NOT_MODIFIED, "neither price nor quantity changes")
        self.check_grid(new_price, new_qty)
        if new_qty <= order.filled_qty:
            raise OrderRefusedError(RefusalReason.QTY_BELOW_FILLED, f"{order.filled_qty} of it has traded")
        if not order.reduce_only:
            self._check_funds(order.side, new_price, new_qty - order.filled_qty, replaced=order)
        now_ns = self._clock.now_ns()
        order.price, order.qty, order.updated_ns = new_price, new_qty, now_ns
        status, trades = self._matching.amend(
            order.order_id,
            price=None if price is None else str(price),
            qty=None if qty is None else str(qty),
            now_ns=now_ns,
        )
        if status == "open" and not trades:
            self._tell(order)
        self.book_trades(trades)
        if status == "canceled" and order.is_open:
            self._end(order, CancelCause.POST_ONLY if order.post_only else CancelCause.NO_LIQUIDITY)

    def cancel(self, order: Order) -> None:
        """Cancel an open order.

        Raises:
            OrderRefusedError: it has ended already.
        """
        if not order.is_open:
            raise OrderRefusedError(
                RefusalReason.ORDER_NOT_FOUND, f"order {order.order_id} is {order.status}"
            )
        self._matching.cancel(order.order_id)
        self._end(order, CancelCause.USER)

    def cancel_all(self) -> list[Order]:
        """Cancel every open order; return them."""
        orders = list(self._open.values())
        for order in orders:
            self.cancel(order)
        return orders

    def book_trades(self, trades: Iterable[Any]) -> None:
        """Book what the matching engine traded, whether on a request or on a market event."""
        booked = False
        for trade in trades:
            self._book(trade)
            booked = True
        if booked:
            self._drop_reduce_only()
            for subscriber in self._subscribers:
                subscriber("balance")

    def check_grid(self, price: Decimal | None, qty: Decimal) -> None:
        """Check price and quantity against the listed contract's steps and minima.

        Raises:
            OrderRefusedError: the first rule broken.
        """
        config = self.config
        if not qty.is_finite() or qty <= 0:
            raise OrderRefusedError(RefusalReason.BAD_PARAMETER, f"quantity {qty}")
        if price is not None:
            if not price.is_finite() or price <= 0:
                raise OrderRefusedError(RefusalReason.BAD_PARAMETER, f"price {price}")
            if price % config.tick_size:
                raise OrderRefusedError(
                    RefusalReason.PRICE_OFF_GRID, f"{price} is no multiple of {config.tick_size}"
                )
        if qty < config.smallest_qty:
            raise OrderRefusedError(RefusalReason.BELOW_MIN_QTY, f"{qty} is below {config.smallest_qty}")
        if qty % config.lot_size:
            raise OrderRefusedError(RefusalReason.QTY_OFF_GRID, f"{qty} is no multiple of {config.lot_size}")
        if price is not None and price * qty < config.min_notional:
            raise OrderRefusedError(
                RefusalReason.BELOW_MIN_NOTIONAL, f"{price * qty} is below {config.min_notional}"
            )

    # Queries

    def find(self, *, order_id: str | None = None, client_id: str | None = None) -> Order | None:
        """Return the order of that id, open or ended; the exchange's id goes before the client's."""
        if order_id:
            return self._orders.get(order_id)
        return self._by_client_id.get(client_id) if client_id else None

    def open_orders(self) -> Iterator[Order]:
        """Iterate over open orders, newest first."""
        return reversed(self._open.values())

    def ended_orders(self) -> Iterator[Order]:
        """Iterate over filled and cancelled orders, newest first."""
        return (order for order in reversed(self._orders.values()) if not order.is_open)

    def mark_price(self) -> Decimal:
        """Return the market's mid price on half ticks, the last known one while the book is not in sync."""
        mid = self._matching.mid()
        if mid is not None:
            half_tick = self.config.tick_size / 2
            self._last_price = round(Decimal(mid) / half_tick) * half_tick
        return self._last_price

    @property
    def wallet_balance(self) -> Decimal:
        """Quote balance with closed profit and fees, without open profit."""
        return self.config.balance + self.position.realised_profit - self.position.fees

    @property
    def unrealised_profit(self) -> Decimal:
        """Quote profit of the open position at the mark price."""
        return self.position.unrealised_profit(self.mark_price())

    @property
    def equity(self) -> Decimal:
        """Quote balance with open profit."""
        return self.wallet_balance + self.unrealised_profit

    @property
    def position_margin(self) -> Decimal:
        """Quote initial margin of the position."""
        return abs(self.position.qty) * self.mark_price() / self.config.leverage

    @property
    def order_margin(self) -> Decimal:
        """Quote initial margin open orders add on top of the position's, on the worse side."""
        return self._margin() - self.position_margin

    # Inside

    def _check_market(self) -> None:
        if not self._matching.is_synced():
            raise OrderRefusedError(RefusalReason.NO_MARKET, "the market's book is not in sync")

    def _check_new(self, request: OrderRequest) -> None:
        limit = 36 if self.config.venue == "bybit" else 50
        if request.client_id:
            if len(request.client_id) > limit or not _CLIENT_ID.fullmatch(request.client_id):
                raise OrderRefusedError(
                    RefusalReason.BAD_CLIENT_ID, f"at most {limit} letters, digits, - and _"
                )
            if request.client_id in self._by_client_id:
                raise OrderRefusedError(RefusalReason.DUPLICATE_CLIENT_ID, request.client_id)
        self.check_grid(request.price, request.qty)
        if request.post_only and request.price is None:
            raise OrderRefusedError(RefusalReason.BAD_PARAMETER, "a market order cannot be post-only")
        if len(self._open) >= self.config.max_open_orders:
            raise OrderRefusedError(
                RefusalReason.TOO_MANY_ORDERS, f"{self.config.max_open_orders} orders are open"
            )
        if request.reduce_only:
            signed = request.qty if request.side == "buy" else -request.qty
            if self.position.qty * signed >= 0 or request.qty > abs(self.position.qty):
                raise OrderRefusedError(RefusalReason.REDUCE_ONLY, f"the position is {self.position.qty}")
        else:
            self._check_funds(request.side, request.price, request.qty, replaced=None)

    def _check_funds(self, side: str, price: Decimal | None, qty: Decimal, *, replaced: Order | None) -> None:
        value = (self.mark_price() if price is None else price) * qty
        before = self._margin()
        after = self._margin(
            without=replaced,
            more_buys=value if side == "buy" else Decimal(0),
            more_sells=value if side == "sell" else Decimal(0),
        )
        if after > before and after > self.equity:
            raise OrderRefusedError(
                RefusalReason.INSUFFICIENT_FUNDS,
                f"margin {after} {self.config.quote} above equity {self.equity}",
            )

    def _margin(
        self,
        *,
        without: Order | None = None,
        more_buys: Decimal = Decimal(0),
        more_sells: Decimal = Decimal(0),
    ) -> Decimal:
        """Return the margin of the worse case: all open buys filled, or all open sells."""
        buys, sells = more_buys, more_sells
        for order in self._open.values():
            if order is without or order.reduce_only or order.price is None:
                continue
            if order.side == "buy":
                buys += order.remaining_qty * order.price
            else:
                sells += order.remaining_qty * order.price
        held = self.position.qty * self.mark_price()
        return max(abs(held), abs(held + buys), abs(held - sells)) / self.config.leverage

    def _book(self, trade: Any) -> None:
        order = self._orders[trade.order_id]
        price, qty = Decimal(trade.price), Decimal(trade.qty)
        rate = self.config.maker_fee_rate if trade.is_maker else self.config.taker_rate
        fee = price * qty * rate
        now_ns = self._clock.now_ns()
        closed, profit = self.position.apply(order.side, price, qty, fee, now_ns)
        order.filled_qty += qty
        order.filled_value += price * qty
        order.fees += fee
        order.updated_ns = now_ns
        order.status = OrderStatus.PARTIALLY_FILLED if order.remaining_qty else OrderStatus.FILLED
        execution = OwnExecution(
            serial=len(self.ledger.executions) + 1,
            exec_id=self.ids.take("execution"),
            order_id=order.order_id,
            client_id=order.client_id,
            side=order.side,
            price=price,
            qty=qty,
            fee=fee,
            fee_rate=rate,
            is_maker=trade.is_maker,
            print_id=trade.print_id,
            print_price=trade.print_price,
            exchange_ts_ns=trade.exchange_ts_ns,
            booked_ns=now_ns,
            order_price=order.price,
            order_qty=order.qty,
            leaves_qty=order.remaining_qty,
            closed_qty=closed,
            profit=profit,
        )
        order.executions.append(execution)
        self.ledger.append(execution)
        if not order.is_open:
            del self._open[order.order_id]
        for subscriber in self._subscribers:
            subscriber(execution)
        self._tell(order)

    def _drop_reduce_only(self) -> None:
        """Cancel reduce-only orders that the position no longer covers."""
        for order in [order for order in self._open.values() if order.reduce_only]:
            signed = order.remaining_qty if order.side == "buy" else -order.remaining_qty
            if self.position.qty * signed >= 0 or abs(signed) > abs(self.position.qty):
                self._matching.cancel(order.order_id)
                self._end(order, CancelCause.REDUCE_ONLY)

    def _end(self, order: Order, cause: CancelCause) -> None:
        order.status = OrderStatus.CANCELED
        order.cancel_cause = cause
        order.updated_ns = self._clock.now_ns()
        del self._open[order.order_id]
        self._tell(order)

    def _tell(self, order: Order) -> None:
        for subscriber in self._subscribers:
            subscriber(order)
