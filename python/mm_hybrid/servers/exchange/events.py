"""What happens to an account without a request of its own client: funding, deleveraging, an order by hand."""

from __future__ import annotations

from decimal import Decimal

from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.orders import (
    ExecutionType,
    Order,
    OrderRefusedError,
    OrderRequest,
    OwnExecution,
    RefusalReason,
)
from mm_hybrid.servers.exchange.state import Fill, Funding
from mm_hybrid.types import Side


def fund(account: Account, rate: Decimal) -> Funding:
    """Settle funding on the present position: longs pay a positive rate, shorts receive it.

    Bybit tells of it as an execution of type ``Funding``, Bitget as a bill.
    """
    funding = account.settle_funding(rate)
    account.log.commit()
    return funding


def adl(account: Account, qty: Decimal) -> OwnExecution:
    """Reduce the position by ``qty`` at the mark price, without a client id and without a fee.

    Raises:
        OrderRefusedError: the position is smaller than that.
    """
    position = account.position.qty
    if qty > abs(position):
        raise OrderRefusedError(RefusalReason.REDUCE_ONLY, f"the position is {position}")
    fill = Fill(
        exec_id=account.ids.take("execution"),
        order_id=account.ids.take("order"),
        client_id="",
        side="sell" if position > 0 else "buy",
        price=account.mark_price(),
        qty=qty,
        fee=Decimal(0),
        fee_rate=Decimal(0),
        fee_currency=account.config.quote,
        is_maker=False,
        print_id=None,
        print_price=None,
        exchange_ts_ns=account.now_ns(),
        exec_type=ExecutionType.ADL,
    )
    execution = account.book_fill(fill)
    account.after_trades()
    account.log.commit()
    return execution


def foreign_order(account: Account, side: Side, price: Decimal | None, qty: Decimal) -> Order:
    """Place an order as the user's hand would: no client id of ours.

    Raises:
        OrderRefusedError: nothing was placed.
    """
    order = account.place(OrderRequest(client_id="", side=side, price=price, qty=qty))
    account.log.commit()
    return order
