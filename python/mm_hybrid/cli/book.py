"""``mm-hybrid book``: rebuild order books from Tardis files and print one."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import click

from mm_hybrid._core import AggregatedOrderBook, rebuild_books
from mm_hybrid.cli._moments import iso, moment
from mm_hybrid.cli._progress import LongOperation
from mm_hybrid.cli._symbols import choose

_TABLE_DEPTH = 20


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, readable=True))
@click.option("--exchange", help="Tardis exchange id, such as bybit; needed when the files hold several.")
@click.option("--symbol", help="Symbol as the exchange writes it; needed when the files hold several.")
@click.option(
    "--at",
    "at_ns",
    callback=moment,
    metavar="TIME",
    help="Stop after this local time: ISO 8601 or integer ns. Messages up to 5 s out of order are found.",
)
@click.option("--depth", type=click.IntRange(min=1), help="Levels per side; all by default.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    *,
    files: tuple[str, ...],
    exchange: str | None,
    symbol: str | None,
    at_ns: int | None,
    depth: int | None,
    as_json: bool,
) -> None:
    """Rebuild books from Tardis FILES (NDJSON or CSV, plain, gzip or zstd; tables; folders of them) and print one.

    Several files are merged by local time, such as the book and the trades of a symbol.
    """
    with LongOperation("rebuilding") as shown:
        messages, _, books = rebuild_books(files, until_ns=at_ns, on_progress=shown.on_bytes)
    exchange, symbol = choose(books.symbols(), exchange, symbol)
    book = books.snapshot(exchange, symbol, depth)
    if book is None:  # `choose` returns only symbols that have a book
        raise click.ClickException(f"no book of {exchange} {symbol}")
    if as_json:
        click.echo(json.dumps(_document(book, messages), allow_nan=False))
    else:
        _print_table(book, messages, depth or _TABLE_DEPTH)


def _document(book: AggregatedOrderBook, messages: int) -> dict[str, Any]:
    bid_levels, ask_levels = book.levels
    return {
        "exchange": book.exchange,
        "symbol": book.symbol,
        "state": book.state,
        "reason": book.reason,
        "messages": messages,
        "book_changes": book.book_changes,
        "trades": book.trades,
        "local_ts_ns": book.timestamp,
        "exchange_ts_ns": book.exchange_ts_ns,
        "age_ns": book.age_ns,
        "crossed_levels_pruned": book.crossed_levels_pruned,
        "bids": book.bids.tolist(),
        "asks": book.asks.tolist(),
        "levels": {"bid": bid_levels, "ask": ask_levels},
        "metrics": {
            "spread_bps": book.spread_bps,
            "mid_price": book.mid_price,
            "microprice": book.microprice,
            "imbalance": book.imbalance,
            "depth_10pct": book.depth_10pct,
            "volatility_1m": book.volatility_1m,
        },
    }


def _print_table(book: AggregatedOrderBook, messages: int, max_levels: int) -> None:
    from rich.console import Console
    from rich.table import Table

    bid_levels, ask_levels = book.levels
    shown = min(max_levels, max(len(book.bids), len(book.asks)))
    table = Table(
        title=f"{book.exchange} {book.symbol}  {book.state}{f' ({book.reason})' if book.reason else ''}",
        caption=f"best {shown} of {bid_levels} bids and {ask_levels} asks",
    )
    for name in ("bid qty", "bid", "ask", "ask qty"):
        table.add_column(name, justify="right")
    bids, asks = book.bids[:shown].tolist(), book.asks[:shown].tolist()
    for i in range(shown):
        bid_price, bid_qty = bids[i] if i < len(bids) else ("", "")
        ask_price, ask_qty = asks[i] if i < len(asks) else ("", "")
        table.add_row(*(_number(cell) for cell in (bid_qty, bid_price, ask_price, ask_qty)))
    console = Console()
    console.print(table)
    depth = book.depth_10pct
    facts = [
        ("local time", iso(book.timestamp) if book.timestamp else "none"),
        ("messages", f"{messages} read; {book.book_changes} book changes, {book.trades} trades shown here"),
        ("mid", _metric(book.mid_price, "")),
        ("microprice", _metric(book.microprice, "")),
        ("spread", _metric(book.spread_bps, " bps")),
        ("imbalance", _metric(book.imbalance, "")),
        ("volatility", _metric(book.volatility_1m, " bps per minute")),
        ("10 % depth", f"bids {depth['bid_quote']:,.0f}, asks {depth['ask_quote']:,.0f} in quote currency"),
        ("covered", f"{depth['covered_pct']:.3g} % from mid"),
    ]
    for name, text in facts:
        console.print(f"{name:>11}  {text}", highlight=False)


def _number(value: float | str) -> str:
    """Return the shortest decimal that reads back as ``value``, which is how the exchange wrote it."""
    return value if isinstance(value, str) else f"{Decimal(repr(value)).normalize():f}"


def _metric(value: float | None, unit: str) -> str:
    return "none" if value is None else f"{value:.8g}{unit}"
