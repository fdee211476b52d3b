"""The short form of ``make soak``."""

from soak.hostile_feed import soak


async def test_under_every_fault_at_full_speed_the_book_is_right_or_says_that_it_is_not():
    outcome = await soak(10, seed=20_260_102)
    assert outcome.wrong == []
    assert outcome.live_looks > 100, outcome
    assert outcome.quotes > 50, outcome
    assert outcome.rebuilt_looks > 20, outcome
    assert outcome.states["UNSYNCED"] > 0, outcome
    assert sum(outcome.faults.values()) > 20, outcome
    assert outcome.applied > 10_000, outcome
    assert outcome.rss_growth_mib < 60, outcome
