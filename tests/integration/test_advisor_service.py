"""What happens around the questions: models, shapes of reply, recordings."""

import asyncio
import base64
import json
import random
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from advisors import (
    KEY,
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
from mm_hybrid.cli import run
from mm_hybrid.clock import ManualClock
from mm_hybrid.config import AdvisorConfig, QuotingConfig
from mm_hybrid.doctor import _check_advisor
from mm_hybrid.optimizer.advisor import Advisor
from mm_hybrid.optimizer.assemble import assemble, header_of
from mm_hybrid.optimizer.attempt import Attempt
from mm_hybrid.optimizer.blend import AdvisedOptimizer
from mm_hybrid.optimizer.cassette import (
    Cassette,
    CassetteError,
    CassetteMissError,
    Recorder,
    Replay,
    request_key,
)
from mm_hybrid.optimizer.client import AdvisorClient
from mm_hybrid.optimizer.glft import GlftOptimizer
from mm_hybrid.optimizer.ledger import Ledger
from mm_hybrid.types import Position

FLAT = Position()


# Models and shapes of reply


async def test_a_model_that_is_not_offered_is_refused_before_anything_is_spent() -> None:
    records = Records()
    async with rule_based_server() as url:
        settings = config(url, model="gpt-4.1", check_models=True)
        one = make(settings, records)
        _, _, detail = await refusal(one, records)
        assert "'gpt-4.1' is not offered; offered: rule-based-1" in detail
        assert one.spent_usd == 0
        one.offer(market(after_s=1000))
        assert one.counters["requested"] == 0
        await one.close()


@pytest.mark.parametrize(("day", "asked"), [("2020-01-01", False), ("2999-12-31", True)])
async def test_a_model_is_asked_until_its_last_day(day: str, asked: bool) -> None:
    records = Records()
    async with rule_based_server(shutdown_date=day) as url:
        one = make(config(url, check_models=True), records)
        if asked:
            assert (await first_answer(one, records))["outcome"] == "accepted"
            assert records.states[0][:2] == ("advisor:model", "offered")
            assert day in records.states[0][2]
        else:
            assert "was shut down on 2020-01-01" in (await refusal(one, records))[2]
        await one.close()


@pytest.mark.parametrize(
    ("refused", "kept"),
    [((), "json_schema"), (("json_schema",), "json_object"), (("json_schema", "json_object"), "none")],
)
async def test_the_shape_of_reply_is_probed_once_recorded_and_remembered(
    refused: tuple[str, ...], kept: str, tmp_path: Path
) -> None:
    async with rule_based_server(refuse_formats=refused) as url:
        for start in (1, 2):
            records, ledger = Records(), Ledger(tmp_path / "spend.sqlite")
            one = make(config(url, response_format="auto"), records, ledger=ledger)
            row = await first_answer(one, records)
            assert row["outcome"] == "accepted"
            asked = json.loads(row["request_json"]).get("response_format", {"type": "none"})["type"]
            assert asked == kept
            probed = [told for told in records.states if told[0] == "advisor:response_format"]
            assert [told[1] for told in probed] == ([kept] if start == 1 else [])
            await one.close()


async def test_a_service_that_cannot_be_probed_is_tried_ever_less_often() -> None:
    records, clock = Records(), ManualClock(1)
    async with rule_based_server(status=503) as url:
        settings = config(url, response_format="auto", timeout_s=0.2)
        client = AdvisorClient(settings, SecretStr(KEY), clock)
        one = Advisor(settings, client, records, clock, model=GlftOptimizer(QuotingConfig()))
        for minute in range(120):
            one.offer(market(after_s=60 * minute))
            if one._preparing is not None:
                await one._preparing
            clock.advance(60 * 10**9)
        await one.close()
    tried = sum(told[0] == "advisor:prepare" for told in records.states)
    opened = [told for told in records.states if told[:2] == ("breaker:advisor", "open")]
    assert 5 < tried < 20, "once a minute five times, then a probe every ten minutes"
    assert len(opened) == tried - 4
    assert one.counters["requested"] == 0


async def test_the_doctor_tells_the_last_day_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLYSHEEP_API_KEY", KEY)
    async with rule_based_server(shutdown_date="2999-12-31") as url:
        checks = {check.name: check for check in await _check_advisor(config(url))}
        assert checks["advisor model"].ok
        assert "until 2999-12-31" in checks["advisor model"].detail
        assert checks["advisor price"].ok
        wrong = {check.name: check for check in await _check_advisor(config(url, model="gpt-9"))}
        assert wrong["advisor model"].ok is False
    unknown = {
        check.name: check
        for check in await _check_advisor(AdvisorConfig(model="x", base_url="https://127.0.0.1:9"))
    }
    assert "price of 'x' is unknown" in unknown["advisor price"].detail
    assert unknown["advisor model"].ok is None, "a service that is down is a warning"
    assert KEY not in repr(checks) + repr(wrong) + repr(unknown)


async def test_a_service_with_endless_names_of_models_fills_no_message() -> None:
    records = Records()
    names = json.dumps({"data": [{"id": "\x1b" + "n" * 300_000}, {"id": "b"}]})

    async def listing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(names)}\r\nConnection: close\r\n\r\n"
        writer.write(f"{head}{names}".encode())
        await writer.drain()

    async with scripted_server(listing) as url:
        one = make(config(url, check_models=True), records)
        _, _, detail = await refusal(one, records)
        await one.close()
    assert "is not offered" in detail
    assert len(detail) < 500
    assert detail.isprintable()


