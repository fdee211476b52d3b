"""What has cost other people money, one class of incident a test: each ends with venue and journal in agreement.

The exchange carries out the fault, the executor is the real one, the client library is unmodified.
"""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from decimal import Decimal

import pytest
from desk import BUY, KEYS, SELL, created_ids, journalled_fills, last_states, settled, trading, wanted
from venue_client import Venue, serve, until

from mm_hybrid.clock import WallClock
from mm_hybrid.config import VenueConfig
from mm_hybrid.errors import GatewayError, JournalError
from mm_hybrid.execution import gateway as gateway_module
from mm_hybrid.execution import lanes as lanes_module
from mm_hybrid.execution.gateway import Gateway
from mm_hybrid.execution.lanes import Lane
from mm_hybrid.execution.orders import OrderState
from mm_hybrid.journal import JournalReader
from mm_hybrid.servers.exchange import VENUE_LIMITS
from mm_hybrid.servers.exchange.setup import Setup

D = Decimal


CROSSING = BUY._replace(price=D("60000.1"))
SILENT = {"on": "push_order", "fault": "drop"}


async def test_timeout_then_accepted(venue, tmp_path):
    venue.script({"on": "create", "fault": "accept_then_delay", "delay_ms": 3000, "nth": [1]}, SILENT)
    async with trading(venue.name, venue.url, tmp_path) as executor:
        executor.submit(wanted(BUY))
        await until(lambda: executor.unknown_orders)
        assert [order.remaining for order in executor.live_orders] == [BUY.qty], "unknown is exposure"
        await until(settled(executor, 1))
        assert venue.placed == 1, "never sent again"


async def test_duplicate_ack(venue, tmp_path):
    venue.script(
        {"on": "push_order", "fault": "duplicate"},
        {"on": "push_execution", "fault": "duplicate"},
    )
    async with trading(venue.name, venue.url, tmp_path) as executor:
        executor.submit(wanted(BUY, SELL))
        await until(settled(executor, 2))
        venue.fill("0.004")
        await until(lambda: executor.position.qty_base)
        await asyncio.sleep(0.2)
        assert executor.position.qty_base == D("0.004")
    assert len(journalled_fills(tmp_path)) == 1


async def test_fill_before_ack(venue, tmp_path):
    venue.script({"on": "create", "fault": "accept_then_delay", "delay_ms": 400, "nth": [1]})
    async with trading(venue.name, venue.url, tmp_path, timeout_s=2) as executor:
        executor.submit(wanted(BUY))
        await until(lambda: venue.open)
        venue.fill("1")
        executor.pull("one is enough")
        await until(lambda: executor.position.qty_base == BUY.qty)
        await until(lambda: executor.live_orders == ())
        await asyncio.sleep(0.5)
    (client_id,) = created_ids(tmp_path)
    assert last_states(tmp_path) == {client_id: "FILLED"}, "the late acknowledgement opens nothing again"
    assert [row[1:] for row in journalled_fills(tmp_path)] == [(client_id, BUY.qty)]


async def test_fill_after_cancel(venue, tmp_path):
    venue.script({"on": "push_execution", "fault": "delay", "delay_ms": 500})
    async with trading(venue.name, venue.url, tmp_path) as executor:
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        venue.fill("0.004")
        executor.pull("cancel what is left")
        await until(lambda: venue.open == [])
        await until(lambda: executor.position.qty_base == D("0.004"))
        await until(lambda: executor.live_orders == ())
    (client_id,) = created_ids(tmp_path)
    assert last_states(tmp_path) == {client_id: "CANCELED"}
    assert [row[1:] for row in journalled_fills(tmp_path)] == [(client_id, D("0.004"))]


