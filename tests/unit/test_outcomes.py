"""What a failed request means: ambiguous unless something definite is known."""

import pytest

from mm_hybrid.execution import wire
from mm_hybrid.execution.outcomes import NOT_PLACED, Failure, Verdict, classify


def failure(venue: str = "bybit", **facts: object) -> Failure:
    return Failure(**({"venue": venue, "error": "ExchangeError", "message": ""} | facts))


# Each of these was seen with the order live at the venue.
ORDER_WAS_LIVE = [
    failure(error="ExchangeNotAvailable", cause="ServerDisconnectedError"),
    failure(error="ExchangeNotAvailable", cause="ClientOSError"),
    failure(error="RequestTimeout", cause="TimeoutError"),
    failure(error="ExchangeNotAvailable", http_status=502),
    failure(error="ExchangeError", http_status=500),
    failure(error="ExchangeError", code="10016"),
    failure(error="RequestTimeout", code="10016"),
    failure(error="ExchangeError", code="10000"),
    failure(error="InvalidOrder", code="170146"),
    failure(error="ExchangeError", cause="ClientPayloadError"),
    failure(error="NoOrderId", http_status=200),
    failure("bitget", error="AuthenticationError", code="40010"),
    failure("bitget", error="ExchangeError", code="40725"),
    failure("bitget", error="ExchangeError", code="45001"),
]


@pytest.mark.parametrize(
    "seen", ORDER_WAS_LIVE, ids=lambda f: f"{f.venue}-{f.code or f.cause or f.http_status}"
)
def test_what_may_hide_a_live_order_is_ambiguous(seen):
    assert classify(seen) is Verdict.AMBIGUOUS
    assert classify(seen) not in NOT_PLACED


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        (failure(error="ExchangeNotAvailable", cause="ClientConnectorError"), Verdict.NOT_SENT),
        (failure(error="InvalidOrder", sent=False), Verdict.NOT_SENT),
        (failure(error="RateLimitExceeded", code="10006"), Verdict.THROTTLED),
        (failure(error="RateLimitExceeded", http_status=403), Verdict.THROTTLED),
        (failure(error="InvalidNonce", code="10002"), Verdict.CLOCK),
        (failure(error="InvalidOrder", code="110003"), Verdict.REJECTED),
        (failure(error="InsufficientFunds", code="110007"), Verdict.NO_FUNDS),
        (failure(error="AuthenticationError", code="10003"), Verdict.AUTH),
        (failure("bitget", error="InvalidOrder", code="40808"), Verdict.REJECTED),
        (failure("bitget", error="InsufficientFunds", code="40762"), Verdict.NO_FUNDS),
        (failure("bitget", error="InvalidNonce", code="40008"), Verdict.CLOCK),
        (failure("bitget", error="RateLimitExceeded", http_status=429), Verdict.THROTTLED),
        (failure("bitget", error="AuthenticationError", code="40037"), Verdict.AUTH),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.venue}-{value.code or value.cause}",
)
def test_definite_refusals_are_definite(seen, verdict):
    assert classify(seen) is verdict
    assert verdict in NOT_PLACED


def test_a_taken_client_id_is_evidence_that_an_earlier_send_landed():
    for seen in (failure(code="110072"), failure(code="10014"), failure("bitget", code="40786")):
        assert classify(seen) is Verdict.DUPLICATE
    assert Verdict.DUPLICATE not in NOT_PLACED


@pytest.mark.parametrize(
    "code", ["40768", "80011", "40819", "43020", "43025", "43001", "45057", "31007", "43033"]
)
def test_every_bitget_spelling_of_not_found_asks_for_a_lookup(code):
    assert classify(failure("bitget", code=code)) is Verdict.GONE


@pytest.mark.parametrize("code", ["110001", "110008", "110010", "170213"])
def test_a_lost_cancel_race_on_bybit_asks_for_a_lookup(code):
    assert classify(failure(error="InvalidOrder", code=code)) is Verdict.GONE


def test_the_same_number_means_different_things_at_different_venues():
    assert classify(failure("bitget", code="10006")) is Verdict.AMBIGUOUS


def test_codes_are_read_from_the_reply_an_exception_quotes():
    assert wire.error_code("bybit", 'bybit {"retCode":10016,"retMsg":"System error {odd}"}') == "10016"
    assert wire.error_code("bitget", 'bitget {"code":"40768","msg":"x","data":null}') == "40768"
    assert wire.error_code("bybit", "bybit POST https://127.0.0.1/v5/order/create") is None
    assert wire.error_code("bybit", "bybit <html>502 {not json") is None


def test_a_code_outside_the_venue_s_envelope_is_not_the_venue_s_word():
    assert wire.error_code("bybit", 'bybit {"code":10001,"message":"upstream"}') is None
    assert wire.error_code("bitget", 'bitget {"retCode":40768}') is None


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize(("venue", "code"), [("bybit", "10001"), ("bybit", "110001"), ("bitget", "45110")])
def test_a_server_error_is_ambiguous_whatever_code_it_carries(status, venue, code):
    assert classify(failure(venue, code=code)) is not Verdict.AMBIGUOUS
    assert classify(failure(venue, code=code, http_status=status)) is Verdict.AMBIGUOUS


@pytest.mark.parametrize(("venue", "code"), [("bybit", "10006"), ("bybit", "10018"), ("bitget", "429")])
def test_a_throttling_code_is_believed_under_a_server_error_too(venue, code):
    assert classify(failure(venue, code=code, http_status=503)) is Verdict.THROTTLED
