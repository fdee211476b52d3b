"""What there is to know of an account: orders, executions, position, wallet, and the market it trades on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from mm_hybrid.clock import Clock
from mm_hybrid.servers.exchange.admission import margin
from mm_hybrid.servers.exchange.config import ExchangeServerConfig
from mm_hybrid.servers.exchange.displayed import DisplayedMarket
from mm_hybrid.servers.exchange.eventlog import EventLog
from mm_hybrid.servers.exchange.ledger import Ledger
from mm_hybrid.servers.exchange.matching import Matching
from mm_hybrid.servers.exchange.orders import Order, OwnExecution
from mm_hybrid.servers.exchange.position import PositionBook
from mm_hybrid.servers.exchange.setup import Setup
from mm_hybrid.servers.exchange.state import AccountState

if TYPE_CHECKING:
    from mm_hybrid.servers.exchange.spot import SpotAccount


class AccountView:
    """The reading side of an account; nothing here changes anything.

    Attributes:
        category: ``linear`` for the contract, ``spot`` for the pair.
        market: what public pages show.
        spot: the spot side of the same account, if the exchange lists it.
        skew_ms: how far the clock that clients see runs ahead; bookings are not affected.
        omits: whether queries show no orders and executions at all.
    """

    category = "linear"

    def __init__(self, config: ExchangeServerConfig, matching: Matching, clock: Clock, log: EventLog) -> None:
        self.config = config
        self.log = log
        self.ledger = Ledger(config.ledger)
        self.state = AccountState(log, self.ledger, self.category, config.quote)
        self.market = DisplayedMarket(config)
        self.spot: SpotAccount | None = None
        self.skew_ms: Callable[[], int] = lambda: 0
        self.omits = False
        self._matching = matching
        self._clock = clock
        self._last_price = Decimal(0)
        self._balance = config.balance
        self._setup = Setup()

    def now_ms(self) -> int:
        """Return the server's time in milliseconds, as clients see it."""
        return self._clock.now_ns() // 1_000_000 + self.skew_ms()

    def now_ns(self) -> int:
        """Return the time of bookings."""
        return self._clock.now_ns()

    @property
    def setup(self) -> Setup:
        """The switches of account and market."""
        return self._setup

    @property
    def leverage(self) -> Decimal:
        """Exposure divided by the initial margin it takes."""
        return self._setup.leverage or Decimal(self.config.leverage)

    @property
    def funding_rate(self) -> Decimal:
        """The rate last settled; funding here comes when it is told to."""
        return self.state.fundings[-1].rate if self.state.fundings else Decimal(0)

    @property
    def position(self) -> PositionBook:
        """The position, with cash, fees and funding."""
        return self.state.position

    def find(self, *, order_id: str | None = None, client_id: str | None = None) -> Order | None:
        """Return the order of that id, open or ended; the exchange's id goes before the client's."""
        if order_id:
            return self.state.orders.get(order_id)
        return self.state.by_client_id.get(client_id) if client_id else None

    def open_orders(self) -> Iterator[Order]:
        """Iterate over open orders, newest first."""
        return reversed(self.state.open.values())

    def ended_orders(self) -> Iterator[Order]:
        """Iterate over filled and cancelled orders, newest first."""
        return (order for order in reversed(self.state.orders.values()) if not order.is_open)

    def shown(self, orders: Iterable[Order]) -> Iterator[Order]:
        """Leave out the orders that queries do not show yet."""
        now_ns = self._clock.now_ns()
        return (order for order in orders if order.visible_ns <= now_ns and not self.omits)

    def shown_executions(self) -> Iterator[OwnExecution]:
        """Iterate over the executions that queries show, newest first."""
        now_ns, orders = self._clock.now_ns(), self.state.orders
        for one in () if self.omits else reversed(self.ledger.executions):
            order = orders.get(one.order_id)
            if order is None or order.visible_ns <= now_ns:
                yield one

    def mark_price(self) -> Decimal:
        """Return the market's mid price on half ticks, the last known one while the book is not in sync."""
        mid = self._matching.mid()
        if mid is not None:
            half_tick = self.config.tick_size / 2
            self._last_price = round(Decimal(mid) / half_tick) * half_tick
        return self._last_price

    @property
    def wallet_balance(self) -> Decimal:
        """Quote balance with closed profit, fees, funding and what spot trades moved, without open profit."""
        book = self.position
        shares_purse = self.spot is not None and self.config.venue == "bybit"
        spot = self.spot.quote_flow if self.spot is not None and shares_purse else Decimal(0)
        return self._balance + book.realised_profit - book.fees + book.funding + spot

    @property
    def free_balance(self) -> Decimal:
        """Quote that neither position nor open orders of the contract need as margin."""
        return self.equity - self.position_margin - self.order_margin

    @property
    def unrealised_profit(self) -> Decimal:
        """Quote profit of the open position at the mark price."""
        return self.position.unrealised_profit(self.mark_price())

    @property
    def equity(self) -> Decimal:
        """Quote balance with open profit."""
        return self.wallet_balance + self.unrealised_profit

    @property
    def position_margin(self) -> Decimal:
        """Quote initial margin of the position."""
        return abs(self.position.qty) * self.mark_price() / self.leverage

    @property
    def order_margin(self) -> Decimal:
        """Quote initial margin open orders add on top of the position's, on the worse side."""
        return margin(self.state, self.mark_price(), self.leverage) - self.position_margin
