"""What else one could use, on the common input: one JSON object per contestant and round.

``contestants.py FOLDER`` runs every contestant whose package is installed here (``requirements.txt``). Whatever shows
its book is checked against ``truth.json``. Inputs are made before the clock starts, compiled code is warm.

Rows: ``apply`` = changes already parsed, best prices after each; ``json`` = messages to a book, best prices after each;
``csv`` = a Tardis book file into memory; ``socket`` = a WebSocket on loopback, messages parsed; ``latency`` = from the
send call to the coroutine or callback that has the message parsed, 5,000 messages a second.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
Work = Callable[[], tuple[float, float] | None]
"""Does the work once; returns best bid and best ask at its end when the contestant shows them."""

CONTESTANTS: list[tuple[str, str, tuple[str, ...], Callable[[Path], Work]]] = []


def contestant(
    row: str, name: str, *packages: str
) -> Callable[[Callable[[Path], Work]], Callable[[Path], Work]]:
    """Register a function that prepares the input and returns the work."""

    def register(prepare: Callable[[Path], Work]) -> Callable[[Path], Work]:
        CONTESTANTS.append((row, name, packages, prepare))
        return prepare

    return register


def parsed(folder: Path) -> list[tuple[list[tuple[float, float]], list[tuple[float, float]]]]:
    """Return the levels of each message as pairs of floats."""
    changes = []
    with (folder / "book_change.ndjson").open("rb") as file:
        for line in file:
            message = json.loads(line)
            sides = (
                [(level["price"], level["amount"]) for level in message[side]] for side in ("bids", "asks")
            )
            changes.append(tuple(sides))
    return changes


def lines(folder: Path) -> list[bytes]:
    """Return the messages as bytes."""
    return (folder / "book_change.ndjson").read_bytes().splitlines()


@contestant("apply", "dict, unsorted (no best prices)")
def plain_dict(folder: Path) -> Work:
    """Return the least a Python user can do: no order, best prices only at the end."""
    changes = parsed(folder)

    def work() -> tuple[float, float]:
        books: tuple[dict[float, float], dict[float, float]] = ({}, {})
        for change in changes:
            for book, levels in zip(books, change, strict=True):
                for price, qty in levels:
                    if qty:
                        book[price] = qty
                    else:
                        book.pop(price, None)
        return max(books[0]), min(books[1])

    return work


@contestant("apply", "sortedcontainers.SortedDict", "sortedcontainers")
def sorted_dict(folder: Path) -> Work:
    """Return a pair of sorted dictionaries."""
    from sortedcontainers import SortedDict

    changes = parsed(folder)

    def work() -> tuple[float, float]:
        bids, asks = SortedDict(), SortedDict()
        best = (0.0, 0.0)
        for change in changes:
            for book, levels in zip((bids, asks), change, strict=True):
                for price, qty in levels:
                    if qty:
                        book[price] = qty
                    else:
                        book.pop(price, None)
            best = (bids.peekitem(-1)[0], asks.peekitem(0)[0])
        return best

    return work


@contestant("apply", "hftbacktest FuseMarketDepth (no best prices)", "hftbacktest", "numba", "numpy")
def hftbacktest_depth(folder: Path) -> Work:
    """Return hftbacktest's depth, driven by a compiled loop."""
    import numpy as np
    from hftbacktest import BUY_EVENT, DEPTH_EVENT, SELL_EVENT
    from hftbacktest.binding import event_dtype
    from hftbacktest.data import FuseMarketDepth
    from numba import njit

    changes = parsed(folder)
    flat = [
        (DEPTH_EVENT | side, price, qty)
        for change in changes
        for side, levels in zip((BUY_EVENT, SELL_EVENT), change, strict=True)
        for price, qty in levels
    ]
    events = np.zeros(len(flat), event_dtype)
    events["ev"], events["px"], events["qty"] = zip(*flat, strict=True)

    @njit
    def run(depth, events):  # type: ignore[no-untyped-def]
        for index in range(len(events)):
            depth.process_event(events, index, False)

    run(FuseMarketDepth(0.1, 0.001), events[:10])

    def work() -> None:
        run(FuseMarketDepth(0.1, 0.001), events)

    return work


