"""WebSocket sessions with one bounded outbox each, so that a slow reader cannot hold up the account."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator

from aiohttp import ClientConnectionResetError, web

from mm_hybrid.servers.exchange.faults import Faults
from mm_hybrid.servers.exchange.wire import Fields

_OUTBOX_MESSAGES = 10_000
_CLOSE_S = 1.0
_LAST_WORDS_S = 5.0


class Session:
    """One client connection: who it is, what it follows, and what it has still to be sent."""

    def __init__(
        self,
        connection_id: str,
        socket: web.WebSocketResponse,
        remote: str,
        kill: Callable[[], None],
        is_silent: Callable[[], bool],
    ) -> None:
        self.connection_id = connection_id
        self.authenticated = False
        self.remote = remote
        self.topics: set[str] = set()
        self.kill = kill
        self.silent_epoch = 0
        self._is_silent = is_silent
        self._socket = socket
        self._outbox: asyncio.Queue[str] = asyncio.Queue(_OUTBOX_MESSAGES)
        self._overflowed = False

    def send(self, message: Fields | str) -> None:
        """Queue a message; a session whose outbox is full is closed rather than sent with gaps.

        It gets what it was sent before, and the close; one that does not read even that is cut.
        """
        if self._overflowed or self._is_silent():
            return
        try:
            self._outbox.put_nowait(message if isinstance(message, str) else json.dumps(message))
        except asyncio.QueueFull:
            self._overflowed = True
            asyncio.get_running_loop().call_later(_LAST_WORDS_S, self.kill)

    async def write_forever(self) -> None:
        """Send queued messages in sequence until the connection ends."""
        try:
            while not self._overflowed:
                await self._socket.send_str(await self._outbox.get())
        except (ClientConnectionResetError, ConnectionError):
            return
        await self._socket.close(code=1008, message=b"too slow")


class Sessions:
    """All connections of one WebSocket path; their faults are drawn here under the path's name.

    What counts as an occurrence is a frame that tells of orders or of the market: a push, or the reply to an order
    request. On a public path every session counts as signed in.
    """

    def __init__(
        self, name: str, take_id: Callable[[], str], faults: Faults, *, is_public: bool = False
    ) -> None:
        self.name = name
        self.on_left: Callable[[Session], None] = lambda _: None
        self._take_id = take_id
        self._is_public = is_public
        self._faults = faults
        self._sessions: set[Session] = set()
        self._sockets: set[web.WebSocketResponse] = set()

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions)

    def handler(
        self, receive: Callable[[Session, str], None]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return a handler that calls ``receive`` for every text frame until the client leaves."""

        async def serve(request: web.Request) -> web.StreamResponse:
            return await self._serve(request, receive)

        return serve

    async def _serve(
        self, request: web.Request, receive: Callable[[Session, str], None]
    ) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(timeout=_CLOSE_S, max_msg_size=1 << 20)
        await socket.prepare(request)

        def kill() -> None:
            if request.transport is not None:
                request.transport.abort()

        def is_silent() -> bool:
            return session.silent_epoch == self._faults.epoch or self._faults.is_in_force(
                self.name, "silence"
            )

        session = Session(self._take_id(), socket, request.remote or "", kill, is_silent)
        session.authenticated = self._is_public
        self._sessions.add(session)
        self._sockets.add(socket)
        writer = asyncio.create_task(session.write_forever(), name=f"outbox {session.connection_id}")
        try:
            async for frame in socket:
                if frame.type is web.WSMsgType.TEXT:
                    receive(session, frame.data)
        finally:
            self._sessions.discard(session)
            self._sockets.discard(socket)
            self.on_left(session)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        return socket

    def broadcast(self, topic: str, message: Fields | str) -> None:
        """Queue a message for every signed-in session that follows ``topic``."""
        followers = [one for one in self._sessions if one.authenticated and topic in one.topics]
        if followers:
            line = message if isinstance(message, str) else json.dumps(message)
            for session in followers:
                self.deliver(session, line)

    def deliver(self, session: Session, message: Fields | str) -> None:
        """Queue a message that may meet a fault of the socket."""
        fault = self._faults.draw(self.name)
        if fault is not None and fault.name == "no_reply":
            return
        if fault is not None and fault.name == "silence":
            session.silent_epoch = self._faults.epoch
        session.send(message)
        if fault is not None and fault.name == "kill":
            session.kill()

    def kill_all(self) -> None:
        """Cut every connection without a goodbye."""
        for session in list(self._sessions):
            session.kill()

    async def close(self) -> None:
        """Close every connection."""
        closing = [socket.close(code=1001, message=b"server stops") for socket in self._sockets]
        await asyncio.gather(*closing, return_exceptions=True)
