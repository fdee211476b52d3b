"""What a client of the local tardis-machine sees, over real sockets."""

import asyncio
import gzip
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from tardis_client import BOTH, TRADES, book_of, drain, stream, take, tardis_server, url
from websockets.asyncio.client import connect

from mm_hybrid._core import DecodeError, SyntheticMarket

REPLAY = "/ws-replay-normalized"
MINUTE_NS = 60_000_000_000
START_NS = 1_700_000_040_000_000_000  # 2023-11-14T22:14:00Z, a whole minute


def iso(ns: int) -> str:
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).isoformat()


def market_rows(
    seconds: float, *, seed: int = 1, start_ns: int = START_NS
) -> list[tuple[int, str, str, str, bytes]]:
    market = SyntheticMarket(exchange="bybit", symbol="BTCUSDT", seed=seed, start_ns=start_ns)
    return market.advance(start_ns + int(seconds * 1e9)).encode()


def batched(lines: list[bytes], size: int) -> list[list[bytes]]:
    return [lines[start : start + size] for start in range(0, len(lines), size)]


def write_file(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Path, list[bytes]]:
    """Two seconds of market in a file, and its messages."""
    lines = [row[4] for row in market_rows(2)]
    return write_file(tmp_path / "market.ndjson", lines), lines


def local_ns(message: dict[str, str]) -> int:
    moment = datetime.fromisoformat(message["localTimestamp"])
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


async def test_a_live_stream_starts_with_a_snapshot_and_shows_no_message_before_its_time() -> None:
    async with tardis_server() as server, stream(server) as client:
        last_ns = 0
        for index in range(100):
            (message,) = await take(client, 1)
            if index == 0:
                assert message["isSnapshot"] is True
            assert last_ns <= local_ns(message) <= time.time_ns()
            last_ns = local_ns(message)


async def test_a_late_client_starts_from_the_current_book() -> None:
    async with tardis_server() as server, stream(server) as early:
        seen = await take(early, 200)
        async with stream(server) as late:
            (snapshot,) = await take(late, 1)
        while local_ns(seen[-1]) <= local_ns(snapshot):
            seen += await take(early, 1)
        assert snapshot["isSnapshot"] is True
        before = [message for message in seen if local_ns(message) <= local_ns(snapshot)]
        assert len(before) >= 200
        assert book_of([snapshot]) == book_of(before)


async def test_all_clients_see_the_same_prints() -> None:
    async with tardis_server() as server, stream(server, TRADES) as one, stream(server, TRADES) as two:
        first, second = await take(one, 150), await take(two, 150)
    start = next(index for index, message in enumerate(first) if message == second[0])
    shared = min(len(first) - start, len(second))
    assert shared > 50
    assert first[start : start + shared] == second[:shared]


async def test_a_restart_with_the_same_epoch_continues_the_same_market() -> None:
    epoch_ns = time.time_ns() // 1000 * 1000
    runs = []
    for _ in range(2):
        async with tardis_server(epoch_ns=epoch_ns, seed=5) as server, stream(server, TRADES) as client:
            runs.append(await take(client, 60))
    truth = {
        message["id"]: message
        for row in market_rows((time.time_ns() - epoch_ns) / 1e9, seed=5, start_ns=epoch_ns)
        if (message := json.loads(row[4]))["type"] == "trade"
    }
    assert int(runs[1][0]["id"]) > int(runs[0][-1]["id"])
    for message in runs[0] + runs[1]:
        assert message == truth[message["id"]]


async def test_files_wait_for_their_clients_keep_their_times_and_end_with_1000(
    recorded: tuple[Path, list[bytes]],
) -> None:
    path, lines = recorded
    async with (
        tardis_server(data=(path,), speed=1000, wait_for_clients=2) as server,
        stream(server) as one,
        stream(server) as two,
    ):
        ends = await asyncio.gather(drain(one), drain(two))
    assert ends[0] == ends[1] == (lines, 1000, "WS stream-normalized finished")


