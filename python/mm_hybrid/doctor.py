"""Checks of the set-up: what a session needs, tried one by one before money depends on it."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from mm_hybrid import __version__
from mm_hybrid.clock import WallClock
from mm_hybrid.config import AdvisorConfig, SessionConfig
from mm_hybrid.errors import ConfigError, GatewayError
from mm_hybrid.execution.credentials import LOCAL_CREDENTIALS, Credentials
from mm_hybrid.execution.gateway import Gateway
from mm_hybrid.execution.setup import require_funds
from mm_hybrid.optimizer.advice import AdviceRejectedError
from mm_hybrid.optimizer.attempt import RefusedError
from mm_hybrid.optimizer.budget import price_of
from mm_hybrid.optimizer.client import AdvisorClient, key_from_env
from mm_hybrid.optimizer.prepare import check_model

CONNECT_TIMEOUT_S = 3.0
SLOW_FSYNC_MS = 50.0
CLOCK_AHEAD_MS = 500
CLOCK_BEHIND_MS = 2_500


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at; ``ok`` is ``None`` for a warning that stops nothing."""

    name: str
    ok: bool | None
    detail: str


def check_machine(folder: Path) -> list[Check]:
    """Check the installation and the folder that a journal would be written to."""
    return [_python(), _ccxt(), _journal(folder), _loopback()]


async def check_config(config: SessionConfig) -> list[Check]:
    """Check the addresses and secrets a session with this configuration would use."""
    checks = [
        await _reachable(
            "market",
            config.market.url,
            "start a tardis-machine there, or mm-hybrid serve tardis"
            if config.market.source == "tardis"
            else "check the network, or market.url",
        ),
    ]
    checks += await _check_venue(config)
    if config.advisor.enabled:
        checks += await _check_advisor(config.advisor)
    return checks


async def _check_advisor(config: AdvisorConfig) -> list[Check]:
    """Check key, price and model; the list of models is asked for, nothing is spent."""
    checks = [_secret(config.api_key_env, needed_for="the advisor; without it the closed form goes on")]
    price = price_of(config)
    if price is None:
        remedy = "set advisor.price_in_usd_per_mtok and price_out_usd_per_mtok; nothing is asked before"
        checks.append(
            Check(name="advisor price", ok=None, detail=f"the price of {config.model!r} is unknown: {remedy}")
        )
    else:
        cost = f"{price.in_usd_per_mtok:g} in, {price.out_usd_per_mtok:g} out, USD per million tokens"
        checks.append(Check(name="advisor price", ok=True, detail=f"{config.model}: {cost}"))
    key = key_from_env(config)
    if key is None:
        return checks
    try:
        client = AdvisorClient(config, key, WallClock())
    except ConfigError as error:
        return [*checks, Check(name="advisor", ok=False, detail=str(error))]
    try:
        line = check_model(config.model, await client.models(), datetime.now(UTC).date())
    except AdviceRejectedError as error:
        refused = isinstance(error, RefusedError) and error.detail != "HTTP 404"
        checks.append(Check(name="advisor model", ok=False if refused else None, detail=error.detail))
    else:
        checks.append(Check(name="advisor model", ok=True, detail=line))
    finally:
        await client.close()
    return checks


async def _check_venue(config: SessionConfig) -> list[Check]:
    """Try what a session does before its first order: address, key, symbol, account, balance, clock."""
    venue = config.venue
    checks = []
    if venue.url is not None:
        reachable = await _reachable("exchange", venue.url, "start it with mm-hybrid serve exchange")
        if not reachable.ok:
            return [reachable]
        checks.append(reachable)
    found = Credentials.of_environment(venue)
    if isinstance(found, str):
        checks.append(Check(name=found, ok=None, detail="not set; needed for live trading"))
        if venue.url is None:
            return checks
        found = LOCAL_CREDENTIALS
    else:
        checks.append(Check(name="API key", ok=True, detail=f"set in {venue.api_key_env} and its companions"))
    try:
        gateway = await Gateway.connect(
            config.trading_venue, found, WallClock(),
            timeout_s=config.execution.request_timeout_s,
        )  # fmt: skip
    except GatewayError as error:
        return [*checks, Check(name="venue", ok=False, detail=str(error))]
    try:
        what = f"{venue.name} {gateway.instrument.symbol}"
        checks.append(Check(name="venue", ok=True, detail=f"{what}: key, symbol and mode are right"))
        checks.append(await _balance(gateway, config.quoting.order_size_quote))
        checks.append(await _venue_clock(gateway))
    finally:
        await gateway.close()
    return checks


