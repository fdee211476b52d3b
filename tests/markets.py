"""A market to test optimizers on: one BTCUSDT-like moment, any field of it replaceable."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from mm_hybrid.types import BookState, Calibration, Features, Instrument

T0_NS = 1_700_000_000_000_000_000

INSTRUMENT = Instrument(
    venue="bybit",
    symbol="BTCUSDT",
    ccxt_symbol="BTC/USDT:USDT",
    base="BTC",
    quote="USDT",
    tick_size=Decimal("0.1"),
    lot_size=Decimal("0.001"),
    min_qty=Decimal("0.001"),
    min_notional=Decimal(5),
    maker_fee_rate=Decimal("0.00001"),
    taker_fee_rate=Decimal("0.00055"),
)

FEATURES = Features(
    instrument=INSTRUMENT,
    timestamp_ns=T0_NS,
    state=BookState.LIVE,
    mid_price=60_000.05,
    best_bid=60_000.0,
    best_ask=60_000.1,
    best_bid_qty=2.0,
    best_ask_qty=1.0,
    microprice=60_000.067,
    spread_bps=0.1 / 60_000.05 * 1e4,
    imbalance=0.2,
    depth_bid_quote=2e6,
    depth_ask_quote=1.5e6,
    depth_covered_pct=10.0,
    volatility_1m_bps=6.5,
    return_10s_bps=0.5,
    return_60s_bps=-2.0,
    trade_imbalance_60s=0.1,
    spike=False,
    calibration=Calibration(intensity_a=1.5, intensity_k=0.2, sigma=5.0, orders_seen=500, source="stream"),
)


def market(*, after_s: float = 0.0, sigma: float | None = None, **changes: Any) -> Features:
    """Return the moment ``after_s`` seconds later, changed as asked."""
    if sigma is not None:
        changes["calibration"] = replace(FEATURES.calibration, sigma=sigma)
    return replace(FEATURES, timestamp_ns=T0_NS + round(after_s * 1e9), **changes)
