"""What an advisor would be asked at one moment of recorded data; the same code as in a session, without sending."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple

from mm_hybrid import features as features_of
from mm_hybrid._core import Books, Estimators, EventReader, MarketScan, scan_files
from mm_hybrid.calibration import StreamCalibrator
from mm_hybrid.config import AdvisorConfig, QuotingConfig
from mm_hybrid.errors import ConfigError, MmHybridError
from mm_hybrid.instruments import split_symbol
from mm_hybrid.optimizer.assemble import model_of
from mm_hybrid.optimizer.base import BaseQuote
from mm_hybrid.optimizer.cassette import request_key
from mm_hybrid.optimizer.fallback import checked
from mm_hybrid.optimizer.prompt import (
    PROMPT_VERSIONS,
    Anchors,
    Inventory,
    PromptBuilder,
    chat_request,
    profile_for,
    wire_body,
)
from mm_hybrid.types import BookState, Features, Instrument, Position

SAMPLE_NS = 1_000_000_000
"""How often the prompt's memory of usual quantities looks at the recording."""

_BATCH = 500


class Question(NamedTuple):
    """A request that is not sent: its exact body, and what it is about."""

    symbol: str
    local_ts_ns: int
    prompt: str
    key: str
    body: str


def question_about(
    paths: Sequence[str],
    *,
    symbol: str | None,
    until_ns: int | None,
    quoting: QuotingConfig,
    advising: AdvisorConfig,
    maker_fee_rate: str = "0.0001",
) -> Question:
    """Return the question about the last moment up to ``until_ns`` at which the book could be quoted on.

    Raises:
        ConfigError: the symbol or the fee rate cannot be used.
        MmHybridError: no such moment is in the files, or the model has no quote there, so that nothing would be asked.
        FileNotFoundError, DecodeError, ReplayError: a broken file.
    """
    fee_rate = _fee_rate(maker_fee_rate)
    scan = _chosen(paths, symbol)
    instrument = _instrument(scan, fee_rate)
    builder = PromptBuilder(advising.prompt)
    features = _walk(paths, scan, instrument, quoting=quoting, until_ns=until_ns, builder=builder)
    base = _base_quote(quoting, features)
    anchors = Anchors(base.bid_half_bps, base.ask_half_bps, base.floor_bps)
    text = builder.user_text(features, anchors, Inventory(0.0, base.position_limit))
    shape = "json_schema" if advising.response_format == "auto" else advising.response_format
    request = chat_request(advising.model, text, profile_for(advising.model, shape), advising.prompt)
    body = wire_body(request).decode()
    return Question(
        scan.symbol, features.timestamp_ns, PROMPT_VERSIONS[advising.prompt], request_key(request), body
    )


def _chosen(paths: Sequence[str], symbol: str | None) -> MarketScan:
    scans = [scan for scan in scan_files(list(paths)) if scan.book_changes > 0]
    fitting = [scan for scan in scans if symbol is None or scan.symbol == symbol.upper()]
    if not fitting:
        known = ", ".join(sorted(scan.symbol for scan in scans)) or "none"
        raise ConfigError(f"--symbol {symbol}: no book of it in the files; symbols there: {known}")
    return max(fitting, key=lambda scan: scan.messages)


def _fee_rate(text: str) -> Decimal:
    try:
        rate = Decimal(text)
    except ArithmeticError:
        raise ConfigError(f"--maker-fee-rate {text!r} is no number") from None
    if not rate.is_finite() or not -1 < rate < 1:
        raise ConfigError(
            f"--maker-fee-rate {text} is no fraction of traded value: it lies between -1 and 1, a rebate below 0"
        )
    return rate


def _base_quote(quoting: QuotingConfig, features: Features) -> BaseQuote:
    """Return what a question would be anchored to; without it a session asks nothing.

    Raises:
        ConfigError: the fee rate leaves the model without an answer. MmHybridError: something else does.
    """
    instrument = features.instrument
    quote = _quote_or_reason(quoting, features)
    if isinstance(quote, BaseQuote):
        return quote
    why = f"{quoting.optimizer} has no quote here, so nothing would be asked: {quote}"
    without_fee = replace(features, instrument=replace(instrument, maker_fee_rate=Decimal(0)))
    if isinstance(_quote_or_reason(quoting, without_fee), BaseQuote):
        raise ConfigError(f"--maker-fee-rate {instrument.maker_fee_rate}: {why}")
    raise MmHybridError(f"{instrument.symbol}: {why}")


def _quote_or_reason(quoting: QuotingConfig, features: Features) -> BaseQuote | str:
    model = model_of(quoting)
    try:
        return checked(model.base_quote(features, Position()))
    except MmHybridError:
        raise
    except (ValueError, ArithmeticError) as error:
        return str(error)


def _instrument(scan: MarketScan, maker_fee_rate: Decimal) -> Instrument:
    try:
        base, quote = split_symbol(scan.symbol)
    except ConfigError:
        base, quote = scan.symbol, "QUOTE"
    return Instrument(
        venue=scan.exchange,
        symbol=scan.symbol,
        ccxt_symbol=scan.symbol,
        base=base,
        quote=quote,
        tick_size=Decimal(scan.tick_size),
        lot_size=Decimal(scan.lot_size),
        min_qty=Decimal(scan.lot_size),
        min_notional=Decimal(0),
        maker_fee_rate=maker_fee_rate,
    )


def _walk(
    paths: Sequence[str],
    scan: MarketScan,
    instrument: Instrument,
    *,
    quoting: QuotingConfig,
    until_ns: int | None,
    builder: PromptBuilder,
) -> Features:
    reader = EventReader(list(paths), exchange=scan.exchange, symbol=scan.symbol)
    books = Books()
    estimators = Estimators(
        symbol=scan.symbol,
        tick_size=float(instrument.tick_size),
        prior_intensity_a=quoting.prior_intensity_a,
        prior_depth_bps=quoting.prior_depth_bps,
        prior_volatility_1m_bps=quoting.prior_volatility_1m_bps,
        half_life_s=quoting.half_life_s,
        sigma_half_life_s=quoting.sigma_half_life_s,
    )
    calibrator = StreamCalibrator(quoting)
    found: Features | None = None

    def look() -> Features | None:
        book = books.snapshot(scan.exchange, scan.symbol, 50)
        if book is None or book.state != BookState.LIVE or book.mid_price is None:
            return None
        estimates = estimators.read()
        calibration = calibrator.calibration(estimates, book.mid_price)
        return features_of.build(book, estimates, calibration, instrument)

    sampled_ns = 0
    while len(batch := reader.read(_BATCH if until_ns is None else 1)):
        if until_ns is not None and batch.encode()[0][0] > until_ns:
            break
        books.apply(batch)
        estimators.update(batch)
        now_ns = estimators.read()["timestamp_ns"] or 0
        if now_ns >= sampled_ns + SAMPLE_NS and (now := look()) is not None:
            sampled_ns, found = now_ns, now
            builder.observe(now)
    found = look() or found
    if found is None:
        raise MmHybridError(f"{scan.symbol}: no moment at which the book could be quoted on")
    return found
