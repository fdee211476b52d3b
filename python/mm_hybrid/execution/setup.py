"""Whether an account can trade at all, said before the first order instead of by its refusal."""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

from mm_hybrid.errors import GatewayError
from mm_hybrid.execution.gateway import AccountFacts
from mm_hybrid.types import Instrument


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
