"""Bitget v2 over REST: one listed USDT-futures contract, one classic account.

Source: Bitget v2 API documentation, public and futures pages. A refusal is HTTP 400 with a code in the body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import unquote

from aiohttp import web

from mm_hybrid.clock import Clock
from mm_hybrid.servers.exchange import bitget_messages as messages
from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.bitget_orders import BitgetOrders
from mm_hybrid.servers.exchange.bitget_protocol import BitgetError, check_signature, check_window, envelope
from mm_hybrid.servers.exchange.orders import Order, OwnExecution
from mm_hybrid.servers.exchange.wire import Fields, RateLimit, first, page_size, parse_object, text, window_ns

_PAGE = (100, 100)

Action = Callable[[Fields], object]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BitgetRest:
    """The REST half: public market paths, signed account paths."""

    def __init__(self, account: Account, clock: Clock) -> None:
        self._account = account
        self._config = account.config
        self._clock = clock
        self._orders = BitgetOrders(account)
        self._limits: dict[str, RateLimit] = {}

    def routes(self) -> Iterable[web.RouteDef]:
        """Return every path served."""
        public: dict[str, Action] = {
            "/api/v2/public/time": self._time,
            "/api/v2/mix/market/contracts": self._contracts,
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
            "/api/v3/account/settings": self._no_unified_account,
        }
        commands: dict[str, Action] = {
            "/api/v2/mix/order/place-order": self._orders.place,
            "/api/v2/mix/order/modify-order": self._orders.modify,
            "/api/v2/mix/order/cancel-order": self._orders.cancel,
            "/api/v2/mix/order/batch-place-order": self._orders.place_batch,
            "/api/v2/mix/order/batch-cancel-orders": self._orders.cancel_batch,
            "/api/v2/mix/order/cancel-all-orders": self._orders.cancel_all,
        }
        yield from (web.get(path, self._public(action)) for path, action in public.items())
        yield from (web.get(path, self._private(action)) for path, action in queries.items())
        yield from (web.post(path, self._private(action)) for path, action in commands.items())

    # Frames

    def _public(self, action: Action) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            return self._answer(lambda: action({**request.query}))

        return handle

    def _private(self, action: Action) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            body = await request.text()
            limit = self._limits.setdefault(
                request.path, RateLimit(self._config.rate_limit_per_s, self._clock)
            )

            def run() -> object:
                self._authenticate(request, body)
                if not limit.take():
                    raise BitgetError("429", "Too Many Requests")
                params: Fields | None = {**request.query}
                if request.method == "POST":
                    params = parse_object(body)
                if params is None:
                    raise BitgetError("40020", "Parameter body error")
                return action(params)

            return self._answer(run)

        return handle

    def _answer(self, run: Callable[[], object]) -> web.Response:
        now_ms = self._account.now_ms()
        try:
            data = run()
        except BitgetError as error:
            status = 429 if error.code == "429" else 400
            return web.json_response(envelope(error.code, error.message, None, now_ms), status=status)
        return web.json_response(envelope("00000", "success", data, now_ms))

    def _authenticate(self, request: web.Request, body: str) -> None:
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
        check_window(stamp, self._account.now_ms())
        path, _, query = request.raw_path.partition("?")
        # What is signed is the query before percent-encoding.
        payload = stamp + request.method + path + (f"?{unquote(query)}" if query else "") + body
        check_signature(
            self._config, headers["ACCESS-KEY"], headers["ACCESS-PASSPHRASE"], headers["ACCESS-SIGN"], payload
        )

    # Market

    def _time(self, _: Fields) -> object:
        return {"serverTime": str(self._account.now_ms())}

    def _contracts(self, params: Fields) -> object:
        return [messages.instrument(self._config)] if self._orders.is_ours(params) else []

    def _no_unified_account(self, _: Fields) -> object:
        raise BitgetError(
            "40084", "You are in Classic Account mode, and the Unified Account API is not supported"
        )

    # Orders and fills

    def _detail(self, params: Fields) -> object:
        order = self._orders.find(params) if self._orders.is_ours(params) else None
        if order is None:
            missing = "The data of the order cannot be found, please confirm the order number"
            raise BitgetError("40109", missing)
        return messages.order_row(order, self._config, detail=True)

    def _pending(self, params: Fields) -> object:
        return self._order_page(self._account.open_orders(), params)

    def _history(self, params: Fields) -> object:
        return self._order_page(self._account.ended_orders(), params)

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
            "entrustedList": [messages.order_row(order, self._config) for order in rows],
            "endId": rows[-1].order_id if rows else None,
        }

    def _fills(self, params: Fields) -> object:
        begin, end = window_ns(params)
        before = text(params, "idLessThan")
        before_id = int(before) if before.isdigit() else None
        order_id = text(params, "orderId")

        def chosen(one: OwnExecution) -> bool:
            return (
                one.is_within(begin, end)
                and (before_id is None or int(one.exec_id) < before_id)
                and (not order_id or one.order_id == order_id)
            )

        newest_first = reversed(self._account.ledger.executions)
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
        if not self._orders.is_ours(params):
            raise BitgetError("40034", f"Parameter {text(params, 'symbol')} does not exist")
        return messages.account_settings(self._account)


def _nothing(_: Fields) -> object:
    return []
