"""The live path on loopback: messages a second from socket to book, and the latency to a coroutine that reads it.

``live.py FOLDER`` prints one JSON object per row; ``--rounds`` repeats. The server is ``benches/peers/serve.py`` in a
process of its own. Every round ends with the book compared to ``truth.json`` when the whole file was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from mm_hybrid._core import Feed
from mm_hybrid.feed import LiveFeed

SERVER = Path(__file__).resolve().parents[1] / "peers" / "serve.py"
DEPTH = 50
_LOCAL_TIMESTAMP = re.compile(rb'"localTimestamp":"([^"]+)Z"')
_TAIL_BYTES = 64
MARKET: dict[str, Any] = {
    "exchange": "binance-futures",
    "symbols": ["BTCUSDT"],
    "data_types": ["book_change"],
    "end_on_finish": True,
}
WAITS: dict[str, dict[str, int]] = {
    "latency": {},
    "latency, always asleep": {"awake_gap_us": 0},
    "latency, busy poll": {"busy_poll_us": 100_000},
}
"""How a coroutine waits for news."""

Arrivals = list[tuple[int, bytes]]
"""When a bare reader had something (ns), and the end of what it had."""


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[str]:
    """Run the server and yield its address."""
    command = [sys.executable, str(SERVER), str(folder), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"ws://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()


def throughput(folder: Path) -> dict[str, float | str]:
    """Return messages a second from the first message to the last; nothing may be missing."""
    truth = json.loads((folder / "truth.json").read_text())
    with served(folder) as url, Feed(url, **MARKET) as feed:
        while feed.stats()["messages"] < 2:
            time.sleep(0.0005)
        start, cpu, first = time.perf_counter(), time.process_time(), int(feed.stats()["messages"])
        while not feed.stats()["finished"]:
            time.sleep(0.002)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
        stats, book = feed.stats(), feed.snapshot()
    assert stats["messages"] == truth["messages"], stats
    assert (book.best_bid, book.best_ask) == (truth["best_bid"], truth["best_ask"])
    assert book.levels == (truth["bid_levels"], truth["ask_levels"])
    messages = truth["messages"] - first
    return {
        "row": "socket",
        "messages": messages,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "fallbacks": stats["decode_fallbacks"],
    }


async def latency(folder: Path, row: str, *, messages: int, rate: float) -> dict[str, float | str]:
    """Return percentiles of the time from the send call to the coroutine that holds the snapshot."""
    out = np.empty((2, DEPTH, 2))
    seen: dict[int, int] = {}
    with served(folder, "--mode", "pace", "--messages", str(messages), "--rate", str(rate)) as url:
        async with LiveFeed(url, **MARKET, **WAITS[row]) as feed:
            while not feed.finished:
                if await feed.wait_news(0.2):
                    _, sent_ns, _ = feed.snapshot_into(out)
                    # Messages that came together are read together: the last one's age is the reader's.
                    seen.setdefault(sent_ns, time.time_ns())
    return _percentiles(row, seen)


def bare_latency(folder: Path, *, messages: int, rate: float, spins: bool) -> dict[str, float | str]:
    """Return the same percentiles for a reader that does nothing: no decoding, no book.

    One reads in an event loop's callback, one wake-up a message; the other ``spins`` on its socket. What they take is
    the kernel's, Python's and the machine's; what :func:`latency` takes beyond is ours.
    """
    arrived: Arrivals = []
    with served(folder, "--mode", "pace", "--messages", str(messages), "--rate", str(rate)) as url:
        client = _subscribed(url)
        if spins:
            _spin(client, arrived)
        else:
            asyncio.run(_read(client, arrived))
    seen: dict[int, int] = {}
    for read_ns, tail in arrived:
        if found := _LOCAL_TIMESTAMP.search(tail):
            moment, _, fraction = found[1].decode().partition(".")
            seconds = int(datetime.fromisoformat(f"{moment}+00:00").timestamp())
            seen.setdefault(seconds * 10**9 + int(fraction.ljust(9, "0")), read_ns)
    return _percentiles("latency, bare spinner" if spins else "latency, bare reader", seen)


def _subscribed(url: str) -> socket.socket:
    """Return a socket that has asked for the stream."""
    parts = urlsplit(url)
    options = {
        "exchange": MARKET["exchange"],
        "symbols": MARKET["symbols"],
        "dataTypes": MARKET["data_types"],
    }
    key = base64.b64encode(bytes(16)).decode()
    client = socket.create_connection((parts.hostname, parts.port))
    client.sendall(
        f"GET /ws-stream-normalized?options={quote(json.dumps(options))} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    return client


async def _read(client: socket.socket, arrived: Arrivals) -> None:
    over = asyncio.Event()

    class Reader(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            arrived.append((time.time_ns(), data[-_TAIL_BYTES:]))

        def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
            over.set()

    await asyncio.get_running_loop().create_connection(Reader, sock=client)
    await over.wait()


def _spin(client: socket.socket, arrived: Arrivals) -> None:
    client.setblocking(False)
    with client:
        while True:
            try:
                data = client.recv(1 << 16)
            except BlockingIOError:
                continue
            if not data:
                return
            arrived.append((time.time_ns(), data[-_TAIL_BYTES:]))


def _percentiles(row: str, seen: dict[int, int]) -> dict[str, float | str]:
    ages = np.array([read - sent for sent, read in seen.items()][len(seen) // 10 : -1]) / 1e3
    percentiles = {f"p{p}_us".replace(".", ""): float(np.percentile(ages, p)) for p in (50, 90, 99, 99.9)}
    return {"row": row, "samples": len(ages), **percentiles}


def main() -> None:
    """Print one JSON object per row and round."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=20_000, help="of a latency round")
    parser.add_argument("--rate", type=float, default=5000.0, help="messages a second of a latency round")
    parser.add_argument("--rows", nargs="+", choices=("socket", "latency"), default=("socket", "latency"))
    options = parser.parse_args()
    for _ in range(options.rounds):
        if "socket" in options.rows:
            print(json.dumps(throughput(options.folder)), flush=True)
        if "latency" in options.rows:
            pace = {"messages": options.messages, "rate": options.rate}
            for row in WAITS:
                print(json.dumps(asyncio.run(latency(options.folder, row, **pace))), flush=True)
            for spins in (False, True):
                print(json.dumps(bare_latency(options.folder, **pace, spins=spins)), flush=True)


if __name__ == "__main__":
    main()
