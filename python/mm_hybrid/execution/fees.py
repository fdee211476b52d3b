"""What fees are worth: they may be paid in the quote coin, the base coin, or the venue's own."""

from __future__ import annotations

from decimal import Decimal

from mm_hybrid.types import Instrument

VENUE_COIN = {"bybit": "MNT", "bitget": "BGB"}
"""The coin each venue takes fees in at a discount."""


class FeePrices:
    """Prices that put a fee into the quote currency of one instrument.

    Args:
        venue: whose own coin may be used.
        instrument: what is traded.
    """

    def __init__(self, venue: str, instrument: Instrument) -> None:
        self.coin = VENUE_COIN[venue]
        self._instrument = instrument
        self._coin_price: Decimal | None = None

    def learn(self, price: Decimal) -> None:
        """Take the price of the venue's own coin, in quote currency."""
        self._coin_price = price

    def knows(self, currency: str) -> bool:
        """Return whether fees in a currency can be put into quote currency."""
        known = {self._instrument.quote, self._instrument.base}
        return currency in known or (currency == self.coin and self._coin_price is not None)

    def worth(self, fee: Decimal, currency: str, price: Decimal) -> Decimal:
        """Return what a fee is worth in quote currency at an execution's ``price``; 0 where nothing is known."""
        if currency == self._instrument.quote:
            return fee
        if currency == self._instrument.base:
            return fee * price
        return (
            fee * self._coin_price if currency == self.coin and self._coin_price is not None else Decimal(0)
        )
