"""Public channels that go wrong on demand: each fault shows exactly its effect, and is counted."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing

import aiohttp
import ccxt
import pytest
import websockets
from public_client import BadChecksumError, Book, GapError, Socket
from pydantic import ValidationError
from venue_client import ASKS, SYMBOL, Market, connect, serve

from mm_hybrid.servers.exchange import ExchangeServer, FaultScript

VENUE = {"bybit": "bybit", "v2": "bitget", "v3": "bitget"}


@pytest.fixture(params=["bybit", "v2", "v3"])
def protocol(request) -> str:
    return request.param


@pytest.fixture
async def server(protocol, tmp_path) -> AsyncIterator[ExchangeServer]:
    async with serve(VENUE[protocol], book_push_ms=0, state=tmp_path / "state.db") as running:
        Market(running).book()
        yield running


def script(server: ExchangeServer, on: str, fault: str, **more: object) -> None:
    rules = [{"on": on, "fault": fault, **more}]
    server.faults.replace(FaultScript.parse({"seed": 1, "rules": rules}, "test"))


class Followed:
    """A follower of the book, and a market that moves one step at a time."""

    def __init__(self, server: ExchangeServer, socket: Socket) -> None:
        self.server = server
        self.socket = socket
        self.market = Market(server)
        self.book = Book(socket.protocol)
        self.steps = 0

    async def begin(self) -> "Followed":
        await self.socket.follow("book")
        self.book.apply(await self.socket.hear())
        return self

    def move(self, times: int = 1) -> None:
        for _ in range(times):
            self.steps += 1
            self.market.book([(59_990.0 - self.steps, 1.0)])

    async def hear(self) -> dict:
        frame = await self.socket.hear()
        self.book.apply(frame)
        return frame

    @property
    def is_servers(self) -> bool:
        shown = self.server.account.market.book()
        pairs = zip(self.book.rows, (shown.bids, shown.asks), strict=True)
        return all([[float(p), float(q)] for p, q in ours] == theirs.tolist() for ours, theirs in pairs)


@pytest.fixture
async def followed(server, protocol) -> AsyncIterator[Followed]:
    async with Socket(server, protocol) as socket:
        yield await Followed(server, socket).begin()


def kind(frame: dict) -> str:
    return frame.get("type") or frame["action"]


def identity(frame: dict) -> int:
    data = frame["data"]
    return data["u"] if isinstance(data, dict) else data[0]["seq"]


async def test_a_dropped_message_is_a_gap(followed, server):
    script(server, "public_book", "drop", nth=[2])
    followed.move()
    await followed.hear()
    followed.move(2)
    frame = await followed.socket.hear()
    with pytest.raises(GapError):
        followed.book.apply(frame)
    assert server.faults.report() == {"injected": 1, "by_kind": {"public_book/drop": 1}}


async def test_a_drop_in_v2_is_seen_by_the_checksum():
    async with serve("bitget", book_push_ms=0) as server, Socket(server, "v2") as socket:
        Market(server).book()
        followed = await Followed(server, socket).begin()
        script(server, "public_book", "drop", nth=[1])
        followed.market.book([(59_999.9, 9.0)])
        followed.market.book([(59_999.9, 9.0)], [(60_000.1, 4.0), *ASKS[1:]])
        with pytest.raises(BadChecksumError):
            await followed.hear()


async def test_a_duplicated_message_comes_twice_alike(followed, server):
    script(server, "public_book", "duplicate", nth=[1])
    followed.move(2)
    first, again, after = [await followed.socket.raw() for _ in range(3)]
    assert first == again
    for line in (first, after):
        followed.book.apply(json.loads(line))
    assert followed.is_servers


async def test_a_reordered_message_comes_after_the_next_of_its_channel(followed, server):
    script(server, "public_book", "reorder", nth=[1])
    followed.move(3)
    frames = [await followed.socket.hear() for _ in range(3)]
    numbers = [identity(frame) for frame in frames]
    assert numbers[1] < numbers[0] < numbers[2]
    for frame in sorted(frames, key=identity):
        followed.book.apply(frame)
    assert followed.is_servers


async def test_a_delayed_message_comes_late(followed, server):
    script(server, "public_book", "delay", nth=[1], delay_ms=100)
    followed.move(2)
    frames = [await followed.socket.hear() for _ in range(2)]
    assert identity(frames[0]) > identity(frames[1])
    for frame in reversed(frames):
        followed.book.apply(frame)
    assert followed.is_servers


async def test_a_crossing_level_is_in_what_is_sent_alone_and_goes_with_the_next_message(followed, server):
    script(server, "public_book", "cross", nth=[1])
    followed.move()
    await followed.hear()
    assert followed.book.is_crossed
    best_bid = server.account.market.levels(1)[0][0][0]
    assert best_bid != followed.book.rows[0][0][0]
    followed.move()
    await followed.hear()
    assert not followed.book.is_crossed
    assert followed.is_servers


async def test_a_snapshot_can_come_at_any_time(followed, server):
    script(server, "public_book", "resnapshot", nth=[2])
    kinds, numbers = [], []
    for _ in range(3):
        followed.move()
        frame = await followed.hear()
        kinds.append(kind(frame) == "snapshot")
        numbers.append(identity(frame))
    assert kinds == [False, True, False]
    assert numbers == sorted(numbers)
    assert followed.is_servers


@pytest.mark.parametrize("protocol", ["bybit"])
async def test_a_restart_is_a_snapshot_numbered_one(followed, server):
    script(server, "public_book", "restart", nth=[1])
    numbers = []
    for expected in ("snapshot", "delta"):
        followed.move()
        frame = await followed.hear()
        assert kind(frame) == expected
        numbers.append(frame["data"]["u"])
    assert numbers == [1, 2]
    assert followed.is_servers


@pytest.mark.parametrize("protocol", ["v2", "v3"])
async def test_a_bad_checksum_spoils_one_message_and_not_the_book(followed, server):
    script(server, "public_book", "bad_checksum", nth=[1])
    followed.move()
    with pytest.raises(BadChecksumError):
        await followed.hear()
    assert followed.is_servers
    followed.move()
    await followed.hear()


async def test_ccxt_notices_a_bad_checksum_and_unsubscribes():
    async with serve("bitget") as server:
        market = Market(server)
        market.book()
        client = connect(server)
        try:
            await client.watch_order_book(SYMBOL)
            script(server, "public_book", "bad_checksum", nth=[1])
            market.book([(59_990.0, 1.0)])
            with pytest.raises(ccxt.UnsubscribeError):
                await client.watch_order_book(SYMBOL)
        finally:
            await client.close()


async def test_a_killed_socket_ends_without_a_goodbye(followed, server):
    script(server, "public_ws", "kill", nth=[2])
    followed.move(2)
    with pytest.raises(websockets.ConnectionClosedError) as closed:
        await followed.socket.hear_until_closed()
    assert closed.value.rcvd is None


async def test_sockets_can_be_killed_at_a_time(followed, server):
    script(server, "public_ws", "kill", from_s=0.05)
    with pytest.raises(websockets.ConnectionClosedError):
        await followed.socket.raw()
    assert server.faults.report()["by_kind"] == {"public_ws/kill": 1}


async def test_a_silent_socket_stays_open_and_says_nothing(followed, server):
    script(server, "public_ws", "silence")
    followed.move(2)
    await followed.socket.ask("ping" if followed.socket.protocol != "bybit" else {"op": "ping"})
    assert await followed.socket.hears_nothing()
    script(server, "public_ws", "kill", nth=[99])
    followed.move()
    assert not await followed.socket.hears_nothing()


@pytest.mark.parametrize(("fault", "heard"), [("drop", ["1", "3"]), ("duplicate", ["1", "2", "2", "3"])])
async def test_trades_are_lost_or_come_twice(server, protocol, fault, heard):
    market = Market(server)
    script(server, "public_trade", fault, nth=[2])
    async with Socket(server, protocol) as socket:
        await socket.follow("trade")
        if protocol != "bybit":
            await socket.hear()
        for trade_id in ("1", "2", "3"):
            market.trade("buy", 60_000.1, 0.1, trade_id)
        rows = [(await socket.hear())["data"][0] for _ in heard]
    assert [row.get("i") or row["tradeId"] for row in rows] == heard


async def test_what_struck_is_in_the_event_log(followed, server, tmp_path):
    script(server, "public_book", "drop", nth=[1])
    followed.move()
    with closing(sqlite3.connect(tmp_path / "state.db")) as database:
        rows = database.execute("SELECT body FROM event WHERE kind = 'fault'").fetchall()
    assert [json.loads(row[0]) for row in rows] == [{"on": "public_book", "fault": "drop"}]


async def test_the_same_seed_strikes_the_same_messages(protocol):
    struck = []
    for _ in range(2):
        async with serve(VENUE[protocol], book_push_ms=0) as server, Socket(server, protocol) as socket:
            Market(server).book()
            followed = await Followed(server, socket).begin()
            script(server, "public_book", "drop", share=0.5)
            followed.move(20)
            script(server, "public_book", "drop", nth=[999])
            followed.move()
            begin, numbers = followed.book.update_id or followed.book.seq, []
            last = server._public.market.published().popitem()[1]
            end = last["u"] if protocol == "bybit" else last["seq"]
            while not numbers or numbers[-1] != end - begin:
                numbers.append(identity(await socket.hear()) - begin)
            struck.append(numbers)
    assert struck[0] == struck[1]
    assert 1 < len(struck[0]) < 21


@pytest.mark.parametrize(("venue", "fault"), [("bybit", "bad_checksum"), ("bitget", "restart")])
async def test_a_fault_the_venue_has_no_room_for_is_refused(venue, fault):
    rules = {"rules": [{"on": "public_book", "fault": fault}]}
    with pytest.raises(ValidationError, match=fault):
        serve(venue, faults=rules)
    async with (
        serve(venue) as server,
        aiohttp.ClientSession() as http,
        http.post(f"{server.url}/_admin/faults", json=rules) as reply,
    ):
        assert reply.status == 400
        assert fault in (await reply.json())["error"]
