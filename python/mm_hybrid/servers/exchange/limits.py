"""How many requests a client may send: per account and path each second, per address each five seconds."""

from __future__ import annotations

from collections import deque

from mm_hybrid.clock import Clock
from mm_hybrid.servers.exchange.config import ExchangeServerConfig


class RateLimit:
    """Counts requests in whole seconds and says how many are left, as the venues' headers do."""

    def __init__(self, per_second: int, clock: Clock) -> None:
        self.per_second = per_second
        self._clock = clock
        self._second = 0
        self._used = 0

    def take(self, count: int = 1) -> bool:
        """Count a request worth ``count``; ``False`` when this second's allowance is used up."""
        second = self._clock.now_ns() // 1_000_000_000
        if second != self._second:
            self._second, self._used = second, 0
        self._used += count
        return self._used <= self.per_second

    @property
    def remaining(self) -> int:
        """Requests left in this second."""
        return max(0, self.per_second - self._used)

    @property
    def reset_ms(self) -> int:
        """When the next allowance begins."""
        return (self._second + 1) * 1000


class RateLimits:
    """The account's allowances, one per kind of request, shared by REST and trade stream."""

    def __init__(self, config: ExchangeServerConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._limits: dict[str, RateLimit] = {}

    def of(self, name: str) -> RateLimit:
        """Return the allowance of one kind of request."""
        if name not in self._limits:
            per_second = self._config.rate_limits.get(name, self._config.rate_limit_per_s)
            self._limits[name] = RateLimit(per_second, self._clock)
        return self._limits[name]


class AddressLimit:
    """Bans an address for a while once it sends too much.

    Source: Bybit v5 API documentation, Rate Limit Rules: 600 requests in five seconds, then HTTP 403 for ten
    minutes.
    """

    _WINDOW_NS = 5_000_000_000

    def __init__(self, config: ExchangeServerConfig, clock: Clock) -> None:
        self._most = config.address_limit_per_5s
        self._ban_ns = round(config.address_ban_s * 1e9)
        self._clock = clock
        self._seen: dict[str, deque[int]] = {}
        self._banned_until: dict[str, int] = {}

    def take(self, address: str) -> bool:
        """Count one request; ``False`` when the address is banned."""
        if self._most is None:
            return True
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._banned_until.get(address, 0):
            return False
        seen = self._seen.setdefault(address, deque())
        seen.append(now_ns)
        while seen[0] <= now_ns - self._WINDOW_NS:
            seen.popleft()
        if len(seen) > self._most:
            self._banned_until[address] = now_ns + self._ban_ns
            seen.clear()
            return False
        return True
