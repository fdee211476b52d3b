"""What a local tardis-machine serves and where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class MarketParameters(BaseModel):
    """Parameters of the synthetic market; P is quote currency per base.

    Attributes:
        s0: reference price at the start, P.
        tick_size: price grid, decimal text.
        lot_size: quantity grid, decimal text.
        sigma: volatility of the reference price, P per sqrt(second).
        intensity_a: market orders per second and side.
        intensity_k: decay of their reach, 1/P.
        book_interval_ms: time between two book changes.
        latency_median_ms: median of the lognormal feed latency; 0 for none.
        latency_p99_ms: its 99 % quantile.
        levels: displayed levels per side.
        level_qty: mean quantity of a level, base units.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    s0: PositiveFloat = 60_000.0
    tick_size: str = "0.1"
    lot_size: str = "0.001"
    sigma: NonNegativeFloat = 5.0
    intensity_a: NonNegativeFloat = 1.5
    intensity_k: PositiveFloat = 0.2
    book_interval_ms: PositiveFloat = 50.0
    latency_median_ms: NonNegativeFloat = 10.0
    latency_p99_ms: NonNegativeFloat = 100.0
    levels: Annotated[int, Field(ge=1, le=10_000)] = 400
    level_qty: PositiveFloat = 0.05


class TardisServerConfig(BaseModel):
    """Where a local tardis-machine listens and what it plays.

    Attributes:
        host: address to listen on.
        port: HTTP port, 0 for any free one.
        ws_port: WebSocket port; without it the one after ``port``, or any free one if that is 0.
        data: Tardis files (NDJSON or CSV, plain, gz or zst), tables or folders of them to play instead of a
            synthetic market.
        speed: pace of the files by local time, times real time; 0 for as fast as the slowest client reads.
        wait_for_clients: stream connections that must be there before the files start.
        exchange: Tardis id of the synthetic market's exchange.
        symbol: its symbol.
        seed: its seed.
        epoch_ns: when it began (ns since 1970, UTC); equal seed and epoch continue the same market after a
            restart. Without it the market begins when the server does.
        market: its parameters.
        record: file (NDJSON; gzip if it ends in ``.gz``) to which every message streamed is appended once,
            from the first connection on.
        max_backlog_bytes: unsent bytes at which a slow client is dropped.
        ping_interval_s: time between WebSocket pings.
        close_timeout_s: time a client gets to answer a close.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65534)] = 8000
    ws_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    data: tuple[Path, ...] = ()
    speed: NonNegativeFloat = 1.0
    wait_for_clients: Annotated[int, Field(ge=0)] = 1
    exchange: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] = "bybit"
    symbol: Annotated[str, Field(min_length=1)] = "BTCUSDT"
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 1
    epoch_ns: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    market: MarketParameters = MarketParameters()
    record: Path | None = None
    max_backlog_bytes: Annotated[int, Field(gt=0)] = 5 * 1024 * 1024
    ping_interval_s: PositiveFloat = 30.0
    close_timeout_s: PositiveFloat = 5.0

    @field_validator("symbol")
    @classmethod
    def _upper(cls, symbol: str) -> str:
        return symbol.upper()
