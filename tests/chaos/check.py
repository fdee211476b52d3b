"""The invariants, checked on two files: the exchange's event log and the maker's journal.

Only ``sqlite3`` and exact decimals are used: nothing of the package under test, so that no mistake of it can hide here.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

PREFIX = "mm-"
"""First characters of the maker's client ids."""

ZERO = Decimal(0)
NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise."""

    invariant: str
    what: str

    def as_json(self) -> dict[str, str]:
        """Return it as JSON-ready values."""
        return {"invariant": self.invariant, "what": self.what}


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the exchange's event log."""

    seq: int
    ts_ns: int
    kind: str
    order_id: str | None
    client_id: str | None
    body: Mapping[str, Any]

    @property
    def ours(self) -> bool:
        """Whether it belongs to an order of the maker."""
        return (self.client_id or "").startswith(PREFIX)


@dataclass(slots=True)
class ServerOrder:
    """An order as the exchange's events tell it."""

    order_id: str
    client_id: str
    side: str
    qty: Decimal
    accepted_ns: int
    filled: Decimal = ZERO
    canceled: bool = False

    @property
    def remaining(self) -> Decimal:
        """Quantity that rests."""
        return ZERO if self.canceled else max(ZERO, self.qty - self.filled)

    @property
    def state(self) -> str:
        """How the order stands: open, filled or canceled."""
        if self.filled >= self.qty:
            return "FILLED"
        return "CANCELED" if self.canceled else "OPEN"


@dataclass(slots=True)
class Ledger:
    """The exchange's event log and what follows from it.

    ``executions`` are all those that move the account's position, whoever's order it was: those of the maker, those of
    somebody else's orders on the same account, and those the venue makes by itself, which have no client id.
    """

    events: list[Event]
    orders: dict[str, ServerOrder] = field(default_factory=dict)
    executions: list[Event] = field(default_factory=list)
    funding: Decimal = ZERO

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """Read an event log."""
        with _opened(path) as database:
            sql = "SELECT seq, ts_ns, kind, order_id, client_id, body FROM event ORDER BY seq"
            ledger = cls([Event(*row[:5], json.loads(row[5])) for row in database.execute(sql)])
        for _ in ledger.replay():
            pass
        return ledger

    def replay(self) -> Iterator[Event]:
        """Apply the events one by one, yielding each after it took effect."""
        self.orders, self.executions, self.funding = {}, [], ZERO
        for event in self.events:
            body = event.body
            order = self.orders.get(event.order_id or "")
            if event.kind == "accepted":
                self.orders[event.order_id or ""] = ServerOrder(
                    event.order_id or "",
                    event.client_id or "",
                    str(body["side"]).lower(),
                    Decimal(body["qty"]),
                    event.ts_ns,
                )
            elif event.kind == "amended" and order is not None:
                order.qty = Decimal(body["qty"])
            elif event.kind == "canceled" and order is not None:
                order.canceled = True
            elif event.kind == "execution" and body.get("exec_type") != "Funding":
                self.executions.append(event)
                if order is not None:
                    order.filled += Decimal(body["qty"])
            elif event.kind == "funding":
                self.funding += Decimal(body["amount"])
            yield event

    @property
    def own_orders(self) -> list[ServerOrder]:
        """The maker's orders."""
        return [order for order in self.orders.values() if order.client_id.startswith(PREFIX)]

    @property
    def faults_by_kind(self) -> Counter[str]:
        """How often each fault was injected, by ``on/fault``."""
        return Counter(f"{e.body['on']}/{e.body['fault']}" for e in self.events if e.kind == "fault")