async def _balance(gateway: Gateway, order_size_quote: float) -> Check:
    try:
        facts = await require_funds(gateway, order_size_quote)
    except GatewayError as error:
        return Check(name="balance", ok=False, detail=str(error))
    if facts.available_quote is None:
        return Check(name="balance", ok=None, detail="the venue does not tell how much margin is free")
    free = f"{facts.available_quote:.2f} {gateway.instrument.quote} free"
    return Check(name="balance", ok=True, detail=f"{free}, leverage {facts.leverage or 'unknown'}")


async def _venue_clock(gateway: Gateway) -> Check:
    """Compare clocks: Bybit refuses requests stamped a second ahead of its own, both those long behind."""
    try:
        ahead_ms = await gateway.clock_ahead_ms()
    except GatewayError as error:
        return Check(name="clock", ok=None, detail=f"the venue's time could not be read: {error}")
    fine = -CLOCK_BEHIND_MS < ahead_ms < CLOCK_AHEAD_MS
    remedy = "" if fine else "; synchronise this machine's clock (chrony, ntpd)"
    return Check(
        name="clock", ok=True if fine else None, detail=f"{ahead_ms:+d} ms ahead of the venue{remedy}"
    )


def _python() -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Check(
        name="package", ok=sys.version_info >= (3, 11), detail=f"mm_hybrid {__version__} on Python {version}"
    )


def _ccxt() -> Check:
    """Compare the installed ccxt, which changes daily, with the one this package is pinned to."""
    try:
        installed = importlib.metadata.version("ccxt")
    except importlib.metadata.PackageNotFoundError:
        return Check(name="ccxt", ok=False, detail="not installed: pip install mm_hybrid")
    try:
        pins = importlib.metadata.requires("mm_hybrid") or []
    except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
        pins = []
    tested = next((pin.partition("==")[2] for pin in pins if pin.startswith("ccxt==")), installed)
    if installed == tested:
        return Check(name="ccxt", ok=True, detail=installed)
    return Check(
        name="ccxt", ok=None, detail=f"{installed}, tested with {tested}: pip install ccxt=={tested}"
    )


def _journal(folder: Path) -> Check:
    """Open a journal-like database in ``folder`` and time ten durable commits."""
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".mm-hybrid-doctor-") as scratch:
            database = sqlite3.connect(Path(scratch) / "check.sqlite", isolation_level=None)
            mode = database.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            database.execute("PRAGMA synchronous=FULL")
            database.execute("CREATE TABLE t (x)")
            started_s = time.perf_counter()
            for _ in range(10):
                database.execute("INSERT INTO t VALUES (1)")
            commit_ms = (time.perf_counter() - started_s) * 100
            database.close()
    except (OSError, sqlite3.Error) as error:
        return Check(name="journal", ok=False, detail=f"{folder} cannot hold a journal: {error}")
    if mode != "wal":
        return Check(
            name="journal", ok=False, detail=f"{folder}: no write-ahead log on this file system (got {mode})"
        )
    return Check(
        name="journal",
        ok=True if commit_ms < SLOW_FSYNC_MS else None,
        detail=f"{folder}: {commit_ms:.2f} ms a durable commit, SQLite {sqlite3.sqlite_version}",
    )


def _loopback() -> Check:
    async def body() -> None:
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        server.close()

    return _tried("loopback", body, "sockets on 127.0.0.1 work")


def _tried(name: str, body: Callable[[], Awaitable[None]], detail: str) -> Check:
    async def run() -> None:
        await body()

    try:
        asyncio.run(run())
    except OSError as error:
        return Check(name=name, ok=False, detail=str(error))
    return Check(name=name, ok=True, detail=detail)


async def _reachable(name: str, url: str, remedy: str) -> Check:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme in {"https", "wss"} else 80)
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(parts.hostname, port), CONNECT_TIMEOUT_S)
    except (OSError, TimeoutError) as error:
        return Check(name=name, ok=False, detail=f"{url}: {error or 'no answer'}; {remedy}")
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return Check(name=name, ok=True, detail=f"{url} answers")


def _secret(name: str, *, needed_for: str) -> Check:
    if os.environ.get(name):
        return Check(name=name, ok=True, detail="set")
    return Check(name=name, ok=None, detail=f"not set; needed for {needed_for}")