# Recordings


STEPS = 400


async def drive(
    one: Advisor, clock: ManualClock, *, live: bool, weight: float = 0.5
) -> list[tuple[float, float, float]]:
    """Walk through one market, half a second a step, and return what was recommended."""
    optimizer = AdvisedOptimizer(GlftOptimizer(QuotingConfig()), one, max_weight=weight)
    rng, mid, decisions = random.Random(5), 60_000.05, []
    for step in range(STEPS):
        clock.advance(500_000_000)
        mid += rng.gauss(0, 2)
        features = market(after_s=step / 2, mid_price=mid, imbalance=rng.uniform(-1, 1))
        one.offer(features)
        if live and one._task is not None:
            await asyncio.wait([one._task])
        got = optimizer.recommend(features, FLAT)
        decisions.append((got.recommended_bid_spread_bps, got.recommended_ask_spread_bps, got.position_limit))
    return decisions


async def recorded(path: Path, url: str, name: str = "1") -> Records:
    records, clock = Records(), ManualClock(1_700_000_000 * 10**9)
    settings = config(url, cassette=path, cassette_mode="record", cassette_pass=name)
    recorder = Recorder(path, header_of(settings, clock.now_ns()), pass_id=name)
    one = make(settings, records, clock, recorder=recorder)
    await drive(one, clock, live=True)
    await one.close()
    return records


async def replayed(
    path: Path, url: str, *, name: str = "1", mode: str = "replay_strict"
) -> tuple[list[Any], Records]:
    records, clock = Records(), ManualClock(1_700_000_000 * 10**9)
    settings = config(url, cassette=path, cassette_mode=mode, cassette_pass=name)
    one = make(settings, records, clock, replay=Replay(Cassette.read(path), pass_id=name))
    decisions = await drive(one, clock, live=False)
    await one.close()
    return decisions, records


async def test_a_recording_replays_to_the_same_decisions_without_a_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    async with rule_based_server() as url:
        live = await recorded(path, url)
    assert KEY not in path.read_text()
    assert "Bearer" not in path.read_text()

    def no_socket(*_args: Any, **_kwargs: Any) -> None:
        raise AssertionError("a replay opened a socket")

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", no_socket)
        first, records = await replayed(path, url)
        second, again = await replayed(path, url)
    assert json.dumps(first) == json.dumps(second)
    assert [row["outcome"] for row in records.rows] == [row["outcome"] for row in live.rows]
    assert [row["reply_text"] for row in records.rows] == [row["reply_text"] for row in live.rows]
    assert [row["cost_usd"] for row in again.rows] == [row["cost_usd"] for row in live.rows]
    assert len({decision[0] for decision in first}) > 10, "the advice moved something"


