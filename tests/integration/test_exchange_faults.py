"""Every fault of the menu: what an unmodified ccxt makes of it, and what the exchange's own ledger says."""

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args

import ccxt
import ccxt.pro
import pytest
from venue_client import SYMBOL, Market, connect, serve, until

from mm_hybrid.clock import ManualClock
from mm_hybrid.errors import ConfigError
from mm_hybrid.servers.exchange import ExchangeServer, Faults, FaultScript
from mm_hybrid.servers.exchange.faults import FAULT_NAMES, On

REPO = Path(__file__).resolve().parents[2]
AMBIGUOUS = {
    "accept_then_reset": ccxt.ExchangeNotAvailable,
    "accept_then_html": ccxt.ExchangeNotAvailable,
    "accept_then_json": ccxt.ExchangeError,
    "accept_then_truncated": ccxt.ExchangeError,
    "accept_then_broken_json": None,
    "accept_then_empty": None,
}


@pytest.fixture(params=["bybit", "bitget"])
async def server(request, tmp_path) -> AsyncIterator[ExchangeServer]:
    async with serve(request.param, state=tmp_path / "state.db") as running:
        yield running


@pytest.fixture
def market(server) -> Market:
    market = Market(server)
    market.book()
    return market


@pytest.fixture
async def client(server, market) -> AsyncIterator[ccxt.pro.Exchange]:
    connected = connect(server, timeout=400)
    await connected.load_markets()
    yield connected
    await connected.close()


def script(server: ExchangeServer, *rules: dict, seed: int = 1) -> None:
    server.faults.replace(FaultScript.parse({"seed": seed, "rules": list(rules)}, "test"))


async def place(client, client_id: str = "mm-1", price: float = 59_000.0, qty: float = 0.01) -> dict:
    return await client.create_order(SYMBOL, "limit", "buy", qty, price, {"clientOrderId": client_id})


def events(server: ExchangeServer, kind: str) -> list[dict]:
    """Rows of one kind in the state file, read as an outsider would."""
    database = sqlite3.connect(server.config.state)
    rows = database.execute(
        "SELECT client_id, body FROM event WHERE kind = ? ORDER BY seq", (kind,)
    ).fetchall()
    database.close()
    return [{"client_id": client_id, **json.loads(body)} for client_id, body in rows]


def open_ids(server: ExchangeServer) -> list[str]:
    return [order.client_id for order in server.account.open_orders()]


@pytest.mark.parametrize(("fault", "error"), AMBIGUOUS.items())
async def test_an_accepted_order_is_live_whatever_its_broken_reply_says(server, client, fault, error):
    if fault == "accept_then_json" and client.id == "bitget":
        error = ccxt.ExchangeNotAvailable
    script(server, {"on": "create", "fault": fault, "nth": [1]})
    if error is None:
        assert (await place(client))["id"] is None
    else:
        with pytest.raises(error) as caught:
            await place(client)
        assert type(caught.value) is error
    assert open_ids(server) == ["mm-1"]
    (request,) = events(server, "request")
    assert (request["endpoint"], request["fault"], request["client_ids"]) == ("create", fault, ["mm-1"])
    assert str(request["code"]) in {"0", "00000"}
    assert [row["client_id"] for row in events(server, "accepted")] == ["mm-1"]
    assert events(server, "fault") == [{"client_id": None, "on": "create", "fault": fault}]
    assert (await place(client, "mm-2"))["id"]


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"fault": "reject", "code": 1}, r"rules\[1\]\.on: Field required"),
        ({"on": "nothing", "fault": "reject"}, r"rules\[1\]\.on: Input should be"),
        ({"on": "create", "fault": "explode"}, r"rules\[1\]\.fault: 'explode' is none of .*accept_late"),
        (
            {"on": "positions", "fault": "invisible", "delay_ms": 5},
            r"rules\[1\]\.fault: 'invisible' is none of",
        ),
        ({"on": "create", "fault": "reject"}, r"rules\[1\]\.code: needed"),
        ({"on": "create", "fault": "accept_late"}, r"rules\[1\]\.delay_ms: needed"),
        ({"on": "create", "fault": "lose_request", "delay_ms": 5}, r"rules\[1\]\.delay_ms: no use"),
        ({"on": "create", "fault": "lose_request", "share": 1.5}, r"rules\[1\]\.share: "),
        ({"on": "create", "fault": "lose_request", "nth": [0]}, r"rules\[1\]\.nth\[0\]: "),
        ({"on": "create", "fault": "lose_request", "shares": 1}, r"rules\[1\]\.shares: unknown field"),
        ({"on": "server", "fault": "clock_skew"}, r"rules\[1\]\.skew_ms: needed"),
    ],
)
def test_a_bad_script_names_the_rule_and_the_field(tmp_path, rule, problem):
    path = tmp_path / "faults.json"
    path.write_text(json.dumps({"rules": [{"on": "create", "fault": "lose_request"}, rule]}))
    with pytest.raises(ConfigError, match=rf"{path}: {problem}"):
        FaultScript.read(path)


