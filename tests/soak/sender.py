"""A sender of a book that changes at random, which spoils its connection in every way; this one is a tardis-machine."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter, OrderedDict
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

EPOCH = datetime(2026, 1, 2, tzinfo=UTC)
EPOCH_NS = int(EPOCH.timestamp()) * 10**9
MID = 1000
LEVELS = 30
STATES_KEPT = 200_000
STALE_MS, RESYNC_MS = 200, 600
SYMBOL = "BTCUSDT"


class Sender:
    """A book that changes at random, and every way to spoil the connection that carries it."""

    exchange = "bybit"
    source = "tardis"
    levels = LEVELS
    bursts, burst_changes = 40, 100
    fault_kinds = (
        *(
            "garbage",
            "invalid_utf8",
            "drop",
            "cut_frame",
            "storm",
            "stall",
            "stall",
            "disconnect",
            "disconnect",
        ),
        *("resnapshot", "resnapshot", "resnapshot", "close", "half_open", "no_snapshot"),
    )
    junk = (b"}{", b'{"type":"book_change","bids":[{"price":', b"null", b"[1,2]", b"\x00\x01", b'{"a":1}')

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.digests: OrderedDict[int, int] = OrderedDict()
        self.faults: Counter[str] = Counter()
        self.messages = 0
        self.refuse = 0
        self._serving = asyncio.Lock()
        self._bids: dict[int, int] = {}
        self._asks: dict[int, int] = {}
        self._version = itertools.count(1)
        self._renew()

    def _renew(self) -> None:
        self._bids = {MID - i: self.random.randrange(1, 1000) for i in range(1, self.levels)}
        self._asks = {MID + i: self.random.randrange(1, 1000) for i in range(1, self.levels)}

    @staticmethod
    def version(book: object) -> int:
        """Return which state of the sender's book a reader looks at."""
        return (book.timestamp - EPOCH_NS) // 1000

    def _message(self, bids: dict[int, int], asks: dict[int, int], *, snapshot: bool) -> bytes:
        version = next(self._version)
        self.digests[version] = digest(sorted(self._bids.items(), reverse=True), sorted(self._asks.items()))
        if len(self.digests) > STATES_KEPT:
            self.digests.popitem(last=False)
        self.messages += 1
        return self._written(version, bids, asks, snapshot=snapshot)

    def _written(self, version: int, bids: dict[int, int], asks: dict[int, int], *, snapshot: bool) -> bytes:
        stamp = f"{(EPOCH + timedelta(microseconds=version)).isoformat(timespec='microseconds')[:26]}Z"
        return (
            f'{{"type":"book_change","symbol":"{SYMBOL}","exchange":"bybit",'
            f'"isSnapshot":{"true" if snapshot else "false"},'
            f'"bids":[{level_objects(bids)}],"asks":[{level_objects(asks)}],'
            f'"timestamp":"{stamp}","localTimestamp":"{stamp}"}}'
        ).encode()

    def snapshot(self) -> bytes:
        """Return the whole book, levels in no order."""
        self._renew()
        bids, asks = list(self._bids.items()), list(self._asks.items())
        self.random.shuffle(bids)
        self.random.shuffle(asks)
        return self._message(dict(bids), dict(asks), snapshot=True)

    def change(self) -> bytes:
        """Return a change of a few levels; removals of what is not there among them."""
        bids, asks = {}, {}
        for _ in range(self.random.randrange(1, 4)):
            at = self.random.randrange(1, self.levels)
            qty = 0 if self.random.random() < 0.3 and at > 1 else self.random.randrange(1, 1000)
            side, change, price = (self._bids, bids, MID - at) if at % 2 else (self._asks, asks, MID + at)
            change[price] = qty
            if qty:
                side[price] = qty
            else:
                side.pop(price, None)
        return self._message(bids, asks, snapshot=False)

    async def handle(self, ws: ServerConnection) -> None:
        """Serve one connection until a fault ends it."""
        if self.refuse:
            self.refuse -= 1
            ws.transport.abort()
            return
        # One connection after the other: the book is one, and an old connection may still be changing it.
        async with self._serving:
            with suppress(ConnectionClosed):
                await self._serve(ws)

    async def _serve(self, ws: ServerConnection) -> None:
        for _ in range(self.random.randrange(3)):
            await ws.send(self.change(), text=True)  # before any snapshot: to be ignored
        await ws.send(self.snapshot(), text=True)
        while True:
            for _ in range(self.random.randrange(1, self.bursts)):
                frames = b"".join(
                    frame(self.change()) for _ in range(self.random.randrange(1, self.burst_changes))
                )
                if ws.state is not State.OPEN:
                    return  # the client gave the connection up
                ws.transport.write(frames)
                await ws.drain()
                await asyncio.sleep(0)
            fault = self.random.choice(self.fault_kinds)
            self.faults[fault] += 1
            if await getattr(self, f"_{fault}")(ws):
                return

    async def _garbage(self, ws: ServerConnection) -> bool:
        await ws.send(self.random.choice(self.junk), text=True)
        return await self._until_closed(ws)

    async def _invalid_utf8(self, ws: ServerConnection) -> bool:
        ws.transport.write(frame(b'{"type":"trade","symbol":"\xff\xfe"}'))
        return await self._until_closed(ws)

    async def _drop(self, ws: ServerConnection) -> bool:
        ws.transport.abort()
        return True

    async def _cut_frame(self, ws: ServerConnection) -> bool:
        ws.transport.write(frame(self.change())[:-5])
        await asyncio.sleep(0.01)
        ws.transport.abort()
        return True

    async def _storm(self, ws: ServerConnection) -> bool:
        self.refuse = self.random.randrange(2, 6)
        ws.transport.abort()
        return True

    async def _stall(self, ws: ServerConnection) -> bool:
        await asyncio.sleep(STALE_MS / 1000 * self.random.uniform(0.5, 2))
        return False

    async def _half_open(self, ws: ServerConnection) -> bool:
        ws.transport.pause_reading()
        await asyncio.sleep(RESYNC_MS / 1000 * 1.5)
        ws.transport.abort()
        return True

    async def _disconnect(self, ws: ServerConnection) -> bool:
        names = self.random.choice(["", f',"symbols":["{SYMBOL}"]'])
        stamp = EPOCH.isoformat()[:19]
        text = f'{{"type":"disconnect","exchange":"bybit","localTimestamp":"{stamp}.000000Z"{names}}}'
        ws.transport.write(frame(text.encode()) + frame(self.change()) + frame(self.change()))
        await asyncio.sleep(self.random.uniform(0, 0.02))
        await ws.send(self.snapshot(), text=True)
        return False

    async def _no_snapshot(self, ws: ServerConnection) -> bool:
        text = f'{{"type":"disconnect","exchange":"bybit","localTimestamp":"{EPOCH.isoformat()[:19]}Z"}}'
        ws.transport.write(frame(text.encode()))
        while True:
            await ws.send(self.change(), text=True)
            await asyncio.sleep(0.01)

    async def _resnapshot(self, ws: ServerConnection) -> bool:
        await ws.send(self.snapshot(), text=True)
        return False

    async def _close(self, ws: ServerConnection) -> bool:
        await ws.close(
            *self.random.choice([(1000, "WS stream-normalized finished"), (1008, "Too much backpressure")])
        )
        return True

    async def _until_closed(self, ws: ServerConnection) -> bool:
        """Go on sending to a client that has to leave: nothing of it may be taken."""
        while True:
            await ws.send(self.change(), text=True)
            await asyncio.sleep(0.001)


def level_objects(side: dict[int, int]) -> str:
    return ",".join(f'{{"price":{price},"amount":{qty}}}' for price, qty in side.items())


def digest(bids: list[tuple[float, float]], asks: list[tuple[float, float]]) -> int:
    return hash((tuple(map(tuple, bids)), tuple(map(tuple, asks))))


def frame(payload: bytes) -> bytes:
    size = len(payload)
    head = bytes([0x81, size]) if size < 126 else b"\x81\x7e" + size.to_bytes(2, "big")
    return head + payload
