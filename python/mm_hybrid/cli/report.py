"""``mm-hybrid report``: the HTML report of a journal, or its numbers."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("journal", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="File to write; default: the journal's name with .html."
)
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as one JSON object on stdout.")
def command(*, journal: Path, out: Path | None, as_json: bool) -> None:
    """Make the HTML report of JOURNAL, finished or still being written.

    With --json and without --out only the numbers are printed and no file is written.
    """
    from mm_hybrid.report import build_report, summary

    numbers = summary(journal) if as_json else None
    report = None if as_json and out is None else build_report(journal, out or journal.with_suffix(".html"))
    if numbers is not None:
        click.echo(json.dumps({**numbers, "report": None if report is None else str(report)}))
    else:
        click.echo(str(report))