@contestant("json", "msgspec structs + SortedDict", "msgspec", "sortedcontainers")
def msgspec_book(folder: Path) -> Work:
    """Return typed decoding into a pair of sorted dictionaries."""
    import msgspec
    from sortedcontainers import SortedDict

    level = msgspec.defstruct("Level", [("price", float), ("amount", float)], gc=False)
    message = msgspec.defstruct("Message", [("bids", list[level]), ("asks", list[level])], gc=False)  # type: ignore[valid-type]
    decode = msgspec.json.Decoder(message).decode
    raw = lines(folder)

    def work() -> tuple[float, float]:
        bids, asks = SortedDict(), SortedDict()
        best = (0.0, 0.0)
        for line in raw:
            change: Any = decode(line)
            for book, levels in ((bids, change.bids), (asks, change.asks)):
                for one in levels:
                    if one.amount:
                        book[one.price] = one.amount
                    else:
                        book.pop(one.price, None)
            best = (bids.peekitem(-1)[0], asks.peekitem(0)[0])
        return best

    return work


@contestant("json", "orjson.loads alone, no book", "orjson")
def orjson_alone(folder: Path) -> Work:
    """Return parsing to Python objects alone."""
    import orjson

    raw = lines(folder)

    def work() -> None:
        for line in raw:
            orjson.loads(line)

    return work


@contestant("csv", "polars.read_csv, all threads", "polars")
def polars_csv(folder: Path) -> Work:
    """Return the quickest general reader of CSV files."""
    import polars as pl

    types = {
        **dict.fromkeys(("exchange", "symbol", "side"), pl.String),
        **dict.fromkeys(("timestamp", "local_timestamp"), pl.Int64),
        "is_snapshot": pl.Boolean,
        **dict.fromkeys(("price", "amount"), pl.Float64),
    }

    def work() -> None:
        pl.read_csv(folder / "incremental_book_L2.csv", schema_overrides=types)

    return work


@contestant("socket", "websockets + orjson, no book", "websockets", "orjson")
def websockets_client(folder: Path) -> Work:
    """Return the usual asyncio client."""
    import orjson
    from websockets.asyncio.client import connect

    async def receive(url: str) -> None:
        async with connect(url, compression=None, max_size=None, ping_interval=None) as socket:
            async for text in socket:
                orjson.loads(text)

    return lambda: with_server(folder, lambda url: asyncio.run(receive(url)))


@contestant("socket", "picows + orjson, no book", "picows", "orjson")
def picows_client(folder: Path) -> Work:
    """Return the quickest asyncio client."""
    import orjson
    import picows

    class Listener(picows.WSListener):
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type == picows.WSMsgType.TEXT:
                orjson.loads(frame.get_payload_as_memoryview())
            else:
                transport.disconnect()

    async def receive(url: str) -> None:
        transport, _ = await picows.ws_connect(Listener, url)
        await transport.wait_disconnected()

    return lambda: with_server(folder, lambda url: asyncio.run(receive(url)))


Ages = list[tuple[int, str]]
"""When each message was had (ns), and the time of sending it carries."""

LATENCIES: dict[str, tuple[tuple[str, ...], Callable[[str, Ages], None]]] = {}
PACED_MESSAGES = 20_000


def paced(name: str, *packages: str) -> Callable[[Callable[[str, Ages], None]], Callable[[str, Ages], None]]:
    """Register a function that notes each message from a URL."""

    def register(receive: Callable[[str, Ages], None]) -> Callable[[str, Ages], None]:
        LATENCIES[name] = (packages, receive)
        return receive

    return register


