"""History from a tardis-machine through the live feed's client."""

import asyncio
import json
import signal
import subprocess

import pytest
from feed_client import feed_of, until
from tardis_client import tardis_server
from test_tardis_server import MINUTE_NS, START_NS, iso, market_rows, write_file

from command_line import command
from mm_hybrid import FeedError
from mm_hybrid._core import Cache, EventReader, Feed, rebuild_books
from mm_hybrid.feed import LiveFeed

HOUR = {"replay_from": "2026-01-02", "replay_to": "2026-01-02T01:00"}
"""The hour in which a double's messages lie."""
FROM_NS = START_NS // MINUTE_NS * MINUTE_NS
TO_NS = FROM_NS + 3 * MINUTE_NS


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """A market of 150 s as NDJSON, and its lines."""
    lines = [row[4] for row in market_rows(150)]
    return write_file(tmp_path_factory.mktemp("market") / "market.ndjson", lines), lines


def ws_url(server):
    return f"ws://127.0.0.1:{server['ws_port']}"


def replaying(url, *more, end_ns=TO_NS):
    span = ("--from", iso(FROM_NS), "--to", iso(end_ns))
    where = ("--exchange", "bybit", "--symbol", "BTCUSDT", "--out", "tape")
    return command("record", "--url", url, *where, *span, "--json", *more)


async def finish(process):
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, output.decode(), errors.decode()


async def record(url, cwd, *more, **options):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return await finish(
        await asyncio.create_subprocess_exec(*replaying(url, *more, **options), cwd=cwd, **pipes)
    )


async def test_the_request_names_the_range_and_asks_for_disconnects(double):
    async with feed_of(
        double, symbols=["xrpusdt", "BTCUSD"], data_types=["trade", "derivative_ticker"], **HOUR
    ):
        connection = await double.accept()
    assert connection.path == "/ws-replay-normalized"
    common = {
        "exchange": "bybit",
        "dataTypes": ["trade", "derivative_ticker"],
        "withDisconnectMessages": True,
        "from": "2026-01-02T00:00:00.000Z",
        "to": "2026-01-02T01:00:00.000Z",
    }
    assert connection.options == [{**common, "symbols": ["XRPUSDT"]}, {**common, "symbols": ["BTCUSD"]}]


async def test_a_replay_gives_every_message_and_the_book_of_its_end(market):
    path, lines = market
    async with tardis_server(data=(path,)) as server:
        options = {"replay_from": FROM_NS, "replay_to": iso(TO_NS), "queue_events": len(lines) + 1}
        async with LiveFeed(
            ws_url(server), exchange="bybit", symbols=["BTCUSDT"], stale_after_ms=1, **options
        ) as feed:
            await until(feed, lambda: feed.finished, timeout_s=30)
            await asyncio.sleep(0.05)
            book, events = feed.snapshot(depth=1000), feed.drain()
    _, _, books = rebuild_books([str(path)])
    expected = books.snapshot("bybit", "BTCUSDT", 1000)
    assert [row[4] for row in events.encode()] == lines
    assert book.state == "LIVE"
    assert (book.bids.tolist(), book.asks.tolist()) == (expected.bids.tolist(), expected.asks.tolist())
    assert feed.stats()["dropped_events"] == 0


async def test_a_recorded_replay_holds_the_range_and_nothing_else(market, tmp_path):
    path, lines = market
    async with tardis_server(data=(path,)) as server:
        code, output, errors = await record(ws_url(server), tmp_path)
    assert code == 0, errors
    result = json.loads(output)
    assert (result["messages"], result["dropped"], result["finished"]) == (len(lines), 0, True)
    assert [row[4] for row in EventReader([str(tmp_path / "tape")]).read(10**6).encode()] == lines


async def test_a_replay_without_any_message_is_an_error_that_names_the_causes(market, tmp_path):
    async with tardis_server(data=(market[0],)) as server:
        code, _, errors = await record(
            ws_url(server), tmp_path, "--symbol", "NOSUCH", end_ns=FROM_NS + MINUTE_NS
        )
        assert code == 0, errors
        assert "NOSUCH: no book at the end" in errors
        async with LiveFeed(
            ws_url(server), exchange="bybit", symbols=["NOSUCH"], replay_from=FROM_NS, replay_to=TO_NS
        ) as feed:
            await until(feed, lambda: not feed.stats()["running"])
            with pytest.raises(FeedError, match=r"brought nothing.*check exchange, symbols"):
                _ = feed.finished


@pytest.mark.parametrize("end", ["drop", "refuse", "garble"])
async def test_a_replay_that_breaks_off_fails_and_does_not_start_over(double, end):
    async with feed_of(double, queue_events=10, **HOUR) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await until(feed, lambda: feed.stats()["book_changes"] == 1)
        if end == "drop":
            connection.drop()
        elif end == "refuse":
            await connection.close(1011, "Error: HttpError: status code: 401")
        else:
            await connection.send('{"type":"book_change","symbol":"BTCUSDT"')
        await until(feed, lambda: not feed.stats()["running"])
        await asyncio.sleep(0.2)
        assert double.connections == 1
        with pytest.raises(FeedError, match=r"broke off after 2026-01-02T00:00:00\.001"):
            _ = feed.finished
        assert feed.snapshot().state == "UNSYNCED"
        assert "broke off" in feed.snapshot().reason


