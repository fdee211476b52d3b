"""What is sent, to the byte: the same for the same market, and nothing a stranger wrote in it."""

import json
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisors import Records, config, reply
from markets import INSTRUMENT, market
from mm_hybrid._core import SyntheticMarket
from mm_hybrid.cli import run
from mm_hybrid.clock import ManualClock
from mm_hybrid.config import QuotingConfig
from mm_hybrid.optimizer.advisor import Advisor
from mm_hybrid.optimizer.assemble import header_of
from mm_hybrid.optimizer.attempt import Attempt
from mm_hybrid.optimizer.cassette import Cassette, Recorder, Replay, request_key
from mm_hybrid.optimizer.glft import GlftOptimizer
from mm_hybrid.optimizer.prompt import (
    Anchors,
    Inventory,
    PromptBuilder,
    PromptProfile,
    canonical,
    chat_request,
    profile_for,
    wire_body,
)
from mm_hybrid.types import Position

ANCHORS = Anchors(1.1, 1.2, 0.12)
SOME = Inventory(0.02, 0.1)


def body(profile: PromptProfile, features: Any, inventory: Inventory = SOME) -> bytes:
    text = PromptBuilder(profile).user_text(features, ANCHORS, inventory)
    return wire_body(chat_request("m", text, profile_for("m"), profile))


@pytest.mark.parametrize("profile", ["exogenous", "seed"])
@given(st.text(min_size=1, max_size=200))
def test_no_text_from_outside_reaches_the_prompt(profile: PromptProfile, hostile: str) -> None:
    evil = replace(
        INSTRUMENT, symbol=hostile, ccxt_symbol=hostile, base=hostile, quote=hostile, venue=hostile
    )
    got = body(profile, market(instrument=evil, regime_evidence=hostile))
    assert got == body(profile, market())


@given(st.floats(allow_nan=True, allow_infinity=True), st.floats(allow_nan=True, allow_infinity=True))
def test_whatever_is_measured_the_user_message_is_one_flat_object_of_numbers(
    spread: float, depth: float
) -> None:
    text = PromptBuilder().user_text(market(spread_bps=spread, depth_bid_quote=depth), ANCHORS)
    fields = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert all(isinstance(value, (int, float, bool, str, type(None))) for value in fields.values())
    assert {value for value in fields.values() if isinstance(value, str)} == {"mmh-advice/1", "A1"}
    assert canonical(fields) == text


def test_inventory_is_told_by_one_profile_alone_and_in_quarters() -> None:
    told = {
        qty: json.loads(json.loads(body("seed", market(), Inventory(qty, 0.1)))["messages"][1]["content"])[
            "inv_frac"
        ]
        for qty in (-0.5, -0.03, 0.0, 0.011, 0.013, 0.1)
    }
    assert told == {-0.5: -1.0, -0.03: -0.25, 0.0: 0.0, 0.011: 0.0, 0.013: 0.25, 0.1: 1.0}
    assert body("exogenous", market(), Inventory(0.1, 0.1)) == body(
        "exogenous", market(), Inventory(0.0, 0.1)
    )


def test_the_seed_profile_completes_the_articles_fields_with_units_and_sides() -> None:
    fields = json.loads(json.loads(body("seed", market()))["messages"][1]["content"])
    assert {
        "mid_price_quote", "market_spread_bps", "bid_volume_base", "ask_volume_base", "depth_bid_quote",
        "depth_ask_quote", "sigma_1m_bps", "inv_frac", "inventory_limit_base", "risk_frac",
    } <= set(fields)  # fmt: skip


def seed_text(inventory: Inventory = SOME, **changes: Any) -> str:
    return PromptBuilder("seed").user_text(market(**changes), ANCHORS, inventory)


