"""Rules of the venues that a client meets sooner or later: self-matches, modes, addresses, limits, windows."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import aiohttp
import ccxt
import ccxt.pro
import pytest
from venue_client import SYMBOL, Market, connect, follows, serve, until

from mm_hybrid.servers.exchange import ExchangeServer, ExchangeServerConfig

D = Decimal
DAY_MS = 86_400_000


@pytest.fixture(params=["bybit", "bitget"])
async def server(request) -> AsyncIterator[ExchangeServer]:
    async with serve(request.param) as running:
        yield running


@pytest.fixture
def market(server) -> Market:
    market = Market(server)
    market.book()
    return market


@pytest.fixture
async def client(server, market) -> AsyncIterator[ccxt.pro.Exchange]:
    connected = connect(server)
    await connected.load_markets()
    yield connected
    await connected.close()


@pytest.fixture
async def bybit() -> AsyncIterator[ExchangeServer]:
    async with serve("bybit") as running:
        Market(running).book()
        yield running


@pytest.fixture
async def bybit_client(bybit) -> AsyncIterator[ccxt.pro.bybit]:
    connected = connect(bybit)
    await connected.load_markets()
    yield connected
    await connected.close()


async def admin(server: ExchangeServer, path: str, body: dict) -> dict:
    async with aiohttp.ClientSession() as http, http.post(f"{server.url}/_admin/{path}", json=body) as reply:
        answer = await reply.json()
        assert reply.status == 200, answer
        return answer


async def place(client, side: str, price: float, qty: float = 0.1, **params: object) -> dict:
    return await client.create_order(SYMBOL, "limit", side, qty, price, params)


# Self-match


def smp(client, wish: str) -> dict:
    """Self-match prevention in the venue's own words."""
    words = {"maker": "CancelMaker", "taker": "CancelTaker", "both": "CancelBoth"}
    if client.id == "bybit":
        return {"smpType": words[wish]}
    return {"stpMode": f"cancel_{wish}"}


@pytest.mark.parametrize(
    ("wish", "left"), [("maker", ["taker"]), ("taker", ["maker"]), ("both", [])], ids=str
)
async def test_the_takers_wish_decides_who_is_cancelled_on_a_self_match(server, client, wish, left):
    opposite = {"maker": "taker", "taker": "maker", "both": "maker"}[wish]
    await place(client, "sell", 60_000.0, clientOrderId="maker", **smp(client, opposite))
    await place(client, "buy", 60_000.0, clientOrderId="taker", **smp(client, wish))
    assert [order.client_id for order in server.account.open_orders()] == left
    assert server.account.ledger.executions == []
    ended = {order.client_id: order.cancel_cause for order in server.account.ended_orders()}
    assert set(ended.values()) == {"self_match"}
    assert set(ended) == {"maker", "taker"} - set(left)


async def test_without_prevention_an_account_trades_with_itself(server, client):
    await place(client, "sell", 60_000.0, 0.1, clientOrderId="maker")
    await place(client, "buy", 60_000.0, 0.3, clientOrderId="taker")
    booked = [
        (one.client_id, one.side, str(one.qty), one.is_maker) for one in server.account.ledger.executions
    ]
    assert booked == [("maker", "sell", "0.1", True), ("taker", "buy", "0.1", False)]
    assert server.account.position.qty == 0
    (rest,) = server.account.open_orders()
    assert (rest.client_id, rest.remaining_qty) == ("taker", D("0.2"))


async def test_a_better_price_of_the_market_goes_before_the_own_order(server, client, market):
    market.book(asks=[(60_000.1, 0.1), (60_001.0, 5.0)])
    await place(client, "sell", 60_000.5, 0.2, clientOrderId="maker")
    await place(client, "buy", 60_000.5, 0.3, clientOrderId="taker", **smp(client, "taker"))
    (taken,) = server.account.ledger.executions
    assert (taken.price, taken.qty, taken.is_maker) == (D("60000.1"), D("0.1"), False)
    assert [order.client_id for order in server.account.open_orders()] == ["maker"]


