"""The journal: what was intended, what came of it, every fill; append-only, one SQLite file."""

from mm_hybrid.journal.reader import JournalReader
from mm_hybrid.journal.schema import (
    SCHEMA_VERSION,
    AdviceRow,
    FillRow,
    IntentRow,
    MarkRow,
    OutcomeRow,
    RefusalRow,
    SessionRow,
    StateRow,
)
from mm_hybrid.journal.store import Intent, Journal

__all__ = [
    "SCHEMA_VERSION",
    "AdviceRow",
    "FillRow",
    "Intent",
    "IntentRow",
    "Journal",
    "JournalReader",
    "MarkRow",
    "OutcomeRow",
    "RefusalRow",
    "SessionRow",
    "StateRow",
]
