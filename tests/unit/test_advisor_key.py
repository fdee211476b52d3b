"""A key that comes back is taken out in every form in which it could still be read."""

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_hybrid.optimizer.redaction import HIDDEN, Redactor

keys = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40)


@given(keys, st.binary(max_size=40), st.binary(max_size=40))
def test_no_form_of_a_key_survives(key: str, before: bytes, after: bytes) -> None:
    raw, clean = key.encode(), Redactor(key).clean
    forms = {
        "plain": raw,
        "percent": b"".join(b"%%%02X" % byte for byte in raw),
        "json": b"".join(b"\\u%04x" % byte for byte in raw),
        "json in json": b"".join(b"\\\\u%04X" % byte for byte in raw),
        "behind backslashes": b"".join(b"\\" + bytes([byte]) for byte in raw),
        "hexadecimal": raw.hex().encode(),
    }
    for name, form in forms.items():
        assert form not in clean(before + form + after), name
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for alignment in (b"", b"1", b"12"):
            assert HIDDEN in clean(encode(alignment + raw + after))


def test_what_holds_no_key_and_what_is_too_short_to_be_one_stay_as_they_are() -> None:
    assert Redactor("secret-key").clean(b"secret key \\u0073 %73") == b"secret key \\u0073 %73"
    assert Redactor("gpt").clean(b"gpt-4.1") == b"gpt-4.1"


@pytest.mark.parametrize("body", [b"\\" * 65_536, b"s" * 65_536, b"%73" * 21_845, b"\\u0073" * 10_922])
def test_no_body_makes_the_search_slow(body: bytes) -> None:
    redactor, started = Redactor("ssssssssssssssssssssssssssssssssssss-key"), time.process_time()
    redactor.clean(body)
    assert time.process_time() - started < 1.0
