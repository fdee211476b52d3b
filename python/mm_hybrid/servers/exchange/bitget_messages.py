"""Account objects in Bitget v2 spelling, USDT futures in one-way mode.

Source: Bitget v2 API documentation, futures pages Contract Config, Order Detail, Pending Orders, Order Fill
Details, All Positions, Account List, and the private channels Orders, Fill, Positions, Account.
"""

from __future__ import annotations

from decimal import Decimal

from mm_hybrid.servers.exchange.account import Account
from mm_hybrid.servers.exchange.config import ExchangeServerConfig
from mm_hybrid.servers.exchange.orders import (
    CancelCause,
    ExecutionType,
    Order,
    OrderStatus,
    OwnExecution,
)
from mm_hybrid.servers.exchange.state import Funding
from mm_hybrid.servers.exchange.wire import Fields, millis, number, rounded

PRODUCT = "USDT-FUTURES"

_STATUS = {
    OrderStatus.NEW: "live",
    OrderStatus.PARTIALLY_FILLED: "partially_filled",
    OrderStatus.FILLED: "filled",
    OrderStatus.CANCELED: "canceled",
}
# ``normal_cancel`` is documented; the others name the cause in the same style.
_CANCEL_REASON = {
    CancelCause.USER: "normal_cancel",
    CancelCause.POST_ONLY: "post_only_cancel",
    CancelCause.NO_LIQUIDITY: "ioc_cancel",
    CancelCause.REDUCE_ONLY: "reduce_only_cancel",
    CancelCause.SELF_MATCH: "stp_cancel",
    CancelCause.DISCONNECTED: "normal_cancel",
}


# Reduced by the venue rather than by an order of the client.
_TRADE_SIDE_PREFIX = {ExecutionType.TRADE: "", ExecutionType.ADL: "reduce_", ExecutionType.FUNDING: ""}


def instrument(config: ExchangeServerConfig, *, tradable: bool) -> Fields:
    """Return the one listed contract as the contracts page shows it.

    The tick is written as a number of decimal places and the last digit's step.
    """
    tick, lot = config.tick_size.normalize(), config.lot_size.normalize()
    places = max(0, -int(tick.as_tuple().exponent))
    return {
        "symbol": config.symbol,
        "baseCoin": config.base,
        "quoteCoin": config.quote,
        "buyLimitPriceRatio": "0.05",
        "sellLimitPriceRatio": "0.05",
        "feeRateUpRatio": "0.005",
        "makerFeeRate": number(config.maker_fee_rate),
        "takerFeeRate": number(config.taker_rate),
        "openCostUpRatio": "0.01",
        "supportMarginCoins": [config.quote],
        "minTradeNum": number(config.smallest_qty),
        "priceEndStep": number(tick.scaleb(places)),
        "volumePlace": str(max(0, -int(lot.as_tuple().exponent))),
        "pricePlace": str(places),
        "sizeMultiplier": number(lot),
        "symbolType": "perpetual",
        "minTradeUSDT": number(config.min_notional),
        "maxSymbolOrderNum": str(config.max_open_orders),
        "maxProductOrderNum": str(config.max_open_orders),
        "maxPositionNum": "150",
        "symbolStatus": "normal" if tradable else "off",
        "offTime": "-1",
        "limitOpenTime": "-1",
        "deliveryTime": "",
        "deliveryStartTime": "",
        "deliveryPeriod": "",
        "launchTime": "",
        "fundInterval": "8",
        "minLever": "1",
        "maxLever": "125",
        "posLimit": "0.05",
        "maintainTime": "",
    }


def order_row(order: Order, account: Account, *, detail: bool = False) -> Fields:
    """Return an order as REST shows it: ``baseVolume`` is all that traded; the detail page says ``state``."""
    average = order.average_price
    config = account.config
    return {
        "symbol": config.symbol,
        "size": number(order.qty),
        "orderId": order.order_id,
        "clientOid": order.client_id,
        "baseVolume": number(order.filled_qty),
        "quoteVolume": number(order.filled_value),
        "fee": number(-order.fees),
        "price": "" if order.price is None else number(order.price),
        "priceAvg": "" if average is None else rounded(average),
        "state" if detail else "status": _STATUS[order.status],
        "side": order.side,
        "force": _force(order),
        "totalProfits": rounded(sum((one.profit for one in order.executions), Decimal(0))),
        "posSide": "net",
        "marginCoin": config.quote,
        "leverage": number(account.leverage),
        "marginMode": "crossed",
        "reduceOnly": "YES" if order.reduce_only else "NO",
        "enterPointSource": "api",
        "tradeSide": f"{order.side}_single",
        "posMode": "one_way_mode",
        "orderType": "market" if order.price is None else "limit",
        "orderSource": "market" if order.price is None else "normal",
        "presetStopSurplusPrice": "",
        "presetStopLossPrice": "",
        "cTime": millis(order.created_ns),
        "uTime": millis(order.updated_ns),
    }