async def test_files_are_paced_by_local_time(recorded: tuple[Path, list[bytes]]) -> None:
    path, _ = recorded
    async with tardis_server(data=(path,), speed=4) as server:
        started = time.monotonic()
        async with stream(server) as client:
            await drain(client)
        assert 0.4 < time.monotonic() - started < 5


async def test_a_client_that_comes_after_the_end_gets_the_last_book(
    recorded: tuple[Path, list[bytes]],
) -> None:
    path, lines = recorded
    async with tardis_server(data=(path,), speed=1000) as server:
        async with stream(server) as client:
            await drain(client)
        async with stream(server) as late:
            frames, code, _ = await drain(late)
    assert code == 1000
    assert book_of([json.loads(frame) for frame in frames]) == book_of([json.loads(line) for line in lines])


async def test_a_late_client_gets_a_book_of_which_one_side_is_empty(tmp_path: Path) -> None:
    lines = [row[4] for row in market_rows(0.5)]
    last = json.loads(lines[-1])
    bids, asks = book_of([json.loads(line) for line in lines])
    sold_out = {
        **{key: last[key] for key in ("symbol", "exchange", "timestamp", "localTimestamp")},
        "type": "book_change",
        "isSnapshot": False,
        "bids": [],
        "asks": [{"price": price, "amount": 0} for price in asks],
    }
    path = write_file(tmp_path / "sold_out.ndjson", [*lines, json.dumps(sold_out).encode()])
    async with tardis_server(data=(path,), speed=1000) as server:
        async with stream(server) as client:
            await drain(client)
        async with stream(server) as late:
            frames, _, _ = await drain(late)
    assert book_of([json.loads(frame) for frame in frames]) == (bids, {})


async def test_disconnects_reach_only_those_who_asked(tmp_path: Path) -> None:
    lines = [row[4] for row in market_rows(0.5)]
    gone = json.dumps(
        {"type": "disconnect", "exchange": "bybit", "localTimestamp": json.loads(lines[-1])["localTimestamp"]}
    )
    path = write_file(tmp_path / "gone.ndjson", [*lines, gone.encode()])
    async with (
        tardis_server(data=(path,), speed=1000, wait_for_clients=2) as server,
        stream(server) as plain,
        stream(server, {**BOTH, "withDisconnectMessages": True}) as asked,
    ):
        (unaware, *_), (aware, *_) = await asyncio.gather(drain(plain), drain(asked))
    assert len(unaware) == len(lines)
    assert json.loads(aware[-1])["type"] == "disconnect"


async def test_a_slow_client_is_dropped_and_the_other_loses_nothing(tmp_path: Path) -> None:
    lines = [row[4] for row in market_rows(30)]
    deep = {**json.loads(lines[0]), "symbol": "DEEPUSDT"}
    ballast = json.dumps({**deep, "bids": deep["bids"] * 10}).encode()
    path = write_file(
        tmp_path / "long.ndjson", [line for piece in batched(lines, 20) for line in (*piece, ballast)]
    )
    deep_only = {**BOTH, "symbols": ["DEEPUSDT"]}
    async with (
        tardis_server(
            data=(path,), speed=10, wait_for_clients=2, max_backlog_bytes=2**20, close_timeout_s=60
        ) as server,
        stream(server, deep_only, max_queue=1) as slow,
        stream(server) as fast,
    ):
        frames, code, _ = await drain(fast)
        received, slow_code, slow_reason = await drain(slow)
    assert (frames, code) == (lines, 1000)
    assert (slow_code, slow_reason) == (1008, "Too much backpressure")
    assert 0 < len(received) < len(lines) // 20


