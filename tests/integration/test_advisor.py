"""The advisor over real sockets: what a service may do, and what it never does to quoting."""

import asyncio
import base64
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from advisors import KEY, MODEL, Records, config, reply, rule_based_server, scripted_server
from markets import market
from mm_hybrid.clock import ManualClock, WallClock
from mm_hybrid.config import AdvisorConfig, QuotingConfig
from mm_hybrid.errors import ConfigError, ServerError
from mm_hybrid.optimizer.advisor import Advisor
from mm_hybrid.optimizer.assemble import assemble
from mm_hybrid.optimizer.blend import AdvisedOptimizer
from mm_hybrid.optimizer.cassette import Cassette
from mm_hybrid.optimizer.client import AdvisorClient, key_from_env
from mm_hybrid.optimizer.glft import GlftOptimizer
from mm_hybrid.servers.advisor import AdvisorServerConfig, serve_advisor
from mm_hybrid.types import BookState, Position


@asynccontextmanager
async def advisor(base_url: str, clock: Any = None, **values: Any) -> AsyncIterator[tuple[Advisor, Records]]:
    settings, records, clock = config(base_url, **values), Records(), clock or WallClock()
    client = AdvisorClient(settings, SecretStr(KEY), clock)
    one = Advisor(settings, client, records, clock, model=GlftOptimizer(QuotingConfig()))
    try:
        yield one, records
    finally:
        await one.close()


def balanced(one: Advisor) -> bool:
    counters = one.counters
    return counters["requested"] == sum(
        counters[name] for name in ("accepted", "clamped", "rejected", "in_flight")
    )


async def outcome_of(base_url: str, **values: Any) -> dict[str, Any]:
    async with advisor(base_url, **values) as (one, records):
        one.offer(market())
        assert one.counters["in_flight"] == 1
        assert balanced(one)
        row = await records.next()
        assert balanced(one)
        assert one.counters["requested"] == 1
        return row


async def test_advice_is_asked_at_the_first_live_snapshot_accepted_recorded_and_in_force() -> None:
    async with rule_based_server() as url, advisor(url) as (one, records):
        one.offer(market(state="UNSYNCED"))
        assert one.counters["requested"] == 0
        one.offer(market())
        row = await records.next()
        assert row["outcome"] == "accepted", row
        assert row["base_bid_half_bps"] <= row["bid_half_bps"] <= 1.5 * row["base_bid_half_bps"]
        assert 0 < row["cost_usd"] < 0.01
        assert row["latency_ms"] > 0
        assert json.loads(row["request_json"])["model"] == MODEL
        in_force = one.advice_for(market(after_s=1).timestamp_ns, market(after_s=1))
        assert in_force is not None
        assert in_force.bid_half_bps == row["bid_half_bps"]
        assert one.counters == {"requested": 1, "accepted": 1, "clamped": 0, "rejected": 0, "in_flight": 0}


async def test_advice_outside_the_band_is_clamped_and_outside_the_gate_refused() -> None:
    async with rule_based_server(raw_body=reply(recommended_bid_spread_bps=0.5)) as url:
        assert (await outcome_of(url))["outcome"] == "clamped"
    async with rule_based_server(raw_body=reply(recommended_bid_spread_bps=120.0)) as url:
        assert (await outcome_of(url))["outcome"] == "out_of_ratio"


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"raw_body": "<html>maintenance</html>"}, "invalid_envelope"),
        ({"raw_body": reply(position_limit="1")}, "invalid_schema"),
        ({"raw_body": reply().replace("0.5", "NaN")}, "invalid_json"),
        ({"raw_body": reply().replace(MODEL, "somebody-else")}, "model_mismatch"),
        ({"raw_body": "x" * 70_000}, "invalid_transport"),
        ({"status": 400}, "http_4xx"),
        ({"status": 500}, "http_5xx"),
        ({"status": 302}, "invalid_transport"),
        ({"status": 429, "retry_after": "30"}, "rate_limited"),
        ({"status": 503, "retry_after": "0"}, "http_5xx"),
        ({"delay_ms": 5000}, "timeout"),
    ],
)
async def test_every_fault_has_its_outcome_and_leaves_no_advice(fault: dict[str, Any], outcome: str) -> None:
    async with rule_based_server(**fault) as url, advisor(url, timeout_s=0.6) as (one, records):
        one.offer(market())
        row = await records.next()
        assert row["outcome"] == outcome, row
        assert one.latest is None
        assert one.counters["rejected"] == 1
        assert balanced(one)


