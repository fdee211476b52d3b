"""What the venues' own messages mean: orders, executions, error codes, addresses.

Quantities and prices are read from the venue's text, never from a client library's floats. Contract
quantities are base units on both venues' linear USDT perpetuals.

Source: Bybit v5 API documentation, Get Open & Closed Orders, Execution, Order stream; Bitget API
documentation v2, Get Order Detail, Get Order Fill Details, Order Channel, Fill Channel.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from mm_hybrid.errors import GatewayError
from mm_hybrid.execution.orders import VenueOrder, VenueStatus
from mm_hybrid.types import ExecType, Fill, Funding, Side

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


FeeWorth = Callable[[Decimal, str, Decimal], Decimal]
"""Returns what a fee (signed cash, its currency, price of the execution) is worth in quote currency."""

_BYBIT_EXEC: dict[str, ExecType] = {
    "Trade": "trade",
    "BlockTrade": "trade",
    "AdlTrade": "adl",
    "BustTrade": "liquidation",
    "Settle": "settlement",
    "Delivery": "settlement",
}
_BITGET_EXEC: dict[str, ExecType] = {"reduce": "adl", "burst": "liquidation", "delivery": "settlement"}


def is_funding(venue: str, raw: Raw) -> bool:
    """Return whether a row of Bybit's executions is a funding payment and no trade."""
    return venue == "bybit" and raw.get("execType") == "Funding"


def parse_fill(venue: str, raw: Raw, local_ts_ns: int, worth: FeeWorth) -> Fill:
    """Return an execution from a push or a query; ``client_id`` is empty where the venue does not tell it.

    Bybit's ``execFee`` is positive for a cost. Bitget's ``totalFee`` is cash already, negative for a cost. Bitget
    tells trades the venue made for the account by the first word of ``tradeSide`` (``reduce_``, ``burst_``).

    Raises:
        GatewayError: a field that must be there is missing or no number.
    """
    try:
        if venue == "bybit":
            fee, currency = -_decimal(raw.get("execFee")), raw.get("feeCurrency") or raw.get("feeCoin")
            price = _decimal(raw["execPrice"])
            return Fill(
                exec_id=str(raw["execId"]),
                client_id=str(raw.get("orderLinkId") or ""),
                order_id=str(raw["orderId"]),
                side=_side(raw["side"]),
                price=price,
                qty=_decimal(raw["execQty"]),
                fee=fee,
                fee_currency=str(currency or "USDT"),
                fee_quote=worth(fee, str(currency or "USDT"), price),
                is_maker=raw.get("isMaker") in {True, "true"},
                exchange_ts_ns=int(raw["execTime"]) * 1_000_000,
                local_ts_ns=local_ts_ns,
                exec_type=_BYBIT_EXEC.get(str(raw.get("execType") or "Trade"), "trade"),
            )
        price = _decimal(raw["price"])
        fee, currency, fee_quote = _bitget_fee(raw.get("feeDetail"), price, worth)
        first_word = str(raw.get("tradeSide") or "").partition("_")[0]
        return Fill(
            exec_id=str(raw["tradeId"]),
            client_id=str(raw.get("clientOid") or ""),
            order_id=str(raw["orderId"]),
            side=_side(raw["side"]),
            price=price,
            qty=_decimal(raw["baseVolume"]),
            fee=fee,
            fee_currency=currency,
            fee_quote=fee_quote,
            is_maker=str(raw.get("tradeScope", "")).lower() == "maker",
            exchange_ts_ns=int(raw["cTime"]) * 1_000_000,
            local_ts_ns=local_ts_ns,
            exec_type=_BITGET_EXEC.get(first_word, "trade"),
        )
    except (KeyError, ValueError, InvalidOperation, TypeError) as error:
        raise GatewayError(f"{venue}: cannot read an execution: {type(error).__name__} {error}") from error


def _bitget_fee(details: Any, price: Decimal, worth: FeeWorth) -> tuple[Decimal, str, Decimal]:
    """Return amount, coin and worth of a fee; of one paid in several coins the largest part names amount and coin."""
    parts = [
        (_decimal(one.get("totalFee")), str(one.get("feeCoin") or "USDT"))
        for one in (details if isinstance(details, list) else [])
    ]
    if not parts:
        return Decimal(0), "USDT", Decimal(0)
    values = [worth(amount, coin, price) for amount, coin in parts]
    # A coin whose price is not known comes first: somebody has to hear of it.
    first = max(range(len(parts)), key=lambda i: (bool(parts[i][0]) and not values[i], abs(values[i])))
    return *parts[first], sum(values, Decimal(0))


