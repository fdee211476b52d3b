"""What the engine writes down of the market it trades in."""

from types import SimpleNamespace
from typing import Any

from advisors import Records
from markets import INSTRUMENT
from mm_hybrid._core import Books, Estimators, SyntheticMarket
from mm_hybrid.calibration import StreamCalibrator
from mm_hybrid.clock import ManualClock
from mm_hybrid.conditions import Conditions
from mm_hybrid.config import QuotingConfig
from mm_hybrid.engine import Engine
from mm_hybrid.types import Position

T0_NS = 1_700_000_000 * 10**9
QUOTING = QuotingConfig()


class Feed:
    """A synthetic market, one second of it per look."""

    def __init__(self) -> None:
        self._source = SyntheticMarket(exchange="bybit", symbol="BTCUSDT", seed=3, start_ns=T0_NS)
        self._books = Books()
        self._now_ns = T0_NS

    def drain(self) -> Any:
        self._now_ns += 10**9
        batch = self._source.advance(self._now_ns)
        self._books.apply(batch)
        return batch

    def snapshot(self) -> Any:
        return self._books.snapshot("bybit", "BTCUSDT", 50)


class Journal(Records):
    def __init__(self) -> None:
        super().__init__()
        self.round_trips = SimpleNamespace(mean_s=None)
        self.marked = 0

    def mark(self, **_: Any) -> None:
        self.marked += 1


def engine(journal: Journal, clock: ManualClock) -> Engine:
    """An engine whose optimizer has nothing to quote."""
    parts = SimpleNamespace(
        config=SimpleNamespace(quoting=QUOTING),
        instrument=INSTRUMENT,
        feed=Feed(),
        estimators=Estimators(symbol="BTCUSDT", tick_size=0.1),
        calibrator=StreamCalibrator(QUOTING),
        conditions=Conditions(QUOTING, symbol="BTCUSDT", tick_size=0.1),
        optimizer=SimpleNamespace(recommend=lambda *_: SimpleNamespace(basis="none", reasoning="")),
        advisor=None,
        risk=SimpleNamespace(note_profit=lambda _total: None),
        executor=SimpleNamespace(position=Position(), pull=lambda _reason: None),
        journal=journal,
        clock=clock,
        on_alarm=lambda _episode: None,
    )
    return Engine(parts)  # type: ignore[arg-type]


def test_the_regime_a_session_begins_with_is_recorded_before_its_first_mark() -> None:
    journal, clock = Journal(), ManualClock(T0_NS)
    one = engine(journal, clock)
    while not journal.marked:
        clock.advance(10**9)
        one.step()
    assert [told[:2] for told in journal.states if told[0] == "regime"] == [("regime", "calm")]
    for _ in range(3):
        clock.advance(10**9)
        one.step()
    assert len([told for told in journal.states if told[0] == "regime"]) == 1, "and not again while it lasts"
