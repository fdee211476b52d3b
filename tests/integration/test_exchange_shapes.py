"""Every field the local exchange sends is one the venue sends, in the same JSON form.

The recorded samples are not part of this repository; see ``data_dir``. Samples recorded by ccxt have their
numbers quoted, so a number and its text count as one form there. A sample that is null or an empty text says
nothing of form.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest
from venue_client import SYMBOL, Market, connect, serve

from mm_hybrid.servers.exchange import ExchangeServer
from mm_hybrid.servers.exchange.events import adl, fund
from mm_hybrid.servers.exchange.wire import sign


@pytest.fixture
def fixtures(data_dir) -> Path:
    folder = data_dir / "fixtures"
    if not folder.is_dir():
        pytest.skip(f"no recorded exchange samples at {folder}")
    return folder


async def traded(venue: str) -> AsyncIterator[ExchangeServer]:
    """A server whose account has an open order, an ended one, a fill and a position."""
    async with serve(venue) as server:
        market = Market(server)
        market.book()
        client = connect(server)
        try:
            await client.load_markets()
            await client.create_order(SYMBOL, "limit", "buy", 0.5, 59_990)
            market.trade("sell", 59_980, 0.2)
            ended = await client.create_order(SYMBOL, "limit", "sell", 0.5, 61_000)
            await client.cancel_order(ended["id"], SYMBOL)
        finally:
            await client.close()
        yield server


@pytest.fixture
async def bybit() -> AsyncIterator[ExchangeServer]:
    async for server in traded("bybit"):
        yield server


@pytest.fixture
async def bitget() -> AsyncIterator[ExchangeServer]:
    async for server in traded("bitget"):
        yield server


def form(value: object, *, quoted: bool) -> str:
    if value is None or value == "":
        return "any"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "text" if quoted else "number"
    return {str: "text", list: "list", dict: "object"}[type(value)]


def differences(ours: object, samples: list[object], *, quoted: bool, where: str = "") -> list[str]:
    """Where ``ours`` has a field no sample has, or another form than every sample that has one."""
    if isinstance(ours, dict):
        known = [sample for sample in samples if isinstance(sample, dict)]
        found = []
        for key, value in ours.items():
            there = [sample[key] for sample in known if key in sample]
            if not there:
                found.append(f"{where}.{key}: no sample has it")
                continue
            forms = {form(sample, quoted=quoted) for sample in there} | {"any"}
            mine = form(value, quoted=quoted)
            if mine != "any" and forms != {"any"} and mine not in forms:
                found.append(f"{where}.{key}: {mine}, samples have {sorted(forms)}")
            found += differences(value, there, quoted=quoted, where=f"{where}.{key}")
        return found
    if isinstance(ours, list):
        rows = [row for sample in samples if isinstance(sample, list) for row in sample]
        found = [differences(row, rows, quoted=quoted, where=f"{where}[]") for row in ours] if rows else []
        return sorted({line for lines in found for line in lines})
    return []


def assert_like(ours: object, folder: Path, names: str) -> None:
    """Compare with the union of the named samples."""
    assert ours
    files = names.split()
    samples = [json.loads((folder / f"{name}.json").read_text()) for name in files]
    quoted = any(is_quoted(folder, name) for name in files)
    assert differences(ours, samples, quoted=quoted) == []


def is_quoted(folder: Path, name: str) -> bool:
    if folder.name == "bybit":
        return "_ccxt_" in name
    return name.startswith("http_") and "_raw_" not in name


def test_the_comparison_notices_a_foreign_field_and_another_form():
    samples = [{"data": [{"price": "1", "seq": 1}]}]
    ours = {"data": [{"price": 1.0, "seq": 2, "extra": True}]}
    assert differences(ours, samples, quoted=False) == [
        ".data[].extra: no sample has it",
        ".data[].price: number, samples have ['any', 'text']",
    ]
    assert differences(ours, samples, quoted=True) == [".data[].extra: no sample has it"]


async def reply(server: ExchangeServer, method: str, params: dict) -> dict:
    """The unparsed JSON of one ccxt call, refusals included."""
    client = connect(server)
    try:
        await getattr(client, method)(params)
    except Exception:
        if client.last_http_response is None:
            raise
    finally:
        await client.close()
    return json.loads(client.last_http_response)


BYBIT = {"category": "linear", "symbol": "BTCUSDT"}
BYBIT_ORDER = BYBIT | {"side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "59000"}


@pytest.mark.parametrize(
    ("method", "params", "samples"),
    [
        ("public_get_v5_market_instruments_info", BYBIT, "http_get_instruments_linear http_get_executions"),
        ("public_get_v5_market_orderbook", BYBIT, "http_get_orderbook http_ccxt_orderbook_spot"),
        ("public_get_v5_market_tickers", BYBIT, "http_ccxt_tickers_linear"),
        (
            "private_post_v5_order_cancel_batch",
            {"category": "linear", "request": [BYBIT | {"orderId": "1"}]},
            "http_docs_order_cancel_batch_partial_failure",
        ),
        (
            "private_get_v5_order_realtime",
            BYBIT,
            "http_get_orders_realtime http_ccxt_order_realtime_linear_new",
        ),
        (
            "private_get_v5_order_history",
            BYBIT,
            "http_get_orders_history http_ccxt_order_history_linear_filled",
        ),
        ("private_get_v5_execution_list", BYBIT, "http_get_executions"),
        ("private_get_v5_position_list", BYBIT, "http_get_positions"),
        ("private_get_v5_account_wallet_balance", {"accountType": "UNIFIED"}, "http_get_wallet_balance"),
        ("private_get_v5_account_fee_rate", BYBIT, "http_get_fee_rate"),
        ("private_get_v5_account_info", {}, "http_get_account_info http_get_fee_rate"),
        ("private_get_v5_user_query_api", {}, "http_get_user_query_api"),
        ("private_post_v5_order_create", BYBIT_ORDER, "http_ccxt_order_create_spot"),
        ("private_post_v5_order_cancel_all", BYBIT, "http_ccxt_order_cancel_all_spot"),
        (
            "private_post_v5_order_create_batch",
            {"category": "linear", "request": [BYBIT_ORDER]},
            "http_docs_order_create_batch",
        ),
        (
            "private_post_v5_order_cancel_batch",
            {"category": "linear", "request": [{"symbol": "BTCUSDT", "orderId": "none"}]},
            "http_docs_order_cancel_batch_partial_failure",
        ),
        (
            "private_post_v5_order_cancel",
            BYBIT | {"orderId": "none"},
            "http_raw_error_110001_order_not_exists",
        ),
        ("private_post_v5_order_create", BYBIT_ORDER | {"qty": "x"}, "http_raw_error_10001_param"),
    ],
)
async def test_bybit_rest(fixtures, bybit, method, params, samples):
    assert_like(await reply(bybit, method, params), fixtures / "bybit", samples)


BITGET = {"productType": "USDT-FUTURES", "symbol": "BTCUSDT", "marginCoin": "USDT"}
BITGET_ORDER = BITGET | {"side": "buy", "orderType": "limit", "size": "0.01", "price": "59000"}


@pytest.mark.parametrize(
    ("method", "params", "samples"),
    [
        ("public_common_get_v2_public_time", {}, "http_mock_public_time"),
        ("public_mix_get_v2_mix_market_contracts", BITGET, "http_mock_mix_contracts"),
        ("private_mix_get_v2_mix_order_orders_history", BITGET, "http_mix_orders_history"),
        ("private_mix_get_v2_mix_order_orders_pending", BITGET, "http_mix_orders_history"),
        ("private_mix_get_v2_mix_order_fills", BITGET, "http_mix_fills"),
        ("private_mix_get_v2_mix_position_all_position", BITGET, "http_mix_positions"),
        ("private_mix_get_v2_mix_account_accounts", BITGET, "http_mock_mix_accounts"),
        ("private_mix_get_v2_mix_account_account", BITGET, "http_mix_account"),
        ("private_mix_post_v2_mix_order_place_order", BITGET_ORDER, "http_mock_mix_place_order"),
        (
            "private_mix_post_v2_mix_order_batch_place_order",
            BITGET | {"orderList": [{"side": "buy", "orderType": "limit", "size": "0.01", "price": "59000"}]},
            "http_docs_margin_isolated_batch_place_order",
        ),
        ("private_mix_post_v2_mix_order_batch_cancel_orders", BITGET, "http_docs_spot_batch_cancel_order"),
        (
            "private_mix_post_v2_mix_order_cancel_order",
            BITGET | {"orderId": "1"},
            "http_mock_spot_error_order_not_found",
        ),
    ],
)
async def test_bitget_rest(fixtures, bitget, method, params, samples):
    ours = await reply(bitget, method, params)
    for row in ours["data"] if method.endswith("contracts") else ():
        # Not in the sample with an envelope, but in the one without.
        assert row.pop("deliveryPeriod") == ""
    assert_like(ours, fixtures / "bitget", samples)


async def test_bitget_order_detail(fixtures, bitget):
    order = next(bitget.account.open_orders())
    ours = await reply(bitget, "private_mix_get_v2_mix_order_detail", BITGET | {"orderId": order.order_id})
    assert_like(ours, fixtures / "bitget", "http_mix_order_detail_open_long")


async def test_bybit_funding_and_deleveraging(fixtures, bybit):
    fund(bybit.account, Decimal("0.0001"))
    adl(bybit.account, Decimal("0.1"))
    ours = await reply(bybit, "private_get_v5_execution_list", BYBIT)
    assert [row["execType"] for row in ours["result"]["list"]] == ["AdlTrade", "Funding", "Trade"]
    names = "http_ccxt_execution_list_linear_funding http_ccxt_execution_list_linear ws_account_execution_adl"
    samples = [json.loads((fixtures / "bybit" / f"{name}.json").read_text()) for name in names.split()]
    samples[2] = {"result": {"list": samples[2]["data"]}}
    assert differences(ours, samples, quoted=True) == []


async def collected(server: ExchangeServer, path: str, frames: list[dict], wanted: int) -> list[dict]:
    """Send frames, let one order fill, and return the first ``wanted`` messages."""
    async with aiohttp.ClientSession() as session, session.ws_connect(server.url + path) as socket:
        messages = []
        async with asyncio.timeout(10):
            for frame in frames:
                await socket.send_json(frame)
                messages.append(await socket.receive_json())
            Market(server).trade("sell", 59_980, 0.1)
            while len(messages) < wanted:
                messages.append(await socket.receive_json())
        return messages


def bybit_auth(server: ExchangeServer) -> dict:
    expires = str(server.account.now_ms() + 10_000)
    signature = sign(server.config.api_secret.get_secret_value(), f"GET/realtime{expires}").hex()
    return {"op": "auth", "args": [server.config.api_key, expires, signature]}


async def test_bybit_private_stream(fixtures, bybit):
    topics = ["execution", "order", "position", "wallet"]
    frames = [bybit_auth(bybit), {"op": "subscribe", "req_id": "1", "args": topics}]
    auth, subscribed, *pushes = await collected(bybit, "/v5/private", frames, 6)
    folder = fixtures / "bybit"
    assert_like(auth, folder, "ws_subscription_ack")
    assert_like(subscribed, folder, "ws_subscription_ack")
    by_topic = {push["topic"]: push for push in pushes}
    assert list(by_topic) == topics
    samples = {
        "order": "ws_account_order ws_account_order_filled",
        "position": "ws_account_position",
        "execution": "ws_account_execution ws_account_order",
    }
    for topic, names in samples.items():
        assert_like(by_topic[topic], folder, names)
    # The wallet sample of the stream is cut; the stream and REST show one and the same object.
    stream = json.loads((folder / "ws_account_wallet.json").read_text())
    rest = json.loads((folder / "http_get_wallet_balance.json").read_text())
    samples_of_wallet = [stream, {"data": rest["result"]["list"]}]
    assert differences(by_topic["wallet"], samples_of_wallet, quoted=False) == []


async def test_bybit_trade_stream(fixtures, bybit):
    create = {
        "op": "order.create",
        "reqId": "1",
        "header": {"X-BAPI-TIMESTAMP": str(bybit.account.now_ms())},
        "args": [BYBIT_ORDER],
    }
    auth, pong, created = await collected(bybit, "/v5/trade", [bybit_auth(bybit), {"op": "ping"}, create], 3)
    folder = fixtures / "bybit"
    assert_like(auth, folder, "ws_docs_trade_auth")
    assert_like(pong, folder, "ws_docs_trade_pong")
    assert_like(created, folder, "ws_docs_trade_order_create")


async def test_bitget_private_stream(fixtures, bitget):
    import base64

    now_s = str(bitget.account.now_ms() // 1000)
    signature = sign(bitget.config.api_secret.get_secret_value(), f"{now_s}GET/user/verify")
    who = {"apiKey": bitget.config.api_key, "passphrase": bitget.config.api_password.get_secret_value()}
    login = who | {"timestamp": now_s, "sign": base64.b64encode(signature).decode()}

    def channel(name: str, **where: str) -> dict:
        return {"op": "subscribe", "args": [{"instType": "USDT-FUTURES", "channel": name} | where]}

    frames = [
        {"op": "login", "args": [login | {"sign": "wrong"}]},
        {"op": "login", "args": [login]},
        channel("orders", instId="default"),
        channel("fill", instId="default"),
        channel("positions", instId="default"),
    ]
    refused, welcome, subscribed, *others = await collected(bitget, "/v2/ws/private", frames, 9)
    folder = fixtures / "bitget"
    assert_like(refused, folder, "ws_error_invalid_sign")
    assert_like(welcome, folder, "ws_login_ack")
    assert_like(subscribed, folder, "ws_futures_subscribe_ack")
    pushes = {message["arg"]["channel"]: message for message in others if "data" in message}
    assert set(pushes) == {"orders", "fill", "positions"}
    assert_like(pushes["orders"], folder, "ws_futures_orders_canceled ws_mock_futures_orders_filled")
    assert_like(pushes["fill"], folder, "ws_docs_futures_fill")
    assert_like(pushes["positions"], folder, "ws_futures_positions ws_mock_futures_positions")


async def test_bitget_account_push(fixtures, bitget):
    from mm_hybrid.servers.exchange.bitget_messages import account_push

    row = {"data": [account_push(bitget.account)]}
    assert_like(row, fixtures / "bitget", "ws_futures_account ws_mock_futures_account")