@pytest.mark.parametrize(
    ("mid", "qty", "limit"),
    [(1.234e-5, 2_500_000.0, 4e7), (0.0234567, 0.00004, 0.00004), (1e-9, 1e-7, 0.005)],
)
def test_a_price_or_a_quantity_is_told_however_small_it_is(mid: float, qty: float, limit: float) -> None:
    text = seed_text(
        Inventory(0.0, limit), mid_price=mid, best_bid_qty=qty, best_ask_qty=qty, depth_bid_quote=qty
    )
    got = json.loads(text)
    assert got["mid_price_quote"] == pytest.approx(mid, rel=1e-4)
    assert got["inventory_limit_base"] == pytest.approx(limit, rel=1e-3)
    for name in ("bid_volume_base", "ask_volume_base", "depth_bid_quote"):
        assert got[name] == pytest.approx(qty, rel=1e-3)
    assert not re.search(r"\d[eE]", text), "plain decimals"


@given(st.floats(1e-16, 1e12), st.floats(0, 1e9))
def test_a_user_message_read_and_written_again_is_the_same(price: float, qty: float) -> None:
    text = seed_text(Inventory(0.0, qty), mid_price=price, best_bid_qty=qty)
    assert canonical(json.loads(text)) == text


def test_ordinary_markets_are_told_as_they_were_in_both_profiles() -> None:
    limit = Inventory(0.0, 6000 / 60_000.05)
    common = (
        '"ask_volume_base":1.0000,"asset":"A1","base_ask_half_bps":1.2000,"base_bid_half_bps":1.1000,'
        '"bid_volume_base":2.0000,"contract":"mmh-advice/1","depth_ask_quote":1500000.0000,'
        '"depth_bid_quote":2000000.0000,"depth_complete":true,"floor_half_bps":0.1200,"imbalance_l5":0.2000,'
        '"inv_frac":0.0000,"inventory_limit_base":0.1000,"market_spread_bps":0.0167,"mid_price_quote":60000.0500,'
        '"ret_10s_bps":0.5000,"ret_60s_bps":-2.0000,"risk_frac":0.0000,"sigma_1m_bps":6.5000,"spike":false,'
        '"trade_imb_60s":0.1000'
    )
    assert seed_text(limit) == "{" + common + "}"
    assert '"depth_bid_quote":2000000.0000' in PromptBuilder().user_text(market(), ANCHORS)


def test_advice_that_knew_the_inventory_ends_with_it(tmp_path: Path) -> None:
    settings = config("http://127.0.0.1:1/v1", prompt="seed", cassette=tmp_path / "c", cassette_mode="replay")
    limit = GlftOptimizer(QuotingConfig()).base_quote(market(), Position()).position_limit
    base = GlftOptimizer(QuotingConfig()).base_quote(market(), Position())
    text = PromptBuilder("seed").user_text(
        market(), Anchors(base.bid_half_bps, base.ask_half_bps, base.floor_bps), Inventory(0.0, limit)
    )
    shape = profile_for(settings.model, "json_schema")
    recorder = Recorder(tmp_path / "c", header_of(settings, 0), pass_id="1")
    recorder.record(
        key=request_key(chat_request(settings.model, text, shape, "seed")), symbol="A1", snapshot_seq=0,
        snapshot_ts_ns=0, sent_ts_ns=0,
        attempts=[Attempt(status=200, body=reply(position_limit=limit / 2).encode())],
    )  # fmt: skip
    recorder.close()
    records = Records()
    one = Advisor(
        settings, None, records, ManualClock(), model=GlftOptimizer(QuotingConfig()),
        replay=Replay(Cassette.read(tmp_path / "c"), pass_id="1"),
    )  # fmt: skip
    one.offer(market())
    one.offer(market(after_s=0.1))
    advice = one.advice_for(market(after_s=0.1).timestamp_ns, market(after_s=0.1))
    assert advice is not None, records.rows
    assert advice.position_limit_frac == pytest.approx(0.5), "told in base units, kept as a fraction"
    one.offer(market(after_s=0.2), Position(qty_base=Decimal(repr(limit))))
    assert one.advice_for(market(after_s=0.2).timestamp_ns, market(after_s=0.2)) is None
    assert any(told[:2] == ("advice:retired", "inventory changed") for told in records.states)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = SyntheticMarket(exchange="bybit", symbol="BTCUSDT", seed=3, start_ns=1_700_000_000 * 10**9)
    path = tmp_path_factory.mktemp("data") / "feed.ndjson"
    batch = source.advance(1_700_000_090 * 10**9)
    path.write_bytes(b"\n".join(message for *_, message in batch.encode()) + b"\n")
    return path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["prompt", *arguments]) == 0
    return capsys.readouterr().out


