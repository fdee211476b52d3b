"""What the account needs of a matching engine; the Rust core's ``SimExchange`` provides it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Matching(Protocol):
    """Own orders of one symbol, matched against the market."""

    def apply(self, batch: Any) -> Sequence[Any]:
        """Take market events; return the trades they cause."""
        ...

    def place(
        self,
        order_id: str,
        side: str,
        price: str | None,
        qty: str,
        *,
        post_only: bool,
        ioc: bool,
        now_ns: int,
    ) -> tuple[str, Sequence[Any]]:
        """Return the status and the trades of a new order."""
        ...

    def amend(
        self, order_id: str, *, price: str | None, qty: str | None, now_ns: int
    ) -> tuple[str, Sequence[Any]]:
        """Return the status and the trades of a changed order."""
        ...

    def cancel(self, order_id: str) -> bool:
        """Take an order out; ``False`` when it does not rest."""
        ...

    def mid(self) -> float | None:
        """Return the mid price."""
        ...

    def is_synced(self) -> bool:
        """Return whether there is a book to match against."""
        ...
