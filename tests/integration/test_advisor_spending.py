"""What advice may cost: limits, retries, restarts, and a ledger that several sessions share."""

import asyncio
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from advisors import (
    MODEL,
    Records,
    config,
    first_answer,
    make,
    refusal,
    reply,
    rule_based_server,
    scripted_server,
)
from markets import market
from mm_hybrid.clock import ManualClock, WallClock
from mm_hybrid.config import AdvisorConfig, QuotingConfig
from mm_hybrid.optimizer.advice import AdviceRejectedError
from mm_hybrid.optimizer.assemble import assemble, header_of
from mm_hybrid.optimizer.budget import Budget, Price
from mm_hybrid.optimizer.cassette import (
    Cassette,
    Recorder,
)
from mm_hybrid.optimizer.ledger import Ledger


async def test_spending_survives_a_restart_and_a_crash_is_charged_its_worst_case(tmp_path: Path) -> None:
    path = tmp_path / "spend.sqlite"
    async with rule_based_server() as url:
        records = Records()
        one = make(config(url), records, ledger=Ledger(path))
        row = await first_answer(one, records)
        await one.close()
    killed = Ledger(path)
    worst = 0.5
    killed.reserve(WallClock().now_ns(), MODEL, worst, 1000, 2)  # and never settled: the process died
    async with rule_based_server() as url:
        records = Records()
        one = make(config(url, budget_usd_per_day=worst + row["cost_usd"]), records, ledger=Ledger(path))
        assert one.spent_usd == pytest.approx(worst + row["cost_usd"])
        assert (await first_answer(one, records))["outcome"] == "budget_denied"
        await one.close()