async def test_fill_while_the_cancel_is_carried_out(venue, tmp_path):
    venue.script({"on": "cancel", "fault": "fill_during", "nth": [1]})
    async with trading(venue.name, venue.url, tmp_path) as executor:
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        executor.pull("too late")
        await until(lambda: executor.live_orders == ())
        assert executor.position.qty_base == venue.server.account.position.qty == BUY.qty
    assert list(last_states(tmp_path).values()) == ["FILLED"]


async def test_unanswered_cancel(venue, tmp_path):
    venue.script({"on": "cancel", "fault": "lose_request", "nth": [1, 2, 3]})
    async with trading(venue.name, venue.url, tmp_path) as executor:
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        executor.pull("go")
        await until(lambda: executor.live_orders[0].state is OrderState.PENDING_CANCEL)
        assert venue.open, "nothing was carried out"
        await asyncio.sleep(0.6)
        assert [order.remaining for order in executor.live_orders] == [BUY.qty], "never assumed cancelled"
        await until(lambda: venue.open == [])
        await until(lambda: executor.live_orders == ())


async def test_amend_across_reconnect(bybit, tmp_path):
    async with trading("bybit", bybit.url, tmp_path) as executor:
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        bybit.script({"on": "amend", "fault": "accept_then_reset", "nth": [1]}, SILENT)
        moved = BUY._replace(price=D("59980.0"))
        executor.submit(wanted(moved))
        await until(lambda: bybit.open == [("buy", moved.price, BUY.qty)])
        bybit.script({"on": "private_ws", "fault": "kill"})
        await until(lambda: executor.reconnects)
        bybit.heal()
        await until(settled(executor, 1))
        assert bybit.open == [("buy", moved.price, BUY.qty)]
        assert [(o.price, o.remaining) for o in executor.live_orders] == [(moved.price, BUY.qty)]


async def test_partial_then_full(venue, tmp_path):
    async with trading(venue.name, venue.url, tmp_path) as executor:
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        venue.fill("0.003")
        await until(lambda: executor.position.qty_base == D("0.003"))
        assert [order.remaining for order in executor.live_orders] == [D("0.007")]
        venue.fill("1")
        await until(lambda: executor.position.qty_base == D("0.010"))
        await asyncio.sleep(0.2)
        assert venue.placed == 1, "the approval was for one order's worth: nothing follows it unapproved"
        assert executor.live_orders == ()


async def test_lost_order_reappears(venue, tmp_path):
    venue.script({"on": "create", "fault": "accept_late", "delay_ms": 2600, "nth": [1]})
    async with trading(venue.name, venue.url, tmp_path) as executor:
        executor.submit(wanted(BUY))
        await until(lambda: executor.unknown_orders)
        executor.pull("not wanted any more")
        await until(lambda: executor.live_orders == ())
        (client_id,) = created_ids(tmp_path)
        await until(lambda: last_states(tmp_path)[client_id] == "NOT_PLACED")
        await until(lambda: venue.placed)
        await until(lambda: venue.open == [], 5)
        await until(lambda: executor.live_orders == (), 5)
    assert last_states(tmp_path) == {client_id: "CANCELED"}


async def test_lost_order_reappears_filled_while_nobody_listens(venue, tmp_path):
    rule = {"on": "create", "fault": "accept_late", "delay_ms": 2600, "nth": [1]}
    venue.script(rule, SILENT, {"on": "push_execution", "fault": "drop"})
    async with trading(venue.name, venue.url, tmp_path) as executor:
        executor.submit(wanted(BUY))
        await until(lambda: executor.unknown_orders)
        executor.pull("not wanted any more")
        await until(lambda: executor.live_orders == ())
        await until(lambda: venue.open)
        venue.fill("1")
    (client_id,) = created_ids(tmp_path)
    assert last_states(tmp_path) == {client_id: "FILLED"}, "a tombstone is looked up again before the end"
    assert [row[1:] for row in journalled_fills(tmp_path)] == [(client_id, BUY.qty)]


