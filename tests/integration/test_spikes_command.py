"""``mm-hybrid spikes``: what it finds in a market with a known spike, and what it says of what cannot be read."""

import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from mm_hybrid.cli import run

START = datetime(2026, 1, 2, tzinfo=UTC)
SPIKE_AT_S = 400


def write_market(path, *, spike_ticks):
    """Seven minutes of a quiet walk, ten changes a second; from ``SPIKE_AT_S`` on the mid is off for two seconds."""
    dice = random.Random(3)
    mid_ticks = 600_000
    with path.open("w") as file:
        for step in range(4200):
            mid_ticks += dice.choice((-1, 0, 0, 0, 1))
            off = spike_ticks if 0 <= step - 10 * SPIKE_AT_S < 20 else 0
            moment = (START + timedelta(milliseconds=100 * step)).isoformat(timespec="milliseconds")
            stamp = moment.replace("+00:00", "Z")
            levels = [
                [{"price": (mid_ticks + off + sign * i) / 10, "amount": 1.0} for i in range(1, 4)]
                for sign in (-1, 1)
            ]
            message = {
                "type": "book_change",
                "symbol": "BTCUSDT",
                "exchange": "bybit",
                "isSnapshot": True,
                "bids": levels[0],
                "asks": levels[1],
                "timestamp": stamp,
                "localTimestamp": stamp,
            }
            file.write(json.dumps(message) + "\n")


def test_a_spike_is_an_episode_with_its_time_reason_and_place_in_the_plot(tmp_path, capsys):
    write_market(tmp_path / "market.ndjson", spike_ticks=60)
    page = tmp_path / "spikes.html"
    assert run(["spikes", "--data", str(tmp_path / "market.ndjson"), "--out", str(page), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    spikes = [one for one in document["episodes"] if one["kind"] == "spike"]
    began_s = [one["start_ns"] / 1e9 - START.timestamp() for one in spikes]
    assert any(SPIKE_AT_S - 0.01 <= at <= SPIKE_AT_S + 0.2 for at in began_s), document
    assert all(one["reason"] and one["severity"] for one in spikes)
    assert document["counts"]["spike"] == len(spikes)
    assert document["hours"] == pytest.approx(420 / 3600, rel=0.01)
    assert "spike (" in page.read_text()


def test_a_quiet_market_raises_nothing(tmp_path, capsys):
    write_market(tmp_path / "market.ndjson", spike_ticks=0)
    assert run(["spikes", "--data", str(tmp_path / "market.ndjson"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["episodes"]) <= 1
    assert document["budget_per_hour"] == 2.0


def test_a_symbol_that_is_not_there_is_a_wrong_argument(tmp_path, capsys):
    write_market(tmp_path / "market.ndjson", spike_ticks=0)
    assert run(["spikes", "--data", str(tmp_path / "market.ndjson"), "--symbol", "ETHUSDT"]) == 2
    assert "--symbol" in capsys.readouterr().err
