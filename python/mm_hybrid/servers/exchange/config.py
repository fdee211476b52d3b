"""Settings of the local exchange."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from mm_hybrid.servers.exchange.faults import QUERIES, TRADING, FaultScript

Venue = Literal["bybit", "bitget"]

_TAKER_FEE_RATE: dict[Venue, Decimal] = {"bybit": Decimal("0.00055"), "bitget": Decimal("0.0006")}
_FEED_EXCHANGE: dict[Venue, str] = {"bybit": "bybit", "bitget": "bitget-futures"}


VENUE_LIMITS: dict[Venue, dict[str, int]] = {
    "bybit": {
        "create": 10,
        "amend": 10,
        "cancel": 10,
        "cancel_all": 10,
        "create_batch": 10,
        "amend_batch": 10,
        "cancel_batch": 10,
        "open_orders": 50,
        "order_history": 50,
        "executions": 50,
        "positions": 50,
        "wallet": 50,
    },
    "bitget": {
        "create": 10,
        "amend": 10,
        "cancel": 10,
        "cancel_all": 10,
        "create_batch": 5,
        "cancel_batch": 10,
        "open_orders": 10,
        "order_history": 10,
        "order_detail": 10,
        "executions": 10,
        "positions": 5,
        "wallet": 10,
    },
}
"""Requests a second of the venues' base tier, by kind of request.

