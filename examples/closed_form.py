"""Quote what the optimizer recommends: one bid and one ask around the mid.

mm-hybrid demo --strategy examples/closed_form.py
"""

from mm_hybrid import Features, Position, Quote, SpreadRecommendation


def quotes(features: Features, position: Position, advice: SpreadRecommendation) -> list[Quote]:
    """Return the quotes wanted now; the engine rounds them outward to the tick and applies the order size."""
    mid = features.mid_price
    return [
        Quote("buy", mid * (1 - advice.recommended_bid_spread_bps / 1e4)),
        Quote("sell", mid * (1 + advice.recommended_ask_spread_bps / 1e4)),
    ]
