"""The two ports of a tardis-machine; this module serves the WebSocket one."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiohttp import web
from websockets import http11
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK

from mm_hybrid._core import MmHybridError
from mm_hybrid.clock import Clock, WallClock
from mm_hybrid.errors import ServerError
from mm_hybrid.servers.tardis import sources
from mm_hybrid.servers.tardis.config import TardisServerConfig
from mm_hybrid.servers.tardis.http import http_app
from mm_hybrid.servers.tardis.hub import Hub, Listener, Recorder
from mm_hybrid.servers.tardis.options import OptionsError, Request, parse_options

STREAM_PATH = "/ws-stream-normalized"
REPLAY_PATH = "/ws-replay-normalized"
MAX_INBOUND_BYTES = 512 * 1024
MAX_REASON_BYTES = 123
MAX_REQUEST_LINE_BYTES = 20_000
WRITE_LIMIT_BYTES = 2**18
NORMAL, POLICY_VIOLATION, INTERNAL_ERROR = 1000, 1008, 1011

# A tardis-machine takes request lines of up to 20,000 bytes. The library's own bound of 8,192 can otherwise only be
# set in the environment before it is imported first.
http11.MAX_LINE_LENGTH = MAX_REQUEST_LINE_BYTES


async def serve_tardis(
    config: TardisServerConfig,
    *,
    ready: Callable[[dict[str, object]], None],
    stop: asyncio.Event,
    clock: Clock | None = None,
) -> None:
    """Serve until ``stop`` is set.

    Args:
        config: what to play and where to listen.
        ready: called once with the server's name, host, ``http_port`` (also as ``port``) and ``ws_port``.
        stop: ends the server: sockets are closed with 1001, the recording is flushed.
        clock: time that paces the synthetic market and the files.

    Raises:
        ServerError: a port or the recording cannot be opened.
        ValueError: the market's parameters make no market.
        FileNotFoundError, DecodeError, ReplayError: a file cannot be played; names file and line.
    """
    clock = clock or WallClock()
    epoch_ns = clock.now_ns() if config.epoch_ns is None else config.epoch_ns
    market = None if config.data else sources.open_market(config, epoch_ns)
    if config.data:
        sources.open_files(config)
    async with AsyncExitStack() as stack:
        http_socket, ws_socket = _bind(config)
        stack.callback(http_socket.close)
        stack.callback(ws_socket.close)
        hub = Hub(max_backlog_bytes=config.max_backlog_bytes, recorder=_recorder(config))
        stack.callback(hub.close)
        if market is not None:
            await _run_unless(stop, sources.catch_up(hub, market, epoch_ns, clock))
        machine = _Machine(config, hub, clock, epoch_ns)
        await stack.enter_async_context(
            serve(
                machine.handle,
                sock=ws_socket,
                compression=None,
                max_size=MAX_INBOUND_BYTES,
                ping_interval=config.ping_interval_s,
                ping_timeout=config.ping_interval_s,
                close_timeout=config.close_timeout_s,
                write_limit=WRITE_LIMIT_BYTES,
            )
        )
        app = http_app(config, clock, epoch_ns)
        runner = web.AppRunner(app, access_log=None, max_line_size=MAX_REQUEST_LINE_BYTES)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.SockSite(runner, http_socket).start()
        http_port, ws_port = (bound.getsockname()[1] for bound in (http_socket, ws_socket))
        ready(
            {
                "server": "tardis",
                "host": config.host,
                "port": http_port,
                "http_port": http_port,
                "ws_port": ws_port,
            }
        )
        try:
            if market is not None:
                await _run_unless(stop, sources.play_market(hub, market, clock))
            else:
                await _run_unless(stop, sources.play_files(hub, config, clock))
        except MmHybridError as error:
            hub.fail(f"Error: {error}")
            await machine.wait_idle()
            raise
        await stop.wait()


class _Machine:
    """Answers WebSocket connections."""

    def __init__(self, config: TardisServerConfig, hub: Hub, clock: Clock, epoch_ns: int) -> None:
        self._config = config
        self._hub = hub
        self._clock = clock
        self._epoch_ns = epoch_ns
        self._streams = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def wait_idle(self) -> None:
        """Return when no stream is left, or after the time clients get to close."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._config.close_timeout_s):
                await self._idle.wait()

    async def handle(self, connection: ServerConnection) -> None:
        """Serve one connection to its end."""
        url = urlsplit(connection.request.path if connection.request else "")
        if url.path not in {STREAM_PATH, REPLAY_PATH}:
            await self._close(connection, POLICY_VIOLATION, "")
            return
        options = parse_qs(url.query).get("options", [None])[-1]
        try:
            request = parse_options(options, replay=url.path == REPLAY_PATH)
        except OptionsError as error:
            await self._close(connection, INTERNAL_ERROR, str(error))
            return
        if url.path == REPLAY_PATH:
            await self._with_reader(connection, self._replay(connection, request))
        else:
            await self._stream(connection, request)

    async def _stream(self, connection: ServerConnection, request: Request) -> None:
        listener = await self._hub.join(request)
        self._streams += 1
        self._idle.clear()
        try:
            await self._with_reader(connection, self._send(connection, listener), listener.overflowed.wait())
            if listener.overflowed.is_set():
                await self._close(connection, POLICY_VIOLATION, "Too much backpressure")
        finally:
            self._hub.leave(listener)
            self._streams -= 1
            if self._streams == 0:
                self._idle.set()

    async def _send(self, connection: ServerConnection, listener: Listener) -> None:
        while (frames := await listener.take()) is not None:
            await _write(connection, frames)
        if listener.failure is None:
            await self._close(connection, NORMAL, "WS stream-normalized finished")
        else:
            await self._close(connection, INTERNAL_ERROR, listener.failure)

    async def _replay(self, connection: ServerConnection, request: Request) -> None:
        outbox = request.outbox(live=False)
        try:
            async for batch in sources.replay(self._config, self._epoch_ns, request):
                await _write(connection, await asyncio.to_thread(outbox.frames, batch))
        except MmHybridError as error:
            await self._close(connection, INTERNAL_ERROR, f"Error: {error}")
        else:
            await self._close(connection, NORMAL, "WS replay-normalized finished")

    async def _with_reader(self, connection: ServerConnection, *bodies: Coroutine[Any, Any, Any]) -> None:
        """Run the bodies until one ends or the client goes away; what the client sends is ignored."""
        tasks = [asyncio.ensure_future(body) for body in (*bodies, _discard(connection))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, ConnectionClosed):
                raise result

    async def _close(self, connection: ServerConnection, code: int, reason: str) -> None:
        cut = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
        try:
            async with asyncio.timeout(self._config.close_timeout_s):
                await connection.close(code, cut)
        except TimeoutError:
            connection.transport.abort()