@paced("websockets + orjson, no book", "websockets", "orjson")
def websockets_paced(url: str, seen: Ages) -> None:
    """Note messages as they come out of the usual asyncio client."""
    import orjson
    from websockets.asyncio.client import connect

    async def receive() -> None:
        async with connect(url, compression=None, max_size=None, ping_interval=None) as socket:
            async for text in socket:
                sent = orjson.loads(text)["localTimestamp"]
                seen.append((time.time_ns(), sent))

    asyncio.run(receive())


@paced("picows + orjson, no book", "picows", "orjson")
def picows_paced(url: str, seen: Ages) -> None:
    """Note messages as they come out of the quickest asyncio client, in its callback."""
    import orjson
    import picows

    class Listener(picows.WSListener):
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type == picows.WSMsgType.TEXT:
                sent = orjson.loads(frame.get_payload_as_memoryview())["localTimestamp"]
                seen.append((time.time_ns(), sent))
            else:
                transport.disconnect()

    async def receive() -> None:
        transport, _ = await picows.ws_connect(Listener, url)
        await transport.wait_disconnected()

    asyncio.run(receive())


def latency(folder: Path, name: str, receive: Callable[[str, Ages], None]) -> dict[str, Any]:
    """Return percentiles of one round, its first tenth left out."""
    seen: Ages = []
    paced = ("--mode", "pace", "--messages", str(PACED_MESSAGES))
    with_server(folder, lambda url: receive(url, seen), *paced)
    ages_us = sorted((had_ns - _ns(sent)) / 1e3 for had_ns, sent in seen[len(seen) // 10 :])
    at = {"p50_us": 0.5, "p90_us": 0.9, "p99_us": 0.99, "p999_us": 0.999}
    percentiles = {key: ages_us[int(share * len(ages_us))] for key, share in at.items()}
    return {"row": "latency", "name": name, "samples": len(ages_us), **percentiles}


def _ns(timestamp: str) -> int:
    moment, _, fraction = timestamp.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{moment}+00:00").timestamp()) * 10**9 + int(fraction.ljust(9, "0"))


def with_server(folder: Path, client: Callable[[str], None], *arguments: str) -> None:
    """Run a client against a server of its own; the server's pause of half a second is part of the time."""
    command = [sys.executable, str(HERE / "serve.py"), str(folder), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        client(f"ws://127.0.0.1:{int(server.stdout.readline())}/")
        server.terminate()


SERVER_PAUSE_S = 0.5


def main() -> None:
    """Run every contestant whose packages are here."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", nargs="+", default=("apply", "json", "csv", "socket", "latency"))
    options = parser.parse_args()
    truth = json.loads((options.folder / "truth.json").read_text())
    for result in results(options.folder, truth, options.rounds, options.rows):
        print(json.dumps(result), flush=True)


def results(
    folder: Path, truth: dict[str, float], rounds: int, rows: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """Time each contestant; a wrong book is no result."""
    for row, name, packages, prepare in CONTESTANTS:
        if row not in rows or any(importlib.util.find_spec(package) is None for package in packages):
            continue
        work = prepare(folder)
        gc.collect()
        gc.freeze()
        for _ in range(rounds):
            start, cpu = time.perf_counter(), time.process_time()
            best = work()
            seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
            if best is not None and best != (truth["best_bid"], truth["best_ask"]):
                print(f"{name}: wrong book {best}", file=sys.stderr)
                break
            if row == "socket":
                seconds -= SERVER_PAUSE_S
            yield {
                "row": row,
                "name": name,
                "seconds": seconds,
                "cpu_seconds": cpu_seconds,
                "messages": truth["messages"],
                "updates": truth["level_updates"],
            }
        gc.unfreeze()
    for name, (packages, receive) in LATENCIES.items():
        if "latency" in rows and all(importlib.util.find_spec(package) for package in packages):
            for _ in range(rounds):
                yield latency(folder, name, receive)


if __name__ == "__main__":
    main()
