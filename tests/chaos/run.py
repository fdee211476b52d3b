"""One run: an exchange, a maker killed and started again, and the books compared at the end."""

from __future__ import annotations

import json
import os
import sqlite3
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from .check import Diary, Facts, Ledger, check, fault_kinds, testimony_of, unknown_resolved
from .processes import Nursery, Process, StartError
from .script import MIN_FAULT_KINDS, MIN_ORDERS, WINDOW_S, Kill, Script

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 40.0
LAST_LIFE_S = (1.5, 25.0)
"""Least and longest time the last life trades under faults; it ends early once the run counts."""

START_ATTEMPTS = 8
RESOLVE_BOUND_S = 3 * WINDOW_S + 8.0  # An order that the exchange once confirmed takes three windows.
MARKET_EXCHANGE = {"bybit": "bybit", "bitget": "bitget-futures"}


class NoStartError(RuntimeError):
    """A maker does not start any more."""


@dataclass(slots=True)
class Run:
    """State of one run while it goes on."""

    script: Script
    folder: Path
    nursery: Nursery
    market_url: str
    exchange: Process | None = None
    url: str = ""
    kills: list[str] = field(default_factory=list)
    failed_starts: int = 0
    ends: list[dict[str, Any]] = field(default_factory=list)
    lives: int = 0
    has_started: bool = False

    @property
    def broken(self) -> bool:
        """Whether a maker ended in a way that no start mends."""
        return any(end["event"] != "result" or end["error"] is not None for end in self.ends)

    @property
    def journal(self) -> Path:
        return self.folder / "journal.sqlite"

    @property
    def state(self) -> Path:
        return self.folder / "exchange.sqlite"

    @property
    def witness(self) -> Path:
        return self.folder / "witness.jsonl"

    @property
    def limit_base(self) -> Decimal:
        return Decimal(self.script.qty) * self.script.limit_qty

    # Processes

    def start_exchange(self, port: int = 0) -> None:
        """Start the exchange on its state, or start it again."""
        config = {
            "venue": self.script.exchange,
            "port": port,
            "state": str(self.state),
            "faults": str(self.folder / "faults.json"),
            "market_url": self.market_url,
            "market_exchange": MARKET_EXCHANGE[self.script.exchange],
            "min_notional": "1",
            "balance": "1000000",
        }
        arguments = {"config": config, "journal": str(self.journal), "witness": str(self.witness)}
        out = self.folder / f"exchange-{time.monotonic_ns()}.out"
        self.exchange = self.nursery.start("exchange", arguments, out=out, log=self.folder / "exchange.log")
        ready = self.exchange.line("ready", START_TIMEOUT_S)
        if ready is None:
            raise StartError(f"the exchange did not start, see {self.folder / 'exchange.log'}")
        self.url = ready["url"]

    def start_maker(self, *, kill: Kill | None = None, quiet: bool = False, **more: Any) -> Process:
        """Start one life of the maker."""
        script = self.script
        self.lives += 1
        arguments = {
            "exchange": script.exchange,
            "exchange_url": self.url,
            "market_url": self.market_url,
            "market_exchange": MARKET_EXCHANGE[script.exchange],
            "folder": str(self.folder),
            "levels": script.levels,
            "qty": script.qty,
            "limit": str(self.limit_base),
            "pace_s": script.pace_s,
            "orders_via": script.orders_via,
            "quiet": quiet,
            "sample_s": None,
            "environ": {},
            "kill": None if kill is None else asdict(kill),
            **more,
        }
        out = self.folder / f"maker-{self.lives}.out"
        return self.nursery.start("maker", arguments, out=out, log=self.folder / f"maker-{self.lives}.log")

    # What happens

    def be_killed(self, kill: Kill) -> None:
        """Live one life that ends by SIGKILL; a start that the faults made impossible is tried again."""
        for _ in range(START_ATTEMPTS):
            if self.broken:
                break
            maker = self.start_maker(kill=kill)
            if kill.point == "random":
                over = maker.ended(kill.after_s)
            else:
                maker.line("started", START_TIMEOUT_S)
                over = maker.ended(kill.after_s)
            self.has_started |= any(line["event"] == "started" for line in maker.lines())
            if not over:
                maker.kill()
                self.kills.append(kill.point if kill.point == "random" else "overdue")
                return
            if maker.code == -9:
                self.kills.append(kill.point)
                return
            self._ended_alone(maker)
        raise NoStartError(f"no start succeeded, see {self.folder}")

    def _ended_alone(self, maker: Process) -> None:
        """File how a maker ended that was neither killed nor told to stop."""
        last = next((line for line in reversed(maker.lines()) if line["event"] in {"failed", "result"}), None)
        if last is not None and last["event"] == "failed" and "RiskStopError" not in last["error"]:
            self.failed_starts += 1  # The faults may have made it impossible: the next one may be luckier.
        else:
            self.ends.append(last or {"event": "crashed", "code": maker.code, "life": self.lives})

    def last_life(self) -> None:
        """Trade until the run counts, end the faults, and stop in order."""
        maker = self._started()
        least_s, longest_s = LAST_LIFE_S
        began_s = time.monotonic()
        if (kill_s := self.script.server_kill_s) is not None and not maker.ended(kill_s):
            self._restart_exchange()
        for _ in range(self.script.funding):
            maker.ended(0.4)
            self.post("funding", {"rate": "0.0001"})
        if self.script.adl_qty is not None:
            maker.ended(0.4)
            self.post("adl", {"qty": self.script.adl_qty}, may_be_refused=True)
        while not maker.ended(0.1):
            lived_s = time.monotonic() - began_s
            if lived_s >= longest_s or (lived_s >= least_s and self._counts()):
                break
        self.place_foreign(self.script.foreign_at_stop)
        self.post("faults", {"rules": []})
        maker.ended(0.3 + self._latest_s())
        if maker.ended():
            self._ended_alone(maker)
            maker = self._started()
        self.stop(maker)

    def recover_again(self) -> dict[str, int]:
        """Start once more with nothing to do, stop, and return the journal's size before."""
        size = Diary.read(self.journal).size
        maker = self.start_maker(quiet=True)
        maker.line("started", START_TIMEOUT_S)
        self.stop(maker)
        return size

    def _started(self) -> Process:
        for _ in range(START_ATTEMPTS):
            if self.broken:
                break
            maker = self.start_maker()
            if maker.line("started", START_TIMEOUT_S) is not None:
                return maker
            if not maker.ended(1.0):
                maker.kill()
            self._ended_alone(maker)
        raise NoStartError(f"no start succeeded, see {self.folder}")

    def stop(self, maker: Process) -> None:
        """Ask a maker to stop and keep its last words."""
        code = maker.end(STOP_TIMEOUT_S)
        last = next((line for line in reversed(maker.lines()) if line["event"] in {"failed", "result"}), None)
        self.ends.append(last or {"event": "crashed", "code": code, "life": self.lives})

    def _restart_exchange(self) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        port = int(self.url.rpartition(":")[2])
        exchange.kill()
        self.start_exchange(port)

    def _latest_s(self) -> float:
        """Return how late a request accepted under the faults may still appear."""
        delays = [rule["delay_ms"][1] for rule in self.script.faults["rules"] if "delay_ms" in rule]
        return max(delays, default=0) / 1000

    def accepted(self) -> int:
        """Return how many orders of the maker the exchange has accepted so far."""
        sql = "SELECT count(*) FROM event WHERE kind = 'accepted' AND client_id LIKE 'mm-%'"
        return int(self._query(sql)[0][0])

    def _counts(self) -> bool:
        rows = self._query(
            "SELECT DISTINCT json_extract(body, '$.on', '$.fault') FROM event WHERE kind = 'fault'"
        )
        kinds = fault_kinds("/".join(json.loads(row[0])) for row in rows)
        return len(kinds) >= MIN_FAULT_KINDS and self.accepted() >= MIN_ORDERS

    def _query(self, sql: str) -> list[Any]:
        database = sqlite3.connect(f"file:{self.state}?mode=ro", uri=True)
        try:
            return database.execute(sql).fetchall()
        finally:
            database.close()

    def place_foreign(self, count: int) -> None:
        """Let somebody else rest orders far from the market."""
        for i in range(count):
            self.post("foreign", {"side": "buy", "price": f"{50000 - i}.0", "qty": "0.001"})

    def trade_foreign(self, count: int) -> None:
        """Let somebody else buy and sell on the account, at whatever price there is."""
        for i in range(count):
            side, price = ("buy", "66000.0") if i % 2 else ("sell", "54000.0")
            self.post("foreign", {"side": side, "price": price, "qty": "0.001"})

    def tear(self) -> None:
        """Leave half a record at the end of the write-ahead log, as a power cut in the middle of a write does."""
        log = self.journal.with_name(self.journal.name + "-wal")
        if log.exists() and log.stat().st_size:
            with log.open("ab") as file:
                file.write(os.urandom(24 + 2048))

    def post(self, path: str, body: dict[str, Any], *, may_be_refused: bool = False) -> Any:
        """Tell the exchange something as its operator."""
        request = urllib.request.Request(
            f"{self.url}/_admin/{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return json.loads(reply.read() or b"null")
        except urllib.error.HTTPError as error:
            if may_be_refused and error.code == 400:
                return None
            raise RuntimeError(f"{path}: {error.code} {error.read().decode(errors='replace')}") from None


def play(script: Script, folder: Path, nursery: Nursery, market_url: str) -> dict[str, Any]:
    """Play one script in a folder of its own and return what came of it."""
    began_s = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "script.json").write_text(json.dumps(script.as_json(), indent=1))
    (folder / "faults.json").write_text(json.dumps(script.faults))
    run = Run(script, folder, nursery, market_url)
    size: dict[str, int] | None = None
    try:
        run.start_exchange()
        run.place_foreign(script.foreign_before)
        for i, kill in enumerate(script.kills):
            run.be_killed(kill)
            if kill.torn:
                run.tear()
            if i == 0:
                run.place_foreign(script.foreign_at_kill)
                if run.has_started:  # What was traded before the first start is part of its opening position.
                    run.trade_foreign(script.foreign_trades)
        run.last_life()
        size = run.recover_again()
    except NoStartError as error:
        if not run.broken:
            run.ends.append({"event": "failed", "error": str(error)})
    finally:
        if run.exchange is not None:
            run.exchange.end(5.0)
    ledger, diary = Ledger.read(run.state), Diary.read(run.journal)
    with run.witness.open() as lines:
        testimony = testimony_of(lines)
    facts = Facts(
        limit_base=run.limit_base,
        window_s=WINDOW_S,
        resolve_bound_s=RESOLVE_BOUND_S,
        ends=run.ends,
        size_before_restart=size,
        testimony=testimony,
    )
    violations = check(ledger, diary, facts)
    faults = ledger.faults_by_kind
    orders = len(ledger.own_orders)
    return {
        "exchange": script.exchange,
        "seed": script.seed,
        "counts": orders >= MIN_ORDERS and len(fault_kinds(faults)) >= MIN_FAULT_KINDS,
        "kills": run.kills,
        "failed_starts": run.failed_starts,
        "faults_injected": sum(faults.values()),
        "faults_by_kind": dict(faults),
        "orders": orders,
        "fills": len(ledger.executions),
        "unknown_resolved": unknown_resolved(diary),
        "violations": [violation.as_json() for violation in violations],
        "seconds": round(time.monotonic() - began_s, 2),
    }
