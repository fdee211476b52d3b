"""Spot beside the contract: own orders, own balances, fees of buys in the coin bought."""

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal

import ccxt
import ccxt.pro
import pytest
from test_exchange_shapes import assert_like, fixtures, reply  # noqa: F401 (a fixture)
from venue_client import SYMBOL, Market, connect, follows, serve

from mm_hybrid.servers.exchange import ExchangeServer, ExchangeServerConfig

D = Decimal
SPOT = "BTC/USDT"
OPTIONS = {
    "bybit": {
        "defaultType": "spot",
        "fetchMarkets": {"types": ["spot", "linear"]},
        "enableUnifiedMargin": False,
        "enableUnifiedAccount": True,
        "unifiedMarginStatus": 6,
    },
    "bitget": {"defaultType": "spot", "fetchMarkets": {"types": ["spot", "swap"]}, "uta": False},
}
both = pytest.mark.parametrize("server", ["bybit", "bitget"], indirect=True)
on_bitget = pytest.mark.parametrize("server", ["bitget"], indirect=True)


@pytest.fixture
async def server(request, tmp_path) -> AsyncIterator[ExchangeServer]:
    """An exchange with spot; Bybit unless the test says otherwise."""
    venue = getattr(request, "param", "bybit")
    async with serve(venue, spot=True, state=tmp_path / "state.db") as running:
        yield running


@pytest.fixture
def market(server) -> Market:
    market = Market(server)
    market.book()
    return market


@pytest.fixture
async def client(server, market) -> AsyncIterator[ccxt.pro.bybit]:
    connected = connect(server, options=OPTIONS[server.config.venue])
    await connected.load_markets()
    yield connected
    await connected.close()


@both
async def test_both_markets_are_listed_under_one_id(client):
    assert sorted(client.markets) == sorted([SPOT, SYMBOL])
    market = client.market(SPOT)
    assert (market["spot"], market["precision"]["amount"], market["limits"]["cost"]["min"]) == (
        True,
        0.001,
        5,
    )


@both
async def test_orders_of_either_side_stay_apart(client, server):
    spot = await client.create_order(SPOT, "limit", "buy", 0.1, 59_000, {"clientOrderId": "s"})
    linear = await client.create_order(SYMBOL, "limit", "buy", 0.1, 59_000, {"clientOrderId": "s"})
    assert [one["id"] for one in await client.fetch_open_orders(SPOT)] == [spot["id"]]
    assert [one["id"] for one in await client.fetch_open_orders(SYMBOL)] == [linear["id"]]
    await client.cancel_order(spot["id"], SPOT)
    with pytest.raises(ccxt.OrderNotFound, match=r"170213|43001"):
        await client.cancel_order(linear["id"], SPOT)
    assert len(await client.fetch_open_orders(SYMBOL)) == 1


@both
async def test_a_buy_pays_its_fee_in_base_and_a_sell_in_quote(client, server, market):
    await client.create_order(SPOT, "limit", "buy", 0.1, 59_990)
    market.trade("sell", 59_980, 0.1)
    await client.create_order(SPOT, "limit", "sell", 0.1, 60_010)
    market.trade("buy", 60_020, 0.1)
    bought, sold = await client.fetch_my_trades(SPOT)
    assert (bought["fee"]["currency"], bought["fee"]["cost"]) == ("BTC", pytest.approx(0.0001))
    assert (sold["fee"]["currency"], sold["fee"]["cost"]) == ("USDT", pytest.approx(6.001))
    balance = await client.fetch_balance()
    assert balance["BTC"]["total"] == pytest.approx(1 - 0.0001)
    assert balance["USDT"]["total"] == pytest.approx(100_000 + 2 - 6.001)
    in_contracts = 2 - D("6.001") if client.id == "bybit" else 0
    assert server.account.wallet_balance == 100_000 + in_contracts
    assert server.account.position.qty == 0
    assert await client.fetch_my_trades(SYMBOL) == []


@both
async def test_open_orders_lock_what_they_would_spend(client, server, market):
    await client.create_order(SPOT, "limit", "sell", 0.9, 61_000)
    with pytest.raises(ccxt.InsufficientFunds, match=r"170131|43012"):
        await client.create_order(SPOT, "limit", "sell", 0.2, 61_000)
    with pytest.raises(ccxt.InsufficientFunds, match=r"170131|43012"):
        await client.create_order(SPOT, "limit", "buy", 2, 59_000)
    assert server.account.spot.locked("sell") == D("0.9")


