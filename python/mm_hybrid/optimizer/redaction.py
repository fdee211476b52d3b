"""Take a secret out of what a service sends back, in every form in which it could still be read.

A service that echoes the key it was called with would otherwise put it into journal, recording, log and report.
"""

from __future__ import annotations

import base64
import re

HIDDEN = b"***"
"""What stands in place of a secret; shorter than any secret, so that a body never grows."""

MIN_SECRET_CHARS = 8
"""Shorter text is no secret, and taking it out would tear ordinary words apart."""


class Redactor:
    """Replaces one secret: plain, percent-encoded, with JSON escapes (nested ones too), hexadecimal and base64.

    Args:
        secret: ASCII; a shorter one than :data:`MIN_SECRET_CHARS` is left alone.
    """

    def __init__(self, secret: str) -> None:
        self._escaped: re.Pattern[bytes] | None = None
        self._encoded: tuple[bytes, ...] = ()
        if len(secret) < MIN_SECRET_CHARS:
            return
        raw = secret.encode("ascii")
        self._escaped = re.compile(b"".join(_any_form(byte) for byte in raw))
        self._encoded = (raw.hex().encode(), raw.hex().upper().encode(), *_base64_forms(raw))

    def clean(self, data: bytes) -> bytes:
        """Return ``data`` without the secret."""
        if self._escaped is None:
            return data
        for form in self._encoded:
            data = data.replace(form, HIDDEN)
        return self._escaped.sub(HIDDEN, data)

    def clean_text(self, text: str) -> str:
        """Return ``text`` without the secret."""
        return self.clean(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


def _any_form(byte: int) -> bytes:
    r"""Return a pattern of one character: itself, behind backslashes, ``\u0073`` or ``%73``.

    Each branch starts with a literal, which lets the search skip ordinary text, and repeats are bounded, which keeps it
    linear in whatever comes.
    """
    plain = re.escape(bytes([byte]))
    digits = b"".join(
        b"[%c%c]" % (digit, digit - 32) if digit > ord("9") else b"%c" % digit for digit in b"%02x" % byte
    )
    escaped = rb"\\\\{0,7}(?:u00" + digits + b"|" + plain + b")"
    return b"(?:" + plain + b"|" + escaped + b"|%" + digits + b")"


def _base64_forms(raw: bytes) -> list[bytes]:
    """Return the characters of the base64 text that the secret alone decides, at each of the three alignments."""
    forms = []
    for before in range(3):
        bits_before, bits_after = 8 * before, 8 * (before + len(raw))
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(bytes(before) + raw)
            forms.append(text[-(-bits_before // 6) : bits_after // 6])
    return forms
