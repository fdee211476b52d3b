"""Bybit v5 private and trade streams.

Source: Bybit v5 API documentation, pages WebSocket Connect, WebSocket Trade Guideline, private streams.
The private stream signs in with ``success``, the trade stream with ``retCode``; both take JSON pings.
"""

from __future__ import annotations

from aiohttp import web

from mm_hybrid.clock import Clock
from mm_hybrid.servers.exchange import bybit_messages as messages
from mm_hybrid.servers.exchange.account import Account, Change
from mm_hybrid.servers.exchange.bybit_orders import BybitOrders
from mm_hybrid.servers.exchange.bybit_protocol import BybitError, check_signature, check_window
from mm_hybrid.servers.exchange.orders import Order, OwnExecution
from mm_hybrid.servers.exchange.streams import Session, Sessions
from mm_hybrid.servers.exchange.wire import Fields, RateLimit, parse_object, text

_TOPICS = {f"{topic}{suffix}" for topic in ("order", "execution", "position") for suffix in ("", ".linear")}
_TOPICS |= {"wallet", "dcp", "dcp.future", "greeks"}


class BybitStreams:
    """The WebSocket half: sign in, subscribe, orders by socket, a push for every change of the account."""

    def __init__(self, account: Account, clock: Clock) -> None:
        self._account = account
        self._orders = BybitOrders(account)
        self._limit = RateLimit(account.config.rate_limit_per_s, clock)
        self._private = Sessions(lambda: account.ids.take("connection"))
        self._trade = Sessions(lambda: account.ids.take("connection"))
        account.subscribe(self._push)

    def routes(self) -> list[web.RouteDef]:
        """Return both paths."""
        return [
            web.get("/v5/private", self._private.handler(self._on_private)),
            web.get("/v5/trade", self._trade.handler(self._on_trade)),
        ]

    async def close(self) -> None:
        """Close every connection."""
        await self._private.close()
        await self._trade.close()

    # Pushes

    def _push(self, change: Change) -> None:
        account = self._account
        if isinstance(change, Order):
            row = messages.order_row(change, account.config)
            del row["isLeverage"]
            extra: Fields = {"category": messages.CATEGORY, "feeCurrency": account.config.quote}
            self._publish("order", row | extra)
        elif isinstance(change, OwnExecution):
            row = messages.execution_row(change, account)
            self._publish("execution", row | {"category": messages.CATEGORY, "isLeverage": "0"})
        else:
            position = messages.position_row(account, stream=True)
            self._publish("position", position | {"category": messages.CATEGORY})
            self._publish("wallet", messages.wallet_row(account, stream=True))

    def _publish(self, topic: str, row: Fields) -> None:
        for name in (topic, f"{topic}.linear"):
            message: Fields = {
                "id": self._account.ids.take("push"),
                "topic": name,
                "creationTime": self._account.now_ms(),
                "data": [row],
            }
            self._private.broadcast(name, message)

    # Private stream

    def _on_private(self, session: Session, frame: str) -> None:
        message = parse_object(frame) or {}
        op = text(message, "op")
        reply: Fields = {"success": True, "ret_msg": "", "op": op, "conn_id": session.connection_id}
        if "req_id" in message:
            reply["req_id"] = message["req_id"]
        if op == "auth":
            try:
                self._sign_in(session, message)
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
        else:
            session.topics.difference_update(topics)
        return ""

    # Trade stream

    def _on_trade(self, session: Session, frame: str) -> None:
        message = parse_object(frame) or {}
        op = text(message, "op")
        reply: Fields = {"retCode": 0, "retMsg": "OK", "op": op, "connId": session.connection_id}
        if "reqId" in message:
            reply["reqId"] = message["reqId"]
        try:
            if op == "auth":
                self._sign_in(session, message)
            elif op == "ping":
                reply |= {"op": "pong", "data": [str(self._account.now_ms())]}
            else:
                reply["data"] = {}
                reply["header"] = self._limit_header()
                reply["data"] = self._trade_request(session, op, message)
        except BybitError as error:
            reply |= {"retCode": error.code, "retMsg": error.message}
        session.send(reply)

    def _trade_request(self, session: Session, op: str, message: Fields) -> Fields:
        actions = {
            "order.create": self._orders.create,
            "order.amend": self._orders.amend,
            "order.cancel": self._orders.cancel,
        }
        action = actions.get(op)
        if action is None:
            raise BybitError(10404, "op type is not found")
        if not session.authenticated:
            raise BybitError(10003, "Unauthorized: sign in first")
        header, args = message.get("header"), message.get("args")
        if not isinstance(header, dict) or not isinstance(args, list) or len(args) != 1:
            raise BybitError(10001, "params error: header and one element of args are required")
        window = text(header, "X-BAPI-RECV-WINDOW")
        check_window(text(header, "X-BAPI-TIMESTAMP"), window, self._account.now_ms())
        if not self._limit.take():
            raise BybitError(10006, "Too many visits. Exceeded the API Rate Limit.")
        return action(args[0] if isinstance(args[0], dict) else {})

    def _limit_header(self) -> Fields:
        return {
            "X-Bapi-Limit": str(self._limit.per_second),
            "X-Bapi-Limit-Status": str(self._limit.remaining),
            "X-Bapi-Limit-Reset-Timestamp": str(self._limit.reset_ms),
            "Traceid": self._account.ids.take("trace").replace("-", ""),
            "Timenow": str(self._account.now_ms()),
        }

    def _sign_in(self, session: Session, message: Fields) -> None:
        """Check key, expiry and signature of an auth request."""
        args = message.get("args")
        if not isinstance(args, list) or len(args) != 3:
            raise BybitError(10001, "params error: auth takes key, expires, signature")
        key, expires, signature = (str(arg) for arg in args)
        check_signature(self._account.config, key, signature, f"GET/realtime{expires}")
        if not expires.isdigit() or int(expires) <= self._account.now_ms():
            raise BybitError(10002, "Params Error: expires is in the past")
        session.authenticated = True
