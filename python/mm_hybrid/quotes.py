"""A strategy's wishes made placeable: on the grid, within the position limit, nothing the venue would refuse.

Prices are rounded outward (buys down, sells up) and quantities down, in exact decimal arithmetic, so that rounding
never makes a quote more aggressive or larger than it was meant.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any

from mm_hybrid.errors import StrategyError
from mm_hybrid.types import Instrument, Position, Quote, Quotes


def order_qty(instrument: Instrument, value_quote: float, mid_price: float) -> Decimal:
    """Return the quantity worth about ``value_quote`` at ``mid_price``: whole lots, at least the venue's minimum."""
    wanted = _on_grid(Decimal(repr(value_quote / mid_price)), instrument.lot_size, ROUND_HALF_EVEN)
    smallest = max(instrument.min_qty, instrument.min_notional / Decimal(repr(mid_price * 0.9)))
    least = _on_grid(smallest, instrument.lot_size, ROUND_CEILING)
    return max(wanted, least)


def on_grid(wanted: Any, instrument: Instrument, default_qty: Decimal) -> Quotes:
    """Return a strategy's answer as quotes on the instrument's grid.

    Quotes below the venue's minimum quantity or value are left out: the venue would refuse them.

    Raises:
        StrategyError: the answer is no sequence of quotes, or a side, price or quantity cannot be used.
    """
    if wanted is None:
        return ()
    try:
        items = [Quote(*item) for item in wanted]
    except TypeError as error:
        raise StrategyError(
            f"a strategy returns a sequence of Quote(side, price, qty), not {wanted!r}"
        ) from error
    return tuple(quote for item in items if (quote := _one(item, instrument, default_qty)) is not None)


def within_limit(quotes: Quotes, position: Position, limit_base: Decimal) -> Quotes:
    """Leave out quotes whose fill, together with those before it on the same side, would pass the position limit."""
    kept: list[Quote] = []
    exposure = {"buy": position.qty_base, "sell": -position.qty_base}
    for quote in quotes:
        after = exposure[quote.side] + Decimal(quote.qty or 0)
        if after <= limit_base:
            exposure[quote.side] = after
            kept.append(quote)
    return tuple(kept)


def _one(quote: Quote, instrument: Instrument, default_qty: Decimal) -> Quote | None:
    if quote.side not in {"buy", "sell"}:
        raise StrategyError(f"a quote's side is 'buy' or 'sell', not {quote.side!r}")
    price = _number(quote.price, "price")
    qty = default_qty if quote.qty is None else _number(quote.qty, "qty")
    if price <= 0:
        raise StrategyError(f"a quote's price is positive, not {quote.price!r}")
    if qty < 0:
        raise StrategyError(f"a quote's qty is not negative, not {quote.qty!r}")
    price = _on_grid(price, instrument.tick_size, ROUND_FLOOR if quote.side == "buy" else ROUND_CEILING)
    qty = _on_grid(qty, instrument.lot_size, ROUND_DOWN)
    if price <= 0 or qty <= 0 or qty < instrument.min_qty or price * qty < instrument.min_notional:
        return None
    return Quote(quote.side, price, qty)


def _number(value: Any, name: str) -> Decimal:
    if isinstance(value, Decimal) and value.is_finite():
        return value
    try:
        number = float(value)  # numpy scalars too
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, (str, bool)) or not math.isfinite(number):
        raise StrategyError(f"a quote's {name} is a finite number, not {value!r}")
    return Decimal(repr(number))


def _on_grid(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    return (value / step).to_integral_value(rounding=rounding) * step
