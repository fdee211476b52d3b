"""A feed under every fault at full speed: the book equals the sender's, or is not LIVE, at every instant.

The sender gives each state of its book a local time of its own, one microsecond after the last, and remembers a digest
of it. Readers look at the feed as fast as they can; what they see under a LIVE book must have the digest of its time.

One reader also quotes on what it sees, through the checks every quote passes: nothing may be approved on a book that
is not LIVE.

Run for long: ``make soak``, or in ``tests``: ``python -m soak.hostile_feed --seconds 600 --seed 7``.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import resource
import sys
import threading
import time
from collections import Counter, OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from markets import FEATURES, INSTRUMENT
from mm_hybrid._core import Books, Feed
from mm_hybrid.clock import WallClock
from mm_hybrid.risk import Risk, RiskLimits
from mm_hybrid.types import Approved, BookState, Position, Quote

EPOCH = datetime(2026, 1, 2, tzinfo=UTC)
EPOCH_NS = int(EPOCH.timestamp()) * 10**9
MID = 1000
LEVELS = 30
STATES_KEPT = 200_000
STALE_MS, RESYNC_MS = 200, 600
SYMBOL = "BTCUSDT"
LIMITS = RiskLimits(
    max_position_quote=Decimal(1000),
    max_order_quote=Decimal(1000),
    max_distance_bps=Decimal(500),
    max_book_age_ns=5 * 10**9,
    max_loss_quote=Decimal(1000),
)


class Sender:
    """A book that changes at random, and every way to spoil the connection that carries it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.digests: OrderedDict[int, int] = OrderedDict()
        self.faults: Counter[str] = Counter()
        self.messages = 0
        self.refuse = 0
        self._bids: dict[int, int] = {}
        self._asks: dict[int, int] = {}
        self._version = itertools.count(1)
        self._renew()

    def _renew(self) -> None:
        self._bids = {MID - i: self.random.randrange(1, 1000) for i in range(1, LEVELS)}
        self._asks = {MID + i: self.random.randrange(1, 1000) for i in range(1, LEVELS)}

    def _message(self, bids: dict[int, int], asks: dict[int, int], *, snapshot: bool) -> bytes:
        version = next(self._version)
        self.digests[version] = digest(sorted(self._bids.items(), reverse=True), sorted(self._asks.items()))
        if len(self.digests) > STATES_KEPT:
            self.digests.popitem(last=False)
        stamp = f"{(EPOCH + timedelta(microseconds=version)).isoformat(timespec='microseconds')[:26]}Z"
        self.messages += 1
        return (
            f'{{"type":"book_change","symbol":"{SYMBOL}","exchange":"bybit",'
            f'"isSnapshot":{"true" if snapshot else "false"},"bids":[{levels(bids)}],"asks":[{levels(asks)}],'
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
            at = self.random.randrange(1, LEVELS)
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
        with suppress(ConnectionClosed):
            await self._serve(ws)

    async def _serve(self, ws: ServerConnection) -> None:
        for _ in range(self.random.randrange(3)):
            await ws.send(self.change(), text=True)  # before any snapshot: to be ignored
        await ws.send(self.snapshot(), text=True)
        while True:
            for _ in range(self.random.randrange(1, 40)):
                frames = b"".join(frame(self.change()) for _ in range(self.random.randrange(1, 100)))
                ws.transport.write(frames)
                await ws.drain()
                await asyncio.sleep(0)
            fault = self.random.choice(FAULTS)
            self.faults[fault] += 1
            if await getattr(self, f"_{fault}")(ws):
                return

    async def _garbage(self, ws: ServerConnection) -> bool:
        junk = self.random.choice(
            [b"}{", b'{"type":"book_change","bids":[{"price":', b"null", b"[1,2]", b"\x00\x01", b'{"a":1}']
        )
        await ws.send(junk, text=True)
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


FAULTS = (
    *("garbage", "invalid_utf8", "drop", "cut_frame", "storm", "stall", "stall", "disconnect", "disconnect"),
    *("resnapshot", "resnapshot", "resnapshot", "close", "half_open", "no_snapshot"),
)


def levels(side: dict[int, int]) -> str:
    return ",".join(f'{{"price":{price},"amount":{qty}}}' for price, qty in side.items())


def digest(bids: list[tuple[float, float]], asks: list[tuple[float, float]]) -> int:
    return hash((tuple(map(tuple, bids)), tuple(map(tuple, asks))))


def frame(payload: bytes) -> bytes:
    size = len(payload)
    head = bytes([0x81, size]) if size < 126 else b"\x81\x7e" + size.to_bytes(2, "big")
    return head + payload


@dataclass
class Outcome:
    """What a run saw."""

    seconds: float = 0.0
    messages: int = 0
    applied: int = 0
    looks: int = 0
    live_looks: int = 0
    quotes: int = 0
    states: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    rebuilt_looks: int = 0
    dropped_events: int = 0
    reconnects: int = 0
    rss_growth_mib: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.seconds:.0f} s, {self.messages:,} messages sent, {self.applied:,} taken, "
            f"{self.looks:,} looks ({self.live_looks:,} compared, {self.quotes:,} quoted), "
            f"{self.rebuilt_looks:,} looks at a book rebuilt from the queue, "
            f"states {dict(self.states)}, {self.reconnects} reconnects, {self.dropped_events:,} events conflated, "
            f"faults {dict(self.faults)}, memory {self.rss_growth_mib:+.1f} MiB, {len(self.wrong)} wrong"
        )