async def _write(connection: ServerConnection, frames: bytes) -> None:
    """Send frames that are complete already, at the client's pace.

    The library frames one message a call, which is too slow for a replay. Between two of its own frames (ping, pong,
    close) whole frames may stand, since nothing here is fragmented or compressed.
    """
    if connection.transport.is_closing():
        raise ConnectionClosedOK(None, None)
    connection.transport.write(frames)
    try:
        await connection.drain()
    except OSError as error:
        raise ConnectionClosedError(None, None) from error


async def _discard(connection: ServerConnection) -> None:
    async for _ in connection:
        pass


async def _run_unless(stop: asyncio.Event, body: Coroutine[Any, Any, None]) -> None:
    """Run the body to its end or until ``stop`` is set."""
    running, stopped = asyncio.ensure_future(body), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((running, stopped), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        if not running.done():
            running.cancel()
        await asyncio.gather(running, stopped, return_exceptions=True)
    if not running.cancelled():
        running.result()


def _bind(config: TardisServerConfig) -> tuple[socket.socket, socket.socket]:
    ws_port = config.ws_port
    if ws_port is None:
        ws_port = config.port + 1 if config.port else 0
    http_socket = _listen(config.host, config.port)
    try:
        return http_socket, _listen(config.host, ws_port)
    except ServerError:
        http_socket.close()
        raise


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        what = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be opened: {error.strerror}"
        raise ServerError(f"tardis server: port {port} on {host} {what}") from error


def _recorder(config: TardisServerConfig) -> Recorder | None:
    if config.record is None:
        return None
    try:
        return Recorder(config.record)
    except OSError as error:
        raise ServerError(f"tardis server: recording {config.record}: {error.strerror}") from error