async def test_a_market_buy_spends_quote_unless_told_otherwise(client, server):
    await client.create_market_buy_order_with_cost(SPOT, 6_000.02)
    request = {"category": "spot", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "0.2"}
    await client.private_post_v5_order_create(request | {"marketUnit": "baseCoin"})
    assert sorted(str(one.qty) for one in server.account.spot.ledger.executions) == ["0.099", "0.2"]


async def test_a_cancelled_part_fill_has_spots_own_status(client, market):
    order = await client.create_order(SPOT, "limit", "buy", 0.5, 59_990)
    market.trade("sell", 59_980, 0.2)
    await client.cancel_order(order["id"], SPOT)
    (ended,) = await client.fetch_canceled_and_closed_orders(SPOT)
    assert ended["info"]["orderStatus"] == "PartiallyFilledCanceled"
    # ccxt calls it closed with nothing left, though most of it never traded.
    assert (ended["status"], ended["filled"], ended["remaining"]) == ("closed", 0.2, 0)


@both
async def test_updates_of_either_side_come_over_one_stream(client, server, market):
    watcher = asyncio.create_task(client.watch_orders(SPOT))
    await follows(server, "order")
    await client.create_order(SYMBOL, "limit", "buy", 0.1, 59_990)
    await client.create_order(SPOT, "limit", "buy", 0.1, 59_000)
    (order,) = await watcher
    assert (order["symbol"], order["price"]) == (SPOT, 59_000)


async def test_ten_legs_are_the_most_of_a_spot_batch(client):
    legs = [
        {"symbol": SPOT, "type": "limit", "side": "buy", "amount": 0.001, "price": 59_000 - step}
        for step in range(11)
    ]
    with pytest.raises(ccxt.BadRequest):
        await client.create_orders(legs)
    assert len(await client.create_orders(legs[:10])) == 10


@both
async def test_spot_survives_a_restart(tmp_path, client, server, market):
    await client.create_order(SPOT, "limit", "buy", 0.5, 59_990, {"clientOrderId": "s"})
    await client.create_order(SYMBOL, "limit", "buy", 0.5, 59_000, {"clientOrderId": "l"})
    market.trade("sell", 59_980, 0.2)
    spot = server.account.spot
    before = (spot.base_balance, spot.quote_flow, server.account.wallet_balance)
    await server.close()
    async with serve(server.config.venue, spot=True, state=tmp_path / "state.db") as again:
        spot = again.account.spot
        assert (spot.base_balance, spot.quote_flow, again.account.wallet_balance) == before
        assert [order.client_id for order in spot.open_orders()] == ["s"]
        assert [order.client_id for order in again.account.open_orders()] == ["l"]
        Market(again).book()
        Market(again).trade("sell", 59_980, 0.9)
        assert spot.position.qty == D("0.5")
        assert again.account.position.qty == 0


SPOT_PARAMS = {"category": "spot", "symbol": "BTCUSDT"}


@pytest.mark.parametrize(
    ("method", "samples"),
    [
        ("public_get_v5_market_instruments_info", "http_get_instruments_spot http_get_executions"),
        ("public_get_v5_market_tickers", "http_ccxt_tickers_linear"),
        ("public_get_v5_market_orderbook", "http_ccxt_orderbook_spot http_get_orderbook"),
        ("private_get_v5_order_history", "http_ccxt_order_spot_market_buy_partially_filled_canceled EXTRA"),
        ("private_get_v5_execution_list", "http_ccxt_execution_list_spot http_get_executions"),
    ],
)
async def test_spot_pages_have_the_venues_shape(fixtures, client, server, market, method, samples):  # noqa: F811
    order = await client.create_order(SPOT, "limit", "buy", 0.5, 59_990)
    market.trade("sell", 59_980, 0.2)
    await client.cancel_order(order["id"], SPOT)
    ours = await reply(server, method, SPOT_PARAMS)
    assert ours["result"].get("list", ours["result"].get("b"))
    assert_like(ours, fixtures / "bybit", samples.replace("EXTRA", "http_ccxt_order_history_linear_filled"))
    assert "tpslMode" not in json.dumps(ours)


BITGET_PARAMS = {"symbol": "BTCUSDT"}


