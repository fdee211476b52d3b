"""What goes wrong, and when: a script of faults, and the dice that decide where each one strikes.

A script is JSON::

    {"seed": 7, "rules": [{"on": "create", "fault": "accept_then_reset", "share": 0.1},
                          {"on": "cancel", "fault": "lose_request", "nth": [3, 9]}]}

Every rule counts the occurrences of what it is ``on`` and draws once for each, from dice of its own that follow
from the script's seed and the rule's place. The same script over the same sequence of occurrences therefore
strikes at the same ones, whatever the times.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mm_hybrid.clock import Clock
from mm_hybrid.errors import ConfigError
from mm_hybrid.servers.exchange.wire import Fields

TRADING = ("create", "amend", "cancel", "cancel_all", "create_batch", "amend_batch", "cancel_batch")
"""Requests that change orders."""

QUERIES = (
    "open_orders",
    "order_history",
    "order_detail",
    "executions",
    "positions",
    "wallet",
    "time",
    "markets",
)
"""Requests that ask."""

_LISTS = ("open_orders", "order_history", "order_detail", "executions")
"""Queries that can be answered as if there were nothing."""

PUSHES = ("push_order", "push_execution", "push_position")
SOCKETS = ("private_ws", "trade_ws", "public_ws")

_REPLY_FAULTS = (
    "accept_then_reset",
    "accept_then_delay",
    "accept_then_html",
    "accept_then_json",
    "accept_then_code",
    "accept_then_truncated",
    "accept_then_broken_json",
    "accept_then_empty",
)
_REFUSAL_FAULTS = ("reject", "rate_limit", "ip_ban", "maintenance")
_REQUEST_FAULTS = (*_REPLY_FAULTS, *_REFUSAL_FAULTS, "lose_request", "delay_before")
_NEEDS_DELAY = ("accept_then_delay", "delay_before", "accept_late", "invisible", "delay")
_TIMED = ("kill", "silence", "clock_skew")
_NEEDS_CODE = ("reject", "accept_then_code")
_ONLY_AT = {"bad_checksum": "bitget", "restart": "bybit"}


def _allowed(on: str) -> tuple[str, ...]:
    """Return the faults that make sense for what a rule is on."""
    if on in PUSHES:
        return ("drop", "duplicate", "reorder", "delay")
    if on == "public_book":
        return ("drop", "duplicate", "reorder", "delay", "bad_checksum", "cross", "restart", "resnapshot")
    if on == "public_trade":
        return ("drop", "duplicate")
    if on in SOCKETS:
        return ("kill", "silence", "no_reply") if on == "trade_ws" else ("kill", "silence")
    if on == "server":
        return ("clock_skew",)
    if on == "fill":
        return ("partial",)
    extra: tuple[str, ...] = ("omit",) if on in _LISTS else ()
    if on in TRADING:
        extra = ("accept_late",)
        extra += ("invisible",) if on in ("create", "create_batch", "amend", "amend_batch") else ()
        extra += ("fill_during",) if "create" not in on else ()
    return _REQUEST_FAULTS + extra


On = Literal[
    "any",
    "create",
    "amend",
    "cancel",
    "cancel_all",
    "create_batch",
    "amend_batch",
    "cancel_batch",
    "open_orders",
    "order_history",
    "order_detail",
    "executions",
    "positions",
    "wallet",
    "time",
    "markets",
    "push_order",
    "push_execution",
    "push_position",
    "private_ws",
    "trade_ws",
    "public_ws",
    "public_book",
    "public_trade",
    "server",
    "fill",
]

FAULT_NAMES = tuple(dict.fromkeys(fault for on in get_args(On) for fault in _allowed(on)))
"""Every fault there is."""

Nth = Annotated[int, Field(ge=1)]
Delay = Annotated[int, Field(ge=0, le=600_000)]


class FaultRule(BaseModel):
    """One line of the script.

    Attributes:
        on: the kind of request, push or socket; ``any`` is every REST request.
        fault: what goes wrong.
        share: probability per occurrence; 1 when neither ``share`` nor ``nth`` is given. ``kill``, ``silence`` and
            ``clock_skew`` without both go by time: sockets are killed once, at ``from_s``, the others hold from
            ``from_s`` until ``until_s``.
        nth: the occurrences struck, counted from 1.
        from_s: not before, seconds since the script was set.
        until_s: not after, likewise.
        limit: at most this many times.
        delay_ms: how late, or the range to draw from evenly.
        code: the venue's code, for ``reject`` and ``accept_then_code``; optional for ``accept_late``.
        message: the text that goes with the code.
        skew_ms: how far the server's clock runs ahead.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    on: On
    fault: str
    share: float | None = Field(default=None, ge=0, le=1)
    nth: tuple[Nth, ...] | None = None
    from_s: float = Field(default=0.0, ge=0)
    until_s: float | None = Field(default=None, ge=0)
    limit: int | None = Field(default=None, ge=0)
    delay_ms: Delay | tuple[Delay, Delay] | None = None
    code: int | str | None = None
    message: str | None = None
    skew_ms: int | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problem = self._problem()
        if problem:
            raise ValueError(problem)
        return self

    def _problem(self) -> str:
        """Return the first field that does not fit the others and why, as ``field: reason``."""
        allowed, delay, fault = _allowed(self.on), self.delay_ms, repr(self.fault)
        if self.fault not in allowed:
            return f"fault: {fault} is none of {', '.join(allowed)}, which {self.on!r} may have"
        if self.share is not None and self.nth is not None:
            return "nth: share is given too: keep one"
        if self.fault == "clock_skew" and not self.is_timed:
            return f"{'nth' if self.share is None else 'share'}: no use with {fault}: give from_s and until_s"
        if self.until_s is not None and self.until_s < self.from_s:
            return f"until_s: {self.until_s} is before from_s {self.from_s}"
        if isinstance(delay, tuple) and delay[0] > delay[1]:
            return f"delay_ms: {list(delay)}: the first is above the second"
        if (delay is None) == (self.fault in _NEEDS_DELAY):
            return f"delay_ms: {'needed' if delay is None else 'no use'} with {fault}"
        if self.fault in _NEEDS_CODE and self.code is None:
            return f"code: needed with {fault}: the venue's code to answer with"
        if (self.skew_ms is None) == (self.fault == "clock_skew"):
            return f"skew_ms: {'needed' if self.skew_ms is None else 'no use'} with {fault}"
        return ""

    @property
    def is_timed(self) -> bool:
        """Whether it strikes by time alone rather than at occurrences."""
        return self.fault in _TIMED and self.share is None and self.nth is None


