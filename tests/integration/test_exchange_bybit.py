"""What only Bybit v5 does: paging by cursor, amend in place, batches, orders over the trade stream."""

import asyncio
from collections.abc import AsyncIterator

import ccxt
import ccxt.pro
import pytest
from venue_client import SYMBOL, Market, connect, follows, serve

from mm_hybrid.servers.exchange import ExchangeServer


@pytest.fixture
async def server() -> AsyncIterator[ExchangeServer]:
    async with serve("bybit") as running:
        yield running


@pytest.fixture
def market(server) -> Market:
    market = Market(server)
    market.book()
    return market


@pytest.fixture
async def client(server, market) -> AsyncIterator[ccxt.pro.bybit]:
    connected = connect(server)
    await connected.load_markets()
    yield connected
    await connected.close()


async def place_many(client: ccxt.pro.bybit, count: int) -> set[str]:
    async def place(step: int) -> str:
        order = await client.create_order(SYMBOL, "limit", "buy", 0.001, 59_000 - step, {"postOnly": True})
        return order["id"]

    return set(await asyncio.gather(*map(place, range(count))))


async def test_open_orders_come_in_pages_of_20_and_at_most_50(client):
    placed = await place_many(client, 60)
    assert len(await client.fetch_open_orders(SYMBOL)) == 20
    assert len(await client.fetch_open_orders(SYMBOL, limit=100)) == 50
    walked = await client.fetch_open_orders(SYMBOL, params={"paginate": True})
    assert {order["id"] for order in walked} == placed


async def test_executions_are_paged_newest_first_without_loss(client, market):
    for step in range(5):
        await client.create_order(SYMBOL, "limit", "buy", 0.001, 59_990 - step)
    market.trade("sell", 59_000, 1.0)
    seen, cursor = [], ""
    while True:
        params = {"category": "linear", "symbol": "BTCUSDT", "limit": 2} | (
            {"cursor": cursor} if cursor else {}
        )
        result = (await client.private_get_v5_execution_list(params))["result"]
        if not result["list"]:
            break
        seen += [row["execPrice"] for row in result["list"]]
        cursor = result["nextPageCursor"]
    assert seen == ["59986", "59987", "59988", "59989", "59990"]


async def test_an_amend_keeps_the_order_and_changes_it(client):
    order = await client.create_order(SYMBOL, "limit", "buy", 0.01, 59_000, {"clientOrderId": "mm-1"})
    edited = await client.edit_order(order["id"], SYMBOL, "limit", "buy", 0.02, 59_100)
    assert edited["id"] == order["id"]
    (listed,) = await client.fetch_open_orders(SYMBOL)
    assert (listed["id"], listed["price"], listed["amount"]) == (order["id"], 59_100, 0.02)
    with pytest.raises(ccxt.BadRequest):
        await client.edit_order(order["id"], SYMBOL, "limit", "buy", 0.02, 59_100)


async def test_a_post_only_order_amended_across_the_spread_is_cancelled(client):
    order = await client.create_order(SYMBOL, "limit", "buy", 0.01, 59_000, {"postOnly": True})
    await client.edit_order(order["id"], SYMBOL, "limit", "buy", 0.01, 60_000.1)
    (ended,) = await client.fetch_canceled_and_closed_orders(SYMBOL)
    assert ended["info"]["rejectReason"] == "EC_PostOnlyWillTakeLiquidity"


async def test_an_amend_to_no_more_than_has_traded_is_refused(client, market):
    order = await client.create_order(SYMBOL, "limit", "buy", 0.5, 59_990)
    market.trade("sell", 59_980, 0.2)
    with pytest.raises(ccxt.InvalidOrder, match="110064"):
        await client.edit_order(order["id"], SYMBOL, "limit", "buy", 0.2, 59_990)


