"""``record``, ``convert`` and ``fetch`` as a user runs them."""

import asyncio
import gzip
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from aiohttp import web
from tardis_client import tardis_server
from tardis_double import TardisDouble
from test_tardis_server import market_rows, write_file

from command_line import command, result_of, run, started, wait_until
from mm_hybrid._core import EventReader, rebuild_books


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """Twenty seconds of market as NDJSON."""
    return write_file(
        tmp_path_factory.mktemp("market") / "market.ndjson", [row[4] for row in market_rows(20)]
    )


@pytest.fixture(scope="module")
def long_market(tmp_path_factory, market):
    """A folder of the same many times over: enough to be interrupted, and little on disk."""
    folder = tmp_path_factory.mktemp("long")
    path = folder / "day00.ndjson"
    path.write_bytes(market.read_bytes() * 400)
    for index in range(1, 60):
        os.link(path, folder / f"day{index:02}.ndjson")
    return folder


def book_of(path, cwd):
    return result_of(run("book", str(path), "--json", cwd=cwd))


def test_a_converted_market_is_the_same_market(market, tmp_path):
    done = result_of(run("convert", str(market), "--out", "tables", "--json", cwd=tmp_path))
    (table,) = done["files"]
    assert done["messages"] == done["lines"] == len(market.read_bytes().splitlines())
    assert book_of(tmp_path / table, tmp_path) == book_of(market, tmp_path)
    assert book_of(tmp_path / "tables", tmp_path) == book_of(market, tmp_path)
    rows = [EventReader([str(path)]).read(10**6).encode() for path in (market, tmp_path / table)]
    assert rows[0] == rows[1]


def test_a_table_is_what_other_arrow_readers_take_it_for(market, tmp_path):
    feather = pytest.importorskip("pyarrow.feather")
    done = result_of(run("convert", str(market), "--out", ".", "--json", cwd=tmp_path))
    table = feather.read_table(tmp_path / done["files"][0]).to_pydict()
    trades = [i for i, kind in enumerate(table["kind"]) if kind == "trade"]
    expected = [json.loads(line) for line in market.read_bytes().splitlines() if b'"trade"' in line]
    assert [(table["price"][i], table["qty"][i], table["side"][i], table["text"][i]) for i in trades] == [
        (trade["price"], trade["amount"], trade["side"], trade["id"]) for trade in expected
    ]
    assert str(table["local_ts"][0].isoformat()).startswith(expected[0]["localTimestamp"][:16])
    assert sum(table["is_first"]) == done["messages"]


def test_an_interrupted_conversion_leaves_no_table_and_exits_130(long_market, tmp_path):
    process = started("convert", str(long_market), "--out", "tables", cwd=tmp_path)
    wait_until("the table to grow", lambda: list(tmp_path.glob("tables/*.part")))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert list((tmp_path / "tables").iterdir()) == []


def test_a_long_conversion_shows_how_far_it_is_on_stderr(long_market, tmp_path):
    process = started("convert", str(long_market), "--out", "tables", cwd=tmp_path)
    line = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert "converting" in line
    assert "%" in line
    assert "MB" in line


def test_a_long_rebuild_shows_how_far_it_is_and_can_be_interrupted(long_market, tmp_path):
    process = started("book", str(long_market), cwd=tmp_path)
    line = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "rebuilding" in line
    assert output == ""


def test_a_table_that_is_there_is_replaced_only_when_told_so(market, tmp_path):
    first, second, third = (
        run("convert", str(market), "--out", ".", *more, cwd=tmp_path) for more in ((), (), ("--overwrite",))
    )
    assert (first.returncode, second.returncode, third.returncode) == (0, 1, 0)
    assert "is there already" in second.stderr
    assert first.stdout == third.stdout


def test_a_bad_file_is_named_and_the_good_ones_are_converted_without_it(market, tmp_path):
    lines = market.read_bytes().splitlines(keepends=True)
    broken = write_file(tmp_path / "broken.ndjson", [lines[0].strip(), b'{"type":"tra'])
    header = tmp_path / "header.csv"
    header.write_text("exchange,symbol,timestamp,local_timestamp,is_snapshot,side,prise,amount\n")
    empty = tmp_path / "no_rows.csv"
    empty.write_text("exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount\n")
    files = map(str, (broken, market, header, empty))
    done = run("convert", *files, "--out", "tables", "--json", cwd=tmp_path)
    assert done.returncode == 1
    result = json.loads(done.stdout)
    assert result["messages"] == len(lines)
    assert book_of(tmp_path / result["files"][0], tmp_path) == book_of(market, tmp_path)
    assert f"not converted: {broken}:2: " in done.stderr
    assert f'not converted: {header}:1: no column "price"' in done.stderr
    assert f"warning: {empty}: the file holds no rows" in done.stderr
    assert len(result["refused"]) == 2


