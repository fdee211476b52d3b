"""Every fault of the menu: what an unmodified ccxt makes of it, and what the exchange's own ledger says."""

import json
import sqlite3
from collections.abc import AsyncIterator

import ccxt
import ccxt.pro
import pytest
from venue_client import SYMBOL, Market, connect, serve

from mm_hybrid.errors import ConfigError
from mm_hybrid.servers.exchange import ExchangeServer, FaultScript

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
async def bybit(tmp_path) -> AsyncIterator[ExchangeServer]:
    async with serve("bybit", state=tmp_path / "state.db") as running:
        Market(running).book()
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


@pytest.fixture
async def bybit_client(bybit) -> AsyncIterator[ccxt.pro.bybit]:
    connected = connect(bybit, timeout=400)
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
