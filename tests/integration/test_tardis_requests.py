"""How the local tardis-machine answers requests that are wrong, or no stream at all."""

import json
import socket
from pathlib import Path

import aiohttp
import pytest
from tardis_client import BOTH, drain, stream, tardis_server, url
from websockets.asyncio.client import connect

from mm_hybrid.errors import ServerError
from mm_hybrid.servers.tardis import TardisServerConfig

SPAN = {"from": "2024-01-01", "to": "2024-01-02"}


def without(key: str) -> dict[str, object]:
    return {name: value for name, value in BOTH.items() if name != key}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("{not json", "SyntaxError: "),
        ("", "SyntaxError: "),
        ([], "TypeError: "),
        ("3", "TypeError: "),
        (without("exchange"), "TypeError: "),
        (without("dataTypes"), "TypeError: "),
        ({**without("dataTypes"), "data_types": ["trade"]}, "TypeError: "),
        ({**BOTH, "symbols": "BTCUSDT"}, "TypeError: "),
        (without("symbols"), "Error: "),
        ({**BOTH, "exchange": "nope"}, "Error: normalizeTrades: nope not supported"),
        ({**BOTH, "dataTypes": ["ticks"]}, "Error: Can't normalize data without any normalizers provided"),
        (
            {**BOTH, "dataTypes": ["book_snapshot_x_10ms"]},
            "Error: invalid depth: x, data type: book_snapshot_x_10ms",
        ),
        *(
            ({**BOTH, "dataTypes": ["trade", name]}, f"Error: {name} is not served by this machine")
            for name in ("book_snapshot_3_grouped10_100ms", "trade_bar_1m", "option_summary")
        ),
        ({**BOTH, "exchange": "x" * 300}, "Error: normalizeTrades: xxx"),
    ],
)
async def test_wrong_options_close_a_stream_with_1011_and_the_reason(options: object, reason: str) -> None:
    async with tardis_server() as server, stream(server, options) as client:
        frames, code, text = await drain(client)
    assert (frames, code) == ([], 1011)
    assert text.startswith(reason)
    assert len(text.encode()) <= 123


@pytest.mark.parametrize("change", [{"from": None}, {"to": "yesterday"}, {"to": "2023-01-01"}])
async def test_a_replay_without_a_range_is_closed_with_1011(change: dict[str, object]) -> None:
    options = {**BOTH, **SPAN, **change}
    async with tardis_server() as server, connect(url(server, options, "/ws-replay-normalized")) as client:
        _, code, text = await drain(client)
    assert code == 1011
    assert text.startswith("Error: Invalid ")


@pytest.mark.parametrize("path", ["/", "/nope", "/ws-stream-normalized/"])
async def test_an_unknown_path_is_closed_with_1008(path: str) -> None:
    async with tardis_server() as server, connect(url(server, BOTH, path)) as client:
        assert await drain(client) == ([], 1008, "")


async def test_data_types_without_a_source_are_silent_and_unknown_ones_ignored() -> None:
    options = {**BOTH, "dataTypes": ["derivative_ticker", "trade", "no_such_type"]}
    async with tardis_server() as server, stream(server, options) as client:
        assert {json.loads(await client.recv())["type"] for _ in range(20)} == {"trade"}


async def test_the_http_port_reports_health_and_nothing_else() -> None:
    async with (
        tardis_server() as server,
        aiohttp.ClientSession(f"http://127.0.0.1:{server['http_port']}") as http,
    ):
        for path in ("/health-check", "/health-check/"):
            async with http.get(path) as answer:
                health = await answer.json()
                assert (answer.status, health["status"]) == (200, "Healthy")
                assert health.keys() == {"status", "uptimeHours", "timestampMs", "memoryInfo"}
        for request in (http.get("/nope"), http.post("/health-check"), http.get("/")):
            async with request as answer:
                assert answer.status == 404


async def test_plain_http_on_the_websocket_port_is_answered_426() -> None:
    async with (
        tardis_server() as server,
        aiohttp.ClientSession(f"http://127.0.0.1:{server['ws_port']}") as http,
    ):
        answer = await http.get("/ws-stream-normalized")
        assert answer.status == 426


async def test_a_port_in_use_is_one_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"port {port} on 127.0.0.1 is in use"):
            async with tardis_server(ws_port=port):
                pass


async def test_a_missing_file_is_named_before_anything_listens(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no-such-file"):
        async with tardis_server(data=(tmp_path / "no-such-file.ndjson",)):
            pass


def test_the_configuration_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="sped"):
        TardisServerConfig.model_validate({"sped": 2})