async def test_a_recording_of_a_replay_that_breaks_off_exits_1_and_marks_it(double, tmp_path):
    process = await asyncio.create_subprocess_exec(
        *replaying(double.url), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    connection = await double.accept(30)
    await connection.snapshot()
    await connection.close(1011, "Error: HttpError: status code: 401")
    code, output, errors = await finish(process)
    assert code == 1
    assert "broke off" in errors
    assert "401" in errors
    assert json.loads(output)["finished"] is False
    types = [row[3] for row in EventReader([str(tmp_path / "tape")]).read().encode()]
    assert types == ["book_change", "disconnect"]


async def test_a_recording_of_an_empty_replay_exits_1_and_holds_nothing(market, tmp_path):
    day_ns = 24 * 60 * MINUTE_NS
    span = ("--from", iso(FROM_NS + day_ns), "--to", iso(TO_NS + day_ns))
    async with tardis_server(data=(market[0],)) as server:
        code, _, errors = await record(ws_url(server), tmp_path, *span)
    assert code == 1
    assert "brought nothing: closed without any message" in errors
    assert [path.stat().st_size for path in (tmp_path / "tape").iterdir()] == [0]


async def test_ctrl_c_ends_the_recording_of_a_replay_in_order(double, tmp_path):
    process = await asyncio.create_subprocess_exec(
        *replaying(double.url), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    connection = await double.accept(30)
    await connection.snapshot()
    line = (await asyncio.wait_for(process.stderr.readline(), 30)).decode()
    process.send_signal(signal.SIGINT)
    code, output, _ = await finish(process)
    assert code == 130
    assert json.loads(output)["messages"] == 1
    assert "2026-01-02T00:00:00Z, 1 messages" in line


async def test_only_a_long_silence_ends_a_replay(double):
    short = {"stale_after_ms": 50, "resync_after_ms": 100, "replay_idle_s": 2}
    async with feed_of(double, **short, **HOUR) as feed:
        connection = await double.accept()
        await connection.book(snapshot=False, bids=[(1, 1)])
        await asyncio.sleep(1.2)
        await connection.snapshot()
        await until(feed, lambda: feed.stats()["book_changes"] == 2)
        connection.stall()
        await asyncio.sleep(1.2)
        assert feed.snapshot().state == "LIVE"
        await until(feed, lambda: not feed.stats()["running"])
        assert "no message for 2." in feed.stats()["failure"]
        assert double.connections == 1


async def test_a_reader_too_slow_for_a_replay_is_told_what_to_do(double):
    async with feed_of(double, queue_events=3, **HOUR) as feed:
        connection = await double.accept()
        await connection.snapshot()
        for _ in range(5):
            await connection.trade()
        await until(feed, lambda: feed.stats()["trades"] == 5)
        assert feed.stats()["dropped_events"] == 3
        assert "raise queue_events" in feed.stats()["last_error"]


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("replay_from, replay_to", {"replay_to": None}),
        ("replay_from", {"replay_from": "yesterday"}),
        ("replay_from", {"replay_from": "2026-01-02T00:00:30Z"}),
        ("replay_to", {"replay_to": "2026-01-02"}),
        ("replay_idle_s", {"replay_idle_s": 0}),
        ("replay_from, replay_to", {"source": "bybit"}),
    ],
)
def test_a_range_that_cannot_be_replayed_is_refused_by_name(field, options):
    with pytest.raises(ValueError, match=rf"^{field}: "):
        Feed("ws://127.0.0.1:1", exchange="bybit", symbols=["BTCUSDT"], **{**HOUR, **options})


def test_a_replay_fills_no_cache(tmp_path):
    with Cache(tmp_path / "cache.db") as cache, pytest.raises(ValueError, match=r"^cache: "):
        Feed("ws://127.0.0.1:1", exchange="bybit", symbols=["BTCUSDT"], cache=cache, **HOUR)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--from", "2024-01-01"), "give both or none"),
        (("--from", "2024-01-01", "--to", "2024-01-02", "--seconds", "3"), "--seconds"),
        (("--from", "2024-01-02", "--to", "2024-01-01"), "must be later"),
        (("--from", "2024-01-01", "--to", "9999-01-01"), "not within the years"),
    ],
)
def test_a_range_that_cannot_be_recorded_is_a_wrong_argument(arguments, words, tmp_path):
    where = ("--exchange", "bybit", "--symbol", "BTCUSDT", "--out", "tape")
    done = subprocess.run(
        command("record", *where, *arguments), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
