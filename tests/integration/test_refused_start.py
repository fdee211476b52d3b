"""A refused start leaves nothing of an earlier run resting, and margin bound by it does not refuse the new one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest
from desk import KEYS
from venue_client import Market, serve, until

from mm_hybrid.clock import WallClock
from mm_hybrid.config import AdvisorConfig, MarketConfig, OutputConfig, SessionConfig, VenueConfig
from mm_hybrid.errors import GatewayError
from mm_hybrid.execution.gateway import Gateway
from mm_hybrid.journal import JournalReader
from mm_hybrid.servers.exchange import ExchangeServer
from mm_hybrid.servers.exchange.setup import Setup
from mm_hybrid.session import Session

D = Decimal
REFUSED = {
    "hedge mode": Setup(hedge_mode=True),
    "is not trading now": Setup(symbol_status="halted"),
    "insufficient balance": Setup(balance=D(1)),
}


@pytest.fixture(params=["bybit", "bitget"])
async def server(request) -> AsyncIterator[ExchangeServer]:
    async with serve(request.param) as running:
        Market(running).book()
        gateway = await Gateway.connect(venue_of(running), KEYS, WallClock())
        await gateway.create("mm-earlier-1", "buy", D("50000.0"), D("0.1"))
        await gateway.close()
        await until(lambda: list(running.account.open_orders()))
        yield running


def venue_of(server: ExchangeServer, symbol: str | None = "BTCUSDT") -> VenueConfig:
    return VenueConfig(name=server.config.venue, symbol=symbol, url=server.url)


def config_of(server: ExchangeServer, folder: Path, symbol: str | None = "BTCUSDT") -> SessionConfig:
    return SessionConfig(
        market=MarketConfig(url=server.url.replace("http", "ws"), exchange="bybit", symbol="BTCUSDT"),
        venue=venue_of(server, symbol),
        advisor=AdvisorConfig(enabled=False),
        output=OutputConfig(dir=folder),
    )


class Silent:
    """A strategy that wants nothing."""

    def quotes(self, *_: object) -> list[object]:
        return []


async def start(server: ExchangeServer, folder: Path, config: SessionConfig | None = None) -> list[str]:
    """Start a session, stop it as soon as it trades, and return what it said."""
    config = config or config_of(server, folder)
    lines: list[str] = []
    session = Session(
        config=config, mode="paper", strategy=Silent(), strategy_path=None, credentials=KEYS,
        advisor_key=None, finite_feed=False, on_line=lines.append,
    )  # fmt: skip
    stop = asyncio.Event()
    try:
        await session.run(stop, seconds=None, on_started=stop.set, on_tick=lambda _view: None)
    except GatewayError as error:
        lines.append(str(error))
    return lines


@pytest.mark.parametrize(("said", "setup"), REFUSED.items(), ids=REFUSED)
async def test_a_refused_start_cancels_what_an_earlier_run_left(server, tmp_path, said, setup):
    server.account.configure(setup)
    lines = await start(server, tmp_path)
    assert said in lines[-1]
    assert list(server.account.open_orders()) == []
    if said != "insufficient balance":  # There the recovery has done it already, with its journal.
        assert "cancelled 1 orders of an earlier run" in lines


async def test_a_refused_start_that_cannot_cancel_says_so(server, tmp_path):
    server.account.configure(Setup(allowed_ips=("192.0.2.7",)))
    lines = await start(server, tmp_path)
    assert "does not allow this address" in lines[-1]
    assert lines[0].startswith("orders of an earlier run may still rest at the venue")


async def test_margin_bound_by_an_order_of_an_earlier_run_does_not_refuse_the_start(server, tmp_path):
    margin = server.account.order_margin
    server.account.configure(Setup(balance=margin + 1))
    assert await start(server, tmp_path) == []
    assert list(server.account.open_orders()) == []
    with JournalReader(tmp_path / "journal.sqlite") as reader:
        assert [(row.action, row.client_id) for row in reader.intents()] == [("cancel", "mm-earlier-1")]


async def test_a_session_trades_what_doctor_says_where_the_venue_names_no_symbol(server, tmp_path):
    """The README's paper example with a local exchange's url: doctor and session agree on the symbol."""
    from mm_hybrid.doctor import check_config

    config = config_of(server, tmp_path, symbol=None)
    checks = {check.name: check for check in await check_config(config)}
    assert checks["venue"].ok
    assert await start(server, tmp_path, config) == []
