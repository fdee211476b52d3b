"""One moment of the market as numbers to decide on: a book snapshot and the stream's estimates, put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mm_hybrid._core import AggregatedOrderBook
from mm_hybrid.types import BookState, Calibration, Features, Instrument, Regime


def build(
    book: AggregatedOrderBook,
    estimates: Mapping[str, Any],
    calibration: Calibration,
    instrument: Instrument,
    *,
    regime: Regime = "calm",
    regime_evidence: str = "",
) -> Features:
    """Return the features of a book.

    Args:
        book: one consistent snapshot.
        estimates: what the streaming estimators read now (returns, trade imbalance, spike).
        calibration: parameters the closed form may use now.
        instrument: the symbol traded at the venue.
        regime: the kind of market.
        regime_evidence: the measurement that says so.

    Raises:
        ValueError: a side of the book is empty.
    """
    if book.mid_price is None or book.best_bid is None or book.best_ask is None:
        raise ValueError(f"{book.symbol}: a side of the book is empty")
    depth = book.depth_10pct
    return Features(
        instrument=instrument,
        timestamp_ns=book.timestamp,
        state=BookState(book.state),
        mid_price=book.mid_price,
        best_bid=book.best_bid,
        best_ask=book.best_ask,
        best_bid_qty=book.best_bid_qty or 0.0,
        best_ask_qty=book.best_ask_qty or 0.0,
        microprice=book.mid_price if book.microprice is None else book.microprice,
        spread_bps=book.spread_bps or 0.0,
        imbalance=book.imbalance or 0.0,
        depth_bid_quote=depth["bid_quote"],
        depth_ask_quote=depth["ask_quote"],
        depth_covered_pct=depth["covered_pct"],
        volatility_1m_bps=book.volatility_1m,
        return_10s_bps=estimates.get("return_10s_bps"),
        return_60s_bps=estimates.get("return_60s_bps"),
        trade_imbalance_60s=estimates.get("trade_imbalance_60s"),
        spike=bool(estimates.get("spike", False)),
        calibration=calibration,
        regime=regime,
        regime_evidence=regime_evidence,
    )
