"""Which parameters the closed form quotes with now: the stream's own fit, a warm cache, or the configured prior."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mm_hybrid.config import QuotingConfig
from mm_hybrid.types import Calibration

CACHE_MAX_AGE_NS = 600 * 1_000_000_000
"""A cached calibration older than this describes another market."""


DRIFT_DOUBT_ERRORS = 2.0
"""A drift is believed as far as it exceeds so many of its standard errors."""

MAX_DRIFT_ERRORS = 3.0
"""Never more than so many standard errors of it are believed: a trend that strong is news, not a parameter."""


class StreamCalibrator:
    """Uses the stream's estimates once they rest on enough market orders, and says where each value came from.

    Args:
        quoting: priors and how much must be seen before they are left.
        cached: parameters of an earlier session, if recent enough; preferred to the prior.
    """

    def __init__(self, quoting: QuotingConfig, cached: Calibration | None = None) -> None:
        self._quoting = quoting
        self._cached = cached

    def calibration(self, estimates: Mapping[str, Any], mid_price: float) -> Calibration:
        """Return the parameters to quote with at ``mid_price`` (quote currency per base)."""
        seen = int(estimates.get("orders_seen") or 0)
        seconds = float(estimates.get("seconds_seen") or 0.0)
        drift = self._drift(estimates)
        before = replace(
            self._before_the_stream(mid_price), orders_seen=seen, seconds_seen=seconds, drift=drift
        )
        sigma = _usable(estimates.get("sigma")) or before.sigma
        se_k, k = _usable(estimates.get("se_k")), _usable(estimates.get("intensity_k"))
        se_log_k = se_k / k if se_k is not None and k is not None else 0.0
        intensity_a, intensity_k = (
            _usable(estimates.get("intensity_a")),
            _usable(estimates.get("intensity_k")),
        )
        if seen < self._quoting.prior_until_orders or intensity_a is None or intensity_k is None:
            return replace(before, sigma=sigma, se_log_k=before.se_log_k or se_log_k)
        return Calibration(
            intensity_a=intensity_a,
            intensity_k=intensity_k,
            sigma=sigma,
            orders_seen=seen,
            seconds_seen=seconds,
            source="stream",
            se_log_k=se_log_k,
            drift=drift,
        )

    def _drift(self, estimates: Mapping[str, Any]) -> float:
        """Return the part of the drift that its standard error leaves to believe, P/s; mostly none."""
        drift, error = estimates.get("drift"), _usable(estimates.get("se_drift"))
        if not self._quoting.use_drift or drift is None or error is None:
            return 0.0
        seconds = float(estimates.get("seconds_seen") or 0.0)
        if seconds < self._quoting.drift_after_s:
            return 0.0
        believed = min(max(abs(drift) - DRIFT_DOUBT_ERRORS * error, 0.0), MAX_DRIFT_ERRORS * error)
        return math.copysign(believed, drift)

    def _before_the_stream(self, mid_price: float) -> Calibration:
        if self._cached is not None:
            return self._cached
        return Calibration(
            intensity_a=self._quoting.prior_intensity_a,
            intensity_k=1e4 / (self._quoting.prior_depth_bps * mid_price),
            sigma=self._quoting.prior_volatility_1m_bps * 1e-4 * mid_price / math.sqrt(60),
            source="prior",
        )


def _usable(value: Any) -> float | None:
    if isinstance(value, float) and math.isfinite(value) and value > 0:
        return value
    return None
