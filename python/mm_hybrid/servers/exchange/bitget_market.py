"""Bitget v2 public pages of a contract's past: prints, candles, funding.

Source: Bitget v2 API documentation, pages Get Recent Transactions, Get Candlestick Data, Get Current Funding Rate.
"""

from __future__ import annotations

from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.bitget_messages import PRODUCT
from mm_hybrid.servers.exchange.bitget_protocol import BitgetError
from mm_hybrid.servers.exchange.wire import (
    FUNDING_INTERVAL_MS,
    Fields,
    first,
    millis,
    next_funding_ms,
    number,
    page_size,
    text,
)

_CANDLES_PAGE = (100, 1000)
_PRINTS_PAGE = (100, 1000)
_MINUTES = {
    **{f"{minutes}m": minutes for minutes in (1, 3, 5, 15, 30)},
    **{f"{hours}{zone}": 60 * hours for hours in (1, 4, 6, 12) for zone in ("H", "Hutc")},
    **{f"{days}{zone}": 1440 * days for days in (1, 3) for zone in ("D", "Dutc")},
    **{f"1{zone}": 7 * 1440 for zone in ("W", "Wutc")},
}


class BitgetMarket:
    """What the market has done, of the one listed contract."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def prints(self, params: Fields) -> object:
        """Return the latest prints, newest first."""
        self._check_listed(params)
        found = first(
            self._account.market.prints.newest_first(), page_size(params.get("limit"), *_PRINTS_PAGE)
        )
        return [
            {
                "tradeId": name,
                "price": trade.price_text,
                "size": trade.qty_text,
                "side": "sell" if trade.side == "sell" else "buy",
                "ts": millis(trade.exchange_ts_ns),
                "symbol": self._account.config.symbol,
            }
            for name, trade in found
        ]

    def candles(self, params: Fields) -> object:
        """Return the latest candles within the time asked for, oldest first."""
        self._check_listed(params)
        minutes = _MINUTES.get(text(params, "granularity"))
        if minutes is None:
            raise BitgetError("40017", "Parameter verification failed: granularity")
        begin, end = text(params, "startTime"), text(params, "endTime")
        found = self._account.market.prints.candles(
            minutes, int(begin) if begin.isdigit() else 0, int(end) if end.isdigit() else 1 << 63
        )
        return [candle.texts() for candle in found[-page_size(params.get("limit"), *_CANDLES_PAGE) :]]

    def funding_rate(self, params: Fields) -> object:
        """Return the rate last settled and when the next one would be."""
        self._check_listed(params)
        return [
            {
                "symbol": self._account.config.symbol,
                "fundingRate": number(self._account.funding_rate),
                "fundingRateInterval": str(FUNDING_INTERVAL_MS // 3_600_000),
                "nextUpdate": str(next_funding_ms(self._account.now_ms())),
                "minFundingRate": "-0.003",
                "maxFundingRate": "0.003",
            }
        ]

    def _check_listed(self, params: Fields) -> None:
        listed = text(params, "symbol").upper() == self._account.config.symbol
        if not listed or text(params, "productType").upper() != PRODUCT:
            raise BitgetError("40034", f"Parameter {text(params, 'symbol')} does not exist")
