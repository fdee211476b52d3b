"""Account objects in Bybit v5 spelling.

Source: Bybit v5 API documentation, pages Get Open & Closed Orders, Get Trade History, Get Position Info, Get
Wallet Balance, and the private streams Order, Execution, Position, Wallet.
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
    SelfMatch,
)
from mm_hybrid.servers.exchange.wire import Fields, millis, next_funding_ms, number, rounded

_STATUS = {
    OrderStatus.NEW: "New",
    OrderStatus.PARTIALLY_FILLED: "PartiallyFilled",
    OrderStatus.FILLED: "Filled",
    OrderStatus.CANCELED: "Cancelled",
}
_CANCEL_TYPE = {
    CancelCause.USER: "CancelByUser",
    CancelCause.REDUCE_ONLY: "CancelByReduceOnly",
    CancelCause.SELF_MATCH: "CancelBySmp",
    CancelCause.DISCONNECTED: "CancelByDCP",
}
_SELF_MATCH = {
    SelfMatch.NONE: "None",
    SelfMatch.CANCEL_MAKER: "CancelMaker",
    SelfMatch.CANCEL_TAKER: "CancelTaker",
    SelfMatch.CANCEL_BOTH: "CancelBoth",
}
_REJECT_REASON = {
    CancelCause.POST_ONLY: "EC_PostOnlyWillTakeLiquidity",
    CancelCause.NO_LIQUIDITY: "EC_NoImmediateQtyToFill",
    CancelCause.USER: "EC_PerCancelRequest",
    CancelCause.REDUCE_ONLY: "EC_PerCancelRequest",
    CancelCause.SELF_MATCH: "EC_BySelfMatch",
    CancelCause.DISCONNECTED: "EC_PerCancelRequest",
}


def side_text(side: str) -> str:
    """Return ``Buy`` or ``Sell``."""
    return side.capitalize()


def instrument(config: ExchangeServerConfig, *, tradable: bool) -> Fields:
    """Return the one listed contract as the instruments page shows it."""
    tick = number(config.tick_size)
    return {
        "symbol": config.symbol,
        "contractType": "LinearPerpetual",
        "status": "Trading" if tradable else "Closed",
        "baseCoin": config.base,
        "quoteCoin": config.quote,
        "launchTime": "1585526400000",
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": str(len(tick.partition(".")[2])),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {
            "minPrice": tick,
            "maxPrice": number(config.highest_price),
            "tickSize": tick,
        },
        "lotSizeFilter": {
            "maxOrderQty": number(config.largest_qty),
            "minOrderQty": number(config.smallest_qty),
            "qtyStep": number(config.lot_size),
            "postOnlyMaxOrderQty": number(config.largest_qty),
            "maxMktOrderQty": number(config.lot_size * 100_000),
            "minNotionalValue": number(config.min_notional),
        },
        "unifiedMarginTrade": True,
        "fundingInterval": 480,
        "settleCoin": config.quote,
    }


def spot_instrument(config: ExchangeServerConfig, *, tradable: bool) -> Fields:
    """Return the listed pair as the instruments page shows it for spot."""
    return {
        "symbol": config.symbol,
        "baseCoin": config.base,
        "quoteCoin": config.quote,
        "innovation": "0",
        "status": "Trading" if tradable else "Closed",
        "marginTrading": "utaOnly",
        "lotSizeFilter": {
            "basePrecision": number(config.lot_size),
            "quotePrecision": "0.00000001",
            "minOrderQty": number(config.smallest_qty),
            "maxOrderQty": number(config.largest_qty),
            "minOrderAmt": number(config.min_notional),
            "maxOrderAmt": "4000000",
        },
        "priceFilter": {"tickSize": number(config.tick_size)},
    }


def order_row(order: Order, account: Account) -> Fields:
    """Return an order as REST queries and the order stream show it."""
    config = account.config
    is_spot = account.category == "spot"
    is_limit = order.price is not None
    price = order.price if order.price is not None else order.mid_at_creation
    leaves = order.remaining_qty if order.is_open else order.qty * 0
    cause = order.cancel_cause
    average = order.average_price
    status = _STATUS[order.status]
    if is_spot and order.status is OrderStatus.CANCELED and order.filled_qty:
        status = "PartiallyFilledCanceled"
    row: Fields = {
        "symbol": config.symbol,
        "orderId": order.order_id,
        "orderLinkId": order.client_id,
        "blockTradeId": "",
        "side": side_text(order.side),
        "orderType": "Limit" if is_limit else "Market",
        "price": number(price),
        "qty": number(order.qty),
        "isLeverage": "0" if is_spot else "",
        "positionIdx": 0,
        "orderStatus": status,
        "cancelType": "UNKNOWN" if cause is None else _CANCEL_TYPE.get(cause, "UNKNOWN"),
        "rejectReason": "EC_NoError" if cause is None else _REJECT_REASON[cause],
        "avgPrice": "" if average is None else rounded(average),
        "leavesQty": number(leaves),
        "leavesValue": number(leaves * price),
        "cumExecQty": number(order.filled_qty),
        "cumExecValue": number(order.filled_value),
        "cumExecFee": number(order.fees),
        "timeInForce": "PostOnly" if order.post_only else "IOC" if order.ioc else "GTC",
        "stopOrderType": "",
        "orderIv": "",
        "triggerPrice": "",
        "takeProfit": "",
        "stopLoss": "",
        "tpTriggerBy": "",
        "slTriggerBy": "",
        "triggerDirection": 0,
        "triggerBy": "",
        "lastPriceOnCreated": number(order.mid_at_creation),
        "reduceOnly": order.reduce_only,
        "closeOnTrigger": False,
        "createType": "CreateByUser",
        "placeType": "",
        "smpType": _SELF_MATCH[order.self_match],
        "smpGroup": 0,
        "smpOrderId": "",
        "tpLimitPrice": "",
        "slLimitPrice": "",
        "createdTime": millis(order.created_ns),
        "updatedTime": millis(order.updated_ns),
    }
    if is_spot:
        return row | {"marketUnit": "" if is_limit else "baseCoin"}
    # Present on every linear order; a client may take an order without it for a spot one.
    return row | {"tpslMode": "UNKNOWN"}


def execution_row(execution: OwnExecution, account: Account) -> Fields:
    """Return an execution as the trade history and the execution stream show it; a fee paid is positive.

    What the venue did by itself has no client id: deleveraging is a market order of its own making, funding has
    no order at all.
    """
    price = execution.order_price
    is_funding = execution.exec_type is ExecutionType.FUNDING
    return {
        "symbol": account.config.symbol,
        "orderId": execution.order_id,
        "orderLinkId": execution.client_id,
        "side": side_text(execution.side),
        "orderPrice": "0" if price is None else number(price),
        "orderQty": "0" if is_funding else number(execution.order_qty),
        "leavesQty": number(execution.leaves_qty),
        "createType": "CreateByUser" if execution.exec_type is ExecutionType.TRADE else "",
        "orderType": "UNKNOWN" if is_funding else "Market" if price is None else "Limit",
        "stopOrderType": "UNKNOWN",
        "execFee": number(execution.fee),
        "feeCurrency": "" if is_funding else execution.fee_currency,
        "execId": execution.exec_id,
        "execPrice": number(execution.price),
        "execQty": number(execution.qty),
        "execType": str(execution.exec_type),
        "execValue": number(execution.value),
        "execTime": millis(execution.exchange_ts_ns),
        "isMaker": execution.is_maker,
        "feeRate": number(execution.fee_rate),
        "tradeIv": "",
        "markIv": "",
        "markPrice": number(account.mark_price()),
        "indexPrice": "",
        "underlyingPrice": "",
        "blockTradeId": "",
        "closedSize": number(execution.closed_qty),
        "seq": execution.serial,
    }


def position_row(account: Account, *, stream: bool) -> Fields:
    """Return the position; the stream names the average price ``entryPrice``, REST ``avgPrice``."""
    book = account.position
    side = "" if not book.qty else "Buy" if book.qty > 0 else "Sell"
    mark = account.mark_price()
    return {
        "positionIdx": 0,
        "riskId": 1,
        "riskLimitValue": "2000000",
        "symbol": account.config.symbol,
        "side": side,
        "size": number(abs(book.qty)),
        "entryPrice" if stream else "avgPrice": rounded(book.entry_price),
        "positionValue": rounded(abs(book.entry_value)) if book.qty else "",
        "tradeMode": 0,
        "positionStatus": "Normal",
        "autoAddMargin": 0,
        "adlRankIndicator": 0,
        "leverage": number(account.leverage),
        "positionBalance": "0",
        "markPrice": number(mark),
        "liqPrice": "",
        "bustPrice": "",
        "positionIM": rounded(account.position_margin),
        "positionMM": "0",
        "tpslMode": "Full",
        "takeProfit": "",
        "stopLoss": "",
        "trailingStop": "0",
        "unrealisedPnl": rounded(account.unrealised_profit) if book.qty else "",
        "curRealisedPnl": rounded(book.realised_profit - book.fees),
        "cumRealisedPnl": rounded(book.realised_profit - book.fees),
        "seq": len(account.ledger.executions),
        "isReduceOnly": False,
        "mmrSysUpdatedTime": "",
        "leverageSysUpdatedTime": "",
        "createdTime": millis(book.opened_ns),
        "updatedTime": millis(book.updated_ns),
    }


def hedge_positions(account: Account) -> list[Fields]:
    """Return the two empty sides that an account in hedge mode shows."""
    row = position_row(account, stream=False) | {
        "size": "0",
        "avgPrice": "0",
        "positionValue": "",
        "unrealisedPnl": "",
        "positionIM": "0",
    }
    return [row | {"positionIdx": index, "side": side} for index, side in ((1, "Buy"), (2, "Sell"))]


def order_book(account: Account, depth: int) -> Fields:
    """Return the market's book as the order book page shows it."""
    bids, asks = account.market.levels(depth)
    now_ms = account.now_ms()
    return {"s": account.config.symbol, "b": bids, "a": asks, "ts": now_ms, "u": 1, "seq": 1, "cts": now_ms}


