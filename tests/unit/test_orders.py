"""The life of an order: news in any order, fills in any state, nothing twice."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_hybrid.execution import wire
from mm_hybrid.execution.orders import ENDED_KEPT, TERMINAL, OrderRecord, Orders, OrderState, VenueOrder
from mm_hybrid.types import Fill

D = Decimal


def a_record(**facts: object) -> OrderRecord:
    base = {"client_id": "mm-1-1", "side": "buy", "price": D(100), "qty": D(10), "since_ns": 0}
    return OrderRecord(**(base | {"state": OrderState.SENT} | facts))


def seen(status: str = "open", **facts: object) -> VenueOrder:
    base = {
        "client_id": "mm-1-1",
        "order_id": "o1",
        "side": "buy",
        "price": D(100),
        "qty": D(10),
        "filled": D(0),
    }
    return VenueOrder(**(base | {"status": status} | facts))


def a_fill(exec_id: str, qty: object, **facts: object) -> Fill:
    base = {
        "exec_id": exec_id,
        "client_id": "mm-1-1",
        "order_id": "o1",
        "side": "buy",
        "price": D(100),
        "qty": D(str(qty)),
        "fee": D(0),
        "fee_quote": D(0),
        "fee_currency": "USDT",
        "is_maker": True,
        "exchange_ts_ns": 0,
        "local_ts_ns": 0,
    }
    return Fill(**(base | facts))


@pytest.fixture
def orders() -> Orders:
    orders = Orders()
    orders.add(a_record())
    return orders


def only(orders: Orders) -> OrderRecord:
    record = orders.find(client_id="mm-1-1", order_id="")
    assert record is not None
    return record


def test_a_push_ahead_of_the_acknowledgement_opens_the_order(orders):
    orders.apply_venue(seen(), 1)
    assert (only(orders).state, only(orders).order_id) == (OrderState.OPEN, "o1")


def test_a_client_id_is_never_used_twice(orders):
    with pytest.raises(ValueError, match="is taken"):
        orders.add(a_record())


def test_an_execution_counts_once_however_often_it_is_told(orders):
    assert orders.apply_fill(a_fill("x1", 3), 1)
    assert not orders.apply_fill(a_fill("x1", 3), 2)
    assert only(orders).filled == 3


def test_a_fill_after_the_cancel_is_accepted_and_the_order_stays_cancelled(orders):
    orders.apply_venue(seen("canceled", filled=D(4)), 1)
    assert only(orders).remaining == 4, "the venue says 4 have filled: they still may arrive"
    assert orders.apply_fill(a_fill("x1", 4), 2)
    assert (only(orders).state, only(orders).filled, only(orders).remaining) == (OrderState.CANCELED, 4, 0)


def test_an_order_said_to_be_filled_is_exposure_until_its_executions_are_here(orders):
    orders.apply_venue(seen("filled", filled=D(10)), 1)
    assert [order.remaining for order in orders.exposed()] == [10]
    assert list(orders.unaccounted()) == [only(orders)]
    orders.apply_fill(a_fill("x1", 10), 2)
    assert orders.exposed() == ()


def test_partly_filled_then_cancelled_is_not_filled(orders):
    orders.apply_fill(a_fill("x1", 3), 1)
    orders.apply_venue(seen("canceled", filled=D(3)), 2)
    assert (only(orders).state, only(orders).remaining) == (OrderState.CANCELED, 0)


def test_older_news_does_not_undo_newer(orders):
    orders.apply_venue(seen(price=D(101), update_ms=20), 1)
    orders.apply_venue(seen(price=D(100), update_ms=10), 2)
    assert only(orders).price == 101


def test_an_ended_order_does_not_open_again_but_a_lost_one_may_be_found(orders):
    orders.apply_venue(seen("canceled"), 1)
    orders.apply_venue(seen("open"), 2)
    assert only(orders).state is OrderState.CANCELED

    lost = Orders()
    lost.add(a_record(state=OrderState.PENDING_UNKNOWN))
    lost.move(only(lost), OrderState.NOT_PLACED, 1)
    lost.apply_venue(seen("open"), 2)
    assert only(lost).state is OrderState.OPEN


@pytest.mark.parametrize("given_up", [OrderState.NOT_PLACED, OrderState.REJECTED])
@pytest.mark.parametrize("status", ["open", "filled", "canceled"])
def test_an_order_given_up_on_is_what_the_venue_says_once_it_shows_up(given_up, status):
    orders = Orders()
    orders.add(a_record(state=OrderState.PENDING_UNKNOWN))
    orders.move(only(orders), given_up, 1)
    assert orders.exposed() == ()
    orders.apply_venue(seen(status, filled=D(10) if status == "filled" else D(0)), 2)
    assert str(only(orders).state).lower() == status
    assert orders.live() if status == "open" else not list(orders.live())


def test_an_execution_taken_for_nobodys_is_the_orders_once_its_id_is_known(orders):
    orders.apply_fill(a_fill("x1", 4, client_id="", order_id="o9"), 1)
    record = a_record(client_id="mm-1-9", state=OrderState.NOT_PLACED)
    orders.add(record)
    orders.apply_venue(seen("filled", client_id="mm-1-9", order_id="o9", filled=D(4), qty=D(4)), 2)
    assert (record.filled, record.remaining) == (D(4), D(0)), "nothing is owed"


def test_looking_at_live_orders_costs_nothing_for_those_that_ended(orders):
    for i in range(2, ENDED_KEPT + 100):
        record = a_record(client_id=f"mm-1-{i}")
        orders.add(record)
        orders.apply_venue(seen("canceled", client_id=record.client_id, order_id=f"o{i}"), i)
    assert [record.client_id for record in orders.live()] == ["mm-1-1"]
    assert orders.find(client_id="mm-1-2", order_id="o2") is None, "the oldest are forgotten"
    assert orders.find(client_id="", order_id=f"o{ENDED_KEPT}") is not None
    with pytest.raises(ValueError, match="is taken"):
        orders.add(a_record(client_id=f"mm-1-{ENDED_KEPT}"))


def test_an_unknown_order_counts_as_live_in_full():
    orders = Orders()
    orders.add(a_record(state=OrderState.PENDING_UNKNOWN))
    assert [order.remaining for order in orders.exposed()] == [10]


def test_an_amend_under_way_counts_at_its_larger_quantity(orders):
    orders.apply_venue(seen(), 1)
    record = only(orders)
    orders.move(record, OrderState.PENDING_AMEND, 2)
    record.amend_price, record.amend_qty = D(99), D(15)
    assert record.remaining == 15
    orders.apply_venue(seen(), 3)
    assert record.state is OrderState.PENDING_AMEND, "the old price again says nothing about the amend"
    orders.apply_venue(seen(price=D(99), qty=D(15)), 4)
    assert (record.state, record.price, record.qty) == (OrderState.OPEN, 99, 15)


def test_an_open_push_does_not_hide_that_a_cancel_is_under_way(orders):
    orders.apply_venue(seen(), 1)
    orders.move(only(orders), OrderState.PENDING_CANCEL, 2)
    orders.apply_venue(seen(filled=D(2)), 3)
    assert only(orders).state is OrderState.PENDING_CANCEL


NEWS = st.one_of(
    st.builds(lambda i: ("fill", a_fill(f"x{i}", 2)), st.integers(0, 4)),
    st.builds(
        lambda status, ms, filled: ("push", seen(status, update_ms=ms, filled=D(filled))),
        st.sampled_from(["open", "filled", "canceled", "rejected"]),
        st.integers(0, 5),
        st.integers(0, 10),
    ),
)


@given(st.lists(NEWS, max_size=30))
def test_whatever_arrives_in_whatever_order_each_execution_counts_once(news):
    orders = Orders()
    orders.add(a_record())
    record = only(orders)
    told, ended = set(), False
    for i, (kind, item) in enumerate(news):
        if kind == "fill":
            orders.apply_fill(item, i)
            told.add(item.exec_id)
        else:
            orders.apply_venue(item, i)
        assert record.filled == 2 * len(told)
        assert record.remaining >= 0
        assert not (ended and record.live), "an ended order is live again"
        ended = record.state in TERMINAL


def test_orders_and_executions_are_read_exactly_from_the_venues_text():
    order = wire.parse_order(
        "bitget",
        {
            "orderId": "1",
            "clientOid": "mm-1-1",
            "side": "buy",
            "price": "60000.10",
            "size": "1",
            "status": "live",
            "baseVolume": "0.1",
            "accBaseVolume": "0.3",
            "uTime": "5",
        },
    )
    assert (order.filled, str(order.price)) == (D("0.3"), "60000.10"), "the sum, not the latest fill"
    assert (
        wire.parse_order(
            "bitget",
            {
                "orderId": "1",
                "side": "buy",
                "price": "1",
                "size": "1",
                "state": "filled",
                "baseVolume": "1",
                "uTime": "",
            },
        ).filled
        == 1
    )


def at_par(fee, currency, price):
    return {"USDT": fee, "BTC": fee * price}.get(currency, fee * D("0.5"))


@pytest.mark.parametrize(("fee", "cash"), [("0.0123", "-0.0123"), ("-0.005", "0.005")])
def test_a_bybit_fee_is_a_cost_and_becomes_negative_cash(fee, cash):
    raw = {
        "execId": "x",
        "orderId": "o",
        "orderLinkId": "c",
        "side": "Sell",
        "execPrice": "1",
        "execQty": "2",
        "execFee": fee,
        "feeCurrency": "USDT",
        "isMaker": True,
        "execTime": "7",
    }
    fill = wire.parse_fill("bybit", raw, 0, at_par)
    assert (fill.fee, fill.fee_quote) == (D(cash), D(cash))


@pytest.mark.parametrize("fee", ["-0.0123", "0.005"])
def test_a_bitget_fee_is_signed_cash_already(fee):
    raw = {
        "tradeId": "x",
        "orderId": "o",
        "side": "sell",
        "price": "1",
        "baseVolume": "2",
        "tradeScope": "maker",
        "feeDetail": [{"feeCoin": "USDT", "totalFee": fee, "deduction": "no"}],
        "cTime": "7",
    }
    fill = wire.parse_fill("bitget", raw, 0, at_par)
    assert (fill.fee_quote, fill.is_maker, fill.client_id) == (D(fee), True, "")


def test_a_partly_filled_cancel_at_bybit_is_a_cancel():
    raw = {
        "orderId": "o",
        "orderLinkId": "c",
        "side": "Buy",
        "price": "1",
        "qty": "2",
        "cumExecQty": "1",
        "orderStatus": "PartiallyFilledCanceled",
        "rejectReason": "EC_PerCancelRequest",
    }
    assert wire.parse_order("bybit", raw).status == "canceled"


def test_url_overrides_keep_paths_and_stay_on_this_machine():
    urls = {"public": "https://api.{hostname}", "ws": {"trade": "wss://stream.bybit.com/v5/trade"}}
    rewritten = wire.rewrite_urls(urls, "http://127.0.0.1:8080")
    assert rewritten == {"public": "http://127.0.0.1:8080", "ws": {"trade": "ws://127.0.0.1:8080/v5/trade"}}
    wire.require_loopback(rewritten)
    for host in ("10.0.0.1", "example.com", "127.0.0.1.example.com"):
        with pytest.raises(wire.GatewayError, match="not on this machine"):
            wire.require_loopback({"a": {"b": f"http://{host}/x"}})
