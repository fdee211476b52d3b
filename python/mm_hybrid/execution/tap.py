"""A tap on an exchange object's own plumbing: what left, what came back, which channels are confirmed.

The client library hides all of this, and outcomes cannot be judged without it. Three methods of the
instance are wrapped; nothing is changed on the way through.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mm_hybrid.clock import Clock
from mm_hybrid.execution import wire
from mm_hybrid.execution.lanes import Lane, Lanes

CHANNELS = {"bybit": frozenset({"order", "execution"}), "bitget": frozenset({"orders", "fill"})}
"""Private channels that must be confirmed before the first order."""


@dataclass(slots=True)
class Request:
    """What happened to one request below the client library; ``reply`` is the body as it came."""

    lane: Lane
    sent: bool = False
    http_status: int | None = None
    reply: str = ""


_TRADE_LANES = {"order.create": Lane.CREATE, "order.amend": Lane.AMEND, "order.cancel": Lane.CANCEL}


class Tap:
    """Watches one exchange object.

    Args:
        venue: whose messages they are.
        exchange: the object; its ``fetch``, ``on_rest_response`` and ``handle_message`` are wrapped.
        lanes: told what the venue's headers say.
        clock: time of frames.

    Attributes:
        last_frame_ns: monotonic time of the last frame on the private streams; the trade stream is none of them.
        all_confirmed: set once every private channel of the current connection is confirmed.
    """

    def __init__(self, venue: str, exchange: Any, lanes: Lanes, clock: Clock) -> None:
        self._venue = venue
        self._exchange = exchange
        self._lanes = lanes
        self._clock = clock
        self._confirmed: set[str] = set()
        self._request: contextvars.ContextVar[Request | None] = contextvars.ContextVar(
            "request", default=None
        )
        self.last_frame_ns = clock.monotonic_ns()
        self.all_confirmed = asyncio.Event()
        self._fetch, exchange.fetch = exchange.fetch, self._on_fetch
        self._response, exchange.on_rest_response = exchange.on_rest_response, self._on_response
        self._message, exchange.handle_message = exchange.handle_message, self._on_message

    @contextmanager
    def request(self, lane: Lane) -> Iterator[Request]:
        """Watch the one request that is made inside."""
        request = Request(lane)
        token = self._request.set(request)
        try:
            yield request
        finally:
            self._request.reset(token)

    def server_ms(self) -> int:
        """Return the venue's time in milliseconds, as far as the clocks' difference is known."""
        return self._clock.now_ns() // 1_000_000 - int(self._exchange.options.get("timeDifference") or 0)

    def forget_streams(self) -> None:
        """Start over with confirmations and silence: the connections have been dropped."""
        self._confirmed.clear()
        self.all_confirmed.clear()
        self.last_frame_ns = self._clock.monotonic_ns()

    async def _on_fetch(self, *args: Any, **kwargs: Any) -> Any:
        request = self._request.get()
        if request is not None:
            request.sent = True
        return await self._fetch(*args, **kwargs)

    def _on_response(self, status: int, *reply: Any) -> Any:
        request = self._request.get()
        if request is not None:
            _reason, _url, _method, headers, body, *_ = reply
            request.http_status = status
            request.reply = body
            self._note_limit(request.lane, headers)
        return self._response(status, *reply)

    def _on_message(self, client: Any, message: Any) -> None:
        if wire.is_trade_stream(client.url):
            if isinstance(message, Mapping) and message.get("op") in _TRADE_LANES:
                self._note_limit(_TRADE_LANES[message["op"]], message.get("header") or {})
        else:
            self.last_frame_ns = self._clock.monotonic_ns()
            if isinstance(message, Mapping):
                self._note_confirmation(client, message)
        self._message(client, message)

    def _note_limit(self, lane: Lane, headers: Mapping[str, Any]) -> None:
        limit = wire.rate_limit(self._venue, headers, self.server_ms())
        if limit is not None:
            self._lanes.limit_seen(
                lane, per_s=limit.per_s, remaining=limit.remaining, reset_in_s=limit.reset_in_s
            )

    def _note_confirmation(self, client: Any, message: Mapping[str, Any]) -> None:
        """Bybit confirms a request by its id, Bitget by the channel's name.

        Source: Bybit v5 API documentation, WebSocket Connect, How to Subscribe to Topics; Bitget API
        documentation, Websocket API, Subscribe.
        """
        if message.get("op") == "subscribe" and message.get("success"):
            request_id = str(message.get("req_id"))
            for subscription in client.subscriptions.values():
                if isinstance(subscription, dict) and str(subscription.get("id")) == request_id:
                    self._confirmed.update(subscription.get("topics", ()))
        elif message.get("event") == "subscribe":
            self._confirmed.add(str((message.get("arg") or {}).get("channel")))
        if self._confirmed >= CHANNELS[self._venue]:
            self.all_confirmed.set()
