"""What tests run against: a Tardis machine played by the test, and the exchange an incident happens at."""

from collections.abc import AsyncIterator

import pytest
from tardis_double import TardisDouble
from venue_client import Venue, serve


@pytest.fixture(params=["bybit", "bitget"])
async def venue(request, tmp_path) -> AsyncIterator[Venue]:
    async with serve(request.param, state=tmp_path / "state.db") as server:
        yield Venue(server)


@pytest.fixture
async def bybit(tmp_path) -> AsyncIterator[Venue]:
    async with serve("bybit", state=tmp_path / "state.db") as server:
        yield Venue(server)


@pytest.fixture
async def double() -> AsyncIterator[TardisDouble]:
    async with TardisDouble() as double:
        yield double
