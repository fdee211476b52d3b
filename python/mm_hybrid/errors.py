"""The exception tree of the Python side; the core's errors hang below the same base."""

from __future__ import annotations

from mm_hybrid._core import MmHybridError

__all__ = [
    "ConfigError",
    "GatewayError",
    "JournalError",
    "MmHybridError",
    "RiskStopError",
    "ServerError",
    "SessionInterruptedError",
    "StrategyError",
]


class ConfigError(MmHybridError, ValueError):
    """A configuration or argument that cannot be used; the message names file, key, value and what to do."""


class StrategyError(MmHybridError):
    """A user's script that cannot be loaded or returned something that is no set of quotes."""


class ServerError(MmHybridError):
    """A local server that could not start or went away."""


class GatewayError(MmHybridError):
    """The exchange cannot be used: wrong key, missing permission, unknown symbol, unreachable host."""


class JournalError(MmHybridError):
    """The journal cannot be written or read; no order is sent without it."""


class RiskStopError(MmHybridError):
    """Trading was stopped by a risk limit or the kill switch."""


class SessionInterruptedError(MmHybridError):
    """A signal ended a session before it traded; nothing was sent."""
