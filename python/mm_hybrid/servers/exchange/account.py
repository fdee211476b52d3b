"""One account trading one contract: orders, executions, position, wallet; no venue's spelling anywhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Literal

from mm_hybrid.clock import Clock
from mm_hybrid.errors import ServerError
from mm_hybrid.servers.exchange.account_view import AccountView
from mm_hybrid.servers.exchange.admission import check_grid, check_new, margin
from mm_hybrid.servers.exchange.config import ExchangeServerConfig
from mm_hybrid.servers.exchange.eventlog import EventLog
from mm_hybrid.servers.exchange.ids import IdSource
from mm_hybrid.servers.exchange.matching import Matching
from mm_hybrid.servers.exchange.orders import (
    CancelCause,
    ExecutionType,
    Order,
    OrderRefusedError,
    OrderRequest,
    OwnExecution,
    RefusalReason,
    SelfMatch,
)
from mm_hybrid.servers.exchange.setup import Setup
from mm_hybrid.servers.exchange.state import Fill, Funding
from mm_hybrid.servers.exchange.wire import number
from mm_hybrid.types import Side

Change = Order | OwnExecution | Literal["balance"]
"""What subscribers hear of: an order that changed, an execution, or position and wallet after executions."""


class Account(AccountView):
    """Checks requests, hands them to the matching engine and books what comes back.

    Every method runs on the event loop's thread and finishes without awaiting: no request is half booked. Whoever
    calls one commits the log afterwards, before anything is sent.

    Attributes:
        hide_new_until_ns: orders placed while this is set are shown by queries only from then on.
        split_fills_when: asked at each fill whether it comes as two executions.
    """

    def __init__(
        self,
        config: ExchangeServerConfig,
        matching: Matching,
        clock: Clock,
        *,
        log: EventLog | None = None,
        ids: IdSource | None = None,
    ) -> None:
        log = EventLog(config.state, _meta(config)) if log is None else log
        super().__init__(config, matching, clock, log)
        self.ids = IdSource(config.venue, clock) if ids is None else ids
        self.hide_new_until_ns = 0
        self.split_fills_when: Callable[[], bool] = lambda: False
        self._subscribers: list[Callable[[Change], None]] = []
        try:
            self._restore()
        except ServerError:
            self.log.close()
            raise
        self._to_rest = list(self.state.open.values())

    def _restore(self) -> None:
        known = self.log.meta()
        self._balance = Decimal(known.get("balance", self.config.balance))
        if "setup" in known:
            self._setup = Setup.model_validate_json(known["setup"])
        self.state.replay(self.ids)

    def subscribe(self, subscriber: Callable[[Change], None]) -> None:
        """Call ``subscriber`` for every change from now on, in the sequence of booking."""
        self._subscribers.append(subscriber)

    def splits_fill(self) -> bool:
        """Return whether the next fill comes as two executions."""
        return self.split_fills_when()

    def configure(self, setup: Setup) -> None:
        """Switch the set-up of account and market; it outlives the server with the state file."""
        self._setup = setup
        if setup.balance is not None:
            self._balance = setup.balance
        self.log.set_meta({"setup": setup.model_dump_json(), "balance": str(self._balance)})

    # Requests

    def switch_mode(self, *, hedge_mode: bool) -> None:
        """Switch between one-way and hedge mode, as the client asks for it.

        Raises:
            OrderRefusedError: it is the mode already, or a position or an open order holds it.
        """
        if hedge_mode == self.setup.hedge_mode:
            raise OrderRefusedError(RefusalReason.MODE_UNCHANGED, f"hedge mode is {hedge_mode}")
        if self.position.qty:
            raise OrderRefusedError(RefusalReason.MODE_HELD_BY_POSITION, f"position {self.position.qty}")
        if self.state.open:
            raise OrderRefusedError(RefusalReason.MODE_HELD_BY_ORDERS, f"{len(self.state.open)} open orders")
        self.configure(self.setup.model_copy(update={"hedge_mode": hedge_mode, "balance": None}))

    def set_leverage(self, leverage: Decimal) -> bool:
        """Set the leverage of the contract; return whether it changed.

        Raises:
            OrderRefusedError: position and open orders would need more margin than there is.
        """
        if leverage == self.leverage:
            return False
        mark = self.mark_price()
        if margin(self.state, mark, leverage) > max(self.equity, margin(self.state, mark, self.leverage)):
            raise OrderRefusedError(RefusalReason.INSUFFICIENT_FUNDS, f"leverage {leverage}")
        self.configure(self.setup.model_copy(update={"leverage": leverage, "balance": None}))
        return True

    def place(self, request: OrderRequest) -> Order:
        """Accept an order; a post-only order that would cross is accepted, then cancelled.

        Raises:
            OrderRefusedError: nothing was placed.
        """
        self._check_market()
        check_new(self.config, self.setup, self.state, request)
        if not request.reduce_only:
            self._check_funds(request.side, request.price, request.qty, replaced=None)
        now_ns = self._clock.now_ns()
        order = Order(
            serial=len(self.state.orders) + 1,
            order_id=self.ids.take("order"),
            client_id=request.client_id,
            side=request.side,
            price=request.price,
            qty=request.qty,
            post_only=request.post_only,
            ioc=request.ioc or request.price is None,
            reduce_only=request.reduce_only,
            self_match=request.self_match,
            created_ns=now_ns,
            updated_ns=now_ns,
            mid_at_creation=self.mark_price(),
            visible_ns=self.hide_new_until_ns,
        )
        self.state.accept(order)
        self._match(order)
        return order

    def amend(self, order: Order, *, price: Decimal | None, qty: Decimal | None) -> None:
        """Change price and/or total quantity of an open order in place.

        Raises:
            OrderRefusedError: the order stands as it was.
        """
        self._check_open(order)
        self._check_market()
        new_price = order.price if price is None else price
        new_qty = order.qty if qty is None else qty
        if (new_price, new_qty) == (order.price, order.qty):
            raise OrderRefusedError(RefusalReason.NOT_MODIFIED, "neither price nor quantity changes")
        check_grid(self.config, new_price, new_qty)
        if new_qty <= order.filled_qty:
            raise OrderRefusedError(RefusalReason.QTY_BELOW_FILLED, f"{order.filled_qty} of it has traded")
        if not order.reduce_only:
            self._check_funds(order.side, new_price, new_qty - order.filled_qty, replaced=order)
        now_ns = self._clock.now_ns()
        self.state.amend(order, new_price, new_qty, now_ns)
        if self._own_in_the_way(order):
            self._matching.cancel(order.order_id)
            order.unmatched_qty = order.filled_qty
            self._match(order)
            return
        status, trades = self._matching.amend(
            order.order_id,
            price=None if price is None else str(price),
            qty=None if qty is None else str(qty - order.unmatched_qty),
            now_ns=now_ns,
        )
        self._settle(order, status, trades)

    def cancel(self, order: Order, cause: CancelCause = CancelCause.USER) -> None:
        """Cancel an open order.

        Raises:
            OrderRefusedError: it has ended already.
        """
        self._check_open(order)
        self._matching.cancel(order.order_id)
        self.end(order, cause)

    def cancel_all(self, cause: CancelCause = CancelCause.USER) -> list[Order]:
        """Cancel every open order; return them."""
        orders = list(self.state.open.values())
        for order in orders:
            self.cancel(order, cause)
        return orders

    # Events that no request of the client causes

    def book_trades(self, trades: Iterable[Any]) -> None:
        """Book what the matching engine traded, whether on a request or on a market event."""
        booked = False
        for trade in trades:
            self._book_trade(trade)
            booked = True
        if booked:
            self.after_trades()

    def fill(self, order: Order, qty: Decimal | None = None) -> None:
        """Fill an open order at its own price, as if a taker had come; the whole of it by default.

        Raises:
            OrderRefusedError: it has ended already.
        """
        self._check_open(order)
        self._fill_outside(order, order.price or self.mark_price(), qty or order.remaining_qty)
        self.after_trades()

    def rest_again(self) -> None:
        """Put orders of an earlier run back into the engine, once there is a market.

        One that the market has gone through meanwhile was filled there at its own price.
        """
        if not self._to_rest or not self._matching.is_synced():
            return
        waiting, self._to_rest = self._to_rest, []
        for order in waiting:
            if not order.is_open:
                continue
            order.unmatched_qty = order.filled_qty
            status, _ = self._matching.place(
                order.order_id,
                order.side,
                None if order.price is None else str(order.price),
                str(order.remaining_qty),
                post_only=True,
                ioc=False,
                now_ns=self._clock.now_ns(),
            )
            if status != "open":
                self.fill(order)

    # Booking

    def book(
        self,
        order: Order,
        price: Decimal,
        qty: Decimal,
        *,
        is_maker: bool,
        print_id: str | None,
        print_price: str | None,
        exchange_ts_ns: int,
    ) -> None:
        """Book one trade of an order and tell of it."""
        fee, rate, currency = self.fee_of(order.side, price, qty, is_maker=is_maker)
        fill = Fill(
            exec_id=self.ids.take("execution"),
            order_id=order.order_id,
            client_id=order.client_id,
            side=order.side,
            price=price,
            qty=qty,
            fee=fee,
            fee_rate=rate,
            fee_currency=currency,
            is_maker=is_maker,
            print_id=print_id,
            print_price=print_price,
            exchange_ts_ns=exchange_ts_ns,
        )
        self.book_fill(fill)
        self._tell(order)

    def fee_of(
        self, side: Side, price: Decimal, qty: Decimal, *, is_maker: bool
    ) -> tuple[Decimal, Decimal, str]:
        """Return fee, rate and currency of a trade."""
        del side
        rate = self.config.maker_fee_rate if is_maker else self.config.taker_rate
        if self.config.fee_coin is not None:
            return price * qty * rate / self.config.fee_coin_price, rate, self.config.fee_coin
        return price * qty * rate, rate, self.config.quote

    def book_fill(self, fill: Fill) -> OwnExecution:
        """Book an execution and tell of it."""
        execution = self.state.execute(fill, self._clock.now_ns())
        self._tell(execution)
        return execution

    def settle_funding(self, rate: Decimal) -> Funding:
        """Book funding on the present position at the mark price and tell of it."""
        mark, position, now_ns = self.mark_price(), self.position.qty, self._clock.now_ns()
        amount = -position * mark * rate
        funding = self.state.fund(self.ids.take("bill"), rate, amount, mark, now_ns)
        if self.config.venue == "bybit" and position:
            self.book_fill(
                Fill(
                    exec_id=self.ids.take("execution"),
                    order_id=self.ids.take("order"),
                    client_id="",
                    # The side that would open the position.
                    side="buy" if position > 0 else "sell",
                    price=mark,
                    qty=abs(position),
                    fee=-amount,
                    fee_rate=rate if position > 0 else -rate,
                    fee_currency=self.config.quote,
                    is_maker=False,
                    print_id=None,
                    print_price=None,
                    exchange_ts_ns=now_ns,
                    exec_type=ExecutionType.FUNDING,
                )
            )
        self._tell("balance")
        return funding

    def after_trades(self) -> None:
        """Do what follows on a batch of executions."""
        self._drop_reduce_only()
        self._tell("balance")

    def end(self, order: Order, cause: CancelCause) -> None:
        """End an order that the engine does not hold any more, and tell of it."""
        self.state.end(order, cause, self._clock.now_ns())
        self._tell(order)

    # Inside

    def _check_market(self) -> None:
        if not self._matching.is_synced():
            raise OrderRefusedError(RefusalReason.NO_MARKET, "the market's book is not in sync")

    @staticmethod
    def _check_open(order: Order) -> None:
        if not order.is_open:
            raise OrderRefusedError(
                RefusalReason.ORDER_NOT_FOUND, f"order {order.order_id} is {order.status}"
            )

    def _check_funds(
        self, side: Side, price: Decimal | None, qty: Decimal, *, replaced: Order | None
    ) -> None:
        mark = self.mark_price()
        value = (mark if price is None else price) * qty
        before = margin(self.state, mark, self.leverage)
        after = margin(
            self.state,
            mark,
            self.leverage,
            without=replaced,
            more_buys=value if side == "buy" else Decimal(0),
            more_sells=value if side == "sell" else Decimal(0),
        )
        if after > before and after > self.equity:
            raise OrderRefusedError(
                RefusalReason.INSUFFICIENT_FUNDS,
                f"margin {after} {self.config.quote} above equity {self.equity}",
            )

    def _match(self, order: Order) -> None:
        """Match an accepted order that is not in the engine: against the market and own resting orders."""
        own = self._own_in_the_way(order)
        if own and order.post_only:
            self.end(order, CancelCause.POST_ONLY)
            return
        status, trades = self._matching.place(
            order.order_id,
            order.side,
            None if order.price is None else str(order.price),
            str(order.remaining_qty),
            post_only=order.post_only,
            ioc=order.ioc,
            now_ns=self._clock.now_ns(),
        )
        if own:
            self._match_among_own(order, own, list(trades))
        else:
            self._settle(order, status, trades)

    def _match_among_own(self, taker: Order, own: list[Order], trades: list[Any]) -> None:
        """Walk through the engine's trades and own resting orders by price, own ones first at equal prices.

        The engine knew nothing of the own ones, so that what they took is taken off the end of its trades, and
        off the rest it holds.
        """
        engine_filled = sum((Decimal(trade.qty) for trade in trades), Decimal(0))
        waiting = deque(trades)
        for maker in own:
            while waiting and taker.is_open and _is_better(taker, Decimal(waiting[0].price), maker.price):
                self._book_trade(waiting.popleft(), at_most=taker.remaining_qty)
            if not taker.is_open or not self._meet(taker, maker):
                break
        while waiting and taker.is_open:
            self._book_trade(waiting.popleft(), at_most=taker.remaining_qty)
        if not taker.is_open:
            self._matching.cancel(taker.order_id)
        elif taker.ioc:
            self.end(taker, CancelCause.NO_LIQUIDITY)
        else:
            engine_total = engine_filled + taker.remaining_qty
            taker.unmatched_qty = taker.qty - engine_total
            now_ns = self._clock.now_ns()
            self._matching.amend(taker.order_id, price=None, qty=str(engine_total), now_ns=now_ns)
            if not taker.filled_qty:
                self._tell(taker)
        self.after_trades()

    def _own_in_the_way(self, order: Order) -> list[Order]:
        """Return own resting orders that the order would meet, best price first."""
        met = [
            other
            for other in self.state.open.values()
            if other is not order
            and other.side != order.side
            and other.price is not None
            and (
                order.price is None
                or (other.price <= order.price if order.side == "buy" else other.price >= order.price)
            )
        ]
        return sorted(met, key=lambda one: one.price or 0, reverse=order.side == "sell")

    def _meet(self, taker: Order, maker: Order) -> bool:
        """Do what the taker asked for on meeting an own order; return whether it goes on."""
        wish = taker.self_match
        if wish in (SelfMatch.CANCEL_MAKER, SelfMatch.CANCEL_BOTH):
            self.cancel(maker, CancelCause.SELF_MATCH)
        if wish in (SelfMatch.CANCEL_TAKER, SelfMatch.CANCEL_BOTH):
            self.end(taker, CancelCause.SELF_MATCH)
        if wish is SelfMatch.NONE:
            qty = min(taker.remaining_qty, maker.remaining_qty)
            price = maker.price or self.mark_price()
            self._fill_outside(maker, price, qty)
            self._book_own(taker, price, qty, is_maker=False)
        return taker.is_open

    def _fill_outside(self, order: Order, price: Decimal, qty: Decimal) -> None:
        """Book a fill of a resting order that the engine does not know of, and tell it what is left."""
        order.unmatched_qty += qty
        now_ns = self._clock.now_ns()
        if qty < order.remaining_qty:
            self._matching.amend(
                order.order_id, price=None, qty=str(order.qty - order.unmatched_qty), now_ns=now_ns
            )
        else:
            self._matching.cancel(order.order_id)
        self._book_own(order, price, qty, is_maker=True)

    def _book_own(self, order: Order, price: Decimal, qty: Decimal, *, is_maker: bool) -> None:
        """Book a trade that no print and no level of the market stands for."""
        self.book(
            order,
            price,
            qty,
            is_maker=is_maker,
            print_id=None,
            print_price=None,
            exchange_ts_ns=self._clock.now_ns(),
        )

    def _settle(self, order: Order, status: str, trades: Iterable[Any]) -> None:
        """Book the engine's answer to a new or amended order."""
        trades = list(trades)
        if status == "open" and not trades:
            self._tell(order)
        self.book_trades(trades)
        if status == "canceled" and order.is_open:
            self.end(order, CancelCause.POST_ONLY if order.post_only else CancelCause.NO_LIQUIDITY)

    def _book_trade(self, trade: Any, at_most: Decimal | None = None) -> None:
        qty = Decimal(trade.qty)
        for part in self._parts(qty if at_most is None else min(qty, at_most)):
            self.book(
                self.state.orders[trade.order_id],
                Decimal(trade.price),
                part,
                is_maker=trade.is_maker,
                print_id=trade.print_id,
                print_price=trade.print_price,
                exchange_ts_ns=trade.exchange_ts_ns,
            )

    def _parts(self, qty: Decimal) -> tuple[Decimal, ...]:
        """Return the quantities one fill is booked in."""
        lot = self.config.lot_size
        if qty < 2 * lot or not self.splits_fill():
            return (qty,)
        first = qty // lot // 2 * lot
        return first, qty - first

    def _drop_reduce_only(self) -> None:
        """Cancel reduce-only orders that the position no longer covers."""
        for order in [order for order in self.state.open.values() if order.reduce_only]:
            signed = order.remaining_qty if order.side == "buy" else -order.remaining_qty
            if self.position.qty * signed >= 0 or abs(signed) > abs(self.position.qty):
                self.cancel(order, CancelCause.REDUCE_ONLY)

    def _tell(self, change: Change) -> None:
        for subscriber in self._subscribers:
            subscriber(change)


def _is_better(taker: Order, price: Decimal, than: Decimal | None) -> bool:
    """Return whether a taker would rather trade at ``price``."""
    if than is None:
        return False
    return price < than if taker.side == "buy" else price > than


def _meta(config: ExchangeServerConfig) -> dict[str, str]:
    return {
        "venue": config.venue,
        "symbol": config.symbol,
        "base": config.base,
        "quote": config.quote,
        "balance": str(config.balance),
        "tick_size": number(config.tick_size),
        "lot_size": number(config.lot_size),
        "min_qty": number(config.smallest_qty),
        "min_notional": number(config.min_notional),
        "maker_fee_rate": str(config.maker_fee_rate),
        "taker_fee_rate": str(config.taker_rate),
        "leverage": str(config.leverage),
        "spot": str(config.spot).lower(),
        "spot_base_balance": str(config.spot_base_balance) if config.spot else "0",
        "spot_quote_balance": str(config.spot_quote_balance) if config.spot else "0",
    }
