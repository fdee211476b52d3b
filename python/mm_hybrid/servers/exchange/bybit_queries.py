"""Bybit v5 private queries.

Source: Bybit v5 API documentation, pages Get Open & Closed Orders, Get Order History, Get Trade History, Get
Position Info, Get Wallet Balance, Get Fee Rate, Get Account Info, Get API Key Information, Get Coin Info.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import quote, unquote

from mm_hybrid.servers.exchange import bybit_messages as messages
from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.bybit_protocol import BybitError
from mm_hybrid.servers.exchange.orders import Order, OwnExecution
from mm_hybrid.servers.exchange.wire import Fields, first, millis, page_size, text, window_ns

_OPEN_PAGE = (20, 50)
_EXECUTION_PAGE = (50, 100)
_RECENT_ENDED = 500
_MOST_DAYS_NS = 7 * 86_400 * 1_000_000_000
_MILLISECOND_NS = 1_000_000


class BybitQueries:
    """Answers what the account is asked, contract and spot alike."""

    def __init__(self, account: Account, dcp_window_s: Callable[[], int]) -> None:
        self._contract = account
        self._config = account.config
        self._dcp_window_s = dcp_window_s

    # Orders and executions

    def realtime(self, params: Fields) -> Fields:
        """Return open orders; by exact id, or with ``openOnly`` 1, the 500 last ended ones too."""
        account = self._asked(params)
        if account is None:
            return _page([], "", params)
        exact = _exact(account, params)
        if exact is not None:
            return _order_page(account, exact, params)
        if text(params, "openOnly") == "1":
            recent = first(account.ended_orders(), _RECENT_ENDED)
            return _order_page(account, account.shown(recent), params)
        return _order_page(account, account.shown(account.open_orders()), params)

    def history(self, params: Fields) -> Fields:
        """Return ended orders."""
        account = self._asked(params)
        if account is None:
            return _page([], "", params)
        exact = _exact(account, params)
        if exact is not None:
            return _order_page(account, [order for order in exact if not order.is_open], params)
        return _order_page(account, account.shown(account.ended_orders()), params)

    def executions(self, params: Fields) -> Fields:
        """Return executions of every type, newest first, or of the type asked for."""
        account = self._asked(params)
        if account is None:
            return _page([], "", params)
        wanted_type = text(params, "execType")
        order_id, client_id = text(params, "orderId"), text(params, "orderLinkId")
        after = _cursor_id(params)
        before_serial = int(after) if after.isdigit() else None
        begin, end = _window_of_days(params)

        def chosen(one: OwnExecution) -> bool:
            return (
                one.is_within(begin, end)
                and wanted_type in ("", one.exec_type)
                and (not order_id or one.order_id == order_id)
                and (not client_id or one.client_id == client_id)
                and (before_serial is None or one.serial < before_serial)
            )

        found = filter(chosen, account.shown_executions())
        rows = first(found, page_size(params.get("limit"), *_EXECUTION_PAGE))
        cursor = _cursor([f"{one.serial}:2" for one in rows])
        return _page([messages.execution_row(one, account) for one in rows], cursor, params)

    def _asked(self, params: Fields) -> Account | None:
        """Return the side of the account a query is about; ``None`` when there can be nothing to show."""
        config, category = self._config, text(params, "category")
        if category not in ("linear", "inverse", "spot", "option"):
            raise BybitError(10001, "params error: category invalid")
        matches = (
            text(params, "symbol") in ("", config.symbol)
            and text(params, "settleCoin") in ("", config.quote)
            and text(params, "baseCoin") in ("", config.base)
        )
        account = {"linear": self._contract, "spot": self._contract.spot}.get(category)
        return account if matches else None

    # Account

    def positions(self, params: Fields) -> Fields:
        """Return the position; flat it is shown only to who names the symbol."""
        account = self._asked(params)
        rows: list[Fields] = []
        if account is self._contract and account.setup.hedge_mode:
            rows = messages.hedge_positions(account)
        elif account is self._contract and (text(params, "symbol") or account.position.qty):
            rows = [messages.position_row(account, stream=False)]
        return _page(rows, "", params)

    def wallet(self, params: Fields) -> Fields:
        """Return the one unified wallet."""
        if text(params, "accountType") != "UNIFIED":
            raise BybitError(10001, "params error: accountType only support UNIFIED.")
        return {"list": [messages.wallet_row(self._contract, stream=False)]}

    def fee_rate(self, params: Fields) -> Fields:
        """Return the account's fee rates."""
        account = self._asked(params)
        if account is None:
            return {"list": []}
        maker, taker = self._config.maker_fee_rate, self._config.taker_rate
        if account is not self._contract:
            maker = taker = self._config.spot_fee_rate
        row = {
            "symbol": self._config.symbol,
            "baseCoin": "",
            "makerFeeRate": str(maker),
            "takerFeeRate": str(taker),
        }
        return {"list": [row]}

    def account_info(self, _: Fields) -> Fields:
        """Return the modes of the account."""
        return {
            "marginMode": "REGULAR_MARGIN",
            "updatedTime": str(self._contract.now_ms()),
            "unifiedMarginStatus": 6,
            "dcpStatus": "ON" if self._contract.setup.dcp_enabled else "OFF",
            "timeWindow": self._dcp_window_s(),
            "smpGroup": 0,
            "isMasterTrader": False,
            "spotHedgingStatus": "OFF",
        }

    def key_info(self, _: Fields) -> Fields:
        """Return what the key may do and from where."""
        setup = self._contract.setup
        return {
            "id": "1",
            "note": "local paper exchange",
            "apiKey": self._config.api_key,
            "readOnly": 0 if setup.can_trade else 1,
            "secret": "",
            "permissions": {"ContractTrade": ["Order", "Position"], "Derivatives": ["DerivativesTrade"]},
            "ips": list(setup.allowed_ips or ("*",)),
            "type": 1,
            "unified": 0,
            "uta": 1,
            "userID": 1,
            "isMaster": True,
            "parentUid": "0",
        }

    def coins(self, params: Fields) -> Fields:
        """Return the two coins there are."""
        wanted = text(params, "coin")
        names = [name for name in (self._config.quote, self._config.base) if wanted in ("", name)]
        return {"rows": [{"name": name, "coin": name, "remainAmount": "0", "chains": []} for name in names]}