async def test_what_the_market_shows_is_taken_once_however_many_own_orders_are_met(server, client, market):
    market.book(asks=[(60_000.1, 0.1), (60_000.4, 0.1), (60_001.0, 5.0)])
    for step, price in enumerate((60_000.3, 60_000.5)):
        await place(client, "sell", price, 0.2, clientOrderId=f"maker-{step}")
    await place(client, "buy", 60_000.6, 0.9, clientOrderId="taker")
    taken = [one for one in server.account.ledger.executions if one.client_id == "taker"]
    assert [(str(one.price), str(one.qty)) for one in taken] == [
        ("60000.1", "0.1"),
        ("60000.3", "0.2"),
        ("60000.4", "0.1"),
        ("60000.5", "0.2"),
    ]
    (rest,) = server.account.open_orders()
    assert (rest.client_id, rest.remaining_qty) == ("taker", D("0.3"))
    market.trade("sell", 59_000, 9)
    assert server.account.find(client_id="taker").status == "filled"
    assert server.account.position.qty == D("0.5")


async def test_a_post_only_order_never_takes_an_own_order_either(server, client):
    await place(client, "sell", 60_000.0, clientOrderId="maker")
    await place(client, "buy", 60_000.0, clientOrderId="crossing", postOnly=True)
    assert [order.client_id for order in server.account.open_orders()] == ["maker"]
    assert server.account.find(client_id="crossing").cancel_cause == "post_only"


async def test_an_order_amended_into_an_own_one_meets_it(bybit, bybit_client):
    await place(bybit_client, "sell", 60_000.0, clientOrderId="maker")
    order = await place(bybit_client, "buy", 59_990.0, 0.3, clientOrderId="mover")
    await bybit_client.edit_order(order["id"], SYMBOL, "limit", "buy", 0.3, 60_000.0)
    assert [one.client_id for one in bybit.account.ledger.executions] == ["maker", "mover"]
    Market(bybit).trade("sell", 59_980, 0.1)
    (rest,) = bybit.account.open_orders()
    assert (rest.client_id, rest.filled_qty, rest.remaining_qty) == ("mover", D("0.2"), D("0.1"))


async def test_numbers_beyond_all_measure_are_refused_like_others(server, client):
    if client.id == "bybit":
        send, order = client.private_post_v5_order_create, {"category": "linear", "side": "Buy"}
        order |= {"orderType": "Limit"}
    else:
        send, order = client.private_mix_post_v2_mix_order_place_order, {"productType": "USDT-FUTURES"}
        order |= {"marginCoin": "USDT", "side": "buy", "orderType": "limit"}
    for price, qty in (("1E+400", "1"), ("59000", "1E+400"), ("NaN", "1"), ("59000", "Infinity")):
        with pytest.raises(ccxt.ExchangeError):
            await send(order | {"symbol": "BTCUSDT", "price": price, "qty": qty, "size": qty})
        assert client.last_http_response.startswith("{")


# Set-ups


async def test_an_address_outside_the_list_is_refused_over_rest_and_stream(server, client):
    await admin(server, "config", {"allowed_ips": ["10.0.0.1"]})
    code = "10010" if client.id == "bybit" else "40018"
    with pytest.raises(ccxt.PermissionDenied, match=code):
        await client.fetch_balance()
    with pytest.raises(ccxt.BaseError):
        await client.watch_orders(SYMBOL)


async def test_a_key_that_may_only_read_cannot_trade(server, client):
    await admin(server, "config", {"can_trade": False})
    assert await client.fetch_balance()
    code = "10005" if client.id == "bybit" else "40014"
    with pytest.raises(ccxt.PermissionDenied, match=code):
        await place(client, "buy", 59_000.0)


async def test_hedge_mode_is_shown_and_refuses_one_way_orders(server, client):
    await admin(server, "config", {"hedge_mode": True})
    if client.id == "bybit":
        rows = (await client.private_get_v5_position_list({"category": "linear", "symbol": "BTCUSDT"}))[
            "result"
        ]
        assert [row["positionIdx"] for row in rows["list"]] == [1, 2]
    else:
        request = {"productType": "USDT-FUTURES", "symbol": "BTCUSDT", "marginCoin": "USDT"}
        row = (await client.private_mix_get_v2_mix_account_account(request))["data"]
        assert row["posMode"] == "hedge_mode"
    code = "10001" if client.id == "bybit" else "40774"
    with pytest.raises(ccxt.ExchangeError, match=code):
        await place(client, "buy", 59_000.0)


