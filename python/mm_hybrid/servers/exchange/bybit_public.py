"""Bybit v5 public streams.

Source: Bybit v5 API documentation, pages WebSocket Connect, Orderbook, Trade, Ticker and All Liquidation; the
sequence of keys is that of recorded messages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from aiohttp import web

from mm_hybrid import _core
from mm_hybrid.servers.exchange import bybit_messages as messages
from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.faults import Faults
from mm_hybrid.servers.exchange.public_book import LevelText
from mm_hybrid.servers.exchange.public_channels import (
    BookChannel,
    BookMessage,
    LiquidationChannel,
    TickerChannel,
    TradeChannel,
    compact,
    level_rows,
)
from mm_hybrid.servers.exchange.public_market import Channel, Print, PublicMarket
from mm_hybrid.servers.exchange.public_ticker import plain
from mm_hybrid.servers.exchange.streams import Session, Sessions
from mm_hybrid.servers.exchange.wire import Fields, parse_object, rounded, text

_DEPTHS = (1, 50, 200)
_MOST_ARGS = 10
_REPEAT_S = 3.0


class BybitPublic:
    """Subscriptions and messages of ``/v5/public/linear`` and, where spot is listed, ``/v5/public/spot``."""

    def __init__(self, account: Account, faults: Faults) -> None:
        self._account = account
        self.sessions = Sessions("public_ws", lambda: account.ids.take("connection"), faults, is_public=True)
        config = account.config
        levels = LevelText(config.tick_decimals, config.lot_decimals)
        self.market = PublicMarket(account, self.sessions, faults, levels)

    def routes(self) -> list[web.RouteDef]:
        """Return one path for each category."""
        categories = ("linear",) if self._account.spot is None else ("linear", "spot")
        return [
            web.get(f"/v5/public/{category}", self.sessions.handler(partial(self._receive, category)))
            for category in categories
        ]

    async def close(self) -> None:
        """Close every connection."""
        self.market.close()
        await self.sessions.close()

    def _receive(self, category: str, session: Session, frame: str) -> None:
        message = parse_object(frame) or {}
        op = text(message, "op")
        problem, wanted = "", list[str]()
        if op in ("subscribe", "unsubscribe"):
            problem, wanted = self._check(category, session, op, message.get("args"))
        elif op != "ping":
            problem = f"error:invalid op {op}"
        reply: Fields = {
            "success": not problem,
            "ret_msg": problem or ("pong" if op == "ping" else ""),
            "conn_id": session.connection_id,
        }
        if "req_id" in message:
            reply["req_id"] = message["req_id"]
        session.send(compact(reply | {"op": op}))
        for topic in wanted:
            if op == "unsubscribe":
                session.topics.discard(_key(category, topic))
            else:
                self._follow(category, session, topic)

    def _check(self, category: str, session: Session, op: str, args: object) -> tuple[str, list[str]]:
        """Return what is wrong with a request, or nothing and its topics."""
        wanted = [str(topic) for topic in args] if isinstance(args, list) else []
        if not wanted:
            return "error:args is empty", []
        if len(wanted) > _MOST_ARGS:
            return f"args size >{_MOST_ARGS}", []
        unknown = [topic for topic in wanted if self._maker(category, topic) is None]
        if unknown:
            return f"Invalid topic: {','.join(unknown)}", []
        known = [topic for topic in wanted if _key(category, topic) in session.topics]
        if op == "subscribe" and known:
            return f"error:already subscribed,topic:{','.join(known)}", []
        return "", wanted

    def _follow(self, category: str, session: Session, topic: str) -> None:
        make = self._maker(category, topic)
        if make is not None:
            self.market.follow(session, _key(category, topic), make)

    def _maker(self, category: str, topic: str) -> Callable[[], Channel] | None:
        """Return what makes a topic's channel; ``None`` for a topic that does not exist."""
        symbol, market, key = self._account.config.symbol, self.market, _key(category, topic)
        for depth in _DEPTHS:
            if topic == f"orderbook.{depth}.{symbol}":
                return partial(self._book, key, topic, depth)
        if topic == f"publicTrade.{symbol}":
            write = partial(_trades_text, topic, symbol)
            return partial(TradeChannel, key, market, write, begins_with_past=False)
        if topic == f"tickers.{symbol}":
            row, is_linear = partial(self._ticker, category), category == "linear"
            return partial(
                TickerChannel, key, market, row, partial(self._ticker_text, topic), is_partial=is_linear
            )
        if topic == f"allLiquidation.{symbol}" and category == "linear":
            return partial(LiquidationChannel, key, market, partial(_liquidations_text, topic, symbol))
        return None

    def _book(self, key: str, topic: str, depth: int) -> Channel:
        is_touch = depth == 1
        return BookChannel(
            key,
            self.market,
            depth,
            partial(_book_text, topic, self._account.config.symbol),
            is_snapshots_only=is_touch,
            repeat_s=_REPEAT_S if is_touch else None,
        )

    def _ticker(self, category: str) -> Fields:
        """Return the ticker of the REST page with what the stream tells beside; nothing that is not known."""
        row, known = messages.ticker(self._account, category), self.market.ticker
        day = self._account.market.prints.last_day()
        if day is not None:
            row |= {
                "price24hPcnt": rounded(day.change, 6),
                "prevPrice24h": rounded(day.open),
                "highPrice24h": rounded(day.high),
                "lowPrice24h": rounded(day.low),
                "turnover24h": rounded(day.turnover),
                "volume24h": rounded(day.volume),
            }
        if category == "linear":
            row["tickDirection"] = known.last_direction
            row["fundingRate"], row["nextFundingTime"] = known.funding()
            if known.derivative is not None:
                row |= _derivative_row(known.derivative)
            del row["deliveryTime"]
        return {key: value for key, value in row.items() if value != ""}

    def _ticker_text(self, topic: str, row: Fields, is_snapshot: bool, seq: int) -> str:
        return compact(
            {
                "topic": topic,
                "type": "snapshot" if is_snapshot else "delta",
                "data": {"symbol": self._account.config.symbol} | row,
                "cs": seq,
                "ts": self._account.now_ms(),
            }
        )


