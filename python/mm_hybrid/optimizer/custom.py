"""An optimizer of the user's own: a Python class named as ``path.py:Class`` in the configuration.

The class is called with the :class:`~mm_hybrid.config.QuotingConfig` and has a method ``recommend(features, position)``
that returns a :class:`~mm_hybrid.types.SpreadRecommendation`. Its ``base_*_half_bps`` are the half-spreads before
inventory: an advisor acts on those, the difference to ``recommended_*`` counts as skew.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path

from mm_hybrid.config import QuotingConfig
from mm_hybrid.errors import ConfigError, StrategyError
from mm_hybrid.optimizer.base import BaseQuote, SpreadOptimizer, TermsOf
from mm_hybrid.types import Features, Position, SpreadRecommendation

MAX_HALF_BPS = 500.0


def load(reference: str, config: QuotingConfig) -> CustomModel:
    """Return the model behind ``path.py:Class``.

    Raises:
        ConfigError: the file or the class is missing.
        StrategyError: the file or the constructor fails; names the file.
    """
    name, _, class_name = reference.rpartition(":")
    path = Path(name)
    if not path.is_file():
        raise ConfigError(f"quoting.optimizer {reference!r}: {path} is no file")
    spec = importlib.util.spec_from_file_location(f"mm_hybrid_optimizer_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"quoting.optimizer {reference!r}: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise StrategyError(f"{path}: {type(error).__name__}: {error}") from error
    kind = getattr(module, class_name, None)
    if not isinstance(kind, type) or not callable(getattr(kind, "recommend", None)):
        raise ConfigError(
            f"quoting.optimizer {reference!r}: {path} has no class {class_name} "
            "with a method recommend(features, position)"
        )
    try:
        optimizer = kind(config)
    except (Exception, SystemExit) as error:
        raise StrategyError(f"{path}: {class_name}(config): {type(error).__name__}: {error}") from error
    return CustomModel(optimizer, reference, config)


class CustomModel:
    """Takes a user's recommendations as base quotes and refuses what cannot be quoted.

    A limit above the configured one is brought down to it.
    """

    def __init__(self, optimizer: SpreadOptimizer, name: str, config: QuotingConfig) -> None:
        self.name = name
        self._optimizer = optimizer
        self._terms = TermsOf(config)

    def base_quote(self, features: Features, position: Position) -> BaseQuote:
        """Return the user's quote.

        Raises:
            StrategyError: the class failed or returned something that is no recommendation; names it.
        """
        try:
            got = self._optimizer.recommend(features, position)
        except (Exception, SystemExit) as error:
            raise StrategyError(f"{self.name}: {type(error).__name__}: {error}") from error
        terms = self._terms(features)
        if not isinstance(got, SpreadRecommendation):
            raise StrategyError(
                f"{self.name}: recommend returns a SpreadRecommendation, not {type(got).__name__}"
            )
        for field, low in (
            ("base_bid_half_bps", True),
            ("base_ask_half_bps", True),
            ("position_limit", False),
        ):
            value = getattr(got, field)
            if not _is_number(value) or value < 0 or (low and not 0 < value <= MAX_HALF_BPS):
                wanted = f"above 0 and at most {MAX_HALF_BPS:g} bps" if low else "at least 0"
                raise StrategyError(f"{self.name}: {field} must be {wanted}, got {value!r}")
        for field in ("recommended_bid_spread_bps", "recommended_ask_spread_bps"):
            if not _is_number(getattr(got, field)):
                raise StrategyError(
                    f"{self.name}: {field} must be a finite number, got {getattr(got, field)!r}"
                )
        return BaseQuote(
            got.base_bid_half_bps,
            got.base_ask_half_bps,
            got.recommended_bid_spread_bps - got.base_bid_half_bps,
            got.recommended_ask_spread_bps - got.base_ask_half_bps,
            terms.floor_bps,
            min(got.position_limit, terms.position_limit),
            terms.size,
        )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