@pytest.mark.parametrize("told", [True, False], ids=["stream tells", "stream silent"])
async def test_id_collision(venue, tmp_path, told):
    other = await Gateway.connect(_config(venue), KEYS, WallClock())
    async with trading(venue.name, venue.url, tmp_path) as executor:
        venue.script(*([] if told else [SILENT]))
        await other.create(f"{executor._id_prefix}1", "sell", D("60500.0"), D("0.002"))
        await asyncio.sleep(0.1)
        executor.submit(wanted(BUY))
        await until(lambda: venue.open == [("buy", BUY.price, BUY.qty)])
        await until(settled(executor, 1))
        assert venue.placed == 2, "ours stands under the next id; the stray one is gone"
    await other.close()


@pytest.mark.parametrize("journal_kept", [True, False], ids=["warm", "cold"])
async def test_restart_mid_order(venue, tmp_path, journal_kept):
    first, second = tmp_path / "first", tmp_path / "first" if journal_kept else tmp_path / "second"
    first.mkdir()
    second.mkdir(exist_ok=True)
    venue.script({"on": "create", "fault": "accept_then_reset"}, SILENT)
    with pytest.raises(RuntimeError, match="as if killed"):  # noqa: PT012 (leaves the desk as a kill would)
        async with trading(venue.name, venue.url, first) as executor:
            executor.submit(wanted(BUY))
            await until(lambda: executor.unknown_orders)
            for task in executor._loops:
                task.cancel()
            await executor._streams.close()
            raise RuntimeError("as if killed")
    venue.fill("0.004")
    venue.heal()
    async with trading(venue.name, venue.url, second) as executor:
        assert venue.open == []
        assert executor.counters.orphans_canceled == 1
        assert executor.position.qty_base == D("0.004")
    if journal_kept:
        (client_id,) = created_ids(first)
        assert last_states(first) == {client_id: "CANCELED"}
        assert [row[1:] for row in journalled_fills(first)] == [(client_id, D("0.004"))]
    else:
        assert journalled_fills(second) == [], "what filled before the journal began is its opening position"


async def test_a_pulled_quote_does_not_wait_for_an_unanswered_amend(bybit, tmp_path):
    async with trading("bybit", bybit.url, tmp_path, timeout_s=3) as executor:
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        bybit.script({"on": "amend", "fault": "lose_request", "nth": [1]})
        executor.submit(wanted(BUY._replace(price=BUY.price - 50)))
        await until(lambda: executor.live_orders[0].state is OrderState.PENDING_AMEND)
        executor.pull("book is STALE")
        await until(lambda: bybit.open == [], 1)
        await until(lambda: executor.live_orders == ())


async def test_more_orders_than_a_second_s_rate_are_cancelled_under_the_venue_s_own_limits(tmp_path):
    for name in ("bybit", "bitget"):
        folder = tmp_path / name
        folder.mkdir()
        async with serve(name, rate_limits=VENUE_LIMITS[name]) as server:
            venue = Venue(server)
            levels = [BUY._replace(price=BUY.price - step, qty=D("0.001")) for step in range(14)]
            async with trading(name, venue.url, folder, timeout_s=2) as executor:
                executor.submit(wanted(*levels))
                await until(lambda venue=venue: len(venue.open) == 14, 15)
                assert await executor.stop("all of them") == 0
                assert venue.open == []


async def test_balance_reject_storm(venue, tmp_path):
    async with trading(venue.name, venue.url, tmp_path) as executor:
        venue.server.account.configure(Setup(balance=D(1)))
        for offset in range(20):
            executor.submit(wanted(BUY._replace(price=BUY.price - offset)))
            await asyncio.sleep(0.05)
        assert executor.counters.rejected == 1, "the side rests after a refusal for want of margin"
        assert executor.healthy, "a refusal on its merits is an answer, not an outage"
        assert executor.unknown_orders == 0


