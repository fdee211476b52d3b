"""What the account is, as a fold over its events: the same transitions whether they happen or are read back."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from mm_hybrid.errors import ServerError
from mm_hybrid.servers.exchange.eventlog import EventLog, LoggedEvent
from mm_hybrid.servers.exchange.ids import IdSource
from mm_hybrid.servers.exchange.ledger import Ledger
from mm_hybrid.servers.exchange.orders import (
    CancelCause,
    ExecutionType,
    Order,
    OrderStatus,
    OwnExecution,
    SelfMatch,
)
from mm_hybrid.servers.exchange.position import PositionBook
from mm_hybrid.servers.exchange.wire import Fields, number
from mm_hybrid.types import Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """What an execution is made from; the rest follows from order and position."""

    exec_id: str
    order_id: str
    client_id: str
    side: Side
    price: Decimal
    qty: Decimal
    fee: Decimal
    fee_rate: Decimal
    fee_currency: str
    is_maker: bool
    print_id: str | None
    print_price: str | None
    exchange_ts_ns: int
    exec_type: ExecutionType = ExecutionType.TRADE


@dataclass(frozen=True, slots=True, kw_only=True)
class Funding:
    """One funding settlement; ``amount`` is signed cash, received is positive, ``position`` signed base."""

    serial: int
    bill_id: str
    rate: Decimal
    amount: Decimal
    position: Decimal
    mark: Decimal
    booked_ns: int


class AccountState:
    """Orders, executions, fundings and position of one account, and the log they are written to."""

    def __init__(self, log: EventLog, ledger: Ledger, category: str, quote: str) -> None:
        self.log = log
        self.ledger = ledger
        self.position = PositionBook()
        self.orders: dict[str, Order] = {}
        self.open: dict[str, Order] = {}
        self.by_client_id: dict[str, Order] = {}
        self.fundings: list[Funding] = []
        self._category = category
        self._quote = quote
        self._is_replaying = False

    # What happens

    def accept(self, order: Order) -> None:
        """Take a new order in."""
        self.orders[order.order_id] = order
        self.open[order.order_id] = order
        if order.client_id:
            self.by_client_id[order.client_id] = order
        body: Fields = {
            "side": order.side,
            "price": None if order.price is None else number(order.price),
            "qty": number(order.qty),
            "reduce_only": order.reduce_only,
            "post_only": order.post_only,
            "ioc": order.ioc,
            "self_match": str(order.self_match),
            "mid": number(order.mid_at_creation),
            "visible_ns": order.visible_ns,
        }
        self._write("accepted", order.created_ns, body, order.order_id, order.client_id)

    def amend(self, order: Order, price: Decimal | None, qty: Decimal, now_ns: int) -> None:
        """Change price and total quantity."""
        order.price, order.qty, order.updated_ns = price, qty, now_ns
        body: Fields = {
            "price": None if price is None else number(price),
            "qty": number(qty),
            "filled": number(order.filled_qty),
        }
        self._write("amended", now_ns, body, order.order_id, order.client_id)

    def end(self, order: Order, cause: CancelCause, now_ns: int) -> None:
        """End an order before it was filled."""
        order.status = OrderStatus.CANCELED
        order.cancel_cause = cause
        order.updated_ns = now_ns
        del self.open[order.order_id]
        self._write("canceled", now_ns, {"cause": str(cause)}, order.order_id, order.client_id)

    def execute(self, fill: Fill, now_ns: int) -> OwnExecution:
        """Book an execution; of an order, or of the venue's own making when there is none with its id."""
        order = self.orders.get(fill.order_id)
        closed = profit = Decimal(0)
        if fill.exec_type is not ExecutionType.FUNDING:
            other_fee = Decimal(0) if fill.fee_currency == self._quote else fill.fee
            closed, profit = self.position.apply(
                fill.side, fill.price, fill.qty, fill.fee - other_fee, now_ns
            )
            self.position.other_fees += other_fee
        if order is not None:
            order.filled_qty += fill.qty
            order.filled_value += fill.price * fill.qty
            order.fees += fill.fee
            order.updated_ns = now_ns
            order.status = OrderStatus.PARTIALLY_FILLED if order.remaining_qty else OrderStatus.FILLED
        execution = OwnExecution(
            serial=len(self.ledger.executions) + 1,
            exec_id=fill.exec_id,
            order_id=fill.order_id,
            client_id=fill.client_id,
            side=fill.side,
            price=fill.price,
            qty=fill.qty,
            fee=fill.fee,
            fee_rate=fill.fee_rate,
            fee_currency=fill.fee_currency,
            is_maker=fill.is_maker,
            print_id=fill.print_id,
            print_price=fill.print_price,
            exchange_ts_ns=fill.exchange_ts_ns,
            booked_ns=now_ns,
            order_price=None if order is None else order.price,
            order_qty=fill.qty if order is None else order.qty,
            leaves_qty=Decimal(0) if order is None else order.remaining_qty,
            closed_qty=closed,
            profit=profit,
            exec_type=fill.exec_type,
        )
        if order is not None:
            order.executions.append(execution)
            if not order.is_open:
                del self.open[order.order_id]
        if self._is_replaying:
            self.ledger.restore(execution)
            return execution
        self.ledger.append(execution)
        body: Fields = {
            "exec_id": fill.exec_id,
            "exec_type": str(fill.exec_type),
            "side": fill.side,
            "price": number(fill.price),
            "qty": number(fill.qty),
            "fee": number(fill.fee),
            "fee_currency": fill.fee_currency,
            "is_maker": fill.is_maker,
            "position_after": number(self.position.qty),
            "fee_rate": number(fill.fee_rate),
            "print_id": fill.print_id,
            "print_price": fill.print_price,
            "exchange_ts_ns": fill.exchange_ts_ns,
        }
        self._write("execution", now_ns, body, fill.order_id, fill.client_id)
        return execution

    def fund(self, bill_id: str, rate: Decimal, amount: Decimal, mark: Decimal, now_ns: int) -> Funding:
        """Book a funding settlement on the present position."""
        self.position.funding += amount
        funding = Funding(
            serial=len(self.fundings) + 1,
            bill_id=bill_id,
            rate=rate,
            amount=amount,
            position=self.position.qty,
            mark=mark,
            booked_ns=now_ns,
        )
        self.fundings.append(funding)
        body: Fields = {
            "rate": number(rate),
            "amount": number(amount),
            "position": number(self.position.qty),
            "mark": number(mark),
            "bill_id": bill_id,
        }
        self._write("funding", now_ns, body, None, None)
        return funding

    def _write(
        self, kind: str, ts_ns: int, body: Fields, order_id: str | None, client_id: str | None
    ) -> None:
        if not self._is_replaying:
            if self._category != "linear":
                body["category"] = self._category
            self.log.append(kind, ts_ns, body, order_id=order_id, client_id=client_id)

    # Reading back

    def replay(self, ids: IdSource) -> None:
        """Take in what earlier runs wrote; ``ids`` goes on behind every id seen.

        Raises:
            ServerError: the log contradicts itself; names the event.
        """
        self._is_replaying = True
        for count, event in enumerate(self.log.events(), 1):
            try:
                self._take(event, ids)
            except (KeyError, ValueError, TypeError, InvalidOperation) as error:
                raise ServerError(
                    f"the state file cannot be read back at event {count} ({event.kind}): {error!r}"
                ) from error
        self._is_replaying = False

    def _take(self, event: LoggedEvent, ids: IdSource) -> None:
        body = event.body
        for used in (event.order_id, body.get("exec_id"), body.get("bill_id")):
            if isinstance(used, str):
                ids.skip(used)
        if body.get("category", "linear") != self._category:
            return
        match event.kind:
            case "accepted":
                self.accept(_order_of(event, serial=len(self.orders) + 1))
            case "amended":
                self.amend(
                    self.orders[event.order_id or ""],
                    _decimal_or_none(body["price"]),
                    _decimal(body["qty"]),
                    event.ts_ns,
                )
            case "canceled":
                self.end(self.open[event.order_id or ""], CancelCause(str(body["cause"])), event.ts_ns)
            case "execution":
                self.execute(_fill_of(event), event.ts_ns)
            case "funding":
                self.fund(
                    str(body["bill_id"]),
                    _decimal(body["rate"]),
                    _decimal(body["amount"]),
                    _decimal(body["mark"]),
                    event.ts_ns,
                )
            case "request" | "fault":
                pass
            case other:
                raise ValueError(f"unknown kind {other!r}")


