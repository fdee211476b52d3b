"""The kinds of public channels: books, trades, liquidations, tickers; the venues only write them down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mm_hybrid.servers.exchange.faults import Fault
from mm_hybrid.servers.exchange.public_book import Depth, changes, crossed
from mm_hybrid.servers.exchange.public_market import Channel, MarketNow, Print, PublicMarket
from mm_hybrid.servers.exchange.pushes import Pushes
from mm_hybrid.servers.exchange.streams import Session
from mm_hybrid.servers.exchange.wire import Fields


def compact(message: object) -> str:
    """Return JSON without spaces, as the venues write it."""
    return json.dumps(message, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class BookMessage:
    """One message of a book channel, before a venue writes it.

    Attributes:
        is_snapshot: ``levels`` are the whole book rather than changes.
        levels: what is sent; quantity ``"0"`` removes a level.
        book: the book of a client that has applied it.
        update_id: one more with every message of the channel.
        seq: that of the market.
        previous_seq: that of the channel's last message; 0 in a snapshot.
        ts_ms: time of the push.
        market_ms: exchange time of the book.
        is_checksum_bad: the checksum is to be wrong.
    """

    is_snapshot: bool
    levels: Depth
    book: Depth
    update_id: int
    seq: int
    previous_seq: int
    ts_ms: int
    market_ms: int
    is_checksum_bad: bool = False


class BookChannel(Channel):
    """A book of some depth: a snapshot, then changes, or snapshots alone.

    Args:
        topic: name of the channel among all.
        market: what it is the book of.
        depth: levels of each side; ``None`` is all.
        write: the venue's text of a message.
        is_snapshots_only: every message is the whole book.
        repeat_s: after so long without a change the last message is sent again.
    """

    def __init__(
        self,
        topic: str,
        market: PublicMarket,
        depth: int | None,
        write: Callable[[BookMessage], str],
        *,
        is_snapshots_only: bool = False,
        repeat_s: float | None = None,
    ) -> None:
        super().__init__(topic, market)
        self._depth = depth
        self._write = write
        self._is_snapshots_only = is_snapshots_only
        self._repeat_s = repeat_s
        self._repeat: asyncio.TimerHandle | None = None
        self._last: BookMessage | None = None
        self._update_id = market.first_update_id
        self._pushes = Pushes(market.sessions, market.faults)

    def greet(self, session: Session) -> None:
        """Send a snapshot of what was last published; of the market as it is if nobody followed."""
        if self._last is None or not self.is_followed(besides=session):
            now = self.market.now()
            if now is None:
                return
            self._last = None
            self._last = self._message(now, now.book.top(self._depth), is_snapshot=True)
            self._wait_to_repeat()
        last = self._last
        whole = replace(last, is_snapshot=True, levels=last.book, previous_seq=0, is_checksum_bad=False)
        self.market.sessions.deliver(session, self._write(whole))

    def publish(self, now: MarketNow) -> None:
        """Push what changed since the last message, by the script of faults."""
        if not self.is_followed():
            self.lose()
            return
        book = now.book.top(self._depth)
        if self._last is not None and book == self._last.book:
            return
        fault = self.market.faults.draw("public_book")
        self._last = message = self._spoilt(now, book, fault)
        self._pushes.carry(fault, [(self.topic, self._write(message))])
        self._wait_to_repeat()

    def lose(self) -> None:
        """Begin anew with a snapshot, whenever there is a market again."""
        self._last = None
        self._stop_repeating()
        self._pushes.close()

    def show(self) -> Fields | None:
        """Return the book as it was last published."""
        if self._last is None:
            return None
        return {
            "bids": level_rows(self._last.book.bids),
            "asks": level_rows(self._last.book.asks),
            "u": self._last.update_id,
            "seq": self._last.seq,
        }

    def close(self) -> None:
        """Drop what waits."""
        self.lose()

    def _spoilt(self, now: MarketNow, book: Depth, fault: Fault | None) -> BookMessage:
        name = "" if fault is None else fault.name
        if name == "cross":
            config = self.market.account.config
            book = crossed(book, config.tick_size, config.lot_size, self.market.text).top(self._depth)
        if name == "restart":
            self._update_id = 0
        is_snapshot = self._is_snapshots_only or name in ("restart", "resnapshot")
        return self._message(now, book, is_snapshot=is_snapshot, is_checksum_bad=name == "bad_checksum")

    def _message(
        self, now: MarketNow, book: Depth, *, is_snapshot: bool, is_checksum_bad: bool = False
    ) -> BookMessage:
        self._update_id += 1
        last = None if is_snapshot else self._last
        return BookMessage(
            is_snapshot=last is None,
            levels=book if last is None else changes(last.book, book),
            book=book,
            update_id=self._update_id,
            seq=now.seq,
            previous_seq=0 if last is None else last.seq,
            ts_ms=now.ts_ms,
            market_ms=now.market_ms,
            is_checksum_bad=is_checksum_bad,
        )

    def _wait_to_repeat(self) -> None:
        self._stop_repeating()
        if self._repeat_s is not None:
            self._repeat = asyncio.get_running_loop().call_later(self._repeat_s, self._send_again)

    def _send_again(self) -> None:
        if self._last is not None and self.is_followed():
            self.send(self._write(self._last))
            self._wait_to_repeat()

    def _stop_repeating(self) -> None:
        if self._repeat is not None:
            self._repeat.cancel()
            self._repeat = None


class TradeChannel(Channel):
    """Every trade, at once.

    Args:
        topic: name of the channel among all.
        market: whose trades.
        write: the venue's text of a message of trades, which are the past or new.
        begins_with_past: a newcomer gets the last trades first.
    """

    def __init__(
        self,
        topic: str,
        market: PublicMarket,
        write: Callable[[Sequence[Print], bool, int], str],
        *,
        begins_with_past: bool,
    ) -> None:
        super().__init__(topic, market)
        self._write = write
        self._begins_with_past = begins_with_past
        self._pushes = Pushes(market.sessions, market.faults)

    def greet(self, session: Session) -> None:
        """Send the last trades, where the venue does."""
        if self._begins_with_past and self.market.is_live():
            line = self._write(self.market.past, True, self.market.account.now_ms())
            self.market.sessions.deliver(session, line)

    def on_trades(self, trades: Sequence[Print]) -> None:
        """Push trades as one message, by the script of faults."""
        line = self._write(trades, False, self.market.account.now_ms())
        self._pushes.carry(self.market.faults.draw("public_trade"), [(self.topic, line)])


class LiquidationChannel(Channel):
    """Every liquidation the market shows, at once."""

    def __init__(
        self, topic: str, market: PublicMarket, write: Callable[[Sequence[Print], int], str]
    ) -> None:
        super().__init__(topic, market)
        self._write = write

    def on_liquidations(self, liquidations: Sequence[Print]) -> None:
        """Push liquidations as one message."""
        self.send(self._write(liquidations, self.market.account.now_ms()))


class TickerChannel(Channel):
    """A ticker: a snapshot, then what changed, or the whole each time.

    Args:
        topic: name of the channel among all.
        market: whose ticker.
        row: returns the ticker as it is.
        write: the venue's text of a message, given the fields, whether it is a snapshot, and seq.
        is_partial: messages after the first hold changed fields alone.
    """

    def __init__(
        self,
        topic: str,
        market: PublicMarket,
        row: Callable[[], Fields],
        write: Callable[[Fields, bool, int], str],
        *,
        is_partial: bool,
    ) -> None:
        super().__init__(topic, market)
        self._row = row
        self._write = write
        self._is_partial = is_partial
        self._last: Fields | None = None

    def greet(self, session: Session) -> None:
        """Send the ticker as last published; as it is if nobody followed."""
        if not self.market.is_live():
            return
        if self._last is None or not self.is_followed(besides=session):
            self._last = self._row()
        self.market.sessions.deliver(session, self._write(self._last, True, self.market.seq))

    def publish(self, now: MarketNow) -> None:
        """Push the ticker if it changed."""
        if not self.is_followed():
            self.lose()
            return
        row, last = self._row(), self._last
        changed = row if last is None else {key: row[key] for key in row if row[key] != last.get(key)}
        if changed:
            is_whole = last is None or not self._is_partial
            self.send(self._write(row if is_whole else changed, is_whole, now.seq))
            self._last = row

    def lose(self) -> None:
        """Begin anew with a snapshot."""
        self._last = None


def level_rows(side: dict[str, str]) -> list[list[str]]:
    """Return levels as ``[price, quantity]`` rows."""
    return [[price, qty] for price, qty in side.items()]
