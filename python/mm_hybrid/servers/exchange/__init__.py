"""A local paper exchange on loopback, speaking the venues' own protocols to unmodified clients."""

from mm_hybrid.servers.exchange.app import ExchangeServer
from mm_hybrid.servers.exchange.config import VENUE_LIMITS, ExchangeServerConfig
from mm_hybrid.servers.exchange.faults import Faults, FaultScript
from mm_hybrid.servers.exchange.serve import matching_for, serve_exchange

__all__ = [
    "VENUE_LIMITS",
    "ExchangeServer",
    "ExchangeServerConfig",
    "FaultScript",
    "Faults",
    "matching_for",
    "serve_exchange",
]
