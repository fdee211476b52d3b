"""A feed under every fault at full speed: the book equals the sender's, or is not LIVE, at every instant.

The sender gives each state of its book a time of its own and remembers a digest of it. Readers look at the feed as
fast as they can; what they see under a LIVE book must have the digest of its time.

One reader also quotes on what it sees, through the checks every quote passes: nothing may be approved on a book that
is not LIVE.

Run for long: ``make soak``, or in ``tests``: ``python -m soak.hostile_feed --seconds 600 --seed 7 --source bybit``.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

from websockets.asyncio.server import serve

from markets import FEATURES, INSTRUMENT
from mm_hybrid._core import Books, Feed
from mm_hybrid.clock import WallClock
from mm_hybrid.risk import Risk, RiskLimits
from mm_hybrid.types import Approved, BookState, Position, Quote
from soak.native_sender import BitgetSender, BitgetV2Sender, BybitSender
from soak.sender import LEVELS, RESYNC_MS, STALE_MS, SYMBOL, Sender, digest

SENDERS = {sender.source: sender for sender in (Sender, BybitSender, BitgetSender, BitgetV2Sender)}

LIMITS = RiskLimits(
    max_position_quote=Decimal(1000),
    max_order_quote=Decimal(1000),
    max_distance_bps=Decimal(500),
    max_book_age_ns=5 * 10**9,
    max_loss_quote=Decimal(1000),
)


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
    given_up: Counter[str] = field(default_factory=Counter)
    rss_growth_mib: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.seconds:.0f} s, {self.messages:,} messages sent, {self.applied:,} taken, "
            f"{self.looks:,} looks ({self.live_looks:,} compared, {self.quotes:,} quoted), "
            f"{self.rebuilt_looks:,} looks at a book rebuilt from the queue, "
            f"states {dict(self.states)}, {self.reconnects} reconnects, books given up {dict(self.given_up)}, "
            f"{self.dropped_events:,} events conflated, "
            f"faults {dict(self.faults)}, memory {self.rss_growth_mib:+.1f} MiB, {len(self.wrong)} wrong"
        )


def check(book: object, sender: Sender, outcome: Outcome, what: str) -> bool:
    """Compare a book that calls itself LIVE (or STALE: old, but right) with the sender's at its time."""
    version = sender.version(book)
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
        book = books.snapshot(sender.exchange, SYMBOL, 2 * LEVELS)
        if book is not None and book.state == "LIVE":
            outcome.rebuilt_looks += check(book, sender, outcome, "rebuilt book")
        time.sleep(0.002)


def rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


async def soak(sender: Sender, seconds: float, *, tell_every_s: float = 0.0) -> Outcome:
    """Run a sender and readers for a while."""
    outcome, done = Outcome(), threading.Event()
    server = await serve(
        sender.handle, "127.0.0.1", 0, compression=None, ping_interval=None, max_size=None, write_limit=2**18
    )
    port = server.sockets[0].getsockname()[1]
    feed = Feed(
        f"ws://127.0.0.1:{port}",
        exchange=sender.exchange,
        source=sender.source,
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
    outcome.given_up = Counter({kind: int(stats[kind]) for kind in ("gaps", "bad_checksums", "crosses")})
    outcome.rss_growth_mib = rss_mib() - warm_mib if warm_mib else 0.0
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--source", choices=list(SENDERS), default="tardis")
    arguments = parser.parse_args()
    outcome = asyncio.run(
        soak(SENDERS[arguments.source](arguments.seed), arguments.seconds, tell_every_s=10.0)
    )
    print(outcome)
    for wrong in outcome.wrong[:5]:
        print(wrong)
    return int(bool(outcome.wrong) or outcome.rss_growth_mib > 50)


if __name__ == "__main__":
    sys.exit(main())