def test_files_of_a_folder_that_are_no_market_data_are_named_and_passed_over(market, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "b.ndjson").write_bytes(market.read_bytes())
    foreign = {
        "a.json": b'{"schema":"of something else"}',
        "c.ndjson.zst": b"",
        "d.csv": b"name,value\n1,2\n",
    }
    for name, content in foreign.items():
        (folder / name).write_bytes(content)
    done = run("convert", "mixed", "--out", "tables", cwd=tmp_path)
    shown = run("book", "mixed", "--json", cwd=tmp_path)
    assert (done.returncode, shown.returncode) == (0, 0), done.stderr + shown.stderr
    assert result_of(shown) == book_of(market, tmp_path)
    for errors in (done.stderr, shown.stderr):
        warnings = [line for line in errors.splitlines() if line.startswith("warning: ")]
        assert [line.split(": ")[1] for line in warnings] == [f"mixed/{name}" for name in foreign]
    for name in foreign:
        alone = run("book", f"mixed/{name}", cwd=tmp_path)
        assert alone.returncode == 1
        assert f"mixed/{name}: " in alone.stderr
    assert "the file is empty" in run("book", "mixed/c.ndjson.zst", cwd=tmp_path).stderr


def test_a_recording_cut_off_while_it_was_written_is_read_up_to_its_last_whole_second(market, tmp_path):
    zstd = pytest.importorskip("zstandard")
    lines = [
        b"2024-01-01T00:00:00.0000000Z " + line for line in market.read_bytes().splitlines(keepends=True)
    ]
    half = len(lines) // 2
    frames = [zstd.compress(b"".join(part)) for part in (lines[:half], lines[half:])]
    folder = tmp_path / "tape"
    folder.mkdir()
    (folder / "a.ndjson.zst").write_bytes(frames[0] + frames[1][:-5])
    (folder / "b.ndjson.zst").write_bytes(b"")
    (folder / "c.ndjson.zst").write_bytes(frames[1][:-5])
    done = run("convert", "tape", "--out", "tables", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["lines"] == half
    assert done.stderr.count("tape/a.ndjson.zst: the recording was cut off") == 1
    assert "tape/b.ndjson.zst: the file is empty; passed over" in done.stderr
    assert "tape/c.ndjson.zst: the compressed data ends too early" in done.stderr
    (folder / "a.ndjson.zst").write_bytes(frames[0][:-5] + frames[1])
    damaged = run("book", "tape/a.ndjson.zst", cwd=tmp_path)
    assert damaged.returncode == 1
    assert "tape/a.ndjson.zst:" in damaged.stderr


def test_a_pipe_is_read_as_the_file_at_its_other_end(market, tmp_path):
    for content in (market.read_bytes(), gzip.compress(market.read_bytes())):
        arguments = command("book", "/dev/stdin", "--json")
        done = subprocess.run(arguments, input=content, cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == book_of(market, tmp_path)
    table = result_of(run("convert", str(market), "--out", ".", "--json", cwd=tmp_path))["files"][0]
    content = (tmp_path / table).read_bytes()
    done = subprocess.run(
        command("book", "/dev/stdin"), input=content, cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert b"name the file itself" in done.stderr


def test_a_damaged_table_is_refused_with_its_block(market, tmp_path):
    done = result_of(run("convert", str(market), "--out", ".", "--json", cwd=tmp_path))
    table = tmp_path / done["files"][0]
    damaged = bytearray(table.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    table.write_bytes(damaged)
    refused = run("book", str(table), cwd=tmp_path)
    assert refused.returncode == 1
    assert f"{table}: block " in refused.stderr
    assert "checksum" in refused.stderr


@pytest.fixture
def overlapping(tmp_path):
    """A folder of 100 files, all of the same minute."""
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(100):
        book = (
            b'{"type":"book_change","symbol":"S%d","exchange":"x","isSnapshot":true,"bids":[{"price":1,"amount":1}],'
            b'"asks":[],"timestamp":"2024-08-09T00:00:00Z","localTimestamp":"2024-08-09T00:00:%02d.000Z"}'
        )
        write_file(folder / f"{index:03}.ndjson", [book % (index, second) for second in (0, 1)])
    return folder


def limited(limit, *arguments, cwd):
    line = f'ulimit {limit}; exec "$@"'
    words = ["bash", "-c", line, "bash", *command(*arguments)]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)


def test_more_files_than_the_soft_limit_are_open_at_once(overlapping, tmp_path):
    done = limited("-S -n 64", "book", "many", "--symbol", "S5", "--json", cwd=tmp_path)
    assert result_of(done)["messages"] == 200


@pytest.mark.parametrize(
    "arguments", [("book", "many", "--symbol", "S5"), ("convert", "many", "--out", "tables")]
)
def test_more_files_than_can_be_open_are_warned_of_and_named_with_the_remedy(
    overlapping, arguments, tmp_path
):
    done = limited("-n 64", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    warning, failure = done.stderr.splitlines()
    assert warning.startswith("warning: 100 files are to be read and 64 can be open at once")
    assert failure.startswith("mm-hybrid: ")
    assert "64 files can be open at once and are: raise the limit (ulimit -n)" in failure
    assert not list(tmp_path.glob("tables/*"))


async def run_async(*arguments, cwd, **options):
    process = await asyncio.create_subprocess_exec(
        *command(*arguments), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, output.decode(), errors.decode()


def recording(url, *more):
    return ("record", "--url", url, "--exchange", "bybit", "--symbol", "BTCUSDT", "--out", "tape", *more)


async def test_a_recording_of_a_stream_that_ends_holds_every_message(market, tmp_path):
    async with tardis_server(data=(market,), speed=0) as server:
        url = f"ws://127.0.0.1:{server['ws_port']}"
        code, output, errors = await run_async(*recording(url, "--json"), cwd=tmp_path)
    assert code == 0, errors
    sent = market.read_bytes().splitlines()
    result = json.loads(output)
    assert (result["messages"], result["dropped"], result["files"]) == (len(sent), 0, 1)
    (file,) = (tmp_path / "tape").iterdir()
    assert file.name.startswith("bybit_20")
    played = [row[4] for row in EventReader([str(tmp_path / "tape")]).read(10**6).encode()]
    assert played[:-1] == sent
    assert b"disconnect" in played[-1]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "ws://127.0.0.1:99999", "127.0.0.1", "ws://x/path"])
def test_a_recording_from_a_wrong_url_is_a_wrong_argument_in_one_line(url, tmp_path):
    refused = run(*recording(url), cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith("mm-hybrid: url: ")
    assert url in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


async def test_kill_9_loses_less_than_the_last_second(tmp_path):
    async with TardisDouble() as double:
        process = await asyncio.create_subprocess_exec(
            *command(*recording(double.url)),
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        connection = await double.accept(30)
        await connection.snapshot()
        sent: list[tuple[float, int]] = []
        ends = time.monotonic() + 3.5
        while time.monotonic() < ends:
            sent.append((time.monotonic(), len(sent) + 1))
            await connection.book(snapshot=False, bids=[(99, len(sent))])
            await asyncio.sleep(0.005)
        killed = time.monotonic()
        process.kill()
        await process.wait()
    _, _, books = rebuild_books([str(tmp_path / "tape")])
    last = books.snapshot("bybit", "BTCUSDT").bids.tolist()[1][1]
    written = next(moment for moment, number in sent if number == last)
    # Half a second between two frames, what comes before, and a slow machine's delay on top.
    assert killed - written < 1.0


async def test_ctrl_c_ends_a_recording_in_order(tmp_path):
    async with TardisDouble() as double:
        process = await asyncio.create_subprocess_exec(
            *command(*recording(double.url, "--json")),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        connection = await double.accept(30)
        await connection.snapshot()
        await connection.trade()
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGINT)
        output, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 130, errors
    assert json.loads(output)["messages"] == 2
    types = [row[3] for row in EventReader([str(tmp_path / "tape")]).read().encode()]
    assert types == ["book_change", "trade", "disconnect"]


async def test_a_recording_of_nothing_is_a_failure_that_says_why(tmp_path):
    code, _, errors = await run_async(*recording("ws://127.0.0.1:1", "--seconds", "0.6"), cwd=tmp_path)
    assert code == 1
    assert "no message came" in errors
    assert "refused" in errors.lower()


CSV = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\nbybit,BTCUSDT,1,2,a,buy,1,2\n"


class DatasetServer:
    """Datasets over HTTP; keeps what was asked for."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str | None]] = []
        self.stall = False
        self.body: bytes | None = None
        """What is sent in place of a dataset."""

    async def __aenter__(self):
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _answer(self, request):
        self.requests.append((request.path, request.headers.get("Authorization")))
        if "NOSUCH" in request.path:
            return web.Response(status=404, text="not found")
        body = gzip.compress(CSV.encode()) if self.body is None else self.body
        if not self.stall:
            return web.Response(body=body)
        response = web.StreamResponse()
        response.content_length = 2 * len(body)
        await response.prepare(request)
        await response.write(body)
        await asyncio.sleep(60)
        return response


def fetching(server, *more, symbol="BTCUSDT"):
    return (
        *("fetch", "bybit", "--symbol", symbol, "--type", "trades", "--from", "2024-01-01"),
        *("--base-url", server.url, "--out", "data", *more),
    )


@pytest.fixture
def keyless(monkeypatch):
    pytest.importorskip("tardis_dev")
    for name in ("TARDIS_API_KEY", "TM_API_KEY"):
        monkeypatch.delenv(name, raising=False)


async def test_fetch_downloads_a_free_day_without_a_key_and_keeps_what_is_there(keyless, tmp_path):
    async with DatasetServer() as server:
        results = [await run_async(*fetching(server, "--json"), cwd=tmp_path) for _ in range(2)]
    assert [code for code, *_ in results] == [0, 0], results
    first, second = (json.loads(output) for _, output, _ in results)
    assert (first["fetched"], first["kept"], second["fetched"], second["kept"]) == (1, 0, 0, 1)
    assert server.requests == [("/v1/bybit/trades/2024/01/01/BTCUSDT.csv.gz", None)]
    path = tmp_path / "data" / "bybit_trades_2024-01-01_BTCUSDT.csv.gz"
    assert len(EventReader([str(path)]).read().trades()) == 1


async def test_fetch_sends_the_key_of_the_environment_and_shows_it_nowhere(keyless, tmp_path, monkeypatch):
    monkeypatch.setenv("TARDIS_API_KEY", "TD.secret")
    async with DatasetServer() as server:
        code, output, errors = await run_async(*fetching(server, "--to", "2024-01-03"), cwd=tmp_path)
    assert code == 0, errors
    assert {key for _, key in server.requests} == {"Bearer TD.secret"}
    assert len(server.requests) == 2
    assert "secret" not in output + errors


async def test_fetch_names_the_days_that_need_a_key(keyless, tmp_path):
    async with DatasetServer() as server:
        code, _, errors = await run_async(*fetching(server, "--to", "2024-01-04"), cwd=tmp_path)
    assert code == 2
    assert "2024-01-02, 2024-01-03" in errors
    assert server.requests == []


async def test_fetch_says_which_file_is_not_there(keyless, tmp_path):
    async with DatasetServer() as server:
        code, _, errors = await run_async(*fetching(server, symbol="NOSUCH"), cwd=tmp_path)
    assert code == 1
    assert "bybit_trades_2024-01-01_NOSUCH.csv.gz: HTTP 404" in errors


async def test_fetch_goes_on_with_the_other_files_when_one_is_not_there(keyless, tmp_path):
    more = ("--symbol", "BTCUSDT", "--parallel", "1", "--json")
    async with DatasetServer() as server:
        code, output, errors = await run_async(*fetching(server, *more, symbol="NOSUCH"), cwd=tmp_path)
    assert code == 1
    result = json.loads(output)
    assert (result["fetched"], result["missing"], len(result["failed"])) == (1, 1, 1)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["bybit_trades_2024-01-01_BTCUSDT.csv.gz"]
    assert len(errors.splitlines()) == 1
    assert "NOSUCH" in errors


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>please log in</html>", "no gzip file, and begins with '<html>please log in"),
        (b"", "no header of a dataset"),
        (gzip.compress(CSV.encode())[:-10], "cut short"),
        (gzip.compress(CSV.encode())[:-8] + bytes(8), "damaged"),
        (gzip.compress(b"name,value\n1,2\n"), "no header of a dataset: 'name,value'"),
    ],
    # A compressed file holds the time it was made.
    ids=["a page", "empty", "cut short", "damaged", "another table"],
)
async def test_what_is_no_whole_dataset_is_named_and_not_kept(keyless, tmp_path, body, words):
    async with DatasetServer() as server:
        server.body = body
        code, _, errors = await run_async(*fetching(server), cwd=tmp_path)
        assert code == 1
        assert "not fetched: bybit_trades_2024-01-01_BTCUSDT.csv.gz: " in errors
        assert words in errors
        assert list((tmp_path / "data").iterdir()) == []
        server.body = None
        code, _, errors = await run_async(*fetching(server), cwd=tmp_path)
        assert code == 0, errors


async def test_an_interrupted_fetch_leaves_no_half_file(keyless, tmp_path):
    async with DatasetServer() as server:
        server.stall = True
        process = await asyncio.create_subprocess_exec(
            *command(*fetching(server)), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        async with asyncio.timeout(30):
            while not list(Path(tmp_path).glob("data/*.unconfirmed")):  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 130, errors
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize("name", ["book", "record", "convert", "fetch"])
def test_help_says_what_the_command_does(name, tmp_path):
    done = run(name, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "--json" in done.stdout
    assert len(done.stdout.splitlines()) > 8