async def test_an_event_stream_nobody_asked_for_is_understood() -> None:
    content = json.loads(reply())["choices"][0]["message"]["content"]
    chunks = [
        {"choices": [{"delta": {"content": content}}]},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    ]
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    async with rule_based_server(raw_body=body) as url:
        row = await outcome_of(url)
        assert row["outcome"] == "accepted"
        assert row["cost_usd"] > 0.001, "without a usage block the worst case is charged"


async def test_a_body_that_drips_in_meets_the_deadline() -> None:
    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with scripted_server(drip) as url:
        started = time.monotonic()
        row = await outcome_of(url, timeout_s=0.5)
        assert row["outcome"] == "timeout"
        assert time.monotonic() - started < 1.5


async def test_no_answer_is_waited_for_longer_than_a_quarter_of_its_life() -> None:
    async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with scripted_server(hang) as url:
        row = await outcome_of(url, timeout_s=30.0, ttl_s=1.0)
    assert row["outcome"] == "timeout"
    assert 250 <= row["latency_ms"] <= 300


async def test_a_busy_service_is_asked_once_more_when_it_says_soon() -> None:
    answers = [
        b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    ]
    body = reply().encode()
    answers.append(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
    )
    asked = iter(answers)

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(next(asked))
        await writer.drain()

    async with scripted_server(answer) as url:
        assert (await outcome_of(url))["outcome"] == "accepted"


async def test_a_service_that_is_down_opens_the_breaker_and_later_questions_are_not_sent() -> None:
    clock = ManualClock(1)
    async with advisor("http://127.0.0.1:9/v1", clock=clock) as (one, records):
        for i in range(6):
            one.offer(market(after_s=20.0 * i))
            row = await records.next()
            assert balanced(one)
            clock.advance(20 * 10**9)
        assert one.outcomes == {"invalid_transport": 5, "breaker_open": 1}
        assert row["outcome"] == "breaker_open"
        assert row["cost_usd"] == 0.0


async def test_a_refused_key_is_not_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock(1)
    async with rule_based_server(status=401) as url, advisor(url, clock=clock) as (one, records):
        one.offer(market())
        assert (await records.next())["outcome"] == "http_4xx"
        clock.advance(3600 * 10**9)
        one.offer(market(after_s=3600))
        assert one.counters["requested"] == 1
    assert [record.levelno for record in caplog.records if record.name.startswith("mm_hybrid")] == [
        logging.WARNING
    ]


async def test_questions_keep_their_distance_and_a_spike_asks_sooner() -> None:
    clock = ManualClock(1)
    async with rule_based_server() as url, advisor(url, clock=clock) as (one, records):

        async def offered_after(seconds: float, **changes: Any) -> int:
            clock.advance(round(seconds * 1e9))
            before = one.counters["requested"]
            one.offer(market(after_s=clock.now_ns() / 1e9, **changes))
            if one.counters["requested"] > before:
                await records.next()
            return one.counters["requested"]

        assert await offered_after(0) == 1
        assert await offered_after(4, spike=True) == 1, "never within five seconds"
        assert await offered_after(2) == 1
        assert await offered_after(1, spike=True) == 2
        assert await offered_after(12) == 2
        assert await offered_after(5) == 3


@pytest.mark.parametrize(
    "later",
    [
        market(after_s=61),
        market(after_s=1, mid_price=60_000.05 * 1.0011),
        market(after_s=1, sigma=11.0),
        market(after_s=1, state="STALE"),
    ],
    ids=["its life is over", "the mid moved 11 bps", "volatility doubled", "the book went stale"],
)
async def test_advice_about_another_market_is_not_used(later: Any) -> None:
    async with rule_based_server() as url, advisor(url) as (one, records):
        one.offer(market())
        await records.next()
        assert one.advice_for(later.timestamp_ns, later) is None


