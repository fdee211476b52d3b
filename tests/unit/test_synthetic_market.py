"""The synthetic market as Python sees it; that its truth comes back from its events is tested beside it."""

import json

import pytest

from mm_hybrid._core import Books, EventBatch, SimExchange, SyntheticMarket

START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000


def market(seed: int = 1, **parameters: float) -> SyntheticMarket:
    return SyntheticMarket(exchange="bybit", symbol="BTCUSDT", seed=seed, start_ns=START_NS, **parameters)


def messages(batch: EventBatch) -> list[bytes]:
    return [row[4] for row in batch.encode()]


def test_the_first_message_is_a_snapshot_of_a_one_tick_book() -> None:
    first = json.loads(messages(market().advance(START_NS + SECOND_NS))[0])
    assert (first["type"], first["exchange"], first["symbol"]) == ("book_change", "bybit", "BTCUSDT")
    assert first["isSnapshot"] is True
    assert len(first["bids"]) == len(first["asks"]) == 400
    assert min(ask["price"] for ask in first["asks"]) - max(
        bid["price"] for bid in first["bids"]
    ) == pytest.approx(0.1)


def test_equal_seeds_give_equal_messages_however_time_is_cut() -> None:
    whole = messages(market().advance(START_NS + 3 * SECOND_NS))
    stepped = market()
    pieces = [
        message
        for step in range(1, 301)
        for message in messages(stepped.advance(START_NS + step * SECOND_NS // 100))
    ]
    assert whole == pieces
    assert whole != messages(market(seed=2).advance(START_NS + 3 * SECOND_NS))


def test_messages_survive_their_own_encoding() -> None:
    batch = market().advance(START_NS + 2 * SECOND_NS)
    assert EventBatch.decode(messages(batch)).encode() == batch.encode()


def test_the_next_event_comes_when_announced() -> None:
    synthetic = market()
    next_ns = synthetic.next_local_ts_ns
    assert len(synthetic.advance(next_ns - 1)) == 0
    assert len(synthetic.advance(next_ns)) == 1
    assert synthetic.next_local_ts_ns >= next_ns


def test_quotes_in_the_synthetic_market_are_filled_by_its_prints() -> None:
    synthetic = market()
    exchange = SimExchange(
        exchange="bybit", symbol="BTCUSDT", tick_size=synthetic.tick_size, lot_size=synthetic.lot_size
    )
    exchange.apply(synthetic.advance(START_NS + SECOND_NS))
    mid = exchange.mid()
    assert mid is not None
    exchange.place("bid", "buy", f"{mid - 2.05:.1f}", "0.01", post_only=True, now_ns=START_NS)
    exchange.place("ask", "sell", f"{mid + 2.05:.1f}", "0.01", post_only=True, now_ns=START_NS)
    batch = synthetic.advance(START_NS + 30 * SECOND_NS)
    sizes = {trade.id: trade.qty for trade in batch.trades()}
    fills = exchange.apply(batch)
    assert fills
    assert all(float(fill.qty) <= sizes[fill.print_id] for fill in fills)


def test_the_book_of_the_deltas_is_whole() -> None:
    synthetic, books = market(), Books()
    books.apply(synthetic.advance(START_NS + 10 * SECOND_NS))
    snapshot = books.snapshot("bybit", "BTCUSDT", 400)
    assert snapshot is not None
    assert snapshot.levels == (400, 400)
    assert snapshot.best_ask - snapshot.best_bid == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["s0", "intensity_k", "book_interval_ms", "level_qty"])
def test_a_parameter_that_makes_no_market_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        market(**{name: 0.0})
