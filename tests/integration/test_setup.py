"""A set-up that cannot trade is told before the first order: at a start, and by ``mm-hybrid doctor``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from desk import KEYS
from pydantic import SecretStr
from venue_client import Market, serve

from mm_hybrid.clock import WallClock
from mm_hybrid.config import MarketConfig, SessionConfig, VenueConfig
from mm_hybrid.doctor import check_config
from mm_hybrid.errors import GatewayError
from mm_hybrid.execution.credentials import Credentials
from mm_hybrid.execution.gateway import Gateway
from mm_hybrid.execution.setup import require_funds
from mm_hybrid.servers.exchange import ExchangeServer
from mm_hybrid.servers.exchange.setup import Setup

BAD = {
    "hedge mode": (Setup(hedge_mode=True), "hedge mode"),
    "address not allowed": (Setup(allowed_ips=("192.0.2.7",)), "does not allow this address"),
    "symbol halted": (Setup(symbol_status="halted"), "BTCUSDT is not trading now"),
    "key reads only": (Setup(can_trade=False), "read-only: give it the permission"),
    "no balance": (Setup(balance=Decimal(1)), "insufficient balance: 1.00 USDT available"),
}


@pytest.fixture(params=["bybit", "bitget"])
async def server(request) -> AsyncIterator[ExchangeServer]:
    async with serve(request.param) as running:
        Market(running).book()
        yield running


async def start(server: ExchangeServer, keys: Credentials = KEYS, symbol: str = "BTCUSDT") -> None:
    """What a session does before anything else."""
    config = VenueConfig(name=server.config.venue, symbol=symbol, url=server.url)
    gateway = await Gateway.connect(config, keys, WallClock())
    try:
        await require_funds(gateway, 600.0)
    finally:
        await gateway.close()


async def test_a_good_setup_starts(server):
    await start(server)


@pytest.mark.parametrize(("setup", "said"), BAD.values(), ids=BAD)
async def test_a_start_says_what_is_wrong_before_the_first_order(server, setup, said):
    server.account.configure(setup)
    with pytest.raises(GatewayError, match=said) as caught:
        await start(server)
    assert "\n" not in str(caught.value)
    assert list(server.account.ended_orders()) == []


async def test_a_key_that_may_only_read_is_told_from_one_that_may_trade(server):
    server.account.configure(Setup(can_trade=False))
    with pytest.raises(GatewayError, match="read-only: give it the permission"):
        await start(server)


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("api_key", "the venue does not know this API key"),
        ("secret", "the signature is wrong: check the API secret"),
        ("password", "the passphrase is wrong"),
    ],
)
async def test_a_wrong_key_says_which_part_of_it(server, field, said):
    if field == "password" and server.config.venue == "bybit":
        pytest.skip("Bybit keys have no passphrase")
    wrong = KEYS.model_copy(update={field: SecretStr("wrong-" + field)})
    with pytest.raises(GatewayError, match=said) as caught:
        await start(server, wrong)
    assert "wrong-secret" not in str(caught.value)
    assert "wrong-password" not in str(caught.value)


async def doctor(server: ExchangeServer, symbol: str = "BTCUSDT") -> dict[str, tuple[bool | None, str]]:
    config = SessionConfig(
        market=MarketConfig(url=server.url.replace("http", "ws"), exchange="bybit", symbol=symbol),
        venue=VenueConfig(name=server.config.venue, url=server.url),
    )
    return {check.name: (check.ok, check.detail) for check in await check_config(config)}


async def test_doctor_finds_a_good_setup_good(server):
    checks = await doctor(server)
    assert {name: checks[name][0] for name in ("exchange", "venue", "balance", "clock")} == {
        "exchange": True, "venue": True, "balance": True, "clock": True,
    }  # fmt: skip
    assert "100000.00 USDT free" in checks["balance"][1]


@pytest.mark.parametrize(("setup", "said"), BAD.values(), ids=BAD)
async def test_doctor_says_what_is_wrong(server, setup, said):
    server.account.configure(setup)
    checks = await doctor(server)
    wrong = [detail for ok, detail in checks.values() if ok is False]
    assert len(wrong) == 1
    assert said in wrong[0]


async def test_doctor_names_a_symbol_the_venue_does_not_have(server):
    checks = await doctor(server, "DOGEUSDT")
    assert checks["venue"] == (False, f"{server.config.venue}: no linear perpetual DOGEUSDT")


async def test_doctor_warns_of_a_clock_that_runs_ahead(server, monkeypatch):
    server.account.skew_ms = lambda: -900
    checks = await doctor(server)
    ok, detail = checks["clock"]
    assert ok is None
    assert "synchronise this machine's clock" in detail


async def test_doctor_as_a_command_shows_the_venue_s_checks_and_fails(server, tmp_path):
    server.account.configure(Setup(hedge_mode=True))
    (tmp_path / "session.toml").write_text(
        f'[market]\nurl = "{server.url.replace("http", "ws")}"\nexchange = "bybit"\nsymbol = "BTCUSDT"\n\n'
        f'[venue]\nname = "{server.config.venue}"\nurl = "{server.url}"\n'
    )
    from command_line import command

    process = await asyncio.create_subprocess_exec(
        *command("doctor", "--config", "session.toml", "--json"), cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    stdout, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    report = json.loads(stdout)
    assert report["ok"] is False
    assert any("hedge mode" in check["detail"] for check in report["checks"] if check["ok"] is False)
