"""Incidents of the account beside its orders: positions, trades nobody here made, funding and fees in any coin."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest
from desk import BUY, KEYS, SELL, TIMES, created_ids, journalled_fills, settled, trading, wanted
from venue_client import SYMBOL, Venue, connect, serve, until

from mm_hybrid.clock import WallClock
from mm_hybrid.config import VenueConfig
from mm_hybrid.errors import RiskStopError
from mm_hybrid.execution.gateway import Gateway
from mm_hybrid.journal import JournalReader, replay

D = Decimal


async def test_unexplained_venue_position(venue, tmp_path):
    alerts: list[str] = []
    async with trading(venue.name, venue.url, tmp_path, alerts=alerts, reconcile_s=0.3) as executor:
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        venue.server.account.position.qty += D("0.5")
        await until(lambda: executor.halted)
        assert "0.5" in executor.halted
        assert executor.position.qty_base == 0, "no fill is invented"
        await until(lambda: venue.open == [])
    assert any("difference  +0.5" in line for line in alerts)
    assert journalled_fills(tmp_path) == []

    with pytest.raises(RiskStopError, match="adopt_position"):
        async with trading(venue.name, venue.url, tmp_path):
            pass
    assert venue.open == []


async def test_a_position_a_person_has_looked_at_is_taken_over_once(venue, tmp_path):
    async with trading(venue.name, venue.url, tmp_path) as executor:
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
    venue.server.account.position.qty += D("0.5")
    with pytest.raises(RiskStopError, match="adopt_position"):
        async with trading(venue.name, venue.url, tmp_path):
            pass
    async with trading(venue.name, venue.url, tmp_path, adopt_position=True) as executor:
        assert executor.position.qty_base == D("0.5")
    async with trading(venue.name, venue.url, tmp_path) as executor:
        assert executor.position.qty_base == D("0.5"), "the journal explains it from now on"


async def _trade_on(venue: Venue, times: int) -> None:
    for _ in range(times):
        venue.fill("0.001")
        await asyncio.sleep(0.05)


async def test_a_busy_account_is_no_position_difference(venue, tmp_path):
    """Executions between the question and the answer, and pushes behind them, explain what the venue says."""
    async with trading(venue.name, venue.url, tmp_path) as executor:
        executor.submit(wanted(BUY._replace(qty=D("1"))))
        await until(settled(executor, 1))
        venue.script({"on": "push_execution", "fault": "delay", "delay_ms": 150})
        position = executor._gateway.position

        async def slow() -> Decimal:
            answer = await position()
            await asyncio.sleep(0.1)
            return answer

        executor._gateway.position = slow
        trades = asyncio.create_task(_trade_on(venue, 40))
        for _ in range(6):
            assert await executor._reconciler.check_position() is None
        await trades


async def test_an_execution_whose_order_the_venue_does_not_show_yet_stays_ours(tmp_path):
    """Bitget's executions carry no client id, and its order query may lag behind them: absence is no proof."""
    async with serve("bitget", state=tmp_path / "state.db") as server:
        venue = Venue(server)
        async with trading("bitget", venue.url, tmp_path, unmatched_s=0.2) as executor:
            venue.script(
                {"on": "create", "fault": "accept_then_reset", "nth": [1]},
                {"on": "order_detail", "fault": "reject", "code": "40109", "until_s": 0.9},
                {"on": "push_order", "fault": "drop"},
                {"on": "push_execution", "fault": "drop"},
            )
            executor.submit(wanted(BUY))
            await until(lambda: venue.open)
            venue.fill("1")
            executor.pull("one is enough")
            await executor._reconciler.fetch()
            await until(lambda: executor.position.qty_base == BUY.qty, 5)
            await until(lambda: executor.live_orders == ())
            assert executor.halted is None
        (client_id,) = created_ids(tmp_path)
        assert [row[1:] for row in journalled_fills(tmp_path)] == [(client_id, BUY.qty)]


async def test_a_start_asks_again_for_executions_that_died_waiting_for_their_order(tmp_path):
    """What waits is in memory only: the time up to which everything is known must not pass it."""
    async with serve("bitget", state=tmp_path / "state.db") as server:
        venue = Venue(server)
        async with trading("bitget", venue.url, tmp_path, unmatched_s=60) as executor:
            venue.script(
                {"on": "order_detail", "fault": "reject", "code": "40109"},
                {"on": "push_execution", "fault": "drop"},
            )
            executor._reconciler._overlapped_ms = server.account.now_ms  # as if it had waited for very long
            other = connect(server)
            await other.create_order(SYMBOL, "market", "buy", 0.003)
            await other.close()
            await executor._reconciler.fetch(last=True)
            assert executor.position.qty_base == 0, "whose it is cannot be known yet"
            assert executor._account.executed_base == D("0.003")
            await asyncio.sleep(0.01)
            await executor._reconciler.fetch(last=True)
            executor._stopping = True  # what follows is a death: nothing is settled
            for task in executor._loops:
                task.cancel()
            await executor._streams.close()
        venue.heal()
        async with trading("bitget", venue.url, tmp_path) as executor:
            assert executor.position.qty_base == D("0.003")
            assert executor.halted is None


