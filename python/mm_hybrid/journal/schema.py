"""Tables of the journal, their rows as frozen dataclasses, and the migrations that lead to them.

A row class is the one description of its table: inserts and reads are derived from its fields. Money and
quantities are text of exact decimals, times are integer nanoseconds. Rows are only ever added.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, ClassVar, Literal, Protocol, TypeVar, get_type_hints

from mm_hybrid.errors import JournalError
from mm_hybrid.types import Side

Action = Literal["create", "amend", "cancel", "cancel_all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """One start of the engine; ``boot_epoch`` is part of every client id of that start and never repeats."""

    table: ClassVar[str] = "session"
    id: int
    started_ns: int
    mode: str
    exchange: str
    symbol: str
    instrument_json: str
    config_json: str
    version: str
    boot_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentRow:
    """What is about to be asked of the venue; on disk before it is sent."""

    table: ClassVar[str] = "intent"
    seq: int
    ts_ns: int
    action: Action
    client_id: str | None
    side: Side | None
    price: Decimal | None
    qty: Decimal | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRow:
    """What became of an order, as far as known at ``ts_ns``.

    ``source`` names who said so: ``rest``, ``stream``, ``lookup``, ``local``. ``code`` is the venue's. ``qty`` is the
    order's total quantity and ``filled`` the cumulative one known then, by executions or by the venue's word.
    """

    table: ClassVar[str] = "outcome"
    seq: int
    ts_ns: int
    intent_seq: int | None
    client_id: str | None
    state: str
    order_id: str | None
    code: str | None
    message: str
    source: str
    qty: Decimal | None
    filled: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FillRow:
    """One execution; ``mid`` is the mid known when it was applied.

    ``fee`` is signed cash in ``fee_currency``, ``fee_quote`` its worth in quote currency when it was applied.
    ``exec_type`` tells own orders' trades (``trade``) from those the venue made for the account (``adl``,
    ``liquidation``, ``settlement``).
    """

    table: ClassVar[str] = "fill"
    seq: int
    ts_ns: int
    exec_id: str
    client_id: str
    order_id: str
    side: Side
    price: Decimal
    qty: Decimal
    fee_quote: Decimal
    fee_currency: str
    is_maker: bool
    exchange_ts_ns: int
    mid: Decimal | None
    fee: Decimal
    exec_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingRow:
    """One funding payment; ``amount_quote`` is signed cash, received is positive."""

    table: ClassVar[str] = "funding"
    seq: int
    ts_ns: int
    exec_id: str
    amount_quote: Decimal
    exchange_ts_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningRow:
    """A position taken over as it was, base units: what the venue held before the first fill known here.

    It replaces everything before it: the position is the latest opening plus the fills after it. ``contains`` names,
    separated by spaces, recent executions that are part of it and must not be booked again.
    """

    table: ClassVar[str] = "opening"
    seq: int
    ts_ns: int
    qty: Decimal
    contains: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkRow:
    """Position and PnL marked to the mid at one moment; quote currency, costs negative."""

    table: ClassVar[str] = "mark"
    seq: int
    ts_ns: int
    market_ts_ns: int
    mid: Decimal | None
    best_bid: Decimal | None
    best_ask: Decimal | None
    book_state: str
    bid_quote: Decimal | None
    ask_quote: Decimal | None
    position: Decimal
    cash: Decimal
    fees: Decimal
    funding: Decimal
    spread_capture: Decimal
    inventory_pnl: Decimal
    total: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class AdviceRow:
    """One question to the advisor and what was done with its answer.

    ``snapshot_ns`` is the market's time of the question; ``position_limit`` is as told; ``used_*_half_bps`` are the
    half-spreads that came into force, clamped, before weight and age; absent where none did.
    """

    table: ClassVar[str] = "advice"
    seq: int
    ts_ns: int
    outcome: str
    request_json: str
    reply_text: str
    bid_half_bps: float | None
    ask_half_bps: float | None
    base_bid_half_bps: float | None
    base_ask_half_bps: float | None
    latency_ms: float | None
    cost_usd: float | None
    detail: str
    snapshot_ns: int | None
    prompt: str | None
    anomaly: str | None
    confidence: float | None
    position_limit: float | None
    used_bid_half_bps: float | None
    used_ask_half_bps: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalRow:
    """Target quotes that risk refused."""

    table: ClassVar[str] = "refusal"
    seq: int
    ts_ns: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRow:
    """A change of state of a part of the system, for instance ``what='breaker:orders'``."""

    table: ClassVar[str] = "state"
    seq: int
    ts_ns: int
    what: str
    value: str
    detail: str


class Row(Protocol):
    """What every row class has in common."""

    table: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]


R = TypeVar("R", bound=Row)
ROW_TYPES: tuple[type[Row], ...] = (
    SessionRow, IntentRow, OutcomeRow, FillRow, FundingRow, OpeningRow, MarkRow, AdviceRow, RefusalRow, StateRow,
)  # fmt: skip
STAMPED_TABLES = tuple(row.table for row in ROW_TYPES if row is not SessionRow)

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE session(id INTEGER PRIMARY KEY, started_ns INTEGER NOT NULL, mode TEXT NOT NULL,
        exchange TEXT NOT NULL, symbol TEXT NOT NULL, instrument_json TEXT NOT NULL,
        config_json TEXT NOT NULL, version TEXT NOT NULL, boot_epoch INTEGER NOT NULL UNIQUE);
    CREATE TABLE intent(seq INTEGER PRIMARY KEY AUTOINCREMENT, ts_ns INTEGER NOT NULL UNIQUE,
        action TEXT NOT NULL CHECK(action IN ('create','amend','cancel','cancel_all')), client_id TEXT,
        side TEXT CHECK(side IN ('buy','sell')), price TEXT, qty TEXT, reason TEXT NOT NULL);
    CREATE INDEX intent_client_id ON intent(client_id);
    CREATE TABLE outcome(seq INTEGER PRIMARY KEY AUTOINCREMENT, ts_ns INTEGER NOT NULL UNIQUE,
        intent_seq INTEGER REFERENCES intent(seq), client_id TEXT, state TEXT NOT NULL, order_id TEXT,
        code TEXT, message TEXT NOT NULL, source TEXT NOT NULL);
    CREATE INDEX outcome_client_id ON outcome(client_id);
    CREATE TABLE fill(seq INTEGER PRIMARY KEY AUTOINCREMENT, ts_ns INTEGER NOT NULL UNIQUE,
        exec_id TEXT NOT NULL UNIQUE, client_id TEXT NOT NULL, order_id TEXT NOT NULL,
        side TEXT NOT NULL CHECK(side IN ('buy','sell')), price TEXT NOT NULL, qty TEXT NOT NULL,
        fee_quote TEXT NOT NULL, fee_currency TEXT NOT NULL, is_maker INTEGER NOT NULL,
        exchange_ts_ns INTEGER NOT NULL, mid TEXT);
    CREATE TABLE mark(seq INTEGER PRIMARY KEY AUTOINCREMENT, ts_ns INTEGER NOT NULL UNIQUE,
        market_ts_ns INTEGER NOT NULL, mid TEXT, best_bid TEXT, best_ask TEXT, book_state TEXT NOT NULL,
        bid_quote TEXT, ask_quote TEXT, position TEXT NOT NULL, cash TEXT NOT NULL, fees TEXT NOT NULL,
        funding TEXT NOT NULL, spread_capture TEXT NOT NULL, inventory_pnl TEXT NOT NULL,
        total TEXT NOT NULL);
    CREATE TABLE advice(seq INTEGER PRIMARY KEY AUTOINCREMENT, ts_ns INTEGER NOT NULL UNIQUE,
        outcome TEXT NOT NULL, request_json TEXT NOT NULL, reply_text TEXT NOT NULL, bid_half_bps REAL,
        ask_half_bps REAL, base_bid_half_bps REAL, base_ask_half_bps REAL, latency_ms REAL, cost_usd REAL,
        detail TEXT NOT NULL);
    CREATE TABLE refusal(seq INTEGER PRIMARY KEY AUTOINCREMENT, ts_ns INTEGER NOT NULL UNIQUE,
        reason TEXT NOT NULL, detail TEXT NOT NULL);
    CREATE TABLE state(seq INTEGER PRIMARY KEY AUTOINCREMENT, ts_ns INTEGER NOT NULL UNIQUE,
        what TEXT NOT NULL, value TEXT NOT NULL, detail TEXT NOT NULL);
    """,
    """
    ALTER TABLE outcome ADD COLUMN qty TEXT;
    ALTER TABLE outcome ADD COLUMN filled TEXT;
    ALTER TABLE fill ADD COLUMN fee TEXT NOT NULL DEFAULT '0';
    UPDATE fill SET fee = fee_quote;
    ALTER TABLE fill ADD COLUMN exec_type TEXT NOT NULL DEFAULT 'trade';
    CREATE TABLE funding(seq INTEGER PRIMARY KEY AUTOINCREMENT, ts_ns INTEGER NOT NULL UNIQUE,
        exec_id TEXT NOT NULL UNIQUE, amount_quote TEXT NOT NULL, exchange_ts_ns INTEGER NOT NULL);
    CREATE TABLE opening(seq INTEGER PRIMARY KEY AUTOINCREMENT, ts_ns INTEGER NOT NULL UNIQUE,
        qty TEXT NOT NULL, contains TEXT NOT NULL, reason TEXT NOT NULL);
    """,
    """
    ALTER TABLE advice ADD COLUMN snapshot_ns INTEGER;
    ALTER TABLE advice ADD COLUMN prompt TEXT;
    ALTER TABLE advice ADD COLUMN anomaly TEXT;
    ALTER TABLE advice ADD COLUMN confidence REAL;
    ALTER TABLE advice ADD COLUMN position_limit REAL;
    ALTER TABLE advice ADD COLUMN used_bid_half_bps REAL;
    ALTER TABLE advice ADD COLUMN used_ask_half_bps REAL;
    """,
)
"""Scripts that lead from one schema version to the next; released ones never change."""

