"""A running local tardis-machine and connections to it, for tests."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from mm_hybrid.servers.tardis import TardisServerConfig, serve_tardis

Message = dict[str, Any]
BOTH = {"exchange": "bybit", "symbols": ["btcusdt"], "dataTypes": ["book_change", "trade"]}
TRADES = {**BOTH, "dataTypes": ["trade"]}


@asynccontextmanager
async def tardis_server(**settings: Any) -> AsyncIterator[Mapping[str, Any]]:
    """Run a server on free ports; yields what it announced."""
    announced: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    config = TardisServerConfig(port=0, **settings)
    serving = asyncio.create_task(serve_tardis(config, ready=announced.set_result, stop=stop))
    await asyncio.wait((announced, serving), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        announced.cancel()
        await serving
    try:
        yield {**announced.result(), "task": serving}
    finally:
        stop.set()
        await asyncio.wait((serving,))
    serving.result()


def url(server: Mapping[str, Any], options: object, path: str = "/ws-stream-normalized") -> str:
    """Address of a request; options may be text, to be sent as it is."""
    text = options if isinstance(options, str) else json.dumps(options)
    return f"ws://127.0.0.1:{server['ws_port']}{path}?options={quote(text)}"


def stream(server: Mapping[str, Any], options: object = BOTH, *, max_queue: int | None = None) -> connect:
    """Open a live stream; unbounded, since a client that stops reading misses the answer to its close."""
    return connect(url(server, options), max_queue=max_queue)


async def take(connection: ClientConnection, count: int) -> list[Message]:
    """Receive so many messages."""
    return [json.loads(await connection.recv()) for _ in range(count)]


async def drain(connection: ClientConnection) -> tuple[list[bytes], int, str]:
    """Receive everything until the server closes; returns messages, close code and reason."""
    frames: list[bytes] = []
    with suppress(ConnectionClosed):
        while True:
            frame = await connection.recv()
            assert isinstance(frame, str), "normalised messages are text frames"
            frames.append(frame.encode())
    return frames, connection.close_code or 0, connection.close_reason or ""


def book_of(messages: list[Message]) -> tuple[dict[float, float], dict[float, float]]:
    """Rebuild a book from its messages, independently of the core."""
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    for message in messages:
        if message["type"] != "book_change":
            continue
        if message["isSnapshot"]:
            bids.clear()
            asks.clear()
        for side, levels in ((bids, message["bids"]), (asks, message["asks"])):
            for level in levels:
                if level["amount"]:
                    side[level["price"]] = level["amount"]
                else:
                    side.pop(level["price"], None)
    return bids, asks
