"""Bybit v5 public market pages.

Source: Bybit v5 API documentation, pages Get Server Time, Get Instruments Info, Get Orderbook, Get Tickers.
"""

from __future__ import annotations

from mm_hybrid.servers.exchange import bybit_messages as messages
from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.bybit_protocol import BybitError
from mm_hybrid.servers.exchange.wire import Fields, page_size, text

_BOOK_DEPTH = {"linear": (25, 500), "spot": (1, 200)}


class BybitMarket:
    """The listed symbol as contract and, where the exchange has it, as spot pair."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._config = account.config

    def time(self, _: Fields) -> Fields:
        """Return the server's time."""
        now_ms = self._account.now_ms()
        return {"timeSecond": str(now_ms // 1000), "timeNano": str(now_ms * 1_000_000)}

    def instruments(self, params: Fields) -> Fields:
        """Return what is listed of a category."""
        category = text(params, "category")
        listed = (
            self._has(category)
            and text(params, "status") in ("", "Trading")
            and text(params, "symbol") in ("", self._config.symbol)
        )
        show = messages.spot_instrument if category == "spot" else messages.instrument
        tradable = self._account.setup.symbol_status == "trading"
        rows = [show(self._config, tradable=tradable)] if listed else []
        return {"category": category, "list": rows, "nextPageCursor": ""}

    def order_book(self, params: Fields) -> Fields:
        """Return the market's book, which does not hold the account's orders."""
        self._check_listed(params)
        bounds = _BOOK_DEPTH[text(params, "category")]
        return messages.order_book(self._account, page_size(params.get("limit"), *bounds))

    def tickers(self, params: Fields) -> Fields:
        """Return the ticker of the one symbol."""
        if text(params, "symbol"):
            self._check_listed(params)
        category = text(params, "category")
        rows = [messages.ticker(self._account, category)] if self._has(category) else []
        return {"category": category, "list": rows}

    def _has(self, category: str) -> bool:
        return category == "linear" or (category == "spot" and self._account.spot is not None)

    def _check_listed(self, params: Fields) -> None:
        if not self._has(text(params, "category")):
            raise BybitError(10001, "params error: category invalid")
        if text(params, "symbol") != self._config.symbol:
            raise BybitError(10001, "params error: symbol invalid")
