"""From wanted quotes and live orders to the fewest requests that make them equal.

On each side the quantity that may rest at any moment during the change never exceeds the larger of what rests
now and what is wanted: a new order waits until the one it replaces is confirmed gone, unless the venue amends
in place. What has filled since the wish was approved counts against it: the approval was for a smaller position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from mm_hybrid.execution.orders import OrderRecord, OrderState
from mm_hybrid.types import Quote, Side

_CANCELLABLE = frozenset(
    {OrderState.OPEN, OrderState.ACKED, OrderState.PENDING_AMEND, OrderState.PENDING_UNKNOWN}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far a live order may be from its target and stay.

    Attributes:
        price: quote currency, either way.
        qty_fraction: share of the wanted quantity, either way; partial fills stay within it.
    """

    price: Decimal = Decimal(0)
    qty_fraction: Decimal = Decimal("0.5")


@dataclass(frozen=True, slots=True)
class Amend:
    """A change of a live order in place; ``qty`` is the total including what has filled."""

    order: OrderRecord
    price: Decimal
    qty: Decimal


@dataclass(slots=True)
class Plan:
    """Requests to send now; what has to wait for a confirmation appears in a later plan."""

    keep: list[OrderRecord] = field(default_factory=list)
    amend: list[Amend] = field(default_factory=list)
    cancel: list[OrderRecord] = field(default_factory=list)
    create: list[Quote] = field(default_factory=list)


def difference(
    targets: Sequence[Quote],
    live: Sequence[OrderRecord],
    *,
    can_amend: bool,
    tolerance: Tolerance,
    moved_base: Decimal = Decimal(0),
) -> Plan:
    """Return the requests that lead from ``live`` towards ``targets``.

    Orders with a request under way are left alone and count as resting until it is settled; so do ended ones
    whose last executions have not arrived. On a side where nothing is wanted whatever may rest is cancelled, known
    to rest or not: a cancel may be sent at any time.

    Args:
        targets: what was approved.
        live: orders that may still change the position.
        can_amend: whether the venue changes orders in place.
        tolerance: how far an order may be from its target and stay.
        moved_base: signed change of the position since the approval.
    """
    plan = Plan()
    for side in ("buy", "sell"):
        filled = moved_base if side == "buy" else -moved_base
        _one_side(
            side,
            [quote for quote in targets if quote.side == side],
            [order for order in live if order.side == side],
            plan,
            spent=max(Decimal(0), filled),
            can_amend=can_amend,
            tolerance=tolerance,
        )
    return plan


def _one_side(
    side: Side,
    targets: list[Quote],
    live: list[OrderRecord],
    plan: Plan,
    *,
    spent: Decimal,
    can_amend: bool,
    tolerance: Tolerance,
) -> None:
    best_first = -1 if side == "buy" else 1
    targets.sort(key=lambda quote: best_first * _price(quote))
    orders = sorted(
        (order for order in live if order.state is OrderState.OPEN),
        key=lambda order: best_first * order.price,
    )
    resting = sum((order.remaining for order in live), Decimal(0))
    cap = max(resting, sum((_qty(quote) for quote in targets), Decimal(0)) - spent)

    unmet: list[Quote] = []
    for target in targets:
        near = [order for order in orders if _fits(order, target, tolerance)]
        if near:
            nearest = min(near, key=lambda order: abs(order.price - _price(target)))
            orders.remove(nearest)
            plan.keep.append(nearest)
        else:
            unmet.append(target)
    if can_amend:
        while unmet and orders:
            target, order = unmet[0], orders[0]
            grown = _qty(target) - order.remaining
            if grown > 0 and resting + grown > cap:
                break
            resting += max(grown, Decimal(0))
            plan.amend.append(Amend(order, _price(target), order.filled + _qty(target)))
            del unmet[0], orders[0]
    plan.cancel += orders if targets else [order for order in live if order.state in _CANCELLABLE]
    for target in unmet:
        if resting + _qty(target) <= cap:
            resting += _qty(target)
            plan.create.append(target)


def _fits(order: OrderRecord, target: Quote, tolerance: Tolerance) -> bool:
    near = abs(order.price - _price(target)) <= tolerance.price
    return near and abs(order.remaining - _qty(target)) <= tolerance.qty_fraction * _qty(target)


def _price(quote: Quote) -> Decimal:
    return quote.price if isinstance(quote.price, Decimal) else Decimal(repr(quote.price))


def _qty(quote: Quote) -> Decimal:
    return quote.qty if isinstance(quote.qty, Decimal) else Decimal(repr(quote.qty or 0))
