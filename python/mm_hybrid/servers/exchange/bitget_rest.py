"""Bitget v2 over REST: one listed USDT-futures contract, one classic account.

Source: Bitget v2 API documentation, public and futures pages. A refusal is HTTP 400 with a code in the body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import unquote

from mm_hybrid.servers.exchange import bitget_messages as messages
from mm_hybrid.servers.exchange import bitget_spot
from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.bitget_market import BitgetMarket
from mm_hybrid.servers.exchange.bitget_orders import BitgetOrders
from mm_hybrid.servers.exchange.bitget_protocol import (
    BitgetError,
    check_address,
    check_signature,
    check_window,
    envelope,
    week,
)
from mm_hybrid.servers.exchange.bitget_spot import BitgetSpot
from mm_hybrid.servers.exchange.intake import Incoming, Outgoing
from mm_hybrid.servers.exchange.limits import RateLimits
from mm_hybrid.servers.exchange.orders import ExecutionType, Order, OwnExecution
from mm_hybrid.servers.exchange.wire import Fields, first, page_size, text, window_ns

_PAGE = (100, 100)
_BILL_PAGE = (20, 100)

_ENDPOINTS = {
    "/api/v2/mix/order/place-order": "create",
    "/api/v2/mix/order/modify-order": "amend",
    "/api/v2/mix/order/cancel-order": "cancel",
    "/api/v2/mix/order/cancel-all-orders": "cancel_all",
    "/api/v2/mix/order/batch-place-order": "create_batch",
    "/api/v2/mix/order/batch-cancel-orders": "cancel_batch",
    "/api/v2/mix/order/orders-pending": "open_orders",
    "/api/v2/mix/order/orders-history": "order_history",
    "/api/v2/mix/order/detail": "order_detail",
    "/api/v2/mix/order/fills": "executions",
    "/api/v2/mix/order/fill-history": "executions",
    "/api/v2/mix/position/all-position": "positions",
    "/api/v2/mix/position/single-position": "positions",
    "/api/v2/mix/account/accounts": "wallet",
    "/api/v2/mix/account/account": "wallet",
    "/api/v2/public/time": "time",
    "/api/v2/mix/market/contracts": "markets",
    **bitget_spot.ENDPOINTS,
}

Action = Callable[[Fields], object]


class BitgetRest:
    """The REST half: public market paths, signed account paths."""

    def __init__(self, account: Account, limits: RateLimits) -> None:
        self._account = account
        self._config = account.config
        self._orders = BitgetOrders(account)
        self._limits = limits
        page = BitgetMarket(account)
        market: dict[str, Action] = {
            "/api/v2/public/time": self._time,
            "/api/v2/mix/market/contracts": self._contracts,
            "/api/v2/mix/market/merge-depth": self._depth,
            "/api/v2/mix/market/ticker": self._ticker,
            "/api/v2/mix/market/tickers": self._ticker,
            "/api/v2/mix/market/fills": page.prints,
            "/api/v2/mix/market/fills-history": page.prints,
            "/api/v2/mix/market/candles": page.candles,
            "/api/v2/mix/market/history-candles": page.candles,
            "/api/v2/mix/market/current-fund-rate": page.funding_rate,
            "/api/v2/spot/public/coins": _nothing,
            "/api/v2/spot/public/symbols": _nothing,
            "/api/v2/margin/currencies": _nothing,
        }
        queries: dict[str, Action] = {
            "/api/v2/mix/order/detail": self._detail,
            "/api/v2/mix/order/orders-pending": self._pending,
            "/api/v2/mix/order/orders-history": self._history,
            "/api/v2/mix/order/fills": self._fills,
            "/api/v2/mix/order/fill-history": self._fills,
            "/api/v2/mix/position/all-position": self._positions,
            "/api/v2/mix/position/single-position": self._positions,
            "/api/v2/mix/account/accounts": self._accounts,
            "/api/v2/mix/account/account": self._account_settings,
            "/api/v2/mix/account/bill": self._bills,
            "/api/v2/common/trade-rate": self._fee_rate,
            "/api/v2/spot/account/info": self._key_info,
            "/api/v3/account/settings": self._no_unified_account,
        }
        commands: dict[str, Action] = {
            "/api/v2/mix/order/place-order": self._orders.place,
            "/api/v2/mix/order/modify-order": self._orders.modify,
            "/api/v2/mix/order/cancel-order": self._orders.cancel,
            "/api/v2/mix/order/batch-place-order": self._orders.place_batch,
            "/api/v2/mix/order/batch-cancel-orders": self._orders.cancel_batch,
            "/api/v2/mix/order/cancel-all-orders": self._orders.cancel_all,
            "/api/v2/mix/account/set-position-mode": self._orders.switch_mode,
            "/api/v2/mix/account/set-leverage": self._orders.set_leverage,
        }
        if account.spot is not None:
            spot = BitgetSpot(account.spot)
            market |= spot.market
            queries |= spot.queries
            commands |= spot.commands
        self._routes: dict[tuple[str, str], Callable[[Incoming], Outgoing]] = {
            **{("GET", path): self._open(action) for path, action in market.items()},
            **{("GET", path): self._signed(action) for path, action in queries.items()},
            **{("POST", path): self._signed(action) for path, action in commands.items()},
        }

    def endpoint(self, request: Incoming) -> str:
        """Return the kind of request as fault scripts name it; empty for the others."""
        return _ENDPOINTS.get(request.path, "")

    def answer(self, request: Incoming) -> Outgoing:
        """Carry a request out; a refusal is HTTP 400 with a code in the body."""
        route = self._routes.get((request.method, request.path))
        if route is None:
            body = envelope("40404", "Request URL NOT FOUND", None, self._account.now_ms())
            return Outgoing.json("40404", body, status=404)
        try:
            return route(request)
        except BitgetError as error:
            return self.refusal(error.code, error.message)

    def _open(self, action: Action) -> Callable[[Incoming], Outgoing]:
        return lambda request: self._accepted(action(request.query))

    def _signed(self, action: Action) -> Callable[[Incoming], Outgoing]:
        def run(request: Incoming) -> Outgoing:
            self._authenticate(request)
            if not self._limits.of(_ENDPOINTS.get(request.path, request.path)).take():
                raise BitgetError("429", "Too Many Requests")
            if request.params is None:
                raise BitgetError("40020", "Parameter body error")
            return self._accepted(action(request.params))

        return run

    def refusal(self, code: int | str, message: str) -> Outgoing:
        """Return a refusal with that code."""
        status = 429 if str(code) == "429" else 400
        return Outgoing.json(code, envelope(str(code), message, None, self._account.now_ms()), status=status)

    def troubled(self, fault: str) -> Outgoing:
        """Return the venue's reply in times of trouble."""
        match fault:
            case "rate_limit":
                return self.refusal("429", "Too Many Requests")
            case "ip_ban":
                return Outgoing(code=429, body="", status=429, content_type="text/plain")
            case "maintenance":
                return self.refusal("40200", "Server upgrade, please try again later")
            case _:
                return self.refusal("40010", "Request timed out")

    def _accepted(self, data: object) -> Outgoing:
        return Outgoing.json("00000", envelope("00000", "success", data, self._account.now_ms()))

    def _authenticate(self, request: Incoming) -> None:
        headers = request.headers
        names = {
            "ACCESS-KEY": "40001",
            "ACCESS-SIGN": "40002",
            "ACCESS-TIMESTAMP": "40003",
            "ACCESS-PASSPHRASE": "40011",
        }
        for name, code in names.items():
            if not headers.get(name):
                raise BitgetError(code, f"{name.replace('-', '_')} cannot be empty")
        stamp = headers["ACCESS-TIMESTAMP"]
        check_window(stamp, request.received_ms)
        # What is signed is the query before percent-encoding.
        query = f"?{unquote(request.raw_query)}" if request.raw_query else ""
        payload = stamp + request.method + request.path + query + request.body
        check_signature(
            self._config, headers["ACCESS-KEY"], headers["ACCESS-PASSPHRASE"], headers["ACCESS-SIGN"], payload
        )
        check_address(self._account.setup, request.remote)

    # Market

    def _time(self, _: Fields) -> object:
        return {"serverTime": str(self._account.now_ms())}

    def _contracts(self, params: Fields) -> object:
        tradable = self._account.setup.symbol_status == "trading"
        ours = self._orders.is_ours(params)
        return [messages.instrument(self._config, tradable=tradable)] if ours else []

    def _depth(self, params: Fields) -> object:
        self._check_listed(params)
        wanted = text(params, "limit")
        bids, asks = self._account.market.levels(page_size(wanted if wanted.isdigit() else "", *_PAGE))
        return {"asks": asks, "bids": bids, "ts": str(self._account.now_ms())}

    def _ticker(self, params: Fields) -> object:
        if text(params, "symbol"):
            self._check_listed(params)
        return [messages.ticker(self._account)] if self._orders.is_ours(params) else []

    def _check_listed(self, params: Fields) -> None:
        if not text(params, "symbol") or not self._orders.is_ours(params):
            raise BitgetError("40034", f"Parameter {text(params, 'symbol')} does not exist")

    def _no_unified_account(self, _: Fields) -> object:
        raise BitgetError(
            "40084", "You are in Classic Account mode, and the Unified Account API is not supported"
        )

    # Orders and fills

    def _detail(self, params: Fields) -> object:
        order = self._orders.find(params) if self._orders.is_ours(params) else None
        if order is None or not list(self._account.shown([order])):
            missing = "The data of the order cannot be found, please confirm the order number"
            raise BitgetError("40109", missing)
        return messages.order_row(order, self._account, detail=True)

    def _pending(self, params: Fields) -> object:
        return self._order_page(self._account.shown(self._account.open_orders()), params)

    def _history(self, params: Fields) -> object:
        return self._order_page(self._account.shown(self._account.ended_orders()), params)

    def _order_page(self, newest_first: Iterable[Order], params: Fields) -> Fields:
        begin, end = window_ns(params)
        before = text(params, "idLessThan")
        before_id = int(before) if before.isdigit() else None
        order_id, client_id = text(params, "orderId"), text(params, "clientOid")

        def chosen(order: Order) -> bool:
            return (
                begin <= order.created_ns <= end
                and (before_id is None or int(order.order_id) < before_id)
                and (not order_id or order.order_id == order_id)
                and (not client_id or order.client_id == client_id)
            )

        orders = filter(chosen, newest_first) if self._orders.is_ours(params) else ()
        rows = first(orders, page_size(params.get("limit"), *_PAGE))
        return {
            "entrustedList": [messages.order_row(order, self._account) for order in rows],
            "endId": rows[-1].order_id if rows else None,
        }

    def _fills(self, params: Fields) -> object:
        begin, end = week(params)
        before = text(params, "idLessThan")
        before_id = int(before) if before.isdigit() else None
        order_id = text(params, "orderId")

        def chosen(one: OwnExecution) -> bool:
            return (
                one.exec_type is not ExecutionType.FUNDING
                and one.is_within(begin, end)
                and (before_id is None or int(one.exec_id) < before_id)
                and (not order_id or one.order_id == order_id)
            )

        newest_first = self._account.shown_executions()
        fills = filter(chosen, newest_first) if self._orders.is_ours(params) else ()
        rows = first(fills, page_size(params.get("limit"), *_PAGE))
        return {
            "fillList": [messages.fill_row(one, self._config, stream=False) for one in rows],
            "endId": rows[-1].exec_id if rows else None,
        }

    # Account

    def _positions(self, params: Fields) -> object:
        return (
            [messages.position_row(self._account)]
            if self._orders.is_ours(params) and self._account.position.qty
            else []
        )

    def _accounts(self, params: Fields) -> object:
        return [messages.account_row(self._account)] if self._orders.is_ours(params) else []

    def _account_settings(self, params: Fields) -> object:
        self._check_listed(params)
        return messages.account_settings(self._account)

    def _fee_rate(self, params: Fields) -> object:
        if text(params, "symbol").upper() != self._config.symbol or text(params, "businessType") != "mix":
            raise BitgetError("40034", f"Parameter {text(params, 'symbol')} does not exist")
        return {
            "makerFeeRate": str(self._config.maker_fee_rate),
            "takerFeeRate": str(self._config.taker_rate),
        }

    def _key_info(self, _: Fields) -> object:
        """Return whose the key is and what it may do: ``r`` reads, ``w`` writes, of contracts, spot and wallet."""
        setup = self._account.setup
        return {
            "userId": "1",
            "inviterId": "",
            "ips": ",".join(setup.allowed_ips or ()),
            "authorities": ["coor", "cpor", "stor", *(["coow", "cpow", "stow"] if setup.can_trade else [])],
            "parentId": 0,
            "traderType": "not_trader",
            "channelCode": "",
            "channel": "",
            "regisTime": "0",
        }

    def _bills(self, params: Fields) -> object:
        begin, end = week(params)
        before = text(params, "idLessThan")
        kind, coin = text(params, "businessType"), text(params, "coin").upper()
        found = [
            one
            for one in reversed(self._account.state.fundings)
            if begin <= one.booked_ns <= end
            and kind in ("", "contract_settle_fee")
            and coin in ("", self._config.quote)
            and (not before.isdigit() or int(one.bill_id) < int(before))
        ]
        ours = found if text(params, "productType").upper() == messages.PRODUCT else []
        rows = first(ours, page_size(params.get("limit"), *_BILL_PAGE))
        return {
            "bills": [messages.bill_row(one, self._config) for one in rows],
            "endId": rows[-1].bill_id if rows else None,
        }


def _nothing(_: Fields) -> object:
    return []
