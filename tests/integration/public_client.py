"""Clients of public channels as their documentation asks for them: apply what comes, check what can be checked."""

import asyncio
import json
import random
import zlib
from decimal import Decimal
from typing import Self

import websockets
from venue_client import ASKS, BIDS

from mm_hybrid.servers.exchange import ExchangeServer

PATHS = {"bybit": "/v5/public/linear", "v2": "/v2/ws/public", "v3": "/v3/ws/public"}
SIDES = {"bybit": ("b", "a"), "v2": ("bids", "asks"), "v3": ("b", "a")}


def wandering(seed: int, steps: int) -> list[tuple[list, list]]:
    """Books of a market that moves, thins out and fills up again, up to 80 levels a side."""
    dice, books, middle = random.Random(seed), [], 600_000
    for _ in range(steps):
        middle += dice.randint(-3, 3)
        bids = [(middle - 1 - i) / 10 for i in range(80) if dice.random() < 0.8]
        asks = [(middle + 1 + i) / 10 for i in range(80) if dice.random() < 0.8]
        sized = [[(price, dice.randint(1, 3) / 10) for price in side] for side in (bids, asks)]
        books.append((sized[0] or BIDS, sized[1] or ASKS))
    return books


class GapError(Exception):
    """A message does not follow the one before."""


class BadChecksumError(Exception):
    """The book differs from the one the venue has reckoned with."""


class Socket:
    """One connection, and frames as they came."""

    def __init__(self, server: ExchangeServer, protocol: str, path: str = "") -> None:
        self.url = server.url.replace("http", "ws", 1) + (path or PATHS[protocol])
        self.protocol = protocol

    async def __aenter__(self) -> Self:
        self.connection = await websockets.connect(self.url, ping_interval=None)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.connection.close()

    async def ask(self, message: dict[str, object] | str) -> None:
        await self.connection.send(message if isinstance(message, str) else json.dumps(message))

    async def raw(self, timeout_s: float = 5.0) -> str:
        return await asyncio.wait_for(self.connection.recv(), timeout_s)

    async def hear(self, timeout_s: float = 5.0) -> dict:
        return json.loads(await self.raw(timeout_s))

    async def hears_nothing(self, within_s: float = 0.1) -> bool:
        try:
            await self.raw(within_s)
        except TimeoutError:
            return True
        return False

    async def hear_until_closed(self) -> None:
        """Read on until the other side closes, which raises."""
        while True:
            await self.raw()

    def arg(self, channel: str) -> object:
        """The argument that names a channel of the symbol; books and trades have one name here."""
        if self.protocol == "bybit":
            return {"book": "orderbook.50", "trade": "publicTrade"}.get(channel, channel) + ".BTCUSDT"
        channel = {"book": "books"}.get(channel, channel)
        if self.protocol == "v2":
            return {"instType": "USDT-FUTURES", "channel": channel, "instId": "BTCUSDT"}
        channel = {"trade": "publicTrade"}.get(channel, channel)
        return {"instType": "usdt-futures", "topic": channel, "symbol": "BTCUSDT"}

    async def follow(self, *channels: str, op: str = "subscribe") -> None:
        """Subscribe and take the acknowledgement, one channel at a time; what greets is left to be heard."""
        await self.ask({"op": op, "args": [self.arg(channel) for channel in channels]})
        if self.protocol == "bybit":
            assert (await self.hear())["success"]
        else:
            assert (await self.hear())["event"] == op


class Book:
    """A book built from nothing but frames.

    Raises:
        GapError: ``u`` or ``pseq`` does not follow, or, which is all that v2 shows, a level goes that is not there.
        BadChecksumError: a Bitget update's checksum is not that of the book.
    """

    def __init__(self, protocol: str, depth: int | None = None) -> None:
        self.protocol = protocol
        self.depth = depth
        self.sides: tuple[dict[str, str], dict[str, str]] = ({}, {})
        self.update_id = self.seq = 0

    def apply(self, frame: dict) -> None:
        data = frame["data"] if self.protocol == "bybit" else frame["data"][0]
        is_snapshot = (frame.get("type") or frame["action"]) == "snapshot"
        if is_snapshot:
            self.sides = ({}, {})
        elif self.protocol == "bybit" and data["u"] != self.update_id + 1:
            raise GapError(f"u {data['u']} after {self.update_id}")
        elif self.protocol == "v3" and data["pseq"] != self.seq:
            raise GapError(f"pseq {data['pseq']} after {self.seq}")
        self.update_id, self.seq = data.get("u", 0), data["seq"]
        for side, name in zip(self.sides, SIDES[self.protocol], strict=True):
            for price, qty in data[name]:
                if Decimal(qty):
                    side[price] = qty
                elif side.pop(price, None) is None:
                    raise GapError(f"level {price} was never there")
        if "checksum" in data and not is_snapshot and data["checksum"] != independent_checksum(*self.rows):
            raise BadChecksumError(data["checksum"])

    @property
    def rows(self) -> tuple[list[list[str]], list[list[str]]]:
        bids, asks = (sorted(side.items(), key=lambda level: Decimal(level[0])) for side in self.sides)
        return [list(level) for level in reversed(bids)], [list(level) for level in asks]

    @property
    def is_crossed(self) -> bool:
        bids, asks = self.rows
        return bool(bids and asks) and Decimal(bids[0][0]) >= Decimal(asks[0][0])


def independent_checksum(bids: list[list[str]], asks: list[list[str]]) -> int:
    """Bitget's checksum in another way: interleave with holes, cut, drop the holes."""
    pad = [None] * 25
    interleaved = [
        level
        for pair in zip([*bids, *pad][:25], [*asks, *pad][:25], strict=True)
        for level in pair
        if level is not None
    ]
    text = ":".join(f"{price}:{qty}" for price, qty in interleaved)
    return int.from_bytes(zlib.crc32(text.encode()).to_bytes(4, "big"), "big", signed=True)
