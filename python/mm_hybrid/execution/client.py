"""The client library, set up for one account: no hidden requests, no repeats, its addresses replaced where asked."""

from __future__ import annotations

import logging
from typing import Any

import ccxt.pro

from mm_hybrid.config import VenueConfig
from mm_hybrid.execution import wire
from mm_hybrid.execution.credentials import Credentials

KEEP_ALIVE_MS = 5_000


def client_of(config: VenueConfig, credentials: Credentials, timeout_s: float) -> Any:
    """Return a ccxt client that has asked nothing yet.

    Raises:
        GatewayError: an override leads off this machine.
    """
    bybit = config.name == "bybit"
    options: dict[str, Any] = {
        "fetchMarkets": {"types": ["linear" if bybit else "swap"]},
        "defaultType": "swap",
        "maxRetriesOnFailure": 0,
        "ws": {"keepAlive": KEEP_ALIVE_MS},
        # ccxt walks everything it remembers of pushes at each new one; far more than one read of a socket brings.
        "ordersLimit": 200,
        "tradesLimit": 200,
    }
    # Preset, since ccxt would ask with hidden requests, and on Bitget takes any failure for an answer.
    if bybit:
        options |= {"enableUnifiedMargin": False, "enableUnifiedAccount": True, "unifiedMarginStatus": 6}
    else:
        options |= {"uta": False}
    exchange = getattr(ccxt.pro, config.name)({
        "apiKey": credentials.api_key.get_secret_value(),
        "secret": credentials.secret.get_secret_value(),
        "password": credentials.password.get_secret_value(),
        "enableRateLimit": False,
        "timeout": round(timeout_s * 1000),
        "options": options,
    })  # fmt: skip
    exchange.has["fetchCurrencies"] = False
    exchange.timeout_on_exit = 0
    # Its own logger writes headers, and with them the key, at DEBUG.
    exchange.logger = logging.getLogger("mm_hybrid.execution.ccxt")
    exchange.logger.setLevel(logging.WARNING)
    if config.url is not None:
        exchange.urls["api"] = wire.rewrite_urls(exchange.urls["api"], config.url)
        wire.require_loopback(exchange.urls["api"])
    elif config.demo:
        exchange.enable_demo_trading(True)
    return exchange
