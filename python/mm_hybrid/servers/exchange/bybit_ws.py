"""Bybit v5 private stream.

Source: Bybit v5 API documentation, pages WebSocket Connect and private streams. Sign-in is answered by
``success``, unlike on the trade stream; pings are JSON.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from mm_hybrid.servers.exchange import bybit_messages as messages
from mm_hybrid.servers.exchange import dcp
from mm_hybrid.servers.exchange.account import Account, Change
from mm_hybrid.servers.exchange.bybit_protocol import BybitError
from mm_hybrid.servers.exchange.bybit_trade import sign_in
from mm_hybrid.servers.exchange.dcp import DisconnectGuard
from mm_hybrid.servers.exchange.faults import Faults
from mm_hybrid.servers.exchange.orders import Order, OwnExecution
from mm_hybrid.servers.exchange.pushes import Push, Pushes
from mm_hybrid.servers.exchange.streams import Session, Sessions
from mm_hybrid.servers.exchange.wire import Fields, parse_object, text

_TOPICS = {
    f"{topic}{suffix}"
    for topic in ("order", "execution", "position")
    for suffix in ("", ".linear", ".spot")
    if topic + suffix != "position.spot"
} | {"wallet", "greeks", *dcp.TOPICS}


class BybitStreams:
    """Sign in, subscribe, and a push for every change of the account."""

    def __init__(self, account: Account, faults: Faults, dcp_window_s: Callable[[], float]) -> None:
        self._account = account
        self._private = Sessions("private_ws", lambda: account.ids.take("connection"), faults)
        self._pushes = Pushes(self._private, faults)
        self.sessions = (self._private,)
        self._guard = DisconnectGuard(account, lambda: list(self._private), dcp_window_s)
        self._private.on_left = self._guard.left
        account.subscribe(lambda change: self._push(account, change))
        if account.spot is not None:
            spot = account.spot
            spot.subscribe(lambda change: self._push(spot, change))

    def routes(self) -> list[web.RouteDef]:
        """Return the one path."""
        return [web.get("/v5/private", self._private.handler(self._on_private))]

    async def close(self) -> None:
        """Close every connection."""
        self._pushes.close()
        self._private.on_left = lambda _: None
        self._guard.close()
        await self._private.close()

    # Pushes

    def _push(self, account: Account, change: Change) -> None:
        category = account.category
        if isinstance(change, Order):
            row = messages.order_row(change, account)
            if category == "linear":
                del row["isLeverage"]
            extra: Fields = {"category": category, "feeCurrency": account.config.quote}
            self._publish("push_order", f"order {category}", row | extra)
        elif isinstance(change, OwnExecution):
            row = messages.execution_row(change, account)
            more: Fields = {"category": category, "isLeverage": "0"}
            self._publish("push_execution", f"execution {category}", row | more)
        else:
            if category == "linear":
                position = messages.position_row(account, stream=True)
                self._publish("push_position", "position linear", position | {"category": category})
            self._publish("push_wallet", "wallet", messages.wallet_row(self._account, stream=True))

    def _publish(self, kind: str, topic: str, row: Fields) -> None:
        """Push a row under its all-in-one topic and, if it has one, under that of its category."""
        now_ms = self._account.now_ms()
        name, _, category = topic.partition(" ")
        push: Push = []
        for full in (name, f"{name}.{category}") if category else (name,):
            message: Fields = {
                "id": self._account.ids.take("push"),
                "topic": full,
                "creationTime": now_ms,
                "data": [row],
            }
            push.append((full, message))
        self._pushes.publish(kind, push)

    # Private stream

    def _on_private(self, session: Session, frame: str) -> None:
        message = parse_object(frame) or {}
        op = text(message, "op")
        reply: Fields = {"success": True, "ret_msg": "", "op": op, "conn_id": session.connection_id}
        if "req_id" in message:
            reply["req_id"] = message["req_id"]
        if op == "auth":
            try:
                sign_in(self._account, session, message)
            except BybitError as error:
                reply |= {"success": False, "ret_msg": error.message}
        elif op == "ping":
            reply = {"req_id": text(message, "req_id"), "op": "pong", "args": [str(self._account.now_ms())]}
            reply["conn_id"] = session.connection_id
        elif op in ("subscribe", "unsubscribe"):
            error_text = self._follow(session, op, message.get("args"))
            if error_text:
                reply |= {"success": False, "ret_msg": error_text}
        else:
            reply |= {"success": False, "ret_msg": f"error:invalid op {op}"}
        session.send(reply)

    def _follow(self, session: Session, op: str, args: object) -> str:
        """Change what a session follows; return why not, or nothing."""
        if not session.authenticated:
            return "Request not authorized"
        topics = [str(topic) for topic in args] if isinstance(args, list) else []
        unknown = [topic for topic in topics if topic not in _TOPICS]
        if unknown or not topics:
            return f"error:handler not found,topic:{','.join(unknown)}"
        if op == "subscribe":
            session.topics.update(topics)
            self._guard.watch()
        else:
            session.topics.difference_update(topics)
        return ""
