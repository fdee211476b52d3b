"""What no venue path offers: the fault script, the ledger, market-made events and set-ups, under ``/_admin``."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from mm_hybrid.errors import ConfigError
from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.events import adl, foreign_order, fund
from mm_hybrid.servers.exchange.faults import Faults, FaultScript
from mm_hybrid.servers.exchange.ledger import ledger_row
from mm_hybrid.servers.exchange.orders import Order, OrderRefusedError
from mm_hybrid.servers.exchange.setup import Setup
from mm_hybrid.servers.exchange.wire import Fields, number

Handler = Callable[[web.Request], Awaitable[web.Response]]


class _Funding(BaseModel):
    model_config = ConfigDict(extra="forbid")
    rate: Decimal = Field(ge=-1, le=1)


class _Adl(BaseModel):
    model_config = ConfigDict(extra="forbid")
    qty: Decimal = Field(gt=0)


class _Foreign(BaseModel):
    model_config = ConfigDict(extra="forbid")
    side: Literal["buy", "sell"]
    price: Decimal | None = None
    qty: Decimal


class Admin:
    """Handlers of the ``/_admin`` paths; a bad request is HTTP 400 with ``error``."""

    def __init__(self, account: Account, faults: Faults, published: Callable[[], Fields]) -> None:
        self._account = account
        self._faults = faults
        self._published = published

    def routes(self) -> list[web.RouteDef]:
        """Return every path."""
        return [
            web.get("/_admin/ledger", _answering(self._ledger)),
            web.get("/_admin/account", _answering(self._show)),
            web.get("/_admin/books", _answering(self._show_books)),
            web.get("/_admin/faults", _answering(self._report)),
            web.post("/_admin/faults", _answering(self._set_faults)),
            web.post("/_admin/funding", _answering(self._fund)),
            web.post("/_admin/adl", _answering(self._adl)),
            web.post("/_admin/foreign", _answering(self._foreign)),
            web.get("/_admin/config", _answering(self._show_setup)),
            web.post("/_admin/config", _answering(self._configure)),
        ]

    def _ledger(self, _: object) -> object:
        return [ledger_row(one) for one in self._account.ledger.executions]

    def _show(self, _: object) -> object:
        book = self._account.position
        return {
            "position": number(book.qty),
            "cash": number(book.cash),
            "fees": number(book.fees),
            "funding": number(book.funding),
            "wallet": number(self._account.wallet_balance),
            "open_orders": [_order(order) for order in self._account.open_orders()],
            **self._show_spot(),
        }

    def _show_spot(self) -> Fields:
        spot = self._account.spot
        if spot is None:
            return {}
        orders = [_order(order) for order in spot.open_orders()]
        return {
            "spot": {
                "base_balance": number(spot.base_balance),
                "quote_flow": number(spot.quote_flow),
                "open_orders": orders,
            }
        }

    def _show_books(self, _: object) -> object:
        return self._published()

    def _report(self, _: object) -> object:
        return self._faults.report()

    def _set_faults(self, body: object) -> object:
        script = FaultScript.parse(body, "faults")
        problem = script.problem_at(self._account.config.venue)
        if problem:
            raise ConfigError(f"faults: {problem}")
        self._faults.replace(script)
        return self._faults.report()

    def _fund(self, body: object) -> object:
        funding = fund(self._account, _Funding.model_validate(body).rate)
        return {"amount": number(funding.amount), "position": number(funding.position)}

    def _adl(self, body: object) -> object:
        return ledger_row(adl(self._account, _Adl.model_validate(body).qty))

    def _foreign(self, body: object) -> object:
        wanted = _Foreign.model_validate(body)
        return _order(foreign_order(self._account, wanted.side, wanted.price, wanted.qty))

    def _show_setup(self, _: object) -> object:
        return self._account.setup.model_dump(mode="json")

    def _configure(self, body: object) -> object:
        changes = TypeAdapter(dict[str, object]).validate_python(body)
        now = self._account.setup.model_dump(exclude={"balance"})
        self._account.configure(Setup.model_validate(now | changes))
        return self._show_setup(body)


def _answering(action: Callable[[object], object]) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        if not _is_local(request):
            return web.json_response({"error": "only from this machine"}, status=403)
        try:
            body = await request.json() if request.method == "POST" else None
            return web.json_response(action(body))
        except json.JSONDecodeError as error:
            problem = f"the body is no JSON: {error}"
        except ValidationError as error:
            problem = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        except (ConfigError, OrderRefusedError) as error:
            problem = str(error)
        return web.json_response({"error": problem}, status=400)

    return handle


def _is_local(request: web.Request) -> bool:
    """Return whether a request comes over loopback, whatever address the server is bound to."""
    try:
        return ipaddress.ip_address(request.remote or "").is_loopback
    except ValueError:
        return False


def _order(order: Order) -> Fields:
    return {
        "order_id": order.order_id,
        "client_id": order.client_id,
        "side": order.side,
        "price": None if order.price is None else number(order.price),
        "qty": number(order.qty),
        "filled": number(order.filled_qty),
        "status": str(order.status),
    }
