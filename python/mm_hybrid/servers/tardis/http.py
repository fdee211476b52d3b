"""The HTTP port of a tardis-machine: health check, and replay as lines of JSON.

Source: tardis-machine documentation, HTTP Normalized API; `src/http/replaynormalized.ts` for what a failure looks like.
"""

from __future__ import annotations

import asyncio
import resource

from aiohttp import web

from mm_hybrid._core import MmHybridError
from mm_hybrid.clock import Clock
from mm_hybrid.servers.tardis import sources
from mm_hybrid.servers.tardis.config import TardisServerConfig
from mm_hybrid.servers.tardis.options import OptionsError, parse_options

HEALTH_PATH = "/health-check"
REPLAY_PATH = "/replay-normalized"
NS_PER_HOUR = 3_600_000_000_000


def http_app(config: TardisServerConfig, clock: Clock, epoch_ns: int) -> web.Application:
    """Return the application of the HTTP port."""
    started_ns = clock.monotonic_ns()

    async def answer(request: web.Request) -> web.StreamResponse:
        path = request.path.rstrip("/")
        if request.method != "GET" or path not in {HEALTH_PATH, REPLAY_PATH}:
            raise web.HTTPNotFound
        if path == REPLAY_PATH:
            return await _replay(request, config, epoch_ns)
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return web.json_response(
            {
                "status": "Healthy",
                "uptimeHours": (clock.monotonic_ns() - started_ns) / NS_PER_HOUR,
                "timestampMs": clock.now_ns() // 1_000_000,
                "memoryInfo": {"rss": f"{peak_mib:.1f} MB"},
            }
        )

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    return app


async def _replay(request: web.Request, config: TardisServerConfig, epoch_ns: int) -> web.StreamResponse:
    """Send the range as lines.

    A failure before the first byte is a status of its own; after it, an object without ``type`` ends the body.
    """
    try:
        wanted = parse_options(request.query.get("options"), replay=True)
    except OptionsError as error:
        return web.json_response({"message": str(error).split(": ", 1)[-1]}, status=500)
    outbox = wanted.outbox(live=False)
    response = web.StreamResponse(headers={"Content-Type": "application/x-json-stream"})
    try:
        async for batch in sources.replay(config, epoch_ns, wanted):
            lines = await asyncio.to_thread(outbox.lines, batch)
            if lines:
                if not response.prepared:
                    await response.prepare(request)
                await response.write(lines)
    except MmHybridError as error:
        failure = web.json_response({"message": str(error)}, status=500)
        if not response.prepared:
            return failure
        await response.write(failure.body if isinstance(failure.body, bytes) else b"")
    if not response.prepared:
        await response.prepare(request)
    await response.write_eof()
    return response
