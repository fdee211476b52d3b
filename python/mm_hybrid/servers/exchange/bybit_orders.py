"""Bybit v5 order requests, the same for REST and the trade stream.

Source: Bybit v5 API documentation, pages Place Order, Amend Order, Cancel Order, Cancel All Orders,
Batch Place Order.
An acknowledgement says that a request was taken; what became of the order comes on the order stream.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.bybit_protocol import BybitError
from mm_hybrid.servers.exchange.orders import (
    Order,
    OrderRefusedError,
    OrderRequest,
    RefusalReason,
    SelfMatch,
)
from mm_hybrid.servers.exchange.wire import Fields, parse_decimal, text

_BATCH_MOST = {"linear": 20, "spot": 10}
_SELF_MATCH = {
    "": SelfMatch.NONE,
    "None": SelfMatch.NONE,
    "CancelMaker": SelfMatch.CANCEL_MAKER,
    "CancelTaker": SelfMatch.CANCEL_TAKER,
    "CancelBoth": SelfMatch.CANCEL_BOTH,
}
_TIME_IN_FORCE = ("", "GTC", "IOC", "PostOnly")


class BybitOrders:
    """Turns Bybit's order requests into the account's and answers with ids."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def create(self, params: Fields) -> Fields:
        """Place one order; raises ``BybitError`` when it is refused."""
        self._check_instrument(params)
        side, kind = text(params, "side"), text(params, "orderType")
        if side not in ("Buy", "Sell"):
            raise BybitError(10001, "params error: side invalid")
        if kind not in ("Limit", "Market"):
            raise BybitError(10001, "params error: orderType invalid")
        self._check_permission()
        if text(params, "smpType") not in _SELF_MATCH:
            raise BybitError(10001, "params error: smpType invalid")
        if self._account.category == "linear":
            self._check_mode(text(params, "positionIdx"))
        time_in_force = text(params, "timeInForce")
        if time_in_force not in _TIME_IN_FORCE:
            raise BybitError(10001, f"params error: timeInForce {time_in_force} is not supported here")
        if params.get("triggerPrice"):
            raise BybitError(10001, "params error: conditional orders are not supported here")
        qty, price = parse_decimal(params.get("qty")), parse_decimal(params.get("price"))
        if qty is None:
            raise BybitError(10001, "params error: qty invalid")
        if kind == "Limit" and price is None:
            raise BybitError(10001, "params error: price invalid")
        is_spot = self._account.category == "spot"
        if is_spot and kind == "Market" and side == "Buy" and text(params, "marketUnit") != "baseCoin":
            qty = self._base_for(qty)
        request = OrderRequest(
            client_id=text(params, "orderLinkId"),
            side="buy" if side == "Buy" else "sell",
            qty=qty,
            price=price if kind == "Limit" else None,
            post_only=time_in_force == "PostOnly",
            ioc=time_in_force == "IOC",
            reduce_only=not is_spot and params.get("reduceOnly") in (True, "true"),
            self_match=_SELF_MATCH[text(params, "smpType")],
        )
        try:
            return _ids(self._account.place(request))
        except OrderRefusedError as refused:
            raise BybitError.of(refused, self._account.category) from refused

    def amend(self, params: Fields) -> Fields:
        """Change price and/or total quantity of one order in place."""
        self._check_permission()
        order = self._find(params)
        price, qty = parse_decimal(params.get("price")), parse_decimal(params.get("qty"))
        try:
            self._account.amend(order, price=price or None, qty=qty or None)
        except OrderRefusedError as refused:
            raise BybitError.of(refused, self._account.category) from refused
        return _ids(order)

    def cancel(self, params: Fields) -> Fields:
        """Cancel one order by either id."""
        self._check_permission()
        order = self._find(params)
        try:
            self._account.cancel(order)
        except OrderRefusedError as refused:
            raise BybitError.of(refused, self._account.category) from refused
        return _ids(order)

    def cancel_all(self, params: Fields) -> Fields:
        """Cancel every open order of the symbol or settle coin; anything else has none."""
        self._check_permission()
        if text(params, "category") != self._account.category:
            return {"list": [], "success": "1"}
        config = self._account.config
        symbol, coin = text(params, "symbol"), text(params, "settleCoin")
        base = text(params, "baseCoin")
        if not (symbol or coin or base):
            raise BybitError(10001, "params error: symbol, baseCoin and settleCoin are all empty")
        matches = symbol in ("", config.symbol) and coin in ("", config.quote) and base in ("", config.base)
        return {
            "list": [_ids(order) for order in self._account.cancel_all()] if matches else [],
            "success": "1",
        }

    def switch_mode(self, params: Fields) -> Fields:
        """Switch the position mode: 0 is one-way, 3 hedge."""
        mode = text(params, "mode")
        if mode not in ("0", "3") or text(params, "category") != self._account.category:
            raise BybitError(10001, "params error: mode invalid")
        try:
            self._account.switch_mode(hedge_mode=mode == "3")
        except OrderRefusedError as refused:
            raise BybitError.of(refused) from refused
        return {}

    def set_leverage(self, params: Fields) -> Fields:
        """Set the leverage of the contract, in one-way mode the same for both sides."""
        self._check_permission()
        buy, sell = parse_decimal(params.get("buyLeverage")), parse_decimal(params.get("sellLeverage"))
        if text(params, "symbol") != self._account.config.symbol or self._account.category != "linear":
            raise BybitError(10001, "params error: symbol invalid")
        if buy is None or buy != sell or not 1 <= buy <= 100:
            raise BybitError(10001, "params error: leverage invalid")
        try:
            changed = self._account.set_leverage(buy)
        except OrderRefusedError as refused:
            raise BybitError.of(refused) from refused
        if not changed:
            raise BybitError(110043, "Set leverage has not been modified.")
        return {}

    def batch(self, action: Callable[[Fields], Fields], params: Fields) -> tuple[Fields, Fields]:
        """Run ``action`` on each leg; return the two parallel lists ``result`` and ``retExtInfo``.

        A refused leg keeps its place with an empty order id; the request as a whole still succeeds.
        """
        legs = params.get("request")
        if not isinstance(legs, list) or not legs or not all(isinstance(leg, dict) for leg in legs):
            raise BybitError(10001, "params error: request invalid")
        most = _BATCH_MOST.get(text(params, "category"), 20)
        if len(legs) > most:
            raise BybitError(10001, f"params error: at most {most} orders in a batch")
        rows: list[Fields] = []
        notes: list[Fields] = []
        for leg in legs:
            fields = {"category": text(params, "category"), **leg}
            row: Fields = {"category": fields["category"], "symbol": text(leg, "symbol")}
            try:
                row |= action(fields)
                notes.append({"code": 0, "msg": "OK"})
            except BybitError as error:
                row |= {"orderId": "", "orderLinkId": text(leg, "orderLinkId")}
                notes.append({"code": error.code, "msg": error.message})
            if action == self.create:
                row["createAt"] = str(self._account.now_ms()) if row["orderId"] else ""
            rows.append(row)
        return {"list": rows}, {"list": notes}

    def _base_for(self, value: Decimal) -> Decimal:
        """Return the base quantity a spot market buy of so much quote is good for, at the best ask."""
        ask = Decimal(self._account.market.touch()["ask"] or self._account.mark_price() or 1)
        lot = self._account.config.lot_size
        return value / ask // lot * lot

    def _check_permission(self) -> None:
        if not self._account.setup.can_trade:
            raise BybitError(10005, "Permission denied, please check your API key permissions.")

    def _check_mode(self, position_idx: str) -> None:
        """One-way orders name position 0, hedge-mode orders 1 or 2; hedged trading itself is not served."""
        hedge_mode = self._account.setup.hedge_mode
        if (position_idx in ("", "0")) == hedge_mode:
            raise BybitError(10001, "position idx not match position mode")
        if hedge_mode:
            raise BybitError(10001, "params error: this exchange shows hedge mode, it does not trade in it")

    def _check_instrument(self, params: Fields) -> None:
        if text(params, "category") != self._account.category:
            raise BybitError(10001, f"params error: category {text(params, 'category')!r} is not served here")
        if text(params, "symbol") != self._account.config.symbol:
            raise BybitError(10001, f"params error: symbol {text(params, 'symbol')!r} invalid")

    def _find(self, params: Fields) -> Order:
        self._check_instrument(params)
        order_id, client_id = text(params, "orderId"), text(params, "orderLinkId")
        if not (order_id or client_id):
            raise BybitError(10001, "params error: orderId or orderLinkId is required")
        order = self._account.find(order_id=order_id, client_id=client_id)
        if order is None:
            missing = OrderRefusedError(RefusalReason.ORDER_NOT_FOUND, order_id or client_id)
            raise BybitError.of(missing, self._account.category)
        return order


def _ids(order: Order) -> Fields:
    return {"orderId": order.order_id, "orderLinkId": order.client_id}