def rule(on: str, fault: str, **more: object) -> dict:
    return {"on": on, "fault": fault, **more}


async def test_a_late_reply_times_out_while_the_order_is_live(server, client):
    script(server, rule("create", "accept_then_delay", delay_ms=900, nth=[1]))
    with pytest.raises(ccxt.RequestTimeout):
        await place(client)
    assert open_ids(server) == ["mm-1"]


@pytest.mark.parametrize(
    ("venue", "code", "message", "error"),
    [
        ("bybit", 10016, "System error", ccxt.ExchangeError),
        ("bybit", 10016, "Request timeout", ccxt.RequestTimeout),
        ("bybit", 10000, "Server Timeout", ccxt.ExchangeError),
        ("bybit", 170146, "Order creation timeout", ccxt.InvalidOrder),
        ("bitget", "40010", "Request timed out", ccxt.AuthenticationError),
        ("bitget", "40725", "service return an error", ccxt.ExchangeError),
        ("bitget", "50000", "Unknown Error", ccxt.ExchangeError),
    ],
)
async def test_a_code_that_sounds_like_a_failure_can_stand_for_a_live_order(venue, code, message, error):
    async with serve(venue) as server:
        Market(server).book()
        client = connect(server)
        try:
            await client.load_markets()
            script(server, rule("create", "accept_then_code", code=code, message=message))
            with pytest.raises(error):
                await place(client)
        finally:
            await client.close()
        assert open_ids(server) == ["mm-1"]


async def test_a_rejected_order_never_exists(server, client):
    code = 110007 if client.id == "bybit" else "40762"
    script(server, rule("create", "reject", code=code, message="no", nth=[1]))
    with pytest.raises(ccxt.InsufficientFunds):
        await place(client)
    assert open_ids(server) == []
    (request,) = events(server, "request")
    assert (request["code"], request["fault"]) == (code, "reject")
    assert (await place(client))["id"]


async def test_a_lost_request_is_never_carried_out(server, client):
    script(server, rule("create", "lose_request", nth=[1]))
    with pytest.raises(ccxt.RequestTimeout):
        await place(client)
    await asyncio.sleep(0.1)
    assert open_ids(server) == []
    (request,) = events(server, "request")
    assert (request["code"], request["fault"], request["client_ids"]) == (None, "lose_request", ["mm-1"])


async def test_a_delayed_request_is_carried_out_after_the_client_gave_up(server, client):
    script(server, rule("create", "delay_before", delay_ms=[600, 700], nth=[1]))
    with pytest.raises(ccxt.RequestTimeout):
        await place(client)
    assert open_ids(server) == []
    await until(lambda: open_ids(server) == ["mm-1"])
    assert events(server, "request")[0]["fault"] == "delay_before"


async def test_an_order_accepted_late_appears_after_its_error(server, client):
    script(server, rule("create", "accept_late", delay_ms=300, nth=[1]))
    with pytest.raises(ccxt.ExchangeError):
        await place(client)
    lookup = {"orderLinkId": "mm-1"} if client.id == "bybit" else {"clientOid": "mm-1"}
    assert await client.fetch_open_orders(SYMBOL, params=lookup) == []
    await until(lambda: open_ids(server) == ["mm-1"])
    (found,) = await client.fetch_open_orders(SYMBOL, params=lookup)
    assert found["clientOrderId"] == "mm-1"


async def test_an_invisible_order_is_live_before_any_query_shows_it(server, client, market):
    script(server, rule("create", "invisible", delay_ms=400, nth=[1]))
    order = await place(client, price=59_990.0, qty=0.5)
    market.trade("sell", 59_980, 0.2)
    assert server.account.position.qty > 0
    assert await client.fetch_open_orders(SYMBOL) == []
    assert await client.fetch_my_trades(SYMBOL) == []
    if client.id == "bitget":
        with pytest.raises(ccxt.OrderNotFound):
            await client.fetch_order(order["id"], SYMBOL)
    await asyncio.sleep(0.45)
    (shown,) = await client.fetch_open_orders(SYMBOL)
    assert (shown["id"], shown["filled"]) == (order["id"], 0.2)
    assert len(await client.fetch_my_trades(SYMBOL)) == 1


