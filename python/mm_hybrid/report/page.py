"""The report as one HTML file that needs nothing else: script and data inside, network forbidden."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from mm_hybrid.report.advising import Advising
from mm_hybrid.report.asked import question_fold, question_folds
from mm_hybrid.report.charts import advisor_charts, charts
from mm_hybrid.report.read import Session, read_session, summarise
from mm_hybrid.report.shell import drawing as _drawing
from mm_hybrid.report.shell import html_page
from mm_hybrid.report.shell import section as _section
from mm_hybrid.report.tables import (
    advice_table,
    count_table,
    hour_table,
    latency_table,
    reason_table,
    state_table,
)


def build_report(journal_path: str | os.PathLike[str], out_html: str | os.PathLike[str]) -> Path:
    """Write the report of a journal and return where it is.

    Args:
        journal_path: a journal, finished or still being written.
        out_html: the file to write; its folder is created.

    Raises:
        JournalError: the journal cannot be read, or no session ever started in it.
        OSError: the report cannot be written.
    """
    html = render(read_session(journal_path))
    out = Path(out_html)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(html, encoding="utf-8")
    return out


def render(session: Session) -> str:
    """Return the whole page."""
    numbers = summarise(session)
    title = f"{numbers['symbol']} on {numbers['exchange']}, {numbers['mode']}"
    drawings = "".join(
        _section(heading, note, _drawing(figure, f"chart-{index}"))
        for index, (heading, note, figure) in enumerate(charts(session), start=1)
    )
    return html_page(
        title,
        _facts(session),
        f"""<div class="cards">{_cards(numbers)}</div>
{drawings}
<div class="columns">
{_section("Requests", "What was asked of the venue, by kind.", count_table(session.actions, "action"))}
{_section("Answers", "States orders were said to be in.", count_table(session.outcomes, "state"))}
{_section("Refused by risk", "Targets that never became orders.", count_table(session.refusals, "reason"))}
{_section("Book at the marks", "Quoted while LIVE only.", count_table(session.book_states, "state"))}
</div>
{_section("Latency", "Milliseconds from intent to the first answer.", latency_table(numbers["latency_ms"]))}
{_section("Last hour", "Kinds of market, spikes, and how own fills fared.", _hour(session))}
{_advisor_page(session)}
{_section("Changes of state", "The last ones, newest first.", state_table(session.states))}""",
    )


def _facts(session: Session) -> str:
    first = session.sessions[0]
    instrument = json.loads(first.instrument_json)
    starts = f", {len(session.sessions)} starts" if len(session.sessions) > 1 else ""
    started = datetime.fromtimestamp(first.started_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    facts = [
        f"Started {started}{starts}",
        f"{session.seconds:,.1f} s marked",
        f"tick {instrument.get('tick_size')}, lot {instrument.get('lot_size')}",
        f"maker fee {_bps(instrument.get('maker_fee_rate'))} bps",
        f"taker fee {_bps(instrument.get('taker_fee_rate'))} bps",
        f"mm_hybrid {first.version}",
        f"journal {session.path.name}",
    ]
    return escape(" · ".join(facts))


def _bps(rate: object) -> str:
    try:
        return f"{float(str(rate)) * 1e4:g}"
    except ValueError:
        return "?"


def _cards(numbers: dict[str, Any]) -> str:
    pnl = numbers["pnl"]
    parts = [
        ("Total", pnl["total"]),
        ("Spread capture", pnl["spread_capture"]),
        ("Inventory", pnl["inventory"]),
    ]
    parts += [("Fees", pnl["fees"]), ("Funding", pnl["funding"])]
    cards = [
        (name, f"{value:+,.4f}", "good" if value > 0 else "bad" if value < 0 else "") for name, value in parts
    ]
    share, difference = numbers["quoted_share"], numbers["engine_difference"]
    cards += [
        ("Max drawdown", f"{numbers['max_drawdown']:,.4f}", ""),
        ("Fills, buy / sell", f"{numbers['buys']} / {numbers['sells']}", ""),
        ("Traded, quote", f"{numbers['traded_quote']:,.2f}", ""),
        ("Position, base", f"{numbers['position']:+g}", ""),
        ("Largest position", f"{numbers['max_position']:g}", ""),
        ("Quoting both sides", "-" if share is None else f"{share:.1%}", ""),
        (
            "Engine's total less this",
            "-" if difference is None else f"{difference:g}",
            "bad" if difference else "",
        ),
    ]
    return "".join(
        f'<div class="card"><span>{name}</span><b class="{cls}">{value}</b></div>'
        for name, value, cls in cards
    )


def _hour(session: Session) -> str:
    return f"<p class=words>{escape(session.hour.sentence())}</p>{hour_table(session.hour.numbers())}"


def _advisor_page(session: Session) -> str:
    advising = session.advising
    if not advising.outcomes:
        return _section("Advisor", "None was asked.", "")
    numbers = advising.numbers()
    note = (
        "What it was asked, what it answered, and what was made of that. Advice moves quotes only with a weight above "
        "0; answers of local or scripted services show that the plumbing works, not that advice is worth anything."
    )
    drawings = "".join(
        f"<h3>{heading}</h3><p>{text}</p>{_drawing(figure, f'advisor-{index}')}"
        for index, (heading, text, figure) in enumerate(advisor_charts(advising), start=1)
    )
    body = (
        f'<div class="cards">{_advisor_cards(numbers)}</div>'
        f"<h3>Weight</h3><p class=words>{escape(advising.weight.sentence())}</p>"
        f"<h3>What was asked</h3>{count_table(advising.prompts, 'prompt')}{_latest(advising)}"
        f"<h3>Outcomes</h3>{count_table(advising.outcomes, 'outcome')}"
        f"<h3>Refused or changed, and why</h3>{reason_table(advising.reasons)}"
        "<h3>The last questions refused or clamped, newest first</h3>"
        f"<p>Unfold one to see what was asked.</p>{question_folds(advising.troubled)}"
        f"<h3>Why advice ended</h3>{count_table(advising.retired, 'reason')}"
        f"{drawings}<h3>The last questions, newest first</h3>{advice_table(session.advice)}"
    )
    return _section("Advisor", note, body)


def _latest(advising: Advising) -> str:
    if advising.latest is None:
        return ""
    return f"<p>The latest question, field by field:</p>{question_fold(advising.latest, is_open=True)}"


def _advisor_cards(numbers: dict[str, Any]) -> str:
    def quantiles(values: dict[str, float] | None, digits: int) -> str:
        return "-" if values is None else f"{values['p50']:.{digits}f} / {values['p99']:.{digits}f}"

    age_ms, weight = numbers["mean_age_at_use_ms"], numbers["weight_in_force"]
    cards = [
        ("Weight in force", "-" if weight is None else "0 (shadow)" if weight == 0 else f"{weight:g}"),
        ("Asked", f"{numbers['asked']:,}"),
        ("Accepted / clamped", f"{numbers['accepted']:,} / {numbers['clamped']:,}"),
        ("Refused", f"{numbers['refused']:,}"),
        ("Spent, USD", f"{numbers['spent_usd']:.4f}"),
        ("Latency p50 / p99, ms", quantiles(numbers["latency_ms"], 0)),
        ("Bid over model, p50 / p99", quantiles(numbers["ratio_bid"], 2)),
        ("Ask over model, p50 / p99", quantiles(numbers["ratio_ask"], 2)),
        ("Used in quotes", f"{numbers['uses']:,}"),
        ("Mean age at use, s", "-" if age_ms is None else f"{age_ms / 1000:.1f}"),
    ]
    return "".join(f'<div class="card"><span>{name}</span><b>{value}</b></div>' for name, value in cards)