@pytest.mark.parametrize("seen", [True, False])
async def test_an_answer_about_a_book_from_before_a_gap_is_stale(seen: bool) -> None:
    async with rule_based_server(delay_ms=150) as url, advisor(url) as (one, records):
        one.offer(market())
        if seen:
            one.offer(market(after_s=0.01, state=BookState.UNSYNCED))
        else:
            one.invalidate("the book was rebuilt")
        one.offer(market(after_s=0.02))
        row = await records.next()
        assert row["outcome"] == "stale"
        assert row["detail"] == ("book is UNSYNCED" if seen else "the book was rebuilt")
        assert one.latest is None


async def test_advice_about_twice_the_model_on_both_sides_is_remarked() -> None:
    base = GlftOptimizer(QuotingConfig()).base_quote(market(), Position())
    twice = reply(
        recommended_bid_spread_bps=2 * base.bid_half_bps, recommended_ask_spread_bps=2 * base.ask_half_bps
    )
    async with rule_based_server(raw_body=twice) as url:
        row = await outcome_of(url)
    assert row["outcome"] == "accepted"
    assert "a whole spread given for half of it?" in row["detail"]


async def test_an_answer_about_a_market_that_is_gone_is_stale() -> None:
    async with rule_based_server(delay_ms=200) as url, advisor(url) as (one, records):
        one.offer(market())
        one.offer(market(after_s=0.1, mid_price=60_100.0))
        assert (await records.next())["outcome"] == "stale"
        assert one.latest is None


async def test_without_money_nothing_is_sent() -> None:
    async with rule_based_server() as url:
        assert (await outcome_of(url, budget_usd_per_day=0.0001))["outcome"] == "budget_denied"
        unpriced = await outcome_of(url, price_in_usd_per_mtok=None)
        assert unpriced["outcome"] == "budget_denied"
        assert "price" in unpriced["detail"]


async def test_without_a_key_nothing_is_asked_and_one_warning_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = AdvisorConfig()
    assert key_from_env(settings, {"HOLYSHEEP_API_KEY": " "}) is None
    optimizer, one = assemble(QuotingConfig(), settings, api_key=None, journal=Records(), clock=WallClock())
    assert one is not None
    for i in range(5):
        one.offer(market(after_s=i))
        assert optimizer.recommend(market(after_s=i), Position()).recommended_bid_spread_bps > 0
    assert one.counters == dict.fromkeys(("requested", "accepted", "clamped", "rejected", "in_flight"), 0)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "HOLYSHEEP_API_KEY" in warnings[0]
    await one.close()


