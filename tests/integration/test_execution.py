"""Execution against a local exchange over real sockets, through an unmodified ccxt."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr

from mm_hybrid.breaker import BreakerState
from mm_hybrid.clock import WallClock
from mm_hybrid.config import VenueConfig
from mm_hybrid.errors import GatewayError, JournalError
from mm_hybrid.execution.executor import Executor, ExecutorTimes
from mm_hybrid.execution.gateway import Credentials, Gateway
from mm_hybrid.execution.lanes import Budget
from mm_hybrid.execution.orders import OrderState
from mm_hybrid.execution.resolve import ResolveConfig
from mm_hybrid.journal import Journal, JournalReader
from mm_hybrid.servers.exchange.app import ExchangeServer
from mm_hybrid.servers.exchange.config import ExchangeServerConfig
from mm_hybrid.servers.exchange.faults import FaultScript
from mm_hybrid.types import Approved, Quote

D = Decimal
KEYS = Credentials(
    api_key=SecretStr("demo-key"), secret=SecretStr("demo-secret"), password=SecretStr("demo-password")
)
TIMES = ExecutorTimes(reconcile_s=60, resolve=ResolveConfig(grace_s=0.2, window_s=1.5, pause_s=(0.2, 0.4)))
FAULTS = {"lose_reply": {"fault": "accept_then_delay", "delay_ms": 60_000}}
SPOILED_REPLIES = ["lose_reply", "accept_then_reset", "accept_then_broken_json", "accept_then_html"]
BID, ASK = D("60000.0"), D("60000.1")


@dataclass
class Trade:
    """One trade of the matching engine."""

    order_id: str
    price: str
    qty: str
    is_maker: bool = True
    print_id: str | None = "p1"
    print_price: str | None = "60000.0"
    exchange_ts_ns: int = field(default_factory=lambda: WallClock().now_ns())


class StandingMarket:
    """A market that stands still: orders rest unless they cross it, and trade when the test says so."""

    def __init__(self) -> None:
        self.orders: dict[str, tuple[str, str, str]] = {}

    def place(self, order_id, side, price, qty, *, post_only, ioc, now_ns):
        if self._crosses(side, price) and post_only:
            return "canceled", []
        self.orders[order_id] = (side, price, qty)
        return "open", []

    def amend(self, order_id, *, price, qty, now_ns):
        side, old_price, old_qty = self.orders[order_id]
        if price is not None and self._crosses(side, price):
            del self.orders[order_id]
            return "canceled", []
        self.orders[order_id] = (side, price or old_price, qty or old_qty)
        return "open", []

    def cancel(self, order_id):
        return self.orders.pop(order_id, None) is not None

    def mid(self):
        return float((BID + ASK) / 2)

    def is_synced(self):
        return True

    @staticmethod
    def _crosses(side, price):
        return D(price) >= ASK if side == "buy" else D(price) <= BID


@dataclass
class Exchange:
    """The exchange and what tests ask of it; ``requests`` are the trading requests it received, by kind."""

    venue: str
    server: ExchangeServer
    requests: list[str]

    def spoil(self, *, pushes: str | None = None, **requests: str) -> None:
        """Let every request of a kind, and every push, go wrong from now on; nothing goes wrong without any."""
        kinds = dict.fromkeys(("push_order", "push_execution", "push_position"), pushes) if pushes else {}
        rules = [
            FAULTS.get(fault, {"fault": fault}) | {"on": on} for on, fault in {**requests, **kinds}.items()
        ]
        self.server.faults.replace(FaultScript.parse({"rules": rules}, "test"))

    def drop_sockets(self) -> None:
        """Cut every private stream without a goodbye."""
        for sessions in self.server._streams.sessions:
            sessions.kill_all()

    def open_orders(self) -> list[tuple[str, Decimal, Decimal]]:
        return sorted((o.side, o.price, o.qty) for o in self.server.account.open_orders())

    def only(self):
        (order,) = self.server.account.open_orders()
        return order

    def trade(self, order, qty: str) -> None:
        self.server.account.book_trades([Trade(order.order_id, str(order.price), qty)])

    def config(self, url: str | None = None) -> VenueConfig:
        return VenueConfig(name=self.venue, symbol="BTCUSDT", url=url or self.server.url)


@pytest.fixture(params=["bybit", "bitget"])
async def exchange(request) -> AsyncIterator[Exchange]:
    config, requests = ExchangeServerConfig(venue=request.param), []
    witness = lambda endpoint, _: requests.append(endpoint)  # noqa: E731
    async with ExchangeServer(config, StandingMarket(), before_accept=witness) as server:
        yield Exchange(request.param, server, requests)


@asynccontextmanager
async def trading(exchange: Exchange, path: Path, *, timeout_s: float = 1.0) -> AsyncIterator[Executor]:
    clock = WallClock()
    journal = Journal.open(path / "journal.db", clock)
    gateway = await Gateway.connect(exchange.config(), KEYS, clock, timeout_s=timeout_s)
    try:
        await journal.session(mode="paper", exchange=exchange.venue, instrument=gateway.instrument)
        executor = Executor(gateway, journal, clock, gateway.instrument, times=TIMES)
        await executor.start()
        yield executor
        if not executor._stopping:
            await executor.stop("end of test")
    finally:
        await gateway.close()
        await journal.close()


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (states of several parts, some across a socket)
            await asyncio.sleep(0.01)


def wanted(*quotes: Quote) -> Approved:
    return Approved(quotes=quotes)


BUY = Quote("buy", D("59990.0"), D("0.010"))
SELL = Quote("sell", D("60010.0"), D("0.010"))


def settled(executor: Executor, count: int) -> Callable[[], bool]:
    return lambda: [o.state for o in executor.live_orders] == [OrderState.OPEN] * count


async def test_quotes_are_placed_kept_moved_and_pulled(exchange, tmp_path):
    async with trading(exchange, tmp_path) as executor:
        executor.submit(wanted(BUY, SELL))
        await until(settled(executor, 2))
        assert exchange.open_orders() == [("buy", BUY.price, BUY.qty), ("sell", SELL.price, SELL.qty)]

        placed = executor.counters.orders_placed
        executor.submit(wanted(BUY, SELL))
        await asyncio.sleep(0.2)
        assert executor.counters.orders_placed == placed, "what rests already is kept"

        moved = BUY._replace(price=D("59980.0"))
        executor.submit(wanted(moved, SELL))
        await until(lambda: ("buy", D("59980.0"), BUY.qty) in exchange.open_orders())
        await until(settled(executor, 2))
        assert executor.counters.amended == (1 if exchange.venue == "bybit" else 0)
        assert executor.counters.canceled == (0 if exchange.venue == "bybit" else 1)

        executor.pull("test")
        await until(lambda: exchange.open_orders() == [])
        await until(lambda: executor.live_orders == ())


async def test_a_fill_pushed_twice_and_queried_again_moves_the_position_once(exchange, tmp_path):
    exchange.spoil(pushes="duplicate")
    booked = []
    async with trading(exchange, tmp_path) as executor:
        executor.on_fill = lambda fill: booked.append(fill) or D("60000.05")
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        exchange.trade(exchange.only(), "0.004")
        await until(lambda: executor.position.qty_base)
        await executor._reconcile()
        assert executor.position.qty_base == D("0.004")
        assert executor.position.cash_quote == -D("0.004") * BUY.price
        assert executor.position.fees_quote == -D("0.004") * BUY.price * D("0.00001")
        assert [o.remaining for o in executor.live_orders] == [D("0.006")]
    assert len(booked) == 1
    with JournalReader(tmp_path / "journal.db") as reader:
        (fill,) = reader.fills()
    assert (fill.client_id, fill.mid, fill.is_maker) == (booked[0].client_id, D("60000.05"), True)
    assert fill.client_id.startswith("mm-")


async def test_a_post_only_order_that_would_cross_is_a_normal_outcome(exchange, tmp_path):
    async with trading(exchange, tmp_path) as executor:
        executor.submit(wanted(Quote("buy", ASK, D("0.010"))))
        await until(lambda: executor.counters.post_only_crossed)
        executor.pull("enough")
        await until(lambda: executor.live_orders == ())
        assert (executor.counters.rejected, executor.counters.unknown) == (0, 0)
        assert executor.healthy


@pytest.mark.parametrize("fault", SPOILED_REPLIES)
async def test_an_order_that_landed_behind_a_spoiled_reply_is_found_and_never_sent_twice(
    exchange, tmp_path, fault
):
    exchange.spoil(create=fault)
    async with trading(exchange, tmp_path) as executor:
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        assert exchange.open_orders() == [("buy", BUY.price, BUY.qty)]
        assert exchange.requests.count("create") == 1


async def test_an_order_whose_pushes_and_reply_are_lost_is_looked_up(exchange, tmp_path):
    async with trading(exchange, tmp_path) as executor:
        exchange.spoil(create="lose_reply", pushes="drop")
        executor.submit(wanted(BUY))
        await until(lambda: executor.unknown_orders)
        assert [o.remaining for o in executor.live_orders] == [BUY.qty], "unknown counts as live"
        await until(settled(executor, 1))
        assert executor.counters.unknown == 1
        exchange.spoil()


async def test_a_request_that_never_arrived_is_unknown_first_and_not_placed_after_the_window(
    exchange, tmp_path
):
    async with trading(exchange, tmp_path) as executor:
        exchange.spoil(create="lose_request")
        executor.submit(wanted(BUY))
        await until(lambda: executor.unknown_orders)
        executor.pull("do not place it again")
        await until(lambda: executor.live_orders == ())
        assert exchange.requests.count("create") == 1
    with JournalReader(tmp_path / "journal.db") as reader:
        states = [row.state for row in reader.outcomes()]
    assert states == ["PENDING_UNKNOWN", "PENDING_CANCEL", "NOT_PLACED"], (
        "a cancel is a fence, its failure no proof"
    )


async def test_what_happened_during_a_stream_outage_is_taken_in_before_quoting_resumes(exchange, tmp_path):
    async with trading(exchange, tmp_path) as executor:
        executor.submit(wanted(BUY, SELL))
        await until(settled(executor, 2))
        exchange.spoil(pushes="drop")
        order = next(o for o in exchange.server.account.open_orders() if o.side == "buy")
        exchange.trade(order, "0.010")
        exchange.drop_sockets()
        await until(lambda: not executor.healthy)
        exchange.spoil()
        await until(lambda: executor.healthy)
        assert executor.position.qty_base == D("0.010")
        assert executor.reconnects >= 1


async def test_stopping_cancels_everything_and_the_venue_confirms_it(exchange, tmp_path):
    async with trading(exchange, tmp_path) as executor:
        executor.submit(wanted(BUY, SELL))
        await until(settled(executor, 2))
        assert await executor.stop("done") == 0
        assert exchange.open_orders() == []
        assert executor.live_orders == ()


async def test_every_order_at_the_venue_has_its_intent_in_the_journal_first(exchange, tmp_path):
    known: list[bool] = []
    place = exchange.server.account._matching.place

    def placed(order_id, *args, **kwargs):
        client_id = exchange.server.account.find(order_id=order_id).client_id
        with JournalReader(tmp_path / "journal.db") as reader:
            known.append(client_id in {intent.client_id for intent in reader.intents()})
        return place(order_id, *args, **kwargs)

    exchange.server.account._matching.place = placed
    async with trading(exchange, tmp_path) as executor:
        executor.submit(wanted(BUY, SELL))
        await until(settled(executor, 2))
    assert known == [True, True]


async def test_an_order_left_by_an_earlier_start_is_cancelled_and_a_stranger_s_is_not(exchange, tmp_path):
    clock = WallClock()
    gateway = await Gateway.connect(exchange.config(), KEYS, clock)
    await gateway.create("mm-earlier-1", "buy", D("59000.0"), D("0.010"))
    await gateway.create("manual-1", "buy", D("58000.0"), D("0.010"))
    await gateway.close()
    async with trading(exchange, tmp_path) as executor:
        assert executor.counters.orphans_canceled == 1
        assert exchange.open_orders() == [("buy", D("58000.0"), D("0.010"))]
    with JournalReader(tmp_path / "journal.db") as reader:
        assert next((i.action, i.client_id) for i in reader.intents()) == ("cancel", "mm-earlier-1")


async def test_a_broken_journal_stops_new_orders_but_not_cancels(exchange, tmp_path):
    with pytest.raises(JournalError, match="cannot write"):  # noqa: PT012 (closing the journal tells it last)
        async with trading(exchange, tmp_path) as executor:
            executor.submit(wanted(BUY))
            await until(settled(executor, 1))
            journal = executor._journal
            journal._writer._connection.execute("PRAGMA query_only = 1")
            executor.submit(wanted(BUY, SELL))
            await until(lambda: journal.failure is not None)
            await until(lambda: exchange.open_orders() == [])
            assert not executor.healthy
            assert await executor.stop("journal broken") == 0
    assert exchange.requests.count("create") == 1


async def test_a_wrong_key_is_one_line(exchange):
    wrong = Credentials(api_key=SecretStr("nobody"), secret=SecretStr("nothing"), password=SecretStr("x"))
    with pytest.raises(GatewayError, match="API key was refused") as caught:
        await Gateway.connect(exchange.config(), wrong, WallClock())
    assert "\n" not in str(caught.value)
    assert "nothing" not in str(caught.value)
    assert "nothing" not in repr(wrong)


async def test_an_unknown_symbol_and_an_unreachable_host_are_one_line_each(exchange):
    config = VenueConfig(name=exchange.venue, symbol="DOGEUSDT", url=exchange.server.url)
    with pytest.raises(GatewayError, match="no linear perpetual DOGEUSDT"):
        await Gateway.connect(config, KEYS, WallClock())
    config = VenueConfig(name=exchange.venue, symbol="BTCUSDT", url="http://127.0.0.1:1")
    with pytest.raises(GatewayError, match="cannot reach"):
        await Gateway.connect(config, KEYS, WallClock())


async def test_an_override_that_leads_off_this_machine_is_refused_before_any_request(exchange):
    config = VenueConfig(name=exchange.venue, symbol="BTCUSDT", url="https://192.0.2.1")
    with pytest.raises(GatewayError, match="not on this machine"):
        await Gateway.connect(config, KEYS, WallClock())


async def test_more_open_orders_than_a_page_holds_are_all_found_and_cancelled(exchange, tmp_path):
    gateway = await Gateway.connect(
        exchange.config(),
        KEYS,
        WallClock(),
        budget=Budget(shared_per_s=500, cancel_per_s=400, read_per_s=100),
    )
    for i in range(103):
        await gateway.create(f"mm-earlier-{i}", "buy", D("59000.0") - i, D("0.001"))
    assert len({order.client_id for order in await gateway.open_orders()}) == 103
    await gateway.close()


async def test_a_clock_that_is_off_is_resynchronised(exchange, tmp_path):
    async with trading(exchange, tmp_path) as executor:
        executor._gateway._exchange.options["timeDifference"] = 3_600_000
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        assert abs(executor._gateway._exchange.options["timeDifference"]) < 2_000


async def test_an_amend_whose_reply_is_lost_is_taken_from_the_venue(exchange, tmp_path):
    if exchange.venue == "bitget":
        pytest.skip("Bitget's amend is a new order and is not used")
    async with trading(exchange, tmp_path) as executor:
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        exchange.spoil(amend="lose_reply", pushes="drop")
        executor.submit(wanted(BUY._replace(price=D("59980.0"))))
        await until(lambda: [o.price for o in executor.live_orders] == [D("59980.0")])
        assert exchange.requests.count("amend") == 1


async def test_a_venue_that_mostly_fails_opens_the_breaker_and_everything_is_pulled(exchange, tmp_path):
    async with trading(exchange, tmp_path) as executor:
        executor.submit(wanted(SELL))
        await until(settled(executor, 1))
        exchange.spoil(create="accept_then_html")
        for distance in range(1, 20):
            executor.submit(wanted(BUY._replace(price=BUY.price - distance), SELL))
            await until(lambda: len(executor.live_orders) == 2 or not executor.healthy)
            await until(lambda: not executor.unknown_orders)
            if not executor.healthy:
                break
            executor.submit(wanted(SELL))
            await until(lambda: len(executor.live_orders) <= 1)
        assert executor.metrics["breakers"]["create"] == BreakerState.OPEN
        await until(lambda: exchange.open_orders() == [])
        exchange.spoil()
        executor.submit(wanted(SELL))
        await until(settled(executor, 1), 20)
        assert executor.healthy


@pytest.mark.parametrize("seed", range(3))
async def test_through_a_storm_of_faults_nothing_is_lost_and_nothing_doubled(exchange, tmp_path, seed):
    dice = random.Random(f"{exchange.venue}-{seed}")
    most = D(0)
    async with trading(exchange, tmp_path, timeout_s=0.5) as executor:
        for _ in range(60):
            spoiled = {
                kind: dice.choice([*SPOILED_REPLIES, "lose_request"])
                for kind in ("create", "amend", "cancel")
                if dice.random() < 0.3
            }
            exchange.spoil(pushes=dice.choice(["drop", None, None, "duplicate"]), **spoiled)
            offset = D(dice.randrange(1, 30))
            quotes = [BUY._replace(price=BID - offset), SELL._replace(price=ASK + offset)]
            executor.submit(wanted(*dice.sample(quotes, dice.randrange(3))))
            await asyncio.sleep(0.05)
            for order in list(exchange.server.account.open_orders()):
                if dice.random() < 0.1:
                    exchange.trade(order, str(dice.choice([order.remaining_qty, D("0.001")])))
            for side in ("buy", "sell"):
                resting = (o.remaining_qty for o in exchange.server.account.open_orders() if o.side == side)
                most = max(most, sum(resting, D(0)))
            if dice.random() < 0.05:
                exchange.drop_sockets()
        exchange.spoil()
        assert await executor.stop("storm over") == 0
        assert executor.unknown_orders == 0
        assert executor.live_orders == ()
        assert executor.position.qty_base == exchange.server.account.position.qty

    assert exchange.open_orders() == []
    assert most <= BUY.qty, "one order a side was wanted, so never more than one may rest"
    with JournalReader(tmp_path / "journal.db") as reader:
        fills = {fill.exec_id: fill for fill in reader.fills()}
        intended = {intent.client_id for intent in reader.intents() if intent.action == "create"}
        last = {row.client_id: row.state for row in reader.outcomes()}
    ledger = exchange.server.account.ledger.executions
    assert {e.exec_id: (e.client_id, e.price, e.qty, -e.fee) for e in ledger} == {
        f.exec_id: (f.client_id, f.price, f.qty, f.fee_quote) for f in fills.values()
    }
    at_venue = [order.client_id for order in exchange.server.account.ended_orders()]
    assert len(at_venue) == len(set(at_venue))
    assert set(at_venue) <= intended
    for order in exchange.server.account.ended_orders():
        assert last[order.client_id] == order.status.value.upper()
    assert all(last[client_id] == "NOT_PLACED" for client_id in intended - set(at_venue))


MAKER = """
import asyncio, sys
sys.path.insert(0, sys.argv[4])
from pathlib import Path
from types import SimpleNamespace
import test_execution as spec

