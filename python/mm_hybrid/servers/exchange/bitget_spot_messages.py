"""Spot objects in Bitget v2 spelling, which is another one than that of its futures.

Source: Bitget v2 API documentation, the spot pages named in ``bitget_spot`` and the private channels Orders, Fill and
Account of spot.
"""

from __future__ import annotations

import json

from mm_hybrid.servers.exchange.config import ExchangeServerConfig
from mm_hybrid.servers.exchange.orders import Order, OrderStatus, OwnExecution
from mm_hybrid.servers.exchange.spot import SpotAccount
from mm_hybrid.servers.exchange.wire import Fields, millis, number, rounded

INST_TYPE = "SPOT"
_USER_ID = "1"
_STATUS = {
    OrderStatus.NEW: "live",
    OrderStatus.PARTIALLY_FILLED: "partially_filled",
    OrderStatus.FILLED: "filled",
    OrderStatus.CANCELED: "cancelled",
}


def instrument(config: ExchangeServerConfig, *, tradable: bool) -> Fields:
    """Return the listed pair as the symbols page shows it; steps are numbers of decimals."""
    rate = number(config.spot_fee_rate)
    return {
        "symbol": config.symbol,
        "baseCoin": config.base,
        "quoteCoin": config.quote,
        "minTradeAmount": number(config.smallest_qty),
        "maxTradeAmount": number(config.largest_qty),
        "takerFeeRate": rate,
        "makerFeeRate": rate,
        "pricePrecision": str(config.tick_decimals),
        "quantityPrecision": str(config.lot_decimals),
        "quotePrecision": "8",
        "status": "online" if tradable else "offline",
        "minTradeUSDT": number(config.min_notional),
        "buyLimitPriceRatio": "0.05",
        "sellLimitPriceRatio": "0.05",
        "areaSymbol": "no",
    }


def ticker(account: SpotAccount) -> Fields:
    """Return the market's touch and last price as the tickers page shows them."""
    touch = account.market.touch()
    return {
        "symbol": account.config.symbol,
        "lastPr": account.market.last_price or number(account.mark_price()),
        "bidPr": touch["bid"],
        "askPr": touch["ask"],
        "bidSz": touch["bid_qty"],
        "askSz": touch["ask_qty"],
        "ts": str(account.now_ms()),
    }


def order_row(order: Order, config: ExchangeServerConfig, *, is_open: bool = False) -> Fields:
    """Return an order over REST; the page of open ones writes the limit price as ``priceAvg``."""
    average = order.average_price
    price = "0" if order.price is None else number(order.price)
    row: Fields = {
        "userId": _USER_ID,
        "symbol": config.symbol,
        "orderId": order.order_id,
        "clientOid": order.client_id,
        "size": number(order.qty),
        "orderType": "market" if order.price is None else "limit",
        "side": order.side,
        "status": _STATUS[order.status],
        "baseVolume": number(order.filled_qty),
        "quoteVolume": number(order.filled_value),
        "enterPointSource": "API",
        "orderSource": "market" if order.price is None else "normal",
        "cTime": millis(order.created_ns),
        "uTime": millis(order.updated_ns),
    }
    if is_open:
        return row | {"priceAvg": price, "basePrice": "0"}
    details = {
        "price": price,
        "priceAvg": "0" if average is None else rounded(average),
        "feeDetail": _fee_text(order, config),
    }
    return row | details


def _fee_text(order: Order, config: ExchangeServerConfig) -> str:
    """Return the fee as the JSON text the venue puts there, empty before the first fill."""
    if not order.executions:
        return ""
    coin = config.base if order.side == "buy" else config.quote
    fee = float(-order.fees)
    return json.dumps(
        {
            coin: {"deduction": False, "feeCoinCode": coin, "totalDeductionFee": 0, "totalFee": fee},
            "newFees": {"c": 0, "d": 0, "deduction": False, "r": fee, "t": fee, "totalDeductionFee": 0},
        }
    )


def order_push(order: Order, config: ExchangeServerConfig) -> Fields:
    """Return an order as the stream shows it; ``baseVolume`` is the latest fill, ``accBaseVolume`` all."""
    average = order.average_price
    coin = config.base if order.side == "buy" else config.quote
    row: Fields = {
        "instId": config.symbol,
        "orderId": order.order_id,
        "clientOid": order.client_id,
        "price": "" if order.price is None else number(order.price),
        "size": number(order.qty),
        "notional": number((order.price or order.mid_at_creation) * order.qty),
        "orderType": "market" if order.price is None else "limit",
        "force": "post_only" if order.post_only else "ioc" if order.ioc else "gtc",
        "side": order.side,
        "accBaseVolume": number(order.filled_qty),
        "priceAvg": "0" if average is None else rounded(average),
        "status": _STATUS[order.status],
        "cTime": millis(order.created_ns),
        "uTime": millis(order.updated_ns),
        "stpMode": str(order.self_match),
        "feeDetail": [{"feeCoin": coin, "fee": number(-order.fees)}] if order.executions else [],
        "enterPointSource": "API",
    }
    if order.executions and order.status in (OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED):
        last = order.executions[-1]
        row |= {
            "fillPrice": number(last.price),
            "tradeId": last.exec_id,
            "baseVolume": number(last.qty),
            "fillTime": millis(last.exchange_ts_ns),
            "fillFee": number(-last.fee),
            "fillFeeCoin": last.fee_currency,
            "tradeScope": "M" if last.is_maker else "T",
        }
    return row


def fill_row(execution: OwnExecution, config: ExchangeServerConfig) -> Fields:
    """Return an execution as the fills page shows it; a fee paid is negative."""
    return {
        "userId": _USER_ID,
        "symbol": config.symbol,
        "orderId": execution.order_id,
        "tradeId": execution.exec_id,
        "orderType": "market" if execution.order_price is None else "limit",
        "side": execution.side,
        "priceAvg": number(execution.price),
        "size": number(execution.qty),
        "amount": number(execution.value),
        "feeDetail": {
            "deduction": "no",
            "feeCoin": execution.fee_currency,
            "totalDeductionFee": "",
            "totalFee": number(-execution.fee),
        },
        "tradeScope": "maker" if execution.is_maker else "taker",
        "cTime": millis(execution.exchange_ts_ns),
        "uTime": millis(execution.exchange_ts_ns),
    }


def fill_push(execution: OwnExecution, config: ExchangeServerConfig) -> Fields:
    """Return an execution as the fill channel shows it."""
    return {
        "tradeId": execution.exec_id,
        "orderId": execution.order_id,
        "clientOid": execution.client_id,
        "symbol": config.symbol,
        "side": execution.side,
        "priceAvg": number(execution.price),
        "size": number(execution.qty),
        "amount": number(execution.value),
        "feeDetail": [{"totalFee": number(-execution.fee), "feeCoin": execution.fee_currency}],
        "uTime": millis(execution.exchange_ts_ns),
    }


def asset_rows(account: SpotAccount) -> list[Fields]:
    """Return both coins; ``frozen`` is what open orders would spend."""
    held = {account.config.quote: account.quote_balance, account.config.base: account.base_balance}
    frozen = {account.config.quote: account.locked("buy"), account.config.base: account.locked("sell")}
    return [
        {
            "coin": coin,
            "available": rounded(held[coin] - frozen[coin]),
            "limitAvailable": "0",
            "frozen": rounded(frozen[coin]),
            "locked": "0",
            "uTime": millis(account.position.updated_ns),
        }
        for coin in held
    ]
