"""The user's script: what it may define, and how it is loaded.

A script is a Python file with either a function ``quotes(features, position, advice)`` or an object ``strategy``
that has a method of that name and shape. It sees no mode, no exchange and no clock of its own.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from mm_hybrid.errors import ConfigError, StrategyError
from mm_hybrid.types import Features, Position, Quote, Quotes, SpreadRecommendation


class Strategy(Protocol):
    """What decides the quotes, the same in every mode."""

    def quotes(self, features: Features, position: Position, advice: SpreadRecommendation) -> Any:
        """Return the quotes wanted now, as a sequence of :class:`~mm_hybrid.types.Quote`; empty for none."""
        ...


class ClosedForm:
    """Quote the optimizer's recommendation, one order on each side."""

    def quotes(self, features: Features, position: Position, advice: SpreadRecommendation) -> Quotes:  # noqa: ARG002
        """Return a bid and an ask at the recommended half-spreads around the mid."""
        mid = features.mid_price
        return (
            Quote("buy", mid * (1 - advice.recommended_bid_spread_bps / 1e4)),
            Quote("sell", mid * (1 + advice.recommended_ask_spread_bps / 1e4)),
        )


class _FunctionStrategy:
    def __init__(self, function: Callable[[Features, Position, SpreadRecommendation], Any]) -> None:
        self._function = function

    def quotes(self, features: Features, position: Position, advice: SpreadRecommendation) -> Any:
        return self._function(features, position, advice)


def load(path: Path) -> Strategy:
    """Load a strategy from a script.

    Raises:
        ConfigError: the file is missing.
        StrategyError: it does not run or defines no strategy; names the file and line.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such strategy script")
    spec = importlib.util.spec_from_file_location(f"mm_hybrid_strategy_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise StrategyError(f"{path}: a strategy is a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise StrategyError(f"{path}:{error.lineno}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        raise StrategyError(f"{where(error, path)}: {type(error).__name__}: {error}") from error
    instance = getattr(module, "strategy", None)
    if instance is not None and callable(getattr(instance, "quotes", None)):
        checked: Strategy = instance
        return checked
    function = getattr(module, "quotes", None)
    if callable(function):
        return _FunctionStrategy(function)
    raise StrategyError(
        f"{path}: defines neither a function quotes(features, position, advice) "
        "nor an object `strategy` with that method"
    )


def where(error: BaseException, path: Path) -> str:
    """Return ``file:line`` of the innermost frame of ``error`` that lies in the script, or the script's name."""
    line = None
    trace = error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).resolve() == path.resolve():
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{path}:{line}" if line else str(path)
