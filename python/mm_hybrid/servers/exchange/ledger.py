"""The server's own record of every execution, against which a client's journal can be checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TextIO

from mm_hybrid.errors import ServerError
from mm_hybrid.servers.exchange.orders import OwnExecution


def ledger_row(execution: OwnExecution) -> dict[str, object]:
    """Return one execution as a JSON-ready row; money as decimal text, ``fee`` positive when paid."""
    return {
        "exec_id": execution.exec_id,
        "order_id": execution.order_id,
        "client_id": execution.client_id,
        "side": execution.side,
        "price": str(execution.price),
        "qty": str(execution.qty),
        "fee": str(execution.fee),
        "fee_currency": execution.fee_currency,
        "is_maker": execution.is_maker,
        "print_id": execution.print_id,
        "print_price": execution.print_price,
        "exchange_ts_ns": execution.exchange_ts_ns,
        "exec_type": str(execution.exec_type),
    }


class Ledger:
    """Append-only list of executions, mirrored to a JSON-lines file when a path is given."""

    def __init__(self, path: Path | None = None) -> None:
        self.executions: list[OwnExecution] = []
        self._file: TextIO | None = None
        if path is not None:
            try:
                self._file = path.open("a", encoding="utf-8")
            except OSError as error:
                raise ServerError(f"cannot write the ledger {path}: {error.strerror}") from error

    def append(self, execution: OwnExecution) -> None:
        """Record one execution; the line is handed to the system at once."""
        self.executions.append(execution)
        if self._file is not None:
            self._file.write(json.dumps(ledger_row(execution)) + "\n")
            self._file.flush()

    def restore(self, execution: OwnExecution) -> None:
        """Take an execution of an earlier run, which the file holds already."""
        self.executions.append(execution)

    def close(self) -> None:
        """Close the file, if any; further appends stay in memory."""
        if self._file is not None:
            self._file.close()
            self._file = None
