"""Bitget v2 envelopes, codes and signatures.

Source: Bitget v2 API documentation, pages Signature, Request Interaction, Error Code, WebSocket Connect.
"""

from __future__ import annotations

import base64
import hmac

from mm_hybrid.servers.exchange.config import ExchangeServerConfig
from mm_hybrid.servers.exchange.orders import OrderRefusedError, RefusalReason
from mm_hybrid.servers.exchange.setup import Setup
from mm_hybrid.servers.exchange.wire import Fields, parse_object, sign, text, window_ns

_WINDOW_MS = 30_000

_MODE_HELD = "Position or order exists, the position mode cannot be switched"
_CODES: dict[RefusalReason, tuple[str, str]] = {
    RefusalReason.BAD_PARAMETER: ("40017", "Parameter verification failed"),
    RefusalReason.PRICE_OFF_GRID: ("40808", "Parameter verification exception price checkScale error"),
    RefusalReason.QTY_OFF_GRID: ("40808", "Parameter verification exception size checkBDScale error"),
    RefusalReason.BELOW_MIN_QTY: ("45111", "less than the minimum order quantity"),
    RefusalReason.ABOVE_MAX_QTY: ("40017", "Parameter verification failed: size"),
    RefusalReason.PRICE_TOO_HIGH: ("40017", "Parameter verification failed: price"),
    RefusalReason.BELOW_MIN_NOTIONAL: ("45110", "less than the minimum amount"),
    RefusalReason.BAD_CLIENT_ID: ("40305", "client_oid length is not greater than 50, and cannot be Martian"),
    RefusalReason.DUPLICATE_CLIENT_ID: ("40786", "Duplicate clientOid"),
    RefusalReason.INSUFFICIENT_FUNDS: ("40762", "The order amount exceeds the balance"),
    RefusalReason.REDUCE_ONLY: ("22002", "No position to close"),
    RefusalReason.TOO_MANY_ORDERS: ("40017", "Parameter verification failed: too many open orders"),
    RefusalReason.ORDER_NOT_FOUND: ("40768", "Order does not exist"),
    RefusalReason.NOT_MODIFIED: ("40923", "Order size and price have not changed"),
    RefusalReason.QTY_BELOW_FILLED: ("40017", "Parameter verification failed"),
    RefusalReason.NOT_TRADABLE: ("40034", "The symbol is not open for trading"),
    RefusalReason.POSITION_MODE: (
        "40774",
        "The order type for unilateral position must also be the unilateral position type.",
    ),
    RefusalReason.MODE_HELD_BY_POSITION: ("40920", _MODE_HELD),
    RefusalReason.MODE_HELD_BY_ORDERS: ("40920", _MODE_HELD),
    RefusalReason.NO_MARKET: ("40308", "The contract is being temporarily maintained"),
}


_SPOT_CODES: dict[RefusalReason, tuple[str, str]] = {
    RefusalReason.INSUFFICIENT_FUNDS: ("43012", "Insufficient balance"),
    RefusalReason.ORDER_NOT_FOUND: ("43001", "The order does not exist"),
}
_WEEK_NS = 7 * 86_400 * 1_000_000_000


class BitgetError(Exception):
    """A refusal in the venue's terms."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message

    @classmethod
    def of(cls, refused: OrderRefusedError, category: str = "linear") -> BitgetError:
        """Translate an account's refusal; spot has codes of its own."""
        codes = _CODES | _SPOT_CODES if category == "spot" else _CODES
        code, message = codes[refused.reason]
        return cls(code, f"{message}: {refused.detail}")


def parse_request(frame: str) -> tuple[str, list[Fields]]:
    """Return a stream request's ``op`` and the objects among its ``args``; what is not there is empty."""
    message = parse_object(frame) or {}
    args = message.get("args")
    wanted = [arg for arg in args if isinstance(arg, dict)] if isinstance(args, list) else []
    return text(message, "op"), wanted


def envelope(code: str, message: str, data: object, now_ms: int) -> dict[str, object]:
    """Return the frame every REST reply comes in."""
    return {"code": code, "msg": message, "requestTime": now_ms, "data": data}


def check_window(timestamp: str, now_ms: int) -> None:
    """Refuse a request stamped more than 30 s off.

    Raises:
        BitgetError: 40005 for no time at all, 40008 for one outside the window.
    """
    if not timestamp.isdigit():
        raise BitgetError("40005", "Invalid ACCESS_TIMESTAMP")
    if abs(int(timestamp) - now_ms) > _WINDOW_MS:
        raise BitgetError("40008", "Request timestamp expired")


def check_signature(
    config: ExchangeServerConfig, key: str, passphrase: str, signature: str, payload: str
) -> None:
    """Check key, passphrase and the base64 signature over ``payload``.

    Raises:
        BitgetError: 40006 for a key the server does not know, 40012 for the wrong passphrase, 40009 for a
            signature that does not match.
    """
    if key != config.api_key:
        raise BitgetError("40006", "Invalid ACCESS_KEY")
    if passphrase != config.api_password.get_secret_value():
        raise BitgetError("40012", "apikey/password is incorrect")
    expected = base64.b64encode(sign(config.api_secret.get_secret_value(), payload)).decode()
    if not hmac.compare_digest(expected, signature):
        raise BitgetError("40009", "sign signature error")


def check_address(setup: Setup, remote: str) -> None:
    """Refuse a key used from an address it is not bound to.

    Raises:
        BitgetError: 40018.
    """
    if setup.allowed_ips is not None and remote not in setup.allowed_ips:
        raise BitgetError("40018", "Invalid IP")


def week(params: Fields) -> tuple[int, int]:
    """Return the time window asked for, which must not be longer than a week.

    With one end given it is the week from or until there; with neither, whatever is recent.

    Raises:
        BitgetError: the window is longer.
    """
    begin, end = window_ns(params)
    has_begin, has_end = text(params, "startTime").isdigit(), text(params, "endTime").isdigit()
    if has_begin and has_end and end - begin > _WEEK_NS + 1_000_000:
        raise BitgetError("00001", "startTime and endTime interval cannot be greater than 7 days")
    if has_begin and not has_end:
        end = begin + _WEEK_NS
    elif has_end and not has_begin:
        begin = end - _WEEK_NS
    return begin, end