async def test_every_message_is_recorded_once(recorded: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    path, lines = recorded
    record = tmp_path / "stream.ndjson.gz"
    async with (
        tardis_server(data=(path,), speed=1000, wait_for_clients=2, record=record) as server,
        stream(server) as one,
        stream(server, TRADES) as two,
    ):
        await asyncio.gather(drain(one), drain(two))
    assert gzip.decompress(record.read_bytes()).splitlines() == lines


async def test_a_recording_of_a_running_market_starts_with_its_book(tmp_path: Path) -> None:
    record = tmp_path / "stream.ndjson"
    epoch_ns = time.time_ns() - 5_000_000_000
    async with tardis_server(epoch_ns=epoch_ns, record=record) as server, stream(server) as client:
        seen = await take(client, 50)
    written = [json.loads(line) for line in record.read_bytes().splitlines()]
    assert written[0]["isSnapshot"] is True
    assert written[:50] == seen


async def test_a_replay_gives_the_range_of_local_time_and_ends_with_1000(tmp_path: Path) -> None:
    rows = market_rows(150)
    path = write_file(tmp_path / "market.ndjson", [row[4] for row in rows])
    span = {"from": "2023-11-14T22:15:00.000Z", "to": "2023-11-14T22:16:59Z"}
    async with (
        tardis_server(data=(path,)) as server,
        connect(url(server, {**BOTH, **span}, REPLAY)) as client,
    ):
        frames, code, reason = await drain(client)
    expected = [row[4] for row in rows if START_NS + MINUTE_NS <= row[0] < START_NS + 2 * MINUTE_NS]
    assert (code, reason) == (1000, "WS replay-normalized finished")
    assert frames == expected


async def test_a_replay_of_the_synthetic_market_is_the_seeded_market() -> None:
    epoch_ns = (time.time_ns() // MINUTE_NS - 1) * MINUTE_NS
    options = {**BOTH, "from": iso(epoch_ns), "to": iso(epoch_ns + MINUTE_NS)}
    async with tardis_server(epoch_ns=epoch_ns) as server, connect(url(server, options, REPLAY)) as client:
        frames, code, _ = await drain(client)
    assert code == 1000
    assert frames == [row[4] for row in market_rows(60, start_ns=epoch_ns) if row[0] < epoch_ns + MINUTE_NS]


async def test_a_replay_that_begins_inside_the_synthetic_market_begins_with_its_book() -> None:
    epoch_ns = (time.time_ns() // MINUTE_NS - 1) * MINUTE_NS
    options = {**BOTH, "from": iso(epoch_ns + MINUTE_NS), "to": iso(epoch_ns + 2 * MINUTE_NS)}
    async with (
        tardis_server(epoch_ns=epoch_ns) as server,
        connect(url(server, options, REPLAY), max_queue=None) as client,
    ):
        (snapshot,) = await take(client, 1)
    rows = market_rows(60, start_ns=epoch_ns)
    assert book_of([snapshot]) == book_of(
        [json.loads(row[4]) for row in rows if row[0] < epoch_ns + MINUTE_NS]
    )


@pytest.mark.parametrize(
    "change",
    [
        {"symbols": ["NOSUCH"]},
        {"exchange": "deribit"},
        {"dataTypes": ["derivative_ticker"]},
        {"to": "2023-11-14T22:14:00Z"},
        {"from": "2030-01-01", "to": "2030-01-02"},
    ],
)
async def test_a_replay_without_data_ends_with_1000_and_no_message(
    recorded: tuple[Path, list[bytes]], change: dict[str, object]
) -> None:
    options = {**BOTH, "from": "2023-11-14T22:14:00Z", "to": "2023-11-14T22:20:00Z", **change}
    async with tardis_server(data=(recorded[0],)) as server, connect(url(server, options, REPLAY)) as client:
        assert await drain(client) == ([], 1000, "WS replay-normalized finished")


async def test_options_that_overlap_give_duplicates(recorded: tuple[Path, list[bytes]]) -> None:
    path, lines = recorded
    trades = sum(b'"trade"' in line for line in lines)
    async with tardis_server(data=(path,), speed=1000) as server, stream(server, [BOTH, TRADES]) as client:
        frames, _, _ = await drain(client)
    assert len(frames) == len(lines) + trades > len(lines)


async def test_a_broken_line_closes_with_1011_and_ends_the_server_with_its_place(tmp_path: Path) -> None:
    lines = [row[4] for row in market_rows(0.2)]
    path = write_file(tmp_path / "broken.ndjson", [*lines, b'{"type":"trade"'])
    with pytest.raises(DecodeError, match=rf"broken.ndjson:{len(lines) + 1}"):  # noqa: PT012
        async with tardis_server(data=(path,), speed=1000) as server, stream(server) as client:
            frames, code, reason = await drain(client)
            # The reader looks one message ahead.
            assert (frames, code) == (lines[:-1], 1011)
            assert "broken.ndjson" in reason
            await asyncio.wait((server["task"],))


def http(server: Mapping[str, Any], options: object) -> str:
    return f"http://127.0.0.1:{server['http_port']}/replay-normalized?options={quote(json.dumps(options))}"


SPAN = {"from": "2023-11-14T22:14:00Z", "to": "2023-11-14T22:20:00Z"}


async def test_a_replay_over_http_is_the_same_messages_as_lines(recorded: tuple[Path, list[bytes]]) -> None:
    path, lines = recorded
    async with tardis_server(data=(path,)) as server, aiohttp.ClientSession() as client:
        async with client.get(http(server, {**BOTH, **SPAN})) as answer:
            assert (answer.status, answer.content_type) == (200, "application/x-json-stream")
            assert (await answer.read()).splitlines() == lines
        async with client.get(http(server, {**BOTH, **SPAN, "symbols": ["NOSUCH"]})) as answer:
            assert (answer.status, await answer.read()) == (200, b"")


async def test_a_failure_of_a_replay_over_http_is_a_status_before_data_and_a_line_without_type_after(
    tmp_path: Path,
) -> None:
    lines = [row[4] for row in market_rows(60)]
    path = write_file(tmp_path / "broken.ndjson", [*lines, b'{"type":"trade"'])
    async with tardis_server(data=(path,)) as server, aiohttp.ClientSession() as client:
        async with client.get(http(server, {**BOTH, **SPAN, "exchange": "nope"})) as answer:
            assert (answer.status, await answer.json()) == (
                500,
                {"message": "normalizeTrades: nope not supported"},
            )
        async with client.get(http(server, {**BOTH, **SPAN, "to": "2023-11-14T22:16:00Z"})) as answer:
            *sent, failure = (await answer.read()).splitlines()
    assert sent == lines[: len(sent)]
    assert "type" not in json.loads(failure)
    assert "broken.ndjson" in json.loads(failure)["message"]


async def test_a_machine_computes_the_sampled_books_that_are_asked_for(
    recorded: tuple[Path, list[bytes]],
) -> None:
    options = {**BOTH, **SPAN, "dataTypes": ["quote", "book_snapshot_5_100ms"]}
    async with tardis_server(data=(recorded[0],)) as server, connect(url(server, options, REPLAY)) as client:
        frames, code, _ = await drain(client)
    samples = [json.loads(frame) for frame in frames]
    assert code == 1000
    assert {sample["type"] for sample in samples} == {"book_snapshot"}
    assert {(sample["name"], sample["depth"]) for sample in samples} == {
        ("quote", 1),
        ("book_snapshot_5_100ms", 5),
    }
    assert all(len(sample["bids"]) == len(sample["asks"]) == sample["depth"] for sample in samples)
    ends = [sample["timestamp"] for sample in samples if sample["interval"] == 100][1:]
    assert ends
    assert all(int(end[20:23]) % 100 == 0 for end in ends)


async def test_without_a_pace_the_slowest_client_sets_it_and_nobody_is_dropped(tmp_path: Path) -> None:
    lines = [row[4] for row in market_rows(30)]
    path = write_file(tmp_path / "long.ndjson", lines * 4)
    async with (
        tardis_server(data=(path,), speed=0, wait_for_clients=2, max_backlog_bytes=2**18) as server,
        stream(server) as one,
        stream(server, max_queue=4) as two,
    ):
        ends = await asyncio.gather(drain(one), drain(two))
    assert ends[0] == ends[1] == (lines * 4, 1000, "WS stream-normalized finished")
