"""The one place where requests go wrong: every one, of either venue, passes through here."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from aiohttp import web

from mm_hybrid.clock import Clock
from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.faults import Fault, Faults
from mm_hybrid.servers.exchange.intake import Incoming, Intake, Outgoing, Receipt, Venue, named_orders
from mm_hybrid.servers.exchange.limits import AddressLimit
from mm_hybrid.servers.exchange.orders import Order
from mm_hybrid.servers.exchange.wire import Fields

_LOOK_S = 0.02
_HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_NO_CODE = '{"error": "internal server error"}'


class Carrier:
    """Carries requests out for REST and trade stream alike: record first, what the fault does, then the venue."""

    def __init__(self, account: Account, faults: Faults, intake: Intake, clock: Clock) -> None:
        self.faults = faults
        self._account = account
        self._intake = intake
        self._clock = clock
        self._later: set[asyncio.Task[None]] = set()

    def receive(self, endpoint: str, body: Fields) -> Receipt | None:
        """Take note of a request's arrival."""
        return self._intake.receive(endpoint, body, self._clock.now_ns())

    def turn_away(self, receipt: Receipt | None, fault: Fault, code: int | str | None) -> None:
        """Record a request that is not carried out."""
        if receipt is not None:
            receipt.carry_out(fault)
            receipt.close(code)
        self._account.log.commit()

    def carry_out(
        self, body: Fields, receipt: Receipt | None, fault: Fault | None, run: Callable[[], Outgoing]
    ) -> Outgoing:
        """Have the venue answer, and write down what came of it before anybody hears."""
        if receipt is not None:
            receipt.carry_out(fault)
        if fault is not None and fault.name == "fill_during":
            for order in named_orders(body, self._account) or list(self._account.open_orders()):
                if order.is_open:
                    self._owner(order).fill(order)
        if fault is not None and fault.name == "invisible":
            self._hide_new_until(self._clock.now_ns() + round(fault.delay_s * 1e9))
        self._omit(fault is not None and fault.name == "omit")
        try:
            reply = run()
        finally:
            self._hide_new_until(0)
            self._omit(False)
        if receipt is not None:
            receipt.close(reply.code)
        self._account.log.commit()
        return reply

    def _owner(self, order: Order) -> Account:
        spot = self._account.spot
        return spot if spot is not None and order.order_id in spot.state.orders else self._account

    def _hide_new_until(self, time_ns: int) -> None:
        self._account.hide_new_until_ns = time_ns
        if self._account.spot is not None:
            self._account.spot.hide_new_until_ns = time_ns

    def _omit(self, omits: bool) -> None:
        for account in (self._account, self._account.spot):
            if account is not None:
                account.omits = omits

    def later(self, delay_s: float, action: Callable[[], object]) -> None:
        """Do something after a delay, unless the server stops before."""

        async def wait() -> None:
            await asyncio.sleep(delay_s)
            action()

        task = asyncio.create_task(wait(), name="late request")
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def close(self) -> None:
        """Drop what was to be done later."""
        for task in self._later:
            task.cancel()
        await asyncio.gather(*self._later, return_exceptions=True)


class RestFront:
    """Receives every REST request, draws its fault, has the venue carry it out and spoils the reply."""

    def __init__(self, venue: Venue, account: Account, carrier: Carrier, addresses: AddressLimit) -> None:
        self._venue = venue
        self._account = account
        self._carrier = carrier
        self._addresses = addresses

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one request."""
        incoming = await Incoming.read(request, self._account.now_ms())
        endpoint = self._venue.endpoint(incoming)
        body = incoming.params or {}
        if not self._addresses.take(incoming.remote):
            return self._venue.troubled("ip_ban").response()
        receipt = self._carrier.receive(endpoint, body)
        fault = self._carrier.faults.draw(endpoint, "any")

        def run() -> Outgoing:
            return self._carrier.carry_out(body, receipt, fault, lambda: self._venue.answer(incoming))

        if fault is None:
            return run().response()
        refused = refusal(self._venue, fault)
        if refused is not None:
            self._carrier.turn_away(receipt, fault, refused.code)
            return refused.response()
        if fault.name == "lose_request":
            self._carrier.turn_away(receipt, fault, None)
            await _until_gone(request)
            return web.Response()
        if fault.name == "accept_late":
            self._carrier.later(fault.delay_s, run)
            return late_reply(self._venue, fault).response()
        if fault.name == "delay_before":
            await asyncio.sleep(fault.delay_s)
        return await self._spoiled(request, run(), fault)

    async def _spoiled(self, request: web.Request, reply: Outgoing, fault: Fault) -> web.StreamResponse:
        """Return or break the reply to a request that was carried out."""
        transport = request.transport
        match fault.name:
            case "accept_then_reset":
                if transport is not None:
                    transport.abort()
            case "accept_then_delay":
                await _until_gone(request, fault.delay_s)
            case "accept_then_html":
                return web.Response(status=502, text=_HTML, content_type="text/html")
            case "accept_then_json":
                return web.Response(status=500, text=_NO_CODE, content_type="application/json")
            case "accept_then_code":
                code = fault.rule.code or 0
                return self._venue.refusal(code, fault.rule.message or "System error").response()
            case "accept_then_truncated":
                return await _truncated(request, reply)
            case "accept_then_broken_json":
                reply.body = reply.body[: len(reply.body) // 2]
            case "accept_then_empty":
                reply.body = ""
            case _:
                pass
        return reply.response()


def refusal(venue: Venue, fault: Fault) -> Outgoing | None:
    """Return the reply of a fault that turns a request away; ``None`` for the others."""
    if fault.name == "reject":
        return venue.refusal(fault.rule.code or 0, fault.rule.message or "rejected by the fault script")
    if fault.name in ("rate_limit", "ip_ban", "maintenance"):
        return venue.troubled(fault.name)
    return None


def late_reply(venue: Venue, fault: Fault) -> Outgoing:
    """Return what is said at once of a request that is carried out later."""
    if fault.rule.code is None:
        return venue.troubled("timeout")
    return venue.refusal(fault.rule.code, fault.rule.message or "Request timeout")


async def _truncated(request: web.Request, reply: Outgoing) -> web.StreamResponse:
    """Announce the whole body, send half of it, and close."""
    body = reply.body.encode()
    response = web.StreamResponse(
        status=reply.status,
        headers={"Content-Type": reply.content_type, "Content-Length": str(len(body)), **reply.headers},
    )
    response.force_close()
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


async def _until_gone(request: web.Request, seconds: float = math.inf) -> None:
    """Wait until the client has given up the connection, or the time is over."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while request.transport is not None and not request.transport.is_closing():
        left = end - loop.time()
        if left <= 0:
            return
        await asyncio.sleep(min(_LOOK_S, left))
