"""The private streams: pushes of orders and executions, and the promise that no gap goes unnoticed.

Nothing is repeated after a reconnect, so each new connection is confirmed channel by channel and followed by
a reconciliation over REST before it counts as healthy. What is pushed meanwhile is held back and told after it, so
that news is applied on top of the picture it belongs to. Silence counts as a dropped connection.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from mm_hybrid.clock import Clock
from mm_hybrid.errors import GatewayError
from mm_hybrid.execution.orders import VenueOrder
from mm_hybrid.execution.outcomes import VenueError, Verdict
from mm_hybrid.types import Fill

T = TypeVar("T")


class StreamGateway(Protocol):
    """What the streams need of a gateway."""

    @property
    def last_frame_ns(self) -> int:
        """Monotonic time of the last frame."""
        ...

    async def watch_orders(self) -> list[VenueOrder]:
        """Wait for news of orders."""
        ...

    async def watch_fills(self) -> list[Fill]:
        """Wait for executions."""
        ...

    async def streams_confirmed(self) -> None:
        """Wait until the venue has confirmed all channels."""
        ...

    async def forget_streams(self) -> None:
        """Drop the connections."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamHandlers:
    """Who is told what.

    Attributes:
        order: called for each order pushed.
        fill: called for each execution pushed, duplicates included.
        reconcile: awaited after each connection is confirmed, before it counts as healthy.
        changed: called with whether the streams are healthy, and why.
    """

    order: Callable[[VenueOrder], None]
    fill: Callable[[Fill], None]
    reconcile: Callable[[], Awaitable[None]]
    changed: Callable[[bool, str], None]


class PrivateStreams:
    """Keeps the private streams of one gateway up.

    Args:
        gateway: where the streams come from.
        handlers: who is told.
        clock: its monotonic time judges silence.
        confirm_s: seconds the venue has to confirm the channels.
        silence_s: seconds without any frame, heartbeats included, after which the connection is dropped.
        backoff_s: least and most seconds between two attempts.
    """

    def __init__(
        self,
        gateway: StreamGateway,
        handlers: StreamHandlers,
        clock: Clock,
        *,
        confirm_s: float = 10.0,
        silence_s: float = 15.0,
        backoff_s: tuple[float, float] = (0.1, 10.0),
    ) -> None:
        self._gateway = gateway
        self._handlers = handlers
        self._clock = clock
        self._confirm_s = confirm_s
        self._silence_ns = round(silence_s * 1e9)
        self._backoff_s = backoff_s
        self._task: asyncio.Task[None] | None = None
        self._held: list[Callable[[], None]] | None = None
        self.healthy = False
        self.reconnects = 0

    async def start(self) -> None:
        """Connect and return once all channels are confirmed and the first reconciliation is done.

        Raises:
            GatewayError: the key was refused, or the venue did not confirm in time.
        """
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._keep(ready), name="mm-private-streams")
        try:
            await asyncio.wait_for(ready, 2 * self._confirm_s)
        except TimeoutError:
            await self.close()
            raise GatewayError(f"private streams not confirmed within {2 * self._confirm_s:g} s") from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End the streams; a second call does nothing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            await self._gateway.forget_streams()
        self.healthy = False

    async def _keep(self, ready: asyncio.Future[None]) -> None:
        wait_s = self._backoff_s[0]
        while True:
            try:
                await self._connection(ready)
            except GatewayError as error:
                reason = str(error)
                if isinstance(error, VenueError) and error.verdict is Verdict.AUTH and not ready.done():
                    ready.set_exception(GatewayError(f"private streams: the API key was refused ({reason})"))
                    return
            except Exception as error:  # Whatever it is, a stream that ended unseen would look healthy.
                reason = f"{type(error).__name__}: {error}"
            else:
                reason = "ended"
            if self.healthy:
                wait_s = self._backoff_s[0]
            self.healthy = False
            self.reconnects += 1
            self._handlers.changed(False, reason)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, self._backoff_s[1])

    async def _connection(self, ready: asyncio.Future[None]) -> None:
        """Live through one connection; ends by raising why it is over."""
        await self._gateway.forget_streams()
        self._held = []
        tasks = [
            asyncio.create_task(self._pump(self._gateway.watch_orders, self._handlers.order)),
            asyncio.create_task(self._pump(self._gateway.watch_fills, self._handlers.fill)),
            asyncio.create_task(self._listen_for_silence()),
        ]
        try:
            await self._race(asyncio.wait_for(self._gateway.streams_confirmed(), self._confirm_s), tasks)
            await self._race(self._handlers.reconcile(), tasks)
            self._release()
            self.healthy = True
            self._handlers.changed(True, "confirmed and reconciled")
            if not ready.done():
                ready.set_result(None)
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except TimeoutError:
            raise GatewayError(f"channels not confirmed within {self._confirm_s:g} s") from None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    async def _race(step: Awaitable[None], tasks: Sequence[asyncio.Task[None]]) -> None:
        """Await a step, unless the connection ends first."""
        stepping: asyncio.Future[Any] = asyncio.ensure_future(step)
        try:
            await asyncio.wait([stepping, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            await stepping
        finally:
            stepping.cancel()
            await asyncio.gather(stepping, return_exceptions=True)

    async def _pump(self, watch: Callable[[], Awaitable[list[T]]], tell: Callable[[T], None]) -> None:
        while True:
            for item in await watch():
                if self._held is None:
                    tell(item)
                else:
                    self._held.append(functools.partial(tell, item))

    def _release(self) -> None:
        """Tell what was pushed during the reconciliation, in its order, and hold nothing back from now on."""
        held, self._held = self._held or [], None
        for tell in held:
            tell()

    async def _listen_for_silence(self) -> None:
        while True:
            silent_ns = self._clock.monotonic_ns() - self._gateway.last_frame_ns
            if silent_ns > self._silence_ns:
                raise GatewayError(f"private streams silent for {silent_ns / 1e9:.1f} s")
            await asyncio.sleep(1.0)