def check(book: object, sender: Sender, outcome: Outcome, what: str) -> bool:
    """Compare a book that calls itself LIVE (or STALE: old, but right) with the sender's at its time."""
    version = (book.timestamp - EPOCH_NS) // 1000
    expected = sender.digests.get(version)
    if expected is None:
        return False  # older than the states kept
    if digest(book.bids.tolist(), book.asks.tolist()) != expected:
        outcome.wrong.append(f"{what} {book.state} at version {version}: {book!r}")
    return True


def is_quoted(book: object, risk: Risk) -> bool:
    """Whether a quote at the best bid of this book is approved."""
    features = replace(
        FEATURES,
        state=BookState(book.state),
        mid_price=book.mid_price,
        best_bid=book.best_bid,
        best_ask=book.best_ask,
    )
    quotes = (Quote("buy", book.best_bid, 0.01),)
    return isinstance(risk.check(quotes, features, book_age_ns=book.age_ns, position=Position()), Approved)


def read(feed: Feed, sender: Sender, outcome: Outcome, done: threading.Event) -> None:
    """Look at the feed until done, as fast as one thread can."""
    risk = Risk(LIMITS, INSTRUMENT, WallClock())
    while not done.is_set():
        book = feed.snapshot(SYMBOL, 2 * LEVELS)
        outcome.looks += 1
        outcome.states[book.state] += 1
        if is_quoted(book, risk):
            outcome.quotes += 1
            if book.state != "LIVE":
                outcome.wrong.append(f"a quote was approved on a book that is {book.state}")
        if book.state in {"LIVE", "STALE"}:
            outcome.live_looks += check(book, sender, outcome, "snapshot")
        elif book.state == "UNSYNCED" and len(book.bids) and len(book.asks):
            outcome.wrong.append(f"an unsynced book shows levels: {book!r}")
        time.sleep(0.0002)


def rebuild(feed: Feed, sender: Sender, outcome: Outcome, done: threading.Event) -> None:
    """Rebuild the book from the lossless queue until done: it must be right whenever it is LIVE, too."""
    books = Books()
    while not done.is_set():
        books.apply(feed.drain(20_000))
        book = books.snapshot("bybit", SYMBOL, 2 * LEVELS)
        if book is not None and book.state == "LIVE":
            outcome.rebuilt_looks += check(book, sender, outcome, "rebuilt book")
        time.sleep(0.002)


def rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


async def soak(seconds: float, seed: int, *, tell_every_s: float = 0.0) -> Outcome:
    """Run sender and readers for a while."""
    sender, outcome, done = Sender(seed), Outcome(), threading.Event()
    server = await serve(
        sender.handle, "127.0.0.1", 0, compression=None, ping_interval=None, max_size=None, write_limit=2**18
    )
    port = server.sockets[0].getsockname()[1]
    feed = Feed(
        f"ws://127.0.0.1:{port}",
        exchange="bybit",
        symbols=[SYMBOL],
        data_types=["book_change"],
        stale_after_ms=STALE_MS,
        resync_after_ms=RESYNC_MS,
        reconnect_min_ms=5,
        reconnect_max_ms=50,
        queue_events=20_000,
    )
    feed.start()
    readers = [threading.Thread(target=read, args=(feed, sender, outcome, done)) for _ in range(2)]
    readers.append(threading.Thread(target=rebuild, args=(feed, sender, outcome, done)))
    for reader in readers:
        reader.start()
    started_s = time.monotonic()
    warm_s = started_s + max(seconds * 0.3, min(20.0, seconds / 2))
    warm_mib, told_s = 0.0, started_s
    try:
        while (now_s := time.monotonic()) < started_s + seconds and not outcome.wrong:
            await asyncio.sleep(0.05)
            if not warm_mib and now_s >= warm_s:
                warm_mib = rss_mib()
            if tell_every_s and now_s >= told_s + tell_every_s:
                told_s = now_s
                outcome.seconds, outcome.messages, outcome.faults = (
                    now_s - started_s,
                    sender.messages,
                    sender.faults,
                )
                print(outcome, file=sys.stderr, flush=True)
    finally:
        done.set()
        for reader in readers:
            await asyncio.to_thread(reader.join)
        stats = feed.stats()
        await asyncio.to_thread(feed.close)
        for ws in list(server.connections):
            ws.transport.abort()
        server.close()
        await server.wait_closed()
    outcome.seconds = time.monotonic() - started_s
    outcome.messages, outcome.applied = sender.messages, int(stats["book_changes"])
    outcome.faults = sender.faults
    outcome.dropped_events, outcome.reconnects = int(stats["dropped_events"]), int(stats["reconnects"])
    outcome.rss_growth_mib = rss_mib() - warm_mib if warm_mib else 0.0
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    outcome = asyncio.run(soak(arguments.seconds, arguments.seed, tell_every_s=10.0))
    print(outcome)
    for wrong in outcome.wrong[:5]:
        print(wrong)
    return int(bool(outcome.wrong) or outcome.rss_growth_mib > 50)


if __name__ == "__main__":
    sys.exit(main())
