"""The report's account of an advisor and of the last hour, from rows of a journal."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from markets import INSTRUMENT, market
from mm_hybrid.clock import ManualClock
from mm_hybrid.journal import Journal
from mm_hybrid.optimizer.prompt import (
    Anchors,
    Inventory,
    PromptBuilder,
    PromptProfile,
    chat_request,
    profile_for,
)
from mm_hybrid.report import build_report, summary
from mm_hybrid.report.read import read_session
from mm_hybrid.types import Fill

MINUTE_NS = 60 * 10**9
T0_NS = 1_700_000_000 * 10**9


def ask(journal: Journal, outcome: str, ratio: float | None, **row: Any) -> None:
    half = None if ratio is None else ratio * 2.0
    journal.advice(
        outcome=outcome,
        request_json=row.pop("request_json", "{}"),
        bid_half_bps=half,
        ask_half_bps=half,
        base_bid_half_bps=2.0,
        base_ask_half_bps=2.0,
        cost_usd=0.002,
        prompt=row.pop("prompt", "exogenous"),
        **row,
    )


def mark(journal: Journal, clock: ManualClock, mid: str) -> None:
    zero = Decimal(0)
    journal.mark(
        market_ts_ns=clock.now_ns(), mid=Decimal(mid), best_bid=None, best_ask=None, book_state="LIVE",
        bid_quote=None, ask_quote=None, position=zero, cash=zero, fees=zero, funding=zero, spread_capture=zero,
        inventory_pnl=zero, total=zero,
    )  # fmt: skip


def fill(journal: Journal, clock: ManualClock, number: int, mid: str) -> None:
    execution = Fill(
        exec_id=f"x{number}", client_id="c", order_id="o", side="buy", price=Decimal(mid) - 1, qty=Decimal("0.01"),
        fee=Decimal(0), fee_currency="USDT", fee_quote=Decimal(0), is_maker=True, exchange_ts_ns=clock.now_ns(),
        local_ts_ns=clock.now_ns(),
    )  # fmt: skip
    journal.fill(execution, mid=Decimal(mid))


async def opened(path: Path, **advisor: Any) -> tuple[Journal, ManualClock]:
    clock = ManualClock(T0_NS)
    journal = Journal.open(path, clock)
    config_json = json.dumps({"advisor": advisor})
    await journal.session(mode="paper", exchange="bybit", instrument=INSTRUMENT, config_json=config_json)
    return journal, clock


async def restarted(path: Path, clock: ManualClock, **advisor: Any) -> Journal:
    clock.advance(MINUTE_NS)
    journal = Journal.open(path, clock)
    config_json = json.dumps({"advisor": advisor})
    await journal.session(mode="paper", exchange="bybit", instrument=INSTRUMENT, config_json=config_json)
    return journal


def request(profile: PromptProfile = "exogenous", **changes: Any) -> str:
    """Return a request as an advisor writes it into the journal."""
    text = PromptBuilder(profile).user_text(market(**changes), Anchors(1.1, 1.2, 0.12), Inventory(0.02, 0.1))
    return json.dumps(chat_request("gpt-4.1", text, profile_for("gpt-4.1"), profile), sort_keys=True)


def report_of(journal: Path) -> str:
    return build_report(journal, journal.with_suffix(".html")).read_text()


def folds(html: str) -> list[str]:
    """Return the questions of a page as text, one line each."""
    found = re.findall(
        r"<details class=question.*?</details></details>|<details class=question.*?</details>", html
    )
    return [" ".join(re.sub(r"<[^>]*>", " ", fold).split()) for fold in found]


async def test_what_was_asked_answered_clamped_and_refused_is_told_with_reasons_and_money(
    tmp_path: Path,
) -> None:
    journal, clock = await opened(tmp_path / "j.sqlite")
    for index in range(10):
        clock.advance(15 * 10**9)
        ask(journal, "accepted", 1.1, latency_ms=100.0 + index, anomaly="none", used_bid_half_bps=2.2)
    ask(journal, "clamped", 5.0, latency_ms=900.0, anomaly="spike")
    for bps in (120, 130):
        ask(journal, "out_of_ratio", 60.0, detail=f"{bps} bps is 60 times the model")
    journal.state("advisor:probe", "json_schema", json.dumps({"cost_usd": 0.003}))
    ask(journal, "timeout", None, detail="no whole answer in 4 s <script>alert(1)</script>")
    used = {"uses": 30, "mean_age_ms": 5000.0, "max_age_ms": 14_000.0}
    journal.state("advice:retired", "mid moved 10.3 bps", json.dumps(used))
    journal.state("advice:retired", "newer advice", "no JSON")
    await journal.close()
    got = summary(tmp_path / "j.sqlite")["advisor"]
    assert (got["asked"], got["accepted"], got["clamped"], got["refused"]) == (14, 10, 1, 3)
    assert got["ratio_bid"]["p50"] == pytest.approx(1.1)
    assert got["latency_ms"]["n"] == 11
    assert got["spent_usd"] == pytest.approx(14 * 0.002 + 0.003), "the probe before the questions too"
    assert (got["uses"], got["mean_age_at_use_ms"], got["max_age_at_use_ms"]) == (30, 5000.0, 14_000.0)
    reasons = read_session(tmp_path / "j.sqlite").advising.reasons
    assert reasons["out_of_ratio", "# bps is # times the model"] == 2, "numbers do not make reasons differ"
    html = build_report(tmp_path / "j.sqlite", tmp_path / "r.html").read_text()
    assert "<script>alert(1)" not in html
    assert "no whole answer in # s &lt;script&gt;" in html
    assert "Advice over the model" in html


async def test_the_page_shows_which_prompt_was_asked_and_every_field_of_the_question(tmp_path: Path) -> None:
    journal, clock = await opened(tmp_path / "j.sqlite")
    for number in range(3):
        clock.advance(15 * 10**9)
        ask(journal, "accepted", 1.1, request_json=request("seed", return_10s_bps=number / 7), prompt="seed")
    ask(journal, "accepted", 1.1, request_json=request(return_10s_bps=3.14159, return_60s_bps=None))
    await journal.close()
    assert summary(tmp_path / "j.sqlite")["advisor"]["prompts"] == {"seed/1": 3, "exogenous/1": 1}
    html = report_of(tmp_path / "j.sqlite")
    assert "<tr><td>seed/1</td><td class=n>3</td></tr>" in html
    assert "<tr><td>exogenous/1</td><td class=n>1</td></tr>" in html
    (latest,) = folds(html)
    assert latest.startswith("22:14:05.000 · accepted · exogenous/1 · gpt-4.1"), (
        "only the latest one is unfolded"
    )
    sent = json.loads(json.loads(request(return_10s_bps=3.14159))["messages"][1]["content"], parse_float=str)
    for name, value in sent.items():
        shown = {"ret_60s_bps": "not known"}.get(name, value if isinstance(value, str) else json.dumps(value))
        assert f" {name} {shown} " in latest
    assert "You advise a market maker" in latest


async def test_recent_refused_and_clamped_questions_unfold_newest_first(tmp_path: Path) -> None:
    journal, clock = await opened(tmp_path / "j.sqlite")
    for number in range(25):
        outcome = "out_of_ratio" if number % 2 else "clamped"
        ask(journal, outcome, 5.0, request_json=request(imbalance=number / 100), detail=f"reason {number}")
        for _ in range(10):
            clock.advance(15 * 10**9)
            ask(journal, "accepted", 1.0, request_json=request())
    await journal.close()
    _, *troubled = folds(report_of(tmp_path / "j.sqlite"))
    assert len(troubled) == 20
    for number, fold in zip(range(24, 4, -1), troubled, strict=True):
        assert (
            f"{'out_of_ratio' if number % 2 else 'clamped'} · exogenous/1 · gpt-4.1 reason {number} " in fold
        )
        assert f" imbalance_l5 {number / 100:.4f} " in fold


EVIL = "<script>alert(1)</script>"


def said_by_user(content: str) -> str:
    return json.dumps({"model": EVIL, "messages": [1, {"role": "user", "content": content}]})


@pytest.mark.parametrize(
    "hostile",
    [
        EVIL,
        json.dumps({"messages": EVIL}),
        said_by_user(EVIL),
        said_by_user(f'{{"{EVIL}": "{EVIL}\\ud83d", "b": ["{EVIL}"]}}'),
        said_by_user('{"n": ' + "9" * 10_000 + "}"),
        json.dumps({"messages": [{"role": "system", "content": EVIL * 1000}]}),
        "[" * 100_000,
    ],
)
async def test_whatever_stands_where_a_question_should_is_text_and_bounded(
    tmp_path: Path, hostile: str
) -> None:
    journal, _ = await opened(tmp_path / "j.sqlite")
    ask(
        journal,
        "invalid_json",
        None,
        request_json=hostile,
        prompt="<script>alert(1)</script>",
        detail="x" * 9000,
    )
    await journal.close()
    html = report_of(tmp_path / "j.sqlite")
    assert "<script>alert(1)" not in html
    assert all(len(fold) < 13_000 for fold in folds(html))
    assert len(folds(html)) == 2


async def test_a_prompt_of_another_version_is_not_told_as_this_one(tmp_path: Path) -> None:
    journal, _ = await opened(tmp_path / "j.sqlite")
    ask(journal, "accepted", 1.0, request_json=request().replace("You advise", "Thou advisest"))
    ask(journal, "accepted", 1.0)
    await journal.close()
    assert summary(tmp_path / "j.sqlite")["advisor"]["prompts"] == {
        "exogenous, another version": 1,
        "exogenous, version not told": 1,
    }


@pytest.mark.parametrize(
    ("advisor", "states", "in_force", "words"),
    [
        ({"weight": 0.0}, [], 0.0, "Weight in force 0 (shadow mode, as configured)"),
        ({"weight": 0.3}, [], 0.3, "Weight in force 0.3, as configured"),
        ({"weight": 0.3}, ["shadow"], 0.0, "shadow mode since 22:13:20.000: 11 of the last 50); 0.3 is configured"),
        ({"weight": 0.3}, ["shadow", "trusted"], 0.3, "Weight in force 0.3, as configured"),
        ({"weight": 0.3, "enabled": False}, [], 0.0, "The advisor is switched off"),
        ({}, [], None, "The journal does not tell the configured weight"),
    ],
)  # fmt: skip
async def test_the_weight_in_force_is_told(
    tmp_path: Path, advisor: dict[str, Any], states: list[str], in_force: float | None, words: str
) -> None:
    journal, _ = await opened(tmp_path / "j.sqlite", **advisor)
    for state in states:
        journal.state("advisor:content", state, "11 of the last 50")
    ask(journal, "accepted", 1.0)
    await journal.close()
    got = summary(tmp_path / "j.sqlite")["advisor"]
    assert (got["weight_configured"], got["weight_in_force"]) == (advisor.get("weight"), in_force)
    assert words in report_of(tmp_path / "j.sqlite")


async def test_a_new_start_trusts_anew_with_its_own_weight(tmp_path: Path) -> None:
    journal, clock = await opened(tmp_path / "j.sqlite", weight=0.3)
    journal.state("advisor:content", "shadow", "11 of the last 50")
    await journal.close()
    journal = await restarted(tmp_path / "j.sqlite", clock, weight=0.2)
    ask(journal, "accepted", 1.0)
    await journal.close()
    got = summary(tmp_path / "j.sqlite")["advisor"]
    assert (got["weight_configured"], got["weight_in_force"]) == (0.2, 0.2)


async def test_the_last_hour_names_regimes_spikes_and_how_fills_fared(tmp_path: Path) -> None:
    journal, clock = await opened(tmp_path / "j.sqlite")
    journal.state("regime", "thin", "long ago")
    for minute in range(120):
        if minute == 90:
            journal.state("regime", "volatile", "spike, volatility 3.0 x usual")
        if minute == 105:
            journal.state("regime", "calm", "")
        if minute in {10, 70, 80}:
            fill(journal, clock, minute, "60000")
        mark(journal, clock, "60000")
        clock.advance(10 * 10**9)
        mark(journal, clock, "60006" if minute == 70 else "59988")
        clock.advance(50 * 10**9)
    await journal.close()
    got = summary(tmp_path / "j.sqlite")["last_hour"]
    assert got["seconds"] == pytest.approx(3600, abs=61)
    assert got["regimes"] == pytest.approx({"thin": 0.5, "volatile": 0.25, "calm": 0.25}, abs=0.02)
    assert (got["regime_now"], got["changes"], got["spikes"], got["fills"]) == ("calm", 2, 1, 2)
    assert got["markout_bps"]["5"] == {"n": 2, "mean": pytest.approx((1.0 - 2.0) / 2)}
    assert got["toxic_share"] == 0.5
    sentence = read_session(tmp_path / "j.sqlite").hour.sentence()
    assert "thin 51%" in sentence
    assert "1 spike;" in sentence
    assert "50% of them toxic" in sentence


async def test_no_regime_is_carried_over_from_an_earlier_session(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    journal, clock = await opened(path)
    journal.state("regime", "volatile", "spike, volatility 3.0 x usual")
    await journal.close()
    journal = await restarted(path, clock)
    for _ in range(5):
        mark(journal, clock, "60000")
        clock.advance(MINUTE_NS)
    await journal.close()
    got = summary(path)["last_hour"]
    assert (got["regimes"], got["regime_now"], got["changes"], got["spikes"]) == ({}, None, 0, 0)
    assert read_session(path).hour.sentence() == (
        "4.0 minutes: not told 100% of the time, 0 changes; 0 spikes; no fills."
    )


async def test_each_session_of_the_hour_counts_from_what_it_said_to_its_last_mark(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    journal, clock = await opened(path)
    journal.state("regime", "volatile", "")
    for _ in range(11):
        mark(journal, clock, "60000")
        clock.advance(MINUTE_NS)
    fill(journal, clock, 1, "60000")
    await journal.close()
    clock.advance(18 * MINUTE_NS)
    journal = await restarted(path, clock)
    journal.state("regime", "calm", "")
    for _ in range(11):
        mark(journal, clock, "50000")
        clock.advance(MINUTE_NS)
    await journal.close()
    got = summary(path)["last_hour"]
    assert got["seconds"] == pytest.approx(40 * 60, abs=1)
    assert got["regimes"] == pytest.approx({"volatile": 0.25, "calm": 0.25}, abs=0.01)
    assert (got["regime_now"], got["changes"]) == ("calm", 0), "a new start is no change of the market"
    assert (got["fills"], got["markout_bps"]) == (1, {}), "a fill is not judged by a later session's mid"


async def test_a_journal_without_advice_or_marks_says_so(tmp_path: Path) -> None:
    journal, _ = await opened(tmp_path / "j.sqlite")
    await journal.close()
    html = build_report(tmp_path / "j.sqlite", tmp_path / "r.html").read_text()
    assert "None was asked." in html
    assert "Nothing was marked." in html
