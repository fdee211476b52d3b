"""Bybit v5 over REST: one listed contract, one unified account.

Source: Bybit v5 API documentation, Market, Trade, Position, Account and User pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import quote, unquote

from mm_hybrid.clock import Clock
from mm_hybrid.servers.exchange import bybit_messages as messages
from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.bybit_orders import BybitOrders
from mm_hybrid.servers.exchange.bybit_protocol import (
    BybitError,
    check_address,
    check_signature,
    check_window,
    envelope,
    limit_headers,
    spent_headers,
)
from mm_hybrid.servers.exchange.intake import Incoming, Outgoing
from mm_hybrid.servers.exchange.limits import RateLimits
from mm_hybrid.servers.exchange.orders import Order, OwnExecution
from mm_hybrid.servers.exchange.wire import (
    Fields,
    first,
    millis,
    page_size,
    text,
    window_ns,
)

_OPEN_PAGE = (20, 50)
_EXECUTION_PAGE = (50, 100)
_RECENT_ENDED = 500
_BOOK_DEPTH = (25, 500)
_MOST_DAYS_NS = 7 * 86_400 * 1_000_000_000
_MILLISECOND_NS = 1_000_000

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

    def __init__(self, account: Account, clock: Clock, limits: RateLimits) -> None:
        self._account = account
        self._config = account.config
        self._clock = clock
        self._orders = BybitOrders(account)
        self._limits = limits
        self.dcp_window_s = 10
        market: dict[str, Action] = {
            "/v5/market/time": self._time,
            "/v5/market/instruments-info": self._instruments,
            "/v5/market/orderbook": self._order_book,
            "/v5/market/tickers": self._tickers,
        }
        queries: dict[str, Action] = {
            "/v5/order/realtime": self._realtime,
            "/v5/order/history": self._history,
            "/v5/execution/list": self._executions,
            "/v5/position/list": self._positions,
            "/v5/account/wallet-balance": self._wallet,
            "/v5/account/fee-rate": self._fee_rate,
            "/v5/account/info": self._account_info,
            "/v5/user/query-api": self._key_info,
            "/v5/asset/coin/query-info": self._coins,
        }
        commands: dict[str, Action] = {
            "/v5/order/create": self._orders.create,
            "/v5/order/amend": self._orders.amend,
            "/v5/order/cancel": self._orders.cancel,
            "/v5/order/cancel-all": self._orders.cancel_all,
            "/v5/order/disconnected-cancel-all": self._set_disconnect_window,
        }
        batches: dict[str, Action] = {
            "/v5/order/create-batch": self._orders.create,
            "/v5/order/amend-batch": self._orders.amend,
            "/v5/order/cancel-batch": self._orders.cancel,
        }
        self._routes: dict[tuple[str, str], Callable[[Incoming], Outgoing]] = {
            **{("GET", path): self._open(action) for path, action in market.items()},
            **{("GET", path): self._signed(_single(action)) for path, action in queries.items()},
            **{("POST", path): self._signed(_single(action)) for path, action in commands.items()},
            **{("POST", path): self._signed(self._batch(action)) for path, action in batches.items()},
        }

    def endpoint(self, request: Incoming) -> str:
        """Return the kind of request as fault scripts name it; empty for the others."""
        return _ENDPOINTS.get(request.path, "")

    def answer(self, request: Incoming) -> Outgoing:
        """Carry a request out; a refusal is HTTP 200 with its code in the body."""
        route = self._routes.get((request.method, request.path))
        if route is None:
            return Outgoing(code=404, body="404 page not found", status=404, content_type="text/plain")
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
            if not self._limits.of(_ENDPOINTS.get(request.path, request.path)).take():
                raise BybitError(10006, "Too many visits. Exceeded the API Rate Limit.")
            if request.params is None:
                raise BybitError(10001, "params error: the body is no JSON object")
            return self._accepted(*action(request.params))

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

    def _batch(self, action: Action) -> Callable[[Fields], Reply]:
        return lambda params: self._orders.batch(action, params)

    # Market

    def _time(self, _: Fields) -> Fields:
        now_ns = self._clock.now_ns()
        return {"timeSecond": str(now_ns // 1_000_000_000), "timeNano": str(now_ns)}

    def _instruments(self, params: Fields) -> Fields:
        listed = (
            text(params, "category") == messages.CATEGORY
            and text(params, "status") in ("", "Trading")
            and text(params, "symbol") in ("", self._config.symbol)
        )
        tradable = self._account.setup.symbol_status == "trading"
        rows = [messages.instrument(self._config, tradable=tradable)] if listed else []
        return {"category": text(params, "category"), "list": rows, "nextPageCursor": ""}

    def _order_book(self, params: Fields) -> Fields:
        self._check_listed(params)
        return messages.order_book(self._account, page_size(params.get("limit"), *_BOOK_DEPTH))

    def _tickers(self, params: Fields) -> Fields:
        if text(params, "symbol"):
            self._check_listed(params)
        return {"category": text(params, "category"), "list": [messages.ticker(self._account)]}

    def _check_listed(self, params: Fields) -> None:
        if not self._asks_for_us(params) or not text(params, "symbol"):
            raise BybitError(10001, "params error: symbol invalid")

    # Orders and executions

    def _realtime(self, params: Fields) -> Fields:
        if not self._asks_for_us(params):
            return _page([], "")
        exact = self._exact(params)
        if exact is not None:
            return self._order_page(exact, params)
        if text(params, "openOnly") == "1":
            recent = first(self._account.ended_orders(), _RECENT_ENDED)
            return self._order_page(self._account.shown(recent), params)
        return self._order_page(self._account.shown(self._account.open_orders()), params)

    def _history(self, params: Fields) -> Fields:
        if not self._asks_for_us(params):
            return _page([], "")
        exact = self._exact(params)
        if exact is not None:
            return self._order_page([order for order in exact if not order.is_open], params)
        return self._order_page(self._account.shown(self._account.ended_orders()), params)

    def _exact(self, params: Fields) -> list[Order] | None:
        """Return the order asked for by id, open or ended lately; ``None`` when no id was given."""
        order_id, client_id = text(params, "orderId"), text(params, "orderLinkId")
        if not (order_id or client_id):
            return None
        order = self._account.find(order_id=order_id, client_id=client_id)
        if order is None or not (
            order.is_open or order in first(self._account.ended_orders(), _RECENT_ENDED)
        ):
            return []
        return list(self._account.shown([order]))

    def _order_page(self, newest_first: Iterable[Order], params: Fields) -> Fields:
        after = self._account.find(order_id=_cursor_id(params))
        begin, end = self._window_of_days(params)
        chosen = (
            order
            for order in newest_first
            if (after is None or order.serial < after.serial) and begin <= order.created_ns <= end
        )
        rows = first(chosen, page_size(params.get("limit"), *_OPEN_PAGE))
        marks = [f"{order.order_id}:{millis(order.created_ns)}" for order in rows]
        return _page([messages.order_row(order, self._config) for order in rows], _cursor(marks))

    @staticmethod
    def _window_of_days(params: Fields) -> tuple[int, int]:
        """Return the time window asked for, which must not be longer than seven days.

        With one end given the venue takes seven days from there; with none, whatever is recent.
        """
        begin, end = window_ns(params)
        has_begin, has_end = text(params, "startTime").isdigit(), text(params, "endTime").isdigit()
        if has_begin and has_end:
            if end - begin > _MOST_DAYS_NS + _MILLISECOND_NS:
                raise BybitError(
                    10001, "params error: The time range between startTime and endTime is over 7 days"
                )
            if end < begin:
                raise BybitError(10001, "params error: endTime is before startTime")
        elif has_begin:
            end = begin + _MOST_DAYS_NS
        elif has_end:
            begin = end - _MOST_DAYS_NS
        return begin, end

    def _executions(self, params: Fields) -> Fields:
        if not self._asks_for_us(params):
            return _page([], "")
        wanted_type = text(params, "execType")
        order_id, client_id = text(params, "orderId"), text(params, "orderLinkId")
        after = _cursor_id(params)
        before_serial = int(after) if after.isdigit() else None
        begin, end = self._window_of_days(params)

        def chosen(one: OwnExecution) -> bool:
            return (
                one.is_within(begin, end)
                and wanted_type in ("", one.exec_type)
                and (not order_id or one.order_id == order_id)
                and (not client_id or one.client_id == client_id)
                and (before_serial is None or one.serial < before_serial)
            )

        newest_first = self._account.shown_executions()
        rows = first(filter(chosen, newest_first), page_size(params.get("limit"), *_EXECUTION_PAGE))
        cursor = _cursor([f"{one.serial}:2" for one in rows])
        return _page([messages.execution_row(one, self._account) for one in rows], cursor)

    def _asks_for_us(self, params: Fields) -> bool:
        config = self._config
        if text(params, "category") not in ("linear", "inverse", "spot", "option"):
            raise BybitError(10001, "params error: category invalid")
        return (
            text(params, "category") == messages.CATEGORY
            and text(params, "symbol") in ("", config.symbol)
            and text(params, "settleCoin") in ("", config.quote)
            and text(params, "baseCoin") in ("", config.base)
        )

    # Account

    def _positions(self, params: Fields) -> Fields:
        rows: list[Fields] = []
        if self._asks_for_us(params) and self._account.setup.hedge_mode:
            rows = messages.hedge_positions(self._account)
        elif self._asks_for_us(params) and (text(params, "symbol") or self._account.position.qty):
            rows = [messages.position_row(self._account, stream=False)]
        return _page(rows, "")

    def _wallet(self, params: Fields) -> Fields:
        if text(params, "accountType") != "UNIFIED":
            raise BybitError(10001, "params error: accountType only support UNIFIED.")
        return {"list": [messages.wallet_row(self._account, stream=False)]}

    def _fee_rate(self, params: Fields) -> Fields:
        if not self._asks_for_us(params):
            return {"list": []}
        maker, taker = self._config.maker_fee_rate, self._config.taker_rate
        row = {
            "symbol": self._config.symbol,
            "baseCoin": "",
            "makerFeeRate": str(maker),
            "takerFeeRate": str(taker),
        }
        return {"list": [row]}

    def _account_info(self, _: Fields) -> Fields:
        return {
            "marginMode": "REGULAR_MARGIN",
            "updatedTime": str(self._account.now_ms()),
            "unifiedMarginStatus": 6,
            "dcpStatus": "ON" if self._account.setup.dcp_enabled else "OFF",
            "timeWindow": self.dcp_window_s,
            "smpGroup": 0,
            "isMasterTrader": False,
            "spotHedgingStatus": "OFF",
        }

    def _key_info(self, _: Fields) -> Fields:
        return {
            "id": "1",
            "note": "local paper exchange",
            "apiKey": self._config.api_key,
            "readOnly": 0 if self._account.setup.can_trade else 1,
            "secret": "",
            "permissions": {"ContractTrade": ["Order", "Position"], "Derivatives": ["DerivativesTrade"]},
            "ips": list(self._account.setup.allowed_ips or ("*",)),
            "type": 1,
            "unified": 0,
            "uta": 1,
            "userID": 1,
            "isMaster": True,
            "parentUid": "0",
        }

    def _coins(self, params: Fields) -> Fields:
        wanted = text(params, "coin")
        names = [name for name in (self._config.quote, self._config.base) if wanted in ("", name)]
        return {"rows": [{"name": name, "coin": name, "remainAmount": "0", "chains": []} for name in names]}

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


def _page(rows: list[Fields], cursor: str) -> Fields:
    return {"list": rows, "nextPageCursor": cursor, "category": messages.CATEGORY}


def _cursor(marks: list[str]) -> str:
    """Return a cursor: first and last row, percent-encoded; given on the last page too, as the venue does."""
    return quote(f"{marks[0]},{marks[-1]}", safe="") if marks else ""


def _cursor_id(params: Fields) -> str:
    """Return the id of the last row already seen; clients hand a cursor back encoded once or twice."""
    return unquote(unquote(text(params, "cursor"))).rpartition(",")[2].partition(":")[0]