async def test_a_recorded_answer_is_not_seen_before_its_latency_has_passed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    settings = config("http://127.0.0.1:9/v1", cassette=path, cassette_mode="replay_strict")
    probe, records = Records(), Records()
    asking = make(settings, probe, ManualClock(), replay=Replay(empty(path, settings), pass_id="1"))
    with pytest.raises(CassetteMissError):
        asking.offer(market())
    key = request_key(json.loads(probe.rows[0]["request_json"]))
    path.unlink()
    recorder = Recorder(path, header_of(settings, 0), pass_id="1")
    answer = Attempt(status=200, body=reply().encode(), latency_ns=2_000_000_000)
    recorder.record(
        key=key,
        symbol="A1",
        snapshot_seq=0,
        snapshot_ts_ns=market().timestamp_ns,
        sent_ts_ns=0,
        attempts=[answer],
    )
    recorder.close()
    one = make(settings, records, ManualClock(), replay=Replay(Cassette.read(path), pass_id="1"))
    for after_s, seen in ((0.0, False), (1.999, False), (2.0, True)):
        now = market(after_s=after_s)
        one.offer(now)
        assert (one.advice_for(now.timestamp_ns, now) is not None) is seen, after_s
        assert one.counters["in_flight"] == int(not seen)
    await one.close()


def empty(path: Path, settings: AdvisorConfig) -> Cassette:
    Recorder(path, header_of(settings, 0), pass_id="1").close()
    return Cassette.read(path)