def order_push(order: Order, account: Account) -> Fields:
    """Return an order as the stream shows it.

    ``accBaseVolume`` is all that traded. A push that a fill caused also carries that one fill: there
    ``baseVolume`` is the latest fill alone, unlike over REST.
    """
    config = account.config
    price = order.mid_at_creation if order.price is None else order.price
    row: Fields = {
        "accBaseVolume": number(order.filled_qty),
        "cTime": millis(order.created_ns),
        "clientOid": order.client_id,
        "enterPointSource": "API",
        "feeDetail": [{"feeCoin": config.fee_coin or config.quote, "fee": number(-order.fees)}],
        "force": _force(order),
        "instId": config.symbol,
        "leverage": number(account.leverage),
        "marginCoin": config.quote,
        "marginMode": "crossed",
        "notionalUsd": number(price * order.qty),
        "orderId": order.order_id,
        "orderType": "market" if order.price is None else "limit",
        "posMode": "one_way_mode",
        "posSide": "net",
        "price": "" if order.price is None else number(order.price),
        "reduceOnly": "yes" if order.reduce_only else "no",
        "side": order.side,
        "size": number(order.qty),
        "status": _STATUS[order.status],
        "stpMode": str(order.self_match),
        "tradeSide": f"{order.side}_single",
        "presetStopSurplusPrice": "",
        "presetStopLossPrice": "",
        "totalProfits": rounded(sum((one.profit for one in order.executions), Decimal(0))),
        "cancelReason": "" if order.cancel_cause is None else _CANCEL_REASON[order.cancel_cause],
        "uTime": millis(order.updated_ns),
    }
    if order.executions and order.status in (OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED):
        last = order.executions[-1]
        average = order.average_price or last.price
        row |= {
            "fillFee": number(-last.fee),
            "fillFeeCoin": last.fee_currency,
            "fillNotionalUsd": number(last.value),
            "fillPrice": number(last.price),
            "baseVolume": number(last.qty),
            "fillTime": millis(last.exchange_ts_ns),
            "pnl": rounded(last.profit),
            "priceAvg": rounded(average),
            "tradeScope": "M" if last.is_maker else "T",
            "tradeId": last.exec_id,
        }
    return row


def fill_row(execution: OwnExecution, config: ExchangeServerConfig, *, stream: bool) -> Fields:
    """Return an execution as the fills page or the fill channel shows it; a fee paid is negative."""
    row: Fields = {
        "tradeId": execution.exec_id,
        "symbol": config.symbol,
        "orderId": execution.order_id,
        "price": number(execution.price),
        "baseVolume": number(execution.qty),
        "feeDetail": [
            {
                "deduction": "no",
                "feeCoin": execution.fee_currency,
                "totalDeductionFee": "0",
                "totalFee": number(-execution.fee),
            }
        ],
        "side": execution.side,
        "quoteVolume": number(execution.value),
        "profit": rounded(execution.profit),
        "tradeSide": f"{_TRADE_SIDE_PREFIX[execution.exec_type]}{execution.side}_single",
        "posMode": "one_way_mode",
        "tradeScope": "maker" if execution.is_maker else "taker",
        "cTime": millis(execution.exchange_ts_ns),
    }
    if stream:
        return row | {
            "clientOid": execution.client_id,
            "orderType": "market" if execution.order_price is None else "limit",
            "uTime": millis(execution.exchange_ts_ns),
        }
    return row | {"enterPointSource": "api" if execution.exec_type is ExecutionType.TRADE else "sys"}


def bill_row(funding: Funding, config: ExchangeServerConfig) -> Fields:
    """Return a funding settlement as the account bill page shows it; paid is negative."""
    return {
        "billId": funding.bill_id,
        "symbol": config.symbol,
        "amount": number(funding.amount),
        "fee": "0",
        "feeByCoupon": "",
        "businessType": "contract_settle_fee",
        "coin": config.quote,
        "cTime": millis(funding.booked_ns),
    }