class FaultScript(BaseModel):
    """The whole script; the empty one is an exchange that never fails.

    Attributes:
        seed: what all dice follow from.
        rules: the first rule that strikes an occurrence has it; later ones still count it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0
    rules: tuple[FaultRule, ...] = ()

    def problem_at(self, venue: str) -> str:
        """Return the first rule whose fault the venue's protocol has no room for, and why; empty if none."""
        for index, rule in enumerate(self.rules):
            if _ONLY_AT.get(rule.fault, venue) != venue:
                return f"rules[{index}].fault: {rule.fault!r} is one of {_ONLY_AT[rule.fault]} alone"
        return ""

    @classmethod
    def parse(cls, value: object, where: str) -> FaultScript:
        """Check a script read from JSON.

        Raises:
            ConfigError: names ``where``, the rule by its index from 0, the field and what is wrong.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise ConfigError(f"{where}: {_problems(error)}") from error

    @classmethod
    def read(cls, path: Path) -> FaultScript:
        """Read a script file.

        Raises:
            ConfigError: the file is missing, no JSON, or no script.
        """
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror or error}") from error
        except ValueError as error:
            raise ConfigError(f"{path}: no JSON: {error}") from error
        return cls.parse(value, str(path))


def _problems(error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_url=False):
        place = ""
        for part in item["loc"]:
            place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
        reason = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            reason = "unknown field"
        # What a rule says of itself begins with the field.
        separator = "." if item["type"] == "value_error" else ": "
        lines.append(f"{place or 'script'}{separator}{reason}")
    return "; ".join(dict.fromkeys(lines))


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that strikes now; ``delay_s`` is drawn already."""

    rule: FaultRule
    delay_s: float = 0.0

    @property
    def name(self) -> str:
        """What goes wrong."""
        return self.rule.fault


