"""Closed-form quotes and estimators, computed in the core; each formula exists once.

Units: P is quote currency per base; ``intensity_a`` is fills per second of one side at distance 0,
``intensity_k`` its decay in 1/P, ``sigma`` the volatility of the reference price in P/sqrt(s), ``gamma`` the
risk aversion in 1/(P x base).
"""

from mm_hybrid._core import (
    GlftQuotes,
    TouchPrices,
    as_quotes,
    as_reservation,
    cusum,
    ewma_vol,
    gamma_for_inventory_sd,
    glft_closed_form,
    hampel,
    inventory_sd_lots,
    lee_mykland,
    ofi,
    vol_estimators,
    vpin,
    weighted_mid,
)

__all__ = [
    "GlftQuotes",
    "TouchPrices",
    "as_quotes",
    "as_reservation",
    "cusum",
    "ewma_vol",
    "gamma_for_inventory_sd",
    "glft_closed_form",
    "hampel",
    "inventory_sd_lots",
    "lee_mykland",
    "ofi",
    "vol_estimators",
    "vpin",
    "weighted_mid",
]