async def test_the_mode_is_switched_by_the_client_unless_a_position_or_an_order_holds_it(
    server, client, market
):
    order = await place(client, "buy", 59_990.0)
    with pytest.raises(ccxt.ExchangeError, match=r"110028|40920"):
        await client.set_position_mode(True, SYMBOL)
    await client.cancel_order(order["id"], SYMBOL)
    await client.set_position_mode(True, SYMBOL)
    assert server.account.setup.hedge_mode
    await client.set_position_mode(False, SYMBOL)
    await place(client, "buy", 59_990.0)
    market.trade("sell", 59_000, 1)
    with pytest.raises(ccxt.ExchangeError, match=r"110024|40920"):
        await client.set_position_mode(True, SYMBOL)


async def test_fee_rates_are_told(client):
    fee = await client.fetch_trading_fee(SYMBOL)
    assert (fee["maker"], fee["taker"]) == (0.00001, 0.00055 if client.id == "bybit" else 0.0006)


async def test_a_halted_symbol_is_listed_as_such_and_takes_no_orders(server, client):
    await admin(server, "config", {"symbol_status": "halted"})
    await client.load_markets(reload=True)
    assert not client.market(SYMBOL)["active"]
    with pytest.raises(ccxt.ExchangeError, match="110074" if client.id == "bybit" else "40034"):
        await place(client, "buy", 59_000.0)


async def test_an_empty_wallet_is_refused_as_such(server, client):
    await admin(server, "config", {"balance": "1"})
    with pytest.raises(ccxt.InsufficientFunds, match="110007" if client.id == "bybit" else "40762"):
        await place(client, "buy", 59_000.0)


async def test_bitgets_paper_trading_header_changes_nothing():
    async with serve("bitget") as server:
        Market(server).book()
        client = connect(server, headers={"PAPTRADING": "1"})
        try:
            assert (await place(client, "buy", 59_000.0))["id"]
        finally:
            await client.close()


# What happens without a request


async def test_funding_is_an_execution_on_bybit_and_a_bill_on_bitget(server, client, market):
    await place(client, "buy", 59_990.0, 0.5)
    market.trade("sell", 59_980, 0.5)
    before = server.account.wallet_balance
    assert await admin(server, "funding", {"rate": "0.0001"}) == {"amount": "-3", "position": "0.5"}
    assert server.account.wallet_balance == before - 3
    history = await client.fetch_funding_history(SYMBOL)
    assert [entry["amount"] for entry in history] == [3.0 if client.id == "bybit" else -3.0]
    # Trades leave it out on either venue.
    (trade,) = await client.fetch_my_trades(SYMBOL)
    assert trade["amount"] == 0.5
    assert server.account.position.qty == D("0.5")


async def test_fundings_type_is_told_on_bybits_stream(bybit, bybit_client):
    await place(bybit_client, "buy", 59_990.0, 0.5)
    Market(bybit).trade("sell", 59_980, 0.5)
    heard = []
    handle = bybit_client.handle_message

    def spy(connection, message):
        heard.extend(row["execType"] for row in message.get("data", []) if "execType" in row)
        return handle(connection, message)

    bybit_client.handle_message = spy
    watcher = asyncio.create_task(bybit_client.watch_my_trades(SYMBOL))
    await follows(bybit, "execution")
    await admin(bybit, "funding", {"rate": "-0.0001"})
    await admin(bybit, "adl", {"qty": "0.2"})
    await until(lambda: heard == ["Funding", "AdlTrade"])
    await watcher


async def test_a_deleveraging_reduces_the_position_without_a_client_id(server, client, market):
    await place(client, "buy", 59_990.0, 0.5, clientOrderId="mm-1")
    market.trade("sell", 59_980, 0.5)
    watcher = asyncio.create_task(client.watch_my_trades(SYMBOL))
    await follows(server, "execution" if client.id == "bybit" else "fill")
    row = await admin(server, "adl", {"qty": "0.2"})
    (pushed,) = await watcher
    assert (pushed["id"], pushed["side"], pushed["amount"]) == (row["exec_id"], "sell", 0.2)
    assert pushed["info"].get("orderLinkId", pushed["info"].get("clientOid")) == ""
    assert (await client.fetch_positions([SYMBOL]))[0]["contracts"] == 0.3
    # ccxt asks Bybit for executions of type Trade alone.
    assert len(await client.fetch_my_trades(SYMBOL)) == (1 if client.id == "bybit" else 2)


