"""Bybit v5 over REST: paths, signatures, limits and envelopes around one unified account.

Source: Bybit v5 API documentation, pages Integration Guidance, Rate Limit Rules, Error Codes.
"""

from __future__ import annotations

from collections.abc import Callable

from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.bybit_market import BybitMarket
from mm_hybrid.servers.exchange.bybit_orders import BybitOrders
from mm_hybrid.servers.exchange.bybit_protocol import (
    BybitError,
    check_address,
    check_signature,
    check_window,
    envelope,
    legs_of,
    limit_headers,
    spent_headers,
)
from mm_hybrid.servers.exchange.bybit_queries import BybitQueries
from mm_hybrid.servers.exchange.intake import Incoming, Outgoing
from mm_hybrid.servers.exchange.limits import RateLimits
from mm_hybrid.servers.exchange.wire import Fields, text

_ENDPOINTS = {
    "/v5/order/create": "create",
    "/v5/order/amend": "amend",
    "/v5/order/cancel": "cancel",
    "/v5/order/cancel-all": "cancel_all",
    "/v5/order/create-batch": "create_batch",
    "/v5/order/amend-batch": "amend_batch",
    "/v5/order/cancel-batch": "cancel_batch",
    "/v5/order/realtime": "open_orders",
    "/v5/order/history": "order_history",
    "/v5/execution/list": "executions",
    "/v5/position/list": "positions",
    "/v5/account/wallet-balance": "wallet",
    "/v5/market/time": "time",
    "/v5/market/instruments-info": "markets",
}
_PUBLIC = "/v5/market/"

Action = Callable[[Fields], Fields]
Reply = tuple[Fields, Fields]


