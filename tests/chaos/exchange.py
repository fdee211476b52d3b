"""The exchange of one run: the package's own server, with a witness at its door.

The witness looks into the maker's journal at the receipt of each create, before anything is carried out, and writes
down whether the intent was committed there.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mm_hybrid.cli._signals import run_until_stopped
from mm_hybrid.servers.exchange.app import ExchangeServer
from mm_hybrid.servers.exchange.config import ExchangeServerConfig
from mm_hybrid.servers.exchange.market import MarketFeed
from mm_hybrid.servers.exchange.serve import matching_for

from .processes import announce


class Witness:
    """Records for each create received whether its client id was in the journal by then.

    Args:
        journal: the maker's journal; may not exist yet.
        path: where testimony goes, one JSON line for each client id.
    """

    def __init__(self, journal: Path, path: Path) -> None:
        self._journal = journal
        self._connection: sqlite3.Connection | None = None
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def __call__(self, endpoint: str, client_ids: Sequence[str]) -> None:
        """Look up what a request just received asks for."""
        if not endpoint.startswith("create"):
            return
        ts_ns = time.time_ns()
        for client_id in client_ids:
            seen = {"ts_ns": ts_ns, "client_id": client_id, "committed": self._committed(client_id)}
            os.write(self._file, (json.dumps(seen) + "\n").encode())

    def _committed(self, client_id: str) -> bool:
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(
                    f"file:{self._journal}?mode=ro", uri=True, isolation_level=None
                )
            sql = "SELECT 1 FROM intent WHERE client_id = ? AND action = 'create'"
            return self._connection.execute(sql, (client_id,)).fetchone() is not None
        except sqlite3.OperationalError:
            return False


def main(arguments: dict[str, Any]) -> int:
    """Serve until told to stop."""
    config = ExchangeServerConfig.model_validate(arguments["config"])
    witness = Witness(Path(arguments["journal"]), Path(arguments["witness"]))

    async def body(stop: asyncio.Event) -> None:
        matching = matching_for(config)
        async with ExchangeServer(config, matching, before_accept=witness) as server:
            feed = MarketFeed(config, server.apply)
            feed.start()
            while not (matching.is_synced() or stop.is_set()):  # noqa: ASYNC110 (its state has no event)
                await asyncio.sleep(0.005)
            announce("ready", url=server.url, port=server.port)
            await stop.wait()
            await feed.close()

    run_until_stopped(body)
    return 0
