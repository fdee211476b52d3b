"""The server: one port for REST and WebSocket of one venue, over one account."""

from __future__ import annotations

import errno
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from mm_hybrid.clock import Clock, WallClock
from mm_hybrid.errors import ServerError
from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.admin import Admin
from mm_hybrid.servers.exchange.bitget_public import BitgetPublic
from mm_hybrid.servers.exchange.bitget_rest import BitgetRest
from mm_hybrid.servers.exchange.bitget_ws import BitgetStreams
from mm_hybrid.servers.exchange.bybit_public import BybitPublic
from mm_hybrid.servers.exchange.bybit_rest import BybitRest
from mm_hybrid.servers.exchange.bybit_trade import BybitTradeStream
from mm_hybrid.servers.exchange.bybit_ws import BybitStreams
from mm_hybrid.servers.exchange.config import ExchangeServerConfig
from mm_hybrid.servers.exchange.faults import FaultRule, Faults
from mm_hybrid.servers.exchange.intake import BeforeAccept, Intake, Venue
from mm_hybrid.servers.exchange.limits import AddressLimit, RateLimits
from mm_hybrid.servers.exchange.matching import Matching
from mm_hybrid.servers.exchange.pushes import FaultTimers
from mm_hybrid.servers.exchange.spoil import Carrier, RestFront
from mm_hybrid.servers.exchange.spot import SpotAccount
from mm_hybrid.servers.exchange.streams import Sessions


class ExchangeServer:
    """A running local exchange; use as an async context manager.

    Attributes:
        account: the one account, for what no venue path shows.
        faults: the fault script in force; ``replace`` puts another in force.
        url: ``http://host:port`` once started; clients replace scheme and host of the venue's URLs by it.
    """

    def __init__(
        self,
        config: ExchangeServerConfig,
        matching: Matching,
        *,
        clock: Clock | None = None,
        spot_matching: Matching | None = None,
        before_accept: BeforeAccept | None = None,
    ) -> None:
        if config.spot and spot_matching is None:
            raise ValueError("spot trading needs a matching engine of its own: pass spot_matching")
        self.config = config
        self._clock = WallClock() if clock is None else clock
        self._matching = matching
        self.account = account = Account(config, matching, self._clock)
        self._spot_matching = spot_matching
        if spot_matching is not None:
            SpotAccount(account, spot_matching, self._clock)
        self.faults = Faults(self._clock, config.faults)
        self.faults.observe(self._note_fault)
        account.skew_ms = lambda: self.faults.skew_ms
        account.split_fills_when = lambda: self.faults.draw("fill") is not None
        limits = RateLimits(config, self._clock)
        intake = Intake(account, before_accept)
        self._carrier = Carrier(account, self.faults, intake, self._clock)
        self._streams: BybitStreams | BitgetStreams
        self._trade: BybitTradeStream | None = None
        self._public: BybitPublic | BitgetPublic
        venue: Venue
        if config.venue == "bybit":
            venue = rest = BybitRest(account, limits)
            self._streams = BybitStreams(account, self.faults, lambda: rest.dcp_window_s)
            self._trade = BybitTradeStream(account, venue, self._carrier, limits)
            self._public = BybitPublic(account, self.faults)
        else:
            venue = BitgetRest(account, limits)
            self._streams = BitgetStreams(account, self.faults)
            self._public = BitgetPublic(account, self.faults)
        self._front = RestFront(venue, account, self._carrier, AddressLimit(config, self._clock))
        sockets: tuple[Sessions, ...] = (*self._streams.sessions, self._public.sessions)
        if self._trade is not None:
            sockets = (*sockets, self._trade.sessions)
        self._timers = FaultTimers(self.faults, sockets)
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
        admin = Admin(self.account, self.faults, self._public.market.published)
        app.add_routes([*admin.routes(), *self._streams.routes()])
        app.add_routes(self._public.routes())
        if self._trade is not None:
            app.add_routes(self._trade.routes())
        app.router.add_route("*", "/{path:.*}", self._front.handle)
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
        self._timers.start()
        self._rest_again()

    def apply(self, batch: Any) -> None:
        """Take market events: book what they fill and push it."""
        self.account.market.apply(batch)
        self.account.book_trades(self._matching.apply(batch))
        spot = self.account.spot
        if spot is not None and self._spot_matching is not None:
            spot.book_trades(self._spot_matching.apply(batch))
        self._rest_again()
        self._public.market.apply(batch)
        self.account.log.commit()

    def _rest_again(self) -> None:
        self.account.rest_again()
        if self.account.spot is not None:
            self.account.spot.rest_again()
        self.account.log.commit()

    async def close(self) -> None:
        """Close connections, stop listening, close the ledger file; safe to call twice."""
        runner, self._runner = self._runner, None
        if runner is not None:
            self._timers.close()
            await self._carrier.close()
            await self._streams.close()
            await self._public.close()
            if self._trade is not None:
                await self._trade.close()
            await runner.cleanup()
        self.account.ledger.close()
        if self.account.spot is not None:
            self.account.spot.ledger.close()
        self.account.log.close()

    def _note_fault(self, rule: FaultRule) -> None:
        self.account.log.append("fault", self._clock.now_ns(), {"on": rule.on, "fault": rule.fault})