async def test_a_venue_s_own_trade_is_taken_in_and_explains_the_position(venue, tmp_path):
    from mm_hybrid.servers.exchange.events import adl

    async with trading(venue.name, venue.url, tmp_path, reconcile_s=0.3) as executor:
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        venue.fill("1")
        await until(lambda: executor.position.qty_base == BUY.qty)
        adl(venue.server.account, D("0.004"))
        await until(lambda: executor.position.qty_base == D("0.006"))
        await asyncio.sleep(0.7)
        assert executor.halted is None


async def test_a_trade_made_by_hand_on_the_account_explains_the_position_and_is_nobody_s(venue, tmp_path):
    from mm_hybrid.servers.exchange.events import foreign_order

    async with trading(venue.name, venue.url, tmp_path, reconcile_s=0.3) as executor:
        venue.script({"on": "push_execution", "fault": "drop"})
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        foreign_order(venue.server.account, "buy", None, D("0.004"))
        await until(lambda: executor.position.qty_base == D("0.004"))
        await asyncio.sleep(0.7)
        assert executor.halted is None
        assert executor.counters.fills == 0, "it is in the position and not ours"
    assert [row[1:] for row in journalled_fills(tmp_path)] == [("", D("0.004"))]


async def test_a_trade_of_another_program_found_by_asking_is_told_as_a_pushed_one_is(venue, tmp_path):
    alerts: list[str] = []
    config = VenueConfig(name=venue.name, symbol="BTCUSDT", url=venue.url)
    other = await Gateway.connect(config, KEYS, WallClock())
    async with trading(venue.name, venue.url, tmp_path, alerts=alerts, reconcile_s=0.3) as executor:
        venue.script({"on": "push_execution", "fault": "drop"})
        await other.create("otherbot-1", "buy", BUY.price, BUY.qty)
        await until(lambda: venue.open)
        venue.fill("1")
        await until(lambda: executor.position.qty_base == BUY.qty)
        assert executor.counters.fills == 0
        assert any("is not of our orders" in line for line in alerts)
    await other.close()


async def test_funding_is_cash_of_its_own_and_counts_once(venue, tmp_path):
    from mm_hybrid.servers.exchange.events import fund

    times = replace(TIMES.reconcile, funding_s=0.1)
    async with trading(venue.name, venue.url, tmp_path, reconcile_s=0.2, reconcile=times) as executor:
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        venue.fill("1")
        await until(lambda: executor.position.qty_base == BUY.qty)
        paid = fund(venue.server.account, D("0.0001")).amount
        assert paid < 0, "a long position pays a positive rate"
        await until(lambda: executor.position.funding_quote)
        await asyncio.sleep(0.5)
        assert executor.position.funding_quote == paid
        assert executor.halted is None
    assert replay(tmp_path / "journal.db").position.funding_quote == paid


async def test_negative_fee(tmp_path):
    for name in ("bybit", "bitget"):
        folder = tmp_path / name
        folder.mkdir()
        async with serve(name, maker_fee_rate=D("-0.0001")) as server:
            venue = Venue(server)
            async with trading(name, venue.url, folder) as executor:
                executor.submit(wanted(BUY))
                await until(settled(executor, 1))
                venue.fill("1")
                await until(lambda executor=executor: executor.position.qty_base)
                rebate = BUY.price * BUY.qty * D("0.0001")
                assert executor.position.fees_quote == rebate, "a rebate is cash received"
                assert -server.account.position.fees == rebate


async def test_fee_in_a_third_token(tmp_path):
    for name, coin in (("bybit", "MNT"), ("bitget", "BGB")):
        folder = tmp_path / name
        folder.mkdir()
        alerts: list[str] = []
        async with serve(name, fee_coin=coin, fee_coin_price=D("0.8"), maker_fee_rate=D("0.0002")) as server:
            venue = Venue(server)
            async with trading(name, venue.url, folder, alerts=alerts) as executor:
                executor.submit(wanted(BUY, SELL))
                await until(settled(executor, 2))
                venue.fill("0.004")
                await until(lambda executor=executor: executor.position.qty_base)
                assert executor.position.fees_quote == 0, "no price is known of it yet"
                assert sum(coin in line for line in alerts) == 1, "and somebody is told, once"
                executor._gateway.fees.learn(D("0.8"))
                venue.fill("0.006")
                await until(lambda executor=executor: executor.position.qty_base == BUY.qty)
                assert executor.position.fees_quote == -BUY.price * D("0.006") * D("0.0002")
                assert server.account.position.fees == 0, "nothing was taken in the quote coin"
                assert executor.healthy
                paid = server.account.position.other_fees
        with JournalReader(folder / "journal.db") as reader:
            fees = [(row.fee_currency, row.fee) for row in reader.fills()]
        assert {currency for currency, _ in fees} == {coin}
        assert -sum(fee for _, fee in fees) == paid, "the amount in the coin itself is on record"


async def test_foreign_orders_are_reported_once_and_left_alone(venue, tmp_path):
    from mm_hybrid.servers.exchange.events import foreign_order

    foreign_order(venue.server.account, "buy", D("58000.0"), D("0.010"))
    alerts: list[str] = []
    async with trading(venue.name, venue.url, tmp_path, alerts=alerts, reconcile_s=0.2) as executor:
        executor.submit(wanted(BUY))
        await until(settled(executor, 1))
        await asyncio.sleep(0.5)
        assert await executor.stop("done") == 0
    assert venue.open == [("buy", D("58000.0"), D("0.010"))]
    assert len([line for line in alerts if "not ours" in line]) == 1
