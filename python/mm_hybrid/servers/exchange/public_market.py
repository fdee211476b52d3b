"""The market as the public channels tell of it: when they push, and that they are silent while there is none."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mm_hybrid import _core
from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.faults import Faults
from mm_hybrid.servers.exchange.public_book import Depth, LevelText
from mm_hybrid.servers.exchange.public_ticker import MarketTicker
from mm_hybrid.servers.exchange.streams import Session, Sessions
from mm_hybrid.servers.exchange.wire import Fields

_PAST_TRADES = 50


@dataclass(frozen=True, slots=True)
class MarketNow:
    """The market at the moment of a push.

    Attributes:
        book: all levels.
        seq: grows with every change of the market.
        ts_ms: time of the push.
        market_ms: exchange time of the last book change.
    """

    book: Depth
    seq: int
    ts_ms: int
    market_ms: int


@dataclass(frozen=True, slots=True)
class Print:
    """One trade or liquidation of the market; ``direction`` is the tick direction in Bybit's words."""

    trade_id: str
    price: str
    qty: str
    side: str
    ts_ms: int
    direction: str


class Channel:
    """One topic, which exists once for all that follow it.

    Its numbering goes on whoever comes and goes; who comes gets the state as it was last published, so that the
    next update fits for everybody.
    """

    def __init__(self, topic: str, market: PublicMarket) -> None:
        self.topic = topic
        self.market = market

    def is_followed(self, *, besides: Session | None = None) -> bool:
        """Return whether anybody follows, one session not counted."""
        return any(self.topic in session.topics for session in self.market.sessions if session is not besides)

    def send(self, message: str) -> None:
        """Queue a message for everybody who follows."""
        self.market.sessions.broadcast(self.topic, message)

    def greet(self, session: Session) -> None:
        """Send a newcomer what the channel begins with."""

    def publish(self, now: MarketNow) -> None:
        """Push what changed of book or ticker."""

    def on_trades(self, trades: Sequence[Print]) -> None:
        """Push trades."""

    def on_liquidations(self, liquidations: Sequence[Print]) -> None:
        """Push forced trades."""

    def lose(self) -> None:
        """Take note that the market is lost."""

    def show(self) -> Fields | None:
        """Return the book as it was last published, if the channel is one of books."""
        return None

    def close(self) -> None:
        """Drop what waits."""


class PublicMarket:
    """Drives the channels: books and tickers conflated to a period, trades at once, nothing unless ``LIVE``.

    Attributes:
        account: whose market it is.
        sessions: the public connections.
        faults: the script in force.
        text: how the venue writes prices and quantities.
        ticker: what is known of the market beside its book.
        past: the last trades, oldest first.
        seq: grows with every batch of market events.
    """

    def __init__(self, account: Account, sessions: Sessions, faults: Faults, text: LevelText) -> None:
        self.account = account
        self.sessions = sessions
        self.faults = faults
        self.text = text
        self.ticker = MarketTicker(account.config)
        self.past: deque[Print] = deque(maxlen=_PAST_TRADES)
        # Numbers go on above those of an earlier run, as they do at the venue.
        self.first_update_id = account.now_ms()
        self.seq = self.first_update_id * 1000
        self._channels: dict[str, Channel] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next_flush_s = 0.0

    def follow(self, session: Session, topic: str, make: Callable[[], Channel]) -> None:
        """Let a session follow a channel from now on; greets it."""
        if topic not in self._channels:
            self._channels[topic] = make()
        session.topics.add(topic)
        self._channels[topic].greet(session)

    def apply(self, batch: _core.EventBatch) -> None:
        """Publish market events that the displayed market has taken in already."""
        self.seq += 1
        trades = self._prints(batch.trades(), self.ticker.direction)
        self.past.extend(trades)
        self.ticker.apply(batch)
        if not self.is_live():
            for channel in self._channels.values():
                channel.lose()
            return
        followed = [channel for channel in self._channels.values() if channel.is_followed()]
        liquidations = self._prints(batch.liquidations(), lambda _: "") if followed else []
        for channel in followed:
            if trades:
                channel.on_trades(trades)
            if liquidations:
                channel.on_liquidations(liquidations)
        if followed:
            self._flush_in_time()

    def is_live(self) -> bool:
        """Return whether the market's book can be trusted."""
        book = self.account.market.book(1)
        return book is not None and book.state == "LIVE"

    def now(self) -> MarketNow | None:
        """Return the market as it is; ``None`` while it is not live."""
        book = self.account.market.book()
        if book is None or book.state != "LIVE":
            return None
        return MarketNow(
            Depth(self.text.side(book.bids.tolist()), self.text.side(book.asks.tolist())),
            self.seq,
            self.account.now_ms(),
            book.exchange_ts_ns // 1_000_000,
        )

    def published(self) -> Fields:
        """Return every book channel that has begun as it was last published, by topic."""
        shown = {topic: channel.show() for topic, channel in self._channels.items()}
        return {topic: book for topic, book in shown.items() if book is not None}

    def close(self) -> None:
        """Publish no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for channel in self._channels.values():
            channel.close()

    def _flush_in_time(self) -> None:
        """Flush now if the period since the last time is over, else when it is."""
        if self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() >= self._next_flush_s:
            self._flush()
        else:
            self._timer = loop.call_at(self._next_flush_s, self._flush)

    def _flush(self) -> None:
        self._timer = None
        period_s = self.account.config.book_push_ms / 1000
        self._next_flush_s = asyncio.get_running_loop().time() + period_s if period_s else 0.0
        now = self.now()
        if now is not None:
            for channel in self._channels.values():
                channel.publish(now)

    def _prints(self, rows: Sequence[_core.Trade], direction: Callable[[float], str]) -> list[Print]:
        """Return the prints of the listed symbol; one without an aggressor is none the venue would show."""
        config = self.account.config
        return [
            Print(
                one.id or str(one.exchange_ts_ns),
                self.text.price(one.price),
                self.text.qty(one.qty),
                one.side,
                one.exchange_ts_ns // 1_000_000,
                direction(one.price),
            )
            for one in rows
            if one.side is not None
            and (one.exchange, one.symbol) == (config.feed_exchange, config.feed_symbol)
        ]