SCHEMA_VERSION = len(MIGRATIONS)


def columns(row_type: type[Row]) -> tuple[str, ...]:
    """Return the columns of a table in the order of its row's fields."""
    return tuple(f.name for f in fields(row_type))


def decode_row(row_type: type[R], values: tuple[Any, ...]) -> R:
    """Build a typed row from the values SQLite returned for :func:`columns`."""
    decoded = {
        name: value if convert is None or value is None else convert(value)
        for (name, convert), value in zip(_DECODERS[row_type], values, strict=True)
    }
    return row_type(**decoded)


def _decoder(hint: Any) -> Callable[[Any], Any] | None:
    """Return what turns a column's value into a field of a type; ``None`` where it is one already."""
    if hint is Decimal or hint == Decimal | None:
        return Decimal
    return bool if hint is bool else None


_DECODERS: dict[type[Row], tuple[tuple[str, Callable[[Any], Any] | None], ...]] = {
    row: tuple((name, _decoder(hint)) for name, hint in get_type_hints(row).items() if name in columns(row))
    for row in ROW_TYPES
}


def schema_version(connection: sqlite3.Connection) -> int:
    """Return the schema version a journal file says it has; 0 for an empty one.

    Raises:
        JournalError: the file was written by a newer version of this package.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise JournalError(
            f"journal has schema version {version}, this package knows {SCHEMA_VERSION}: upgrade mm_hybrid"
        )
    return version


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a journal file to :data:`SCHEMA_VERSION`; each step is one transaction."""
    for version in range(schema_version(connection), SCHEMA_VERSION):
        script = f"BEGIN IMMEDIATE; {MIGRATIONS[version]} PRAGMA user_version = {version + 1}; COMMIT;"
        connection.executescript(script)
