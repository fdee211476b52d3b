"""The report as a person sees it: a browser without a network draws every chart."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from journal_of_a_session import write_session
from mm_hybrid._core import SyntheticMarket, scan_files
from mm_hybrid.file_calibration import calibrate_files
from mm_hybrid.report import build_report
from mm_hybrid.report.calibrating import calibration_page
from mm_hybrid.report.read import Thinned
from mm_hybrid.report.spikes import spikes_page

_OF_THE_SESSION = (
    "Prices, quotes and fills",
    "Inventory",
    "Profit and its parts",
    "Spreads",
    "Order latency",
)
_OF_THE_ADVISOR = ("Advice over the model", "Latency of answers")
_OF_A_CALIBRATION = ("Fit of the intensity", "Volatility by horizon", "A and k over time")
_LINES = 6


def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name)
        if path:
            return path
    pytest.skip("no Chromium on this machine: the drawing of the charts was not checked")


def run_browser(page: Path, profile: Path, *options: str) -> str:
    command = [
        browser(),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--proxy-server=127.0.0.1:1",  # nothing listens there: whatever the page asked for would fail
        f"--user-data-dir={profile}",
        "--window-size=1180,2600",
        "--virtual-time-budget=20000",
        *options,
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    return done.stdout


async def test_every_chart_is_drawn_without_a_network(tmp_path: Path) -> None:
    await write_session(tmp_path / "journal.sqlite")
    page = build_report(tmp_path / "journal.sqlite", tmp_path / "report.html")
    document = run_browser(page, tmp_path / "profile", "--dump-dom")
    # Plotly lays three drawings of class main-svg over each other in every chart; the first holds the axes.
    drawn = re.findall(r'class="[^"]*js-plotly-plot[^"]*".*?<svg class="main-svg"', document, re.DOTALL)
    expected = [*_OF_THE_SESSION, *_OF_THE_ADVISOR]
    assert [title for title in expected if title not in document] == []
    assert len(drawn) == len(expected)
    assert len(re.findall(r'<path class="js-line"', document)) >= _LINES


def test_the_charts_of_a_calibration_are_drawn_too(tmp_path: Path) -> None:
    market = SyntheticMarket(exchange="bybit", symbol="X", seed=1, start_ns=0, tick_size="0.5", levels=100)
    data = tmp_path / "market.ndjson"
    data.write_bytes(b"".join(line[-1] + b"\n" for line in market.advance(120 * 10**9).encode()))
    found = calibrate_files([str(data)], scan_files([str(data)])[0])
    page = tmp_path / "calibration.html"
    page.write_text(calibration_page(found))
    document = run_browser(page, tmp_path / "profile", "--dump-dom")
    assert [title for title in _OF_A_CALIBRATION if title not in document] == []
    drawn = re.findall(r'class="[^"]*js-plotly-plot[^"]*".*?<svg class="main-svg"', document, re.DOTALL)
    assert len(drawn) == len(_OF_A_CALIBRATION)


def test_the_alarms_of_a_market_are_drawn_and_what_they_say_is_text(tmp_path: Path) -> None:
    moments: Thinned[tuple[int, float | None]] = Thinned()
    for step in range(50):
        moments.add((step * 10**8, None if step == 9 else 100.0 + step % 3))
    alarm = {"kind": "spike", "start_ns": 2 * 10**9, "mid": 102.0, "reason": "<b>far</b>"}
    document = {"exchange": "bybit", "symbol": "<i>X</i>", "hours": 0.1, "episodes": [alarm]}
    page = tmp_path / "spikes.html"
    page.write_text(spikes_page(moments, document))
    assert "<i>X" not in page.read_text()
    shown = run_browser(page, tmp_path / "profile", "--dump-dom")
    # The mid before the gap and after it, and the line of the legend.
    assert len(re.findall(r'<path class="js-line"', shown)) == 3
    assert "spike (1)" in shown


async def test_the_questions_to_the_advisor_fold_and_the_latest_is_open(tmp_path: Path) -> None:
    await write_session(tmp_path / "journal.sqlite")
    page = build_report(tmp_path / "journal.sqlite", tmp_path / "report.html")
    document = run_browser(page, tmp_path / "profile", "--dump-dom")
    questions = re.findall(
        r'<details class="question"( open="")?><summary>(.*?)</summary>(.*?)</details>', document
    )
    assert [is_open for is_open, *_ in questions] == [' open=""', ""]
    assert [re.findall(r"accepted|clamped|exogenous/1", head) for _, head, _ in questions] == [
        ["accepted", "exogenous/1"],
        ["clamped", "exogenous/1"],
    ]
    assert all("<span>base_bid_half_bps</span><b>0.7200</b>" in fields for *_, fields in questions)
    assert "Weight in force 0.3" in document


async def test_a_picture_can_be_taken(tmp_path: Path) -> None:
    await write_session(tmp_path / "journal.sqlite")
    page = build_report(tmp_path / "journal.sqlite", tmp_path / "report.html")
    picture = Path(os.environ.get("MM_HYBRID_SCREENSHOTS", tmp_path)) / "report.png"
    run_browser(page, tmp_path / "profile", f"--screenshot={picture}")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 50_000
