"""Bitget v2 futures order requests.

Source: Bitget v2 API documentation, futures pages Place Order, Modify Order, Cancel Order, Batch Order, Batch
Cancel Orders, Cancel All Orders. An acknowledgement says that a request was taken; the rest is on the stream.
"""

from __future__ import annotations

from decimal import Decimal

from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.admission import check_grid
from mm_hybrid.servers.exchange.bitget_messages import PRODUCT
from mm_hybrid.servers.exchange.bitget_protocol import BitgetError
from mm_hybrid.servers.exchange.orders import (
    Order,
    OrderRefusedError,
    OrderRequest,
    RefusalReason,
    SelfMatch,
)
from mm_hybrid.servers.exchange.wire import Fields, number, parse_decimal, text

_BATCH_MOST = 50
_SELF_MATCH = {
    "": SelfMatch.NONE,
    "none": SelfMatch.NONE,
    "cancel_maker": SelfMatch.CANCEL_MAKER,
    "cancel_taker": SelfMatch.CANCEL_TAKER,
    "cancel_both": SelfMatch.CANCEL_BOTH,
}


class BitgetOrders:
    """Turns Bitget's order requests into the account's and answers with ids."""

    batch_cancel_key = "orderIdList"

    def __init__(self, account: Account) -> None:
        self._account = account

    def place(self, params: Fields) -> Fields:
        """Place one order; raises ``BitgetError`` when it is refused."""
        self._check_instrument(params)
        side, kind = text(params, "side").lower(), text(params, "orderType").lower()
        if side not in ("buy", "sell"):
            raise BitgetError("40017", "Parameter verification failed: side")
        if kind not in ("limit", "market"):
            raise BitgetError("40017", "Parameter verification failed: orderType")
        self._check_permission()
        self._check_product(params)
        if text(params, "stpMode") not in _SELF_MATCH:
            raise BitgetError("40017", "Parameter verification failed: stpMode")
        force = text(params, "force").lower() or "gtc"
        if force not in ("gtc", "ioc", "post_only"):
            raise BitgetError("40017", f"Parameter verification failed: force {force} is not supported here")
        qty, price = self._qty(params, side, kind), parse_decimal(params.get("price"))
        if qty is None:
            raise BitgetError("40019", "Parameter size cannot be empty")
        if kind == "limit" and price is None:
            raise BitgetError("40019", "Parameter price cannot be empty")
        request = OrderRequest(
            client_id=text(params, "clientOid") or self._account.ids.take("client"),
            side="buy" if side == "buy" else "sell",
            qty=qty,
            price=price if kind == "limit" else None,
            post_only=force == "post_only",
            ioc=force == "ioc",
            reduce_only=text(params, "reduceOnly").upper() == "YES",
            self_match=_SELF_MATCH[text(params, "stpMode")],
        )
        return self._place(request)

    def modify(self, params: Fields) -> Fields:
        """Replace an order: it is cancelled and a new one placed, with a new id and the new client id."""
        self._check_permission()
        order = self._find(params)
        if not order.is_open:
            raise BitgetError.of(OrderRefusedError(RefusalReason.ORDER_NOT_FOUND, order.order_id))
        new_id = text(params, "newClientOid")
        if not new_id:
            raise BitgetError("40019", "Parameter newClientOid cannot be empty")
        if self._account.find(client_id=new_id) is not None:
            raise BitgetError.of(OrderRefusedError(RefusalReason.DUPLICATE_CLIENT_ID, new_id))
        price = parse_decimal(params.get("newPrice")) or order.price
        qty = parse_decimal(params.get("newSize")) or order.remaining_qty
        if (price, qty) == (order.price, order.remaining_qty):
            raise BitgetError.of(OrderRefusedError(RefusalReason.NOT_MODIFIED, order.order_id))
        self._check_sizes(price, qty)
        self.cancel_order(order)
        return self._place(
            OrderRequest(
                client_id=new_id,
                side=order.side,
                qty=qty,
                price=price,
                post_only=order.post_only,
                ioc=order.ioc,
                reduce_only=order.reduce_only,
                self_match=order.self_match,
            )
        )

    def cancel(self, params: Fields) -> Fields:
        """Cancel one order by either id."""
        self._check_permission()
        return self.cancel_order(self._find(params))

    def cancel_order(self, order: Order) -> Fields:
        """Cancel an order; one that has ended is no order to cancel."""
        if not order.is_open:
            raise BitgetError("22001", "No order to cancel")
        self._account.cancel(order)
        return _ids(order)

    def place_batch(self, params: Fields) -> Fields:
        """Place each leg of ``orderList``; refused legs come back under ``failureList``."""
        common = {key: params.get(key) for key in ("symbol", "productType", "marginCoin", "marginMode")}
        done: list[Fields] = []
        failed: list[Fields] = []
        for leg in _legs(params, "orderList"):
            try:
                done.append(self.place(common | leg))
            except BitgetError as error:
                failed.append(_failure(leg, error))
        return {"successList": done, "failureList": failed}

    def cancel_batch(self, params: Fields) -> Fields:
        """Cancel each leg of the list, or every order of the symbol when there is no list."""
        if not params.get(self.batch_cancel_key):
            return self.cancel_all(params)
        common = {key: params.get(key) for key in ("symbol", "productType")}
        done: list[Fields] = []
        failed: list[Fields] = []
        for leg in _legs(params, self.batch_cancel_key):
            try:
                done.append(self.cancel(common | leg))
            except BitgetError as error:
                failed.append(_failure(leg, error))
        return {"successList": done, "failureList": failed}

    def cancel_all(self, params: Fields) -> Fields:
        """Cancel every open order of the product type; with none open the venue says so by an error."""
        self._check_permission()
        matches = self.is_ours(params)
        orders = self._account.cancel_all() if matches else []
        if not orders:
            raise BitgetError("22001", "No order to cancel")
        return {"successList": [_ids(order) for order in orders], "failureList": []}

    def switch_mode(self, params: Fields) -> Fields:
        """Switch the position mode; the mode it is already is no error here."""
        mode = text(params, "posMode")
        if mode not in ("one_way_mode", "hedge_mode") or text(params, "productType").upper() != PRODUCT:
            raise BitgetError("40017", "Parameter verification failed: posMode")
        try:
            self._account.switch_mode(hedge_mode=mode == "hedge_mode")
        except OrderRefusedError as refused:
            if refused.reason is not RefusalReason.MODE_UNCHANGED:
                raise BitgetError.of(refused, self._account.category) from refused
        return {"posMode": mode}

    def set_leverage(self, params: Fields) -> Fields:
        """Set the leverage of the contract; the one it has already is no error here."""
        self._check_permission()
        if not self.is_ours(params):
            raise BitgetError("40034", f"Parameter {text(params, 'symbol')} does not exist")
        leverage = parse_decimal(params.get("leverage"))
        if leverage is None or not 1 <= leverage <= 100:
            raise BitgetError("40017", "Parameter verification failed: leverage")
        try:
            self._account.set_leverage(leverage)
        except OrderRefusedError as refused:
            raise BitgetError.of(refused, self._account.category) from refused
        return {
            "symbol": self._account.config.symbol,
            "marginCoin": self._account.config.quote,
            "longLeverage": number(leverage),
            "shortLeverage": number(leverage),
            "crossMarginLeverage": number(leverage),
            "marginMode": "crossed",
        }

    def find(self, params: Fields) -> Order | None:
        """Return the order a request names by either id, if there is one."""
        return self._account.find(order_id=text(params, "orderId"), client_id=text(params, "clientOid"))

    def is_ours(self, params: Fields) -> bool:
        """Return whether a request is about the listed contract's product type and symbol, or any symbol."""
        symbol = text(params, "symbol").upper()
        return text(params, "productType").upper() == PRODUCT and symbol in ("", self._account.config.symbol)

    def _check_permission(self) -> None:
        if not self._account.setup.can_trade:
            raise BitgetError("40014", "Incorrect permissions, need futures order write permissions")

    def _check_product(self, params: Fields) -> None:
        """Check margin coin and position mode."""
        if text(params, "marginCoin").upper() != self._account.config.quote:
            raise BitgetError("40017", "Parameter verification failed: marginCoin")
        self._check_mode(text(params, "tradeSide"))

    def _qty(self, params: Fields, side: str, kind: str) -> Decimal | None:
        """Return the base quantity a request names."""
        del side, kind
        return parse_decimal(params.get("size"))

    def _check_mode(self, trade_side: str) -> None:
        """One-way orders have no trade side, hedge-mode orders have; hedged trading itself is not served."""
        hedge_mode = self._account.setup.hedge_mode
        if bool(trade_side) != hedge_mode:
            raise BitgetError.of(OrderRefusedError(RefusalReason.POSITION_MODE, "tradeSide"))
        if hedge_mode:
            raise BitgetError("40017", "this exchange shows hedge mode, it does not trade in it")

    def _place(self, request: OrderRequest) -> Fields:
        try:
            return _ids(self._account.place(request))
        except OrderRefusedError as refused:
            raise BitgetError.of(refused, self._account.category) from refused

    def _check_sizes(self, price: Decimal | None, qty: Decimal) -> None:
        try:
            check_grid(self._account.config, price, qty)
        except OrderRefusedError as refused:
            raise BitgetError.of(refused, self._account.category) from refused

    def _check_instrument(self, params: Fields) -> None:
        if not text(params, "symbol"):
            raise BitgetError("40019", "Parameter symbol cannot be empty")
        if not self.is_ours(params):
            raise BitgetError("40034", f"Parameter {text(params, 'symbol')} does not exist")

    def _find(self, params: Fields) -> Order:
        self._check_instrument(params)
        if not (text(params, "orderId") or text(params, "clientOid")):
            raise BitgetError("40019", "Parameter orderId cannot be empty")
        order = self.find(params)
        if order is None:
            detail = text(params, "orderId") or text(params, "clientOid")
            missing = OrderRefusedError(RefusalReason.ORDER_NOT_FOUND, detail)
            raise BitgetError.of(missing, self._account.category)
        return order


def _legs(params: Fields, key: str) -> list[Fields]:
    legs = params.get(key)
    if not isinstance(legs, list) or not legs or not all(isinstance(leg, dict) for leg in legs):
        raise BitgetError("40017", f"Parameter verification failed: {key}")
    if len(legs) > _BATCH_MOST:
        raise BitgetError("40017", f"Parameter verification failed: at most {_BATCH_MOST} in {key}")
    return legs


def _ids(order: Order) -> Fields:
    return {"orderId": order.order_id, "clientOid": order.client_id}


def _failure(leg: Fields, error: BitgetError) -> Fields:
    return {
        "orderId": text(leg, "orderId"),
        "clientOid": text(leg, "clientOid"),
        "errorMsg": error.message,
        "errorCode": error.code,
    }