async def test_an_order_by_hand_has_no_client_id_of_ours(server, client):
    await admin(server, "foreign", {"side": "buy", "price": "59000", "qty": "0.01"})
    (order,) = await client.fetch_open_orders(SYMBOL)
    assert not order["clientOrderId"]


# Bybit's cancel on disconnect


async def private_stream(client: ccxt.pro.bybit, server: ExchangeServer, *topics: str):
    """Sign in over ccxt, then subscribe topics that it never subscribes itself."""
    watcher = asyncio.create_task(client.watch_orders(SYMBOL))
    await follows(server, "order")
    connection = next(iter(client.clients.values()))
    for topic in topics:
        await connection.send({"op": "subscribe", "args": [topic], "req_id": "x"})
        await follows(server, topic)
    return watcher


@pytest.mark.parametrize(
    ("enabled", "topics", "cancelled"),
    [(False, ["dcp.future"], False), (True, [], False), (True, ["dcp.future"], True)],
)
async def test_cancel_on_disconnect_needs_enabling_and_a_subscription(
    bybit, bybit_client, monkeypatch, enabled, topics, cancelled
):
    await admin(bybit, "config", {"dcp_enabled": enabled})
    await bybit_client.cancel_all_orders_after(3_000)
    # The venue's shortest window is three seconds; no test needs to wait that long.
    monkeypatch.setattr(bybit._streams._guard, "_window_s", lambda: 0.1)
    await place(bybit_client, "buy", 59_000.0)
    watcher = await private_stream(bybit_client, bybit, *topics)
    for connection in list(bybit_client.clients.values()):
        await connection.close()
    await asyncio.gather(watcher, return_exceptions=True)
    await until(lambda: not list(bybit._streams._private))
    await asyncio.sleep(0.25)
    assert [order.cancel_cause for order in bybit.account.ended_orders()] == ["disconnected"] * cancelled


# Limits


async def test_limits_are_kept_per_kind_of_request_and_shared_with_the_trade_stream():
    async with serve("bybit", rate_limits={"create": 3}) as server:
        Market(server).book()
        client = connect(server)
        try:
            await client.load_markets()
            results = await asyncio.gather(
                *(place(client, "buy", 59_000.0 - step) for step in range(3)),
                *(client.create_order_ws(SYMBOL, "limit", "buy", 0.1, 58_000.0 - step) for step in range(5)),
                return_exceptions=True,
            )
            assert any(isinstance(one, ccxt.RateLimitExceeded) for one in results)
            assert await client.fetch_balance()
        finally:
            await client.close()


async def test_bitgets_limit_is_http_429_with_a_code():
    async with serve("bitget", rate_limits={"create": 1}) as server:
        Market(server).book()
        client = connect(server)
        try:
            await client.load_markets()
            results = await asyncio.gather(
                *(place(client, "buy", 59_000.0 - step) for step in range(5)), return_exceptions=True
            )
            refused = [one for one in results if isinstance(one, Exception)]
            assert refused
            assert all(isinstance(one, ccxt.DDoSProtection) for one in refused)
        finally:
            await client.close()


async def test_an_address_that_sends_too_much_is_banned_for_a_while():
    async with serve("bybit", address_limit_per_5s=5, address_ban_s=0.3) as server:
        client = connect(server)
        try:
            for _ in range(5):
                await client.fetch_time()
            with pytest.raises(ccxt.RateLimitExceeded, match="403"):
                await client.fetch_time()
            await asyncio.sleep(0.1)
            with pytest.raises(ccxt.RateLimitExceeded, match="403"):
                await client.fetch_time()
            await asyncio.sleep(0.25)
            assert await client.fetch_time()
        finally:
            await client.close()


async def test_each_leg_of_a_batch_counts_on_bybit():
    async with serve("bybit", rate_limits={"create_batch": 10}) as server:
        Market(server).book()
        client = connect(server)
        try:
            await client.load_markets()
            legs = [
                {"symbol": SYMBOL, "type": "limit", "side": "buy", "amount": 0.001, "price": 59_000 - step}
                for step in range(11)
            ]
            with pytest.raises(ccxt.RateLimitExceeded):
                await client.create_orders(legs)
        finally:
            await client.close()