def test_the_command_prints_the_request_and_the_same_one_again(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (printed(capsys, "--data", str(recording)) for _ in range(2))
    assert first == second
    request = json.loads(first)
    assert wire_body(request) == first.encode().rstrip(b"\n"), "printed as it is sent, byte for byte"
    assert json.loads(request["messages"][1]["content"])["ret_60s_bps"] is not None
    assert "BTC" not in first


def test_the_command_looks_at_the_moment_asked_for(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = 1_700_000_030 * 10**9
    got = json.loads(
        printed(capsys, "--data", str(recording), "--at", str(at), "--profile", "seed", "--json")
    )
    assert at - 2 * 10**9 < got["local_ts_ns"] <= at
    assert got["prompt"] == "seed/1"
    assert json.loads(got["request"]["messages"][1]["content"])["ret_60s_bps"] is None, (
        "nothing after it is known"
    )
    assert got["key"] == request_key(got["request"])


def test_a_moment_before_the_first_book_and_a_symbol_that_is_not_there_are_named(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["prompt", "--data", str(recording), "--at", "5"]) == 1
    assert "no moment at which the book could be quoted on" in capsys.readouterr().err
    assert run(["prompt", "--data", str(recording), "--symbol", "ETHUSDT"]) == 2
    assert "symbols there: BTCUSDT" in capsys.readouterr().err
    assert run(["prompt", "--data", str(recording), "--at", "yesterday"]) == 2


@pytest.mark.parametrize(
    "rate", ["-0.0005", "-0.01", "0.2", "nan", "inf", "-inf", "1", "1e999999999", "free"]
)
def test_a_fee_rate_without_an_answer_is_one_line_that_names_it(
    recording: Path, capsys: pytest.CaptureFixture[str], rate: str
) -> None:
    assert run(["prompt", "--data", str(recording), "--maker-fee-rate", rate]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert "--maker-fee-rate" in told.err


def test_a_rebate_is_asked_about_where_the_model_has_an_answer(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = json.loads(printed(capsys, "--data", str(recording), "--maker-fee-rate", "-0.00001"))
    assert json.loads(asked["messages"][1]["content"])["base_bid_half_bps"] > 0
    session = tmp_path / "session.toml"
    session.write_text(
        '[venue]\nname = "bybit"\n[market]\nexchange = "bybit"\nsymbol = "BTCUSDT"\nurl = "ws://127.0.0.1:1"\n'
        '[quoting]\noptimizer = "exact"\n'
    )
    beyond = ("--maker-fee-rate", "-0.0005", "--config", str(session))
    assert run(["prompt", "--data", str(recording), *beyond]) == 2
    told = capsys.readouterr().err
    assert told.startswith("mm-hybrid: --maker-fee-rate -0.0005: exact has no quote here"), (
        "a model that would quote below 0 has no answer either"
    )


def test_a_model_without_an_answer_for_another_reason_is_one_line(
    recording: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise ValueError("intensity_k: must be above 0")

    monkeypatch.setattr(GlftOptimizer, "base_quote", fails)
    assert run(["prompt", "--data", str(recording)]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "BTCUSDT: glft has no quote here, so nothing would be asked: intensity_k" in told
