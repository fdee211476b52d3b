"""The one place where pushes go wrong: dropped, doubled, late, or overtaken by the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mm_hybrid.servers.exchange.faults import Fault, FaultRule, Faults
from mm_hybrid.servers.exchange.streams import Sessions
from mm_hybrid.servers.exchange.wire import Fields

_HOLD_S = 1.0

Push = list[tuple[str, Fields | str]]
"""One push under every topic it can be followed by."""


class Pushes:
    """Hands pushes to the sessions that follow them, by the script of faults.

    A push to be reordered is held until the next push of any kind has gone out, or for a second if none comes.
    """

    def __init__(self, sessions: Sessions, faults: Faults) -> None:
        self._sessions = sessions
        self._faults = faults
        self._held: list[Push] = []
        self._timers: set[asyncio.TimerHandle] = set()

    def publish(self, kind: str, push: Push) -> None:
        """Send one push; ``kind`` is its name in fault scripts."""
        self.carry(self._faults.draw(kind), push)

    def carry(self, fault: Fault | None, push: Push) -> None:
        """Send one push that a fault, drawn already, may strike; what concerns its content is not minded here."""
        match "" if fault is None else fault.name:
            case "drop":
                return
            case "reorder":
                self._held.append(push)
                self._call_later(_HOLD_S, self._release)
                return
            case "delay" if fault is not None:
                self._call_later(fault.delay_s, lambda: self._send(push))
                return
            case "duplicate":
                self._send(push)
        self._send(push)
        self._release()

    def close(self) -> None:
        """Drop what waits."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._held.clear()

    def _send(self, push: Push) -> None:
        for topic, message in push:
            self._sessions.broadcast(topic, message)

    def _release(self) -> None:
        held, self._held = self._held, []
        for push in held:
            self._send(push)

    def _call_later(self, delay_s: float, action: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            action()

        timer = asyncio.get_running_loop().call_later(delay_s, run)
        self._timers.add(timer)


class FaultTimers:
    """Carries out the rules that go by time: kills sockets, and counts silences and skews as they begin."""

    def __init__(self, faults: Faults, sessions: tuple[Sessions, ...]) -> None:
        self._faults = faults
        self._sessions = {one.name: one for one in sessions}
        self._timers: list[asyncio.TimerHandle] = []
        self._is_running = False
        faults.on_replaced(self._restart)

    def start(self) -> None:
        """Set the timers of the script in force, on the running event loop."""
        self._is_running = True
        self._restart()

    def _restart(self) -> None:
        """Set the timers of the script in force, instead of those before."""
        self._cancel()
        if not self._is_running:
            return
        loop = asyncio.get_running_loop()
        for rule in self._faults.timed():
            wait_s = max(0.0, rule.from_s - self._faults.elapsed_s)
            self._timers.append(loop.call_later(wait_s, self._strike, rule))

    def close(self) -> None:
        """Stop the timers."""
        self._is_running = False
        self._cancel()

    def _cancel(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _strike(self, rule: FaultRule) -> None:
        self._faults.strike(rule)
        if rule.fault == "kill" and rule.on in self._sessions:
            self._sessions[rule.on].kill_all()
