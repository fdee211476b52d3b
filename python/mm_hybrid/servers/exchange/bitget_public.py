"""Bitget public streams: v2, and v3 of the unified account.

Source: Bitget v2 and UTA (v3) API documentation, pages WebSocket, Depth, Trade and Ticker channels. Recorded snapshots
of books have checksum 0, which means none. Pings are the plain text ``ping``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from aiohttp import web

from mm_hybrid.servers.exchange import bitget_messages as messages
from mm_hybrid.servers.exchange import bitget_spot_messages as spot_messages
from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.bitget_protocol import parse_request
from mm_hybrid.servers.exchange.faults import Faults
from mm_hybrid.servers.exchange.public_book import LevelText, checksum
from mm_hybrid.servers.exchange.public_channels import (
    BookChannel,
    BookMessage,
    TickerChannel,
    TradeChannel,
    compact,
    level_rows,
)
from mm_hybrid.servers.exchange.public_market import Channel, Print, PublicMarket
from mm_hybrid.servers.exchange.public_ticker import plain
from mm_hybrid.servers.exchange.streams import Session, Sessions
from mm_hybrid.servers.exchange.wire import Fields, rounded, text

Version = Literal["v2", "v3"]

_BOOKS: dict[Version, dict[str, int | None]] = {
    "v2": {"books": None, "books1": 1, "books5": 5, "books15": 15},
    "v3": {"books": None, "books1": 1, "books5": 5, "books50": 50},
}
_TRADES: dict[Version, str] = {"v2": "trade", "v3": "publicTrade"}
_KEYS: dict[Version, tuple[str, str, str]] = {
    "v2": ("instType", "channel", "instId"),
    "v3": ("instType", "topic", "symbol"),
}
_UNKNOWN, _BAD_OP = 30001, 30003


class BitgetPublic:
    """Subscriptions and messages of ``/v2/ws/public`` and ``/v3/ws/public``."""

    def __init__(self, account: Account, faults: Faults) -> None:
        self._account = account
        self.sessions = Sessions("public_ws", lambda: account.ids.take("connection"), faults, is_public=True)
        # Prices have the decimals of the grid, quantities those they need.
        self.market = PublicMarket(account, self.sessions, faults, LevelText(account.config.tick_decimals, 0))

    def routes(self) -> list[web.RouteDef]:
        """Return one path for each version."""
        return [
            web.get("/v2/ws/public", self.sessions.handler(partial(self._receive, "v2"))),
            web.get("/v3/ws/public", self.sessions.handler(partial(self._receive, "v3"))),
        ]

    async def close(self) -> None:
        """Close every connection."""
        self.market.close()
        await self.sessions.close()

    def _receive(self, version: Version, session: Session, frame: str) -> None:
        if frame == "ping":
            session.send("pong")
            return
        op, wanted = parse_request(frame)
        if op not in ("subscribe", "unsubscribe") or not wanted:
            session.send(compact({"event": "error", "code": _BAD_OP, "msg": f"invalid op {op}"}))
            return
        for arg in wanted:
            self._follow(version, session, op, {key: text(arg, key) for key in _KEYS[version]})

    def _follow(self, version: Version, session: Session, op: str, arg: Fields) -> None:
        topic = f"{version}/{'/'.join(str(value) for value in arg.values())}"
        make = self._maker(version, topic, arg)
        if make is None:
            unknown = ",".join(f"{key}:{value}" for key, value in arg.items())
            session.send(compact({"event": "error", "code": _UNKNOWN, "msg": f"{unknown} doesn't exist"}))
            return
        session.send(compact({"event": op, "arg": arg}))
        if op == "subscribe":
            self.market.follow(session, topic, make)
        else:
            session.topics.discard(topic)

    def _maker(self, version: Version, topic: str, arg: Fields) -> Callable[[], Channel] | None:
        """Return what makes a channel; ``None`` for one that does not exist."""
        inst_type, channel, symbol = (str(value) for value in arg.values())
        category = self._category(version, inst_type)
        if not category or symbol != self._account.config.symbol:
            return None
        if channel in _BOOKS[version]:
            return partial(
                BookChannel,
                topic,
                self.market,
                _BOOKS[version][channel],
                partial(_book_text, version, arg, has_checksum=channel == "books"),
                is_snapshots_only=channel != "books",
            )
        if channel == _TRADES[version]:
            write = partial(_trades_text, version, arg)
            return partial(TradeChannel, topic, self.market, write, begins_with_past=True)
        if channel == "ticker":
            row = self._ticker_v2 if version == "v2" else self._ticker_v3
            write_ticker = partial(self._ticker_text, version, arg)
            return partial(
                TickerChannel, topic, self.market, partial(row, category), write_ticker, is_partial=False
            )
        return None

    def _category(self, version: Version, inst_type: str) -> str:
        """Return ``linear`` or ``spot``; nothing for a product that is not listed."""
        linear, spot = messages.PRODUCT, spot_messages.INST_TYPE
        if version == "v3":
            linear, spot = linear.lower(), spot.lower()
        if inst_type == linear:
            return "linear"
        return "spot" if inst_type == spot and self._account.spot is not None else ""

    # Tickers

    def _ticker_v2(self, category: str) -> Fields:
        known, spot = self.market.ticker, self._account.spot
        is_spot = category == "spot" and spot is not None
        page = spot_messages.ticker(spot) if is_spot and spot is not None else messages.ticker(self._account)
        row: Fields = {"instId": page.pop("symbol"), **page}
        # Time is that of the message: a ticker is pushed when anything else has changed.
        del row["ts"]
        day = self._account.market.prints.last_day()
        if day is not None:
            row |= {
                "open24h": rounded(day.open),
                "high24h": rounded(day.high),
                "low24h": rounded(day.low),
                "change24h": rounded(day.change, 5),
                "baseVolume": rounded(day.volume),
                "quoteVolume": rounded(day.turnover),
            }
        if is_spot:
            return row
        row |= {"symbolType": "1", "symbol": self._account.config.symbol, "deliveryPrice": "0"}
        if known.derivative is not None:
            rate, due_ms = known.funding()
            found = {
                "fundingRate": rate,
                "nextFundingTime": due_ms,
                "markPrice": plain(known.derivative.mark_price),
                "indexPrice": plain(known.derivative.index_price),
                "holdingAmount": plain(known.derivative.open_interest),
            }
            row |= {key: value for key, value in found.items() if value}
        return row

    def _ticker_v3(self, category: str) -> Fields:
        row = self._ticker_v2(category)
        return {new: row[old] for old, new in _TICKER_V3.items() if old in row}

    def _ticker_text(self, version: Version, arg: Fields, row: Fields, _: bool, __: int) -> str:
        now_ms = self._account.now_ms()
        stamped = row | {"ts": str(now_ms)} if version == "v2" else row
        return _message("snapshot", arg, [stamped], now_ms)


_TICKER_V3 = {
    "high24h": "highPrice24h",
    "low24h": "lowPrice24h",
    "open24h": "openPrice24h",
    "lastPr": "lastPrice",
    "quoteVolume": "turnover24h",
    "baseVolume": "volume24h",
    "bidPr": "bid1Price",
    "askPr": "ask1Price",
    "bidSz": "bid1Size",
    "askSz": "ask1Size",
    "change24h": "price24hPcnt",
    "indexPrice": "indexPrice",
    "markPrice": "markPrice",
    "fundingRate": "fundingRate",
    "holdingAmount": "openInterest",
    "nextFundingTime": "nextFundingTime",
}
"""Names of the v3 ticker by those of v2."""


def _message(action: str, arg: Fields, rows: list[Fields], ts_ms: int) -> str:
    return compact({"action": action, "arg": arg, "data": rows, "ts": ts_ms})


def _book_text(version: Version, arg: Fields, message: BookMessage, *, has_checksum: bool) -> str:
    has_checksum = has_checksum and not message.is_snapshot
    bids, asks = level_rows(message.levels.bids), level_rows(message.levels.asks)
    total = checksum(message.book) if has_checksum else 0
    row: Fields = {"asks": asks, "bids": bids} if version == "v2" else {"a": asks, "b": bids}
    # A checksum that differs in its lowest bit still fits 32 bits.
    row |= {"checksum": total ^ 1 if message.is_checksum_bad else total, "seq": message.seq}
    if version == "v3":
        row["pseq"] = message.previous_seq
    row["ts"] = str(message.market_ms)
    return _message("snapshot" if message.is_snapshot else "update", arg, [row], message.ts_ms)


def _trades_text(version: Version, arg: Fields, trades: Sequence[Print], is_past: bool, ts_ms: int) -> str:
    """Return a message of trades, the newest first."""
    rows: list[Fields] = [
        {
            "ts": str(one.ts_ms),
            "price": one.price,
            "size": one.qty,
            "side": one.side,
            "tradeId": one.trade_id,
        }
        if version == "v2"
        else {"i": one.trade_id, "p": one.price, "v": one.qty, "S": one.side, "T": str(one.ts_ms)}
        for one in reversed(trades)
    ]
    return _message("snapshot" if is_past else "update", arg, rows, ts_ms)
