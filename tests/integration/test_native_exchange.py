"""The native feeds at the local exchange server: two implementations of the same protocols, over real sockets."""

import asyncio
import json

import pytest
from public_client import wandering
from venue_client import Market, serve

from command_line import command
from mm_hybrid.feed import LiveFeed
from mm_hybrid.feed_comparison import compare, feed_of
from mm_hybrid.servers.exchange import FaultScript

VENUES = {
    "bybit": ("bybit", "bybit"),
    "bitget": ("bitget", "bitget-futures"),
    "bitget-v2": ("bitget", "bitget-futures"),
}


ANY_FAULTS = ("drop", "duplicate", "reorder", "cross", "resnapshot")
FAULTS = [
    *((source, fault) for source in VENUES for fault in ANY_FAULTS),
    ("bybit", "restart"),
    ("bitget", "bad_checksum"),
    ("bitget-v2", "bad_checksum"),
]


@pytest.fixture(params=VENUES)
def source(request):
    return request.param


@pytest.fixture
async def server(source):
    async with serve(VENUES[source][0], book_push_ms=0) as running:
        Market(running).book()
        yield running


def follow(server, source, **options):
    return LiveFeed(
        server.url.replace("http", "ws", 1),
        source=source,
        exchange=VENUES[source][1],
        symbols=["BTCUSDT"],
        reconnect_min_ms=10,
        reconnect_max_ms=100,
        **options,
    )


async def until(condition, timeout_s=10.0):
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 -- what is waited for tells nobody
            await asyncio.sleep(0.005)


def is_servers(feed, server):
    book, shown = feed.snapshot(depth=100), server.account.market.book()
    sides = zip((book.bids, book.asks), (shown.bids, shown.asks), strict=True)
    return book.state == "LIVE" and all(ours.tolist() == theirs.tolist() for ours, theirs in sides)


async def test_the_book_is_the_servers_after_every_change_and_nothing_is_given_up(server, source):
    market = Market(server)
    async with follow(server, source) as feed:
        await until(lambda: is_servers(feed, server))
        for bids, asks in wandering(2, 100):
            market.book(bids, asks)
            await until(lambda: is_servers(feed, server))
        stats = feed.stats()
    assert [stats[name] for name in ("gaps", "bad_checksums", "crosses", "decode_errors", "reconnects")] == [
        0
    ] * 5


@pytest.mark.parametrize(("source", "fault"), FAULTS)
async def test_whatever_goes_wrong_with_a_book_message_the_book_is_right_or_not_live(server, source, fault):
    rules = [{"on": "public_book", "fault": fault, "share": 0.2}]
    market = Market(server)
    async with follow(server, source) as feed:
        await until(lambda: is_servers(feed, server))
        server.faults.replace(FaultScript.parse({"seed": 5, "rules": rules}, "test"))
        for bids, asks in wandering(3, 60):
            market.book(bids, asks)
            await asyncio.sleep(0.005)
        server.faults.replace(FaultScript.parse({"seed": 5, "rules": []}, "test"))

        def moved_and_right():
            market.book(*wandering(4, 1)[0])
            return is_servers(feed, server)

        await until(moved_and_right)
        stats = feed.stats()
    given_up = stats["gaps"] + stats["bad_checksums"] + stats["crosses"]
    assert (given_up > 0) == (fault not in {"restart", "resnapshot"}), stats
    assert stats["reconnects"] == 0, "a book in trouble is asked for again, not the connection"


async def test_a_killed_or_silent_socket_is_replaced(server, source):
    for fault in ("kill", "silence"):
        async with follow(server, source, stale_after_ms=100, resync_after_ms=400) as feed:
            await until(lambda feed=feed: is_servers(feed, server))
            rules = [{"on": "public_ws", "fault": fault}]
            server.faults.replace(FaultScript.parse({"seed": 1, "rules": rules}, "test"))
            await until(lambda feed=feed: feed.snapshot().state != "LIVE")
            server.faults.replace(FaultScript.parse({"seed": 1, "rules": []}, "test"))
            market = Market(server)

            def moved_and_right(feed=feed, market=market):
                market.book(*wandering(6, 1)[0])
                return is_servers(feed, server)

            await until(moved_and_right)


async def test_two_sources_of_one_market_are_compared_and_the_one_that_loses_trades_is_named():
    async with serve("bitget", book_push_ms=0) as server:
        market = Market(server)
        market.book()
        url = server.url.replace("http", "ws", 1)
        names = ("bitget", "bitget-v2")
        feeds = tuple(
            (name, feed_of(name, url, exchange="bitget-futures", symbol="BTCUSDT")) for name in names
        )

        async def trade():
            for step in range(400):
                market.book([(59_990.0 - step % 50, 1.0)])
                market.trade("buy", 59_991.0, 0.1, f"print-{step}")
                await asyncio.sleep(0.01)

        trading = asyncio.create_task(trade())
        compared = await compare(feeds, seconds=3.0, stop=asyncio.Event())
        trading.cancel()
    assert compared.trades.matched > 100
    assert (compared.trades.only_first, compared.trades.only_second) == (0, 0)
    assert abs(compared.trades.p50_ms) < 50
    assert compared.mid_difference_bps_p50 == 0
    assert compared.first.live_pct > 90
    assert "median of" in compared.verdict()[0]


async def doctor(*arguments):
    process = await asyncio.create_subprocess_exec(
        *command("doctor", "feed", *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()


async def test_the_doctor_compares_two_sources_from_the_command_line():
    async with serve("bitget", book_push_ms=0) as server:
        market = Market(server)
        market.book()
        url = server.url.replace("http", "ws", 1)

        async def move():
            for bids, asks in wandering(7, 2000):
                market.book(bids, asks)
                market.trade("sell", asks[0][0], 0.1, str(market.now_ms))
                await asyncio.sleep(0.01)

        moving = asyncio.create_task(move())
        market_arguments = ("--exchange", "bitget-futures", "--symbol", "BTCUSDT", "--seconds", "1.5")
        code, out, err = await doctor(f"bitget={url}", f"bitget-v2={url}", *market_arguments, "--json")
        assert code == 0, err
        compared = json.loads(out)
        assert compared["trades"]["matched"] > 30
        assert compared["first"]["name"] == "bitget"
        code, out, err = await doctor(f"bitget={url}", f"bitget={url}", *market_arguments)
        assert code == 0, err
        assert "ahead of" in out
        moving.cancel()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("kraken", "bybit", "--exchange", "bybit", "--symbol", "BTCUSDT"), 2, "'kraken' is not one of"),
        (("bitget", "bybit", "--exchange", "bybit", "--symbol", "BTCUSDT"), 2, "does not come from source"),
    ],
)
async def test_the_doctor_says_what_cannot_be_compared(arguments, code, said):
    got, _, err = await doctor(*arguments)
    assert got == code
    assert said in err
