"""What only Bitget v2 does: errors over HTTP 400, modify as cancel and replace, fills inside order pushes."""

import asyncio
from collections.abc import AsyncIterator

import ccxt
import ccxt.pro
import pytest
from venue_client import SYMBOL, Market, connect, follows, serve, until

from mm_hybrid.servers.exchange import ExchangeServer

PRODUCT = {"productType": "USDT-FUTURES", "symbol": "BTCUSDT"}


@pytest.fixture
async def server() -> AsyncIterator[ExchangeServer]:
    async with serve("bitget") as running:
        yield running


@pytest.fixture
def market(server) -> Market:
    market = Market(server)
    market.book()
    return market


@pytest.fixture
async def client(server, market) -> AsyncIterator[ccxt.pro.bitget]:
    connected = connect(server)
    await connected.load_markets()
    yield connected
    await connected.close()


async def test_a_modified_order_is_a_new_order_with_the_new_client_id(client):
    order = await client.create_order(SYMBOL, "limit", "buy", 0.01, 59_000, {"clientOrderId": "mm-1"})
    await client.edit_order(order["id"], SYMBOL, "limit", "buy", 0.02, 59_100, {"newClientOid": "mm-2"})
    (listed,) = await client.fetch_open_orders(SYMBOL)
    assert listed["id"] != order["id"]
    assert (listed["clientOrderId"], listed["price"], listed["amount"]) == ("mm-2", 59_100, 0.02)
    assert (await client.fetch_order(order["id"], SYMBOL))["status"] == "canceled"


async def test_an_order_push_tells_the_latest_fill_apart_from_the_total(client, server, market):
    def pushes() -> asyncio.Task:
        return asyncio.create_task(client.watch_orders(SYMBOL))

    update = pushes()
    await follows(server, "orders")
    await client.create_order(SYMBOL, "limit", "buy", 1.0, 59_990)
    await update
    for size, total in ((0.2, "0.2"), (0.1, "0.3")):
        update = pushes()
        market.trade("sell", 59_980, size)
        (order,) = await update
        assert (order["info"]["baseVolume"], order["info"]["accBaseVolume"]) == (str(size), total)


async def test_orders_are_found_by_client_id_open_and_ended(client):
    await client.create_order(SYMBOL, "limit", "buy", 0.01, 59_000, {"clientOrderId": "mm-1"})
    by_client_id = {"clientOrderId": "mm-1"}
    assert (await client.fetch_order(None, SYMBOL, by_client_id))["status"] == "open"
    await client.cancel_order(None, SYMBOL, by_client_id)
    assert (await client.fetch_order(None, SYMBOL, by_client_id))["status"] == "canceled"
    with pytest.raises(ccxt.OrderNotFound, match="40109"):
        await client.fetch_order(None, SYMBOL, {"clientOrderId": "never"})


async def test_open_orders_come_in_pages_of_100_walked_by_the_last_id(client):
    legs = [
        {"symbol": SYMBOL, "type": "limit", "side": "buy", "amount": 0.001, "price": 59_000 - step}
        for step in range(120)
    ]
    placed = set()
    for start in range(0, 120, 50):
        placed |= {order["id"] for order in await client.create_orders(legs[start : start + 50])}
    page = await client.fetch_open_orders(SYMBOL)
    assert len(page) == 100
    oldest = min((order["id"] for order in page), key=int)
    rest = await client.fetch_open_orders(SYMBOL, params={"idLessThan": oldest})
    assert {order["id"] for order in page + rest} == placed


async def test_a_batch_names_its_refused_legs(client):
    order = {"orderType": "limit", "side": "buy", "size": "0.01", "force": "post_only"}
    request = PRODUCT | {"marginCoin": "USDT", "marginMode": "crossed"}
    request["orderList"] = [
        order | {"price": "59000", "clientOid": "a"},
        order | {"price": "58000", "clientOid": "a"},
    ]
    data = (await client.private_mix_post_v2_mix_order_batch_place_order(request))["data"]
    assert [leg["clientOid"] for leg in data["successList"]] == ["a"]
    assert [leg["errorCode"] for leg in data["failureList"]] == ["40786"]


async def test_off_grid_prices_and_sizes_are_refused(client):
    request = PRODUCT | {"marginCoin": "USDT", "marginMode": "crossed", "side": "buy", "orderType": "limit"}
    for price, size in (("59000.05", "0.01"), ("59000", "0.0105")):
        with pytest.raises(ccxt.InvalidOrder, match="40808"):
            await client.private_mix_post_v2_mix_order_place_order(request | {"price": price, "size": size})


async def test_a_hedge_mode_order_is_refused_in_one_way_mode(client):
    with pytest.raises(ccxt.InvalidOrder, match="40774"):
        await client.create_order(SYMBOL, "limit", "buy", 0.01, 59_000, {"hedged": True})


async def test_a_wrong_passphrase_is_refused(server, market):
    client = connect(server, password="not-the-password")
    try:
        with pytest.raises(ccxt.AuthenticationError, match="40012"):
            await client.fetch_balance()
    finally:
        await client.close()


async def test_a_refusal_is_http_400_with_a_code(client):
    with pytest.raises(ccxt.OrderNotFound):
        await client.cancel_order("1", SYMBOL)
    assert '"code": "40768"' in client.last_http_response


async def test_subscribing_to_positions_and_account_answers_with_the_present_state(client, server, market):
    await client.create_order(SYMBOL, "limit", "buy", 0.1, 59_990)
    market.trade("sell", 59_980, 1.0)
    async with asyncio.timeout(10):
        (position,) = await client.watch_positions([SYMBOL])
        balance = await client.watch_balance({"type": "swap"})
    assert (position["side"], position["contracts"]) == ("long", 0.1)
    assert balance["USDT"]["total"] is not None or balance["USDT"]["free"] is not None


async def test_a_plain_text_ping_is_answered(client, server):
    watcher = asyncio.create_task(client.watch_orders(SYMBOL))
    await follows(server, "orders")
    connection = next(iter(client.clients.values()))
    before = connection.lastPong or 0
    await connection.send("ping")
    await until(lambda: (connection.lastPong or 0) > before)
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)
