"""Counts that are negative or too large: every function names the argument, and says what it may be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mm_hybrid import _core, models

WORLD: dict[str, Any] = {"intensity_a": 1.5, "intensity_k": 0.2, "sigma": 5.0, "gamma": 1.0, "size": 0.01}
X = [0.0, 1.0, 3.0, 2.0, 5.0, 4.0]
FEED: dict[str, Any] = {"url": "ws://127.0.0.1:9", "exchange": "bybit", "symbols": ["BTCUSDT"]}


def market(**counts: int) -> object:
    return _core.SyntheticMarket(**{"exchange": "x", "symbol": "Y", "seed": 1, "start_ns": 0, **counts})


def calibration(horizon_s: int) -> object:
    return _core.Calibrator(symbol="Y", tick_size=0.1).finish([1, horizon_s])


CALLS: list[tuple[str, Callable[[int], object]]] = [
    ("max_lots", lambda n: models.exact_quotes(**WORLD, max_lots=n)),
    ("n_buckets", lambda n: models.vpin(signed_qty=X, bucket=1.0, n_buckets=n)),
    ("window", lambda n: models.hampel(x=X, window=n, min_obs=2, threshold=3.0, floor=0.1)),
    ("min_obs", lambda n: models.hampel(x=X, window=3, min_obs=n, threshold=3.0, floor=0.1)),
    ("window", lambda n: models.lee_mykland(returns=X, window=n, alpha=0.01)),
    ("k_slow", lambda n: models.vol_estimators(price=X, dt_s=1.0, k_slow=n)),
    ("imbalance_bins", lambda n: models.MicropriceFit(symbol="Y", tick_size=0.1, imbalance_bins=n)),
    ("spreads", lambda n: models.MicropriceFit(symbol="Y", tick_size=0.1, spreads=n)),
    ("imbalance_levels", lambda n: models.MarketMetrics(imbalance_levels=n)),
    ("volatility_window_s", lambda n: models.MarketMetrics(volatility_window_s=n)),
    ("volatility_slow_s", lambda n: models.MarketMetrics(volatility_slow_s=n)),
    ("vpin_buckets", lambda n: models.MarketMetrics(vpin_buckets=n)),
    ("horizons_s", calibration),
    ("depth", lambda n: _core.Books().snapshot("x", "Y", n)),
    ("depth", lambda n: _core.consolidate([], n)),
    ("seed", lambda n: market(seed=n)),
    ("levels", lambda n: market(levels=n)),
    ("book_depth", lambda n: _core.Feed(**FEED, book_depth=n)),
    ("stale_after_ms", lambda n: _core.Feed(**FEED, stale_after_ms=n)),
    ("queue_events", lambda n: _core.Feed(**FEED, queue_events=n)),
]


@pytest.mark.parametrize(("name", "call"), CALLS)
@pytest.mark.parametrize("count", [-1, 2**64, 10**5000], ids=["negative", "too large", "unprintable"])
def test_a_count_out_of_range_is_named(name: str, call: Callable[[int], object], count: int) -> None:
    with pytest.raises(ValueError, match=f"^{name}: must be a whole number from 0 to "):
        call(count)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("n_buckets", lambda n: models.vpin(signed_qty=X, bucket=1.0, n_buckets=n)),
        ("returns", lambda n: models.lee_mykland(returns=X, window=n, alpha=0.01)),
        ("k_slow", lambda n: models.vol_estimators(price=X, dt_s=1.0, k_slow=n)),
        ("imbalance_bins", lambda n: models.MicropriceFit(symbol="Y", tick_size=0.1, imbalance_bins=n)),
        ("imbalance_bins", lambda n: models.MicropriceFit(symbol="Y", tick_size=0.1, spreads=n)),
    ],
)
@pytest.mark.parametrize("count", [2**45, 2**64 - 1])
def test_a_count_beyond_any_memory_is_refused(name: str, call: Callable[[int], object], count: int) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        call(count)


@pytest.mark.parametrize("count", [-1, 2**64])
def test_a_count_out_of_range_is_named_where_a_file_is_read_or_kept(tmp_path: Path, count: int) -> None:
    with pytest.raises(ValueError, match=r"^max_mb: must be a whole number from 0 to "):
        _core.Cache(str(tmp_path / "cache.db"), max_mb=count)
    data = tmp_path / "data.ndjson"
    data.write_text('{"type":"disconnect","exchange":"x","localTimestamp":"2024-01-01T00:00:00.000Z"}\n')
    with pytest.raises(ValueError, match=r"^max_events: must be a whole number from 0 to "):
        _core.EventReader([str(data)]).read(count)


def test_a_count_that_is_no_whole_number_is_still_a_wrong_type() -> None:
    wrong: Any = 1.5
    with pytest.raises(TypeError):
        models.exact_quotes(**WORLD, max_lots=wrong)
    assert models.exact_quotes(**WORLD, max_lots=np.int64(3))["lots"] == [-3, -2, -1, 0, 1, 2, 3]  # type: ignore[arg-type]
