"""Questions to an advisor as a journal keeps them: which prompt they are, their fields, and how a page shows them.

A journal may hold anything where a request should be: what cannot be read is said to be so, and all of it is text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import Any, NamedTuple

from mm_hybrid.journal import AdviceRow
from mm_hybrid.optimizer.prompt import PROMPT_VERSIONS, SYSTEM_TEXTS
from mm_hybrid.report.tables import time_of_day

_MAX_CHARS = 4000
_MAX_FIELDS = 100
_MAX_REASON = 160


class Asked(NamedTuple):
    """One question.

    Attributes:
        prompt: profile and version, or what is known of them.
        model: the model addressed; empty when not told.
        instructions: the system message.
        message: the user message as it was sent.
        fields: the fields of the user message, numbers digit for digit; empty when it is no JSON object.
    """

    prompt: str
    model: str
    instructions: str
    message: str
    fields: dict[str, str]


def asked_of(row: AdviceRow) -> Asked:
    """Return what a row of the journal says was asked."""
    request = _object(row.request_json)
    messages = request.get("messages")
    texts: dict[str, str] = {}
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, dict):
            texts[str(message.get("role"))] = str(message.get("content"))
    instructions, message = texts.get("system", ""), texts.get("user", "")
    fields = {name: _value(value) for name, value in list(_object(message).items())[:_MAX_FIELDS]}
    return Asked(
        _prompt(row.prompt, instructions), str(request.get("model", "")), instructions, message, fields
    )


def question_fold(row: AdviceRow, *, is_open: bool = False) -> str:
    """Return a question as a part of a page that folds: when, what became of it and why, and every field it had."""
    asked = asked_of(row)
    facts = [time_of_day(row.ts_ns), row.outcome, asked.prompt, asked.model]
    reason = f"<small>{_text(row.detail, _MAX_REASON)}</small>" if row.detail else ""
    head = f"{' · '.join(_text(fact) for fact in facts if fact)} {reason}"
    return (
        f"<details class=question{' open' if is_open else ''}><summary>{head}</summary>{_fields(asked)}"
        f"{_instructions(asked)}</details>"
    )


def question_folds(rows: Iterable[AdviceRow]) -> str:
    """Return questions newest first, folded."""
    return "".join(question_fold(row) for row in reversed(list(rows))) or "<p>None.</p>"


def _fields(asked: Asked) -> str:
    if asked.fields:
        pairs = "".join(
            f"<div><span>{_text(name)}</span><b>{_text(value)}</b></div>"
            for name, value in asked.fields.items()
        )
        return f'<div class="fields">{pairs}</div>'
    if asked.message:
        return f"<pre>{_text(asked.message)}</pre>"
    return "<p>The journal holds no question here.</p>"


def _instructions(asked: Asked) -> str:
    if not asked.instructions:
        return ""
    return f"<details><summary>Instructions</summary><p>{_text(asked.instructions)}</p></details>"


def _prompt(profile: str | None, instructions: str) -> str:
    """Return profile and version; the version is told by the text, since another text is another version."""
    for name, text in SYSTEM_TEXTS.items():
        if text == instructions:
            return PROMPT_VERSIONS[name]
    if profile is None:
        return "unknown"
    return f"{profile}, {'another version' if instructions else 'version not told'}"


def _object(text: str) -> dict[str, Any]:
    """Return a JSON object with its numbers as they are written; an empty one for anything else."""
    try:
        value = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _value(value: object) -> str:
    if value is None:
        return "not known"
    return value if isinstance(value, str) else json.dumps(value)


def _text(text: str, limit: int = _MAX_CHARS) -> str:
    """Return text as HTML of a bounded length; half a surrogate pair cannot be written to a file."""
    cut = text if len(text) <= limit else f"{text[:limit]}..."
    return escape(cut.encode("utf-8", "replace").decode())
