"""The venues' own messages, read exactly."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from markets import INSTRUMENT
from mm_hybrid.execution import wire
from mm_hybrid.execution.fees import FeePrices
from mm_hybrid.execution.paging import all_pages, all_spans, next_mark

D = Decimal


prices = FeePrices("bybit", INSTRUMENT)
prices.learn(D("0.8"))
par = prices.worth


BYBIT_EXECUTION = {
    "execId": "x", "orderId": "o", "orderLinkId": "", "side": "Sell", "execPrice": "60000", "execQty": "0.01",
    "execFee": "0.25", "feeCurrency": "MNT", "isMaker": True, "execTime": "7", "execType": "Trade",
}  # fmt: skip


def test_a_fee_in_a_third_token_keeps_its_currency_and_is_valued_at_that_token_s_price():
    fill = wire.parse_fill("bybit", BYBIT_EXECUTION, 0, par)
    assert (fill.fee, fill.fee_currency, fill.fee_quote) == (D("-0.25"), "MNT", D("-0.200"))


def test_a_fee_in_a_token_without_a_price_counts_as_nothing_in_quote_and_is_not_lost():
    fill = wire.parse_fill("bybit", BYBIT_EXECUTION | {"feeCurrency": "XYZ"}, 0, par)
    assert (fill.fee, fill.fee_currency, fill.fee_quote) == (D("-0.25"), "XYZ", 0)


def test_the_venue_s_own_coin_counts_once_its_price_is_known():
    unlearned = FeePrices("bitget", INSTRUMENT)
    assert [unlearned.knows(coin) for coin in ("USDT", "BTC", "BGB", "MNT")] == [True, True, False, False]
    assert unlearned.worth(D(1), "BGB", D(60000)) == 0
    unlearned.learn(D(4))
    assert unlearned.worth(D("-0.5"), "BGB", D(60000)) == -2
    assert unlearned.worth(D("-0.001"), "BTC", D(60000)) == -60


def test_a_fee_paid_in_two_coins_counts_whole_and_names_the_one_without_a_price():
    execution = {
        "tradeId": "x", "orderId": "o", "side": "sell", "price": "60000", "baseVolume": "0.01", "tradeScope": "maker",
        "cTime": "7", "feeDetail": [{"feeCoin": "USDT", "totalFee": "-0.1"}, {"feeCoin": "BGB", "totalFee": "-0.05"}],
    }  # fmt: skip
    bitget = FeePrices("bitget", INSTRUMENT)
    fill = wire.parse_fill("bitget", execution, 0, bitget.worth)
    assert (fill.fee, fill.fee_currency, fill.fee_quote) == (D("-0.05"), "BGB", D("-0.1"))
    bitget.learn(D(4))
    fill = wire.parse_fill("bitget", execution, 0, bitget.worth)
    assert (fill.fee, fill.fee_currency, fill.fee_quote) == (D("-0.05"), "BGB", D("-0.3"))


def test_an_empty_fee_currency_of_a_linear_contract_is_its_quote():
    fill = wire.parse_fill("bybit", BYBIT_EXECUTION | {"feeCurrency": ""}, 0, par)
    assert (fill.fee_currency, fill.fee_quote) == ("USDT", D("-0.25"))


@pytest.mark.parametrize(
    ("kind", "meaning"),
    [("Trade", "trade"), ("AdlTrade", "adl"), ("BustTrade", "liquidation"), ("Settle", "settlement")],
)
def test_bybit_tells_who_made_the_account_trade(kind, meaning):
    assert wire.parse_fill("bybit", BYBIT_EXECUTION | {"execType": kind}, 0, par).exec_type == meaning


@pytest.mark.parametrize(
    ("side", "meaning"),
    [("open", "trade"), ("reduce_close_long", "adl"), ("burst_sell_single", "liquidation"), (None, "trade")],
)
def test_bitget_tells_it_by_the_first_word_of_the_trade_side(side, meaning):
    raw = {
        "tradeId": "x", "orderId": "o", "side": "sell", "price": "1", "baseVolume": "2", "tradeScope": "taker",
        "feeDetail": [{"feeCoin": "USDT", "totalFee": "-1"}], "cTime": "7", "tradeSide": side,
    }  # fmt: skip
    assert wire.parse_fill("bitget", raw, 0, par).exec_type == meaning


def test_funding_paid_is_negative_cash_on_both_venues():
    paid = {"execId": "f", "execType": "Funding", "execFee": "0.5", "execTime": "7"}
    assert wire.is_funding("bybit", paid)
    assert wire.parse_funding("bybit", paid).amount_quote == D("-0.5")
    bill = {"billId": "1", "amount": "-0.5", "cTime": "7"}
    assert wire.parse_funding("bitget", bill).amount_quote == D("-0.5")


def test_each_leg_of_a_bybit_batch_has_its_own_outcome():
    reply = {
        "retCode": 0,
        "result": {"list": [{"orderId": "1", "orderLinkId": "a"}, {"orderId": "", "orderLinkId": "b"}]},
        "retExtInfo": {"list": [{"code": 0, "msg": "OK"}, {"code": 110007, "msg": "not enough"}]},
    }
    legs = wire.batch_legs("bybit", json.dumps(reply))
    assert legs["a"].order_id == "1"
    assert (legs["b"].order_id, legs["b"].code) == ("", "110007")


def test_a_refused_leg_of_a_bitget_batch_which_ccxt_drops_is_read_from_the_reply():
    reply = {
        "code": "00000",
        "data": {
            "successList": [{"orderId": "1", "clientOid": "a"}],
            "failureList": [{"orderId": "", "clientOid": "b", "errorCode": "40762", "errorMsg": "no"}],
        },
    }
    legs = wire.batch_legs("bitget", json.dumps(reply))
    assert legs["a"].order_id == "1"
    assert (legs["b"].order_id, legs["b"].code) == ("", "40762")


@pytest.mark.parametrize("venue", ["bybit", "bitget"])
@pytest.mark.parametrize(
    "reply", ["", "null", "[]", "{", '{"retCode":0,"result":{"list":[', "<html></html>", "{}"]
)
def test_a_spoiled_reply_is_no_answer(venue, reply):
    assert not wire.is_answer(venue, reply)
    assert wire.batch_legs(venue, reply) == {}


def test_a_whole_reply_is_an_answer():
    assert wire.is_answer("bybit", '{"retCode":0,"retMsg":"OK","result":{"list":[]}}')
    assert wire.is_answer("bitget", '{"code":"00000","msg":"success","data":null}')
    assert not wire.is_answer("bybit", '{"retCode":10006,"result":{}}')


def test_margin_leverage_and_mode_are_read_where_the_venue_tells_them():
    positions = [{"positionIdx": 0, "leverage": "10", "size": "0"}]
    wallet = {"result": {"list": [{"totalAvailableBalance": "12.5", "coin": []}]}}
    facts = wire.bybit_account(positions, wallet, "USDT")
    assert facts == {"available_quote": D("12.5"), "leverage": D(10), "hedge_mode": False}
    isolated = {
        "result": {"list": [{"totalAvailableBalance": "", "coin": [{"coin": "USDT", "walletBalance": "3"}]}]}
    }
    assert wire.bybit_account(positions, isolated, "USDT")["available_quote"] == D(3)
    hedged = [
        {"positionIdx": 1, "leverage": "10", "size": "0"},
        {"positionIdx": 2, "leverage": "10", "size": "0"},
    ]
    assert wire.bybit_account(hedged, wallet, "USDT")["hedge_mode"]

    single = {"data": {"crossedMaxAvailable": "7", "crossedMarginLeverage": 20, "posMode": "one_way_mode"}}
    assert wire.bitget_account(single, "USDT") == {
        "available_quote": D(7), "leverage": D(20), "hedge_mode": False,
    }  # fmt: skip
    listed = {"data": [{"marginCoin": "USDC", "available": "1"}, {"marginCoin": "USDT", "available": "2"}]}
    assert wire.bitget_account(listed, "USDT")["available_quote"] == D(2)


def test_the_trade_stream_is_told_from_the_private_ones_by_its_path():
    assert wire.is_trade_stream("ws://127.0.0.1:1/v5/trade")
    assert not wire.is_trade_stream("wss://stream.bybit.com/v5/private?max_active_time=1m")


def test_headers_tell_an_endpoint_s_rate_what_is_left_and_when_it_is_refilled():
    headers = {"X-Bapi-Limit": "20", "X-Bapi-Limit-Status": "3", "X-Bapi-Limit-Reset-Timestamp": "1500"}
    assert wire.rate_limit("bybit", headers, 1_000) == wire.RateLimit(20.0, 3, 0.5)
    assert wire.rate_limit("bybit", {}, 1_000) is None
    assert wire.rate_limit("bitget", {"x-mbx-used-remain-limit": "4"}, 0) == wire.RateLimit(None, 4, 1.0)


async def test_all_pages_are_walked_and_a_mark_that_stands_still_ends_the_walk():
    pages = {None: ([1, 2], "b"), "b": ([3], "c"), "c": ([4], "c")}
    asked: list[object] = []

    async def page(mark):
        asked.append(mark.get("cursor"))
        rows, following = pages[mark.get("cursor")]
        return rows, {"cursor": following}

    assert await all_pages(page) == [1, 2, 3, 4]
    assert asked == [None, "b", "c"]


async def test_a_long_time_is_asked_for_in_spans_and_the_last_one_has_no_end():
    spans: list[dict] = []

    async def page(mark):
        spans.append(dict(mark))
        return [mark["startTime"]], None

    assert await all_spans(page, 0, 25, 10) == [0, 10, 20]
    assert spans == [{"startTime": 0, "endTime": 10}, {"startTime": 10, "endTime": 20}, {"startTime": 20}]


def test_the_next_page_is_asked_for_as_each_venue_wants_it():
    assert next_mark("bybit", [{"nextPageCursor": "c"}, {}], "orderId") == {"cursor": "c"}
    assert next_mark("bybit", [{}], "orderId") is None, "no cursor, no next page"
    assert next_mark("bitget", [{"orderId": "9"}, {"orderId": "10"}], "orderId") == {"idLessThan": "9"}
    assert next_mark("bitget", [], "orderId") is None


async def test_a_page_shorter_than_asked_for_is_not_the_last():
    orders = [str(number) for number in range(30, 0, -1)]

    async def page(mark):
        older = [number for number in orders if int(number) < int(mark.get("idLessThan", 99))]
        infos = [{"orderId": number} for number in older[:7]]
        return [info["orderId"] for info in infos], next_mark("bitget", infos, "orderId")

    assert await all_pages(page) == orders


@pytest.mark.parametrize(
    ("authorities", "reads_only"),
    [
        (["coor", "cpor", "stor"], True),
        (["coor", "coow"], False),
        (["readonly"], True),
        (["trade", "readonly"], False),
        (["something new"], None),
        ([], None),
        (None, None),
    ],
)
def test_a_bitget_key_is_said_to_read_only_where_its_permissions_are_understood(authorities, reads_only):
    assert wire.bitget_reads_only({"data": {"authorities": authorities}}) is reads_only
