"""A strategy of one's own in a dozen lines: lean away from the position and step back when the market jumps.

mm-hybrid demo --strategy examples/my_first_strategy.py
"""

from mm_hybrid import Features, Position, Quote, SpreadRecommendation

HALF_SPREAD_BPS = 0.8
LEAN_BPS_PER_1000_QUOTE = 0.25


def quotes(features: Features, position: Position, advice: SpreadRecommendation) -> list[Quote]:
    """Quote symmetrically around the microprice, shifted against the position."""
    held_quote = float(position.qty_base) * features.mid_price
    centre = features.microprice * (1 - held_quote / 1000 * LEAN_BPS_PER_1000_QUOTE / 1e4)
    half = HALF_SPREAD_BPS * (2 if features.spike else 1) * 1e-4 * centre
    return [
        Quote("buy", min(centre - half, features.best_bid)),
        Quote("sell", max(centre + half, features.best_ask)),
    ]
