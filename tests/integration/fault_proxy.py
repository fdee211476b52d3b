"""A proxy in front of a local exchange that misbehaves on demand, over real sockets."""

from __future__ import annotations

import asyncio
from typing import Literal, Self

import aiohttp
import yarl
from aiohttp import web

Fault = Literal["lose_reply", "lose_request", "reset", "garbage", "bad_gateway"]


class FaultProxy:
    """Forwards REST and WebSocket traffic; set ``faults[path]`` to spoil the requests of one path.

    Attributes:
        faults: fault by path; every request of the path until removed.
        seen: paths of the requests forwarded or spoiled, in order.
        repeat_pushes: how often each frame from the server is passed on.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.url = ""
        self.faults: dict[str, Fault] = {}
        self.seen: list[str] = []
        self.repeat_pushes = 1
        self._sockets: set[web.WebSocketResponse] = set()
        self._released = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._client = aiohttp.ClientSession(auto_decompress=False)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._released.set()
        await self.drop_sockets()
        await self._runner.cleanup()
        await self._client.close()

    async def drop_sockets(self) -> None:
        """Cut every WebSocket connection without a goodbye."""
        for socket in list(self._sockets):
            if socket._req is not None and socket._req.transport is not None:
                socket._req.transport.abort()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._handle_socket(request)
        self.seen.append(request.path)
        fault = self.faults.get(request.path)
        if fault == "lose_request":
            await self._released.wait()
        headers = {k: v for k, v in request.headers.items() if k.lower() not in {"host", "content-length"}}
        body = await request.read()
        url = self.upstream + request.raw_path
        async with self._client.request(
            request.method, yarl.URL(url, encoded=True), data=body or None, headers=headers
        ) as reply:
            payload = await reply.read()
            status = reply.status
            passed = {k: v for k, v in reply.headers.items() if k.lower().startswith(("x-", "content-type"))}
        if fault == "lose_reply":
            await self._released.wait()
        elif fault == "reset":
            request.transport.abort()
        elif fault == "garbage":
            return web.Response(text='{"retCode":0,"resu', content_type="application/json")
        elif fault == "bad_gateway":
            return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")
        return web.Response(status=status, body=payload, headers=passed)

    async def _handle_socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.add(socket)
        async with self._client.ws_connect(self.upstream + request.raw_path) as upstream:

            async def down() -> None:
                async for message in upstream:
                    if message.type is aiohttp.WSMsgType.TEXT:
                        for _ in range(self.repeat_pushes if '"data"' in message.data else 1):
                            await socket.send_str(message.data)

            pump = asyncio.create_task(down())
            try:
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.TEXT:
                        await upstream.send_str(message.data)
            finally:
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)
                self._sockets.discard(socket)
        return socket