async def test_rate_limit_ban_while_quoting(venue, tmp_path, monkeypatch):
    monkeypatch.setattr(gateway_module, "BAN_S", 1.0)
    async with trading(venue.name, venue.url, tmp_path) as executor:
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        venue.script({"on": "any", "fault": "ip_ban"})
        for offset in range(1, 20):
            executor.submit(wanted(SELL._replace(price=SELL.price + offset)))
            await asyncio.sleep(0.05)
        banned = sum(venue.server.faults.counts.values())
        assert 0 < banned <= 8, "whoever goes on asking is banned for longer"
        assert [order.side for order in executor.live_orders][:1] == ["buy"], "what rests stays exposure"
        venue.heal()
        executor.pull("over")
        await until(lambda: venue.open == [])
        await until(lambda: executor.live_orders == ())


async def test_a_stop_during_a_ban_ends_in_time_and_cancels_what_it_knows(venue, tmp_path, monkeypatch):
    """With the ban as long as it is: ten minutes in which nothing may be asked, and a cancel now and then may pass."""
    monkeypatch.setattr(lanes_module, "CANCEL_BAN_HOLD_S", 1.0)
    async with trading(venue.name, venue.url, tmp_path, stop_s=3.0, drain_s=0.5) as executor:
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        venue.script({"on": "create", "fault": "ip_ban", "nth": [1]})
        executor._gateway.lanes.ban(600)
        async with asyncio.timeout(12):
            with pytest.raises(GatewayError, match="refuses this address"):
                await executor.stop("banned")
        await until(lambda: venue.open == [])


async def test_a_ban_pulls_quotes_instead_of_leaving_them_at_old_prices(venue, tmp_path, monkeypatch):
    monkeypatch.setattr(lanes_module, "CANCEL_BAN_HOLD_S", 1.0)
    async with trading(venue.name, venue.url, tmp_path, stop_s=3.0, drain_s=0.5) as executor:
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        executor._gateway.lanes.ban(600)
        assert not executor.healthy
        executor.submit(wanted(BUY._replace(price=BUY.price - 100)))
        await until(lambda: venue.open == [], 8)
        for queue in executor._gateway.lanes._queues.values():
            queue.bucket.blocked_until_ns = 0  # The ban is over.


async def test_an_order_the_rates_do_not_let_follow_its_target_is_cancelled(bybit, tmp_path):
    async with trading("bybit", bybit.url, tmp_path) as executor:
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        executor._gateway.lanes.hold(Lane.AMEND, 4.0)
        executor._gateway.lanes.hold(Lane.CREATE, 4.0)
        executor.submit(wanted(BUY._replace(price=BUY.price - 100)))
        await asyncio.sleep(0.3)
        assert bybit.open == [("buy", BUY.price, BUY.qty)], "it gets a moment"
        await until(lambda: bybit.open == [], 3)


async def test_an_order_unknown_through_an_hour_of_outage_is_still_looked_up(venue, tmp_path):
    venue.script({"on": "create", "fault": "accept_then_reset", "nth": [1]}, SILENT)
    async with trading(venue.name, venue.url, tmp_path) as executor:
        executor.submit(wanted(BUY))
        await until(lambda: executor.unknown_orders)
        (record,) = executor._account.orders.live()
        record.lookups = 5_000
        await until(settled(executor, 1))


async def test_a_request_that_fails_in_an_unforeseen_way_stops_trading_and_is_not_silent(
    venue, tmp_path, monkeypatch
):
    async with trading(venue.name, venue.url, tmp_path) as executor:
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))

        async def broken(*_: object) -> None:
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(executor._sender, "create", broken)
        executor.submit(wanted(BUY, SELL))
        await until(lambda: executor.halted)
        assert "ZeroDivisionError" in executor.halted
        await until(lambda: venue.open == [])


async def test_post_only_reject_loop(venue, tmp_path):
    async with trading(venue.name, venue.url, tmp_path) as executor:
        for _ in range(20):
            executor.submit(wanted(CROSSING))
            await asyncio.sleep(0.05)
        assert 1 <= executor.counters.post_only_crossed <= 6, "a side that crossed waits for a newer book"
        assert executor.counters.rejected == 0
        assert executor.healthy