@on_bitget
@pytest.mark.parametrize(
    ("method", "samples"),
    [
        ("public_spot_get_v2_spot_public_symbols", "http_raw_spot_symbols"),
        ("public_spot_get_v2_spot_market_orderbook", "http_spot_orderbook"),
        ("public_spot_get_v2_spot_market_tickers", "http_spot_ticker"),
        ("private_spot_get_v2_spot_trade_unfilled_orders", "http_raw_spot_unfilled_orders"),
        ("private_spot_get_v2_spot_trade_history_orders", "http_raw_spot_history_orders"),
        ("private_spot_get_v2_spot_trade_fills", "http_raw_spot_fills"),
        ("private_spot_get_v2_spot_account_assets", "http_raw_spot_account_assets"),
    ],
)
async def test_bitgets_spot_pages_have_the_venues_shape(
    fixtures,  # noqa: F811
    client,
    server,
    market,
    method,
    samples,
):
    order = await client.create_order(SPOT, "limit", "buy", 0.5, 59_990)
    market.trade("sell", 59_980, 0.2)
    await client.cancel_order(order["id"], SPOT)
    await client.create_order(SPOT, "limit", "buy", 0.1, 59_000)
    ours = await reply(server, method, BITGET_PARAMS)
    assert ours["data"]
    assert_like(ours, fixtures / "bitget", samples)


@on_bitget
async def test_bitgets_spot_pushes_have_the_venues_shape(fixtures, client, server, market):  # noqa: F811
    pushes: dict[str, list[dict]] = {}
    broadcast = server._streams.sessions[0].broadcast

    def heard(topic, message):
        if message["arg"]["instType"] == "SPOT":
            pushes.setdefault(message["arg"]["channel"], []).append(message)
        broadcast(topic, message)

    server._streams.sessions[0].broadcast = heard
    await client.create_order(SPOT, "limit", "buy", 0.5, 59_990)
    market.trade("sell", 59_980, 0.2)
    samples = {
        "orders": "ws_spot_orders_live ws_mock_spot_orders_filled",
        "fill": "ws_mock_spot_fill",
        "account": "ws_spot_account",
    }
    assert set(pushes) == set(samples)
    for channel, names in samples.items():
        for message in pushes[channel]:
            message.pop("arg", None)
            if channel == "fill":
                # The sample's author wrote this time as a number; everywhere else the venue quotes times.
                message["data"][0].pop("uTime", None)
            assert_like(message, fixtures / "bitget", names)


@on_bitget
async def test_bitgets_spot_order_is_found_by_either_id_and_replaced_by_another(client, server):
    order = await client.create_order(SPOT, "limit", "buy", 0.1, 59_000, {"clientOrderId": "s-1"})
    found = await client.fetch_order(order["id"], SPOT)
    assert (found["clientOrderId"], found["status"], found["price"]) == ("s-1", "open", 59_000)
    request = {
        "symbol": "BTCUSDT",
        "clientOid": "s-1",
        "newClientOid": "s-2",
        "price": "59100",
        "size": "0.2",
    }
    await client.private_spot_post_v2_spot_trade_cancel_replace_order(request)
    (listed,) = await client.fetch_open_orders(SPOT)
    assert (listed["clientOrderId"], listed["price"], listed["amount"]) == ("s-2", 59_100, 0.2)
    assert (await client.fetch_order(order["id"], SPOT))["status"] == "canceled"
    await client.cancel_all_orders(SPOT)
    assert await client.fetch_open_orders(SPOT) == []


@on_bitget
async def test_bitgets_spot_batches(client, server):
    legs = [
        {"symbol": SPOT, "type": "limit", "side": "buy", "amount": 0.001, "price": 59_000 - step}
        for step in range(3)
    ]
    orders = await client.create_orders(legs)
    await client.cancel_orders([order["id"] for order in orders[:2]], SPOT)
    assert [order["id"] for order in await client.fetch_open_orders(SPOT)] == [orders[2]["id"]]


@on_bitget
async def test_bitgets_market_buy_is_in_quote(client, server):
    await client.create_market_buy_order_with_cost(SPOT, 6_000.02)
    (bought,) = server.account.spot.ledger.executions
    assert str(bought.qty) == "0.099"


def test_bitgets_spot_steps_are_powers_of_ten():
    with pytest.raises(ValueError, match=r"tick_size 0\.5 is no power of ten"):
        ExchangeServerConfig(venue="bitget", spot=True, tick_size="0.5")
