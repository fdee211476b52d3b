"""What an execution does to the account: once, journalled whatever follows, and never somebody else's as our own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from mm_hybrid.clock import ManualClock
from mm_hybrid.execution.account import Account
from mm_hybrid.execution.orders import OrderRecord, OrderState, VenueOrder
from mm_hybrid.execution.reconcile import Reconciler, ReconcileTimes
from mm_hybrid.journal import Journal, JournalReader, replay
from mm_hybrid.types import Fill, Funding

D = Decimal
NOW_MS = 1_000_000


def a_fill(exec_id: str, *, client_id: str = "mm-1-1", at_ms: int = NOW_MS, qty: int = 3) -> Fill:
    return Fill(
        exec_id=exec_id, client_id=client_id, order_id="5", side="buy", price=D(100), qty=D(qty), fee=D(0),
        fee_quote=D(0), fee_currency="USDT", is_maker=True, exchange_ts_ns=at_ms * 1_000_000, local_ts_ns=0,
    )  # fmt: skip


class Venue:
    """A venue that lists what a test says, in the order in which it is asked."""

    def __init__(self, *listed: list[Fill], position: int) -> None:
        self._listed = list(listed)
        self._position = D(position)

    async def executions(self, since_ms: int) -> list[Fill]:
        return self._listed.pop(0) if len(self._listed) > 1 else self._listed[0]

    async def position(self) -> Decimal:
        return self._position

    async def open_orders(self) -> list[VenueOrder]:
        return []

    async def funding(self, since_ms: int) -> list[Funding]:
        return []

    async def refresh_fee_prices(self) -> None:
        pass

    def server_ms(self) -> int:
        return NOW_MS


class Desk:
    """An account with its journal, told of everything."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(1_000)
        self.path = folder / "j.db"
        self.journal = Journal.open(self.path, self.clock)
        self.foreign: list[str] = []
        self.broken: list[str] = []
        self.account = Account(
            self.journal,
            self.clock,
            changed=lambda: None,
            stranger=lambda _order: None,
            foreign=lambda fill: self.foreign.append(fill.exec_id),
            ours=lambda client_id: client_id.startswith("mm-"),
            broken=lambda error: self.broken.append(str(error)),
        )

    def reconciler(self, venue: Venue) -> Reconciler:
        async def nothing(*_: object) -> None:
            pass

        return Reconciler(
            venue, self.account, self.journal, self.clock, ReconcileTimes(position_check_s=0.001),
            on_fill=self.account.take_fill, look_up=nothing, owners=nothing, symbol="BTCUSDT",
        )  # fmt: skip

    def order(self, client_id: str = "mm-1-1") -> OrderRecord:
        record = OrderRecord(
            client_id=client_id, side="buy", price=D(100), qty=D(3), since_ns=0, state=OrderState.SENT
        )
        self.account.orders.add(record)
        return record

    async def take_over(self, venue: Venue) -> Reconciler:
        reconciler = self.reconciler(venue)
        opening = await reconciler.opening()
        self.account.orders.know(opening.contains)
        self.account.open_with(opening.qty_base, until_ms=opening.until_ms)
        self.journal.opening(opening.qty_base, "first start", contains=opening.contains)
        return reconciler

    @property
    def position(self) -> Decimal:
        return self.account.position.qty_base

    async def replayed(self) -> tuple[Decimal, set[str]]:
        await self.journal.flush()
        state = replay(self.path)
        return state.position.qty_base, set(state.exec_ids)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    await desk.journal.close()


@pytest.mark.parametrize("client_id", ["mm-0-9", "otherbot-1", ""])
async def test_a_trade_listed_after_the_position_that_contains_it_is_not_booked_again(desk, client_id):
    late = a_fill("x1", client_id=client_id, at_ms=NOW_MS - 1)
    reconciler = await desk.take_over(Venue([], [], [late], position=3))
    desk.clock.advance(1)
    await reconciler.fetch()
    desk.clock.advance(1)
    assert await reconciler.run() is None
    assert desk.position == desk.account.executed_base == 3
    assert desk.account.counters.fills == 0
    assert await desk.replayed() == (D(3), {"x1"}), "and the next start knows it too"


async def test_the_position_to_take_over_is_asked_for_until_two_looks_agree(desk):
    venue = Venue([], [a_fill("x1")], position=3)
    opening = await desk.reconciler(venue).opening()
    assert (opening.qty_base, opening.contains) == (3, {"x1"})


async def test_what_trades_after_the_take_over_is_booked(desk):
    reconciler = await desk.take_over(Venue([], [], [a_fill("x2", at_ms=NOW_MS + 1)], position=3))
    await reconciler.fetch()
    assert desk.position == 6


async def test_the_venue_s_position_decides_which_trades_listed_late_it_contained(desk):
    """Where the clocks are not to be trusted, as on a replay of an old day: the first is in it, the second is not."""
    first, second = a_fill("x1", client_id="", at_ms=NOW_MS - 9, qty=1), a_fill("x2", client_id="", at_ms=5)
    second = replace(second, exchange_ts_ns=first.exchange_ts_ns + 1)
    venue = Venue([], [], [first, second], position=3)
    reconciler = await desk.take_over(venue)
    desk.clock.advance(1)
    await reconciler.fetch()
    desk.clock.advance(1)
    venue._position = D(6)
    assert await reconciler.run() is None
    assert desk.position == desk.account.executed_base == 6
    assert await desk.replayed() == (D(6), {"x1", "x2"})


async def test_an_order_sent_after_the_take_over_is_never_part_of_it_whatever_the_clocks_say(desk):
    await desk.take_over(Venue([], position=3))
    desk.order("mm-2-1")
    desk.account.take_fill(a_fill("x3", client_id="mm-2-1", at_ms=NOW_MS - 500))
    assert desk.position == 6


async def test_a_trade_of_another_program_is_told_and_never_counted_as_ours_whoever_finds_it(desk):
    await desk.reconciler(Venue([a_fill("x1", client_id="otherbot-9")], position=3)).fetch()
    assert desk.position == 3, "it is in the position"
    assert desk.foreign == ["x1"]
    assert desk.account.counters.fills == 0


async def test_a_fill_is_journalled_although_the_callback_for_it_fails(desk):
    desk.order()

    def fails(_fill: Fill) -> Decimal:
        raise RuntimeError("no mid")

    desk.account.on_fill = fails
    desk.account.take_fill(a_fill("x1"))
    assert desk.broken == ["no mid"]
    await desk.journal.flush()
    with JournalReader(desk.path) as reader:
        assert [(row.exec_id, row.mid) for row in reader.fills()] == [("x1", None)]
        assert [row.state for row in reader.outcomes()] == ["FILLED"]
    assert (await desk.replayed())[0] == desk.position == 3
