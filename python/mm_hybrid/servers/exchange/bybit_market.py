"""Bybit v5 public market pages.

Source: Bybit v5 API documentation, pages Get Server Time, Get Instruments Info, Get Orderbook, Get Tickers,
Get Recent Public Trades, Get Kline.
"""

from __future__ import annotations

from mm_hybrid.servers.exchange import bybit_messages as messages
from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.bybit_protocol import BybitError
from mm_hybrid.servers.exchange.wire import Fields, first, millis, page_size, text

_PRINTS_PAGE = {"linear": (500, 1000), "spot": (60, 60)}
_CANDLES_PAGE = (200, 1000)
_MINUTES = {
    **{str(minutes): minutes for minutes in (1, 3, 5, 15, 30, 60, 120, 240, 360, 720)},
    "D": 1440,
    "W": 7 * 1440,
}
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

    def prints(self, params: Fields) -> Fields:
        """Return the latest prints, newest first."""
        self._check_listed(params)
        category = text(params, "category")
        found = first(
            self._account.market.prints.newest_first(),
            page_size(params.get("limit"), *_PRINTS_PAGE[category]),
        )
        rows = [
            {
                "execId": name,
                "symbol": self._config.symbol,
                "price": trade.price_text,
                "size": trade.qty_text,
                "side": "Sell" if trade.side == "sell" else "Buy",
                "time": millis(trade.exchange_ts_ns),
                "isBlockTrade": False,
            }
            for name, trade in found
        ]
        return {"category": category, "list": rows}

    def candles(self, params: Fields) -> Fields:
        """Return the latest candles within the time asked for, newest first."""
        self._check_listed(params)
        minutes = _MINUTES.get(text(params, "interval"))
        if minutes is None:
            raise BybitError(10001, "Invalid period!")
        begin, end = text(params, "start"), text(params, "end")
        found = self._account.market.prints.candles(
            minutes, int(begin) if begin.isdigit() else 0, int(end) if end.isdigit() else 1 << 63
        )
        latest = found[-page_size(params.get("limit"), *_CANDLES_PAGE) :]
        rows = [candle.texts() for candle in reversed(latest)]
        return {"category": text(params, "category"), "symbol": self._config.symbol, "list": rows}

    def _has(self, category: str) -> bool:
        return category == "linear" or (category == "spot" and self._account.spot is not None)

    def _check_listed(self, params: Fields) -> None:
        if not self._has(text(params, "category")):
            raise BybitError(10001, "params error: category invalid")
        if text(params, "symbol") != self._config.symbol:
            raise BybitError(10001, "params error: symbol invalid")
