"""Each intent is written, synced and only then sent, as the kernel saw it."""

import shutil
import sys

import pytest

from . import mutations, write_order
from .write_order import Call

records = pytest.mark.skipif(
    sys.platform != "linux" or write_order.compiler() is None, reason="needs Linux and a C compiler"
)

WRITE = Call(10, 20, "write", frozenset({"mm-a-1"}))
SYNC = Call(30, 40, "sync", frozenset())
SEND = Call(50, 60, "send", frozenset({"mm-a-1"}))


def test_write_sync_send_is_the_order_wanted():
    assert list(write_order.sent_too_early([WRITE, SYNC, SEND])) == []


@pytest.mark.parametrize(
    ("calls", "why"),
    [
        ([SYNC, SEND], "written"),
        ([WRITE, SEND], "synced"),
        ([Call(5, 15, "sync", frozenset()), WRITE, SEND], "synced"),
        ([WRITE, Call(30, 55, "sync", frozenset()), SEND], "synced"),
        ([Call(51, 52, "write", frozenset({"mm-a-1"})), SYNC, SEND], "written"),
    ],
)
def test_any_other_order_is_found(calls, why):
    (found,) = write_order.sent_too_early(calls)
    assert found == f"mm-a-1 was sent before its intent was {why}"


@records
@pytest.mark.parametrize("exchange", ["bybit", "bitget"])
def test_no_order_leaves_before_its_intent_is_synced(exchange, tmp_path):
    calls = write_order.record(exchange, tmp_path, orders=10)
    assert write_order.orders_sent(calls) >= 10
    assert list(write_order.sent_too_early(calls)) == []


@records
def test_a_journal_that_does_not_sync_is_found(tmp_path):
    package = mutations.patched(mutations.NO_FSYNC, tmp_path / "package")
    calls = write_order.record("bybit", tmp_path, orders=5, package=package)
    shutil.rmtree(package)
    assert write_order.orders_sent(calls) >= 5
    assert len(list(write_order.sent_too_early(calls))) == write_order.orders_sent(calls)
