"""Bybit v5 trade stream: orders over a socket.

Source: Bybit v5 API documentation, page WebSocket Trade Guideline. Replies carry ``retCode`` and, under ``header``,
what REST puts into HTTP headers.
"""

from __future__ import annotations

from aiohttp import web

from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.bybit_orders import BybitOrders
from mm_hybrid.servers.exchange.bybit_protocol import (
    BybitError,
    check_address,
    check_signature,
    check_window,
    legs_of,
    limit_headers,
    spent_headers,
)
from mm_hybrid.servers.exchange.faults import Fault
from mm_hybrid.servers.exchange.intake import Outgoing, Venue
from mm_hybrid.servers.exchange.limits import RateLimits
from mm_hybrid.servers.exchange.spoil import Carrier, late_reply, refusal
from mm_hybrid.servers.exchange.streams import Session, Sessions
from mm_hybrid.servers.exchange.wire import Fields, parse_object, text

_ENDPOINTS = {
    "order.create": "create",
    "order.amend": "amend",
    "order.cancel": "cancel",
    "order.create-batch": "create_batch",
    "order.amend-batch": "amend_batch",
    "order.cancel-batch": "cancel_batch",
}
# A reply that REST would break in one way or another does not come at all.
_UNREADABLE = {
    "accept_then_html",
    "accept_then_json",
    "accept_then_truncated",
    "accept_then_broken_json",
    "accept_then_empty",
}