class _Dice:
    """One rule with its own counters and dice."""

    def __init__(self, rule: FaultRule, seed: int, index: int) -> None:
        self.rule = rule
        self._random = random.Random(f"{seed}/{index}")
        self._seen = 0
        self.struck = 0

    def throw(self, elapsed_s: float) -> Fault | None:
        """Count one occurrence; draws the same number of times whether it strikes or not."""
        rule = self.rule
        self._seen += 1
        chance, spread = self._random.random(), self._random.random()
        wanted = self._seen in rule.nth if rule.nth is not None else chance < _share(rule)
        if not wanted or not self.is_in_force(elapsed_s):
            return None
        self.struck += 1
        low, high = rule.delay_ms if isinstance(rule.delay_ms, tuple) else (rule.delay_ms or 0,) * 2
        return Fault(rule, (low + (high - low) * spread) / 1000)

    def is_in_force(self, elapsed_s: float) -> bool:
        """Return whether time and limit allow it."""
        rule = self.rule
        in_time = rule.from_s <= elapsed_s and (rule.until_s is None or elapsed_s <= rule.until_s)
        return in_time and (rule.limit is None or self.struck < rule.limit)


def _share(rule: FaultRule) -> float:
    return 1.0 if rule.share is None else rule.share


class Faults:
    """The script in force, and what it has done so far.

    Attributes:
        script: the script in force.
        epoch: grows with every new script, so that what lasts can end with the script that caused it.
    """

    def __init__(self, clock: Clock, script: FaultScript | None = None) -> None:
        self._clock = clock
        self._observers: list[Callable[[FaultRule], None]] = []
        self._listeners: list[Callable[[], None]] = []
        self.counts: Counter[str] = Counter()
        self.epoch = 0
        self._set(script or FaultScript())

    def _set(self, script: FaultScript) -> None:
        self.script = script
        self._started_ns = self._clock.monotonic_ns()
        self._dice = [_Dice(rule, script.seed, index) for index, rule in enumerate(script.rules)]
        self.epoch += 1

    def replace(self, script: FaultScript) -> None:
        """Put another script in force from now on; its time begins at 0, its counts of occurrences too."""
        self._set(script)
        for listener in self._listeners:
            listener()

    def observe(self, observer: Callable[[FaultRule], None]) -> None:
        """Call ``observer`` for every fault that strikes."""
        self._observers.append(observer)

    def on_replaced(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever another script is put in force."""
        self._listeners.append(listener)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the script was set."""
        return (self._clock.monotonic_ns() - self._started_ns) / 1e9

    def draw(self, *occurrence: str) -> Fault | None:
        """Count one occurrence under all its names; return the fault that strikes it, if any."""
        if not self._dice:
            return None
        elapsed_s = self.elapsed_s
        struck: Fault | None = None
        for dice in self._dice:
            if dice.rule.on in occurrence and not dice.rule.is_timed:
                fault = dice.throw(elapsed_s)
                if struck is not None and fault is not None:
                    dice.struck -= 1
                struck = struck or fault
        if struck is not None:
            self.strike(struck.rule)
        return struck

    def strike(self, rule: FaultRule) -> None:
        """Count a fault as injected and tell the observers."""
        self.counts[f"{rule.on}/{rule.fault}"] += 1
        for observer in self._observers:
            observer(rule)

    def timed(self) -> list[FaultRule]:
        """Return the rules that strike by time alone, in force or not yet."""
        return [one.rule for one in self._dice if one.rule.is_timed]

    def is_in_force(self, on: str, fault: str) -> bool:
        """Return whether a rule by time alone is in force now."""
        return any(
            one.rule.on == on and one.rule.fault == fault and one.is_in_force(self.elapsed_s)
            for one in self._dice
            if one.rule.is_timed
        )

    @property
    def skew_ms(self) -> int:
        """How far the server's clock runs ahead at this moment."""
        if not self._dice:
            return 0
        elapsed_s = self.elapsed_s
        return sum(
            one.rule.skew_ms or 0 for one in self._dice if one.rule.skew_ms and one.is_in_force(elapsed_s)
        )

    def report(self) -> Fields:
        """Return how often each fault struck, over all scripts since the server started."""
        return {"injected": self.counts.total(), "by_kind": dict(sorted(self.counts.items()))}
