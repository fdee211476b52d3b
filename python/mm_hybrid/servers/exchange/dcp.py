"""Cancel on disconnect, as Bybit has it: weak.

Source: Bybit v5 API documentation, pages Set Disconnect Cancel All and Dcp stream. It works only for an account the
venue has enabled, only once a private connection has subscribed the topic, and only when all such connections have
been gone for the whole window. Setting the window by itself does nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.orders import CancelCause
from mm_hybrid.servers.exchange.streams import Session

TOPICS = ("dcp", "dcp.future", "dcp.spot", "dcp.option")
_FUTURES = {"dcp", "dcp.future"}


class DisconnectGuard:
    """Watches the private connections that follow a ``dcp`` topic."""

    def __init__(
        self, account: Account, followers: Callable[[], list[Session]], window_s: Callable[[], float]
    ) -> None:
        self._account = account
        self._followers = followers
        self._window_s = window_s
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Look at the connections again, after one subscribed or left."""
        if self._guarding():
            self.close()

    def left(self, session: Session) -> None:
        """Take note that a connection ended; the window begins when the last follower has gone."""
        if not session.topics & _FUTURES or self._guarding() or self._timer is not None:
            return
        if self._account.setup.dcp_enabled:
            self._timer = asyncio.get_running_loop().call_later(self._window_s(), self._strike)

    def _guarding(self) -> bool:
        return any(one.topics & _FUTURES for one in self._followers())

    def close(self) -> None:
        """Stop the window."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _strike(self) -> None:
        self._timer = None
        self._account.cancel_all(CancelCause.DISCONNECTED)
        self._account.log.commit()
