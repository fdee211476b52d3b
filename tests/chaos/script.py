"""From a seed to everything that will go wrong in one run.

The same seed gives the same script on every machine. When a fault strikes still depends on the requests that come, so
two runs of one script are alike, not identical.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

VENUES = ("bybit", "bitget")
WINDOW_S = 1.2
"""How long the maker waits for a trace of an order before it takes it as not placed."""

PAGE = {"bybit": 50, "bitget": 100}
"""Most open orders one query returns."""

KILL_POINTS = (
    "after_journal",
    "after_send",
    "after_ack",
    "mid_record",
    "before_fill",
    "after_cancel",
    "in_recovery",
    "random",
)
"""Where a maker process can be killed; :mod:`.kill_points` puts them in."""

AMBIGUOUS_CODES = {
    "bybit": ("10000", "10016", "10019", "170146", "170149"),
    "bitget": ("40010", "40015", "40725", "45001", "50000", "50008"),
}
REFUSING_CODES = {"bybit": ("110003", "110007", "170218"), "bitget": ("45110", "40762", "40808")}

_SPOILED = ("reset", "html", "json", "truncated", "broken_json", "empty")
"""Replies that say nothing, after a request that was carried out."""

_SPELLS = 4
"""Times in a run in which the exchange shows no orders and executions, if it is blind at all."""

MIN_ORDERS = 20
MIN_FAULT_KINDS = 5
"""A run with less does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One end of a maker process by SIGKILL.

    Attributes:
        point: one of :data:`KILL_POINTS`.
        nth: which occurrence of it, from 1.
        after_s: seconds since the process started, for ``random``; for the others, when to stop waiting.
        torn: whether half a record is left at the end of the write-ahead log, as a power cut would.
    """

    point: str
    nth: int
    after_s: float
    torn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What happens in one run.

    Attributes:
        faults: the fault script of the exchange server.
        kills: one for each life of the maker but the last.
        foreign_before: orders of somebody else that rest from the start.
        foreign_at_kill: more of them, placed while the maker is dead: ours, being older, are not on the first page.
        foreign_at_stop: the same, placed just before the maker is told to stop.
        foreign_trades: trades of somebody else while the maker is dead: ours are not on the first page of executions.
        server_kill_s: when the exchange server is killed and started again on its state, seconds into the last life.
        funding: times the position is charged or paid in the last life.
        adl_qty: base quantity by which the venue itself cuts the position in the last life, if any.
        levels: quotes a side.
        qty: quantity of one quote, base.
        limit_qty: position limit, in quotes.
        pace_s: least time between two changes of the quotes.
        orders_via: ``rest`` or ``websocket``, how orders are sent.
    """

    exchange: str
    seed: int
    faults: dict[str, Any]
    kills: tuple[Kill, ...]
    foreign_before: int = 0
    foreign_at_kill: int = 0
    foreign_at_stop: int = 0
    foreign_trades: int = 0
    server_kill_s: float | None = None
    funding: int = 0
    adl_qty: str | None = None
    levels: int = 3
    qty: str = "0.010"
    limit_qty: int = 5
    pace_s: float = 0.15
    orders_via: str = "rest"

    def as_json(self) -> dict[str, Any]:
        """Return the script as JSON-ready values."""
        return asdict(self)


@dataclass(slots=True)
class _Menu:
    """Faults to draw from, grouped by what they do, so that each run has several sorts."""

    groups: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(
        self, group: str, on: str, *faults: str, share: tuple[float, float] | None, **parameters: Any
    ) -> None:
        rules = self.groups.setdefault(group, [])
        rules += [{"on": on, "fault": fault, "share": share, **parameters} for fault in faults]


