"""Whether an account can trade at all, said before the first order instead of by its refusal."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from mm_hybrid.errors import GatewayError
from mm_hybrid.types import Instrument


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFacts:
    """What decides whether an account can trade the symbol; ``None`` where the venue does not tell.

    Attributes:
        available_quote: margin free for new orders.
        leverage: of the symbol.
        hedge_mode: whether long and short are two positions.
        read_only: whether the key may only look.
    """

    available_quote: Decimal | None
    leverage: Decimal | None
    hedge_mode: bool
    read_only: bool | None = None


class AccountGateway(Protocol):
    """What the checks need of a gateway."""

    @property
    def venue(self) -> str:
        """Name of the venue."""
        ...

    @property
    def instrument(self) -> Instrument:
        """What is traded."""
        ...

    async def account(self) -> AccountFacts:
        """Return what decides whether the account can trade the symbol."""
        ...


def require_usable(venue: str, facts: AccountFacts) -> None:
    """Make sure that orders can be sent and that a symbol has one position and not two.

    Raises:
        GatewayError: the key is read-only, or the account is in hedge mode.
    """
    if facts.read_only:
        raise GatewayError(f"{venue}: the API key is read-only: give it the permission to trade contracts")
    if facts.hedge_mode:
        raise GatewayError(f"{venue}: the account is in hedge mode: switch it to one-way mode at the venue")


async def require_funds(gateway: AccountGateway, order_size_quote: float) -> AccountFacts:
    """Return the account's facts once its free margin is known to carry one order.

    Raises:
        GatewayError: it does not, or the venue could not be asked.
    """
    facts = await gateway.account()
    instrument = gateway.instrument
    value = max(Decimal(repr(order_size_quote)), instrument.min_notional)
    needed = value / (facts.leverage or 1)
    # Where the venue tells no leverage, anything free may do.
    short = facts.available_quote is not None and (
        facts.available_quote <= 0 or (facts.leverage is not None and facts.available_quote < needed)
    )
    if short:
        raise GatewayError(
            f"{gateway.venue}: insufficient balance: {facts.available_quote:.2f} {instrument.quote} available, "
            f"an order of {value:.2f} needs {needed:.2f} at leverage {facts.leverage or 1:f}: "
            "deposit, or lower quoting.order_size_quote"
        )
    return facts
