"""What every spread optimizer is: features and position in, a recommendation out, at once."""

from __future__ import annotations

from typing import Protocol

from mm_hybrid.types import Features, Position, SpreadRecommendation


class SpreadOptimizer(Protocol):
    """Chooses half-spreads. Called on the quoting path: it computes and never waits."""

    def recommend(self, features: Features, position: Position) -> SpreadRecommendation:
        """Return half-spreads and position limit for the market and the position given."""
        ...