async def main(venue, url, folder):
    config = spec.VenueConfig(name=venue, symbol="BTCUSDT", url=url)
    exchange = SimpleNamespace(venue=venue, config=lambda: config)
    async with spec.trading(exchange, Path(folder)) as executor:
        executor.submit(spec.wanted(spec.BUY, spec.SELL))
        await spec.until(spec.settled(executor, 2))
        print("quoting", flush=True)
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:4]))
"""


async def test_after_a_kill_the_next_start_finds_and_cancels_what_was_left(exchange, tmp_path):
    arguments = [exchange.venue, exchange.server.url, str(tmp_path), str(Path(__file__).parent)]
    maker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MAKER, *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert await maker.stdout.readline() == b"quoting\n"
    maker.kill()
    await maker.wait()
    assert len(exchange.open_orders()) == 2
    exchange.trade(next(o for o in exchange.server.account.open_orders() if o.side == "buy"), "0.003")

    async with trading(exchange, tmp_path) as executor:
        assert exchange.open_orders() == []
        assert executor.counters.orphans_canceled == 2
        assert executor.position.qty_base == D("0.003"), "what filled meanwhile is in the position"
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
    with JournalReader(tmp_path / "journal.db") as reader:
        first, second = reader.sessions()
        created = [intent.client_id for intent in reader.intents() if intent.action == "create"]
    assert second.boot_epoch > first.boot_epoch
    assert len(created) == len(set(created)) == 3