def test_a_limit_of_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="'creates' is none of create, amend"):
        ExchangeServerConfig(venue="bybit", rate_limits={"creates": 10})


# Queries


async def test_a_window_of_executions_is_a_week_at_most(server, client, market):
    await place(client, "buy", 59_990.0, 0.5)
    market.trade("sell", 59_980, 0.5)
    now_ms = server.account.now_ms()
    assert len(await client.fetch_my_trades(SYMBOL, since=now_ms - DAY_MS)) == 1
    # From one end alone the venue reads a week, which ends before today.
    assert await client.fetch_my_trades(SYMBOL, since=now_ms - 9 * DAY_MS) == []
    with pytest.raises(ccxt.BadRequest):
        await client.fetch_my_trades(SYMBOL, since=now_ms - 9 * DAY_MS, params={"endTime": now_ms})


async def test_the_market_pages_show_the_book_and_the_last_print(server, client, market):
    market.trade("sell", 59_999.5, 0.1)
    book = await client.fetch_order_book(SYMBOL, limit=5)
    assert (book["bids"][0], book["asks"][1]) == ([59_999.9, 2.0], [60_001.0, 5.0])
    ticker = await client.fetch_ticker(SYMBOL)
    assert (ticker["bid"], ticker["ask"], ticker["last"]) == (59_999.9, 60_000.1, 59_999.5)


async def test_an_unknown_path_is_answered_as_the_venue_does(server):
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{server.url}/v5/nothing/here") as reply:
            assert reply.status == 404
            if server.config.venue == "bitget":
                assert (await reply.json())["code"] == "40404"
        get_for_post = {"bybit": "/v5/order/create", "bitget": "/api/v2/mix/order/place-order"}
        async with http.get(server.url + get_for_post[server.config.venue]) as reply:
            assert reply.status == 404


async def test_bybits_recently_ended_orders_are_asked_for_by_open_only(bybit, bybit_client):
    order = await place(bybit_client, "buy", 59_000.0)
    await bybit_client.cancel_order(order["id"], SYMBOL)
    request = {"category": "linear", "symbol": "BTCUSDT", "openOnly": 1}
    rows = (await bybit_client.private_get_v5_order_realtime(request))["result"]["list"]
    assert [row["orderStatus"] for row in rows] == ["Cancelled"]


async def test_batches_beyond_the_venues_limit_are_refused_whole(server, client):
    most = 20 if client.id == "bybit" else 50
    legs = [
        {"symbol": SYMBOL, "type": "limit", "side": "buy", "amount": 0.001, "price": 59_000 - step}
        for step in range(most + 1)
    ]
    with pytest.raises(ccxt.ExchangeError):
        await client.create_orders(legs)
    assert await client.fetch_open_orders(SYMBOL) == []
    assert len(await client.create_orders(legs[:most])) == most


async def test_batches_go_over_bybits_trade_stream_too(bybit, bybit_client):
    replies = []
    handle = bybit_client.handle_message
    bybit_client.handle_message = lambda c, m: (replies.append(m), handle(c, m))[1]
    await bybit_client.create_order_ws(SYMBOL, "limit", "buy", 0.01, 58_000)
    connection = next(one for url, one in bybit_client.clients.items() if "trade" in url)
    leg = {"symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "59000"}
    legs = [leg | {"orderLinkId": "a"}, leg | {"orderLinkId": "a"}]
    await connection.send(
        {
            "op": "order.create-batch",
            "reqId": "7",
            "header": {"X-BAPI-TIMESTAMP": str(bybit.account.now_ms())},
            "args": [{"category": "linear", "request": legs}],
        }
    )
    await until(lambda: any(one.get("reqId") == "7" for one in replies))
    reply = next(one for one in replies if one.get("reqId") == "7")
    assert reply["retCode"] == 0
    assert [bool(row["orderId"]) for row in reply["data"]["list"]] == [True, False]
    assert [row["code"] for row in reply["retExtInfo"]["list"]] == [0, 110072]
