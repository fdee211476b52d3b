"""How the user has set up account and market; bad set-ups can be switched on while the server runs."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Setup(BaseModel):
    """Switches.

    Attributes:
        hedge_mode: the account holds long and short side by side; one-way orders are refused.
        allowed_ips: addresses the key may be used from; ``None`` is any.
        symbol_status: ``halted`` lists the contract as not tradable and refuses orders.
        can_trade: whether the key may place orders, or only read.
        dcp_enabled: whether the venue has enabled cancel on disconnect for this account (Bybit).
        leverage: what the client set it to; ``None`` is the configuration's.
        balance: quote the wallet began with; ``None`` leaves it as it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hedge_mode: bool = False
    allowed_ips: tuple[str, ...] | None = None
    symbol_status: Literal["trading", "halted"] = "trading"
    can_trade: bool = True
    dcp_enabled: bool = False
    leverage: Decimal | None = Field(default=None, ge=1, le=100)
    balance: Decimal | None = Field(default=None, ge=0)
