"""Whatever bytes come back, and whatever they say: nothing raises, and quotes stay where no advisor can move them.

Examples per property: 100, or what ``MM_HYBRID_FUZZ_EXAMPLES`` says (``make fuzz`` runs a hundred thousand).
"""

import json
import math
import os
from decimal import Decimal
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advisors import MODEL, Records, config
from markets import market
from mm_hybrid.clock import ManualClock
from mm_hybrid.config import QuotingConfig
from mm_hybrid.optimizer.advisor import Advisor
from mm_hybrid.optimizer.attempt import KEPT_HEADERS, Attempt
from mm_hybrid.optimizer.base import BAND
from mm_hybrid.optimizer.blend import AdvisedOptimizer
from mm_hybrid.optimizer.client import ListedModel
from mm_hybrid.optimizer.glft import GlftOptimizer
from mm_hybrid.quotes import on_grid, order_qty
from mm_hybrid.strategy import ClosedForm
from mm_hybrid.types import Position

FUZZED = settings(
    max_examples=int(os.environ.get("MM_HYBRID_FUZZ_EXAMPLES", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
WIDEST = 1 + 1e-12

numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(0.05, 60, allow_nan=False),
    st.integers(-(10**30), 10**30),
    st.booleans(),
    st.none(),
    st.text(max_size=8),
)
plausible = st.floats(0.05, 12, allow_nan=False)
replies = st.fixed_dictionaries(
    {
        "recommended_bid_spread_bps": st.one_of(plausible, numbers),
        "recommended_ask_spread_bps": st.one_of(plausible, numbers),
        "position_limit": st.one_of(st.floats(0, 1), numbers),
        "confidence": st.one_of(st.floats(0, 1), numbers),
        "anomaly": st.one_of(
            st.sampled_from(["none", "spike", "thin_book", "one_sided", "data_fault"]), st.text(max_size=12)
        ),
        "reasoning": st.text(max_size=300),
    }
)
good_replies = st.fixed_dictionaries(
    {
        "recommended_bid_spread_bps": plausible,
        "recommended_ask_spread_bps": plausible,
        "position_limit": st.floats(0, 1),
        "confidence": st.floats(0, 1),
        "anomaly": st.sampled_from(["none", "spike", "thin_book", "one_sided", "data_fault"]),
        "reasoning": st.text(max_size=30),
    }
)
json_values: st.SearchStrategy[Any] = st.recursive(
    numbers,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
)


def envelope(content: object, finish: object = "stop", usage: object = None, model: object = MODEL) -> bytes:
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": finish}
    return json.dumps({"model": model, "choices": [choice], "usage": usage}).encode()


bodies = st.one_of(
    good_replies.map(lambda reply: envelope(json.dumps(reply))),
    replies.map(lambda reply: envelope(json.dumps(reply))),
    st.builds(envelope, json_values, json_values, json_values, json_values),
    st.builds(lambda reply, usage: envelope(json.dumps(reply), usage=usage), replies, json_values),
    st.binary(max_size=300),
    json_values.map(lambda value: json.dumps(value).encode()),
    replies.map(lambda reply: f"data: {json.dumps(reply)}\n\n".encode()),
)
attempts = st.builds(
    Attempt,
    status=st.one_of(st.just(200), st.integers(100, 999)),
    headers=st.dictionaries(st.sampled_from(KEPT_HEADERS), st.text(max_size=30), max_size=3),
    body=bodies,
    error=st.one_of(
        st.none(), st.none(), st.none(), st.sampled_from(["timeout", "connect", "transport", "too_large"])
    ),
    latency_ns=st.integers(0, 10**11),
)


class Scripted:
    """A client that says what it was given, after the time it was given."""

    def __init__(self) -> None:
        self.coming: list[Attempt] = []

    async def ask(self, request: Any, attempts: list[Attempt], *, most_attempts: int = 2) -> None:
        attempts.extend(self.coming[:most_attempts])

    async def models(self) -> list[ListedModel]:
        return []

    async def close(self) -> None: ...


class Loop:
    """An event loop that only keeps what it should run."""

    def __init__(self) -> None:
        self.started: list[Any] = []

    def create_task(self, work: Any, name: str) -> None:
        self.started.append(work)


def answered(one: Advisor, client: Scripted, coming: list[Attempt], after_s: float) -> None:
    """Offer a market and step its question through to the end, without an event loop."""
    client.coming = coming
    loop = Loop()
    with mock.patch("asyncio.get_running_loop", return_value=loop):
        one.offer(market(after_s=after_s))
    for work in loop.started:
        try:
            work.send(None)
        except StopIteration:
            continue
        raise AssertionError("a scripted answer waits for nothing")


def advisor(client: Scripted, clock: ManualClock) -> tuple[Advisor, Records]:
    records = Records()
    settings_ = config("http://127.0.0.1:1/v1", calls_per_min=600, budget_usd_per_day=1000.0)
    return Advisor(settings_, client, records, clock, model=GlftOptimizer(QuotingConfig())), records


@FUZZED
@given(
    st.lists(
        st.tuples(st.lists(attempts, min_size=1, max_size=2), st.floats(5.0, 70.0)), min_size=1, max_size=4
    ),
    st.floats(0, 0.5),
    st.decimals(-1, 1, places=3),
    st.floats(0, 5),
)
def test_no_answer_raises_or_moves_a_quote_out_of_its_bounds_or_raises_a_limit(
    script: list[tuple[list[Attempt], float]], weight: float, inventory: Decimal, safety_bps: float
) -> None:
    clock, client = ManualClock(10**9), Scripted()
    one, records = advisor(client, clock)
    quoting = QuotingConfig(safety_bps=safety_bps)
    model = GlftOptimizer(quoting)
    optimizer = AdvisedOptimizer(model, one, max_weight=weight)
    position, after_s = Position(qty_base=inventory), 0.0
    for coming, wait_s in script:
        answered(one, client, coming, after_s)
        for step in (0.0, 0.1, wait_s / 2):
            features = market(after_s=after_s + step)
            base = model.base_quote(features, position)
            got = optimizer.recommend(features, position)
            flat = AdvisedOptimizer(model, None).recommend(features, position)
            halves = (
                got.recommended_bid_spread_bps - base.bid_skew_bps,
                got.recommended_ask_spread_bps - base.ask_skew_bps,
            )
            for half, half_base, told, alone in zip(
                halves,
                (base.bid_half_bps, base.ask_half_bps),
                (got.recommended_bid_spread_bps, got.recommended_ask_spread_bps),
                (flat.recommended_bid_spread_bps, flat.recommended_ask_spread_bps),
                strict=True,
            ):
                assert BAND[0] * alone / WIDEST <= told <= BAND[1] * alone * WIDEST, "the skew included"
                assert told >= min(base.floor_bps, alone)
                assert math.isfinite(told)
                assert told >= 0
                if told > 0:
                    least = max(BAND[0] * half_base, base.floor_bps)
                    most = max(BAND[1] * half_base, base.floor_bps)
                    assert least / WIDEST - 1e-9 <= half <= most * WIDEST + 1e-9
            assert 0 <= got.position_limit <= flat.position_limit
            quotes = on_grid(
                ClosedForm().quotes(features, position, got),
                features.instrument,
                order_qty(features.instrument, 600.0, features.mid_price),
            )
            for quote in quotes:
                assert (
                    (quote.price <= features.mid_price)
                    if quote.side == "buy"
                    else (quote.price >= features.mid_price)
                )
        clock.advance(round(wait_s * 1e9))
        after_s += wait_s
    counters = one.counters
    assert (
        counters["requested"]
        == len(records.rows)
        == counters["accepted"] + counters["clamped"] + counters["rejected"]
    )
    assert one.spent_usd >= 0


@FUZZED
@given(st.lists(attempts, min_size=1, max_size=2), st.decimals(-1, 1, places=3), st.floats(0, 100))
def test_with_weight_zero_every_answer_leaves_the_closed_form_bit_for_bit(
    coming: list[Attempt], inventory: Decimal, later_s: float
) -> None:
    clock, client = ManualClock(10**9), Scripted()
    one, _ = advisor(client, clock)
    shadow = AdvisedOptimizer(GlftOptimizer(QuotingConfig()), one, max_weight=0.0)
    alone = GlftOptimizer(QuotingConfig())
    position = Position(qty_base=inventory)
    for after_s in (0.0, later_s):
        answered(one, client, coming, after_s)
        features = market(after_s=after_s)
        assert shadow.recommend(features, position) == alone.recommend(features, position)
        clock.advance(round(later_s * 1e9))