async def test_clock_skew(venue, tmp_path):
    skew_ms = 3_000 if venue.name == "bybit" else 60_000
    async with trading(venue.name, venue.url, tmp_path) as executor:
        venue.script({"on": "server", "fault": "clock_skew", "skew_ms": -skew_ms})
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        assert executor.counters.unknown == 0, "a refused time stamp is a definite refusal"
        venue.heal()
        executor.submit(wanted(BUY, SELL))
        await until(settled(executor, 2))


async def test_a_clock_that_cannot_be_corrected_yet_halts_nothing(venue, tmp_path, monkeypatch):
    """The client library subtracts what a spoiled reply did not have."""
    skew_ms = 3_000 if venue.name == "bybit" else 60_000

    async def fails() -> None:
        raise TypeError("unsupported operand type(s) for -: 'int' and 'NoneType'")

    async with trading(venue.name, venue.url, tmp_path) as executor:
        venue.script({"on": "server", "fault": "clock_skew", "skew_ms": -skew_ms})
        with monkeypatch.context() as patched:
            patched.setattr(executor._gateway._exchange, "load_time_difference", fails)
            executor.submit(wanted(BUY))
            await asyncio.sleep(0.5)
            assert executor.halted is None
        await until(settled(executor, 1))


async def test_disk_full_on_journal_write(venue, tmp_path):
    with pytest.raises(JournalError, match="disk is full"):  # noqa: PT012 (closing the journal tells it last)
        async with trading(venue.name, venue.url, tmp_path) as executor:
            executor.submit(wanted(BUY))
            await until(settled(executor, 1))
            connection = executor._journal._writer._connection
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages}")
            for step in itertools.count(1):
                executor.submit(wanted(BUY._replace(price=BUY.price - step)))
                await asyncio.sleep(0.02)
                if executor._journal.failure is not None:
                    break
            await until(lambda: venue.open == [])  # Cancels go out although nothing can be written.
            assert not executor.healthy
            placed = venue.placed
            executor.submit(wanted(BUY, SELL))
            await asyncio.sleep(0.3)
            assert venue.placed == placed, "and nothing else does"
            assert await executor.stop("journal broken") == 0


async def test_a_writer_that_dies_of_anything_pulls_the_quotes_and_stops_in_time(venue, tmp_path):
    with pytest.raises(JournalError, match="OverflowError"):  # noqa: PT012 (closing the journal tells it last)
        async with trading(venue.name, venue.url, tmp_path, stop_s=3.0) as executor:
            executor.submit(wanted(BUY))
            await until(settled(executor, 1))
            executor._journal.advice(outcome="used", request_json="{}", snapshot_ns=1 << 70)
            await until(lambda: executor._journal.failure is not None)
            executor.pull("risk")
            await until(lambda: venue.open == [], seconds=2)
            assert executor.halted is not None
            assert not executor.healthy
            async with asyncio.timeout(8):
                assert await executor.stop("journal broken") == 0


async def test_a_cancel_does_not_wait_for_a_disk_that_is_busy(venue, tmp_path):
    async with trading(venue.name, venue.url, tmp_path) as executor:
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        await executor._journal.flush()
        other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")  # Somebody else writes, for longer than an order may rest.
        executor.submit(wanted(BUY, SELL))
        executor.pull("risk")
        await until(lambda: venue.open == [], seconds=2)
        assert venue.placed == 1, "and no order goes out unwritten"
        other.execute("ROLLBACK")
        other.close()
        await until(lambda: executor.live_orders == ())
        assert executor.halted is None
    with JournalReader(tmp_path / "journal.db") as reader:
        intents = [row.action for row in reader.intents()]
    assert "cancel" in intents, "the record follows"


