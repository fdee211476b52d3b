"""Unmodified ccxt clients pointed at a local exchange, and a market moved by hand."""

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import urlsplit

import ccxt.pro

from mm_hybrid._core import EventBatch
from mm_hybrid.servers.exchange import ExchangeServer, ExchangeServerConfig, FaultScript, matching_for

SYMBOL = "BTC/USDT:USDT"
BIDS = [(59_999.9, 2.0), (59_999.0, 5.0)]
ASKS = [(60_000.1, 2.0), (60_001.0, 5.0)]
prints = itertools.count()
OPTIONS = {
    "bybit": {
        "defaultType": "swap",
        "fetchMarkets": {"types": ["linear"]},
        "enableUnifiedMargin": False,
        "enableUnifiedAccount": True,
        "unifiedMarginStatus": 6,
    },
    "bitget": {"defaultType": "swap", "fetchMarkets": {"types": ["swap"]}, "uta": False},
}


def serve(
    venue: str, *, before_accept: Callable[[str, Sequence[str]], None] | None = None, **settings: object
) -> ExchangeServer:
    """A server over the real matching engine, its market applied by the test."""
    config = ExchangeServerConfig(venue=venue, **settings)
    spot_matching = matching_for(config) if config.spot else None
    matching = matching_for(config)
    return ExchangeServer(config, matching, spot_matching=spot_matching, before_accept=before_accept)


def connect(server: ExchangeServer, **overrides: object) -> ccxt.pro.Exchange:
    """A ccxt client of that server."""
    return connect_to(server.url, server.config, **overrides)


def connect_to(url: str, config: ExchangeServerConfig, **overrides: object) -> ccxt.pro.Exchange:
    """A ccxt client that cannot leave this machine."""
    settings = {
        "apiKey": config.api_key,
        "secret": config.api_secret.get_secret_value(),
        "password": config.api_password.get_secret_value(),
        "enableRateLimit": False,
        "options": OPTIONS[config.venue],
        **overrides,
    }
    client = getattr(ccxt.pro, config.venue)(settings)
    client.urls["api"] = _rewritten(client.urls["api"], url)
    assert set(_hosts(client.urls["api"])) == {"127.0.0.1"}
    return client


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for something that announces itself nowhere."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def follows(server: ExchangeServer, topic: str) -> None:
    """Wait until a session of the private stream follows a topic that contains ``topic``."""
    sessions = server._streams._private._sessions
    await until(lambda: any(topic in name for session in sessions for name in session.topics))


class Market:
    """Moves the market the server matches against, one Tardis message at a time."""

    def __init__(self, server: ExchangeServer) -> None:
        self._server = server
        self.now_ms = server.account.now_ms()

    def book(self, bids: list[tuple[float, float]] = BIDS, asks: list[tuple[float, float]] = ASKS) -> None:
        """Replace the book."""
        sides = {
            name: [{"price": price, "amount": qty} for price, qty in levels]
            for name, levels in (("bids", bids), ("asks", asks))
        }
        self._send({"type": "book_change", "isSnapshot": True, **sides})

    def trade(self, side: str, price: float, qty: float, trade_id: str = "print-1") -> int:
        """Print a trade by an aggressor on ``side``; return its exchange time in ms."""
        self._send({"type": "trade", "id": trade_id, "price": price, "amount": qty, "side": side})
        return self.now_ms

    def _send(self, message: dict[str, object]) -> None:
        self.now_ms += 1
        moment = datetime.fromtimestamp(self.now_ms / 1000, UTC).isoformat(timespec="milliseconds")
        stamp = moment.replace("+00:00", "Z")
        message |= {
            "exchange": self._server.config.feed_exchange,
            "symbol": self._server.config.feed_symbol,
            "timestamp": stamp,
            "localTimestamp": stamp,
        }
        self._server.apply(EventBatch.decode([json.dumps(message).encode()]))


class Venue:
    """The exchange of one test, its market and its faults."""

    def __init__(self, server: ExchangeServer) -> None:
        self.server = server
        self.name = server.config.venue
        self.url = server.url
        self.market = Market(server)
        self.market.book()

    def script(self, *rules: dict) -> None:
        self.server.faults.replace(FaultScript.parse({"seed": 1, "rules": list(rules)}, "test"))

    def heal(self) -> None:
        self.script()

    @property
    def open(self) -> list[tuple[str, Decimal, Decimal]]:
        return sorted((o.side, o.price, o.remaining_qty) for o in self.server.account.open_orders())

    @property
    def placed(self) -> int:
        """Orders the exchange has ever accepted."""
        account = self.server.account
        return len(list(account.open_orders())) + len(list(account.ended_orders()))

    def fill(self, qty: str, price: str = "59990.0") -> None:
        """A seller prints through the buys at ``price``."""
        self.market.trade("sell", float(price) - 0.1, float(qty), f"print-{next(prints)}")


def _rewritten(urls: object, server_url: str) -> object:
    """The same tree of URLs with scheme and host replaced, path kept."""
    if isinstance(urls, dict):
        return {key: _rewritten(value, server_url) for key, value in urls.items()}
    if not isinstance(urls, str):
        return urls
    parts = urlsplit(urls)
    scheme = "ws" if parts.scheme in ("ws", "wss") else "http"
    return parts._replace(scheme=scheme, netloc=urlsplit(server_url).netloc).geturl()


def _hosts(urls: object) -> Iterator[str | None]:
    if isinstance(urls, dict):
        for value in urls.values():
            yield from _hosts(value)
    elif isinstance(urls, str):
        yield urlsplit(urls).hostname
