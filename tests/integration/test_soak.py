"""The short form of ``make soak``."""

import pytest

from soak.hostile_feed import SENDERS, soak

SEED = 20_260_102


@pytest.mark.parametrize(
    ("source", "seconds"), [("tardis", 10), ("bybit", 6), ("bitget", 6), ("bitget-v2", 6)]
)
async def test_under_every_fault_at_full_speed_the_book_is_right_or_says_that_it_is_not(source, seconds):
    outcome = await soak(SENDERS[source](SEED), seconds)
    assert outcome.wrong == []
    assert outcome.live_looks > 100, outcome
    assert outcome.quotes > 50, outcome
    assert outcome.rebuilt_looks > 20, outcome
    assert outcome.states["UNSYNCED"] > 0, outcome
    assert sum(outcome.faults.values()) > 4, outcome
    assert outcome.applied > 2_000, outcome
    assert outcome.rss_growth_mib < 60, outcome


# Bitget takes ten requests a second, and a book that is asked for again is two: so many losses there also outlast the
# patience with a book.
@pytest.mark.parametrize(("source", "losses", "reconnects"), [("bybit", 100, 0), ("bitget", 20, 20)])
async def test_every_lost_message_is_noticed_and_the_book_asked_for_again(source, losses, reconnects):
    sender = SENDERS[source](SEED)
    sender.fault_kinds = ("lose",)
    sender.bursts, sender.burst_changes = 2, 20
    outcome = await soak(sender, 8)
    assert outcome.wrong == []
    assert outcome.reconnects <= reconnects, "the symbol is asked for again, not the connection"
    assert outcome.faults["lose"] > losses, outcome
    # The last one may have been lost when time was up.
    assert outcome.given_up["gaps"] - outcome.faults["lose"] in {0, -1}, outcome
    assert sender.unasked == 0