def _exact(account: Account, params: Fields) -> list[Order] | None:
    """Return the order asked for by id, open or ended lately; ``None`` when no id was given."""
    order_id, client_id = text(params, "orderId"), text(params, "orderLinkId")
    if not (order_id or client_id):
        return None
    order = account.find(order_id=order_id, client_id=client_id)
    if order is None or not (order.is_open or order in first(account.ended_orders(), _RECENT_ENDED)):
        return []
    return list(account.shown([order]))


def _order_page(account: Account, newest_first: Iterable[Order], params: Fields) -> Fields:
    after = account.find(order_id=_cursor_id(params))
    begin, end = _window_of_days(params)
    chosen = (
        order
        for order in newest_first
        if (after is None or order.serial < after.serial) and begin <= order.created_ns <= end
    )
    rows = first(chosen, page_size(params.get("limit"), *_OPEN_PAGE))
    marks = [f"{order.order_id}:{millis(order.created_ns)}" for order in rows]
    return _page([messages.order_row(order, account) for order in rows], _cursor(marks), params)


def _window_of_days(params: Fields) -> tuple[int, int]:
    """Return the time window asked for, which must not be longer than seven days.

    With one end given the venue takes seven days from there; with none, whatever is recent.
    """
    begin, end = window_ns(params)
    has_begin, has_end = text(params, "startTime").isdigit(), text(params, "endTime").isdigit()
    if has_begin and has_end:
        if end - begin > _MOST_DAYS_NS + _MILLISECOND_NS:
            too_long = "The time range between startTime and endTime is over 7 days"
            raise BybitError(10001, f"params error: {too_long}")
        if end < begin:
            raise BybitError(10001, "params error: endTime is before startTime")
    elif has_begin:
        end = begin + _MOST_DAYS_NS
    elif has_end:
        begin = end - _MOST_DAYS_NS
    return begin, end


def _page(rows: list[Fields], cursor: str, params: Fields) -> Fields:
    return {"list": rows, "nextPageCursor": cursor, "category": text(params, "category")}


def _cursor(marks: list[str]) -> str:
    """Return a cursor: first and last row, percent-encoded; given on the last page too, as the venue does."""
    return quote(f"{marks[0]},{marks[-1]}", safe="") if marks else ""


def _cursor_id(params: Fields) -> str:
    """Return the id of the last row already seen; clients hand a cursor back encoded once or twice."""
    return unquote(unquote(text(params, "cursor"))).rpartition(",")[2].partition(":")[0]