def with_usage(prompt: object, completion: object) -> str:
    usage = json.dumps({"usage": {"prompt_tokens": prompt, "completion_tokens": completion}})
    return f"{reply()[:-1]}, {usage[1:]}"


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [(0, 0), (10, 0), (0, 5), (-5, -1), (10**30, 10**30), (10**400, 1), (1.5, "x")],
)
@pytest.mark.parametrize("shape", ["auto", "json_schema"])
async def test_usage_that_cannot_be_true_is_charged_the_worst_case_and_every_call_is_told(
    prompt: object, completion: object, shape: str, tmp_path: Path
) -> None:
    records, tape = Records(), tmp_path / "tape.jsonl"
    async with rule_based_server(raw_body=with_usage(prompt, completion)) as url:
        settings = config(url, response_format=shape)
        recorder = Recorder(tape, header_of(settings, 1), pass_id="1")
        one = make(settings, records, recorder=recorder)
        row = await first_answer(one, records)
        spent_usd = one.spent_usd
        await one.close()
    assert row["outcome"] == "accepted"
    most_in = -(-len(row["request_json"]) // 3)
    assert row["cost_usd"] == pytest.approx((most_in * 2.0 + 200 * 8.0) / 1e6)
    (recorded,) = Cassette.read(tape).records
    assert recorded.cost_usd == row["cost_usd"]
    probes = [json.loads(detail)["cost_usd"] for what, _, detail in records.states if what == "advisor:probe"]
    assert len(probes) == (shape == "auto")
    assert spent_usd == pytest.approx(row["cost_usd"] + sum(probes))


async def test_usage_that_can_be_true_is_charged_as_told() -> None:
    records = Records()
    async with rule_based_server(raw_body=with_usage(400, 100)) as url:
        one = make(config(url), records)
        row = await first_answer(one, records)
        assert row["cost_usd"] == pytest.approx((400 * 2.0 + 100 * 8.0) / 1e6) == one.spent_usd
        await one.close()


@pytest.mark.parametrize(("prompt", "completion"), [(50_000, 150), (10, 201), (10**6, 5), (2**53, 2**53)])
async def test_usage_above_what_was_sent_is_charged_as_told_up_to_the_day_s_budget(
    prompt: int, completion: int
) -> None:
    records, told_usd = Records(), (prompt * 2.0 + completion * 8.0) / 1e6
    async with rule_based_server(raw_body=with_usage(prompt, completion)) as url:
        one = make(config(url, budget_usd_per_day=1.5), records)
        row = await first_answer(one, records)
        assert row["outcome"] == "accepted"
        assert row["cost_usd"] == pytest.approx(min(told_usd, 1.5)) == one.spent_usd
        await one.close()


def test_sessions_that_share_a_file_of_spending_share_the_limit(tmp_path: Path) -> None:
    price = Price(in_usd_per_mtok=0.0, out_usd_per_mtok=1e4)  # 100 tokens twice: 2 USD
    cost_usd = 2 * price.cost_usd(0, 100)

    def session(_: int) -> int:
        ledger = Ledger(tmp_path / "spend.sqlite")
        budget = Budget(
            usd_per_day=30.2 * cost_usd, calls_per_min=600, price=price, clock=ManualClock(1), ledger=ledger
        )
        reserved = 0
        for _ in range(20):
            with suppress(AdviceRejectedError):
                budget.reserve(0, 100)
                reserved += 1
        ledger.close()
        return reserved

    Ledger(tmp_path / "spend.sqlite").close()
    with ThreadPoolExecutor(2) as threads:
        assert sum(threads.map(session, range(2))) == 30


async def test_retries_count_as_calls_and_are_left_out_where_the_limits_allow_one_try_only() -> None:
    posts = 0

    async def busy(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal posts
        posts += 1
        head = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\n"
        writer.write(f"{head}Content-Length: 2\r\nConnection: close\r\n\r\n{{}}".encode())
        await writer.drain()

    records, clock = Records(), ManualClock(10**18)
    async with scripted_server(busy) as url:
        one = make(config(url, calls_per_min=3), records, clock)
        outcomes = []
        for after_s in (0, 20, 40, 61):
            clock.advance(10**18 + after_s * 10**9 - clock.now_ns())
            one.offer(market(after_s=after_s))
            outcomes.append((await records.next())["outcome"])
        await one.close()
    assert outcomes == ["http_5xx", "http_5xx", "budget_denied", "http_5xx"]
    assert posts == 2 + 1 + 2


@pytest.mark.parametrize("moment", ["reserve", "settle", "close"])
async def test_a_ledger_that_another_session_holds_costs_at_most_one_question(
    moment: str, tmp_path: Path
) -> None:
    path, records = tmp_path / "spend.sqlite", Records()
    other = sqlite3.connect(path, isolation_level=None)
    asked = asyncio.Event()

    async def slow(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.sleep(0.2)
        body = with_usage(100, 50)
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(f"{head}{body}".encode())
        await writer.drain()

    async with scripted_server(slow) as url:
        one = make(config(url), records, ledger=Ledger(path))
        if moment == "reserve":
            other.execute("BEGIN IMMEDIATE")
        one.offer(market())
        if moment != "reserve":
            await asked.wait()
            other.execute("BEGIN IMMEDIATE")
        if moment == "close":
            await one.close()
        row = await records.next()
        other.execute("ROLLBACK")
        wanted = {"reserve": "budget_denied", "settle": "accepted", "close": "invalid_transport"}
        assert row["outcome"] == wanted[moment]
        assert one.counters["in_flight"] == 0
        if moment != "close":
            one._last_ask_ns = None
            one.offer(market(after_s=1))
            assert (await records.next())["outcome"] == "accepted", "and the next one is asked"
        await one.close()
    other.close()


async def test_a_probe_that_finds_the_ledger_held_is_made_again_later(tmp_path: Path) -> None:
    path, records, clock = tmp_path / "spend.sqlite", Records(), ManualClock(1)
    other = sqlite3.connect(path, isolation_level=None)
    async with rule_based_server() as url:
        one = make(config(url, response_format="auto"), records, clock, ledger=Ledger(path))
        other.execute("BEGIN IMMEDIATE")
        assert (await refusal(one, records))[2]
        other.execute("ROLLBACK")
        clock.advance(61 * 10**9)
        assert (await first_answer(one, records))["outcome"] == "accepted"
        await one.close()
    other.close()


def test_many_sessions_may_begin_on_one_new_file_of_spending(tmp_path: Path) -> None:
    def begin(name: int) -> None:
        Ledger(tmp_path / f"{name // 8}.sqlite").close()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(begin, range(160)))


def test_a_ledger_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "a.sqlite", isolation_level=None)
    old.executescript(
        "CREATE TABLE call(id INTEGER PRIMARY KEY, ts_ns INTEGER NOT NULL, model TEXT NOT NULL, usd REAL NOT NULL,"
        " tokens INTEGER NOT NULL, settled INTEGER NOT NULL DEFAULT 0);"
        "CREATE TABLE profile(base_url TEXT NOT NULL, model TEXT NOT NULL, response_format TEXT NOT NULL,"
        " probed_ns INTEGER NOT NULL, detail TEXT NOT NULL, PRIMARY KEY(base_url, model));"
        "INSERT INTO call(ts_ns, model, usd, tokens) VALUES(5, 'm', 0.25, 10); PRAGMA user_version = 1"
    )
    old.close()
    for _ in range(2):
        ledger = Ledger(tmp_path / "a.sqlite")
        assert ledger.spent(0, 10) == (0.25, 10, 1)
        ledger.close()


def test_a_clock_that_jumps_neither_blocks_the_next_minute_nor_forgets_what_was_spent(tmp_path: Path) -> None:
    hour_ns, day_ns, now_ns = 3600 * 10**9, 86_400 * 10**9, 20_000 * 86_400 * 10**9 + 3600 * 10**9
    price, path = Price(in_usd_per_mtok=1.0, out_usd_per_mtok=1.0), tmp_path / "a.sqlite"

    def budget(ledger: Ledger, at_ns: int) -> Budget:
        return Budget(usd_per_day=1.0, calls_per_min=2, price=price, clock=ManualClock(at_ns), ledger=ledger)

    ledger = Ledger(path, now_ns=now_ns)
    spent = budget(ledger, now_ns)
    spent.reserve(300_000, 100_000)
    usd = spent.spent_usd
    assert usd > 0
    set_back = budget(ledger, now_ns - hour_ns // 2)
    assert set_back.spent_usd == usd, "it is still of this day"
    assert set_back.reserve(3, 1).attempts == 2, "what lies in the future is not of this minute"
    ledger.close()
    Ledger(path, now_ns=now_ns + 401 * day_ns).close()
    again = Ledger(path, now_ns=now_ns)
    assert again.spent(0, 2**62).usd >= usd
    again.close()


def test_the_file_of_spending_may_be_named(tmp_path: Path) -> None:
    shared = tmp_path / "of-all" / "spend.sqlite"
    _, one = assemble(
        QuotingConfig(),
        AdvisorConfig(spend_file=shared),
        api_key=None,
        journal=Records(),
        clock=ManualClock(1),
        folder=tmp_path,
    )
    assert one is not None
    assert list(tmp_path.iterdir()) == [shared.parent]


async def test_tokens_a_minute_are_limited_too() -> None:
    records = Records()
    async with rule_based_server() as url:
        one = make(config(url, tokens_per_min=100), records)
        row = await first_answer(one, records)
        assert row["outcome"] == "budget_denied"
        assert "tokens a minute" in row["detail"]
        await one.close()


def test_the_ledger_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    Ledger(tmp_path / "x.sqlite").close()
    with sqlite3.connect(tmp_path / "x.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(Exception, match="ledger version 99"):
        Ledger(tmp_path / "x.sqlite")
