"""The exchange an incident happens at, for both venues."""

from collections.abc import AsyncIterator

import pytest
from venue_client import Venue, serve


@pytest.fixture(params=["bybit", "bitget"])
async def venue(request, tmp_path) -> AsyncIterator[Venue]:
    async with serve(request.param, state=tmp_path / "state.db") as server:
        yield Venue(server)


@pytest.fixture
async def bybit(tmp_path) -> AsyncIterator[Venue]:
    async with serve("bybit", state=tmp_path / "state.db") as server:
        yield Venue(server)
