"""Market making on Bybit and Bitget: feed, book, optimizer and execution in one package.

A strategy is a script with a function ``quotes(features, position, advice)``; see :mod:`mm_hybrid.strategy`.
"""

from mm_hybrid._core import (
    AggregatedOrderBook,
    BookError,
    CacheError,
    DecodeError,
    FeedError,
    MmHybridError,
    ReplayError,
    __version__,
)
from mm_hybrid.errors import (
    ConfigError,
    GatewayError,
    JournalError,
    RiskStopError,
    ServerError,
    StrategyError,
)
from mm_hybrid.strategy import ClosedForm, Strategy
from mm_hybrid.types import (
    BookState,
    Calibration,
    Features,
    Fill,
    Instrument,
    Position,
    Quote,
    Quotes,
    SpreadRecommendation,
)

__all__ = [
    "AggregatedOrderBook",
    "BookError",
    "BookState",
    "CacheError",
    "Calibration",
    "ClosedForm",
    "ConfigError",
    "DecodeError",
    "Features",
    "FeedError",
    "Fill",
    "GatewayError",
    "Instrument",
    "JournalError",
    "MmHybridError",
    "Position",
    "Quote",
    "Quotes",
    "ReplayError",
    "RiskStopError",
    "ServerError",
    "SpreadRecommendation",
    "Strategy",
    "StrategyError",
    "__version__",
]
