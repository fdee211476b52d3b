"""Names of symbols at Tardis, at the venue and in ccxt, and an instrument's grid from what the venue tells.

Linear USDT perpetuals are what is traded; market data may come from any Tardis exchange.

Source: Tardis documentation, Historical Data Details (exchange ids); ccxt manual, Contract Naming
Conventions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from mm_hybrid.errors import ConfigError, GatewayError
from mm_hybrid.types import Instrument

TARDIS_EXCHANGE = {"bybit": "bybit", "bitget": "bitget-futures"}
"""Tardis's id of each venue's linear perpetuals."""

VENUES = tuple(TARDIS_EXCHANGE)

_QUOTES = ("USDT", "USDC", "USD")
_LINEAR = re.compile(rf"^([A-Z0-9]{{2,}}?)({'|'.join(_QUOTES)})$")


def split_symbol(symbol: str) -> tuple[str, str]:
    """Return base and quote of a venue symbol.

    Raises:
        ConfigError: it is not of the form ``BTCUSDT``.
    """
    match = _LINEAR.match(symbol)
    if match is None:
        raise ConfigError(f"symbol {symbol!r}: not of the form BTCUSDT (quote one of {', '.join(_QUOTES)})")
    return match[1], match[2]


def ccxt_symbol(symbol: str) -> str:
    """Return the unified name of a venue's linear perpetual: ``BTCUSDT`` -> ``BTC/USDT:USDT``."""
    base, quote = split_symbol(symbol)
    return f"{base}/{quote}:{quote}"


def listed_instrument(venue: str, symbol: str | None, markets: Mapping[str, Any]) -> Instrument:
    """Return the linear perpetual of a symbol among a venue's ccxt markets.

    Raises:
        GatewayError: there is no symbol, or no such perpetual.
    """
    if symbol is None:
        raise GatewayError(f"{venue}: no symbol to trade")
    market = markets.get(ccxt_symbol(symbol))
    if market is None:
        raise GatewayError(f"{venue}: no linear perpetual {symbol}")
    return from_market(venue, market)


def from_market(venue: str, market: Mapping[str, Any]) -> Instrument:
    """Build an instrument from a ccxt market structure.

    Grids come from the venue's own text where it is there, since the unified numbers are floats.

    Raises:
        GatewayError: it is no linear perpetual, or a grid is missing.
    """
    symbol = str(market.get("id"))
    if not (market.get("swap") and market.get("linear")):
        raise GatewayError(f"{venue}: {symbol} is no linear perpetual")
    info: Mapping[str, Any] = market.get("info") or {}
    if venue == "bybit":
        price, lot = info.get("priceFilter") or {}, info.get("lotSizeFilter") or {}
        tick_size, lot_size = _number(price.get("tickSize")), _number(lot.get("qtyStep"))
        min_qty, min_notional = _number(lot.get("minOrderQty")), _number(lot.get("minNotionalValue"))
    else:
        tick_size = _bitget_tick(info)
        lot_size = _number(info.get("sizeMultiplier"))
        min_qty, min_notional = _number(info.get("minTradeNum")), _number(info.get("minTradeUSDT"))
    limits, precision = market.get("limits") or {}, market.get("precision") or {}
    tick_size = tick_size or _number(precision.get("price"))
    lot_size = lot_size or _number(precision.get("amount"))
    if not tick_size or not lot_size:
        raise GatewayError(f"{venue}: {symbol} has no tick or lot size")
    return Instrument(
        venue=venue,
        symbol=symbol,
        ccxt_symbol=str(market["symbol"]),
        base=str(market["base"]),
        quote=str(market["quote"]),
        tick_size=tick_size,
        lot_size=lot_size,
        min_qty=min_qty or _number((limits.get("amount") or {}).get("min")) or lot_size,
        min_notional=min_notional or _number((limits.get("cost") or {}).get("min")) or Decimal(0),
        contract_size=_number(market.get("contractSize")) or Decimal(1),
        maker_fee_rate=_number(info.get("makerFeeRate") or market.get("maker")) or Decimal(0),
        taker_fee_rate=_number(info.get("takerFeeRate") or market.get("taker")) or Decimal(0),
    )


def tradable_status(venue: str, market: Mapping[str, Any]) -> str | None:
    """Return the status of a market that takes no new orders now, in the venue's word; ``None`` when it trades.

    Source: Bybit v5 API documentation, Enums Definitions, status; Bitget API documentation, Get Contract Config.
    """
    info: Mapping[str, Any] = market.get("info") or {}
    key, trading = ("status", "Trading") if venue == "bybit" else ("symbolStatus", "normal")
    status = str(info.get(key) or trading)
    return None if status == trading else status


def _bitget_tick(info: Mapping[str, Any]) -> Decimal | None:
    """Bitget gives the tick as a number of decimals and a step of the last one."""
    if info.get("pricePlace") in {None, ""}:
        return None
    step = _number(info.get("priceEndStep")) or Decimal(1)
    return step.scaleb(-int(info["pricePlace"]))


def _number(value: Any) -> Decimal | None:
    return None if value in {None, ""} else Decimal(str(value))
