"""How much the venues take at once."""

from __future__ import annotations

BAN_S = 600.0
"""How long Bybit refuses an address that asked too often (HTTP 403)."""

WINDOW_MS = 7 * 86_400_000
"""Longest span of one query of executions, on both venues."""

BATCH_LEAST = {"bybit": 3, "bitget": 4}
"""Fewest orders worth a batch request, whose rate is lower than that of single ones."""

BATCH_MOST = {"bybit": 20, "bitget": 50}
"""Most orders of one batch request for contracts.

Source: Bybit v5 API documentation, Batch Place Order; Bitget API documentation, Batch Order.
"""

PAGE_ROWS = {"bybit": 50, "bitget": 100}
"""Rows of one page of open orders, the most the venue gives."""
