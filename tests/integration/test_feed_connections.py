"""A feed of many symbols and types: which requests it makes, and what the break of one of them costs the others."""

import asyncio
from contextlib import asynccontextmanager

from mm_hybrid.feed import LiveFeed

QUICK = {"reconnect_min_ms": 10, "reconnect_max_ms": 100}


@asynccontextmanager
async def feed_of(double, **options):
    async with LiveFeed(double.url, exchange="bybit", **QUICK, **options) as feed:
        yield feed


async def until(feed, condition, timeout_s=10.0):
    async with asyncio.timeout(timeout_s):
        while not condition():
            await feed.wait_news(0.05)


def states(feed, *symbols):
    return [feed.snapshot(symbol).state for symbol in symbols]


async def test_a_break_of_one_option_leaves_the_books_of_the_other_alone(double):
    async with feed_of(double, symbols=["XRPUSDT", "BTCUSD"], queue_events=100) as feed:
        connection = await double.accept()
        assert [option["symbols"] for option in connection.options] == [["XRPUSDT"], ["BTCUSD"]]
        for symbol in ("XRPUSDT", "BTCUSD"):
            await connection.snapshot(symbol=symbol)
        await until(feed, lambda: states(feed, "XRPUSDT", "BTCUSD") == ["LIVE", "LIVE"])
        await connection.disconnect(option=1)
        await until(feed, lambda: feed.stats()["disconnects"] == 1)
        assert states(feed, "XRPUSDT", "BTCUSD") == ["LIVE", "UNSYNCED"]
        await connection.snapshot(symbol="BTCUSD")
        await until(feed, lambda: states(feed, "BTCUSD") == ["LIVE"])
        assert double.connections == 1
        disconnects = [row[1:4] for row in feed.drain().encode() if row[3] == "disconnect"]
        assert disconnects == [("bybit", "BTCUSD", "disconnect")]


async def test_the_socket_of_derivative_tickers_may_break_without_a_book_being_lost(double):
    types = ["book_change", "trade", "derivative_ticker"]
    async with feed_of(double, symbols=["BTCUSDT"], data_types=types, queue_events=100) as feed:
        connections = [await double.accept(), await double.accept()]
        connections.sort(key=lambda connection: connection.options["dataTypes"])
        books, tickers = connections
        assert tickers.options["dataTypes"] == ["derivative_ticker"]
        await books.snapshot()
        await tickers.send({**double.trade(1), "type": "derivative_ticker", "fundingRate": 0.0001})
        await until(feed, lambda: states(feed, "BTCUSDT") == ["LIVE"] and feed.stats()["tickers"] == 1)
        assert feed.stats()["connected"]
        tickers.drop()
        again = await double.accept()
        assert again.options["dataTypes"] == ["derivative_ticker"]
        await until(feed, lambda: feed.stats()["reconnects"] == 1)
        assert states(feed, "BTCUSDT") == ["LIVE"]
        batch = feed.drain()
        assert [row[3] for row in batch.encode()].count("disconnect") == 0
        assert batch.derivative_tickers()[0].funding_rate == 0.0001


async def test_a_disconnect_on_the_ticker_socket_says_nothing_about_books(double):
    types = ["book_change", "derivative_ticker"]
    async with feed_of(double, symbols=["BTCUSDT"], data_types=types) as feed:
        pair = [await double.accept(), await double.accept()]
        books, tickers = sorted(pair, key=lambda connection: connection.options["dataTypes"])
        await books.snapshot()
        await until(feed, lambda: states(feed, "BTCUSDT") == ["LIVE"])
        await tickers.disconnect()
        await until(feed, lambda: feed.stats()["disconnects"] == 1)
        assert states(feed, "BTCUSDT") == ["LIVE"]


async def test_hundreds_of_symbols_are_one_feed(double):
    symbols = [f"COIN{i}USDT" for i in range(300)]
    async with feed_of(double, symbols=symbols, queue_events=10_000) as feed:
        connection = await double.accept()
        assert connection.options["symbols"] == sorted(symbols)
        for index, symbol in enumerate(symbols):
            await connection.snapshot(bid=100 + index, ask=101 + index, symbol=symbol)
        await until(feed, lambda: feed.stats()["book_changes"] == 300)
        assert set(states(feed, *symbols)) == {"LIVE"}
        assert [feed.snapshot(symbol).best_bid for symbol in symbols] == [100 + i for i in range(300)]
        assert len(feed.drain()) == 300


async def test_symbols_that_fit_no_request_are_spread_and_one_lost_socket_costs_only_its_own(double):
    symbols = [f"COIN{i}USDT" for i in range(1800)]
    async with feed_of(double, symbols=symbols, queue_events=10_000, stale_after_ms=30_000) as feed:
        first, second = [await double.accept(), await double.accept()]
        assert sorted(first.options["symbols"] + second.options["symbols"]) == sorted(symbols)
        for connection in (first, second):
            for symbol in connection.options["symbols"][:5]:
                await connection.snapshot(symbol=symbol)
        shown = [*first.options["symbols"][:5], *second.options["symbols"][:5]]
        await until(feed, lambda: set(states(feed, *shown)) == {"LIVE"})
        feed.drain()
        first.drop()
        await double.accept()
        await until(feed, lambda: feed.stats()["reconnects"] == 1)
        assert set(states(feed, *shown[:5])) == {"UNSYNCED"}
        assert set(states(feed, *shown[5:])) == {"LIVE"}
        lost = {row[2] for row in feed.drain().encode() if row[3] == "disconnect"}
        assert lost == set(shown[:5])


async def test_troubles_the_machine_reports_are_counted_and_handed_on(double):
    async with feed_of(double, symbols=["BTCUSDT"], queue_events=10) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await connection.send(
            {
                "type": "error",
                "exchange": "bybit",
                "details": "getaddrinfo ENOTFOUND",
                "subSequentErrorsCount": 3,
                "localTimestamp": double.stamp(),
            }
        )
        await until(feed, lambda: feed.stats()["upstream_errors"] == 1)
        assert "ENOTFOUND" in feed.stats()["last_error"]
        assert states(feed, "BTCUSDT") == ["LIVE"], "an error is no disconnect"
        assert [row[3] for row in feed.drain().encode()] == ["book_change", "error"]
