"""The checker finds what it is there to find: hand-made ledgers and journals, each with one promise broken."""

import ast
import json
import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest

from . import check
from .check import Diary, Facts, Ledger

S = 1_000_000_000
ORDER = {"side": "buy", "price": "60000.0", "qty": "0.010", "reduce_only": False, "post_only": True}
EXECUTION = {
    "exec_id": "e1", "exec_type": "Trade", "side": "buy", "price": "60000.0", "qty": "0.004", "fee": "0.0024",
    "fee_currency": "USDT", "is_maker": True, "position_after": "0.004",
}  # fmt: skip
RESULT = {"event": "result", "error": None, "position": "0.004", "open_orders": 0, "unknown_orders": 0}


class Books:
    """A run in which one order was placed, partly filled and cancelled, and everything was written down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events = [
            (1 * S, "accepted", "o1", "mm-a-1", ORDER),
            (2 * S, "execution", "o1", "mm-a-1", EXECUTION),
            (3 * S, "canceled", "o1", "mm-a-1", {"cause": "user"}),
        ]
        self.sessions = [S // 2]
        self.intents = [("create", "mm-a-1"), ("cancel", "mm-a-1")]
        self.outcomes = [(1 * S + 1, "mm-a-1", "OPEN"), (3 * S + 1, "mm-a-1", "CANCELED")]
        self.fills = [("e1", "mm-a-1", "buy", "60000.0", "0.004", "-0.0024", 1)]
        self.marks = ["0.004"]
        self.told_order_id = None
        self.facts = {
            "limit_base": Decimal("0.010"),
            "window_s": 1.0,
            "resolve_bound_s": 5.0,
            "ends": [RESULT],
            "size_before_restart": {"intent": 2, "outcome": 2, "fill": 1},
            "testimony": [{"ts_ns": S, "client_id": "mm-a-1", "committed": True}],
        }

    def violations(self) -> list[str]:
        return [
            f"{v.invariant} {v.what}" for v in check.check(self._ledger(), self._diary(), Facts(**self.facts))
        ]

    def _ledger(self) -> Ledger:
        database = sqlite3.connect(self.folder / "exchange.sqlite")
        database.execute("PRAGMA synchronous = OFF")
        database.execute(
            "CREATE TABLE event(seq INTEGER PRIMARY KEY, ts_ns INTEGER NOT NULL, kind TEXT NOT NULL, "
            "order_id TEXT, client_id TEXT, body TEXT NOT NULL)"
        )
        for ts_ns, kind, order_id, client_id, body in self.events:
            row = (ts_ns, kind, order_id, client_id, json.dumps(body))
            database.execute(
                "INSERT INTO event(ts_ns, kind, order_id, client_id, body) VALUES(?, ?, ?, ?, ?)", row
            )
        database.commit()
        database.close()
        return Ledger.read(self.folder / "exchange.sqlite")

    def _diary(self) -> Diary:
        database = sqlite3.connect(self.folder / "journal.sqlite")
        database.execute("PRAGMA synchronous = OFF")
        database.executescript(
            """
            CREATE TABLE session(id INTEGER PRIMARY KEY, started_ns INTEGER);
            CREATE TABLE intent(seq INTEGER PRIMARY KEY, ts_ns INTEGER, action TEXT, client_id TEXT);
            CREATE TABLE outcome(seq INTEGER PRIMARY KEY, ts_ns INTEGER, client_id TEXT, state TEXT,
                order_id TEXT);
            CREATE TABLE fill(seq INTEGER PRIMARY KEY, order_id TEXT DEFAULT 'o1', exec_id TEXT, client_id TEXT,
                side TEXT, price TEXT, qty TEXT, fee_quote TEXT, is_maker INTEGER);
            CREATE TABLE mark(seq INTEGER PRIMARY KEY, position TEXT);
            """
        )
        database.executemany("INSERT INTO session(started_ns) VALUES(?)", [(s,) for s in self.sessions])
        database.executemany(
            f"INSERT INTO intent(ts_ns, action, client_id) VALUES({S - 1}, ?, ?)", self.intents
        )
        database.executemany("INSERT INTO outcome(ts_ns, client_id, state) VALUES(?, ?, ?)", self.outcomes)
        database.execute("UPDATE outcome SET order_id = ?", (self.told_order_id,))
        database.executemany(
            "INSERT INTO fill(exec_id, client_id, side, price, qty, fee_quote, is_maker) VALUES(?, ?, ?, ?, ?, ?, ?)",
            self.fills,
        )
        database.executemany("INSERT INTO mark(position) VALUES(?)", [(mark,) for mark in self.marks])
        database.commit()
        database.close()
        return Diary.read(self.folder / "journal.sqlite")


@pytest.fixture
def books(tmp_path):
    return Books(tmp_path)


def test_books_that_agree_break_no_promise(books):
    assert books.violations() == []


def test_an_order_without_an_intent_is_lost(books):
    books.intents, books.outcomes = [], []
    books.facts["size_before_restart"] = None
    assert "I1 order mm-a-1 has 0 intents in the journal" in books.violations()


@pytest.mark.parametrize("said", ["NOT_PLACED", "OPEN", "FILLED", "PENDING_UNKNOWN"])
def test_an_order_that_ended_otherwise_than_the_journal_says_is_lost(books, said):
    books.outcomes[-1] = (3 * S + 1, "mm-a-1", said)
    assert f"I1 order mm-a-1: CANCELED at the exchange, {said} in the journal" in books.violations()


def test_an_intent_without_any_outcome_is_lost(books):
    books.intents.append(("create", "mm-a-2"))
    books.facts["size_before_restart"] = None
    assert books.violations() == ["I1 order mm-a-2: never accepted at the exchange, nothing in the journal"]


def test_an_order_that_rests_must_not_be_taken_as_not_placed(books):
    books.facts["size_before_restart"] = None
    books.outcomes.insert(1, (round(2.5 * S), "mm-a-1", "NOT_PLACED"))
    assert books.violations() == ["I6 order mm-a-1: taken as not placed when it had rested for 1.50 s"]


def test_an_order_accepted_within_the_window_before_it_was_given_up_is_beyond_the_promise(books):
    books.facts["size_before_restart"] = None
    books.outcomes.insert(1, (round(1.5 * S), "mm-a-1", "NOT_PLACED"))
    assert books.violations() == []


@pytest.mark.parametrize("said", ["NOT_PLACED", "REJECTED"])
def test_an_order_the_exchange_never_took_may_be_rejected_or_not_placed(books, said):
    books.intents.append(("create", "mm-a-2"))
    books.outcomes.append((4 * S, "mm-a-2", said))
    books.facts["size_before_restart"] = None
    assert books.violations() == []


def test_a_lost_execution_is_found_and_so_is_the_money_that_is_off(books):
    books.fills = []
    books.facts["size_before_restart"] = None
    found = books.violations()
    assert "I1 execution e1 of mm-a-1 is lost" in found
    assert "I3 position: 0.004 at the exchange, 0 by the journal's fills" in found
    assert [line for line in found if line.startswith("I3 fees")]


def test_an_execution_of_the_venue_itself_must_be_in_the_journal_too(books):
    body = EXECUTION | {"exec_id": "e2", "exec_type": "AdlTrade", "side": "sell"}
    books.events.append((5 * S, "execution", "v1", None, body))
    assert "I1 execution e2 of AdlTrade is lost" in books.violations()


def test_what_somebody_else_trades_on_the_account_must_be_in_the_journal_and_is_not_our_exposure(books):
    body = EXECUTION | {"exec_id": "e2", "qty": "0.020"}
    books.events.insert(1, (1 * S, "execution", "f1", None, body))
    assert [line for line in books.violations() if line.startswith(("I1", "I4"))] == [
        "I1 execution e2 of Trade is lost"
    ]


def test_an_execution_written_twice_or_out_of_nothing_is_found(books):
    books.fills += [books.fills[0], ("e9", *books.fills[0][1:])]
    books.facts["size_before_restart"] = None
    found = books.violations()
    assert "I1 1 executions are in the journal twice" in found
    assert "I1 execution e9 is in the journal and not at the exchange" in found


def test_an_execution_booked_before_its_order_was_known_is_the_orders_by_the_exchanges_id(books):
    books.fills = [(books.fills[0][0], "", *books.fills[0][2:])]
    assert any(line.startswith("I1 execution e1: client id") for line in books.violations())
    (books.folder / "exchange.sqlite").unlink()
    (books.folder / "journal.sqlite").unlink()
    books.told_order_id = "o1"
    assert books.violations() == []


@pytest.mark.parametrize(
    ("column", "value"), [(1, "mm-a-7"), (2, "sell"), (3, "1.0"), (4, "0.003"), (5, "0"), (6, 0)]
)
def test_an_execution_written_wrongly_is_found(books, column, value):
    fill = list(books.fills[0])
    fill[column] = value
    books.fills = [tuple(fill)]
    assert any(line.startswith("I1 execution e1: ") for line in books.violations())


def test_two_orders_of_one_intent_are_found(books):
    books.events.insert(1, (1 * S, "accepted", "o2", "mm-a-1", ORDER))
    books.events.append((3 * S, "canceled", "o2", "mm-a-1", {"cause": "user"}))
    assert "I2 intent mm-a-1 has 2 orders at the exchange" in books.violations()


def test_a_client_id_used_twice_is_found(books):
    books.intents.append(("create", "mm-a-1"))
    assert "I2 client id mm-a-1 was used for 2 intents" in books.violations()


def test_a_position_remembered_or_marked_wrongly_is_found(books):
    books.marks.append("0.008")
    books.facts["ends"] = [RESULT | {"position": "0.006"}]
    assert [line for line in books.violations() if line.startswith("I3")] == [
        "I3 position: 0.004 at the exchange, 0.008 in the last mark",
        "I3 position: 0.004 at the exchange, 0.006 in the maker's memory",
    ]


def test_funding_that_is_not_in_the_journal_is_found(books):
    books.events.append(
        (5 * S, "funding", None, None, {"rate": "0.0001", "amount": "-0.024", "position": "0.004"})
    )
    assert "I3 funding: -0.024 at the exchange, None in the journal" in books.violations()


def test_exposure_beyond_the_limit_is_found_at_its_worst_moment(books):
    books.facts["limit_base"] = Decimal("0.009")
    assert books.violations() == ["I4 buy: position could have reached 0.010 at event 1, limit 0.009"]


def test_an_order_that_comes_after_its_window_is_beyond_the_promise(books):
    books.facts["limit_base"] = Decimal("0.001")
    books.outcomes.insert(0, (1 * S - 1, "mm-a-1", "NOT_PLACED"))
    books.facts["size_before_restart"] = None
    received = {"endpoint": "create", "code": None, "fault": "accept_late", "client_ids": ["mm-a-1"]}
    books.events.insert(0, (0, "request", None, None, received))
    assert books.violations() == []


def test_a_maker_that_gives_an_order_up_before_its_window_has_closed_is_not_excused(books):
    books.facts["limit_base"] = Decimal("0.001")
    books.outcomes.insert(0, (1 * S - 1, "mm-a-1", "NOT_PLACED"))
    books.facts["size_before_restart"] = None
    received = {"endpoint": "create", "code": None, "fault": "accept_late", "client_ids": ["mm-a-1"]}
    books.events.insert(0, (1 * S // 2, "request", None, None, received))
    assert [line[:2] for line in books.violations()] == ["I4"]


def test_an_amend_that_grows_an_order_counts(books):
    books.events.insert(
        1, (1 * S, "amended", "o1", "mm-a-1", {"price": "60000.0", "qty": "0.020", "filled": "0"})
    )
    assert any(line.startswith("I4 buy: position could have reached 0.020") for line in books.violations())


def test_an_order_received_before_its_intent_was_committed_is_found(books):
    books.facts["testimony"][0]["committed"] = False
    assert books.violations() == ["I5 create mm-a-1 arrived before its intent was in the journal"]


def test_an_order_nobody_saw_coming_is_found(books):
    books.facts["testimony"] = []
    assert books.violations() == ["I5 order mm-a-1 was accepted without a witness"]


@pytest.mark.parametrize(("after_s", "broken"), [(0.4, 1), (1.1, 0)])
def test_an_order_nobody_shows_is_given_up_only_after_the_window(books, after_s, broken):
    books.events, books.fills, books.marks, books.intents = [], [], ["0"], [("create", "mm-a-1")]
    books.outcomes = [(S, "mm-a-1", "PENDING_UNKNOWN"), (round((1 + after_s) * S), "mm-a-1", "NOT_PLACED")]
    books.facts |= {"testimony": [], "size_before_restart": None, "ends": [RESULT | {"position": "0"}]}
    violations = books.violations()
    assert len(violations) == broken, violations
    assert all(line.startswith("I6 order mm-a-1: taken as not placed 0.40 s") for line in violations)


def test_an_unknown_outcome_must_be_resolved_in_time(books):
    books.outcomes.insert(0, (1 * S, "mm-a-1", "PENDING_UNKNOWN"))
    books.outcomes[1:] = [(9 * S, "mm-a-1", "CANCELED")]
    assert books.violations() == ["I6 order mm-a-1: unknown for 8.0 s"]
    assert check.unknown_resolved(Diary.read(books.folder / "journal.sqlite")) == 1


def test_time_in_which_no_maker_lived_does_not_count(books):
    books.outcomes.insert(0, (1 * S, "mm-a-1", "PENDING_UNKNOWN"))
    books.outcomes[1:] = [(9 * S, "mm-a-1", "CANCELED")]
    books.sessions.append(8 * S)
    assert books.violations() == []


def test_an_order_left_open_is_found(books):
    del books.events[2]
    books.outcomes[-1] = (3 * S, "mm-a-1", "OPEN")
    assert books.violations() == ["I6 order mm-a-1 is open after the stop"]


@pytest.mark.parametrize(
    "end",
    [
        {"event": "failed", "error": "GatewayError: no"},
        {"event": "crashed", "code": 1},
        RESULT | {"error": "RiskStopError: position"},
        RESULT | {"unknown_orders": 1},
    ],
)
def test_a_maker_that_does_not_end_in_order_is_found(books, end):
    books.facts["ends"] = [end, RESULT]
    assert [line[:2] for line in books.violations()] == ["I6"]


def test_a_second_recovery_that_writes_something_is_found(books):
    books.facts["size_before_restart"] = {"intent": 2, "outcome": 1, "fill": 1}
    assert books.violations() == ["I7 recovering again wrote 1 rows into outcome"]


def test_the_checker_imports_nothing_it_checks():
    tree = ast.parse(Path(check.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {
        "__future__", "json", "sqlite3", "collections", "collections.abc", "dataclasses", "decimal", "pathlib",
        "typing",
    }  # fmt: skip
