"""Tardis messages in and out of the core, as Python sees them."""

import gzip
import json
import re

import pytest

from mm_hybrid._core import DecodeError, EventBatch

LOCAL = "2024-08-08T23:54:15.088176Z"
TRADE = {
    "type": "trade",
    "symbol": "BTCUSDT",
    "exchange": "bybit",
    "id": "7",
    "price": 61800.3,
    "amount": 0.006,
    "side": "buy",
    "timestamp": "2024-08-08T23:54:16.322Z",
    "localTimestamp": LOCAL,
}
BOOK = {
    "type": "book_change",
    "symbol": "BTCUSDT",
    "exchange": "bybit",
    "isSnapshot": True,
    "bids": [{"price": 61800.1, "amount": 1}],
    "asks": [{"price": 61800.2, "amount": 2}],
    "timestamp": "2024-08-08T23:54:16.322Z",
    "localTimestamp": LOCAL,
}


def line(message: dict[str, object], **changes: object) -> bytes:
    changed = {k: v for k, v in {**message, **changes}.items() if v is not None}
    return json.dumps(changed, separators=(",", ":")).encode()


def test_messages_come_back_byte_for_byte_with_their_time_and_names():
    lines = [line(TRADE), line(BOOK)]
    (local_ts_ns, exchange, symbol, kind, message), second = EventBatch.decode(lines).encode()
    assert (local_ts_ns, exchange, symbol, kind) == (1723161255088176000, "bybit", "BTCUSDT", "trade")
    assert [message, second[4]] == lines


def test_every_line_of_the_real_files_comes_back_byte_for_byte(data_dir):
    # Three zeros that end a microsecond exchange time say nothing; they are the one thing not kept.
    zeros = re.compile(rb'("timestamp":"[^"]*\.\d{3})000Z"')
    for path in sorted(data_dir.glob("*.ndjson.gz")):
        lines = gzip.decompress(path.read_bytes()).splitlines()
        encoded = [row[4] for row in EventBatch.decode(lines).encode()]
        assert encoded == [zeros.sub(rb'\1Z"', text) for text in lines], path.name


def test_a_trade_has_exact_text_beside_its_floats():
    (trade,) = EventBatch.decode([line(TRADE, amount=1e-7)]).trades()
    assert (trade.price, trade.price_text, trade.qty, trade.qty_text) == (
        61800.3,
        "61800.3",
        1e-7,
        "0.0000001",
    )
    assert (trade.side, trade.id) == ("buy", "7")


def test_local_time_before_exchange_time_is_kept_as_it_is():
    (trade,) = EventBatch.decode([line(TRADE)]).trades()
    assert trade.local_ts_ns - trade.exchange_ts_ns == -1_233_824_000


def test_an_amount_of_seventeen_digits_is_rounded_to_eighteen_decimals():
    (trade,) = EventBatch.decode([line(TRADE, amount=0.0047677363856087895)]).trades()
    assert trade.qty == pytest.approx(0.0047677363856087895, rel=1e-15)


def test_an_unknown_taker_side_and_a_missing_id_are_none():
    (trade,) = EventBatch.decode([line(TRADE, side="unknown", id=None)]).trades()
    assert (trade.side, trade.id) == (None, None)


def test_a_disconnect_needs_neither_symbol_nor_exchange_time():
    batch = EventBatch.decode([line({"type": "disconnect", "exchange": "bybit", "localTimestamp": LOCAL})])
    assert [row[2:4] for row in batch.encode()] == [("", "disconnect")]


def test_types_and_keys_of_a_newer_server_are_passed_over():
    newer = [
        line({"type": "hologram"}),
        line({"type": "trade_bar", "name": "trade_bar_1m", "open": {"x": 1}}),
        line(TRADE, novelty={"deep": [1, None]}),
    ]
    assert len(EventBatch.decode(newer)) == 1


def of(kind, **fields):
    return line({"type": kind, "symbol": "BTCUSDT", "exchange": "bybit", "localTimestamp": LOCAL, **fields})


def test_every_type_a_maker_uses_comes_through_with_its_own_accessor():
    level = {"price": 1.5, "amount": 2}
    batch = EventBatch.decode(
        [
            of("book_ticker", bidPrice=1.5, bidAmount=2),
            of("derivative_ticker", fundingRate=-0.0001, fundingTimestamp="1970-01-01T00:00:01.000Z"),
            of("liquidation", price=1, amount=3, side="sell"),
            of("book_snapshot", name="quote", depth=1, interval=0, bids=[level], asks=[{}]),
            line({"type": "error", "exchange": "bybit", "details": "x", "localTimestamp": LOCAL}),
        ]
    )
    (ticker,) = batch.book_tickers()
    assert (ticker.bid_price, ticker.bid_qty, ticker.ask_price) == (1.5, 2, None)
    (derivative,) = batch.derivative_tickers()
    assert (derivative.funding_rate, derivative.funding_ts_ns, derivative.mark_price) == (
        -0.0001,
        10**9,
        None,
    )
    (forced,) = batch.liquidations()
    assert (forced.side, forced.price, forced.qty) == ("sell", 1, 3)
    (sample,) = batch.book_samples()
    assert (sample.name, sample.depth, sample.bids.tolist(), len(sample.asks)) == ("quote", 1, [[1.5, 2]], 0)
    assert [row[3] for row in batch.encode()] == [
        *("book_ticker", "derivative_ticker", "liquidation", "book_snapshot", "error")
    ]
    assert batch.trades() == []


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"message":"HttpError: status code: 401"}', "without `type`; it says"),
        (b'{"type":"tra', "EOF"),
        (b"[]", "no JSON object"),
        (line(TRADE, price=None), "trade without `price`"),
        (line(TRADE, localTimestamp=None), "without `localTimestamp`"),
        (line(TRADE, localTimestamp="yesterday"), "no ISO time"),
        (line(TRADE, amount=-1), "negative"),
        (line(TRADE, price="61800.3"), "no number"),
        (line(BOOK, isSnapshot=None), "without `isSnapshot`"),
        (line(BOOK, bids=[{"price": 1}]), "`bids`: missing field `amount`"),
    ],
)
def test_a_message_that_means_nothing_is_named_by_index_and_reason(bad, reason):
    with pytest.raises(DecodeError) as raised:
        EventBatch.decode([line(TRADE), bad])
    assert str(raised.value).startswith("message 1: ")
    assert reason in str(raised.value)
