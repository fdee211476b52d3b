"""What the engine tells the journal; intents are on disk before anyone acts on them.

Every record is stamped when it is handed over; stamps strictly increase over all tables, so that reading the
tables merged by ``ts_ns`` gives back the order of events. The writer takes whatever has gathered since its
last commit into the next one (WAL, ``synchronous=FULL``: a commit returns after the fsync). The first failure
is final: a journal that could not write once accepts nothing more, because a gap would be worse than a stop.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from mm_hybrid.clock import Clock
from mm_hybrid.errors import JournalError
from mm_hybrid.journal.latency import RoundTrips
from mm_hybrid.journal.schema import Action, SessionRow
from mm_hybrid.journal.writer import Rows, Writer
from mm_hybrid.types import Fill, Funding, Instrument, Side

Number = Decimal | float | int


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What is about to be asked of the venue; ``client_id`` is absent only for ``cancel_all``."""

    action: Action
    client_id: str | None = None
    side: Side | None = None
    price: Decimal | None = None
    qty: Decimal | None = None
    reason: str = ""


class Journal:
    """An append-only journal in one SQLite file; open it with :meth:`open`, on the event loop's thread.

    Methods that only enqueue return the record's stamp and raise :class:`JournalError` once writing has
    failed.

    Attributes:
        path: the file.
        round_trips: how long the venue takes to answer, as its answers are recorded.
    """

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self.path = writer.path
        self._clock = clock
        self._writer = writer
        self._last_ns = writer.last_ts_ns
        self._last_epoch = writer.last_epoch
        self.round_trips = RoundTrips()

    @classmethod
    def open(cls, path: str | os.PathLike[str], clock: Clock, *, linger_s: float = 0.02) -> Self:
        """Open or create the journal at ``path`` and bring its schema up to date.

        Args:
            path: the SQLite file; its folder is created.
            clock: where stamps come from.
            linger_s: seconds records nobody waits for may gather before they are committed.

        Raises:
            JournalError: the file cannot be opened, is no journal, or is from a newer version.
        """
        return cls(Writer(Path(path), linger_s=linger_s), clock)

    @property
    def boot_epoch(self) -> int:
        """Boot epoch of the latest session, part of every client id; 0 before the first one."""
        return self._last_epoch

    @property
    def failure(self) -> JournalError | None:
        """Why writing stopped for good, or ``None``."""
        return self._writer.failure

    async def session(
        self, *, mode: str, exchange: str, instrument: Instrument, config_json: str = "{}", version: str = ""
    ) -> SessionRow:
        """Record a start of the engine and return it with its boot epoch, once it is on disk.

        The boot epoch is the start in whole seconds since 1970, raised where needed above every earlier one.

        Raises:
            JournalError: it cannot be written, or the journal is another account's: one journal holds one mode,
                exchange and symbol, since its fills add up to one position.
        """
        subject = (mode, exchange, instrument.symbol)
        if self._writer.subject not in {None, subject}:
            kept, wanted = " ".join(self._writer.subject or ()), " ".join(subject)
            raise JournalError(
                f"{self.path}: the journal of {kept}; choose another output folder for {wanted}"
            )
        started_ns = self._stamp()
        self._last_epoch = max(started_ns // 1_000_000_000, self._last_epoch + 1)
        values: dict[str, Any] = {
            "started_ns": started_ns,
            "mode": mode,
            "exchange": exchange,
            "symbol": instrument.symbol,
            "instrument_json": json.dumps(asdict(instrument), default=str, sort_keys=True),
            "config_json": config_json,
            "version": version,
            "boot_epoch": self._last_epoch,
        }
        (row_id,) = await self._writer.commit([("session", values)])
        return SessionRow(id=row_id, **values)

    async def intents(self, intents: Sequence[Intent]) -> list[int]:
        """Write intents and return their sequence numbers after the fsynced commit.

        Raises:
            JournalError: they are not on disk; nothing may be sent.
        """
        rows: Rows = [
            (
                "intent",
                {
                    "ts_ns": self._stamp(),
                    "action": i.action,
                    "client_id": i.client_id,
                    "side": i.side,
                    "price": _text(i.price),
                    "qty": _text(i.qty),
                    "reason": i.reason,
                },
            )
            for i in intents
        ]
        seqs = await self._writer.commit(rows)
        for seq, (_, values) in zip(seqs, rows, strict=True):
            if values["action"] in {"create", "amend"}:
                self.round_trips.sent(seq, values["ts_ns"])
        return seqs

    def outcome(
        self,
        *,
        state: str,
        client_id: str | None,
        intent_seq: int | None = None,
        order_id: str | None = None,
        code: str | None = None,
        message: str = "",
        source: str = "rest",
        qty: Decimal | None = None,
        filled: Decimal | None = None,
    ) -> int:
        """Record what became of an order as far as known now."""
        stamp = self._enqueue(
            "outcome",
            {
                "intent_seq": intent_seq,
                "client_id": client_id,
                "state": state,
                "order_id": order_id,
                "code": code,
                "message": message,
                "source": source,
                "qty": _text(qty),
                "filled": _text(filled),
            },
        )
        self.round_trips.answered(intent_seq, state, source, stamp)
        return stamp

    def fill(self, fill: Fill, *, mid: Number | None) -> int:
        """Record an execution; one whose ``exec_id`` is already there is not written a second time."""
        return self._enqueue(
            "fill",
            {
                "exec_id": fill.exec_id,
                "client_id": fill.client_id,
                "order_id": fill.order_id,
                "side": fill.side,
                "price": _text(fill.price),
                "qty": _text(fill.qty),
                "fee": _text(fill.fee),
                "fee_currency": fill.fee_currency,
                "fee_quote": _text(fill.fee_quote),
                "is_maker": int(fill.is_maker),
                "exec_type": fill.exec_type,
                "exchange_ts_ns": fill.exchange_ts_ns,
                "mid": _text(mid),
            },
        )

    def funding(self, payment: Funding) -> int:
        """Record a funding payment; one whose ``exec_id`` is already there is not written a second time."""
        return self._enqueue(
            "funding",
            {
                "exec_id": payment.exec_id,
                "amount_quote": _text(payment.amount_quote),
                "exchange_ts_ns": payment.exchange_ts_ns,
            },
        )

    def opening(self, qty: Decimal, reason: str, *, contains: Iterable[str]) -> int:
        """Record that the venue's position is taken over as it is; see :class:`OpeningRow`."""
        values = {"qty": _text(qty), "contains": " ".join(sorted(contains)), "reason": reason}
        return self._enqueue("opening", values)

    def mark(
        self,
        *,
        market_ts_ns: int,
        mid: Number | None,
        best_bid: Number | None,
        best_ask: Number | None,
        book_state: str,
        bid_quote: Number | None,
        ask_quote: Number | None,
        position: Number,
        cash: Number,
        fees: Number,
        funding: Number,
        spread_capture: Number,
        inventory_pnl: Number,
        total: Number,
    ) -> int:
        """Record position and PnL marked to the mid; quote currency, costs negative."""
        return self._enqueue(
            "mark",
            {
                "market_ts_ns": market_ts_ns,
                "mid": _text(mid),
                "best_bid": _text(best_bid),
                "best_ask": _text(best_ask),
                "book_state": str(book_state),
                "bid_quote": _text(bid_quote),
                "ask_quote": _text(ask_quote),
                "position": _text(position),
                "cash": _text(cash),
                "fees": _text(fees),
                "funding": _text(funding),
                "spread_capture": _text(spread_capture),
                "inventory_pnl": _text(inventory_pnl),
                "total": _text(total),
            },
        )

    def advice(
        self,
        *,
        outcome: str,
        request_json: str,
        reply_text: str = "",
        bid_half_bps: float | None = None,
        ask_half_bps: float | None = None,
        base_bid_half_bps: float | None = None,
        base_ask_half_bps: float | None = None,
        latency_ms: float | None = None,
        cost_usd: float | None = None,
        detail: str = "",
        snapshot_ns: int | None = None,
        prompt: str | None = None,
        anomaly: str | None = None,
        confidence: float | None = None,
        position_limit: float | None = None,
        used_bid_half_bps: float | None = None,
        used_ask_half_bps: float | None = None,
    ) -> int:
        """Record a question to the advisor and what was done with the answer; see :class:`AdviceRow`."""
        return self._enqueue(
            "advice",
            {
                "outcome": outcome,
                "request_json": request_json,
                "reply_text": reply_text,
                "bid_half_bps": bid_half_bps,
                "ask_half_bps": ask_half_bps,
                "base_bid_half_bps": base_bid_half_bps,
                "base_ask_half_bps": base_ask_half_bps,
                "latency_ms": latency_ms,
                "cost_usd": cost_usd,
                "detail": detail,
                "snapshot_ns": snapshot_ns,
                "prompt": prompt,
                "anomaly": anomaly,
                "confidence": confidence,
                "position_limit": position_limit,
                "used_bid_half_bps": used_bid_half_bps,
                "used_ask_half_bps": used_ask_half_bps,
            },
        )

    def refusal(self, reason: str, detail: str = "") -> int:
        """Record target quotes that risk refused."""
        return self._enqueue("refusal", {"reason": reason, "detail": detail})

    def state(self, what: str, value: str, detail: str = "") -> int:
        """Record a change of state of a part of the system."""
        return self._enqueue("state", {"what": what, "value": value, "detail": detail})

    async def flush(self) -> None:
        """Wait until everything enqueued so far is on disk.

        Raises:
            JournalError: it is not.
        """
        await self._writer.commit([])

    async def close(self) -> None:
        """Write what is queued and close the file; further records are refused. A second call does nothing.

        Raises:
            JournalError: something enqueued could not be written.
        """
        await self._writer.close()

    def _stamp(self) -> int:
        self._last_ns = max(self._clock.now_ns(), self._last_ns + 1)
        return self._last_ns

    def _enqueue(self, table: str, values: dict[str, Any]) -> int:
        stamp = self._stamp()
        self._writer.put([(table, {"ts_ns": stamp, **values})])
        return stamp


def _text(value: Number | None) -> str | None:
    if value is None:
        return None
    return format(value, "f") if isinstance(value, Decimal) else repr(value)
