"""Estimators on rows made here, so that the truth behind them is known."""

import json
import math
import random
from typing import Any

import pytest

from mm_hybrid._core import Estimators, EventBatch

TICK, TOUCH = 0.5, 0.25
S0 = 20_000.25


def stamp(seconds: float) -> str:
    whole = int(seconds)
    minutes, micros = divmod(whole, 60), round((seconds - whole) * 1e6)
    hours, minute = divmod(minutes[0], 60)
    return f"2024-01-02T{hours:02d}:{minute:02d}:{minutes[1]:02d}.{micros:06d}Z"


def row(kind: str, at_s: float, symbol: str = "XYZUSDT", **fields: Any) -> bytes:
    message = {"type": kind, "symbol": symbol, "exchange": "bybit", **fields}
    return json.dumps({**message, "timestamp": stamp(at_s), "localTimestamp": stamp(at_s)}).encode()


def book(at_s: float, mid: float = S0, *, is_snapshot: bool = True, **more: Any) -> bytes:
    sides = {
        "bids": [{"price": mid - TOUCH - i * TICK, "amount": 1.0} for i in range(3)],
        "asks": [{"price": mid + TOUCH + i * TICK, "amount": 1.0} for i in range(3)],
    }
    return row("book_change", at_s, isSnapshot=is_snapshot, **sides, **more)


def trade(at_s: float, price: float, side: str = "buy", qty: float = 1.0, **more: Any) -> bytes:
    return row("trade", at_s, id=None, price=price, amount=qty, side=side, **more)


def fed(*rows: bytes, **values: Any) -> dict[str, Any]:
    estimators = Estimators(**values)
    estimators.update(EventBatch.decode(list(rows)))
    return estimators.read()


def on_half_ticks(mid: float) -> float:
    """The mid whose one-tick touch lies on the grid."""
    return math.floor(mid / TICK) * TICK + TOUCH


def synthetic_hour(*, a: float, k: float, sigma: float, seed: int) -> list[bytes]:
    """Sweeps of exponential reach on both sides, printed level by level, around a Brownian mid."""
    rng = random.Random(seed)
    rows: list[tuple[float, bytes]] = []
    mid, mids = S0, []
    for second in range(3600):
        mid += sigma * rng.gauss(0, 1)
        mids.append(on_half_ticks(mid))
        rows.append((second, book(second, mids[-1])))
    now = 0.0
    while (now := now + rng.expovariate(2 * a)) < 3599:
        now = round(now, 6)
        side, reach = rng.choice((1, -1)), rng.expovariate(k)
        for level in range(math.floor((reach - TOUCH) / TICK) + 1):
            price = mids[int(now)] + side * (TOUCH + level * TICK)
            rows.append((now, trade(now, price, "buy" if side > 0 else "sell")))
    return [text for _, text in sorted(rows, key=lambda item: item[0])]


def test_intensity_and_volatility_of_a_known_market_are_recovered() -> None:
    truth = {"a": 0.8, "k": 0.15, "sigma": 3.0}
    got = fed(*synthetic_hour(**truth, seed=3), half_life_s=1e6, sigma_half_life_s=600.0)
    assert got["calibrated"]
    assert got["orders_seen"] > 4000
    assert abs(got["intensity_k"] - truth["k"]) < 3 * got["se_k"] + 0.003
    assert abs(math.log(got["intensity_a"] / truth["a"])) < 3 * got["se_log_a"] + 0.02
    assert abs(got["sigma"] / truth["sigma"] - 1) < 0.12


def test_before_the_first_book_nothing_is_known() -> None:
    got = Estimators().read()
    assert got["intensity_a"] is got["sigma"] is got["return_10s_bps"] is None
    assert (got["orders_seen"], got["seconds_seen"], got["spike"], got["calibrated"]) == (
        0,
        0.0,
        False,
        False,
    )


def test_the_prior_scales_with_the_price_and_is_never_finer_than_the_grid() -> None:
    assert math.isclose(1 / fed(book(0))["intensity_k"], 0.83e-4 * S0)
    assert math.isclose(1 / fed(book(0, mid=1000.0 + TOUCH))["intensity_k"], TICK)


def test_a_sweep_is_one_order_and_an_order_that_stops_at_the_touch_is_none() -> None:
    sweep = [trade(1, S0 + TOUCH + i * TICK) for i in range(4)]
    assert fed(book(0), *sweep, trade(2, S0 + TOUCH), book(5))["orders_seen"] == 1


def test_only_the_first_symbol_counts_unless_one_is_named() -> None:
    rows = [book(0), trade(1, S0 + 3), trade(1, S0 + 3, symbol="OTHER"), book(4), book(4, symbol="OTHER")]
    assert fed(*rows)["orders_seen"] == 1
    assert fed(*rows, symbol="OTHER")["orders_seen"] == 0


def test_time_without_a_book_is_not_exposure() -> None:
    gone = (
        b'{"type":"disconnect","exchange":"bybit","symbols":[],"localTimestamp":"2024-01-02T00:00:03.000Z"}'
    )
    assert fed(book(0), gone, book(60), book(62))["seconds_seen"] == pytest.approx(5.0)


def test_trade_imbalance_is_bought_minus_sold() -> None:
    assert (
        fed(book(0), trade(1, S0 + TOUCH, qty=3.0), trade(1, S0 - TOUCH, "sell"))["trade_imbalance_60s"]
        == 0.5
    )


def test_a_jump_is_a_spike_for_five_seconds() -> None:
    calm = [book(second, S0 + TICK * (second % 2)) for second in range(60)]
    jumped = S0 + 200 * TICK
    assert not fed(*calm)["spike"]
    assert fed(*calm, book(60, jumped))["spike"]
    later = fed(*calm, book(60, jumped), *(book(60 + i, jumped) for i in range(1, 7)))
    assert (later["spike"], later["spikes_seen"]) == (False, 1)


@pytest.mark.parametrize(
    "name", ["prior_intensity_a", "prior_depth_bps", "half_life_s", "sigma_half_life_s", "tick_size"]
)
def test_values_out_of_range_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=r"must be above 0"):
        Estimators(**{name: 0.0})
