"""What a recording holds after everything that can go wrong with a stream, its sockets and the disk."""

import asyncio
import json
import resource
import subprocess
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed

from command_line import command, result_of, run
from mm_hybrid._core import Books, EventReader
from mm_hybrid.feed import LiveFeed, RecordTo

QUICK = {"reconnect_min_ms": 10, "reconnect_max_ms": 100}


def feed_into(folder, double, **options):
    options = {"symbols": ["BTCUSDT"], **QUICK, **options}
    return LiveFeed(double.url, exchange="bybit", record=RecordTo(folder), **options)


async def until(feed, condition, timeout_s=10.0):
    async with asyncio.timeout(timeout_s):
        while not condition():
            await feed.wait_news(0.05)


def played(folder):
    """Every message of a recording but the disconnects at its end, as dicts."""
    rows = [json.loads(row[4]) for row in EventReader([str(folder)]).read(10**6).encode()]
    while rows and rows[-1]["type"] == "disconnect":
        rows.pop()
    return rows


def rejected(folder):
    zstd = pytest.importorskip("zstandard").ZstdDecompressor()
    lines = []
    for path in sorted(folder.glob("*.rejected.zst")):
        with path.open("rb") as file, zstd.stream_reader(file, read_across_frames=True) as text:
            lines += text.read().decode().splitlines()
    return [line[29:] for line in lines]


def states(folder, *symbols):
    """The states of books after each message of a recording, without those that repeat."""
    reader, books, seen = EventReader([str(folder)]), Books(), []
    while reader.next_local_ts_ns is not None:
        books.apply(reader.read(1))
        found = [books.snapshot("bybit", symbol) for symbol in symbols]
        now = [book.state if book else None for book in found]
        if [now] != seen[-1:]:
            seen.append(now)
    return seen


async def test_a_trade_that_cannot_be_decoded_leaves_the_recording_readable(double, tmp_path):
    bad = json.dumps(double.trade(100)).replace('"price": 100', '"price": 1e-30')
    async with feed_into(tmp_path / "tape", double) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await connection.send(bad)
        await connection.book(snapshot=False, bids=[(99, 7)])
        await until(feed, lambda: feed.stats()["book_changes"] == 2)
        assert feed.snapshot("BTCUSDT").state == "LIVE"
    stats = feed.stats()
    assert (stats["recorded_messages"], stats["recording_rejected"], stats["recording_dropped"]) == (2, 1, 0)
    assert [message["type"] for message in played(tmp_path / "tape")] == ["book_change", "book_change"]
    assert rejected(tmp_path / "tape") == [bad]
    done = result_of(run("convert", "tape", "--out", "tables", "--json", cwd=tmp_path))
    assert (done["messages"], done["refused"]) == (3, [])
    assert states(tmp_path / "tape", "BTCUSDT") == [["LIVE"], ["UNSYNCED"]]


async def test_a_book_change_that_cannot_be_decoded_unsyncs_the_recorded_book_too(double, tmp_path):
    async with feed_into(tmp_path / "tape", double) as feed:
        connection = await double.accept()
        await connection.snapshot()
        await connection.send('{"type":"book_change","symbol":"BTCUSDT","exch')
        again = await double.accept()
        await again.snapshot()
        await until(feed, lambda: feed.stats()["book_changes"] == 2)
    assert rejected(tmp_path / "tape") == ['{"type":"book_change","symbol":"BTCUSDT","exch']
    assert states(tmp_path / "tape", "BTCUSDT") == [["LIVE"], ["UNSYNCED"], ["LIVE"], ["UNSYNCED"]]


async def test_messages_behind_white_space_are_recorded(double, tmp_path):
    async with feed_into(tmp_path / "tape", double) as feed:
        connection = await double.accept()
        await connection.send(" \n" + json.dumps(double.book(snapshot=True, bids=[(9, 1)], asks=[(10, 1)])))
        await connection.send("\t" + json.dumps(double.trade(9.5)))
        await until(feed, lambda: feed.stats()["trades"] == 1)
    assert feed.stats()["recorded_messages"] == 2
    assert [message["type"] for message in played(tmp_path / "tape")] == ["book_change", "trade"]