async def test_a_black_holed_service_does_not_delay_a_recommendation() -> None:
    release = asyncio.Event()

    async def swallow(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await release.wait()

    def slowest(optimizer: AdvisedOptimizer, one: Advisor | None) -> float:
        times = []
        for i in range(300):
            started = time.perf_counter()
            if one is not None:
                one.offer(market(after_s=i / 100))
            optimizer.recommend(market(after_s=i / 100), Position())
            times.append(time.perf_counter() - started)
        return sorted(times)[int(0.99 * len(times))]

    async with scripted_server(swallow) as url, advisor(url) as (one, _records):
        closed_form = GlftOptimizer(QuotingConfig())
        one.offer(market())
        await asyncio.sleep(0)  # the question leaves
        assert one.counters["in_flight"] == 1
        assert slowest(AdvisedOptimizer(closed_form, one, max_weight=0.5), one) < 0.01
        assert one.counters["in_flight"] == 1
        release.set()


async def test_closing_in_the_middle_of_a_question_still_accounts_for_it() -> None:
    async with rule_based_server(delay_ms=60_000) as url, advisor(url, timeout_s=30.0) as (one, records):
        one.offer(market())
        await one.close()
        assert balanced(one)
        assert one.counters["in_flight"] == 0
        assert records.rows[-1]["detail"] == "the session ended first"


async def test_the_key_is_in_no_repr_log_or_record(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with rule_based_server(status=401) as url:
        settings = config(url)
        client = AdvisorClient(settings, SecretStr(KEY), WallClock())
        assert KEY not in repr(client) + str(vars(client))
        await client.close()
        row = await outcome_of(url)
    assert KEY not in json.dumps(row) + caplog.text


KEY_IN_BASE64 = base64.b64encode(f"x{KEY}".encode()).decode()


def reply_content(**changes: Any) -> str:
    return str(json.loads(reply(**changes))["choices"][0]["message"]["content"])


def in_two_events(content: str) -> str:
    """Return a stream of events that carries a text in two pieces, the key torn between them."""
    at = content.index(KEY) + len(KEY) // 2
    chunks = [
        {"id": "c", "model": MODEL, "choices": [{"index": 0, "delta": {"content": content[:at]}}]},
        {"id": "c", "choices": [{"index": 0, "delta": {"content": content[at:]}, "finish_reason": "stop"}]},
    ]
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)


KEY_ESCAPED = "".join(f"\\u{ord(char):04x}" for char in KEY)


@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [
        (400, "application/json", json.dumps({"error": {"message": f"bad key {KEY}"}})),
        (200, f"text/{KEY}", reply(reasoning=f"Bearer {KEY}")),
        (200, "text/html", f"<html>{KEY_IN_BASE64} {KEY.replace('-', '%2D')}</html>"),
        (200, "application/json", reply().replace(MODEL, KEY)),
        (200, "application/json", reply().replace(MODEL, KEY_ESCAPED)),
        (200, f"text/{KEY}\x00", ""),
        (200, "text/event-stream", in_two_events(reply_content(reasoning=KEY))),
        (200, "text/event-stream", in_two_events(reply_content(**{KEY: 1}))),
        (200, "application/json", reply(**{KEY: 1})),
    ],
    ids=[
        "error",
        "header and reasoning",
        "encoded",
        "model",
        "escaped model",
        "broken header",
        "split over events",
        "split as a name",
        "name of a field",
    ],
)
async def test_a_key_that_the_service_echoes_reaches_no_journal_log_or_recording(
    status: int, content_type: str, body: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    async def echo(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status} {KEY}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n{body}".encode())
        await writer.drain()

    caplog.set_level(logging.DEBUG, logger="mm_hybrid")
    tape, records = tmp_path / "tape.jsonl", Records()
    async with scripted_server(echo) as url:
        settings = config(url, cassette=tape, cassette_mode="record")
        _, one = assemble(
            QuotingConfig(), settings, api_key=KEY, journal=records, clock=WallClock(), folder=tmp_path
        )
        assert one is not None
        one.offer(market())
        row = await records.next()
        await one.close()
    recorded = [record.as_attempt() for record in Cassette.read(tape).records]
    assert recorded
    told = f"{row} {records.states} {caplog.text} {recorded} {tape.read_text()}"
    for form in (KEY, KEY_IN_BASE64[4:-4], KEY_ESCAPED, KEY.replace("-", "%2D")):
        assert form not in told


@pytest.mark.parametrize("url", ["http://api.holysheep.ai/v1", "http://10.0.0.1/v1"])
def test_a_key_never_travels_unencrypted_to_another_machine(url: str) -> None:
    settings = AdvisorConfig().model_copy(update={"base_url": url})
    with pytest.raises(ConfigError, match="https"):
        AdvisorClient(settings, SecretStr(KEY), WallClock())


# The server by itself


async def test_the_rule_based_server_refuses_as_openai_does() -> None:
    async with rule_based_server() as url, httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"{url}/models")).status_code == 401
        auth = {"Authorization": "Bearer any"}
        listed = (await http.get(f"{url}/models", headers=auth)).json()
        assert [model["id"] for model in listed["data"]] == [MODEL]
        for body, status in [
            ({"model": "gpt-4.1", "messages": [{"role": "user", "content": "{}"}]}, 404),
            ({"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}, 400),
            ({"model": MODEL}, 400),
        ]:
            answer = await http.post(f"{url}/chat/completions", headers=auth, json=body)
            assert (answer.status_code, bool(answer.json()["error"]["message"])) == (status, True)


async def test_a_port_in_use_is_one_line() -> None:
    async with rule_based_server() as url:
        port = int(url.split(":")[2].split("/")[0])
        with pytest.raises(ServerError, match=f"cannot listen on 127.0.0.1:{port}"):
            await serve_advisor(AdvisorServerConfig(port=port), ready=lambda _: None, stop=asyncio.Event())
