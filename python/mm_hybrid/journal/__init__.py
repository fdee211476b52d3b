"""The journal: what was intended, what came of it, every fill; append-only, one SQLite file."""

from mm_hybrid.journal.reader import JournalReader
from mm_hybrid.journal.replay import FUNDING_WATERMARK, WATERMARK, OpenedOrder, ReplayedState, replay
from mm_hybrid.journal.schema import (
    SCHEMA_VERSION,
    AdviceRow,
    FillRow,
    FundingRow,
    IntentRow,
    MarkRow,
    OpeningRow,
    OutcomeRow,
    RefusalRow,
    SessionRow,
    StateRow,
)
from mm_hybrid.journal.store import Intent, Journal

__all__ = [
    "FUNDING_WATERMARK",
    "SCHEMA_VERSION",
    "WATERMARK",
    "AdviceRow",
    "FillRow",
    "FundingRow",
    "Intent",
    "IntentRow",
    "Journal",
    "JournalReader",
    "MarkRow",
    "OpenedOrder",
    "OpeningRow",
    "OutcomeRow",
    "RefusalRow",
    "ReplayedState",
    "SessionRow",
    "StateRow",
    "replay",
]
