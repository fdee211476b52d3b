"""Whether each order was written, synced and only then sent, by the recorded order of system calls.

A killed process keeps what the kernel holds, so no kill can show a missing fsync; the order of the calls can.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from .processes import REPO, Nursery
from .run import MARKET_EXCHANGE, START_TIMEOUT_S, STOP_TIMEOUT_S, Run
from .script import Script

TRADE_TIMEOUT_S = 30.0
SOURCE = Path(__file__).with_name("write_order.c")


@dataclass(frozen=True, slots=True)
class Call:
    """One recorded system call; ``what`` is write, sync (both of the write-ahead log) or send."""

    began_ns: int
    ended_ns: int
    what: str
    client_ids: frozenset[str]


def compiler() -> str | None:
    """Return the C compiler there is, if any."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def build(folder: Path) -> Path:
    """Compile the recorder and return the library to preload."""
    library = folder / "write_order.so"
    command = [compiler() or "cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library


def calls_of(lines: Iterable[str]) -> list[Call]:
    """Read what the recorder wrote."""
    calls = []
    for line in lines:
        began, ended, what, *client_ids = line.split()
        calls.append(Call(int(began), int(ended), what, frozenset(client_ids)))
    return calls


def sent_too_early(calls: list[Call]) -> Iterator[str]:
    """Yield each order that was sent before a sync had ended that began after its intent was written."""
    for client_id, sent_ns in _first(calls, "send").items():
        written = [
            c for c in calls if c.what == "write" and client_id in c.client_ids and c.ended_ns <= sent_ns
        ]
        if not written:
            yield f"{client_id} was sent before its intent was written"
        elif not any(
            c.what == "sync" and c.began_ns >= written[0].ended_ns and c.ended_ns <= sent_ns for c in calls
        ):
            yield f"{client_id} was sent before its intent was synced"


def orders_sent(calls: list[Call]) -> int:
    """Return how many orders were sent."""
    return len(_first(calls, "send"))


def _first(calls: list[Call], what: str) -> dict[str, int]:
    """Return when each client id first occurs in a kind of call."""
    first: dict[str, int] = {}
    for call in calls:
        if call.what == what:
            for client_id in call.client_ids:
                first[client_id] = min(call.began_ns, first.get(client_id, call.began_ns))
    return first


def record(exchange: str, folder: Path, *, orders: int, package: Path = REPO / "python") -> list[Call]:
    """Let a maker trade in peace under the recorder until it has placed some orders, and return its calls.

    Args:
        exchange: ``bybit`` or ``bitget``.
        folder: where everything is put.
        orders: how many it places, at least.
        package: folder that holds the package to test.
    """
    log = folder / "calls.log"
    script = Script(exchange=exchange, seed=0, faults={"seed": 0, "rules": []}, kills=())
    (folder / "faults.json").write_text('{"rules": []}')
    with ExitStack() as stack:
        nursery = Nursery(pythonpath=[package], environ={"LD_PRELOAD": str(build(folder))})
        stack.callback(nursery.close)
        arguments = {"exchange": MARKET_EXCHANGE[exchange], "seed": 1}
        market = nursery.start("market", arguments, out=folder / "market.out", log=folder / "market.log")
        ready = market.line("ready", START_TIMEOUT_S)
        run = Run(script, folder, nursery, ready["url"] if ready else "")
        run.start_exchange()
        maker = run.start_maker(environ={"WRITE_ORDER_LOG": str(log)})
        maker.line("started", START_TIMEOUT_S)
        deadline_s = time.monotonic() + TRADE_TIMEOUT_S
        while run.accepted() < orders and time.monotonic() < deadline_s and not maker.ended(0.1):
            pass
        maker.end(STOP_TIMEOUT_S)
    return calls_of(log.read_text().splitlines())
