"""Bitget v2 spot: orders and queries of the pair beside the contract.

Source: Bitget v2 API documentation, spot pages Get Symbol Info, Place Order, Cancel an Existing Order and Send a New
Order, Cancel Order, Batch Place Orders, Batch Cancel Orders, Cancel Order by Symbol, Get Order Info, Get Current
Orders, Get History Orders, Get Fills, Get Account Assets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

from mm_hybrid.servers.exchange import bitget_spot_messages as messages
from mm_hybrid.servers.exchange.bitget_orders import BitgetOrders
from mm_hybrid.servers.exchange.bitget_protocol import BitgetError, week
from mm_hybrid.servers.exchange.orders import Order, OrderRequest, OwnExecution
from mm_hybrid.servers.exchange.spot import SpotAccount
from mm_hybrid.servers.exchange.wire import Fields, first, page_size, parse_decimal, text, window_ns

_PAGE = (100, 100)

ENDPOINTS = {
    "/api/v2/spot/public/symbols": "markets",
    "/api/v2/spot/trade/place-order": "create",
    "/api/v2/spot/trade/cancel-replace-order": "amend",
    "/api/v2/spot/trade/cancel-order": "cancel",
    "/api/v2/spot/trade/cancel-symbol-order": "cancel_all",
    "/api/v2/spot/trade/batch-orders": "create_batch",
    "/api/v2/spot/trade/batch-cancel-order": "cancel_batch",
    "/api/v2/spot/trade/unfilled-orders": "open_orders",
    "/api/v2/spot/trade/history-orders": "order_history",
    "/api/v2/spot/trade/orderInfo": "order_detail",
    "/api/v2/spot/trade/fills": "executions",
    "/api/v2/spot/account/assets": "wallet",
}


class BitgetSpotOrders(BitgetOrders):
    """Spot's order requests: no product type, no margin coin, market buys in quote."""

    batch_cancel_key = "orderList"

    def is_ours(self, params: Fields) -> bool:
        """Return whether a request is about the listed pair, or any."""
        return text(params, "symbol").upper() in ("", self._account.config.symbol)

    def replace(self, params: Fields) -> Fields:
        """Cancel an order and place another with the price and size given; two orders, no link between them."""
        self._check_permission()
        order = self._find(params)
        price, qty = parse_decimal(params.get("price")), parse_decimal(params.get("size"))
        if price is None or qty is None:
            raise BitgetError("40019", "Parameter price or size cannot be empty")
        self._check_sizes(price, qty)
        self.cancel_order(order)
        placed = self._place(
            OrderRequest(
                client_id=text(params, "newClientOid") or self._account.ids.take("client"),
                side=order.side,
                qty=qty,
                price=price,
                post_only=order.post_only,
                ioc=order.ioc,
                self_match=order.self_match,
            )
        )
        return placed | {"success": "success", "msg": ""}

    def cancel_symbol(self, params: Fields) -> Fields:
        """Cancel every open order of the pair; none is no error here."""
        self._check_permission()
        self._check_instrument(params)
        self._account.cancel_all()
        return {"symbol": self._account.config.symbol}

    def _check_product(self, params: Fields) -> None:
        """Spot has neither margin coin nor position mode."""

    def _qty(self, params: Fields, side: str, kind: str) -> Decimal | None:
        size = parse_decimal(params.get("size"))
        if size is None or (side, kind) != ("buy", "market") or not size.is_finite():
            return size
        lot = self._account.config.lot_size
        ask = Decimal(self._account.market.touch()["ask"] or self._account.mark_price() or 1)
        return size / ask // lot * lot


class BitgetSpot:
    """What the pair is asked and told over REST."""

    def __init__(self, account: SpotAccount) -> None:
        self._account = account
        self._config = account.config
        self._orders = BitgetSpotOrders(account)
        self.market: dict[str, Callable[[Fields], object]] = {
            "/api/v2/spot/public/symbols": self._symbols,
            "/api/v2/spot/market/orderbook": self._depth,
            "/api/v2/spot/market/tickers": self._tickers,
        }
        self.queries: dict[str, Callable[[Fields], object]] = {
            "/api/v2/spot/trade/unfilled-orders": self._unfilled,
            "/api/v2/spot/trade/history-orders": self._history,
            "/api/v2/spot/trade/orderInfo": self._info,
            "/api/v2/spot/trade/fills": self._fills,
            "/api/v2/spot/account/assets": self._assets,
        }
        self.commands: dict[str, Callable[[Fields], object]] = {
            "/api/v2/spot/trade/place-order": self._orders.place,
            "/api/v2/spot/trade/cancel-replace-order": self._orders.replace,
            "/api/v2/spot/trade/cancel-order": self._orders.cancel,
            "/api/v2/spot/trade/cancel-symbol-order": self._orders.cancel_symbol,
            "/api/v2/spot/trade/batch-orders": self._orders.place_batch,
            "/api/v2/spot/trade/batch-cancel-order": self._orders.cancel_batch,
        }

    def _symbols(self, params: Fields) -> object:
        tradable = self._account.setup.symbol_status == "trading"
        ours = self._orders.is_ours(params)
        return [messages.instrument(self._config, tradable=tradable)] if ours else []

    def _depth(self, params: Fields) -> object:
        if not self._orders.is_ours(params):
            raise BitgetError("40034", f"Parameter {text(params, 'symbol')} does not exist")
        bids, asks = self._account.market.levels(page_size(params.get("limit"), 150, 150))
        return {"asks": asks, "bids": bids, "ts": str(self._account.now_ms())}

    def _tickers(self, params: Fields) -> object:
        return [messages.ticker(self._account)] if self._orders.is_ours(params) else []

    def _unfilled(self, params: Fields) -> object:
        chosen = self._chosen(self._account.open_orders(), params)
        return [messages.order_row(order, self._config, is_open=True) for order in chosen]

    def _history(self, params: Fields) -> object:
        chosen = self._chosen(self._account.ended_orders(), params)
        return [messages.order_row(order, self._config) for order in chosen]

    def _info(self, params: Fields) -> object:
        order = self._orders.find(params)
        found = [] if order is None else list(self._account.shown([order]))
        return [messages.order_row(one, self._config) for one in found]

    def _chosen(self, newest_first: Iterable[Order], params: Fields) -> list[Order]:
        begin, end = window_ns(params)
        before, order_id = text(params, "idLessThan"), text(params, "orderId")
        if not self._orders.is_ours(params):
            return []
        found = (
            order
            for order in self._account.shown(newest_first)
            if begin <= order.created_ns <= end
            and (not before.isdigit() or int(order.order_id) < int(before))
            and (not order_id or order.order_id == order_id)
        )
        return first(found, page_size(params.get("limit"), *_PAGE))

    def _fills(self, params: Fields) -> object:
        begin, end = week(params)
        before, order_id = text(params, "idLessThan"), text(params, "orderId")

        def chosen(one: OwnExecution) -> bool:
            return (
                one.is_within(begin, end)
                and (not before.isdigit() or int(one.exec_id) < int(before))
                and (not order_id or one.order_id == order_id)
            )

        found = filter(chosen, self._account.shown_executions()) if self._orders.is_ours(params) else ()
        rows = first(found, page_size(params.get("limit"), *_PAGE))
        return [messages.fill_row(one, self._config) for one in rows]

    def _assets(self, params: Fields) -> object:
        wanted = text(params, "coin").upper()
        return [row for row in messages.asset_rows(self._account) if wanted in ("", row["coin"])]
