"""The market of a campaign: one busy synthetic market for all its runs."""

from __future__ import annotations

import asyncio
from typing import Any

from mm_hybrid.cli._signals import run_until_stopped
from mm_hybrid.servers.tardis import TardisServerConfig, serve_tardis
from mm_hybrid.servers.tardis.config import MarketParameters

from .processes import announce

BUSY = MarketParameters(
    sigma=3.0, intensity_a=12.0, intensity_k=0.3, latency_median_ms=0, latency_p99_ms=0, levels=50
)
"""Trades every few milliseconds, so that orders near the touch fill within seconds."""


def main(arguments: dict[str, Any]) -> int:
    """Serve until told to stop."""
    config = TardisServerConfig(
        port=0,
        ws_port=0,
        exchange=arguments["exchange"],
        symbol="BTCUSDT",
        seed=arguments["seed"],
        market=BUSY,
    )

    def ready(facts: dict[str, object]) -> None:
        announce("ready", url=f"ws://127.0.0.1:{facts['ws_port']}")

    async def body(stop: asyncio.Event) -> None:
        await serve_tardis(config, ready=ready, stop=stop)

    run_until_stopped(body)
    return 0