def parse_funding(venue: str, raw: Raw) -> Funding:
    """Return a funding payment.

    On Bybit it is an execution of type ``Funding``, whose ``execFee`` is positive when paid; on Bitget an account
    bill, whose ``amount`` is cash.

    Raises:
        GatewayError: a field that must be there is missing or no number.
    """
    try:
        if venue == "bybit":
            return Funding(
                exec_id=str(raw["execId"]),
                amount_quote=-_decimal(raw.get("execFee")),
                exchange_ts_ns=int(raw["execTime"]) * 1_000_000,
            )
        return Funding(
            exec_id=str(raw["billId"]),
            amount_quote=_decimal(raw["amount"]),
            exchange_ts_ns=int(raw["cTime"]) * 1_000_000,
        )
    except (KeyError, ValueError, InvalidOperation, TypeError) as error:
        raise GatewayError(
            f"{venue}: cannot read a funding payment: {type(error).__name__} {error}"
        ) from error


def bitget_reads_only(reply: Raw) -> bool | None:
    """Return whether a Bitget key may read contracts but not trade them, ``None`` if its permissions are not told.

    ``coor`` and ``coow`` are reading and writing of contract orders; older keys have ``readonly`` and ``trade``.
    Source: Bitget v2 API documentation, Get Account Information, authorities.
    """
    authorities = (reply.get("data") or {}).get("authorities")
    if not isinstance(authorities, list) or not {"coor", "coow", "readonly", "trade"} & set(authorities):
        return None
    return not {"coow", "trade"} & set(authorities)


def error_code(venue: str, message: str) -> str | None:
    """Return the venue's code from an exception's text, which quotes the reply; ``None`` if there is none.

    A proxy's error page may be JSON with a code of its own: only the venue's envelope counts.
    """
    start = message.find("{")
    if start < 0:
        return None
    try:
        body = json.loads(message[start:])
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    code = body.get("retCode" if venue == "bybit" else "code")
    return None if code is None else str(code)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What a reply says of its endpoint's budget: rate (``None``: not told), what is left, seconds to the reset."""

    per_s: float | None
    remaining: int
    reset_in_s: float


def rate_limit(venue: str, headers: Raw, now_ms: int) -> RateLimit | None:
    """Return an endpoint's budget from a reply's headers, or from the ``header`` of a trade-stream reply."""
    lower = {str(key).lower(): str(value) for key, value in headers.items()}
    try:
        if venue == "bybit":
            reset_ms = max(0, int(lower["x-bapi-limit-reset-timestamp"]) - now_ms)
            limit = lower.get("x-bapi-limit")
            return RateLimit(
                None if limit is None else float(limit), int(lower["x-bapi-limit-status"]), reset_ms / 1000
            )
        return RateLimit(None, int(lower["x-mbx-used-remain-limit"]), 1.0)
    except (KeyError, ValueError):
        return None


def is_answer(venue: str, reply: str) -> bool:
    """Return whether a reply's body is the venue's word that a request succeeded, whole and of the documented form."""
    body = _object(reply)
    if venue == "bybit":
        return str(body.get("retCode")) == "0" and isinstance(body.get("result"), dict)
    return body.get("code") == "00000" and "data" in body


@dataclass(frozen=True, slots=True)
class BatchLeg:
    """What a batch's reply says of one order: its exchange id, or a code with a message."""

    order_id: str
    code: str | None
    message: str