async def test_orders_go_over_the_trade_stream_and_a_silent_one_is_no_hang(bybit, tmp_path):
    async with trading("bybit", bybit.url, tmp_path, orders_via="websocket") as executor:
        executor.submit(wanted(BUY, SELL))
        await until(settled(executor, 2))
        bybit.script({"on": "trade_ws", "fault": "no_reply"}, SILENT)
        executor.submit(wanted(BUY._replace(price=D("59980.0")), SELL))
        await until(lambda: ("buy", D("59980.0"), BUY.qty) in bybit.open)
        await until(settled(executor, 2))
        bybit.heal()
        executor.submit(wanted(BUY, SELL))
        await until(lambda: ("buy", BUY.price, BUY.qty) in bybit.open)
        await until(settled(executor, 2))


async def test_several_levels_go_in_one_request_and_a_refused_leg_does_not_hide(venue, tmp_path):
    levels = [BUY._replace(price=BUY.price - step) for step in range(5)]
    async with trading(venue.name, venue.url, tmp_path) as executor:
        executor.submit(wanted(*levels))
        await until(settled(executor, 5))
        assert len(venue.open) == 5
        deep = [*levels, SELL, SELL._replace(price=SELL.price + 5, qty=D("900"))]
        executor.submit(wanted(*deep))
        await until(lambda: executor.counters.rejected)
        await until(settled(executor, 6))
        executor.pull("all at once")
        await until(lambda: venue.open == [])
        await until(lambda: executor.live_orders == ())


def _config(venue: Venue) -> VenueConfig:
    return VenueConfig(name=venue.name, symbol="BTCUSDT", url=venue.url)


BLIND = [{"on": on, "fault": "omit"} for on in ("open_orders", "order_history", "order_detail", "executions")]


async def test_a_venue_whose_queries_show_nothing_for_a_moment_does_not_get_a_second_order(venue, tmp_path):
    """The order rests all the while; had it been given up, the same quote would be there twice."""
    async with trading(venue.name, venue.url, tmp_path) as executor:
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        await asyncio.sleep(1.3)  # Longer than the window.
        venue.script(*BLIND)
        await executor._reconcile()
        assert [order.remaining for order in executor.live_orders] == [BUY.qty], "still exposure"
        assert executor.unknown_orders == 1
        executor.submit(wanted(BUY))
        await asyncio.sleep(1.5)
        assert len(venue.open) == venue.placed == 1
        venue.heal()
        await until(lambda: executor.unknown_orders == 0)
        assert settled(executor, 1)()
    assert "NOT_PLACED" not in last_states(tmp_path).values()


async def test_a_start_whose_first_answers_show_nothing_still_ends_what_an_earlier_one_left(venue, tmp_path):
    async with trading(venue.name, venue.url, tmp_path) as first:
        first.submit(wanted(BUY))
        await until(settled(first, 1))
        await asyncio.sleep(1.3)
        for task in first._loops:
            task.cancel()
        first._stopping = True  # It dies without a stop; the streams go with the gateway.
        await first._streams.close()
    assert len(venue.open) == 1
    venue.script(*({**rule, "until_s": 1.0} for rule in BLIND))
    async with trading(venue.name, venue.url, tmp_path) as second:
        assert venue.open == [], "nothing is quoted before the venue has told of every order"
        assert second.live_orders == ()
    assert list(last_states(tmp_path).values()) == ["CANCELED"]


async def test_a_stop_asks_again_where_the_list_of_open_orders_is_suddenly_empty(venue, tmp_path):
    async with trading(venue.name, venue.url, tmp_path) as executor:
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        venue.script(
            {"on": "open_orders", "fault": "omit", "until_s": 1.0},
            *({"on": on, "fault": "reject", "code": code, "limit": 1} for on, code in _GONE[venue.name]),
        )
        assert await executor.stop("done") == 0
        assert venue.open == []


_GONE = {"bybit": [("cancel", 110001)], "bitget": [("cancel", 40768)]}
