"""When advice about an earlier market no longer applies to this one."""

from __future__ import annotations

import math

from mm_hybrid.optimizer.advice import Advice
from mm_hybrid.types import BookState, Features

MAX_MOVE_BPS = 10.0
MAX_MOVE_SIGMAS = 3.0
SIGMA_RATIO = (0.5, 2.0)
"""A market that moved or changed its volatility by more is another market than the advice was about."""


def why_void(advice: Advice, features: Features, inventory_bucket: float | None = None) -> str | None:
    """Return what makes advice about an earlier market void, or ``None``.

    Args:
        advice: the advice.
        features: the market now.
        inventory_bucket: the inventory now, where advice depends on it.
    """
    if features.state is not BookState.LIVE:
        return f"book is {features.state}"
    move_bps = abs(features.mid_price / advice.mid_price - 1) * 1e4
    if move_bps > MAX_MOVE_BPS or move_bps > MAX_MOVE_SIGMAS * _sigma_1m_bps(advice):
        return f"mid moved {move_bps:.1f} bps"
    if volatility_changed(advice.sigma, features.calibration.sigma):
        return "volatility changed"
    if advice.inventory_bucket is not None and inventory_bucket != advice.inventory_bucket:
        return "inventory changed"
    return None


def volatility_changed(before: float, now: float) -> bool:
    """Return whether volatility left the range in which advice about ``before`` still applies."""
    return not SIGMA_RATIO[0] * before <= now <= SIGMA_RATIO[1] * before


def _sigma_1m_bps(advice: Advice) -> float:
    return advice.sigma * math.sqrt(60) / advice.mid_price * 1e4