Source: Bybit v5 API documentation, Rate Limit Rules (derivatives); Bitget v2 API documentation, the rate limit named on
each page. Tiers and tables change: what an account really has is in the headers of its replies.
"""


class ExchangeServerConfig(BaseModel):
    """What the local exchange lists, charges and believes; one account, one linear USDT perpetual.

    Attributes:
        venue: whose protocol is spoken.
        host: address to bind.
        port: TCP port of REST and WebSocket alike; 0 takes any free one.
        symbol: the venue's own spelling (``BTCUSDT``).
        base: coin the contract is sized in.
        quote: coin it is priced and settled in.
        tick_size: price step, quote per base.
        lot_size: quantity step, base.
        min_qty: smallest order, base; one lot by default.
        min_notional: smallest order value, quote.
        maker_fee_rate: fraction of traded value; negative is a rebate.
        taker_fee_rate: likewise; the venue's base tier by default.
        fee_coin: third coin that contract fees are charged in, as the venues do at a discount; the quote by default.
        fee_coin_price: what one of it is worth, quote.
        balance: wallet at the start, quote.
        leverage: initial margin is exposure divided by this.
        max_open_orders: resting orders the account may have.
        api_key: the one key the server knows.
        api_secret: what signatures are made with.
        api_password: Bitget's passphrase; not used by Bybit.
        market_url: ``ws://host:port`` of a tardis-machine server; ``None`` if the caller applies the market.
        market_source: ``tardis``; ``bybit``, ``bitget`` or ``bitget-v2`` when it is the exchange's own stream.
        market_exchange: exchange of the market data as Tardis spells it; the venue's own by default.
        market_symbol: symbol of the market data; ``symbol`` by default.
        rate_limit_per_s: private requests a second per kind; generous, since this is a test ground.
        rate_limits: other allowances by kind of request (``create``, ``open_orders``, …), such as ``VENUE_LIMITS``;
            a batch counts each of its legs on Bybit.
        address_limit_per_5s: requests an address may send in five seconds; ``None`` is any number.
        address_ban_s: how long an address that sent more is turned away.
        book_push_ms: public books and tickers are pushed at most once in so many milliseconds, with what changed
            meanwhile; 0 pushes with every batch of market events.
        spot: the symbol is listed for spot trading beside the contract, at the same market's prices.
        spot_fee_rate: fee of spot trades, maker and taker alike; a buy pays it in the base coin.
        spot_base_balance: base coin at the start.
        spot_quote_balance: quote at the start in Bitget's spot wallet, which is apart; Bybit's is the contract's.
        ledger: file that receives every execution as one JSON line.
        state: SQLite file that holds all that happened; a server started on it again goes on from there.
        faults: script of what goes wrong.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    venue: Venue
    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    symbol: str = "BTCUSDT"
    base: str = "BTC"
    quote: str = "USDT"
    tick_size: Decimal = Field(default=Decimal("0.1"), gt=0)
    lot_size: Decimal = Field(default=Decimal("0.001"), gt=0)
    min_qty: Decimal | None = Field(default=None, gt=0)
    min_notional: Decimal = Field(default=Decimal(5), ge=0)
    maker_fee_rate: Decimal = Decimal("0.00001")
    taker_fee_rate: Decimal | None = None
    fee_coin: str | None = None
    fee_coin_price: Decimal = Field(default=Decimal(1), gt=0)
    balance: Decimal = Field(default=Decimal(100_000), ge=0)
    leverage: int = Field(default=10, ge=1)
    max_open_orders: int = Field(default=500, ge=1)
    api_key: str = "demo-key"
    api_secret: SecretStr = SecretStr("demo-secret")
    api_password: SecretStr = SecretStr("demo-password")
    market_url: str | None = None
    market_source: str = "tardis"
    market_exchange: str | None = None
    market_symbol: str | None = None
    rate_limit_per_s: int = Field(default=1000, ge=1)
    rate_limits: dict[str, int] = Field(default_factory=dict)
    address_limit_per_5s: int | None = Field(default=None, ge=1)
    address_ban_s: float = Field(default=600.0, gt=0)
    book_push_ms: int = Field(default=20, ge=0, le=60_000)
    spot: bool = False
    spot_fee_rate: Decimal = Decimal("0.001")
    spot_base_balance: Decimal = Field(default=Decimal(1), ge=0)
    spot_quote_balance: Decimal = Field(default=Decimal(100_000), ge=0)
    ledger: Path | None = None
    state: Path | None = None
    faults: FaultScript = FaultScript()

    @field_validator("faults", mode="before")
    @classmethod
    def _read_script(cls, value: object) -> object:
        if isinstance(value, FaultScript):
            return value
        if isinstance(value, str | Path):
            return FaultScript.read(Path(value))
        return FaultScript.parse(value, "faults")

    @field_validator("rate_limits")
    @classmethod
    def _limits_are_of_known_kinds(cls, limits: dict[str, int]) -> dict[str, int]:
        for name, per_second in limits.items():
            if name not in (*TRADING, *QUERIES):
                raise ValueError(f"{name!r} is none of {', '.join((*TRADING, *QUERIES))}")
            if per_second < 1:
                raise ValueError(f"{name!r} is {per_second} a second, which is below 1")
        return limits

    @model_validator(mode="after")
    def _sizes_are_on_the_grid(self) -> Self:
        if self.smallest_qty % self.lot_size:
            raise ValueError(f"min_qty {self.min_qty} is no multiple of lot_size {self.lot_size}")
        if self.spot and self.venue == "bitget":
            for name, step in (("tick_size", self.tick_size), ("lot_size", self.lot_size)):
                if step.normalize().as_tuple().digits != (1,):
                    raise ValueError(f"{name} {step} is no power of ten, which Bitget's spot steps are")
        return self

    @model_validator(mode="after")
    def _faults_are_of_the_venue(self) -> Self:
        problem = self.faults.problem_at(self.venue)
        if problem:
            raise ValueError(f"faults: {problem}")
        return self

    @property
    def smallest_qty(self) -> Decimal:
        """The smallest order in base units."""
        return self.lot_size if self.min_qty is None else self.min_qty

    @property
    def tick_decimals(self) -> int:
        """Decimal places of prices."""
        return max(0, -int(self.tick_size.normalize().as_tuple().exponent))

    @property
    def lot_decimals(self) -> int:
        """Decimal places of quantities."""
        return max(0, -int(self.lot_size.normalize().as_tuple().exponent))

    @property
    def largest_qty(self) -> Decimal:
        """The largest order in base units."""
        return self.lot_size * 1_000_000

    @property
    def highest_price(self) -> Decimal:
        """The highest limit price."""
        return self.tick_size * 19_999_980

    @property
    def feed_exchange(self) -> str:
        """The exchange whose market data is matched against, in Tardis' spelling."""
        return self.market_exchange or _FEED_EXCHANGE[self.venue]

    @property
    def feed_symbol(self) -> str:
        """The symbol whose market data is matched against."""
        return self.market_symbol or self.symbol

    @property
    def taker_rate(self) -> Decimal:
        """The taker fee as a fraction of traded value."""
        return _TAKER_FEE_RATE[self.venue] if self.taker_fee_rate is None else self.taker_fee_rate
