"""Bitget v2 private stream.

Source: Bitget v2 API documentation, pages WebSocket Connect, Orders, Fill, Positions and Account channels.
Pings are the plain text ``ping``. Unknown keys beside a login, which some clients add, are not minded.
"""

from __future__ import annotations

from aiohttp import web

from mm_hybrid.servers.exchange import bitget_messages as messages
from mm_hybrid.servers.exchange import bitget_spot_messages as spot_messages
from mm_hybrid.servers.exchange.account import Account, Change
from mm_hybrid.servers.exchange.bitget_protocol import (
    BitgetError,
    check_address,
    check_signature,
    check_window,
    parse_request,
)
from mm_hybrid.servers.exchange.faults import Faults
from mm_hybrid.servers.exchange.orders import ExecutionType, Order, OwnExecution
from mm_hybrid.servers.exchange.pushes import Pushes
from mm_hybrid.servers.exchange.streams import Session, Sessions
from mm_hybrid.servers.exchange.wire import Fields, text

_CHANNELS = ("orders", "fill", "positions", "account")
_SPOT_CHANNELS = ("orders", "fill", "account")
_LOGIN_CODES = {
    "40006": 30011,
    "40012": 30012,
    "40005": 30013,
    "40008": 30014,
    "40009": 30015,
}
_BAD_PARAMETER = 30016


class BitgetStreams:
    """The WebSocket half: login, subscriptions, and a push for every change of the account."""

    def __init__(self, account: Account, faults: Faults) -> None:
        self._account = account
        self._private = Sessions("private_ws", lambda: account.ids.take("connection"), faults)
        self._pushes = Pushes(self._private, faults)
        self.sessions = (self._private,)
        account.subscribe(self._push)
        if account.spot is not None:
            account.spot.subscribe(self._push_spot)

    def routes(self) -> list[web.RouteDef]:
        """Return the one path."""
        return [web.get("/v2/ws/private", self._private.handler(self._on_private))]

    async def close(self) -> None:
        """Close every connection."""
        self._pushes.close()
        await self._private.close()

    # Pushes

    def _push(self, change: Change) -> None:
        config = self._account.config
        if isinstance(change, Order):
            self._publish("push_order", "orders", [messages.order_push(change, self._account)])
        elif isinstance(change, OwnExecution):
            if change.exec_type is not ExecutionType.FUNDING:
                row = messages.fill_row(change, config, stream=True)
                self._publish("push_execution", "fill", [row])
        else:
            self._publish("push_position", "positions", self._positions())
            self._publish("push_account", "account", [messages.account_push(self._account)])

    def _push_spot(self, change: Change) -> None:
        config, kind = self._account.config, spot_messages.INST_TYPE
        if isinstance(change, Order):
            self._publish("push_order", "orders", [spot_messages.order_push(change, config)], kind)
        elif isinstance(change, OwnExecution):
            self._publish("push_execution", "fill", [spot_messages.fill_push(change, config)], kind)
        elif self._account.spot is not None:
            self._publish("push_account", "account", spot_messages.asset_rows(self._account.spot), kind)

    def _publish(
        self, kind: str, channel: str, rows: list[Fields], inst_type: str = messages.PRODUCT
    ) -> None:
        args: list[Fields] = [
            {"instType": inst_type, "channel": channel, key: name}
            for key in (("instId", "coin") if channel == "account" else ("instId",))
            for name in ("default", self._account.config.symbol)
        ]
        self._pushes.publish(kind, [(_topic(arg), self._message(arg, rows)) for arg in args])

    def _message(self, arg: Fields, rows: list[Fields]) -> Fields:
        return {"action": "snapshot", "arg": arg, "data": rows, "ts": self._account.now_ms()}

    def _positions(self) -> list[Fields]:
        return [messages.position_push(self._account)] if self._account.position.qty else []

    # Requests

    def _on_private(self, session: Session, frame: str) -> None:
        if frame == "ping":
            session.send("pong")
            return
        op, wanted = parse_request(frame)
        if op == "login" and wanted:
            self._login(session, wanted[0])
        elif op in ("subscribe", "unsubscribe") and wanted:
            for arg in wanted:
                self._follow(session, op, arg)
        else:
            session.send({"event": "error", "code": 30003, "msg": f"invalid op {op}"})

    def _login(self, session: Session, arg: Fields) -> None:
        stamp = text(arg, "timestamp")
        # Seconds by the documentation; some clients send milliseconds.
        stamp_ms = stamp if len(stamp) > 10 else f"{stamp}000"
        try:
            check_window(stamp_ms, self._account.now_ms())
            check_signature(
                self._account.config,
                text(arg, "apiKey"),
                text(arg, "passphrase"),
                text(arg, "sign"),
                f"{stamp}GET/user/verify",
            )
            check_address(self._account.setup, session.remote)
        except BitgetError as error:
            session.send(
                {"event": "error", "code": _LOGIN_CODES.get(error.code, _BAD_PARAMETER), "msg": error.message}
            )
            return
        session.authenticated = True
        session.send({"event": "login", "code": 0})

    def _follow(self, session: Session, op: str, arg: Fields) -> None:
        channel = text(arg, "channel")
        if not session.authenticated:
            session.send({"event": "error", "arg": arg, "code": 30004, "msg": "User needs to log in"})
            return
        is_spot = self._account.spot is not None and text(arg, "instType") == spot_messages.INST_TYPE
        known = channel in _CHANNELS and text(arg, "instType") == messages.PRODUCT
        if not known and not (is_spot and channel in _SPOT_CHANNELS):
            unknown = f"instType:{text(arg, 'instType')},channel:{channel} doesn't exist"
            session.send({"event": "error", "arg": arg, "code": 30001, "msg": unknown})
            return
        if op == "unsubscribe":
            session.topics.discard(_topic(arg))
            session.send({"event": op, "arg": arg})
            return
        session.topics.add(_topic(arg))
        session.send({"event": op, "arg": arg})
        if is_spot:
            return
        if channel == "positions":
            session.send(self._message(arg, self._positions()))
        elif channel == "account":
            session.send(self._message(arg, [messages.account_push(self._account)]))


def _topic(arg: Fields) -> str:
    where = next((key for key in ("instId", "coin") if key in arg), "instId")
    return f"{text(arg, 'instType')}/{text(arg, 'channel')}/{where}/{text(arg, where) or 'default'}"