class BybitRest:
    """The REST half: public market paths, signed account paths."""

    def __init__(self, account: Account, limits: RateLimits) -> None:
        self._account = account
        self._config = account.config
        self._orders = {"linear": BybitOrders(account)}
        if account.spot is not None:
            self._orders["spot"] = BybitOrders(account.spot)
        self._limits = limits
        self.dcp_window_s = 10
        page, asked = BybitMarket(account), BybitQueries(account, lambda: self.dcp_window_s)
        market: dict[str, Action] = {
            "/v5/market/time": page.time,
            "/v5/market/instruments-info": page.instruments,
            "/v5/market/orderbook": page.order_book,
            "/v5/market/tickers": page.tickers,
            "/v5/market/recent-trade": page.prints,
            "/v5/market/kline": page.candles,
        }
        queries: dict[str, Action] = {
            "/v5/order/realtime": asked.realtime,
            "/v5/order/history": asked.history,
            "/v5/execution/list": asked.executions,
            "/v5/position/list": asked.positions,
            "/v5/account/wallet-balance": asked.wallet,
            "/v5/account/fee-rate": asked.fee_rate,
            "/v5/account/info": asked.account_info,
            "/v5/user/query-api": asked.key_info,
            "/v5/asset/coin/query-info": asked.coins,
        }
        commands: dict[str, Action] = {
            "/v5/order/create": self._by_category("create"),
            "/v5/order/amend": self._by_category("amend"),
            "/v5/order/cancel": self._by_category("cancel"),
            "/v5/order/cancel-all": self._by_category("cancel_all"),
            "/v5/order/disconnected-cancel-all": self._set_disconnect_window,
            "/v5/position/switch-mode": self._by_category("switch_mode"),
            "/v5/position/set-leverage": self._by_category("set_leverage"),
        }
        batches = {
            "/v5/order/create-batch": self._batch("create"),
            "/v5/order/amend-batch": self._batch("amend"),
            "/v5/order/cancel-batch": self._batch("cancel"),
        }
        self._routes: dict[tuple[str, str], Callable[[Incoming], Outgoing]] = {
            **{("GET", path): self._open(action) for path, action in market.items()},
            **{("GET", path): self._signed(_single(action)) for path, action in queries.items()},
            **{("POST", path): self._signed(_single(action)) for path, action in commands.items()},
            **{("POST", path): self._signed(action) for path, action in batches.items()},
        }

    def endpoint(self, request: Incoming) -> str:
        """Return the kind of request as fault scripts name it; empty for the others."""
        return _ENDPOINTS.get(request.path, "")

    def answer(self, request: Incoming) -> Outgoing:
        """Carry a request out; a refusal is HTTP 200 with its code in the body."""
        route = self._routes.get((request.method, request.path))
        if route is None:
            return Outgoing(code=404, body="", status=404, content_type="application/json")
        try:
            reply = route(request)
        except BybitError as error:
            reply = self.refusal(error.code, error.message)
        if not request.path.startswith(_PUBLIC):
            reply.headers |= limit_headers(self._limits.of(_ENDPOINTS.get(request.path, request.path)))
        return reply

    def _open(self, action: Action) -> Callable[[Incoming], Outgoing]:
        return lambda request: self._accepted(action(request.query), {})

    def _signed(self, action: Callable[[Fields], Reply]) -> Callable[[Incoming], Outgoing]:
        def run(request: Incoming) -> Outgoing:
            self._authenticate(request)
            params = request.params
            limit = self._limits.of(_ENDPOINTS.get(request.path, request.path))
            if not limit.take(legs_of(params or {})):
                raise BybitError(10006, "Too many visits. Exceeded the API Rate Limit.")
            if params is None:
                raise BybitError(10001, "params error: the body is no JSON object")
            return self._accepted(*action(params))

        return run

    def refusal(self, code: int | str, message: str) -> Outgoing:
        """Return a refusal with that code."""
        return Outgoing.json(code, envelope(int(code), message, {}, self._account.now_ms()))

    def troubled(self, fault: str) -> Outgoing:
        """Return the venue's reply in times of trouble."""
        match fault:
            case "rate_limit":
                reply = self.refusal(10006, "Too many visits. Exceeded the API Rate Limit.")
                reply.headers |= spent_headers(self._config.rate_limit_per_s, self._account.now_ms())
                return reply
            case "ip_ban":
                body = "403 Forbidden: access too frequent"
                return Outgoing(code=403, body=body, status=403, content_type="text/plain")
            case "maintenance":
                return self.refusal(110066, "Trading is currently not allowed.")
            case _:
                return self.refusal(10000, "Server Timeout")

    def _accepted(self, result: Fields, extra: Fields) -> Outgoing:
        return Outgoing.json(0, envelope(0, "OK", result, self._account.now_ms(), extra))

    def _authenticate(self, request: Incoming) -> None:
        headers = request.headers
        stamp, window = headers.get("X-BAPI-TIMESTAMP", ""), headers.get("X-BAPI-RECV-WINDOW", "")
        key = headers.get("X-BAPI-API-KEY", "")
        payload = stamp + key + window + (request.body if request.method == "POST" else request.raw_query)
        check_window(stamp, window, request.received_ms)
        check_signature(self._config, key, headers.get("X-BAPI-SIGN", ""), payload)
        check_address(self._account.setup, request.remote)

    def _by_category(self, name: str) -> Action:
        """Return an order request that goes to the account of the category it names."""

        def act(params: Fields) -> Fields:
            action: Action = getattr(self._orders_of(params), name)
            return action(params)

        return act

    def _orders_of(self, params: Fields) -> BybitOrders:
        return self._orders.get(text(params, "category"), self._orders["linear"])

    def _batch(self, name: str) -> Callable[[Fields], Reply]:
        def act(params: Fields) -> Reply:
            orders = self._orders_of(params)
            return orders.batch(getattr(orders, name), params)

        return act

    def _set_disconnect_window(self, params: Fields) -> Fields:
        """Set the window; by itself that cancels nothing, see ``DisconnectGuard``."""
        window = text(params, "timeWindow")
        if not window.isdigit() or not 3 <= int(window) <= 300:
            raise BybitError(10001, "params error: timeWindow is 3 to 300 seconds")
        if text(params, "product") == "DERIVATIVES":
            self.dcp_window_s = int(window)
        return {}


def _single(action: Action) -> Callable[[Fields], Reply]:
    return lambda params: (action(params), {})
