"""Orders and executions as the account knows them, before any venue's spelling."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from mm_hybrid.types import Side


class OrderStatus(StrEnum):
    """Where an order stands; the last two are final."""

    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"


class CancelCause(StrEnum):
    """Why an order ended before it was filled."""

    USER = "user"
    POST_ONLY = "post_only"
    NO_LIQUIDITY = "no_liquidity"
    REDUCE_ONLY = "reduce_only"
    SELF_MATCH = "self_match"
    DISCONNECTED = "disconnected"


class SelfMatch(StrEnum):
    """What happens when an order meets a resting one of the same account; the taker's wish decides."""

    NONE = "none"
    CANCEL_MAKER = "cancel_maker"
    CANCEL_TAKER = "cancel_taker"
    CANCEL_BOTH = "cancel_both"


class ExecutionType(StrEnum):
    """What an execution is of, in Bybit's words; ``FUNDING`` moves cash and no position."""

    TRADE = "Trade"
    ADL = "AdlTrade"
    FUNDING = "Funding"


class RefusalReason(StrEnum):
    """Why a request was turned away without changing anything."""

    BAD_PARAMETER = "bad_parameter"
    PRICE_OFF_GRID = "price_off_grid"
    QTY_OFF_GRID = "qty_off_grid"
    BELOW_MIN_QTY = "below_min_qty"
    ABOVE_MAX_QTY = "above_max_qty"
    PRICE_TOO_HIGH = "price_too_high"
    BELOW_MIN_NOTIONAL = "below_min_notional"
    BAD_CLIENT_ID = "bad_client_id"
    DUPLICATE_CLIENT_ID = "duplicate_client_id"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    REDUCE_ONLY = "reduce_only"
    TOO_MANY_ORDERS = "too_many_orders"
    ORDER_NOT_FOUND = "order_not_found"
    NOT_MODIFIED = "not_modified"
    QTY_BELOW_FILLED = "qty_below_filled"
    NO_MARKET = "no_market"
    NOT_TRADABLE = "not_tradable"
    POSITION_MODE = "position_mode"
    MODE_UNCHANGED = "mode_unchanged"
    MODE_HELD_BY_POSITION = "mode_held_by_position"
    MODE_HELD_BY_ORDERS = "mode_held_by_orders"


class OrderRefusedError(Exception):
    """A request the account turned away; nothing changed."""

    def __init__(self, reason: RefusalReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """What a client asks to place; ``price`` is ``None`` for a market order."""

    client_id: str
    side: Side
    qty: Decimal
    price: Decimal | None
    post_only: bool = False
    ioc: bool = False
    reduce_only: bool = False
    self_match: SelfMatch = SelfMatch.NONE


@dataclass(slots=True, kw_only=True, eq=False)
class Order:
    """One order over its life; only the account changes it.

    ``serial`` counts orders in the sequence of their arrival and is what pages are cut by. ``visible_ns`` is
    when queries begin to show it. ``unmatched_qty`` has traded without the matching engine knowing of it, so
    that the engine's total for the order is that much less.
    """

    serial: int
    order_id: str
    client_id: str
    side: Side
    price: Decimal | None
    qty: Decimal
    post_only: bool
    ioc: bool
    reduce_only: bool
    created_ns: int
    updated_ns: int
    mid_at_creation: Decimal
    self_match: SelfMatch = SelfMatch.NONE
    visible_ns: int = 0
    unmatched_qty: Decimal = Decimal(0)
    status: OrderStatus = OrderStatus.NEW
    cancel_cause: CancelCause | None = None
    filled_qty: Decimal = Decimal(0)
    filled_value: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    executions: list[OwnExecution] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether it can still trade."""
        return self.status in (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED)

    @property
    def remaining_qty(self) -> Decimal:
        """Base quantity not traded yet, whether or not it still can."""
        return self.qty - self.filled_qty

    @property
    def average_price(self) -> Decimal | None:
        """Mean price of what has traded."""
        return self.filled_value / self.filled_qty if self.filled_qty else None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnExecution:
    """One trade of one own order, as booked; or one the venue made for the account, without a client id.

    ``fee`` is positive when paid; of a funding it is what was paid. ``print_id`` names the market trade that
    filled a resting order, when it has a name. ``exchange_ts_ns`` is the market's time of that trade,
    ``booked_ns`` the server's; on a replay of an old day the two are far apart. ``closed_qty`` is what it took
    off a position and ``profit`` what that realised.
    """

    serial: int
    exec_id: str
    order_id: str
    client_id: str
    side: Side
    price: Decimal
    qty: Decimal
    fee: Decimal
    fee_rate: Decimal
    fee_currency: str
    is_maker: bool
    print_id: str | None
    print_price: str | None
    exchange_ts_ns: int
    booked_ns: int
    order_price: Decimal | None
    order_qty: Decimal
    leaves_qty: Decimal
    closed_qty: Decimal
    profit: Decimal
    exec_type: ExecutionType = ExecutionType.TRADE

    @property
    def value(self) -> Decimal:
        """Quote value traded."""
        return self.price * self.qty

    def is_within(self, begin_ns: int, end_ns: int) -> bool:
        """Return whether it falls into a time window, by the market's time or by the server's."""
        return begin_ns <= max(self.exchange_ts_ns, self.booked_ns) and self.exchange_ts_ns <= end_ns
