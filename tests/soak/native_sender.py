"""Senders that speak as Bybit and Bitget do themselves, and spoil what only a numbered stream can show to be spoilt."""

from __future__ import annotations

import asyncio
import json
import zlib
from contextlib import suppress
from typing import ClassVar

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from soak.sender import EPOCH_NS, MID, STALE_MS, SYMBOL, Sender, frame

EPOCH_MS = EPOCH_NS // 10**6
CHECKED_LEVELS = 25

ASK_WITHIN_S = 2.0
"""How soon a book that was given up must be asked for again."""

CONNECTION_FAULTS = ("garbage", "invalid_utf8", "drop", "cut_frame", "storm", "stall", "close", "half_open")
BOOK_FAULTS = ("lose", "lose", "repeat", "swap", "cross", "resnapshot", "silence")


class NativeSender(Sender):
    """What the exchanges have in common: books are asked for over the socket, and messages are numbered."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._sequence = 100
        self._asked = asyncio.Event()
        self.unasked = 0

    @staticmethod
    def version(book: object) -> int:
        """Return which state of the sender's book a reader looks at."""
        return book.exchange_ts_ns // 10**6 - EPOCH_MS

    async def _serve(self, ws: ServerConnection) -> None:
        self._asked.clear()
        listener = asyncio.create_task(self._listen(ws))
        try:
            await self._asked.wait()
            await super()._serve(ws)
        finally:
            listener.cancel()

    async def _listen(self, ws: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            async for text in ws:
                if text == "ping":
                    await ws.send("pong")
                elif json.loads(text)["op"] == "subscribe":
                    self._asked.set()

    async def _answer(self, ws: ServerConnection) -> bool:
        """Wait until the book is asked for again and send it, with changes that came before."""
        self._asked.clear()
        for _ in range(self.random.randrange(5)):
            ws.transport.write(frame(self.change()))
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + ASK_WITHIN_S
        while not self._asked.is_set():
            if loop.time() > deadline_s:
                self.unasked += 1
                return False
            await ws.send(self.change(), text=True)
            await asyncio.sleep(0.001)
        await ws.send(self.snapshot(), text=True)
        return False

    async def _lose(self, ws: ServerConnection) -> bool:
        self.change()
        return await self._answer(ws)

    async def _repeat(self, ws: ServerConnection) -> bool:
        change = self.change()
        ws.transport.write(frame(change) + frame(change))
        return await self._answer(ws)

    async def _swap(self, ws: ServerConnection) -> bool:
        first, second = self.change(), self.change()
        ws.transport.write(frame(second) + frame(first))
        return await self._answer(ws)

    async def _cross(self, ws: ServerConnection) -> bool:
        """A bid above every ask, in the book and in the checksum, until the next snapshot."""
        self._bids[MID + 100] = 1
        ws.transport.write(frame(self._message({MID + 100: 1}, {}, snapshot=False)))
        return await self._answer(ws)

    async def _silence(self, ws: ServerConnection) -> bool:
        """Lose a message and then say nothing for long enough to grow stale."""
        self.change()
        await asyncio.sleep(STALE_MS / 1000 * 1.5)
        return await self._answer(ws)

    def _texts(self, side: dict[int, int]) -> list[list[str]]:
        return [[f"{price}.00", f"{qty}.0" if qty else "0"] for price, qty in side.items()]


class BybitSender(NativeSender):
    """Bybit v5."""

    source = "bybit"
    fault_kinds = (*CONNECTION_FAULTS, *BOOK_FAULTS, "restart")
    junk = (b"}{", b'{"topic":"orderbook.200.BTCUSDT","type":"delta","data":{"b":[["1', b"null", b"[1,2]")

    def _written(self, version: int, bids: dict[int, int], asks: dict[int, int], *, snapshot: bool) -> bytes:
        self._sequence += 1
        return self._book(version, bids, asks, "snapshot" if snapshot else "delta")

    def _book(self, version: int, bids: dict[int, int], asks: dict[int, int], kind: str) -> bytes:
        data = {
            "s": SYMBOL,
            "b": self._texts(bids),
            "a": self._texts(asks),
            "u": self._sequence,
            "seq": version,
        }
        message = {
            "topic": f"orderbook.200.{SYMBOL}",
            "type": kind,
            "ts": EPOCH_MS + version,
            "data": data,
            "cts": EPOCH_MS + version,
        }
        return json.dumps(message, separators=(",", ":")).encode()

    async def _restart(self, ws: ServerConnection) -> bool:
        """The service begins to count anew: its first message is the whole book, called a change."""
        self._sequence = 0
        await ws.send(self.snapshot().replace(b'"snapshot"', b'"delta"'), text=True)
        return False


class BitgetSender(NativeSender):
    """Bitget v3."""

    source = "bitget"
    exchange = "bitget-futures"
    fault_kinds = (*CONNECTION_FAULTS, *BOOK_FAULTS, "bad_checksum", "bad_checksum")
    junk = (
        b"}{",
        b'{"action":"update","arg":{"topic":"books","symbol":"BTCUSDT"},"data":[{"b":[["1',
        b"null",
    )
    arg: ClassVar = {"instType": "usdt-futures", "topic": "books", "symbol": SYMBOL}
    names = ("a", "b")

    def _written(self, version: int, bids: dict[int, int], asks: dict[int, int], *, snapshot: bool) -> bytes:
        previous, self._sequence = self._sequence, self._sequence + self.random.randrange(1, 9)
        data = {
            self.names[0]: self._texts(asks),
            self.names[1]: self._texts(bids),
            "checksum": 0 if snapshot else self._checksum(),
            "seq": self._sequence,
            **self._previous(0 if snapshot else previous),
            "ts": str(EPOCH_MS + version),
        }
        message = {
            "action": "snapshot" if snapshot else "update",
            "arg": self.arg,
            "data": [data],
            "ts": EPOCH_MS + version,
        }
        return json.dumps(message, separators=(",", ":")).encode()

    def _previous(self, number: int) -> dict[str, int]:
        return {"pseq": number}

    def _checksum(self) -> int:
        bids, asks = sorted(self._bids.items(), reverse=True), sorted(self._asks.items())
        texts = []
        for i in range(CHECKED_LEVELS):
            for side in (bids, asks):
                if i < len(side):
                    texts += self._texts(dict([side[i]]))[0]
        checksum = zlib.crc32(":".join(texts).encode())
        return checksum - (checksum >> 31 << 32)

    async def _bad_checksum(self, ws: ServerConnection) -> bool:
        """The checksum is that of another book: which of the two is wrong cannot be known."""
        change = json.loads(self.change())
        change["data"][0]["checksum"] ^= 1
        ws.transport.write(frame(json.dumps(change, separators=(",", ":")).encode()))
        return await self._answer(ws)


class BitgetV2Sender(BitgetSender):
    """Bitget v2, which does not say what a message continues: only its checksum, of 25 levels a side, shows a loss.

    A change that made up for a lost one leaves the book right, and nothing to ask for.
    """

    source = "bitget-v2"
    arg: ClassVar = {"instType": "USDT-FUTURES", "channel": "books", "instId": SYMBOL}
    names = ("asks", "bids")
    levels = CHECKED_LEVELS

    def _previous(self, number: int) -> dict[str, int]:
        del number
        return {}
