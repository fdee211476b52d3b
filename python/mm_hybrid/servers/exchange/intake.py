"""A request as it came in, a reply before it goes out, and the record that it was received."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import web

from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.faults import TRADING, Fault
from mm_hybrid.servers.exchange.orders import Order
from mm_hybrid.servers.exchange.wire import Fields, parse_object, text

BeforeAccept = Callable[[str, Sequence[str]], None]
"""Called with endpoint and client ids at receipt of each trading request, before anything is carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One REST request, read whole.

    Attributes:
        method: ``GET`` or ``POST``.
        path: without the query.
        query: the parameters after the question mark, decoded.
        raw_query: the same as sent.
        headers: of any case.
        body: text.
        remote: address of the client.
        received_ms: the server's time at receipt, which receive windows are judged by.
    """

    method: str
    path: str
    query: Fields
    raw_query: str
    headers: Mapping[str, str]
    body: str
    remote: str
    received_ms: int

    @classmethod
    async def read(cls, request: web.Request, received_ms: int) -> Incoming:
        """Read a request to its end."""
        path, _, raw_query = request.raw_path.partition("?")
        return cls(
            method=request.method,
            path=path,
            query={**request.query},
            raw_query=raw_query,
            headers=request.headers,
            body=await request.text(),
            remote=request.remote or "",
            received_ms=received_ms,
        )

    @property
    def params(self) -> Fields | None:
        """The parameters: of the query for ``GET``, of the body otherwise; ``None`` for a body of no use."""
        return parse_object(self.body) if self.method == "POST" else self.query


@dataclass(slots=True, kw_only=True)
class Outgoing:
    """One reply: the venue's code beside what is sent."""

    code: int | str
    body: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    @classmethod
    def json(cls, code: int | str, value: object, status: int = 200) -> Outgoing:
        """Return a reply with a JSON body."""
        return cls(code=code, body=json.dumps(value), status=status)

    def response(self) -> web.Response:
        """Return what aiohttp sends."""
        return web.Response(
            text=self.body, status=self.status, headers=self.headers, content_type=self.content_type
        )


class Venue(Protocol):
    """One venue's REST protocol, carried out without awaiting."""

    def endpoint(self, request: Incoming) -> str:
        """Return the kind of request as fault scripts name it; empty for the others."""
        ...

    def answer(self, request: Incoming) -> Outgoing:
        """Carry a request out; refusals and unknown paths are answered as the venue does."""
        ...

    def refusal(self, code: int | str, message: str) -> Outgoing:
        """Return a refusal with that code."""
        ...

    def troubled(self, fault: str) -> Outgoing:
        """Return the venue's reply under ``rate_limit``, ``ip_ban``, ``maintenance`` or ``timeout``."""
        ...


def _legs(body: Fields) -> list[Fields]:
    """Return the orders a body is about: the legs of a batch, or the body itself."""
    for key in ("request", "orderList", "orderIdList"):
        legs = body.get(key)
        if isinstance(legs, list):
            return [leg for leg in legs if isinstance(leg, dict)]
    return [body]


def named_orders(body: Fields, account: Account) -> list[Order]:
    """Return the known orders a request names by either id, in either venue's spelling."""
    found = []
    for leg in _legs(body):
        client_id = text(leg, "orderLinkId") or text(leg, "clientOid")
        order = _find(account, text(leg, "orderId"), client_id)
        if order is not None:
            found.append(order)
    return found


def _find(account: Account, order_id: str, client_id: str) -> Order | None:
    """Return an order of either side of the account."""
    found = account.find(order_id=order_id, client_id=client_id)
    if found is None and account.spot is not None:
        return account.spot.find(order_id=order_id, client_id=client_id)
    return found


def client_ids(body: Fields, account: Account) -> list[str]:
    """Return the client ids a request is about; that of the order where it names the exchange's id alone."""
    ids = []
    for leg in _legs(body):
        given = text(leg, "orderLinkId") or text(leg, "clientOid")
        if not given:
            order = _find(account, text(leg, "orderId"), "")
            given = "" if order is None else order.client_id
        ids += [one for one in (given, text(leg, "newClientOid")) if one]
    return ids


class Intake:
    """Notes every trading request in the log, and tells a witness of it first."""

    def __init__(self, account: Account, before_accept: BeforeAccept | None = None) -> None:
        self._account = account
        self._before_accept = before_accept

    def receive(self, endpoint: str, body: Fields, now_ns: int) -> Receipt | None:
        """Take note of a request's arrival; ``None`` for one that does not trade."""
        if endpoint not in TRADING:
            return None
        ids = client_ids(body, self._account)
        if self._before_accept is not None:
            self._before_accept(endpoint, ids)
        return Receipt(endpoint, ids, now_ns, self._account)


class Receipt:
    """The record of one trading request, written when it is decided."""

    def __init__(self, endpoint: str, ids: list[str], now_ns: int, account: Account) -> None:
        self._endpoint = endpoint
        self._ids = ids
        self._now_ns = now_ns
        self._log = account.log
        self._body: Fields | None = None

    def carry_out(self, fault: Fault | None) -> None:
        """Open the record, ahead of what the request causes."""
        self._body = {
            "endpoint": self._endpoint,
            "code": None,
            "fault": None if fault is None else fault.name,
            "client_ids": self._ids,
        }
        client_id = self._ids[0] if len(self._ids) == 1 else None
        self._log.append("request", self._now_ns, self._body, client_id=client_id)

    def close(self, code: int | str | None) -> None:
        """Note the code of the reply, which is what the venue decided, whatever the client gets to see."""
        if self._body is not None:
            self._body["code"] = code