def _derivative_row(ticker: _core.DerivativeTicker) -> Fields:
    prices = {
        "markPrice": plain(ticker.mark_price),
        "indexPrice": plain(ticker.index_price),
        "openInterest": plain(ticker.open_interest),
    }
    return {key: value for key, value in prices.items() if value}


def _key(category: str, topic: str) -> str:
    return f"{category}/{topic}"


def _book_text(topic: str, symbol: str, message: BookMessage) -> str:
    return compact(
        {
            "topic": topic,
            "type": "snapshot" if message.is_snapshot else "delta",
            "ts": message.ts_ms,
            "data": {
                "s": symbol,
                "b": level_rows(message.levels.bids),
                "a": level_rows(message.levels.asks),
                "u": message.update_id,
                "seq": message.seq,
            },
            "cts": message.market_ms,
        }
    )


def _trades_text(topic: str, symbol: str, trades: Sequence[Print], _: bool, ts_ms: int) -> str:
    rows = [
        {
            "T": one.ts_ms,
            "s": symbol,
            "S": one.side.capitalize(),
            "v": one.qty,
            "p": one.price,
            "L": one.direction,
            "i": one.trade_id,
            "BT": False,
        }
        for one in trades
    ]
    return compact({"topic": topic, "type": "snapshot", "ts": ts_ms, "data": rows})


def _liquidations_text(topic: str, symbol: str, liquidations: Sequence[Print], ts_ms: int) -> str:
    """Return a message of liquidations; ``Buy`` is a long that was liquidated, which the market sold."""
    rows = [
        {
            "T": one.ts_ms,
            "s": symbol,
            "S": "Buy" if one.side == "sell" else "Sell",
            "v": one.qty,
            "p": one.price,
        }
        for one in liquidations
    ]
    return compact({"topic": topic, "type": "snapshot", "ts": ts_ms, "data": rows})