async def test_a_lost_socket_costs_a_recording_the_books_of_that_socket_only(double, tmp_path):
    symbols = [f"COIN{i:04}USDT" for i in range(1500)]
    async with feed_into(tmp_path / "tape", double, symbols=symbols, resync_after_ms=60_000) as feed:
        pair = [await double.accept(), await double.accept()]
        kept, lost = sorted(pair, key=lambda connection: connection.options["symbols"][0])
        one, other = kept.options["symbols"][0], lost.options["symbols"][0]
        for connection, symbol in ((kept, one), (lost, other)):
            await connection.snapshot(symbol=symbol)
        await until(feed, lambda: feed.stats()["book_changes"] == 2)
        lost.drop()
        again = await double.accept()
        await again.snapshot(symbol=other)
        await until(feed, lambda: feed.stats()["book_changes"] == 3)
    seen = states(tmp_path / "tape", one, other)
    assert ["LIVE", "UNSYNCED"] in seen
    # The disconnects of the end: one socket after the other.
    assert seen[-3] == ["LIVE", "LIVE"]
    assert seen[-1] == ["UNSYNCED", "UNSYNCED"]


async def test_lines_of_several_sockets_stand_in_the_order_they_came_and_without_foreign_disconnects(
    double, tmp_path
):
    types = ["book_change", "derivative_ticker"]
    async with feed_into(tmp_path / "tape", double, data_types=types) as feed:
        pair = [await double.accept(), await double.accept()]
        books, tickers = sorted(pair, key=lambda connection: connection.options["dataTypes"])
        await books.snapshot()
        for number in range(1, 41):
            await tickers.send({**double.trade(1), "type": "derivative_ticker", "fundingRate": 0.1})
            await until(feed, lambda number=number: feed.stats()["tickers"] == number)
            await books.book(snapshot=False, bids=[(99, number)])
            await until(feed, lambda number=number: feed.stats()["book_changes"] == number + 1)
        await tickers.disconnect()
        await until(feed, lambda: feed.stats()["disconnects"] == 1)
    messages = played(tmp_path / "tape")
    times = [message["localTimestamp"] for message in messages]
    assert len(messages) == 81
    assert times == sorted(times)
    wanted = [{"price": 99, "amount": 20}]
    at = next(message["localTimestamp"] for message in messages if message.get("bids") == wanted)
    book = result_of(run("book", "tape", "--at", at, "--json", cwd=tmp_path))
    assert (book["bids"][1], book["state"]) == ([99, 20], "LIVE")


@pytest.mark.parametrize("as_json", [True, False])
async def test_a_recording_that_dropped_messages_says_so_and_fails(double, tmp_path, as_json):
    arguments = ("record", "--url", double.url, "--exchange", "bybit", "--symbol", "BTCUSDT", "--out", "tape")
    process = await asyncio.create_subprocess_exec(
        *command(*arguments, "--seconds", "20", *(["--json"] if as_json else [])),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A file that cannot grow stands for a full disk.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, 16_384)),
    )
    connection = await double.accept(30)
    await connection.snapshot()
    sent = 1
    with suppress(ConnectionClosed):
        while sent < 50_000:
            await connection.trade(100 + (sent * 7919 % 1000) / 7)
            sent += 1
            await asyncio.sleep(0.0005)
    output, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    on_disk = len(EventReader([str(tmp_path / "tape")]).read(10**6).encode())
    assert "failed" in errors.decode()
    assert "messages were dropped" in errors.decode()
    if as_json:
        result = json.loads(output)
        assert result["messages"] == on_disk
        assert 0 < result["dropped"] <= sent - on_disk
    else:
        assert f"{on_disk} messages, " in output.decode()
        assert " dropped, " in output.decode()
