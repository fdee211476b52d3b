"""Spot trading beside the contract: the same market's prices, balances of its own in base and quote."""

from __future__ import annotations

from decimal import Decimal

from mm_hybrid.clock import Clock
from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.matching import Matching
from mm_hybrid.servers.exchange.orders import Order, OrderRefusedError, RefusalReason
from mm_hybrid.servers.exchange.setup import Setup
from mm_hybrid.types import Side


class SpotAccount(Account):
    """The spot side of an account; quote is one purse for both sides on Bybit, a wallet of its own on Bitget.

    A buy pays its fee in base, out of what it bought, a sell in quote. What open orders would spend is locked.
    """

    category = "spot"

    def __init__(self, contract: Account, matching: Matching, clock: Clock) -> None:
        self._contract = contract
        super().__init__(contract.config, matching, clock, log=contract.log, ids=contract.ids)
        self.market = contract.market
        contract.spot = self

    @property
    def setup(self) -> Setup:
        """The set-up, which is the contract's."""
        return self._contract.setup

    def splits_fill(self) -> bool:
        """Return whether the next fill comes as two executions."""
        return self._contract.splits_fill()

    def fee_of(
        self, side: Side, price: Decimal, qty: Decimal, *, is_maker: bool
    ) -> tuple[Decimal, Decimal, str]:
        """Return fee, rate and currency of a trade; maker and taker pay the same."""
        del is_maker
        rate = self.config.spot_fee_rate
        if side == "buy":
            return qty * rate, rate, self.config.base
        return price * qty * rate, rate, self.config.quote

    @property
    def base_balance(self) -> Decimal:
        """Base coin held, locked or not."""
        return self.config.spot_base_balance + self.position.qty - self.position.other_fees

    @property
    def quote_balance(self) -> Decimal:
        """Quote that can be spent, locked or not: on Bybit what the contract leaves of the one purse."""
        if self.config.venue == "bybit":
            return self._contract.free_balance
        return self.config.spot_quote_balance + self.quote_flow

    @property
    def quote_flow(self) -> Decimal:
        """Quote that spot trades have brought in, fees taken off."""
        return self.position.cash - self.position.fees

    def locked(self, side: Side, *, without: Order | None = None) -> Decimal:
        """Return what open orders of one side would spend: quote of buys, base of sells."""
        return sum(
            (
                order.remaining_qty * (order.price or Decimal(0) if side == "buy" else Decimal(1))
                for order in self.state.open.values()
                if order.side == side and order is not without
            ),
            Decimal(0),
        )

    def _check_funds(
        self, side: Side, price: Decimal | None, qty: Decimal, *, replaced: Order | None
    ) -> None:
        if side == "buy":
            needed = qty * (price or self.mark_price())
            held, coin = self.quote_balance, self.config.quote
        else:
            needed, held, coin = qty, self.base_balance, self.config.base
        free = held - self.locked(side, without=replaced)
        if needed > free:
            raise OrderRefusedError(RefusalReason.INSUFFICIENT_FUNDS, f"{needed} {coin} above {free} free")
