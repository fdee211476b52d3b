"""A journal as a session writes it: quotes, fills, answers, advice, through the real ``Journal``."""

from __future__ import annotations

import json
import math
import random
from decimal import Decimal
from pathlib import Path

from markets import market
from mm_hybrid.clock import ManualClock
from mm_hybrid.journal import Intent, Journal
from mm_hybrid.optimizer.prompt import Anchors, PromptBuilder, chat_request, profile_for
from mm_hybrid.pnl import PnlLedger
from mm_hybrid.types import Fill, Funding, Instrument

INSTRUMENT = Instrument(
    venue="bybit",
    symbol="BTCUSDT",
    ccxt_symbol="BTC/USDT:USDT",
    base="BTC",
    quote="USDT",
    tick_size=Decimal("0.1"),
    lot_size=Decimal("0.001"),
    min_qty=Decimal("0.001"),
    min_notional=Decimal(5),
    maker_fee_rate=Decimal("0.00001"),
    taker_fee_rate=Decimal("0.00055"),
)
START_NS = 1_760_000_000_000_000_000


async def write_session(
    path: Path,
    *,
    marks: int = 300,
    seed: int = 7,
    reason: str = "",
    empty: bool = False,
    opening_base: Decimal = Decimal(0),
) -> PnlLedger:
    """Write a journal of a made-up session and return the ledger an engine would have kept beside it.

    Args:
        path: the journal.
        marks: how many moments, 100 ms apart.
        seed: of the walk of the mid and of the fills.
        reason: text put wherever free text can stand.
        empty: only the start of the session, nothing after it.
        opening_base: position held before the session.
    """
    clock = ManualClock(START_NS)
    journal = Journal.open(path, clock)
    ledger = PnlLedger(opening_base)
    await journal.session(
        mode="demo",
        exchange="bybit",
        instrument=INSTRUMENT,
        version="0.1.0",
        config_json=json.dumps({"advisor": {"weight": 0.3}}),
    )
    if not empty:
        journal.state("engine", "running", reason)
        rng = random.Random(seed)
        for step in range(marks):
            clock.advance(100_000_000)
            await _one_moment(journal, ledger, clock, rng, step, reason)
        for step in (0, 3):
            await journal.intents([Intent(action="cancel", client_id=f"mm-1-{step}", reason=reason)])
            clock.advance(4_000_000)
            journal.outcome(state="CANCELED", client_id=f"mm-1-{step}", intent_seq=step + 1, source="stream")
        journal.state("engine", "stopped", "asked to")
        journal.refusal("position_limit", reason)
    await journal.close()
    return ledger


async def _one_moment(
    journal: Journal, ledger: PnlLedger, clock: ManualClock, rng: random.Random, step: int, reason: str
) -> None:
    wave = 12 * math.sin(step / 40) + rng.gauss(0, 1.5)
    mid = Decimal(round((60000 + wave) * 10)) / 10 + Decimal("0.05")
    action = "create" if step % 3 == 0 else "amend"
    (seq,) = await journal.intents([Intent(action=action, client_id=f"mm-1-{step}", reason=reason)])
    clock.advance(int(1e6 * (2 + rng.expovariate(1 / 3))))
    journal.outcome(
        state="ACKED", client_id=f"mm-1-{step}", intent_seq=seq, order_id=f"o{step}", message=reason
    )
    if rng.random() < 0.12:
        side = rng.choice(("buy", "sell"))
        price = mid - Decimal("4.35") if side == "buy" else mid + Decimal("4.35")
        fill = _fill(f"x{step}", side, price, clock.now_ns())
        ledger.fill(fill, mid)
        journal.fill(fill, mid=mid)
    if step % 200 == 150:
        paid = Funding(exec_id=f"f{step}", amount_quote=Decimal("-0.125"), exchange_ts_ns=clock.now_ns())
        ledger.fund(paid.amount_quote)
        journal.funding(paid)
    ledger.mark(mid)
    parts, position = ledger.parts, ledger.position
    quoting = step % 50 < 45
    journal.mark(
        market_ts_ns=clock.now_ns() - 3_000_000,
        mid=mid,
        best_bid=mid - Decimal("0.05"),
        best_ask=mid + Decimal("0.05"),
        book_state="LIVE" if quoting else "STALE",
        bid_quote=mid - Decimal("4.35") if quoting else None,
        ask_quote=mid + Decimal("4.35") - Decimal(step % 7) / 10 if quoting else None,
        position=position.qty_base,
        cash=position.cash_quote,
        fees=position.fees_quote,
        funding=position.funding_quote,
        spread_capture=parts.spread_capture,
        inventory_pnl=parts.inventory,
        total=parts.total,
    )
    if step % 100 == 0:
        journal.advice(
            outcome="clamped" if step == 100 else "accepted",
            request_json=_request(step),
            prompt="exogenous",
            bid_half_bps=0.8,
            ask_half_bps=0.9,
            base_bid_half_bps=0.72,
            base_ask_half_bps=0.73,
            latency_ms=4.2,
            detail=reason,
        )


def _request(step: int) -> str:
    text = PromptBuilder().user_text(market(after_s=step / 10), Anchors(0.72, 0.73, 0.12))
    return json.dumps(chat_request("gpt-4.1", text, profile_for("gpt-4.1")), sort_keys=True)


def _fill(exec_id: str, side: str, price: Decimal, now_ns: int) -> Fill:
    qty = Decimal("0.010")
    return Fill(
        exec_id=exec_id,
        client_id="mm-1-1",
        order_id="o1",
        side="buy" if side == "buy" else "sell",
        price=price,
        qty=qty,
        fee=-price * qty * Decimal("0.00001"),
        fee_quote=-price * qty * Decimal("0.00001"),
        fee_currency="USDT",
        is_maker=True,
        exchange_ts_ns=now_ns,
        local_ts_ns=now_ns,
    )