def script_of(exchange: str, seed: int, *, kills: int = 2) -> Script:
    """Return the script of one run."""
    if exchange not in VENUES:
        raise ValueError(f"exchange {exchange!r}: one of {', '.join(VENUES)}")
    dice = random.Random(f"{exchange}-{seed}")
    paged = dice.random() < 0.35
    by_stream = exchange == "bybit" and dice.random() < 0.25
    at_stop = dice.random() < 0.5
    page = PAGE[exchange]
    return Script(
        exchange=exchange,
        seed=seed,
        faults={"seed": seed, "rules": _rules(exchange, dice, by_stream=by_stream)},
        kills=tuple(_kill(dice, first=i == 0) for i in range(kills)),
        foreign_before=page // 2 + dice.randrange(5) if paged else 0,
        foreign_at_kill=page + dice.randrange(5) if paged and not at_stop else 0,
        foreign_at_stop=page + dice.randrange(5) if paged and at_stop else 0,
        foreign_trades=2 * dice.randrange(52, 60) if dice.random() < 0.12 else 0,
        server_kill_s=round(dice.uniform(0.5, 2.0), 2) if dice.random() < 0.2 else None,
        funding=dice.choice((0, 0, 0, 1, 2)),
        adl_qty="0.005" if dice.random() < 0.15 else None,
        levels=dice.choice((2, 3, 3, 4)),
        limit_qty=dice.choice((4, 5, 6)),
        pace_s=dice.choice((0.1, 0.15, 0.25)),
        orders_via="websocket" if by_stream else "rest",
    )


def _kill(dice: random.Random, *, first: bool) -> Kill:
    # The first start finds nothing that it could be killed at while recovering.
    point = dice.choice([point for point in KILL_POINTS if not (first and point == "in_recovery")])
    nth = {
        "after_journal": (1, 8),
        "after_send": (1, 8),
        "after_ack": (1, 8),
        "mid_record": (1, 60),
        "before_fill": (1, 6),
        "after_cancel": (1, 4),
        "in_recovery": (1, 4),
    }.get(point, (1, 1))
    return Kill(
        point=point,
        nth=dice.randint(*nth),
        after_s=round(dice.uniform(0.8, 3.5), 2) if point == "random" else 3.0,
        torn=point in {"mid_record", "random"} and dice.random() < 0.5,
    )


def _rules(exchange: str, dice: random.Random, *, by_stream: bool) -> list[dict[str, Any]]:
    """Draw nine rules: those that lose orders in every run, of the rest three sorts."""
    groups = _menu(exchange, by_stream=by_stream).groups
    often = ("create", "create", "cancel", "push", "read", *(("trade_socket",) if by_stream else ()))
    names = [*often, dice.choice(often), *dice.sample([name for name in groups if name not in often], k=3)]
    drawn: list[dict[str, Any]] = []
    for name in names:
        drawn.append(dice.choice([rule for rule in groups[name] if rule not in drawn]))
    rules = []
    for rule in drawn:
        settled = _settled(rule, dice, exchange)
        both = (settled, _sure(settled, dice)) if "share" in settled else (settled,)
        rules += [twin for one in both for twin in _with_batch(one)]
    return [*rules, *_blind(rules, dice, exchange)]


