"""A local tardis-machine: normalised market data over WebSocket, from files or from a synthetic market.

Source: tardis-machine documentation, WebSocket Normalized API; behaviour of tardis-machine 18.
"""

from mm_hybrid.servers.tardis.config import MarketParameters, TardisServerConfig
from mm_hybrid.servers.tardis.server import serve_tardis

__all__ = ["MarketParameters", "TardisServerConfig", "serve_tardis"]
