"""Advisors to test against: a rule-based server, a socket that does as a script says, and a journal in memory."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr

from markets import market
from mm_hybrid.clock import WallClock
from mm_hybrid.config import AdvisorConfig, QuotingConfig
from mm_hybrid.optimizer.advisor import Advisor
from mm_hybrid.optimizer.client import AdvisorClient
from mm_hybrid.optimizer.glft import GlftOptimizer
from mm_hybrid.servers.advisor import MODEL, AdvisorServerConfig, serve_advisor

KEY = "secret-key-of-the-test"


class Records:
    """A journal that keeps advice in memory and lets a test wait for the next record."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.states: list[tuple[str, str, str]] = []
        self._arrived = asyncio.Event()

    def advice(self, **row: Any) -> None:
        self.rows.append(row)
        self._arrived.set()

    def state(self, what: str, value: str, detail: str = "") -> None:
        self.states.append((what, value, detail))

    async def next(self) -> dict[str, Any]:
        while True:
            if self._arrived.is_set():
                self._arrived.clear()
                return self.rows[-1]
            await asyncio.wait_for(self._arrived.wait(), 10)


@asynccontextmanager
async def rule_based_server(**values: Any) -> AsyncIterator[str]:
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve_advisor(AdvisorServerConfig(**values), ready=ready.set_result, stop=stop)
    )
    facts = await ready
    try:
        yield f"http://{facts['host']}:{facts['port']}/v1"
    finally:
        stop.set()
        await task


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def scripted_server(script: Script) -> AsyncIterator[str]:
    """A socket that does what no decent server does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        await server.wait_closed()


def config(base_url: str, **values: Any) -> AdvisorConfig:
    defaults = {
        "model": MODEL,
        "price_in_usd_per_mtok": 2.0,
        "price_out_usd_per_mtok": 8.0,
        "timeout_s": 2.0,
        "check_models": False,
        "response_format": "json_schema",
    }
    return AdvisorConfig(base_url=base_url, **{**defaults, **values})


def reply(**changes: Any) -> str:
    content = {
        "recommended_bid_spread_bps": 1.1,
        "recommended_ask_spread_bps": 1.2,
        "position_limit": 1.0,
        "confidence": 0.5,
        "anomaly": "none",
        "reasoning": "",
        **changes,
    }
    message = {"role": "assistant", "content": json.dumps(content)}
    return json.dumps(
        {"model": MODEL, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    )


def make(settings: AdvisorConfig, records: Records, clock: Any = None, **parts: Any) -> Advisor:
    clock = clock or WallClock()
    client = AdvisorClient(settings, SecretStr(KEY), clock) if "replay" not in parts else None
    return Advisor(settings, client, records, clock, model=GlftOptimizer(QuotingConfig()), **parts)


async def first_answer(one: Advisor, records: Records) -> dict[str, Any]:
    """Offer the market until a question has been asked and answered."""
    for i in range(200):
        one.offer(market(after_s=i / 100))
        if one.counters["requested"]:
            return await records.next()
        await asyncio.sleep(0.01)
    raise AssertionError(f"nothing was asked: {records.states}")


async def refusal(one: Advisor, records: Records) -> tuple[str, str, str]:
    for i in range(200):
        one.offer(market(after_s=i / 100))
        for told in records.states:
            if told[0] == "advisor:prepare":
                assert one.counters["requested"] == 0
                return told
        await asyncio.sleep(0.01)
    raise AssertionError("never refused")