def _sure(rule: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """Return a rule with the same fault that strikes at an early occurrence, whatever the shares decide."""
    frames = rule["on"] in {"private_ws", "trade_ws"}
    sure = {key: value for key, value in rule.items() if key != "share"}
    return {**sure, "nth": [dice.randint(5, 40) if frames else dice.randint(1, 8)]}


def _with_batch(rule: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a rule and, for requests that may go several at a time, the same one on batches."""
    on = rule["on"]
    return [rule, {**rule, "on": f"{on}_batch"}] if on in {"create", "cancel", "amend"} else [rule]


def _blind(rules: list[dict[str, Any]], dice: random.Random, exchange: str) -> list[dict[str, Any]]:
    """Return what makes the exchange's queries blind, if rules leave out open orders.

    Queries of a single order do so less often: an order whose every look-up for a whole window fails to find it is
    given up by design. And there are spells in which nothing is shown at all, each shorter than a window.
    """
    query = "order_history" if exchange == "bybit" else "order_detail"
    blind: list[dict[str, Any]] = []
    for rule in rules:
        if rule["fault"] == "omit":
            share = {"share": round(rule["share"] / 2, 3)} if "share" in rule else {}
            blind.append({**rule, "on": query, **share})
    if blind:
        for spell in range(_SPELLS):
            from_s = round(1.6 * spell + dice.uniform(0.5, 0.9), 2)
            until_s = round(from_s + dice.uniform(0.4, 0.7) * WINDOW_S, 2)
            blind += [
                {"on": on, "fault": "omit", "from_s": from_s, "until_s": until_s}
                for on in ("open_orders", query, "executions")
            ]
    return blind


def _settled(rule: dict[str, Any], dice: random.Random, exchange: str) -> dict[str, Any]:
    """Return a rule of the menu with its ranges drawn."""
    settled = {key: value for key, value in rule.items() if key not in {"share", "codes"}}
    if rule["share"] is not None:
        settled["share"] = round(dice.uniform(*rule["share"]), 3)
    if "codes" in rule:
        settled["code"] = dice.choice(rule["codes"][exchange])
    if isinstance(delay := rule.get("delay_ms"), Sequence):
        settled["delay_ms"] = sorted(round(dice.uniform(*delay)) for _ in range(2))
    return settled


def _menu(exchange: str, *, by_stream: bool) -> _Menu:
    """Return every fault that can be drawn.

    Late appearances stay within the window, except those of ``create_very_late``: they test what is remembered of
    orders taken as not placed.
    """
    menu = _Menu()
    window_ms = WINDOW_S * 1000
    few, some, many = (0.02, 0.06), (0.05, 0.15), (0.15, 0.35)

    spoiled = tuple(f"accept_then_{how}" for how in _SPOILED)
    menu.add("create", "create", *spoiled, share=some)
    menu.add("create", "create", "accept_then_delay", share=some, delay_ms=(300, 1200))
    menu.add("create", "create", "accept_then_code", share=some, codes=AMBIGUOUS_CODES)
    menu.add("create", "create", "lose_request", share=some)
    menu.add("create", "create", "accept_late", share=some, delay_ms=(100, 0.5 * window_ms))
    menu.add("create", "create", "invisible", share=some, delay_ms=(100, 0.5 * window_ms))
    menu.add(
        "create_very_late", "create", "accept_late", share=few, delay_ms=(1.1 * window_ms, 2 * window_ms)
    )
    menu.add("refusal", "create", "reject", share=some, codes=REFUSING_CODES)
    menu.add("refusal", "create", "rate_limit", "maintenance", share=few)
    menu.add("refusal", "create", "ip_ban", share=(0.01, 0.02), limit=1)
    menu.add("refusal", "cancel", "rate_limit", share=few)
    menu.add("slow", "create", "delay_before", share=some, delay_ms=(50, 400))
    menu.add("slow", "cancel", "delay_before", share=some, delay_ms=(50, 400))

    menu.add("cancel", "cancel", *spoiled, "lose_request", share=some)
    menu.add("cancel", "cancel", "accept_then_delay", share=some, delay_ms=(300, 1200))
    menu.add("cancel", "cancel", "accept_then_code", share=some, codes=AMBIGUOUS_CODES)
    menu.add("cancel", "cancel", "fill_during", share=many)
    if exchange == "bybit":
        menu.add("cancel", "amend", *spoiled, "lose_request", share=some)
        menu.add("cancel", "amend", "fill_during", share=many)
        menu.add("cancel", "amend", "delay_before", share=some, delay_ms=(50, 400))

    for query in ("open_orders", "order_history" if exchange == "bybit" else "order_detail", "executions"):
        menu.add("read", query, *spoiled[1:], "rate_limit", share=some)
        menu.add("read", query, "delay_before", share=some, delay_ms=(50, 400))
    menu.add("read", "positions", *spoiled[1:], share=some)
    menu.add("blind", "open_orders", "omit", share=many)

    for push in ("push_order", "push_execution"):
        menu.add("push", push, "drop", "duplicate", "reorder", share=many)
        menu.add("push", push, "delay", share=many, delay_ms=(20, 800))
    menu.add("socket", "private_ws", "kill", share=(0.01, 0.04), limit=6)
    menu.add("socket", "private_ws", "silence", share=(0.005, 0.02), limit=2)
    if by_stream:
        menu.add("trade_socket", "trade_ws", "kill", share=(0.02, 0.06), limit=6)
        menu.add("trade_socket", "trade_ws", "silence", share=(0.01, 0.03), limit=2)
        menu.add("trade_socket", "trade_ws", "no_reply", share=(0.05, 0.15))
    menu.add("clock", "server", "clock_skew", share=None, skew_ms=-6000, from_s=1.5, until_s=2.5)
    menu.add("clock", "time", "delay_before", share=many, delay_ms=(50, 300))
    return menu
