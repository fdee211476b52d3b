"""Walking a venue's pages and time spans to the end, whatever the client library would cut short."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

Mark = dict[str, Any]
"""Parameters that ask for one page; empty for the first."""

Page = Callable[[Mark], Awaitable[tuple[list[Any], Mark | None]]]
"""Fetches the page a mark asks for and returns its rows with the mark of the next one, ``None`` after the last."""


async def all_pages(page: Page) -> list[Any]:
    """Return the rows of all pages; a venue that answers with the mark it was asked with is not asked again."""
    rows: list[Any] = []
    mark: Mark | None = {}
    while mark is not None:
        more, following = await page(mark)
        rows += more
        mark = None if following == mark else following
    return rows


async def all_spans(page: Page, since_ms: int, now_ms: int, longest_ms: int) -> list[Any]:
    """Return the rows since a venue time, asked for in spans no longer than the venue accepts.

    The last span has no end, so that what happens meanwhile is in it.
    """
    rows: list[Any] = []
    begin_ms = since_ms
    while begin_ms + longest_ms < now_ms:
        span = {"startTime": begin_ms, "endTime": begin_ms + longest_ms}
        rows += await all_pages(functools.partial(_within, page, span))
        begin_ms += longest_ms
    rows += await all_pages(functools.partial(_within, page, {"startTime": begin_ms}))
    return rows


def next_mark(venue: str, infos: list[Any], id_key: str) -> Mark | None:
    """Return the mark of the page after one of ``infos``, or ``None`` after an empty one.

    A page with fewer rows than asked for need not be the last: a venue may cap a page lower, or leave rows out of it.
    Bybit's cursor comes with the rows as ccxt hands them on, on the last page too; Bitget is asked for what is older
    than the oldest.
    """
    if not infos:
        return None
    if venue == "bybit":
        cursor = next((info["nextPageCursor"] for info in infos if "nextPageCursor" in info), None)
        return {"cursor": cursor} if cursor else None
    return {"idLessThan": str(min(int(info[id_key]) for info in infos))}


async def _within(page: Page, span: Mark, mark: Mark) -> tuple[list[Any], Mark | None]:
    return await page({**span, **mark})