def ticker(account: Account) -> Fields:
    """Return the market's touch and prices as the ticker page shows them."""
    touch, mark = account.market.touch(), number(account.mark_price())
    return {
        "symbol": account.config.symbol,
        "lastPr": account.market.last_price or mark,
        "askPr": touch["ask"],
        "bidPr": touch["bid"],
        "bidSz": touch["bid_qty"],
        "askSz": touch["ask_qty"],
        "ts": str(account.now_ms()),
        "indexPrice": mark,
        "markPrice": mark,
    }


def position_row(account: Account) -> Fields:
    """Return the open position as the positions page shows it."""
    book = account.position
    size = number(abs(book.qty))
    return {
        "marginCoin": account.config.quote,
        "symbol": account.config.symbol,
        "holdSide": "long" if book.qty > 0 else "short",
        "openDelegateSize": "0",
        "marginSize": rounded(account.position_margin),
        "available": size,
        "locked": "0",
        "total": size,
        "leverage": number(account.leverage),
        "achievedProfits": rounded(book.realised_profit),
        "openPriceAvg": rounded(book.entry_price),
        "marginMode": "crossed",
        "posMode": "one_way_mode",
        "unrealizedPL": rounded(account.unrealised_profit),
        "liquidationPrice": "0",
        "keepMarginRate": "0.004",
        "markPrice": number(account.mark_price()),
        "marginRatio": "0",
        "cTime": millis(book.opened_ns),
    }


def position_push(account: Account) -> Fields:
    """Return the open position as the positions channel shows it."""
    book = account.position
    size = number(abs(book.qty))
    margin = account.position_margin
    profit = account.unrealised_profit
    return {
        "posId": "1",
        "instId": account.config.symbol,
        "marginCoin": account.config.quote,
        "marginSize": rounded(margin),
        "marginMode": "crossed",
        "holdSide": "long" if book.qty > 0 else "short",
        "posMode": "one_way_mode",
        "total": size,
        "available": size,
        "frozen": "0",
        "openPriceAvg": rounded(book.entry_price),
        "leverage": int(account.leverage),
        "achievedProfits": rounded(book.realised_profit),
        "unrealizedPL": rounded(profit),
        "unrealizedPLR": rounded(profit / margin) if margin else "0",
        "liquidationPrice": "0",
        "keepMarginRate": "0.004",
        "marginRate": "0",
        "cTime": millis(book.opened_ns),
        "uTime": millis(book.updated_ns),
        "markPrice": number(account.mark_price()),
        "autoMargin": "off",
    }


def account_row(account: Account) -> Fields:
    """Return the futures account as the accounts page shows it."""
    equity = rounded(account.equity)
    free = rounded(account.equity - account.position_margin - account.order_margin)
    return {
        "marginCoin": account.config.quote,
        "locked": rounded(account.order_margin),
        "available": rounded(account.equity - account.position_margin),
        "crossedMaxAvailable": free,
        "isolatedMaxAvailable": free,
        "maxTransferOut": free,
        "accountEquity": equity,
        "usdtEquity": equity,
        "btcEquity": "0",
        "crossedRiskRate": "0",
        "unrealizedPL": rounded(account.unrealised_profit),
        "coupon": "0",
        "crossedUnrealizedPL": rounded(account.unrealised_profit),
        "isolatedUnrealizedPL": "",
        "assetMode": "single",
    }


def account_settings(account: Account) -> Fields:
    """Return the single-account page, which adds leverage and modes as numbers and text."""
    leverage = int(account.leverage)
    return account_row(account) | {
        "crossedMarginLeverage": leverage,
        "isolatedLongLever": leverage,
        "isolatedShortLever": leverage,
        "marginMode": "crossed",
        "posMode": "hedge_mode" if account.setup.hedge_mode else "one_way_mode",
    }


def account_push(account: Account) -> Fields:
    """Return the futures account as the account channel shows it."""
    equity = rounded(account.equity)
    free = rounded(account.equity - account.position_margin - account.order_margin)
    return {
        "marginCoin": account.config.quote,
        "frozen": rounded(account.order_margin),
        "available": rounded(account.equity - account.position_margin),
        "maxOpenPosAvailable": free,
        "maxTransferOut": free,
        "equity": equity,
        "usdtEquity": equity,
        "crossedRiskRate": "0",
        "unrealizedPL": rounded(account.unrealised_profit),
    }


def _force(order: Order) -> str:
    return "post_only" if order.post_only else "ioc" if order.ioc else "gtc"
