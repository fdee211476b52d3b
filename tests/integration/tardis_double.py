"""A Tardis machine played by the test: each connection does exactly what the test tells it to.

Only the live endpoint, ``/ws-stream-normalized``, and every way in which it can go wrong.
"""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Self
from urllib.parse import parse_qs, urlsplit

from websockets import http11
from websockets.asyncio.server import ServerConnection, serve

# A tardis-machine takes request lines of up to 20,000 bytes; this library stops at 8,192 by default.
http11.MAX_LINE_LENGTH = 20_000

EPOCH = datetime(2026, 1, 2, tzinfo=UTC)
Levels = Sequence[tuple[float, float]]


class DoubleConnection:
    """The server's end of one connection, driven by the test."""

    def __init__(self, ws: ServerConnection, double: "TardisDouble") -> None:
        parts = urlsplit(ws.request.path)
        self.path = parts.path
        self.options = json.loads(parse_qs(parts.query)["options"][0])
        self._ws = ws
        self._double = double

    async def send(self, message: dict[str, object] | bytes | str | list[str]) -> None:
        """Send a message: a dict as JSON, text as it is, a list of texts as fragments of one message."""
        await self._ws.send(json.dumps(message) if isinstance(message, dict) else message)

    async def book(
        self, *, snapshot: bool, bids: Levels = (), asks: Levels = (), symbol: str = "BTCUSDT"
    ) -> None:
        await self.send(self._double.book(snapshot=snapshot, bids=bids, asks=asks, symbol=symbol))

    async def snapshot(self, bid: float = 100.0, ask: float = 101.0, symbol: str = "BTCUSDT") -> None:
        await self.book(snapshot=True, bids=[(bid, 1.0)], asks=[(ask, 2.0)], symbol=symbol)

    async def trade(self, price: float = 100.5, symbol: str = "BTCUSDT") -> None:
        await self.send(self._double.trade(price, symbol))

    async def disconnect(self, option: int = 0) -> None:
        """Report that the machine lost the exchange of an option; our own connection stays."""
        stamp = self._double.stamp()
        options = self.options if isinstance(self.options, list) else [self.options]
        symbols, exchange = options[option]["symbols"], options[option]["exchange"]
        await self.send(
            {"type": "disconnect", "exchange": exchange, "symbols": symbols, "localTimestamp": stamp}
        )

    async def send_raw_text(self, payload: bytes) -> None:
        """Send a text frame whose payload need not be text."""
        async with self._ws.send_context():
            self._ws.protocol.send_text(payload)

    async def ping(self) -> bool:
        """Ping the client; whether it answered."""
        await (await self._ws.ping())
        return True

    def drop(self) -> None:
        """Reset the TCP connection, without a closing handshake."""
        self._ws.transport.abort()

    def stall(self) -> None:
        """Go dead as a half-open connection does: nothing is read any more, not even pings."""
        self._ws.transport.pause_reading()

    async def close(self, code: int, reason: str = "") -> None:
        await self._ws.close(code, reason)

    async def closed(self) -> None:
        """Wait until the client went away."""
        await self._ws.wait_closed()


class TardisDouble:
    """A loopback server that hands its connections to the test, in the order they came."""

    def __init__(self) -> None:
        self._arrivals: asyncio.Queue[DoubleConnection] = asyncio.Queue()
        self._ticks = 0
        self.connections = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._handle,
            "127.0.0.1",
            0,
            compression=None,
            ping_interval=None,
            max_size=None,
            write_limit=2**20,
        )
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for ws in list(self._server.connections):
            ws.transport.abort()
        self._server.close()
        await self._server.wait_closed()

    async def _handle(self, ws: ServerConnection) -> None:
        self.connections += 1
        self._arrivals.put_nowait(DoubleConnection(ws, self))
        await ws.wait_closed()

    async def accept(self, timeout_s: float = 10.0) -> DoubleConnection:
        """Wait for the client's next connection."""
        return await asyncio.wait_for(self._arrivals.get(), timeout_s)

    def stamp(self) -> str:
        """Return the local time of the next message; each is a millisecond after the last."""
        self._ticks += 1
        return f"{(EPOCH + timedelta(milliseconds=self._ticks)).isoformat(timespec='milliseconds')[:23]}Z"

    def book(
        self, *, snapshot: bool, bids: Levels, asks: Levels, symbol: str = "BTCUSDT"
    ) -> dict[str, object]:
        stamp = self.stamp()
        return {
            "type": "book_change",
            "symbol": symbol,
            "exchange": "bybit",
            "isSnapshot": snapshot,
            "bids": [{"price": price, "amount": amount} for price, amount in bids],
            "asks": [{"price": price, "amount": amount} for price, amount in asks],
            "timestamp": stamp,
            "localTimestamp": stamp,
        }

    def trade(self, price: float, symbol: str = "BTCUSDT") -> dict[str, object]:
        stamp = self.stamp()
        return {
            "type": "trade",
            "symbol": symbol,
            "exchange": "bybit",
            "id": f"t{self._ticks}",
            "price": price,
            "amount": 0.5,
            "side": "buy",
            "timestamp": stamp,
            "localTimestamp": stamp,
        }
