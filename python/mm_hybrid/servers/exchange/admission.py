"""Which orders the venue takes: grid, minima, ids, margin, reduce-only, modes."""

from __future__ import annotations

import re
from decimal import Decimal

from mm_hybrid.servers.exchange.config import ExchangeServerConfig
from mm_hybrid.servers.exchange.orders import Order, OrderRefusedError, OrderRequest, RefusalReason
from mm_hybrid.servers.exchange.setup import Setup
from mm_hybrid.servers.exchange.state import AccountState

_CLIENT_ID = re.compile(r"[A-Za-z0-9_.:#/-]+")


def check_grid(config: ExchangeServerConfig, price: Decimal | None, qty: Decimal) -> None:
    """Check price and quantity against the listed contract's steps and minima.

    Raises:
        OrderRefusedError: the first rule broken.
    """
    if not qty.is_finite() or qty <= 0:
        raise OrderRefusedError(RefusalReason.BAD_PARAMETER, f"quantity {qty}")
    if qty > config.largest_qty:
        raise OrderRefusedError(RefusalReason.ABOVE_MAX_QTY, f"{qty} is above {config.largest_qty}")
    if price is not None:
        if not price.is_finite() or price <= 0:
            raise OrderRefusedError(RefusalReason.BAD_PARAMETER, f"price {price}")
        if price > config.highest_price:
            raise OrderRefusedError(RefusalReason.PRICE_TOO_HIGH, f"{price} is above {config.highest_price}")
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


def check_new(config: ExchangeServerConfig, setup: Setup, state: AccountState, request: OrderRequest) -> None:
    """Check a new order but for the margin it needs.

    Raises:
        OrderRefusedError: the first rule broken.
    """
    if setup.symbol_status != "trading":
        raise OrderRefusedError(RefusalReason.NOT_TRADABLE, f"{config.symbol} is {setup.symbol_status}")
    limit = 36 if config.venue == "bybit" else 50
    if request.client_id:
        if len(request.client_id) > limit or not _CLIENT_ID.fullmatch(request.client_id):
            raise OrderRefusedError(RefusalReason.BAD_CLIENT_ID, f"at most {limit} letters, digits, - and _")
        if request.client_id in state.by_client_id:
            raise OrderRefusedError(RefusalReason.DUPLICATE_CLIENT_ID, request.client_id)
    check_grid(config, request.price, request.qty)
    if request.post_only and request.price is None:
        raise OrderRefusedError(RefusalReason.BAD_PARAMETER, "a market order cannot be post-only")
    if len(state.open) >= config.max_open_orders:
        raise OrderRefusedError(RefusalReason.TOO_MANY_ORDERS, f"{config.max_open_orders} orders are open")
    if request.reduce_only:
        position = state.position.qty
        signed = request.qty if request.side == "buy" else -request.qty
        if position * signed >= 0 or request.qty > abs(position):
            raise OrderRefusedError(RefusalReason.REDUCE_ONLY, f"the position is {position}")


def margin(
    state: AccountState,
    mark: Decimal,
    leverage: Decimal,
    *,
    without: Order | None = None,
    more_buys: Decimal = Decimal(0),
    more_sells: Decimal = Decimal(0),
) -> Decimal:
    """Return the quote margin of the worse case: all open buys filled, or all open sells."""
    buys, sells = more_buys, more_sells
    for order in state.open.values():
        if order is without or order.reduce_only or order.price is None:
            continue
        if order.side == "buy":
            buys += order.remaining_qty * order.price
        else:
            sells += order.remaining_qty * order.price
    held = state.position.qty * mark
    return max(abs(held), abs(held + buys), abs(held - sells)) / leverage