async def test_a_miss_is_an_outcome_or_in_strict_replay_an_error_that_names_the_nearest(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.jsonl"
    async with rule_based_server() as url:
        await recorded(path, url)
        records = Records()
        settings = config(
            url, cassette=path, cassette_mode="replay", model="other", price_in_usd_per_mtok=1.0
        )
        one = make(settings, records, ManualClock(), replay=Replay(Cassette.read(path), pass_id="1"))
        one.offer(market())
        assert records.rows[0]["outcome"] == "replay_miss"
        await one.close()
        strict = settings.model_copy(update={"cassette_mode": "replay_strict"})
        one = make(strict, records, ManualClock(), replay=Replay(Cassette.read(path), pass_id="1"))
        with pytest.raises(
            CassetteMissError,
            match=r"was never recorded in pass '1'; nearest recorded: 17\d+ \(.*key [0-9a-f]{64}",
        ):
            one.offer(market())
        await one.close()


async def test_faults_are_recorded_as_they_came_and_replay_as_the_same_outcomes(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
        b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n",
        b"",
    ]
    asked = iter(answers * STEPS)

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(next(asked))
        await writer.drain()

    async with scripted_server(answer) as url:
        live = await recorded(path, url)
    assert {"invalid_envelope", "http_5xx", "invalid_transport"} <= {row["outcome"] for row in live.rows}
    _, records = await replayed(path, url)
    assert [row["outcome"] for row in records.rows] == [row["outcome"] for row in live.rows]
    assert base64.b64encode(b"<html>").decode() in path.read_text()


async def test_a_broken_line_is_named_by_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.jsonl"
    async with rule_based_server() as url:
        await recorded(path, url)
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(None, run, ["cassette", "verify", str(path)]) == 0
    assert await loop.run_in_executor(None, run, ["cassette", "show", str(path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert shown["questions"] == len(shown["records"]) == len(path.read_text().splitlines()) - 1
    lines = path.read_text().splitlines()
    for damage in (
        lines[3][:-20],
        lines[3].replace('"status":200', '"status":"200"'),
        lines[3].replace('"body_b64":"', '"body_b64":"!'),
        lines[3].replace('"attempt":1', '"attempt":2'),
        lines[3].replace('"headers":{', '"headers":{"authorization":"x",'),
        re.sub(r'"latency_us":\d+', f'"latency_us":{10**30}', lines[3]),
        re.sub(r'"cost_usd":[^,}]+', '"cost_usd":-1.0', lines[3]),
        re.sub(r'"cost_usd":[^,}]+', '"cost_usd":1e300', lines[3]),
        re.sub(r'"sent_ts_us":\d+', '"sent_ts_us":-1', lines[3]),
    ):
        assert damage != lines[3]
        path.write_text("\n".join([*lines[:3], damage, *lines[4:]]) + "\n")
        assert await loop.run_in_executor(None, run, ["cassette", "verify", str(path)]) == 2
        told = capsys.readouterr().err
        assert f"{path}:4: " in told
        assert len(told) < 1000, "a line is named, not repeated"
    unchained = [re.sub(r',"chain":"\w+"', "", line) for line in lines]
    path.write_text("\n".join([*unchained[:3], unchained[3].replace('"last":true', '"last":false')]) + "\n")
    assert await loop.run_in_executor(None, run, ["cassette", "verify", str(path)]) == 2
    assert f"{path}:4: attempt 1 was not the last" in capsys.readouterr().err


async def test_a_recording_that_was_edited_or_put_in_another_order_is_named_with_its_line(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.jsonl"
    async with rule_based_server() as url:
        await recorded(path, url)
    lines = path.read_text().splitlines()
    other = base64.b64encode(reply(recommended_bid_spread_bps=2.5).encode()).decode()
    for changed, line in (
        ([*lines[:3], re.sub(r'"body_b64":"[^"]+"', f'"body_b64":"{other}"', lines[3]), *lines[4:]], 4),
        ([*lines[:3], re.sub(r'"snapshot_seq":\d+', '"snapshot_seq":99', lines[3]), *lines[4:]], 4),
        ([*lines[:2], lines[1], *lines[2:]], 3),
        ([lines[0], *lines[2:]], 2),
        ([lines[0], lines[2], lines[1], *lines[3:]], 2),
        ([lines[0].replace('"created_ns":', '"created_ns":1'), *lines[1:]], 2),
    ):
        path.write_text("\n".join(changed) + "\n")
        with pytest.raises(
            CassetteError, match=rf"a\.jsonl:{line}: this line was changed, or lines before it"
        ):
            Cassette.read(path)
    path.write_text("\n".join(re.sub(r',"chain":"\w+"', "", one) for one in lines) + "\n")
    assert len(Cassette.read(path).records) == len(lines) - 1, "what something else wrote needs no digests"


@pytest.mark.parametrize("torn_off", [1, 20])
async def test_a_torn_recording_is_not_continued_and_stays_as_it_is(torn_off: int, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    async with rule_based_server() as url:
        await recorded(path, url)
        path.write_bytes(path.read_bytes()[:-torn_off])
        torn = path.read_bytes()
        with pytest.raises(CassetteError, match=r"a\.jsonl.*not continued"):
            await recorded(path, url, "2")
    assert path.read_bytes() == torn


def test_a_recording_of_something_else_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    Recorder(path, header_of(config("http://127.0.0.1:1/v1"), 1), pass_id="1").close()
    Recorder(path, header_of(config("http://127.0.0.1:1/v1"), 2), pass_id="2").close()
    with pytest.raises(CassetteError, match="recorded with rule-based-1"):
        Recorder(path, header_of(config("http://127.0.0.1:1/v1", model="x"), 1), pass_id="1")


def test_replay_needs_no_key(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    settings = config("http://127.0.0.1:1/v1", cassette=path, cassette_mode="replay")
    empty(path, settings)
    _, one = assemble(QuotingConfig(), settings, api_key=None, journal=Records(), clock=ManualClock())
    assert one is not None
    one.offer(market())
    assert one.outcomes == {"replay_miss": 1}
