"""Books as the public channels write them: levels as text, what changed between two of them, their checksum."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice

from mm_hybrid.servers.exchange.wire import number

Side = dict[str, str]
"""Price to quantity, best first, both exactly as sent."""

CHECKSUM_LEVELS = 25
_CACHED_TEXTS = 100_000


@dataclass(frozen=True, slots=True)
class Depth:
    """Both sides of a book, best first."""

    bids: Side
    asks: Side

    def top(self, levels: int | None) -> Depth:
        """Return the best levels of each side; ``None`` is all."""
        if levels is None:
            return self
        return Depth(_top(self.bids, levels), _top(self.asks, levels))


class LevelText:
    """Writes levels with at least the decimals of the grid, and never rounds; remembers texts it has made."""

    def __init__(self, price_decimals: int, qty_decimals: int) -> None:
        self._price = _Texts(price_decimals)
        self._qty = _Texts(qty_decimals)

    def price(self, value: float) -> str:
        """Return a price as sent."""
        return self._price(value)

    def qty(self, value: float) -> str:
        """Return a quantity as sent."""
        return self._qty(value)

    def side(self, levels: list[list[float]]) -> Side:
        """Return ``[price, quantity]`` rows as text."""
        price, qty = self._price, self._qty
        return {price(row[0]): qty(row[1]) for row in levels}


class _Texts:
    def __init__(self, decimals: int) -> None:
        self._decimals = decimals
        self._known: dict[float, str] = {}

    def __call__(self, value: float) -> str:
        known = self._known.get(value)
        if known is None:
            if len(self._known) >= _CACHED_TEXTS:
                self._known.clear()
            known = self._known[value] = padded(number(Decimal(repr(value))), self._decimals)
        return known


def padded(text: str, decimals: int) -> str:
    """Return decimal text with zeros up to ``decimals`` places."""
    _, _, fraction = text.partition(".")
    if len(fraction) >= decimals:
        return text
    return f"{text}{'' if fraction else '.'}{'0' * (decimals - len(fraction))}"


def changes(before: Depth, after: Depth) -> Depth:
    """Return what turns one book into the other: new quantities, ``"0"`` for levels that are gone; best first."""
    return Depth(
        _side_changes(before.bids, after.bids, lambda price: -Decimal(price)),
        _side_changes(before.asks, after.asks, Decimal),
    )


def _side_changes(before: Side, after: Side, rank: Callable[[str], Decimal]) -> Side:
    gone = [(price, "0") for price in before if price not in after]
    changed = [(price, qty) for price, qty in after.items() if before.get(price) != qty]
    return dict(sorted(gone + changed, key=lambda level: rank(level[0])) if gone else changed)


def checksum(book: Depth) -> int:
    """Return Bitget's checksum: signed CRC-32 over ``bid:qty:ask:qty:…`` of the best 25 levels.

    Source: Bitget API documentation, Depth Channel. A side that has run out is skipped.
    """
    bids = list(islice(book.bids.items(), CHECKSUM_LEVELS))
    asks = list(islice(book.asks.items(), CHECKSUM_LEVELS))
    parts: list[str] = []
    for place in range(max(len(bids), len(asks))):
        for side in (bids, asks):
            if place < len(side):
                parts += side[place]
    unsigned = zlib.crc32(":".join(parts).encode())
    return unsigned - (1 << 32) if unsigned >= 1 << 31 else unsigned


def crossed(book: Depth, price_step: Decimal, qty: Decimal, text: LevelText) -> Depth:
    """Return the book with one bid more, a step above the best ask; as it is where there is no ask."""
    best_ask = next(iter(book.asks), None)
    if best_ask is None:
        return book
    price = text.price(float(Decimal(best_ask) + price_step))
    return Depth({price: text.qty(float(qty))} | book.bids, book.asks)


def _top(side: Side, levels: int) -> Side:
    return side if len(side) <= levels else dict(islice(side.items(), levels))