def ticker(account: Account, category: str) -> Fields:
    """Return the market's touch and prices as the tickers page shows them."""
    touch, mark = account.market.touch(), number(account.mark_price())
    row: Fields = {
        "symbol": account.config.symbol,
        "lastPrice": account.market.last_price or mark,
        "turnover24h": "",
        "volume24h": "",
        "bid1Price": touch["bid"],
        "bid1Size": touch["bid_qty"],
        "ask1Price": touch["ask"],
        "ask1Size": touch["ask_qty"],
    }
    if category == "spot":
        return row
    return row | {
        "indexPrice": mark,
        "markPrice": mark,
        "openInterest": "",
        "fundingRate": number(account.funding_rate),
        "nextFundingTime": str(next_funding_ms(account.now_ms())),
        "deliveryTime": "0",
    }


def wallet_row(account: Account, *, stream: bool) -> Fields:
    """Return the wallet; the stream writes ``totalPerpUpl`` where REST writes ``totalPerpUPL``."""
    base = _base_coin(account)
    in_base = Decimal(str(base["usdValue"])) if base else Decimal(0)
    equity, wallet = rounded(account.equity), rounded(account.wallet_balance)
    free = rounded(account.free_balance)
    order_margin, position_margin = rounded(account.order_margin), rounded(account.position_margin)
    unrealised = rounded(account.unrealised_profit)
    return {
        "accountType": "UNIFIED",
        "accountIMRate": "0",
        "accountMMRate": "0",
        "accountLTV": "0",
        "totalEquity": rounded(account.equity + in_base),
        "totalWalletBalance": rounded(account.wallet_balance + in_base),
        "totalMarginBalance": rounded(account.equity + in_base),
        "totalAvailableBalance": free,
        "totalPerpUpl" if stream else "totalPerpUPL": unrealised,
        "totalInitialMargin": rounded(account.position_margin + account.order_margin),
        "totalMaintenanceMargin": "0",
        "coin": [
            {
                "coin": account.config.quote,
                "equity": equity,
                "usdValue": equity,
                "walletBalance": wallet,
                "availableToWithdraw": free,
                "availableToBorrow": "",
                "borrowAmount": "0",
                "accruedInterest": "0",
                "totalOrderIM": order_margin,
                "totalPositionIM": position_margin,
                "totalPositionMM": "0",
                "unrealisedPnl": unrealised,
                "cumRealisedPnl": rounded(account.position.realised_profit - account.position.fees),
                "bonus": "0",
                "locked": "0" if account.spot is None else rounded(account.spot.locked("buy")),
                "collateralSwitch": True,
                "marginCollateral": True,
                "spotBorrow": "0",
            },
            *([base] if base else []),
        ],
    }


def _base_coin(account: Account) -> Fields:
    """Return the base coin's row of the wallet; nothing where there is no spot trading."""
    if account.spot is None:
        return {}
    held, locked = account.spot.base_balance, account.spot.locked("sell")
    return {
        "coin": account.config.base,
        "equity": rounded(held),
        "usdValue": rounded(held * account.mark_price()),
        "walletBalance": rounded(held),
        "availableToWithdraw": rounded(held - locked),
        "availableToBorrow": "",
        "borrowAmount": "0",
        "accruedInterest": "0",
        "totalOrderIM": "0",
        "totalPositionIM": "0",
        "totalPositionMM": "0",
        "unrealisedPnl": "0",
        "cumRealisedPnl": "0",
        "bonus": "0",
        "locked": rounded(locked),
        "collateralSwitch": True,
        "marginCollateral": True,
        "spotBorrow": "0",
    }
