"""What crossing into the core costs, beside a reference that does the like in Python, timed in the same run.

Each group has two members, ``mm_hybrid`` and ``reference``; the gate judges the ratio of their times.
"""

import json
import math
import random
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from markets import market
from mm_hybrid._core import Books, EventBatch
from mm_hybrid.config import QuotingConfig
from mm_hybrid.optimizer.glft import GlftOptimizer
from mm_hybrid.types import Position

EXCHANGE, SYMBOL = "binance-futures", "BTCUSDT"
MESSAGES = 1000
DEPTH = 50
BOTH = pytest.mark.parametrize("who", ["mm_hybrid", "reference"])


def side(
    rng: random.Random, sign: int, distances: range | list[int], *, may_remove: bool
) -> list[dict[str, float]]:
    quantities = [
        0.0 if may_remove and rng.random() < 0.2 else rng.randint(1, 20_000) / 1000 for _ in distances
    ]
    return [
        {"price": (600_000 + sign * distance) / 10, "amount": qty}
        for distance, qty in zip(distances, quantities, strict=True)
    ]


def messages() -> list[bytes]:
    """Return a snapshot of 500 levels a side and changes of 2 to 12 levels, in Tardis form."""
    rng = random.Random(42)
    lines = []
    for index in range(MESSAGES):
        first = index == 0
        levels = [range(1, 501), range(1, 501)]
        if not first:
            levels = [[1 + int(rng.expovariate(0.05)) for _ in range(rng.randint(1, 6))] for _ in range(2)]
        clock = f"2024-08-08T00:{index // 1200 % 60:02}:{index // 20 % 60:02}.{index % 20 * 50:03}"
        message = {
            "type": "book_change",
            "symbol": SYMBOL,
            "exchange": EXCHANGE,
            "isSnapshot": first,
            "bids": side(rng, -1, levels[0], may_remove=not first),
            "asks": side(rng, 1, levels[1], may_remove=not first),
            "timestamp": f"{clock}Z",
            "localTimestamp": f"{clock}417Z",
        }
        lines.append(json.dumps(message, separators=(",", ":")).encode())
    return lines


LINES = messages()


@BOTH
@pytest.mark.benchmark(group="decode")
def test_decoding_a_batch_beside_parsing_the_same_lines_with_json(benchmark, who):
    if who == "mm_hybrid":
        assert len(benchmark(EventBatch.decode, LINES)) == MESSAGES
    else:
        assert len(benchmark(lambda: [json.loads(line) for line in LINES])) == MESSAGES


@BOTH
@pytest.mark.benchmark(group="apply")
def test_applying_a_batch_beside_dictionaries_of_parsed_levels(benchmark, who):
    if who == "mm_hybrid":
        books, batch = Books(), EventBatch.decode(LINES)
        benchmark(books.apply, batch)
        assert books.snapshot(EXCHANGE, SYMBOL, DEPTH).state == "LIVE"
    else:
        parsed = [json.loads(line) for line in LINES]
        benchmark(apply_to_dictionaries, parsed)


def apply_to_dictionaries(parsed: list[dict]) -> dict[str, dict[float, float]]:
    book: dict[str, dict[float, float]] = {"bids": {}, "asks": {}}
    for message in parsed:
        for name, levels in book.items():
            if message["isSnapshot"]:
                levels.clear()
            for level in message[name]:
                if level["amount"]:
                    levels[level["price"]] = level["amount"]
                else:
                    levels.pop(level["price"], None)
    return book


@BOTH
@pytest.mark.benchmark(group="snapshot")
def test_taking_a_snapshot_beside_copying_arrays_of_its_size(benchmark, who):
    books = Books()
    books.apply(EventBatch.decode(LINES))
    one = books.snapshot(EXCHANGE, SYMBOL, DEPTH)
    assert one.bids.shape == one.asks.shape == (DEPTH, 2)
    if who == "mm_hybrid":
        benchmark(lambda: read(books.snapshot(EXCHANGE, SYMBOL, DEPTH)))
    else:
        bids, asks = np.array(one.bids), np.array(one.asks)
        benchmark(lambda: (bids.copy(), asks.copy()))


def read(snapshot):
    return snapshot.bids, snapshot.asks, snapshot.mid_price, snapshot.spread_bps, snapshot.imbalance


@BOTH
@pytest.mark.benchmark(group="snapshot_into")
def test_reading_a_book_into_an_array_beside_copying_that_array(benchmark, who):
    books = Books()
    books.apply(EventBatch.decode(LINES))
    out, copy = np.empty((2, DEPTH, 2)), np.empty((2, DEPTH, 2))
    state, local_ts_ns, _ = books.snapshot_into(EXCHANGE, SYMBOL, out)
    assert (state, local_ts_ns > 0, bool(np.isnan(out).any())) == ("LIVE", True, False)
    if who == "mm_hybrid":
        benchmark(books.snapshot_into, EXCHANGE, SYMBOL, out)
    else:
        benchmark(np.copyto, copy, out)


@BOTH
@pytest.mark.benchmark(group="quote")
def test_features_to_quotes_beside_the_bare_formula_in_python(benchmark, who):
    features, position = market(), Position(qty_base=Decimal("0.01"))
    optimizer = GlftOptimizer(QuotingConfig())
    got = optimizer.recommend(features, position)
    assert got.recommended_bid_spread_bps == pytest.approx(bare_quote(features, position)[0], rel=1e-9)
    if who == "mm_hybrid":
        benchmark(optimizer.recommend, features, position)
    else:
        benchmark(bare_quote, features, position)


def bare_quote(features, position):
    """The closed form and the risk aversion behind it, no more: nothing followed, checked or recorded."""
    market, mid = features.calibration, features.mid_price
    a, k, sigma, size, age_s = market.intensity_a, market.intensity_k, market.sigma, 600 / mid, 0.1
    fee = float(features.instrument.maker_fee_rate) * mid
    stale = k * k * sigma * sigma * age_s
    rate = a * math.exp(-1 - k * fee - stale / 2)
    gamma = 2 * rate / (4 * 1.5**4) / (k * size * sigma * sigma)
    skew = sigma * math.sqrt(gamma * math.e / (2 * a * size * k)) * math.exp(k * fee / 2 + stale / 4)
    half = 1 / k + fee + stale / k + size / 2 * skew
    shift = skew * float(position.qty_base)
    return (half + shift) / mid * 1e4, (half - shift) / mid * 1e4
