"""The server: one port for REST and WebSocket of one venue, over one account."""

from __future__ import annotations

import errno
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from mm_hybrid.clock import Clock, WallClock
from mm_hybrid.errors import ServerError
from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.bitget_rest import BitgetRest
from mm_hybrid.servers.exchange.bitget_ws import BitgetStreams
from mm_hybrid.servers.exchange.bybit_rest import BybitRest
from mm_hybrid.servers.exchange.bybit_ws import BybitStreams
from mm_hybrid.servers.exchange.config import ExchangeServerConfig
from mm_hybrid.servers.exchange.ledger import ledger_row
from mm_hybrid.servers.exchange.matching import Matching


class ExchangeServer:
    """A running local exchange; use as an async context manager.

    Attributes:
        account: the one account, for what no venue path shows.
        url: ``http://host:port`` once started; clients replace scheme and host of the venue's URLs by it.
    """

    def __init__(
        self, config: ExchangeServerConfig, matching: Matching, *, clock: Clock | None = None
    ) -> None:
        self.config = config
        self._clock = WallClock() if clock is None else clock
        self._matching = matching
        self.account = Account(config, matching, self._clock)
        is_bybit = config.venue == "bybit"
        self._streams = (BybitStreams if is_bybit else BitgetStreams)(self.account, self._clock)
        self._rest = (BybitRest if is_bybit else BitgetRest)(self.account, self._clock)
        self._runner: web.AppRunner | None = None
        self.url = ""
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Bind and serve.

        Raises:
            ServerError: the port is taken.
        """
        app = web.Application()
        app.add_routes(
            [*self._rest.routes(), *self._streams.routes(), web.get("/_admin/ledger", self._ledger)]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.config.host, self.config.port)
        try:
            await site.start()
        except OSError as error:
            await self.close()
            where = f"{self.config.host}:{self.config.port}"
            why = "the port is in use" if error.errno == errno.EADDRINUSE else error.strerror
            raise ServerError(
                f"the {self.config.venue} exchange server cannot listen on {where}: {why}"
            ) from error
        self.port = self._runner.addresses[0][1]
        self.url = f"http://{self.config.host}:{self.port}"

    def apply(self, batch: Any) -> None:
        """Take market events: book what they fill and push it."""
        self.account.book_trades(self._matching.apply(batch))

    async def close(self) -> None:
        """Close connections, stop listening, close the ledger file; safe to call twice."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await self._streams.close()
            await runner.cleanup()
        self.account.ledger.close()

    async def _ledger(self, _: web.Request) -> web.Response:
        return web.json_response([ledger_row(one) for one in self.account.ledger.executions])