async def test_rate_limits_bans_and_maintenance_turn_requests_away(server, client):
    for fault in ("rate_limit", "ip_ban"):
        script(server, rule("create", fault))
        with pytest.raises((ccxt.RateLimitExceeded, ccxt.DDoSProtection)):
            await place(client)
        if client.id == "bybit":
            headers = client.last_response_headers
            assert fault == "ip_ban" or headers["X-Bapi-Limit-Status"] == "0"
    script(server, rule("create", "maintenance"))
    with pytest.raises(ccxt.ExchangeError if client.id == "bybit" else ccxt.OnMaintenance):
        await place(client)
    assert open_ids(server) == []
    assert [row["fault"] for row in events(server, "request")] == ["rate_limit", "ip_ban", "maintenance"]


async def test_an_order_can_fill_while_its_cancel_is_handled(server, client):
    order = await place(client)
    script(server, rule("cancel", "fill_during"))
    with pytest.raises(ccxt.ExchangeError):
        await client.cancel_order(order["id"], SYMBOL)
    assert open_ids(server) == []
    (fill,) = server.account.ledger.executions
    assert (fill.client_id, fill.is_maker, str(fill.qty)) == ("mm-1", True, "0.01")
    assert [row["client_ids"] for row in events(server, "request")] == [["mm-1"], ["mm-1"]]


async def test_a_fill_can_come_in_parts_that_add_up_to_the_print(server, client, market):
    script(server, rule("fill", "partial", nth=[1]))
    await place(client, price=59_990.0, qty=0.5)
    market.trade("sell", 59_980, 0.3)
    market.trade("sell", 59_980, 0.2)
    booked = [str(one.qty) for one in server.account.ledger.executions]
    assert booked == ["0.150", "0.150", "0.2"]
    assert len({trade["id"] for trade in await client.fetch_my_trades(SYMBOL)}) == 3


async def test_queries_fail_by_the_same_menu(server, client):
    await place(client)
    script(server, rule("open_orders", "accept_then_html", nth=[1]), rule("any", "lose_request", nth=[3]))
    with pytest.raises(ccxt.ExchangeNotAvailable):
        await client.fetch_open_orders(SYMBOL)
    assert len(await client.fetch_open_orders(SYMBOL)) == 1
    with pytest.raises(ccxt.RequestTimeout):
        await client.fetch_positions([SYMBOL])
    assert server.faults.report() == {
        "injected": 2,
        "by_kind": {"any/lose_request": 1, "open_orders/accept_then_html": 1},
    }


async def test_a_skewed_clock_refuses_what_is_stamped_rightly(server, client):
    script(server, rule("server", "clock_skew", skew_ms=40_000))
    with pytest.raises(ccxt.InvalidNonce):
        await client.fetch_balance()
    assert await client.fetch_time() > server.account.now_ms() - 1_000
    script(server)
    assert await client.fetch_balance()


def test_the_same_seed_strikes_the_same_occurrences_whatever_else_happens():
    def struck(seed: int, share: float = 0.3, noise: int = 0) -> list[int]:
        rules = [
            rule("create", "lose_request", share=share),
            rule("cancel", "accept_late", delay_ms=[1, 9]),
        ]
        faults = Faults(ManualClock(), FaultScript.parse({"seed": seed, "rules": rules}, "test"))
        hits = []
        for occurrence in range(200):
            for _ in range(noise):
                faults.draw("cancel", "any")
            if faults.draw("create", "any") is not None:
                hits.append(occurrence)
        return hits

    assert struck(1) == struck(1, noise=3)
    assert struck(1) != struck(2)
    assert 35 <= len(struck(1)) <= 85


def test_limits_and_times_bound_a_rule():
    clock = ManualClock()
    rules = [rule("create", "lose_request", limit=2), rule("cancel", "lose_request", from_s=5, until_s=7)]
    faults = Faults(clock, FaultScript.parse({"rules": rules}, "test"))
    assert [faults.draw("create") is not None for _ in range(4)] == [True, True, False, False]
    seen = []
    for _ in range(9):
        seen.append(faults.draw("cancel") is not None)
        clock.advance(1_000_000_000)
    assert [second for second, struck in enumerate(seen) if struck] == [5, 6, 7]


def test_the_example_script_and_every_fault_of_the_manual_are_known():
    assert len(FaultScript.read(REPO / "examples" / "faults.json").rules) == 10
    manual = (REPO / "docs" / "exchange.md").read_text()
    rows = [line.split("|")[1] for line in manual.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert set(FAULT_NAMES) <= named
    assert set(get_args(On)) <= named
