"""What is played: a synthetic market or files, live by a clock or as fast as the client reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from mm_hybrid._core import Books, EventBatch, EventReader, SyntheticMarket
from mm_hybrid.clock import Clock
from mm_hybrid.servers.tardis.config import TardisServerConfig
from mm_hybrid.servers.tardis.hub import Hub
from mm_hybrid.servers.tardis.options import MAX_NS, Request

NS_PER_S = 1_000_000_000
CATCH_UP_STEP_NS = 10 * NS_PER_S
REPLAY_STEP_NS = NS_PER_S
REPLAY_BATCH_EVENTS = 4096
PLAY_BATCH_EVENTS = 2048


def open_market(config: TardisServerConfig, epoch_ns: int) -> SyntheticMarket:
    """Return the configured synthetic market at its beginning."""
    return SyntheticMarket(
        exchange=config.exchange,
        symbol=config.symbol,
        seed=config.seed,
        start_ns=epoch_ns,
        **config.market.model_dump(),
    )


def open_files(config: TardisServerConfig) -> EventReader:
    """Return a reader of the configured files, merged by local time."""
    return EventReader([str(path) for path in config.data], keep_text=True)


async def catch_up(hub: Hub, market: SyntheticMarket, epoch_ns: int, clock: Clock) -> None:
    """Bring a market that began earlier to the present without sending anything."""
    at_ns, now_ns = epoch_ns, clock.now_ns()
    while at_ns < now_ns:
        at_ns = min(at_ns + CATCH_UP_STEP_NS, now_ns)
        hub.absorb(await asyncio.to_thread(market.advance, at_ns), at_ns)


async def play_market(hub: Hub, market: SyntheticMarket, clock: Clock) -> None:
    """Publish each event of the market when its local time has come; never ends."""
    while True:
        batch = market.advance(clock.now_ns())
        if len(batch):
            hub.publish(batch)
        await asyncio.sleep(max(market.next_local_ts_ns - clock.now_ns(), 0) / NS_PER_S)


async def play_files(hub: Hub, config: TardisServerConfig, clock: Clock) -> None:
    """Publish the files' events paced by local time, once enough clients are there, then finish the hub.

    A ``speed`` of 0 sets no pace: the slowest client does, without being dropped.
    """
    reader = open_files(config)
    await hub.wait_for_listeners(config.wait_for_clients)
    first_ns = reader.next_local_ts_ns
    started_ns = clock.monotonic_ns()
    while first_ns is not None and (next_ns := reader.next_local_ts_ns) is not None:
        if not config.speed:
            hub.publish(await asyncio.to_thread(reader.read, PLAY_BATCH_EVENTS), may_drop=False)
            await hub.room()
            continue
        elapsed_ns = clock.monotonic_ns() - started_ns
        due_ns = min(first_ns + int(elapsed_ns * config.speed), MAX_NS)
        batch = reader.read(PLAY_BATCH_EVENTS, due_ns)
        if len(batch):
            hub.publish(batch)
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(max(next_ns - due_ns, 0) / config.speed / NS_PER_S)
    hub.finish()


async def replay(config: TardisServerConfig, epoch_ns: int, request: Request) -> AsyncIterator[EventBatch]:
    """Yield the events of the request's range of local time and some around it, in pieces."""
    pieces = _replay_files(config, request) if config.data else _replay_market(config, epoch_ns, request)
    async for piece in pieces:
        yield piece


async def _replay_files(config: TardisServerConfig, request: Request) -> AsyncIterator[EventBatch]:
    reader = open_files(config)
    while (next_ns := reader.next_local_ts_ns) is not None and next_ns < request.to_ns:
        yield await asyncio.to_thread(reader.read, REPLAY_BATCH_EVENTS)


async def _replay_market(
    config: TardisServerConfig, epoch_ns: int, request: Request
) -> AsyncIterator[EventBatch]:
    """Replay the seeded market; a range that begins inside it begins with a snapshot of its book."""
    if request.to_ns <= max(epoch_ns, request.from_ns):
        return
    market, books = open_market(config, epoch_ns), Books()
    at_ns = epoch_ns
    while at_ns < request.from_ns:
        at_ns = min(at_ns + CATCH_UP_STEP_NS, request.from_ns)
        books.apply(await asyncio.to_thread(market.advance, at_ns - 1))
        if at_ns == request.from_ns:
            snapshot = books.snapshot_message(config.exchange, config.symbol, at_ns)
            if snapshot is not None:
                yield EventBatch.decode([snapshot])
    while at_ns < request.to_ns:
        at_ns = min(at_ns + REPLAY_STEP_NS, request.to_ns)
        yield await asyncio.to_thread(market.advance, at_ns - 1)
