"""The ``options`` of a request, checked as a tardis-machine checks them.

Source: tardis-machine documentation, WebSocket Normalized API (options), Normalized data types.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from mm_hybrid._core import Outbox

MIN_NS, MAX_NS = -(2**63), 2**63 - 1

EXCHANGES = frozenset(
    (
        "ascendex",
        "binance",
        "binance-delivery",
        "binance-dex",
        "binance-european-options",
        "binance-futures",
        "binance-jersey",
        "binance-options",
        "binance-us",
        "bitfinex",
        "bitfinex-derivatives",
        "bitflyer",
        "bitget",
        "bitget-futures",
        "bitmex",
        "bitnomial",
        "bitstamp",
        "blockchain-com",
        "bybit",
        "bybit-options",
        "bybit-spot",
        "coinbase",
        "coinbase-international",
        "crypto-com",
        "cryptofacilities",
        "delta",
        "deribit",
        "dydx",
        "dydx-v4",
        "gate-io",
        "gate-io-futures",
        "gemini",
        "hitbtc",
        "huobi",
        "huobi-dm",
        "huobi-dm-linear-swap",
        "huobi-dm-options",
        "huobi-dm-swap",
        "hyperliquid",
        "kraken",
        "kucoin",
        "kucoin-futures",
        "okcoin",
        "okex",
        "okex-futures",
        "okex-options",
        "okex-spreads",
        "okex-swap",
        "phemex",
        "poloniex",
        "upbit",
        "woo-x",
    )
)
"""Ids a tardis-machine knows; any other ends the connection."""

_PLAIN_TYPES = frozenset(
    ("trade", "book_change", "derivative_ticker", "liquidation", "option_summary", "book_ticker", "quote")
)
_COMPUTED_TYPES = (
    re.compile(r"quote_\d+(ms|s|m)"),
    re.compile(r"book_snapshot_\d+(_grouped\d+(\.\d+)?)?_\d+(ms|s|m)"),
    re.compile(r"trade_bar_\d+(ms|s|m|ticks|vol)"),
)
_NOT_SERVED = (
    re.compile(r"option_summary"),
    re.compile(r"book_snapshot_\d+_grouped.*"),
    re.compile(r"trade_bar_.*"),
)
"""Types a tardis-machine knows and this one does not make: refused, so that nobody waits for them."""
_BAD_DEPTH = re.compile(r"book_snapshot_([^_]*\D[^_]*)_")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class OptionsError(Exception):
    """A request that ends with close code 1011; the text is the close reason."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """One element of ``options``; ``symbols`` is ``None`` for all of them."""

    exchange: str
    symbols: frozenset[str] | None
    data_types: frozenset[str]
    with_disconnects: bool
    with_errors: bool
    from_ns: int = MIN_NS
    to_ns: int = MAX_NS


@dataclass(frozen=True, slots=True)
class Request:
    """Everything one connection asked for."""

    subscriptions: tuple[Subscription, ...]

    def outbox(self, *, live: bool) -> Outbox:
        """Return what sorts out and writes the messages of this request."""
        return Outbox(
            [
                (
                    option.exchange,
                    None if option.symbols is None else sorted(option.symbols),
                    sorted(option.data_types),
                    option.with_disconnects,
                    option.with_errors,
                    option.from_ns,
                    option.to_ns,
                )
                for option in self.subscriptions
            ],
            live=live,
        )

    @property
    def from_ns(self) -> int:
        """Earliest local time asked for, of a replay."""
        return min(option.from_ns for option in self.subscriptions)

    @property
    def to_ns(self) -> int:
        """End of the latest range asked for, exclusive."""
        return max(option.to_ns for option in self.subscriptions)


def parse_options(text: str | None, *, replay: bool) -> Request:
    """Read the ``options`` parameter of a URL.

    Raises:
        OptionsError: with the reason to close the connection with.
    """
    try:
        parsed: Any = json.loads(text or "")
    except ValueError as error:
        raise OptionsError(f"SyntaxError: options are not JSON: {error}") from None
    options = parsed if isinstance(parsed, list) else [parsed]
    if not options:
        raise OptionsError("TypeError: options are an empty array")
    return Request(tuple(_subscription(option, replay=replay) for option in options))


def _subscription(option: Any, *, replay: bool) -> Subscription:
    if not isinstance(option, dict):
        raise OptionsError("TypeError: options must be an object or an array of objects")
    exchange = option.get("exchange")
    if not isinstance(exchange, str):
        raise OptionsError("TypeError: exchange must be a string")
    data_types = option.get("dataTypes")
    if not isinstance(data_types, list) or not all(isinstance(name, str) for name in data_types):
        raise OptionsError("TypeError: dataTypes must be an array of strings")
    known = frozenset(name for name in data_types if _is_known(name))
    if not known:
        raise OptionsError("Error: Can't normalize data without any normalizers provided")
    for name in data_types:
        if any(pattern.fullmatch(name) for pattern in _NOT_SERVED):
            raise OptionsError(f"Error: {name[:60]} is not served by this machine")
    if exchange not in EXCHANGES:
        raise OptionsError(f"Error: normalizeTrades: {exchange} not supported")
    symbols = _symbols(option.get("symbols"), replay=replay)
    for flag in ("withDisconnectMessages", "withErrorMessages"):
        if not isinstance(option.get(flag, False), bool):
            raise OptionsError(f"TypeError: {flag} must be true or false")
    passed_on = option.get("withDisconnectMessages", False), option.get("withErrorMessages", False)
    if not replay:
        return Subscription(exchange, symbols, known, *passed_on)
    from_ns, to_ns = _minute_ns(option, "from"), _minute_ns(option, "to")
    if to_ns < from_ns:
        raise OptionsError(f'Error: Invalid "to" argument: {option["to"]} is before "from"')
    return Subscription(exchange, symbols, known, *passed_on, from_ns, to_ns)


def _is_known(data_type: str) -> bool:
    if data_type in _PLAIN_TYPES or any(pattern.fullmatch(data_type) for pattern in _COMPUTED_TYPES):
        return True
    if bad := _BAD_DEPTH.match(data_type):
        raise OptionsError(f"Error: invalid depth: {bad[1]}, data type: {data_type}")
    return False


def _symbols(symbols: Any, *, replay: bool) -> frozenset[str] | None:
    if symbols is None or symbols == []:
        if replay:
            return None
        raise OptionsError("Error: a live feed needs symbols")
    if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
        raise OptionsError("TypeError: symbols must be an array of strings")
    return frozenset(symbol.upper() for symbol in symbols)


def _minute_ns(option: dict[str, Any], key: str) -> int:
    text = option.get(key)
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        moment = None
    if moment is None:
        raise OptionsError(f'Error: Invalid "{key}" argument: {text}. Please provide an ISO 8601 date')
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(minutes=1) * 60_000_000_000