def _order_of(event: LoggedEvent, serial: int) -> Order:
    body = event.body
    return Order(
        serial=serial,
        order_id=event.order_id or "",
        client_id=event.client_id or "",
        side=_side(body["side"]),
        price=_decimal_or_none(body["price"]),
        qty=_decimal(body["qty"]),
        post_only=bool(body["post_only"]),
        ioc=bool(body["ioc"]),
        reduce_only=bool(body["reduce_only"]),
        self_match=SelfMatch(str(body["self_match"])),
        created_ns=event.ts_ns,
        updated_ns=event.ts_ns,
        mid_at_creation=_decimal(body["mid"]),
        visible_ns=int(str(body["visible_ns"])),
    )


def _fill_of(event: LoggedEvent) -> Fill:
    body = event.body
    print_id, print_price = body["print_id"], body["print_price"]
    return Fill(
        exec_id=str(body["exec_id"]),
        order_id=event.order_id or "",
        client_id=event.client_id or "",
        side=_side(body["side"]),
        price=_decimal(body["price"]),
        qty=_decimal(body["qty"]),
        fee=_decimal(body["fee"]),
        fee_rate=_decimal(body["fee_rate"]),
        fee_currency=str(body["fee_currency"]),
        is_maker=bool(body["is_maker"]),
        print_id=None if print_id is None else str(print_id),
        print_price=None if print_price is None else str(print_price),
        exchange_ts_ns=int(str(body["exchange_ts_ns"])),
        exec_type=ExecutionType(str(body["exec_type"])),
    )


def _side(value: object) -> Side:
    if value == "buy":
        return "buy"
    if value == "sell":
        return "sell"
    raise ValueError(f"side {value!r}")


def _decimal(value: object) -> Decimal:
    return Decimal(str(value))


def _decimal_or_none(value: object) -> Decimal | None:
    return None if value is None else _decimal(value)
