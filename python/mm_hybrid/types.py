"""What flows between the stages: frozen values, units in their names.

Money and order quantities are :class:`decimal.Decimal`, exact to tick and lot. Market quantities that only steer
(mid, volatility, imbalance) are floats. Times are integer nanoseconds since the epoch, UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Literal, NamedTuple

Side = Literal["buy", "sell"]
ExecType = Literal["trade", "adl", "liquidation", "settlement"]
Regime = Literal["calm", "trending", "volatile", "thin"]
Basis = Literal["live", "last_good", "static", "none"]
"""What a recommendation rests on: parameters of now, the last good ones, a fixed width, or nothing at all."""


class BookState(StrEnum):
    """Whether a book may be quoted on; only ``LIVE`` may."""

    UNSYNCED = "UNSYNCED"
    LIVE = "LIVE"
    STALE = "STALE"
    CROSSED = "CROSSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """A tradable symbol at one venue and the grid its orders live on.

    ``symbol`` is the exchange's own spelling (``BTCUSDT``), ``ccxt_symbol`` the unified one (``BTC/USDT:USDT``).
    Fee rates are fractions of traded value; negative is a rebate.
    """

    venue: str
    symbol: str
    ccxt_symbol: str
    base: str
    quote: str
    tick_size: Decimal
    lot_size: Decimal
    min_qty: Decimal
    min_notional: Decimal
    contract_size: Decimal = Decimal(1)
    maker_fee_rate: Decimal = Decimal(0)
    taker_fee_rate: Decimal = Decimal(0)


class Quote(NamedTuple):
    """One wanted resting order.

    ``price`` may lie between ticks: it is rounded away from the market. ``qty`` is in base units, rounded down to
    the lot; ``None`` means the configured order size.
    """

    side: Side
    price: Decimal | float
    qty: Decimal | float | None = None


Quotes = tuple[Quote, ...]
"""What a strategy wants to have resting; empty means nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Own position in one symbol, from fills alone.

    Attributes:
        qty_base: signed base quantity, long positive.
        cash_quote: signed quote cash from trading since start (buys negative), fees and funding not included.
        fees_quote: signed quote cash, cost negative.
        funding_quote: signed quote cash, cost negative.
    """

    qty_base: Decimal = Decimal(0)
    cash_quote: Decimal = Decimal(0)
    fees_quote: Decimal = Decimal(0)
    funding_quote: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution of one own order, keyed by the venue's execution id.

    Attributes:
        fee: signed cash in ``fee_currency``: a cost is negative, a rebate positive.
        fee_quote: what that is worth in quote currency; 0 where no price of the currency is known.
        exec_type: who made it trade: an own order, or the venue for the account (``adl``, ``liquidation``,
            ``settlement``), which belongs to no order of ours.
    """

    exec_id: str
    client_id: str
    order_id: str
    side: Side
    price: Decimal
    qty: Decimal
    fee: Decimal
    fee_currency: str
    fee_quote: Decimal
    is_maker: bool
    exchange_ts_ns: int
    local_ts_ns: int
    exec_type: ExecType = "trade"


@dataclass(frozen=True, slots=True, kw_only=True)
class Funding:
    """One funding payment, keyed by the venue's id; ``amount_quote`` is signed cash, received is positive."""

    exec_id: str
    amount_quote: Decimal
    exchange_ts_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Parameters the closed form quotes with; price unit P is quote currency per base.

    Attributes:
        intensity_a: fills per second at distance 0, one side.
        intensity_k: decay of the fill intensity, 1/P.
        sigma: volatility of the reference price, P per sqrt(second).
        orders_seen: market orders behind ``intensity_a`` and ``intensity_k``.
        seconds_seen: seconds of LIVE feed behind them.
        source: ``prior`` until enough is seen, then ``stream``.
        se_log_k: relative standard error of ``intensity_k``; 0 where none is known.
        drift: drift of the reference price, P/s.
        impact: permanent adverse move of the reference price per own fill, P.
        age_s: measured age of the information behind a resting quote, s; ``None`` takes the configured one.
    """

    intensity_a: float
    intensity_k: float
    sigma: float
    orders_seen: int = 0
    seconds_seen: float = 0.0
    source: Literal["prior", "stream", "cache"] = "prior"
    se_log_k: float = 0.0
    drift: float = 0.0
    impact: float = 0.0
    age_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """The market as a strategy and the optimizer see it, one moment of one symbol.

    ``spread_bps`` is the full spread over mid; ``imbalance`` is signed, -1..1, over the best 5 levels;
    ``volatility_1m_bps`` is the standard deviation of 1-s mid log-returns over 60 s, scaled to one minute; ``None``
    while too little has been seen. ``regime`` names the kind of market, ``regime_evidence`` the measurement behind it.
    """

    instrument: Instrument
    timestamp_ns: int
    state: BookState
    mid_price: float
    best_bid: float
    best_ask: float
    best_bid_qty: float
    best_ask_qty: float
    microprice: float
    spread_bps: float
    imbalance: float
    depth_bid_quote: float
    depth_ask_quote: float
    depth_covered_pct: float
    volatility_1m_bps: float | None
    return_10s_bps: float | None
    return_60s_bps: float | None
    trade_imbalance_60s: float | None
    spike: bool
    calibration: Calibration
    regime: Regime = "calm"
    regime_evidence: str = ""


class SpreadRecommendation(NamedTuple):
    """What the optimizer recommends for the next quotes.

    Attributes:
        recommended_bid_spread_bps: half-spread below the reference price, bps of mid, inventory skew included.
        recommended_ask_spread_bps: half-spread above it, likewise.
        position_limit: absolute cap on the position, base units; never above the configured one.
        confidence: 0..1; 1 for a closed form on a calibrated market.
        reasoning: one line for people; never parsed.
        base_bid_half_bps: the closed form's half-spread before skew and advice.
        base_ask_half_bps: likewise, ask side.
        advice_weight: weight the advisor had in this recommendation; 0 in shadow mode.
        anomaly: the advisor's label, only while its advice is in force.
        basis: what the base half-spreads rest on; with ``none`` nothing may be quoted, ``reasoning`` says why.
    """

    recommended_bid_spread_bps: float
    recommended_ask_spread_bps: float
    position_limit: float
    confidence: float
    reasoning: str
    base_bid_half_bps: float
    base_ask_half_bps: float
    advice_weight: float = 0.0
    anomaly: str = "none"
    basis: Basis = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """Target quotes that passed every risk check; the only thing execution accepts."""

    quotes: Quotes


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Target quotes that risk refused: nothing may rest in their place."""

    reason: str
    quotes: Quotes = field(default=())
