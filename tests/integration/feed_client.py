"""A live feed of a test double, and waiting for what it hears."""

import asyncio
from contextlib import asynccontextmanager

from mm_hybrid.feed import LiveFeed

QUICK = {"reconnect_min_ms": 10, "reconnect_max_ms": 100}


@asynccontextmanager
async def feed_of(double, **options):
    settings = {"exchange": "bybit", "symbols": ["BTCUSDT"], **QUICK, **options}
    async with LiveFeed(double.url, **settings) as feed:
        yield feed


async def until(feed, condition, timeout_s=10.0):
    """Wait for news until ``condition()`` holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await feed.wait_news(0.05)


async def until_state(feed, state, timeout_s=10.0):
    await until(feed, lambda: feed.snapshot().state == state, timeout_s)
