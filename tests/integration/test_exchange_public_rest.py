"""What ccxt users ask of a venue beside trading: prints, candles, funding rate, leverage, and unknown paths."""

from decimal import Decimal

import aiohttp
import ccxt.pro
import pytest
from venue_client import SYMBOL, Market, connect, serve

from mm_hybrid.servers.exchange.events import fund

MINUTE_MS = 60_000


@pytest.fixture(params=["bybit", "bitget"])
async def venue(request):
    """A server whose market has printed in three minutes, and a client of it."""
    async with serve(request.param) as server:
        market = Market(server)
        market.book()
        market.now_ms = market.now_ms // MINUTE_MS * MINUTE_MS - 2 * MINUTE_MS
        for minute, prices in enumerate(([60_000, 60_002, 59_999], [60_001], [60_003, 60_001])):
            for step, price in enumerate(prices):
                market.trade("sell" if step % 2 else "buy", price, 0.5, f"{minute}{step}")
            market.now_ms += MINUTE_MS
        client = connect(server)
        await client.load_markets()
        yield server, client
        await client.close()


async def test_recent_prints_have_price_side_and_the_market_s_own_time(venue):
    _, client = venue
    trades = await client.fetch_trades(SYMBOL, limit=2)
    assert [(trade["price"], trade["side"], trade["amount"]) for trade in trades] == [
        (60_003.0, "buy", 0.5), (60_001.0, "sell", 0.5),
    ]  # fmt: skip
    assert trades[0]["timestamp"] < trades[1]["timestamp"]


async def test_candles_are_made_of_the_prints(venue):
    _, client = venue
    candles = await client.fetch_ohlcv(SYMBOL, "1m")
    assert [row[1:6] for row in candles] == [
        [60_000.0, 60_002.0, 59_999.0, 59_999.0, 1.5],
        [60_001.0, 60_001.0, 60_001.0, 60_001.0, 0.5],
        [60_003.0, 60_003.0, 60_001.0, 60_001.0, 1.0],
    ]
    assert [row[0] % MINUTE_MS for row in candles] == [0, 0, 0]
    assert sum(row[5] for row in await client.fetch_ohlcv(SYMBOL, "1h")) == 3.0


async def test_the_funding_rate_is_the_one_last_settled(venue):
    server, client = venue
    assert (await client.fetch_funding_rate(SYMBOL))["fundingRate"] == 0.0
    fund(server.account, Decimal("0.0001"))
    assert (await client.fetch_funding_rate(SYMBOL))["fundingRate"] == 0.0001


async def test_leverage_that_is_set_is_what_margin_is_counted_at(venue):
    server, client = venue
    await client.create_order(SYMBOL, "limit", "buy", 0.5, 59_990)
    at_ten = server.account.order_margin
    await client.set_leverage(5, SYMBOL)
    assert server.account.order_margin == 2 * at_ten
    if server.config.venue == "bybit":
        with pytest.raises(ccxt.BadRequest, match="110043"):
            await client.set_leverage(5, SYMBOL)
    else:
        await client.set_leverage(5, SYMBOL)


async def test_leverage_whose_margin_is_not_there_is_refused(venue):
    server, client = venue
    await client.create_order(SYMBOL, "limit", "buy", 10, 59_990)
    with pytest.raises(ccxt.InsufficientFunds):
        await client.set_leverage(2, SYMBOL)
    assert server.account.leverage == 10


async def test_a_path_there_is_not_is_answered_as_the_venue_does(venue):
    """Bybit: 404 and no body. Bitget: 404 and its envelope."""
    server, _ = venue
    path = "/v5/nothing" if server.config.venue == "bybit" else "/api/v2/nothing"
    async with aiohttp.ClientSession() as http, http.get(server.url + path) as reply:
        assert reply.status == 404
        body = await reply.text()
    assert body == "" if server.config.venue == "bybit" else '"code":"40404"' in body.replace(" ", "")
