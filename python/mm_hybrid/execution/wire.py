"""What the venues' own messages mean: orders, executions, error codes, addresses.

Quantities and prices are read from the venue's text, never from a client library's floats. Contract
quantities are base units on both venues' linear USDT perpetuals.

Source: Bybit v5 API documentation, Get Open & Closed Orders, Execution, Order stream; Bitget API
documentation v2, Get Order Detail, Get Order Fill Details, Order Channel, Fill Channel.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from mm_hybrid.errors import GatewayError
from mm_hybrid.execution.orders import VenueOrder, VenueStatus
from mm_hybrid.types import Fill, Side

Raw = Mapping[str, Any]

_BYBIT_STATUS: dict[str, VenueStatus] = {
    "New": "open",
    "PartiallyFilled": "open",
    "Untriggered": "open",
    "Triggered": "open",
    "Filled": "filled",
    "Cancelled": "canceled",
    "PartiallyFilledCanceled": "canceled",
    "Deactivated": "canceled",
    "Rejected": "rejected",
}
_BITGET_STATUS: dict[str, VenueStatus] = {
    "init": "open",
    "new": "open",
    "live": "open",
    "partially_filled": "open",
    "filled": "filled",
    "canceled": "canceled",
    "cancelled": "canceled",
}


def parse_order(venue: str, raw: Raw) -> VenueOrder:
    """Return an order from a push or a query.

    On Bitget pushes ``baseVolume`` is the latest fill alone and ``accBaseVolume`` the sum; queries know only
    ``baseVolume``, there the sum.

    Raises:
        GatewayError: a field that must be there is missing or no number.
    """
    try:
        if venue == "bybit":
            reason = str(raw.get("rejectReason") or "")
            return VenueOrder(
                client_id=str(raw.get("orderLinkId") or ""),
                order_id=str(raw["orderId"]),
                side=_side(raw["side"]),
                price=_decimal(raw.get("price")),
                qty=_decimal(raw["qty"]),
                filled=_decimal(raw.get("cumExecQty")),
                status=_BYBIT_STATUS.get(str(raw["orderStatus"]), "open"),
                reason="" if reason == "EC_NoError" else reason,
                update_ms=int(raw.get("updatedTime") or 0),
            )
        filled = raw.get("accBaseVolume")
        return VenueOrder(
            client_id=str(raw.get("clientOid") or ""),
            order_id=str(raw["orderId"]),
            side=_side(raw["side"]),
            price=_decimal(raw.get("price")),
            qty=_decimal(raw["size"]),
            filled=_decimal(raw.get("baseVolume") if filled in {None, ""} else filled),
            status=_BITGET_STATUS.get(str(raw.get("status") or raw.get("state")), "open"),
            reason=str(raw.get("cancelReason") or ""),
            update_ms=int(raw.get("uTime") or 0),
        )
    except (KeyError, ValueError, InvalidOperation, TypeError) as error:
        raise GatewayError(f"{venue}: cannot read an order: {type(error).__name__} {error}") from error


def parse_fill(venue: str, raw: Raw, local_ts_ns: int) -> Fill:
    """Return an execution from a push or a query; ``client_id`` is empty where the venue does not tell it.

    Bybit's ``execFee`` is positive for a cost. Bitget's ``totalFee`` is cash already, negative for a cost.

    Raises:
        GatewayError: a field that must be there is missing or no number.
    """
    try:
        if venue == "bybit":
            return Fill(
                exec_id=str(raw["execId"]),
                client_id=str(raw.get("orderLinkId") or ""),
                order_id=str(raw["orderId"]),
                side=_side(raw["side"]),
                price=_decimal(raw["execPrice"]),
                qty=_decimal(raw["execQty"]),
                fee_quote=-_decimal(raw.get("execFee")),
                fee_currency=str(raw.get("feeCoin") or raw.get("feeCurrency") or "USDT"),
                is_maker=raw.get("isMaker") in {True, "true"},
                exchange_ts_ns=int(raw["execTime"]) * 1_000_000,
                local_ts_ns=local_ts_ns,
            )
        details = raw.get("feeDetail") or []
        detail = details[0] if isinstance(details, list) and details else {}
        return Fill(
            exec_id=str(raw["tradeId"]),
            client_id=str(raw.get("clientOid") or ""),
            order_id=str(raw["orderId"]),
            side=_side(raw["side"]),
            price=_decimal(raw["price"]),
            qty=_decimal(raw["baseVolume"]),
            fee_quote=_decimal(detail.get("totalFee")),
            fee_currency=str(detail.get("feeCoin") or "USDT"),
            is_maker=str(raw.get("tradeScope", "")).lower() == "maker",
            exchange_ts_ns=int(raw["cTime"]) * 1_000_000,
            local_ts_ns=local_ts_ns,
        )
    except (KeyError, ValueError, InvalidOperation, TypeError) as error:
        raise GatewayError(f"{venue}: cannot read an execution: {type(error).__name__} {error}") from error


def error_code(message: str) -> str | None:
    """Return the venue's code from an exception's text, which quotes the reply; ``None`` if there is none."""
    start = message.find("{")
    if start < 0:
        return None
    try:
        body = json.loads(message[start:])
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    code = next((body[key] for key in ("retCode", "ret_code", "code") if key in body), None)
    return None if code is None else str(code)


def rate_limit(venue: str, headers: Raw, now_ms: int) -> tuple[int, float] | None:
    """Return what is left of an endpoint's budget and seconds until it is refilled, from the headers."""
    lower = {str(key).lower(): str(value) for key, value in headers.items()}
    try:
        if venue == "bybit":
            remaining = int(lower["x-bapi-limit-status"])
            return remaining, max(0, int(lower["x-bapi-limit-reset-timestamp"]) - now_ms) / 1000
        return int(lower["x-mbx-used-remain-limit"]), 1.0
    except (KeyError, ValueError):
        return None


def rewrite_urls(node: Any, override: str) -> Any:
    """Return a tree of URLs with scheme and host replaced by those of ``override`` and every path kept.

    WebSocket addresses get ``ws`` for ``http`` and ``wss`` for ``https``.
    """
    target = urlsplit(override)
    if isinstance(node, dict):
        return {key: rewrite_urls(value, override) for key, value in node.items()}
    if not isinstance(node, str):
        return node
    parts = urlsplit(node)
    websocket = parts.scheme in {"ws", "wss"}
    secure = target.scheme in {"https", "wss"}
    scheme = ("wss" if secure else "ws") if websocket else ("https" if secure else "http")
    return urlunsplit((scheme, target.netloc, parts.path, parts.query, ""))


def require_loopback(node: Any) -> None:
    """Make sure that no URL of a tree leads off this machine.

    Raises:
        GatewayError: one does; names it.
    """
    if isinstance(node, dict):
        for value in node.values():
            require_loopback(value)
    elif isinstance(node, str) and not is_loopback(node):
        raise GatewayError(
            f"url override: {node} is not on this machine; only loopback addresses are allowed"
        )


def is_loopback(url: str) -> bool:
    """Return whether a URL's host is this machine: localhost or a literal loopback address."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _decimal(text: Any) -> Decimal:
    return Decimal(0) if text in {None, ""} else Decimal(str(text))


def _side(text: Any) -> Side:
    lower = str(text).lower()
    if lower == "buy":
        return "buy"
    if lower == "sell":
        return "sell"
    raise ValueError(f"side {text!r}")
