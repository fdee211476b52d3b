"""The matching engine as Python sees it; its rules in full are tested beside the engine."""

import json

import pytest

from mm_hybrid._core import EventBatch, SimExchange

NOW_NS = 1_700_000_000_000_000_000
TIMES = {"timestamp": "2023-11-14T22:13:20.000Z", "localTimestamp": "2023-11-14T22:13:20.010Z"}
PRINT_NS = {"exchange": 1_700_000_000_000_000_000, "local": 1_700_000_000_010_000_000}
SNAPSHOT = {
    "type": "book_change",
    "isSnapshot": True,
    "bids": [{"price": 99.9, "amount": 3}, {"price": 100, "amount": 2}],
    "asks": [{"price": 100.1, "amount": 1}, {"price": 100.2, "amount": 4}],
}


def batch(*messages: dict[str, object]) -> EventBatch:
    common = {"exchange": "bybit", "symbol": "BTCUSDT", **TIMES}
    return EventBatch.decode([json.dumps(common | message).encode() for message in messages])


def trade(price: float, amount: float, side: str) -> dict[str, object]:
    return {"type": "trade", "id": f"{price}/{amount}", "price": price, "amount": amount, "side": side}


@pytest.fixture
def exchange() -> SimExchange:
    exchange = SimExchange(exchange="bybit", symbol="BTCUSDT", tick_size="0.1", lot_size="0.1")
    assert exchange.apply(batch(SNAPSHOT)) == []
    return exchange


def test_a_resting_order_fills_from_a_print_and_names_it(exchange: SimExchange) -> None:
    assert exchange.place("a", "buy", "100", "1", post_only=True, now_ns=NOW_NS) == ("open", [])
    assert exchange.qty_ahead("a") == "2"
    assert exchange.apply(batch(trade(100, 1.5, "sell"))) == []
    (fill,) = exchange.apply(batch(trade(100, 0.8, "sell")))
    assert (fill.order_id, fill.side, fill.price, fill.qty, fill.is_maker) == ("a", "buy", "100", "0.3", True)
    assert (fill.print_id, fill.print_price) == ("100/0.8", "100")
    assert (fill.exchange_ts_ns, fill.local_ts_ns) == (PRINT_NS["exchange"], PRINT_NS["local"])
    assert exchange.open_orders() == [("a", "buy", "100", "0.7")]


def test_the_fills_of_one_print_never_exceed_its_size(exchange: SimExchange) -> None:
    for number in range(3):
        exchange.place(f"o{number}", "sell", "100.1", "1", post_only=True, now_ns=NOW_NS)
    fills = exchange.apply(batch(trade(100.2, 1.5, "buy")))
    assert [(fill.order_id, fill.qty) for fill in fills] == [("o0", "1"), ("o1", "0.5")]


def test_a_market_order_takes_the_displayed_levels(exchange: SimExchange) -> None:
    status, fills = exchange.place("a", "buy", None, "2", post_only=False, now_ns=NOW_NS)
    assert status == "filled"
    assert [(fill.price, fill.qty, fill.is_maker, fill.print_id) for fill in fills] == [
        ("100.1", "1", False, None),
        ("100.2", "1", False, None),
    ]
    assert fills[0].exchange_ts_ns == NOW_NS
    assert exchange.best() == ("100", "100.1")


def test_post_only_and_immediate_orders_end_instead_of_crossing_or_resting(exchange: SimExchange) -> None:
    assert exchange.place("a", "sell", "100", "1", post_only=True, now_ns=NOW_NS) == ("canceled", [])
    status, fills = exchange.place("b", "sell", "100", "5", post_only=False, ioc=True, now_ns=NOW_NS)
    assert (status, [fill.qty for fill in fills]) == ("canceled", ["2"])
    assert exchange.open_orders() == []


def test_amend_and_cancel_speak_of_resting_orders_only(exchange: SimExchange) -> None:
    exchange.place("a", "buy", "100", "1", post_only=True, now_ns=NOW_NS)
    exchange.apply(batch(trade(100, 1.5, "sell")))
    assert exchange.amend("a", qty="0.5", now_ns=NOW_NS) == ("open", [])
    assert exchange.qty_ahead("a") == "0.5"
    assert exchange.amend("a", price="99.9", now_ns=NOW_NS) == ("open", [])
    assert exchange.qty_ahead("a") == "3"
    assert exchange.cancel("a")
    assert not exchange.cancel("a")
    assert exchange.amend("a", qty="1", now_ns=NOW_NS) == ("unknown", [])


def test_without_a_book_nothing_is_placed() -> None:
    exchange = SimExchange(exchange="bybit", symbol="BTCUSDT", tick_size="0.1", lot_size="0.1")
    assert exchange.place("a", "buy", "100", "1", post_only=True, now_ns=NOW_NS) == ("unsynced", [])
    assert (exchange.best(), exchange.mid(), exchange.is_synced()) == ((None, None), None, False)
    exchange.apply(batch(SNAPSHOT))
    assert exchange.is_synced()
    assert exchange.mid() == pytest.approx(100.05)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("b", "buy", "100.05", "1"), "price"),
        (("b", "buy", "100", "0.15"), "qty"),
        (("b", "buy", "100", "-1"), "qty"),
        (("b", "up", "100", "1"), "side"),
        (("a", "buy", "100", "1"), "order_id"),
        (("b", "buy", None, "1"), "post_only"),
    ],
)
def test_a_bad_order_raises_and_names_the_field(
    exchange: SimExchange, arguments: tuple[str, str, str | None, str], reason: str
) -> None:
    exchange.place("a", "buy", "99", "1", post_only=True, now_ns=NOW_NS)
    with pytest.raises(ValueError, match=reason):
        exchange.place(*arguments, post_only=True, now_ns=NOW_NS)


def test_a_grid_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="tick_size"):
        SimExchange(exchange="bybit", symbol="X", tick_size="abc", lot_size="1")
