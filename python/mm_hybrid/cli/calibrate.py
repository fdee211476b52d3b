"""``mm-hybrid calibrate``: A, k and volatility from recorded data, with errors, a plot and warnings."""

from __future__ import annotations

import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from mm_hybrid.cli._progress import LongOperation
from mm_hybrid.cli._symbols import choose

PAGE_FILE = "calibration.html"
NUMBERS_FILE = "calibration.json"


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, readable=True),
    multiple=True,
    required=True,
    help="Tardis file (NDJSON or CSV, plain, gzip or zstd; a table; a folder of them); several are merged.",
)
@click.argument("more_data", nargs=-1, metavar="[FILE]...", type=click.Path(exists=True, readable=True))
@click.option("--exchange", help="Tardis exchange id, such as bybit; needed when the files hold several.")
@click.option("--symbol", help="Symbol as the exchange writes it; needed when the files hold several.")
@click.option(
    "--half-life",
    "half_life_s",
    type=click.FloatRange(min=0, min_open=True),
    default=1800.0,
    show_default=True,
    metavar="SECONDS",
    help="Half-life of market orders; long ones weigh the whole data alike.",
)
@click.option(
    "--sigma-half-life",
    "sigma_half_life_s",
    type=click.FloatRange(min=0, min_open=True),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="Half-life of volatility.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the plot and the numbers; default out/calibrate-TIME.",
)
@click.option(
    "--cache",
    "cache_folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of a session whose cache gets the parameters, for a warm start within ten minutes of the data's end.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    *,
    data: tuple[str, ...],
    more_data: tuple[str, ...],
    exchange: str | None,
    symbol: str | None,
    half_life_s: float,
    sigma_half_life_s: float,
    out: Path | None,
    cache_folder: Path | None,
    as_json: bool,
) -> None:
    """Estimate A, k and volatility of one symbol, say where the exponential holds and what speaks against it.

    Needs trades and the book they met. Writes calibration.html (the plot) and calibration.json (all numbers).
    """
    from mm_hybrid._core import scan_files
    from mm_hybrid.file_calibration import calibrate_files
    from mm_hybrid.report.calibrating import calibration_page

    paths = [*data, *more_data]
    with LongOperation("looking through the files") as shown:
        scans = {(scan.exchange, scan.symbol): scan for scan in scan_files(paths, on_progress=shown.on_bytes)}
    chosen = scans[choose(sorted(scans), exchange, symbol)]
    with LongOperation("calibrating") as shown:
        found = calibrate_files(
            paths,
            chosen,
            half_life_s=half_life_s,
            sigma_half_life_s=sigma_half_life_s,
            on_progress=shown.on_bytes,
        )
    folder = Path("out") / f"calibrate-{datetime.now().astimezone():%Y%m%d-%H%M%S}" if out is None else out
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / PAGE_FILE
    page.write_text(calibration_page(found), encoding="utf-8")
    found["plot"] = str(page)
    found["cache"] = None if cache_folder is None else _remember(cache_folder, found)
    text = json.dumps(_plain(found), allow_nan=False)
    (folder / NUMBERS_FILE).write_text(text + "\n", encoding="utf-8")
    if as_json:
        told = {key: value for key, value in found.items() if key not in ("trace", "bins")}
        click.echo(json.dumps(_plain(told), allow_nan=False))
    else:
        _print(found)


def _remember(folder: Path, found: dict[str, Any]) -> str:
    """Put the parameters into a session's cache, dated with the end of the data, and return where."""
    from mm_hybrid._core import Cache
    from mm_hybrid.session import CACHE_FILE

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CACHE_FILE
    fit = found["intensity"]
    with Cache(str(path)) as cache:
        cache.put_calibration(
            found["exchange"],
            found["symbol"],
            intensity_a=fit["a"],
            intensity_k=fit["k"],
            sigma=found["volatility"]["sigma"],
            # What the errors are worth: a warm start takes them from this number.
            orders_seen=round(fit["effective_orders"]),
            seconds_seen=found["seconds"],
            se_log_a=fit["sd_log_a"],
            se_k=fit["sd_k"],
            ts_ns=found["last_local_ts_ns"],
        )
    return str(path)


def _plain(value: Any) -> Any:
    """Return the value with what JSON has no number for as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


def _print(found: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    fit, volatility = found["intensity"], found["volatility"]
    facts = [
        ("market", f"{found['exchange']} {found['symbol']}, mid {found['mid_price']:.8g}"),
        (
            "data",
            (
                f"{found['seconds']:,.1f} s of readable book, {found['orders']:,} of {found['market_orders']:,} "
                "market orders beyond the touch"
            ),
        ),
        ("A", f"{fit['a']:.4g} ± {fit['sd_a']:.2g} orders per second and side"),
        ("k", f"{fit['k']:.4g} ± {fit['sd_k']:.2g} 1/P, 1/k = {fit['depth_bps']:.3g} bps of mid"),
        (
            "volatility",
            f"{volatility['sigma']:.4g} P/√s now, {volatility['sigma_1m_bps']:.3g} bps per minute",
        ),
    ]
    facts += [
        (
            f"{entry['horizon_s']} s" if index else "by horizon, 1 s",
            "too little data"
            if entry["realized"] is None
            else f"{entry['realized']:.4g} ± {entry['sd_realized']:.2g} P/√s",
        )
        for index, entry in enumerate(volatility["horizons"])
    ]
    facts.append(("holds", _held(found["range"])))
    facts.append(("plot", found["plot"]))
    if found["cache"] is not None:
        facts.append(("cache", found["cache"]))
    for name, text in facts:
        console.print(f"{name:>15}  {text}", highlight=False, markup=False, soft_wrap=True)
    for warning in found["warnings"]:
        console.print(
            f"{'warning':>15}  {warning['text']}",
            style="yellow",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _held(found: dict[str, Any] | None) -> str:
    if found is None:
        return "at no run of depths does the exponential pass its test"
    end = "on" if found["to"] is None else f"to {found['to']:.6g} P ({found['to_bps']:.2g} bps)"
    return (
        f"from {found['from']:.6g} P ({found['from_bps']:.2g} bps) {end}: k {found['k']:.4g} ± {found['sd_k']:.2g}, "
        f"A {found['a']:.4g} ± {found['sd_a']:.2g}, p = {found['p_value']:.2g}, "
        f"{found['order_share']:.0%} of the orders"
    )