@dataclass(slots=True)
class Diary:
    """The maker's journal, as far as orders and money go."""

    creates: Counter[str]
    created_ns: dict[str, int]
    outcomes: list[tuple[int, int, str, str]]
    fills: list[dict[str, Any]]
    sessions_ns: list[int]
    marked_position: Decimal | None
    funding: Decimal | None
    size: dict[str, int]

    @classmethod
    def read(cls, path: Path) -> Diary:
        """Read a journal."""
        with _opened(path) as database:
            database.row_factory = sqlite3.Row
            tables = {
                row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
            creates = database.execute(
                "SELECT client_id, ts_ns FROM intent WHERE action = 'create' ORDER BY seq DESC"
            ).fetchall()
            outcomes = database.execute("SELECT seq, ts_ns, client_id, state FROM outcome ORDER BY seq")
            # An execution that was booked before its order was known: the journal tells its owner with the order.
            owners = dict(
                database.execute(
                    "SELECT order_id, client_id FROM outcome WHERE order_id IS NOT NULL"
                ).fetchall()
            )
            fills = [dict(row) for row in database.execute("SELECT * FROM fill ORDER BY seq")]
            for fill in fills:
                fill["client_id"] = fill["client_id"] or owners.get(fill["order_id"], "")
            sessions = database.execute("SELECT started_ns FROM session ORDER BY id")
            mark = database.execute("SELECT position FROM mark ORDER BY seq DESC LIMIT 1").fetchone()
            facts = [name for name in ("intent", "outcome", "fill", "funding") if name in tables]
            funding = None
            if "funding" in tables:
                amounts = database.execute("SELECT amount_quote FROM funding")
                funding = sum((Decimal(row[0]) for row in amounts), ZERO)
            return cls(
                creates=Counter(row[0] for row in creates),
                created_ns={row[0]: row[1] for row in creates},
                outcomes=[(row[0], row[1], row[2] or "", row[3]) for row in outcomes],
                fills=fills,
                sessions_ns=[row[0] for row in sessions],
                marked_position=None if mark is None else Decimal(mark[0]),
                funding=funding,
                size={name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in facts},
            )

    @property
    def last_state(self) -> dict[str, str]:
        """The last state written of each order; an intent without an outcome has none."""
        return {client_id: state for _, _, client_id, state in self.outcomes}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the campaign knows of a run beside the two files.

    Attributes:
        limit_base: the position limit.
        window_s: how long an order must stay unseen to be given up.
        resolve_bound_s: longest time an outcome may stay unknown within one life.
        ends: how each life ended that was not killed: the maker's own last words.
        size_before_restart: rows of facts in the journal before the last, idle start.
        testimony: what the witness saw at the receipt of each create.
    """

    limit_base: Decimal
    window_s: float
    resolve_bound_s: float
    ends: Sequence[Mapping[str, Any]] = ()
    size_before_restart: Mapping[str, int] | None = None
    testimony: Sequence[Mapping[str, Any]] = ()


def check(ledger: Ledger, diary: Diary, facts: Facts) -> list[Violation]:
    """Return every broken invariant, I1 to I7."""
    return [
        *_nothing_lost(ledger, diary),
        *_nothing_doubled(ledger, diary),
        *_money_agrees(ledger, diary, facts),
        *_exposure_bounded(ledger, diary, facts),
        *_written_ahead(ledger, facts),
        *_resolved(ledger, diary, facts),
        *_recovery_is_idempotent(diary, facts),
    ]


def unknown_resolved(diary: Diary) -> int:
    """Return how many unknown outcomes became known."""
    return sum(until is not None for _, _, until in _unknown(diary))


def fault_kinds(names: Iterable[str]) -> set[str]:
    """Return the kinds of fault among ``on/fault`` names; a batch of requests is no kind of its own."""
    return {name.replace("_batch/", "/") for name in names}


def _nothing_lost(ledger: Ledger, diary: Diary) -> Iterator[Violation]:
    server = defaultdict(list)
    for order in ledger.own_orders:
        server[order.client_id].append(order)
    for client_id in server:
        if diary.creates[client_id] != 1:
            yield Violation("I1", f"order {client_id} has {diary.creates[client_id]} intents in the journal")
    last = diary.last_state
    for client_id in diary.creates:
        said = last.get(client_id, "nothing")
        truth = server[client_id][-1].state if server.get(client_id) else "never accepted"
        fits = {"never accepted": ("NOT_PLACED", "REJECTED"), "OPEN": ("OPEN", "ACKED")}.get(truth, (truth,))
        if said not in fits:
            yield Violation("I1", f"order {client_id}: {truth} at the exchange, {said} in the journal")
    journal = {fill["exec_id"]: fill for fill in diary.fills}
    if len(journal) != len(diary.fills):
        yield Violation("I1", f"{len(diary.fills) - len(journal)} executions are in the journal twice")
    seen = set()
    for event in ledger.executions:
        exec_id = event.body["exec_id"]
        seen.add(exec_id)
        fill = journal.get(exec_id)
        if fill is None:
            yield Violation(
                "I1", f"execution {exec_id} of {event.client_id or event.body['exec_type']} is lost"
            )
        elif difference := _fill_difference(event, fill):
            yield Violation("I1", f"execution {exec_id}: {difference}")
    for exec_id in journal.keys() - seen:
        yield Violation("I1", f"execution {exec_id} is in the journal and not at the exchange")


def _fill_difference(event: Event, fill: Mapping[str, Any]) -> str:
    body = event.body
    pairs = {
        "client id": (event.client_id or "", fill["client_id"] or ""),
        "side": (str(body["side"]).lower(), fill["side"]),
        "price": (Decimal(body["price"]), Decimal(fill["price"])),
        "qty": (Decimal(body["qty"]), Decimal(fill["qty"])),
        "fee": (-Decimal(body["fee"]), Decimal(fill["fee_quote"])),
        "maker": (bool(body["is_maker"]), bool(fill["is_maker"])),
    }
    return "; ".join(
        f"{name} {a} at the exchange, {b} in the journal" for name, (a, b) in pairs.items() if a != b
    )


def _nothing_doubled(ledger: Ledger, diary: Diary) -> Iterator[Violation]:
    accepted = Counter(order.client_id for order in ledger.own_orders)
    for client_id, count in accepted.items():
        if count > 1:
            yield Violation("I2", f"intent {client_id} has {count} orders at the exchange")
    for client_id, count in diary.creates.items():
        if count > 1:
            yield Violation("I2", f"client id {client_id} was used for {count} intents")


def _money_agrees(ledger: Ledger, diary: Diary, facts: Facts) -> Iterator[Violation]:
    server, journal = [ZERO, ZERO, ZERO], [ZERO, ZERO, ZERO]
    for event in ledger.executions:
        body = event.body
        _book(server, str(body["side"]).lower(), body["qty"], body["price"], -Decimal(body["fee"]))
    for fill in diary.fills:
        _book(journal, fill["side"], fill["qty"], fill["price"], Decimal(fill["fee_quote"]))
    for name, truth, said in zip(("position", "cash", "fees"), server, journal, strict=True):
        if truth != said:
            yield Violation("I3", f"{name}: {truth} at the exchange, {said} by the journal's fills")
    if diary.marked_position is not None and diary.marked_position != server[0]:
        yield Violation(
            "I3", f"position: {server[0]} at the exchange, {diary.marked_position} in the last mark"
        )
    believed = [end["position"] for end in facts.ends if end.get("event") == "result"]
    if believed and Decimal(believed[-1]) != server[0]:
        yield Violation("I3", f"position: {server[0]} at the exchange, {believed[-1]} in the maker's memory")
    if ledger.funding != (diary.funding or ZERO):
        yield Violation("I3", f"funding: {ledger.funding} at the exchange, {diary.funding} in the journal")


def _book(totals: list[Decimal], side: str, qty: str, price: str, fee: Decimal) -> None:
    signed = Decimal(qty) if side == "buy" else -Decimal(qty)
    totals[0] += signed
    totals[1] -= signed * Decimal(price)
    totals[2] += fee


def _exposure_bounded(ledger: Ledger, diary: Diary, facts: Facts) -> Iterator[Violation]:
    """Walk the exchange's events.

    Beyond the promise are orders accepted a whole window after the exchange had received them and the maker had given
    them up, and what others on the account trade. A maker that gives up sooner is not excused.
    """
    received_ns = {
        client_id: event.ts_ns
        for event in reversed(ledger.events)
        if event.kind == "request" and "create" in event.body["endpoint"]
        for client_id in event.body["client_ids"]
    }
    given_up_ns = {client_id: ts_ns for _, ts_ns, client_id, state in diary.outcomes if state == "NOT_PLACED"}
    position, late, foreign = ZERO, ZERO, ZERO
    worst: dict[str, tuple[Decimal, int]] = {}
    live: dict[str, ServerOrder] = {}
    for event in ledger.replay():
        if event.kind == "accepted" and event.ours:
            order = ledger.orders[event.order_id or ""]
            waited_ns = event.ts_ns - received_ns.get(order.client_id, event.ts_ns)
            given_up = event.ts_ns > given_up_ns.get(order.client_id, event.ts_ns)
            if given_up and waited_ns >= facts.window_s * 1e9:
                late += order.qty
            else:
                live[order.order_id] = order
        elif event.kind == "execution" and event.body.get("exec_type") != "Funding":
            qty = Decimal(event.body["qty"])
            signed = qty if str(event.body["side"]).lower() == "buy" else -qty
            position += signed
            foreign += ZERO if event.ours else signed
        elif event.kind not in {"amended", "canceled"}:
            continue
        for side, sign in (("buy", 1), ("sell", -1)):
            resting = sum((order.remaining for order in live.values() if order.side == side), ZERO)
            if not resting:
                continue
            exposure = sign * position + resting
            if exposure > facts.limit_base + late + abs(foreign) and exposure > worst.get(side, (ZERO, 0))[0]:
                worst[side] = (exposure, event.seq)
        if event.order_id in live and not live[event.order_id].remaining:
            del live[event.order_id]
    for side, (exposure, seq) in worst.items():
        yield Violation(
            "I4", f"{side}: position could have reached {exposure} at event {seq}, limit {facts.limit_base}"
        )


def _written_ahead(ledger: Ledger, facts: Facts) -> Iterator[Violation]:
    witnessed = {}
    for seen in facts.testimony:
        if str(seen["client_id"]).startswith(PREFIX):
            witnessed[seen["client_id"]] = seen
            if not seen["committed"]:
                yield Violation(
                    "I5", f"create {seen['client_id']} arrived before its intent was in the journal"
                )
    for order in ledger.own_orders:
        if order.client_id not in witnessed:
            yield Violation("I5", f"order {order.client_id} was accepted without a witness")


def _resolved(ledger: Ledger, diary: Diary, facts: Facts) -> Iterator[Violation]:
    for client_id, since_ns, until_ns in _unknown(diary):
        if until_ns is None:
            yield Violation("I6", f"order {client_id}: its unknown outcome was never resolved")
            continue
        lives = [start for start in diary.sessions_ns if since_ns < start <= until_ns]
        took_s = (until_ns - max([since_ns, *lives])) / NS_PER_S
        if took_s > facts.resolve_bound_s:
            yield Violation("I6", f"order {client_id}: unknown for {took_s:.1f} s")
    for client_id, took_s in _given_up(diary):
        if took_s < facts.window_s:
            yield Violation("I6", f"order {client_id}: taken as not placed {took_s:.2f} s after its intent")
    for client_id, rested_s in _given_up_at_rest(ledger, diary):
        if rested_s >= facts.window_s:
            yield Violation(
                "I6", f"order {client_id}: taken as not placed when it had rested for {rested_s:.2f} s"
            )
    for order in ledger.own_orders:
        if order.state == "OPEN":
            yield Violation("I6", f"order {order.client_id} is open after the stop")
    for end in facts.ends:
        if end.get("event") == "failed":
            yield Violation("I6", f"a maker could not start with the faults over: {end['error']}")
        elif end.get("event") != "result":
            yield Violation("I6", f"a maker did not stop: {dict(end)}")
        elif end["error"] is not None:
            yield Violation("I6", f"a maker ended by itself: {end['error']}")
        elif end.get("exposed_orders"):
            yield Violation("I6", f"after the stop {end['exposed_orders']} orders still count as exposure")
        elif end["open_orders"] or end["unknown_orders"]:
            yield Violation(
                "I6", f"at the stop {end['open_orders']} orders were open, {end['unknown_orders']} unknown"
            )


def _unknown(diary: Diary) -> Iterator[tuple[str, int, int | None]]:
    """Yield each unknown outcome with the time it became unknown and the time it was resolved."""
    since: dict[str, int] = {}
    for _, ts_ns, client_id, state in diary.outcomes:
        if state == "PENDING_UNKNOWN":
            since.setdefault(client_id, ts_ns)
        elif client_id in since:
            yield client_id, since.pop(client_id), ts_ns
    for client_id, ts_ns in since.items():
        yield client_id, ts_ns, None


def _given_up(diary: Diary) -> Iterator[tuple[str, float]]:
    """Yield each order whose outcome was unknown and then taken as not placed, with the seconds since its intent."""
    before: dict[str, str] = {}
    for _, ts_ns, client_id, state in diary.outcomes:
        if state == "NOT_PLACED" and before.get(client_id) == "PENDING_UNKNOWN":
            yield client_id, (ts_ns - diary.created_ns[client_id]) / NS_PER_S
        before[client_id] = state


def _given_up_at_rest(ledger: Ledger, diary: Diary) -> Iterator[tuple[str, float]]:
    """Yield each order that was taken as not placed while it rested, with the seconds it had rested by then."""
    given_up = [(ts_ns, client_id) for _, ts_ns, client_id, state in diary.outcomes if state == "NOT_PLACED"]
    ended_ns: dict[str, int] = {}
    for event in ledger.replay():
        order = ledger.orders.get(event.order_id or "")
        if order is not None and order.state != "OPEN":
            ended_ns.setdefault(order.client_id, event.ts_ns)
    accepted_ns = {order.client_id: order.accepted_ns for order in ledger.own_orders}
    for ts_ns, client_id in given_up:
        began_ns = accepted_ns.get(client_id)
        if began_ns is not None and began_ns <= ts_ns < ended_ns.get(client_id, ts_ns + 1):
            yield client_id, (ts_ns - began_ns) / NS_PER_S


def _recovery_is_idempotent(diary: Diary, facts: Facts) -> Iterator[Violation]:
    for table, before in (facts.size_before_restart or {}).items():
        if diary.size[table] != before:
            yield Violation("I7", f"recovering again wrote {diary.size[table] - before} rows into {table}")


class _Opened:
    """A read-only connection that is closed at the end; SQLite's own context manager only commits."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)

    def __enter__(self) -> sqlite3.Connection:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def _opened(path: Path) -> _Opened:
    return _Opened(path)


def testimony_of(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Read what the witness wrote; a line it was killed in the middle of is no testimony."""
    return [json.loads(line) for line in lines if line.endswith("}\n")]
