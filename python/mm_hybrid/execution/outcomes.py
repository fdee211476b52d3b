"""What a failed request really means: an exception's class says too little about whether an order exists.

With an order live at the venue a client library may raise almost anything, or nothing at all. The rule here
is to call every failure ambiguous unless it is on a short list of definite outcomes, by exchange code first,
then by the cause below the exception.

Source: Bybit v5 API documentation, Error Codes; Bitget API documentation, RestAPI Error Codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mm_hybrid.errors import GatewayError
from mm_hybrid.execution import wire


class Verdict(StrEnum):
    """What is known about a request that did not simply succeed."""

    AMBIGUOUS = "ambiguous"
    """It may or may not have been carried out: look it up."""
    REJECTED = "rejected"
    """Refused on its merits; sending it again as it is would be refused again."""
    NO_FUNDS = "no_funds"
    """Refused for want of margin."""
    THROTTLED = "throttled"
    """Refused before it was looked at; a later one may pass."""
    CLOCK = "clock"
    """Refused because our clock is off; resynchronise first."""
    NOT_SENT = "not_sent"
    """It never left this machine, or never reached a server."""
    DUPLICATE = "duplicate"
    """The client id is taken: an earlier send landed."""
    GONE = "gone"
    """The order is filled, cancelled or was never there: look it up."""
    AUTH = "auth"
    """The key is wrong, expired or lacks a permission."""
    MAINTENANCE = "maintenance"
    """The venue is down for maintenance; the request itself is ambiguous."""


NOT_PLACED = frozenset(
    {Verdict.REJECTED, Verdict.NO_FUNDS, Verdict.THROTTLED, Verdict.CLOCK, Verdict.NOT_SENT, Verdict.AUTH}
)
"""Verdicts after which an order that was to be created certainly does not exist."""

VENUE_TROUBLE = frozenset({Verdict.AMBIGUOUS, Verdict.MAINTENANCE, Verdict.NOT_SENT})
"""Verdicts that count against the venue's health; refusals on the merits are answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failed request as the gateway saw it.

    Attributes:
        venue: ``bybit`` or ``bitget``.
        error: name of the exception's class; ``NoOrderId`` for a reply without one.
        code: the venue's own code, if the reply held one.
        http_status: status of the reply, if there was one.
        cause: name of the class of the exception's cause, if any.
        sent: whether a request left this process.
        message: one line for people.
    """

    venue: str
    error: str
    message: str
    code: str | None = None
    http_status: int | None = None
    cause: str | None = None
    sent: bool = True


class VenueError(GatewayError):
    """A request failed; :attr:`failure` has the facts and :attr:`verdict` what they mean."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.verdict = classify(failure)


def _table(**codes: str) -> dict[str, Verdict]:
    return {code: Verdict(name) for name, listed in codes.items() for code in listed.split()}


_BYBIT = _table(
    rejected="10001 110003 110017 110020 110094 170140 170218",
    no_funds="110004 110006 110007 110012 110044 110045 110051 110052 110053 170033 170131",
    throttled="10006 10018",
    clock="10002",
    auth="10003 10004 10005 10007 10008 10009 10010 33004",
    duplicate="110072 170141 10014",
    gone="110001 110008 110010 170139 170142 170143 170190 170213",
    maintenance="110063 110066",
)

_BITGET = _table(
    rejected="40808 41103 45110 40305 40774 40017 40019 40020 45115",
    no_funds="40762 43012",
    throttled="429 1001 50009",
    clock="40004 40005 40008",
    auth="40001 40002 40003 40006 40009 40011 40012 40014 40018 40036 40037 40038",
    duplicate="40786",
    gone="40768 40109 43001 22001 80011 40819 43020 43025 45057 31007 43033",
    maintenance="40200 40308 41114 43115 30038",
)
# Bitget 40010 (request timeout) stays ambiguous although client libraries call it an authentication error.

_BY_VENUE = {"bybit": _BYBIT, "bitget": _BITGET}

_NEVER_CONNECTED = frozenset(
    {
        "ClientConnectorError",
        "ClientConnectorDNSError",
        "ConnectionRefusedError",
        "gaierror",
        "ClientConnectorSSLError",
    }
)


_DEFINITE_THOUGH_BROKEN = frozenset({Verdict.THROTTLED, Verdict.MAINTENANCE})
"""What a server error's code is believed to say; of others it may be the last word of a server that went on."""


def classify(failure: Failure) -> Verdict:
    """Return what a failure means; ambiguous unless something definite is known."""
    if not failure.sent:
        return Verdict.NOT_SENT
    if failure.code is not None:
        verdict = _BY_VENUE.get(failure.venue, {}).get(failure.code, Verdict.AMBIGUOUS)
        broken = failure.http_status is not None and failure.http_status >= 500
        return Verdict.AMBIGUOUS if broken and verdict not in _DEFINITE_THOUGH_BROKEN else verdict
    if failure.cause in _NEVER_CONNECTED:
        return Verdict.NOT_SENT
    # Bybit answers an IP over its limit, and both answer a key over its limit, with a bare status.
    if failure.http_status == 429 or (failure.http_status == 403 and failure.venue == "bybit"):
        return Verdict.THROTTLED
    if failure.http_status == 401:
        return Verdict.AUTH
    return Verdict.AMBIGUOUS


def failure_of(venue: str, error: Exception, *, sent: bool = True, http_status: int | None = None) -> Failure:
    """Return the facts of a client library's exception; its text quotes the venue's reply."""
    cause, text = error.__cause__, str(error)
    return Failure(
        venue=venue,
        error=type(error).__name__,
        code=wire.error_code(venue, text),
        http_status=http_status,
        cause=None if cause is None else type(cause).__name__,
        sent=sent,
        message=f"{type(error).__name__}: {text}".replace("\n", " ")[:300],
    )


_AUTH_REASON = {
    "bybit": {
        "10003": "the venue does not know this API key",
        "10004": "the signature is wrong: check the API secret",
        "10005": "the API key lacks the permission to trade contracts",
        "10007": "the venue could not authenticate the API key",
        "10008": "the account is suspended",
        "10009": "this address is banned",
        "10010": "the API key does not allow this address: add this machine's IP address to it",
        "33004": "the API key has expired",
    },
    "bitget": {
        "40006": "the venue does not know this API key",
        "40009": "the signature is wrong: check the API secret",
        "40012": "the passphrase is wrong, or the key is of another account",
        "40014": "the API key lacks the permission to trade contracts",
        "40018": "the API key does not allow this address: add this machine's IP address to it",
        "40037": "the venue does not know this API key",
        "40038": "the API key does not allow this address: add this machine's IP address to it",
    },
}
"""Source: Bybit v5 API documentation, Error Codes; Bitget API documentation, RestAPI Error Codes."""


def describe(failure: Failure, url: str | None) -> str:
    """Return one line a user can act on; ``url`` is the address asked, ``None`` the venue's own."""
    verdict = VenueError(failure).verdict
    if verdict is Verdict.AUTH:
        reason = _AUTH_REASON.get(failure.venue, {}).get(
            failure.code or "", "wrong, expired or not permitted"
        )
        return f"the API key was refused: {reason} ({failure.message})"
    if verdict is Verdict.NOT_SENT:
        return f"cannot reach {url or 'the exchange'} ({failure.message})"
    return failure.message