async def test_an_exact_lookup_finds_open_and_recently_ended_orders(client):
    await client.create_order(SYMBOL, "limit", "buy", 0.01, 59_000, {"clientOrderId": "mm-1"})
    lookup = {"orderLinkId": "mm-1"}
    (order,) = await client.fetch_open_orders(SYMBOL, params=lookup)
    assert order["status"] == "open"
    await client.cancel_order(None, SYMBOL, {"orderLinkId": "mm-1"})
    (order,) = await client.fetch_open_orders(SYMBOL, params=lookup)
    assert order["status"] == "canceled"
    assert await client.fetch_open_orders(SYMBOL, params={"orderLinkId": "never"}) == []


async def test_a_batch_keeps_a_place_for_the_refused_leg(client):
    def leg(price: float, client_id: str) -> dict:
        order = {"symbol": SYMBOL, "type": "limit", "side": "buy", "amount": 0.01, "price": price}
        return order | {"params": {"clientOrderId": client_id, "postOnly": True}}

    orders = await client.create_orders([leg(59_000, "a"), leg(58_000, "a"), leg(57_000, "b")])
    assert [bool(order["id"]) for order in orders] == [True, False, True]
    assert orders[1]["status"] == "rejected"
    ids = [order["id"] for order in orders if order["id"]]
    await client.cancel_orders(ids, SYMBOL)
    assert await client.fetch_open_orders(SYMBOL) == []


async def test_off_grid_prices_and_sizes_are_refused(client):
    request = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit"}
    for price, qty in (("59000.05", "0.01"), ("59000", "0.0105"), ("59000", "0.0001"), ("-1", "0.01")):
        with pytest.raises(ccxt.BadRequest, match="10001"):
            await client.private_post_v5_order_create(request | {"price": price, "qty": qty})


async def test_orders_can_be_sent_over_the_trade_stream(client):
    order = await client.create_order_ws(SYMBOL, "limit", "buy", 0.01, 59_000, {"postOnly": True})
    await client.edit_order_ws(order["id"], SYMBOL, "limit", "buy", 0.02, 59_100)
    (listed,) = await client.fetch_open_orders(SYMBOL)
    assert (listed["price"], listed["amount"]) == (59_100, 0.02)
    await client.cancel_order_ws(order["id"], SYMBOL)
    assert await client.fetch_open_orders(SYMBOL) == []
    with pytest.raises(ccxt.OrderNotFound):
        await client.cancel_order_ws(order["id"], SYMBOL)


async def test_the_position_is_pushed_after_a_fill(client, server, market):
    # The first call answers with the snapshot over REST; only the next one listens.
    assert not any(position["contracts"] for position in await client.watch_positions([SYMBOL]))
    update = asyncio.create_task(client.watch_positions([SYMBOL]))
    await follows(server, "position")
    await client.create_order(SYMBOL, "limit", "sell", 0.1, 60_010)
    market.trade("buy", 60_020, 1.0)
    (position,) = await update
    assert (position["side"], position["contracts"], position["entryPrice"]) == ("short", 0.1, 60_010)


async def test_rate_limit_headers_say_what_is_left_and_the_limit_is_enforced(market):
    async with serve("bybit", rate_limit_per_s=3) as server:
        client = connect(server)
        try:
            await client.fetch_balance()
            headers = client.last_response_headers
            assert (headers["X-Bapi-Limit"], headers["X-Bapi-Limit-Status"]) == ("3", "2")
            with pytest.raises(ccxt.RateLimitExceeded):
                await asyncio.gather(*(client.fetch_balance() for _ in range(10)))
        finally:
            await client.close()


async def test_a_clock_one_second_fast_is_refused_while_four_seconds_slow_passes(client, server):
    client.milliseconds = lambda: server.account.now_ms() - 4_000
    client.nonce = client.milliseconds
    assert await client.fetch_balance()
    client.milliseconds = lambda: server.account.now_ms() + 1_500
    client.nonce = client.milliseconds
    with pytest.raises(ccxt.InvalidNonce):
        await client.fetch_balance()
