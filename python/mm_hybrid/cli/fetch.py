"""``mm-hybrid fetch``: daily CSV datasets from Tardis, with its own client.

Source: Tardis documentation, downloadable CSV files: the first day of each month needs no key.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import os
import threading
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from mm_hybrid.cli import EXIT_FAILED, EXIT_INTERRUPTED
from mm_hybrid.cli._progress import LongOperation
from mm_hybrid.cli._signals import run_until_stopped
from mm_hybrid.errors import ConfigError

BASE_URL = "https://datasets.tardis.dev/v1"
KEY_VARIABLES = ("TARDIS_API_KEY", "TM_API_KEY")
LOOK_S = 0.25
CONNECT_TIMEOUT_S = 10.0
DATASETS = (
    "incremental_book_L2",
    "trades",
    "quotes",
    "book_ticker",
    "derivative_ticker",
    "liquidations",
    "book_snapshot_5",
    "book_snapshot_25",
)
"""Datasets that can be read here; not each exchange has them all."""

NOT_FOR_US = (400, 401, 403, 404)
"""HTTP statuses that speak of one dataset: it is not there, or the key does not open it."""

COLUMNS = ("exchange", "symbol", "timestamp", "local_timestamp")
"""What the header of every dataset holds."""
CHECK_BYTES = 2**20
GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Dataset:
    """One file to fetch."""

    data_type: str
    symbol: str
    day: date


@click.command()
@click.argument("exchange")
@click.option("--symbol", "symbols", required=True, multiple=True, help="Symbol; may be given many times.")
@click.option(
    "--type",
    "data_types",
    multiple=True,
    type=click.Choice(DATASETS),
    default=("incremental_book_L2", "trades"),
    show_default=True,
    help="Dataset; may be given many times.",
)
@click.option("--from", "first", required=True, type=click.DateTime(["%Y-%m-%d"]), help="First day, UTC.")
@click.option(
    "--to",
    "end",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Day after the last one; default the day after --from.",
)
@click.option(
    "--out", "folder", default="datasets", show_default=True, type=click.Path(file_okay=False, path_type=Path)
)
@click.option("--base-url", default=BASE_URL, show_default=True, help="Server of the datasets.")
@click.option("--parallel", type=click.IntRange(1, 60), default=4, show_default=True, help="Files at a time.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    *,
    exchange: str,
    symbols: tuple[str, ...],
    data_types: tuple[str, ...],
    first: datetime,
    end: datetime | None,
    folder: Path,
    base_url: str,
    parallel: int,
    as_json: bool,
) -> int:
    """Fetch daily CSV datasets of EXCHANGE (a Tardis id) from Tardis.

    The first day of each month is free; other days need a key in TARDIS_API_KEY or TM_API_KEY. Files that are there
    already are kept, so a fetch that was ended goes on where it was. A file gets its name when it is whole; those that
    are not there or no datasets are named at the end, and the exit code is 1. Needs: pip install 'mm-hybrid[fetch]'.
    """
    days = _days(first.date(), end.date() if end else first.date() + timedelta(days=1))
    wanted = [Dataset(name, symbol, day) for day in days for symbol in symbols for name in data_types]
    key = next(filter(None, map(os.environ.get, KEY_VARIABLES)), "")
    _check_key(key, days)
    fetcher = _Fetcher(
        exchange, wanted, folder=folder, base_url=base_url.rstrip("/"), key=key, parallel=parallel
    )
    with LongOperation(f"fetching {exchange}") as shown:
        _, interrupted = run_until_stopped(lambda stop: fetcher.run(stop, shown))
    files = [path for path in map(fetcher.path, wanted) if path.exists()]
    document = {
        "folder": str(folder),
        "files": [str(path) for path in files],
        "fetched": fetcher.fetched,
        "kept": fetcher.kept,
        "missing": len(wanted) - len(files),
        "failed": fetcher.failed,
        "bytes": sum(path.stat().st_size for path in files),
    }
    if as_json:
        click.echo(json.dumps(document))
    else:
        for path in files:
            click.echo(path)
    for reason in fetcher.failed:
        click.echo(f"mm-hybrid: not fetched: {reason}", err=True)
    if interrupted:
        return EXIT_INTERRUPTED
    return EXIT_FAILED if fetcher.failed else 0


def _days(first: date, end: date) -> list[date]:
    if end <= first:
        raise click.UsageError(
            f"--to {end} must be later than --from {first}: it is the day after the last one"
        )
    return [first + timedelta(days=n) for n in range((end - first).days)]


def _check_key(key: str, days: list[date]) -> None:
    closed = [str(day) for day in days if day.day != 1]
    if closed and not key:
        shown = ", ".join(closed[:3]) + (" ..." if len(closed) > 3 else "")
        raise ConfigError(
            f"{shown}: only the first day of a month is free; set TARDIS_API_KEY or choose such a day"
        )


def _fault(path: Path, stopped: threading.Event) -> str | None:
    """Say what keeps a download from being a dataset: a whole gzip file whose first line is a header."""
    with path.open("rb") as raw:
        begin = raw.read(100)
    if begin and not begin.startswith(GZIP_MAGIC):
        return f"what came is no gzip file, and begins with {_words(begin.decode(errors='replace'))!r}"
    try:
        with gzip.open(path) as file:
            header = file.readline(CHECK_BYTES).decode(errors="replace").rstrip("\r\n").split(",")
            if not set(COLUMNS) <= set(header):
                return f"its first line is no header of a dataset: {_words(','.join(header))!r}"
            while not stopped.is_set() and file.read(CHECK_BYTES):
                pass
    except EOFError:
        return "what came is cut short: fetch it again"
    except (gzip.BadGzipFile, zlib.error) as error:
        return f"what came is damaged ({error}): fetch it again"
    return None


def _words(text: str) -> str:
    """Return the beginning of a text as one line."""
    return " ".join(text.split())[:200]


class _Fetcher:
    """Fetches datasets, a few at a time."""

    def __init__(
        self,
        exchange: str,
        wanted: list[Dataset],
        *,
        folder: Path,
        base_url: str,
        key: str,
        parallel: int,
    ) -> None:
        try:
            import tardis_dev
        except ModuleNotFoundError as error:
            raise ConfigError("fetch needs the Tardis client: pip install 'mm-hybrid[fetch]'") from error
        self._client: Any = tardis_dev
        self._exchange = exchange
        self._wanted = wanted
        self._folder = folder
        self._base_url = base_url
        self._key = key
        self._free = asyncio.Semaphore(parallel)
        self._stopped = threading.Event()
        self.fetched = 0
        self.kept = 0
        self.failed: list[str] = []

    def path(self, dataset: Dataset) -> Path:
        """Return where a dataset goes, named as Tardis's clients name it."""
        midnight = datetime.combine(dataset.day, datetime.min.time())
        symbol = dataset.symbol.upper().replace("/", "-").replace(":", "-")
        name: str = self._client.default_file_name(self._exchange, dataset.data_type, midnight, symbol, "csv")
        return self._folder / name

    async def run(self, stop: asyncio.Event, shown: LongOperation) -> None:
        """Fetch everything, or until ``stop`` is set; nothing unfinished is left behind."""
        await self._reach_server()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._remove_unfinished()
        retries = _Retries(shown)
        logger = logging.getLogger("tardis_dev._http")
        logger.addHandler(retries)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        work = asyncio.gather(*(self._fetch(dataset) for dataset in self._wanted))
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not work.done() and not stopped.done():
                await asyncio.wait((work, stopped), timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                shown.update(self._done(), len(self._wanted), self._detail())
        finally:
            stopped.cancel()
            self._stopped.set()
            logger.removeHandler(retries)
            if not work.done():
                work.cancel()
            await asyncio.gather(work, stopped, return_exceptions=True)
            self._remove_unfinished()
        if not stop.is_set():
            work.result()

    async def _reach_server(self) -> None:
        """Connect once: the client would go on trying for long before it says that nobody is there."""
        parts = urlsplit(self._base_url)
        if parts.scheme in urllib.request.getproxies():
            return  # The proxy reaches it, or not.
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, writer = await asyncio.open_connection(parts.hostname, port)
        except (OSError, TimeoutError) as error:
            reason = str(error) or f"no answer within {CONNECT_TIMEOUT_S:g} s"
            raise OSError(f"{self._base_url} cannot be reached ({reason})") from error
        writer.close()

    async def _fetch(self, dataset: Dataset) -> None:
        path = self.path(dataset)
        async with self._free:
            if path.exists():
                self.kept += 1
                return
            unchecked = path.with_name(f"{path.name}.unchecked")
            try:
                await self._client.download_datasets_async(
                    exchange=self._exchange,
                    data_types=[dataset.data_type],
                    symbols=[dataset.symbol],
                    from_date=str(dataset.day),
                    to_date=str(dataset.day + timedelta(days=1)),
                    api_key=self._key,
                    download_dir=str(self._folder),
                    endpoint=self._base_url,
                    get_filename=lambda *_: unchecked.name,
                )
            except urllib.error.HTTPError as error:
                words = f": {_words(error.msg)}" if error.msg.strip() else ""
                reason = f"{path.name}: HTTP {error.code} from {self._base_url}{words}"
                if error.code not in NOT_FOR_US:
                    raise OSError(reason) from error
                self.failed.append(reason)
                return
            if fault := await asyncio.to_thread(_fault, unchecked, self._stopped):
                unchecked.unlink()
                self.failed.append(f"{path.name}: {fault}")
                return
            unchecked.rename(path)
            self.fetched += 1

    def _done(self) -> int:
        return self.fetched + self.kept + len(self.failed)

    def _unfinished(self) -> list[Path]:
        names = {self.path(dataset).name for dataset in self._wanted}
        return [
            path
            for pattern in ("*.unconfirmed", "*.unchecked")
            for path in self._folder.glob(pattern)
            if any(path.name.startswith(name) for name in names)
        ]

    def _remove_unfinished(self) -> None:
        for path in self._unfinished():
            path.unlink(missing_ok=True)

    def _detail(self) -> str:
        paths = [*map(self.path, self._wanted), *self._unfinished()]
        size = sum(path.stat().st_size for path in paths if path.exists())
        return f"{self._done()} of {len(self._wanted)} files, {size / 1e6:,.1f} MB"


class _Retries(logging.Handler):
    """Says that a download is tried again, which can take minutes."""

    def __init__(self, shown: LongOperation) -> None:
        super().__init__()
        self._shown = shown

    def emit(self, record: logging.LogRecord) -> None:
        """Show one line."""
        self._shown.line(record.getMessage())
