"""Parameters of a market from recorded files, and what speaks against believing them.

The estimates come from the core (the ones a session quotes with, run without a prior); here they are read from files,
given units, and judged: each warning names what was found and the numbers behind it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from mm_hybrid._core import Calibrator, EventReader, MarketScan
from mm_hybrid.errors import MmHybridError

HORIZONS_S = (1, 10, 60, 300)
"""Horizons of volatility, seconds."""

FEW_ORDERS = 100.0
"""Below so many orders k is known to no better than a tenth."""

_BATCH = 4096
_GAP_SHARE = 0.01
_ATOM_EXCESS = 0.1
_UNLIKELY = 1e-3
_REGIME_RATIO = 1.3
_FAR_SIGMAS = 3.0
_FAR_SHARE = 0.1
_NS_PER_S = 1e9

Warnings = list[dict[str, Any]]


def calibrate_files(
    paths: Sequence[str],
    scan: MarketScan,
    *,
    half_life_s: float = 1800.0,
    sigma_half_life_s: float = 120.0,
    on_progress: Callable[[int, int, int], object] | None = None,
) -> dict[str, Any]:
    """Return the calibration of the symbol that ``scan`` describes; ``docs/calibration.md`` lists the keys.

    Args:
        paths: the files that were scanned.
        scan: the symbol and the grid of its prices.
        half_life_s: half-life of market orders, s.
        sigma_half_life_s: half-life of volatility, s.
        on_progress: called now and then with bytes read, bytes of all files, and events read.

    Raises:
        MmHybridError: no trades, no book, or no order beyond the touch: nothing to calibrate.
        FileNotFoundError, DecodeError, ReplayError: a file that cannot be read.
        ValueError: a half-life is not above 0.
    """
    _check(scan)
    calibrator = Calibrator(
        symbol=scan.symbol,
        tick_size=float(scan.tick_size),
        half_life_s=half_life_s,
        sigma_half_life_s=sigma_half_life_s,
    )
    reader = EventReader(list(paths), exchange=scan.exchange, symbol=scan.symbol)
    events = 0
    while len(batch := reader.read(_BATCH)):
        calibrator.update(batch)
        events += len(batch)
        if on_progress is not None:
            on_progress(*reader.progress(), events)
    found = calibrator.finish(list(HORIZONS_S))
    if found is None:
        raise MmHybridError(
            f"{scan.exchange} {scan.symbol}: no moment at which the book had two sides; the files need a snapshot"
        )
    if not found["orders"]:
        raise MmHybridError(
            f"{scan.exchange} {scan.symbol}: none of {found['market_orders']} market orders went beyond the touch "
            f"while the book could be read ({found['seconds']:.1f} s): A and k need some; take more data"
        )
    if not math.isfinite(found["se_k"]):
        raise MmHybridError(
            f"{scan.exchange} {scan.symbol}: all {found['orders']} market orders beyond the touch stopped one tick "
            "beyond it: they tell no decay; take more data"
        )
    return _document(scan, found, half_life_s, sigma_half_life_s)


def _check(scan: MarketScan) -> None:
    name = f"{scan.exchange} {scan.symbol}"
    if not scan.trades:
        raise MmHybridError(
            f"{name}: the files hold {scan.book_changes} book changes but no trades, which A and k are estimated "
            "from; add the file of the trades"
        )
    if not scan.book_changes:
        raise MmHybridError(
            f"{name}: the files hold {scan.trades} trades but no book, which their depth is measured from; "
            "add the file of the book changes"
        )


def _document(
    scan: MarketScan, found: dict[str, Any], half_life_s: float, sigma_half_life_s: float
) -> dict[str, Any]:
    tick, mid = float(scan.tick_size), found["mid_price"]
    a, k, se_k, se_log_a = (found[name] for name in ("intensity_a", "intensity_k", "se_k", "se_log_a"))
    span_s = (found["last_local_ts_ns"] - found["first_local_ts_ns"]) / _NS_PER_S
    return {
        "exchange": scan.exchange,
        "symbol": scan.symbol,
        "first_local_ts_ns": found["first_local_ts_ns"],
        "last_local_ts_ns": found["last_local_ts_ns"],
        "seconds": found["seconds"],
        "span_seconds": span_s,
        "messages": scan.messages,
        "book_changes": scan.book_changes,
        "trades": scan.trades,
        "tick_size": tick,
        "mid_price": mid,
        "market_orders": found["market_orders"],
        "orders": found["orders"],
        "intensity": {
            "a": a,
            "k": k,
            "sd_a": a * se_log_a,
            "sd_k": se_k,
            "sd_log_a": se_log_a,
            "depth_bps": 1e4 / (k * mid),
            "k_per_tick": k * tick,
            "effective_orders": found["effective_orders"],
            "half_life_s": half_life_s,
            "comparison": found["fit"],
            "units": {"a": "orders per second and side", "k": "1/P", "P": "quote currency per base"},
        },
        "volatility": {
            "sigma": found["sigma"],
            "sigma_1m_bps": 1e4 * found["sigma"] * math.sqrt(60) / mid,
            "half_life_s": sigma_half_life_s,
            "drift": found["drift"],
            "sd_drift": found["se_drift"] if math.isfinite(found["se_drift"]) else None,
            "horizons": [_horizon(entry) for entry in found["volatility"]],
            "units": {"sigma": "P/sqrt(s)", "drift": "P/s"},
        },
        "range": _range(found["range"], found["orders"], mid),
        "warnings": _warnings(found, tick, span_s),
        "trace": found["marks"],
        "bins": found["bins"],
    }


def _horizon(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "horizon_s": entry["horizon_s"],
        "changes": entry["changes"],
        "realized": entry["realized"],
        "sd_realized": entry["se_realized"],
        "ewma": entry["ewma"],
        "two_scale": entry["two_scales"],
    }


def _range(found: dict[str, Any] | None, orders: int, mid: float) -> dict[str, Any] | None:
    if found is None:
        return None
    a, k = found["intensity_a"], found["intensity_k"]
    to = found["to"]
    return {
        "from": found["from"],
        "to": to,
        "from_bps": 1e4 * found["from"] / mid,
        "to_bps": None if to is None else 1e4 * to / mid,
        "orders": int(found["orders"]),
        "order_share": found["orders"] / max(orders, 1),
        "a": a,
        "k": k,
        "sd_a": a * found["se_log_a"],
        "sd_k": found["se_k"],
        "chi_square": found["chi_square"],
        "degrees": int(found["degrees"]),
        "p_value": found["p_value"],
        "misfit": found["misfit"],
    }


def _warnings(found: dict[str, Any], tick: float, span_s: float) -> Warnings:
    return [
        *_few_orders(found),
        *_touch_atom(found, tick),
        *_shape(found),
        *_regime_change(found),
        *_book_gaps(found, span_s),
        *_short(found),
    ]


def _few_orders(found: dict[str, Any]) -> Warnings:
    effective = found["effective_orders"]
    if effective >= FEW_ORDERS:
        return []
    text = (
        f"{found['orders']} market orders went beyond the touch, worth {effective:.0f} after forgetting: "
        f"k is known to {found['se_k'] / found['intensity_k']:.0%} only"
    )
    return [_warning("few_orders", text, orders=found["orders"], effective_orders=effective)]


def _touch_atom(found: dict[str, Any], tick: float) -> Warnings:
    orders = found["market_orders"]
    share = 1 - found["orders"] / orders
    expected = -math.expm1(-found["intensity_k"] * tick)
    error = math.sqrt(max(expected * (1 - expected), 1e-12) / orders)
    if share <= expected + max(_ATOM_EXCESS, 5 * error):
        return []
    text = (
        f"{share:.0%} of {orders} market orders stop at the touch, where an exponential of this k has {expected:.1%}: "
        "A and k describe quotes deeper than the touch; at the touch the queue decides"
    )
    return [_warning("touch_atom", text, share=share, expected_share=expected, market_orders=orders)]


def _shape(found: dict[str, Any]) -> Warnings:
    held = found["range"]
    if held is None:
        text = f"no run of depths passes a test of the exponential with {found['orders']} orders beyond the touch"
        return [_warning("no_range", text, orders=found["orders"])]
    k, held_k = found["intensity_k"], held["intensity_k"]
    error = math.hypot(found["se_k"], held["se_k"])
    far = abs(k - held_k)
    if far <= _FAR_SIGMAS * error or far <= _FAR_SHARE * held_k:
        return []
    ends = f"from {held['from']:g} P on" if held["to"] is None else f"{held['from']:g} to {held['to']:g} P"
    text = (
        f"over all depths k is {k:.4g} 1/P, over those where the exponential holds ({ends}) {held_k:.4g}: "
        "use the latter for quotes there"
    )
    evidence = {"k": k, "k_in_range": held_k, "sd_difference": error}
    return [_warning("not_exponential", text, **evidence)]


def _regime_change(found: dict[str, Any]) -> Warnings:
    steady = found["steadiness"]
    if steady is None:
        return []
    changes = [
        f"{name} by a factor of {ratio:.2f} (p = {p:.1g})"
        for name, ratio, p in (
            ("A", steady["rate_ratio"], steady["p_rate"]),
            ("k", steady["decay_ratio"], steady["p_decay"]),
        )
        if p < _UNLIKELY and ratio > _REGIME_RATIO
    ]
    if not changes:
        return []
    text = f"the market changed: between {steady['pieces']} equal parts {' and '.join(changes)}; errors are too small"
    return [_warning("regime_change", text, **steady)]


def _book_gaps(found: dict[str, Any], span_s: float) -> Warnings:
    missing_s = max(span_s - found["seconds"], 0.0)
    if not found["disconnects"] and missing_s <= _GAP_SHARE * span_s:
        return []
    text = (
        f"the book could not be read for {missing_s:.1f} of {span_s:.1f} s, {found['disconnects']} disconnects; "
        "orders of that time do not count, and neither does the time"
    )
    evidence = {"missing_seconds": missing_s, "disconnects": found["disconnects"]}
    return [_warning("book_gaps", text, **evidence)]


def _short(found: dict[str, Any]) -> Warnings:
    short = [entry["horizon_s"] for entry in found["volatility"] if entry["realized"] is None]
    if not short:
        return []
    text = f"too little unbroken data for volatility over {', '.join(map(str, short))} s: three horizons are needed"
    return [_warning("short_data", text, horizons_s=short)]


def _warning(kind: str, text: str, **evidence: Any) -> dict[str, Any]:
    return {"kind": kind, "text": text, "evidence": evidence}
