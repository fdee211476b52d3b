"""Bybit v5 envelopes, codes and signatures.

Source: Bybit v5 API documentation, pages Integration Guidance (authentication), Error Codes,
WebSocket Connect.
"""

from __future__ import annotations

import hmac

from mm_hybrid.servers.exchange.config import ExchangeServerConfig
from mm_hybrid.servers.exchange.limits import RateLimit
from mm_hybrid.servers.exchange.orders import OrderRefusedError, RefusalReason
from mm_hybrid.servers.exchange.setup import Setup
from mm_hybrid.servers.exchange.wire import Fields, sign

_AHEAD_MS = 1000
_DEFAULT_WINDOW_MS = 5000

_CODES: dict[RefusalReason, tuple[int, str]] = {
    RefusalReason.BAD_PARAMETER: (10001, "params error"),
    RefusalReason.PRICE_OFF_GRID: (10001, "params error: price invalid"),
    RefusalReason.QTY_OFF_GRID: (10001, "Qty invalid"),
    RefusalReason.BELOW_MIN_QTY: (10001, "The number of contracts exceeds minimum limit allowed"),
    RefusalReason.ABOVE_MAX_QTY: (10001, "The number of contracts exceeds maximum limit allowed"),
    RefusalReason.PRICE_TOO_HIGH: (110003, "Order price exceeds the allowable range"),
    RefusalReason.BELOW_MIN_NOTIONAL: (110094, "Order does not meet minimum order value"),
    RefusalReason.BAD_CLIENT_ID: (10001, "params error: OrderLinkedID invalid"),
    RefusalReason.DUPLICATE_CLIENT_ID: (110072, "OrderLinkedID is duplicate"),
    RefusalReason.INSUFFICIENT_FUNDS: (110007, "ab not enough for new order"),
    RefusalReason.REDUCE_ONLY: (110017, "current position is zero, cannot fix reduce-only order qty"),
    RefusalReason.TOO_MANY_ORDERS: (110020, "You can only have 500 active orders at the same time"),
    RefusalReason.ORDER_NOT_FOUND: (110001, "order not exists or too late to cancel"),
    RefusalReason.NOT_MODIFIED: (
        10001,
        "The order remains unchanged as the parameters entered match the existing ones.",
    ),
    RefusalReason.NO_MARKET: (110066, "Trading is currently not allowed"),
    RefusalReason.NOT_TRADABLE: (110074, "This contract is not live"),
    RefusalReason.POSITION_MODE: (10001, "position idx not match position mode"),
    RefusalReason.MODE_UNCHANGED: (110025, "Position mode is not modified"),
    RefusalReason.MODE_HELD_BY_POSITION: (
        110024,
        "You have an existing position, so position mode cannot be switched",
    ),
    RefusalReason.MODE_HELD_BY_ORDERS: (110028, "Open orders exist, so you cannot change position mode"),
    RefusalReason.QTY_BELOW_FILLED: (
        110064,
        "The number of contracts modified cannot be less than or equal to the filled quantity",
    ),
}


_SPOT_CODES: dict[RefusalReason, tuple[int, str]] = {
    RefusalReason.PRICE_OFF_GRID: (170134, "Order price has too many decimals."),
    RefusalReason.QTY_OFF_GRID: (170137, "Order volume decimal too long."),
    RefusalReason.BELOW_MIN_QTY: (170136, "Order quantity lower than the minimum."),
    RefusalReason.BELOW_MIN_NOTIONAL: (170140, "Order value exceeded lower limit."),
    RefusalReason.ABOVE_MAX_QTY: (170135, "Order quantity exceeded upper limit."),
    RefusalReason.PRICE_TOO_HIGH: (170132, "Order price too high."),
    RefusalReason.DUPLICATE_CLIENT_ID: (170141, "Duplicate clientOrderId."),
    RefusalReason.INSUFFICIENT_FUNDS: (170131, "Insufficient balance."),
    RefusalReason.ORDER_NOT_FOUND: (170213, "Order does not exist."),
    RefusalReason.NOT_TRADABLE: (170151, "The trading pair is not open yet."),
    RefusalReason.TOO_MANY_ORDERS: (170210, "New order rejected."),
}


class BybitError(Exception):
    """A refusal in the venue's terms."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message

    @classmethod
    def of(cls, refused: OrderRefusedError, category: str = "linear") -> BybitError:
        """Translate an account's refusal; spot has codes of its own."""
        codes = _CODES | _SPOT_CODES if category == "spot" else _CODES
        code, message = codes[refused.reason]
        return cls(code, f"{message}. {refused.detail}")


def envelope(code: int, message: str, result: Fields, now_ms: int, extra: Fields | None = None) -> Fields:
    """Return the frame every REST reply comes in."""
    return {"retCode": code, "retMsg": message, "result": result, "retExtInfo": extra or {}, "time": now_ms}


def check_window(timestamp: str, window: str, now_ms: int) -> None:
    """Refuse a request stamped outside the receive window: at most 1 s ahead, at most ``window`` ms behind.

    Raises:
        BybitError: 10002.
    """
    window_ms = int(window) if window.isdigit() else _DEFAULT_WINDOW_MS
    stamp_ms = int(timestamp) if timestamp.isdigit() else 0
    if not now_ms - window_ms <= stamp_ms < now_ms + _AHEAD_MS:
        raise BybitError(
            10002,
            "invalid request, please check your server timestamp or recv_window param. "
            f"req_timestamp[{timestamp}],server_timestamp[{now_ms}],recv_window[{window_ms}]",
        )


def check_signature(config: ExchangeServerConfig, key: str, signature: str, payload: str) -> None:
    """Check a key and the hexadecimal signature over ``payload``.

    Raises:
        BybitError: 10003 for a key the server does not know, 10004 for a signature that does not match.
    """
    if key != config.api_key:
        raise BybitError(10003, "API key is invalid.")
    expected = sign(config.api_secret.get_secret_value(), payload).hex()
    if not hmac.compare_digest(expected, signature):
        raise BybitError(10004, f"error sign! origin_string[{payload}]")


def check_address(setup: Setup, remote: str) -> None:
    """Refuse a key used from an address it is not bound to.

    Raises:
        BybitError: 10010.
    """
    if setup.allowed_ips is not None and remote not in setup.allowed_ips:
        raise BybitError(10010, f"Unmatched IP, please check your API key's bound IP addresses. {remote}")


def legs_of(params: Fields) -> int:
    """Return how much of an allowance a request uses up: a batch one for each leg."""
    legs = params.get("request")
    return max(1, len(legs)) if isinstance(legs, list) else 1


def limit_headers(limit: RateLimit) -> dict[str, str]:
    """Return the headers that tell what is left of an allowance."""
    return {
        "X-Bapi-Limit": str(limit.per_second),
        "X-Bapi-Limit-Status": str(limit.remaining),
        "X-Bapi-Limit-Reset-Timestamp": str(limit.reset_ms),
    }


def spent_headers(per_second: int, now_ms: int) -> dict[str, str]:
    """Return the headers of an allowance used up until the next second."""
    return {
        "X-Bapi-Limit": str(per_second),
        "X-Bapi-Limit-Status": "0",
        "X-Bapi-Limit-Reset-Timestamp": str((now_ms // 1000 + 1) * 1000),
    }