def batch_legs(venue: str, reply: str) -> dict[str, BatchLeg]:
    """Return what a reply to a batch of creates says, by client id; orders it does not mention are left out.

    Bybit answers with two lists of equal length, in the order of the request; Bitget with those that went through
    and those that failed.

    Source: Bybit v5 API documentation, Batch Place Order; Bitget API documentation, Batch Order.
    """
    body = _object(reply)
    legs: dict[str, BatchLeg] = {}
    if venue == "bybit":
        rows = _rows(body.get("result"), "list")
        for row, note in zip(rows, _rows(body.get("retExtInfo"), "list"), strict=False):
            code = str(note.get("code", ""))
            order_id = str(row.get("orderId") or "")
            failed = code != "0" or not order_id
            legs[str(row.get("orderLinkId") or "")] = BatchLeg(
                "" if failed else order_id, code if failed else None, f"{code} {note.get('msg', '')}"
            )
        return legs
    for row in _rows(body.get("data"), "successList"):
        legs[str(row.get("clientOid") or "")] = BatchLeg(str(row.get("orderId") or ""), None, "accepted")
    for row in _rows(body.get("data"), "failureList"):
        code = str(row.get("errorCode") or "")
        legs[str(row.get("clientOid") or "")] = BatchLeg(
            "", code or None, f"{code} {row.get('errorMsg', '')}"
        )
    return legs


def position(venue: str, infos: Sequence[Raw]) -> Decimal:
    """Return the signed position in contracts from the venue's rows of one symbol.

    Raises:
        GatewayError: the account is in hedge mode, or a field is no number.
    """
    total = Decimal(0)
    for info in infos:
        qty = _decimal(info.get("size") if venue == "bybit" else info.get("total"))
        if qty and is_hedged(info):
            raise GatewayError(f"{venue}: the account is in hedge mode; switch it to one-way")
        short = str(info.get("side") or info.get("holdSide")).lower() in {"sell", "short"}
        total += -qty if short else qty
    return total


def is_hedged(info: Raw) -> bool:
    """Return whether a position's row, or an account's, is of an account in hedge mode."""
    return info.get("posMode") == "hedge_mode" or str(info.get("positionIdx") or "0") != "0"


def bybit_account(positions: Sequence[Raw], wallet: Any, quote: str) -> dict[str, Any]:
    """Return available margin, leverage and hedge mode from a symbol's positions and the unified wallet.

    With isolated margin the wallet tells no total; then the quote coin's own balance counts.

    Source: Bybit v5 API documentation, Get Wallet Balance, Get Position Info.
    """
    account: Raw = next(iter(_rows(wallet.get("result") if isinstance(wallet, dict) else None, "list")), {})
    available = account.get("totalAvailableBalance")
    if available in {None, ""}:
        coin = next((row for row in _rows(account, "coin") if row.get("coin") == quote), {})
        available = coin.get("walletBalance")
    leverage = next((_decimal(info.get("leverage")) for info in positions), Decimal(0))
    return {
        "available_quote": None if available in {None, ""} else _decimal(available),
        "leverage": leverage or None,
        "hedge_mode": any(is_hedged(info) for info in positions),
    }


def bitget_account(reply: Any, coin: str) -> dict[str, Any]:
    """Return available margin, leverage and hedge mode from a symbol's account, or from the list of accounts.

    Source: Bitget API documentation, Get Single Account, Get Account List.
    """
    data = reply.get("data") if isinstance(reply, dict) else None
    if isinstance(data, list):
        data = next((row for row in _rows(reply, "data") if row.get("marginCoin") == coin), None)
    account: Raw = data if isinstance(data, dict) else {}
    crossed = str(account.get("marginMode") or "crossed") == "crossed"
    available = account.get("crossedMaxAvailable" if crossed else "isolatedMaxAvailable") or account.get(
        "available"
    )
    return {
        "available_quote": None if available in {None, ""} else _decimal(available),
        "leverage": _decimal(account.get("crossedMarginLeverage")) or None,
        "hedge_mode": is_hedged(account),
    }


def is_trade_stream(url: str) -> bool:
    """Return whether a WebSocket address is Bybit's for orders by stream."""
    return urlsplit(url).path.endswith("/v5/trade")


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


def _object(text: str) -> Raw:
    try:
        body = json.loads(text)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _rows(node: Any, key: str) -> list[Raw]:
    rows = node.get(key) if isinstance(node, dict) else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _decimal(text: Any) -> Decimal:
    return Decimal(0) if text in {None, ""} else Decimal(str(text))


def _side(text: Any) -> Side:
    lower = str(text).lower()
    if lower == "buy":
        return "buy"
    if lower == "sell":
        return "sell"
    raise ValueError(f"side {text!r}")