class BybitTradeStream:
    """Signs in, takes order requests and answers each by its ``reqId``."""

    def __init__(self, account: Account, venue: Venue, carrier: Carrier, limits: RateLimits) -> None:
        self._account = account
        self._venue = venue
        self._carrier = carrier
        self._limits = limits
        self._orders = {"linear": BybitOrders(account)}
        if account.spot is not None:
            self._orders["spot"] = BybitOrders(account.spot)
        self.sessions = Sessions("trade_ws", lambda: account.ids.take("connection"), carrier.faults)

    def routes(self) -> list[web.RouteDef]:
        """Return the one path."""
        return [web.get("/v5/trade", self.sessions.handler(self._on_frame))]

    async def close(self) -> None:
        """Close every connection."""
        await self.sessions.close()

    def _on_frame(self, session: Session, frame: str) -> None:
        message = parse_object(frame) or {}
        op = text(message, "op")
        if op in _ENDPOINTS:
            self._on_order(session, op, message)
            return
        reply = _reply(session, message, 0, "OK")
        if op == "auth":
            try:
                sign_in(self._account, session, message)
            except BybitError as error:
                reply |= {"retCode": error.code, "retMsg": error.message}
        elif op == "ping":
            reply |= {"op": "pong", "data": [str(self._account.now_ms())]}
        else:
            reply |= {"retCode": 10404, "retMsg": "op type is not found"}
        session.send(reply)

    def _on_order(self, session: Session, op: str, message: Fields) -> None:
        endpoint = _ENDPOINTS[op]
        args = message.get("args")
        body: Fields = args[0] if isinstance(args, list) and args and isinstance(args[0], dict) else {}
        receipt = self._carrier.receive(endpoint, body)
        fault = self._carrier.faults.draw(endpoint)
        received_ms = self._account.now_ms()
        outcome: Fields = {}

        def execute() -> Outgoing:
            try:
                data, extra = self._carry_out(session, endpoint, message, body, received_ms)
                notes: Fields = {"retExtInfo": extra} if extra else {}
                outcome.update(_reply(session, message, 0, "OK") | {"data": data} | notes)
            except BybitError as error:
                outcome.update(_reply(session, message, error.code, error.message) | {"data": {}})
            outcome["header"] = self._header(endpoint)
            return Outgoing(code=int(str(outcome["retCode"])), body="")

        def run() -> None:
            self._carrier.carry_out(body, receipt, fault, execute)

        if fault is None:
            run()
            self.sessions.deliver(session, outcome)
            return
        refused = refusal(self._venue, fault)
        if refused is not None or fault.name == "lose_request":
            self._carrier.turn_away(receipt, fault, None if refused is None else refused.code)
            if fault.name == "ip_ban":
                session.kill()
            elif refused is not None:
                self.sessions.deliver(session, self._refused(session, message, endpoint, refused, fault))
            return
        if fault.name == "accept_late":
            self._carrier.later(fault.delay_s, run)
            reply = late_reply(self._venue, fault)
            self.sessions.deliver(session, self._refused(session, message, endpoint, reply, fault))
            return
        if fault.name == "delay_before":

            def late() -> None:
                run()
                self.sessions.deliver(session, outcome)

            self._carrier.later(fault.delay_s, late)
            return
        run()
        self._answer(session, message, endpoint, outcome, fault)

    def _answer(
        self, session: Session, message: Fields, endpoint: str, outcome: Fields, fault: Fault
    ) -> None:
        """Send or break the reply to a request that was carried out."""
        if fault.name == "accept_then_reset":
            session.kill()
        elif fault.name == "accept_then_delay":
            self._carrier.later(fault.delay_s, lambda: self.sessions.deliver(session, outcome))
        elif fault.name == "accept_then_code":
            spoiled = self._venue.refusal(fault.rule.code or 0, fault.rule.message or "System error")
            self.sessions.deliver(session, self._refused(session, message, endpoint, spoiled, fault))
        elif fault.name not in _UNREADABLE:
            self.sessions.deliver(session, outcome)

    def _carry_out(
        self, session: Session, endpoint: str, message: Fields, body: Fields, received_ms: int
    ) -> tuple[Fields, Fields]:
        if not session.authenticated:
            raise BybitError(10003, "Unauthorized: sign in first")
        header, args = message.get("header"), message.get("args")
        if not isinstance(header, dict) or not isinstance(args, list) or len(args) != 1:
            raise BybitError(10001, "params error: header and one element of args are required")
        check_window(text(header, "X-BAPI-TIMESTAMP"), text(header, "X-BAPI-RECV-WINDOW"), received_ms)
        if not self._limits.of(endpoint).take(legs_of(body)):
            raise BybitError(10006, "Too many visits. Exceeded the API Rate Limit.")
        orders = self._orders.get(text(body, "category"), self._orders["linear"])
        actions = {"create": orders.create, "amend": orders.amend, "cancel": orders.cancel}
        if endpoint in actions:
            return actions[endpoint](body), {}
        return orders.batch(actions[endpoint.removesuffix("_batch")], body)

    def _refused(
        self, session: Session, message: Fields, endpoint: str, refused: Outgoing, fault: Fault
    ) -> Fields:
        fields = parse_object(refused.body) or {}
        reply = _reply(session, message, int(str(fields["retCode"])), text(fields, "retMsg"))
        header = self._header(endpoint)
        if fault.name == "rate_limit":
            header |= spent_headers(self._limits.of(endpoint).per_second, self._account.now_ms())
        return reply | {"data": {}, "header": header}

    def _header(self, endpoint: str) -> Fields:
        return {
            **limit_headers(self._limits.of(endpoint)),
            "Traceid": self._account.ids.take("trace").replace("-", ""),
            "Timenow": str(self._account.now_ms()),
        }


def _reply(session: Session, message: Fields, code: int, note: str) -> Fields:
    reply: Fields = {
        "retCode": code,
        "retMsg": note,
        "op": text(message, "op"),
        "connId": session.connection_id,
    }
    if "reqId" in message:
        reply["reqId"] = message["reqId"]
    return reply


def sign_in(account: Account, session: Session, message: Fields) -> None:
    """Check key, expiry, signature and address of an auth request on either stream.

    Raises:
        BybitError: the session stays signed out.
    """
    args = message.get("args")
    if not isinstance(args, list) or len(args) != 3:
        raise BybitError(10001, "params error: auth takes key, expires, signature")
    key, expires, signature = (str(arg) for arg in args)
    check_signature(account.config, key, signature, f"GET/realtime{expires}")
    if not expires.isdigit() or int(expires) <= account.now_ms():
        raise BybitError(10002, "Params Error: expires is in the past")
    check_address(account.setup, session.remote)
    session.authenticated = True
