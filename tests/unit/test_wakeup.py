"""A coroutine that is resumed in the same turn of the event loop, and a loop that stays awake for the next news."""

import asyncio
import os
import subprocess
import sys
import time

import pytest

from mm_hybrid import wakeup
from mm_hybrid.wakeup import Vigil, Waiter


async def sleeping(waiter: Waiter) -> bool:
    return await waiter


async def started(waiter: Waiter) -> asyncio.Task[bool]:
    task = asyncio.create_task(sleeping(waiter))
    await asyncio.sleep(0)
    return task


async def test_the_coroutine_runs_before_the_call_that_wakes_it_returns():
    loop = asyncio.get_running_loop()
    waiter, order = Waiter(loop), []

    async def follow():
        order.append(await waiter)

    task = asyncio.create_task(follow())
    await asyncio.sleep(0)

    def callback():
        waiter.wake(True)
        order.append("callback")

    loop.call_soon(callback)
    await task
    assert order == [True, "callback"]


async def test_the_first_answer_counts_and_one_given_early_is_not_lost():
    loop = asyncio.get_running_loop()
    waiter = Waiter(loop)
    waiter.wake(False)
    waiter.wake(True)
    assert await waiter is False
    assert waiter.done()
    assert not waiter.cancelled()
    assert waiter.exception() is None


async def test_a_cancelled_wait_is_cancelled_like_any_other():
    waiter = Waiter(asyncio.get_running_loop())
    task = await started(waiter)
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert waiter.cancelled()
    asyncio.get_running_loop().call_soon(waiter.wake, True)
    await asyncio.sleep(0)
    assert waiter.cancelled()


async def test_timeouts_and_groups_of_the_standard_library_work_on_it():
    loop = asyncio.get_running_loop()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(sleeping(Waiter(loop)), 0.01)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await Waiter(loop)
    waiters = [Waiter(loop) for _ in range(3)]
    for number, waiter in enumerate(waiters):
        loop.call_later(0.001 * number, waiter.wake, number != 1)
    assert await asyncio.gather(*(sleeping(waiter) for waiter in waiters)) == [True, False, True]


async def test_what_is_not_over_has_no_result():
    waiter = Waiter(asyncio.get_running_loop())
    with pytest.raises(asyncio.InvalidStateError):
        waiter.result()
    task = await started(waiter)
    assert waiter.remove_done_callback(print) == 0
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Loop:
    """An event loop whose turns take 10 us, with a clock of its own and one other thread at its processor."""

    def __init__(self):
        self.now_s, self.queued_s, self.queued_share, self.ready = 0.0, 0.0, 0.0, []

    def time(self):
        return self.now_s

    def call_soon(self, callback):
        self.ready.append(callback)

    def pass_time(self, seconds):
        """Let it go by, and return the share of it that the loop was awake."""
        awake_s, end_s = 0.0, self.now_s + seconds
        while self.now_s < end_s:
            step_s = 10e-6 if self.ready else end_s - self.now_s
            awake_s += step_s if self.ready else 0
            self.now_s += step_s
            self.queued_s += step_s * self.queued_share
            callbacks, self.ready = self.ready, []
            for callback in callbacks:
                callback()
        return awake_s / seconds

    def awake_share(self, vigil, gap_s, messages=100):
        """Return the share of the time between ``messages`` that the loop was awake."""
        shares = []
        for _ in range(messages):
            vigil.heard()
            shares.append(self.pass_time(gap_s))
        return sum(shares) / messages


@pytest.fixture
def loop(monkeypatch):
    loop = Loop()
    monkeypatch.setattr(wakeup, "_queued_s", lambda: loop.queued_s)
    return loop


def test_a_loop_stays_awake_between_messages_that_come_thick(loop):
    assert loop.awake_share(Vigil(loop, 500), 0.0002) > 0.85


@pytest.mark.parametrize(("longest_gap_us", "gap_s"), [(500, 0.001), (100, 0.0002), (0, 0.0), (0, 0.0002)])
def test_a_loop_sleeps_between_messages_that_come_rarely_and_always_where_it_is_told_to(
    loop, longest_gap_us, gap_s
):
    assert loop.awake_share(Vigil(loop, longest_gap_us), max(gap_s, 1e-9)) == 0


def test_a_loop_goes_to_sleep_soon_after_the_last_message(loop):
    vigil = Vigil(loop, 500)
    loop.awake_share(vigil, 0.0002)
    awake_s = loop.pass_time(1.0)
    assert 0.0004 < awake_s < 0.001
    assert not loop.ready


def test_a_loop_that_has_to_queue_for_its_processor_sleeps_until_it_rested(loop):
    vigil = Vigil(loop, 500)
    assert loop.awake_share(vigil, 0.0002, 500) > 0.9
    loop.queued_share = 0.5
    assert loop.awake_share(vigil, 0.0002, 5000) < 0.05
    loop.queued_share = 0.1
    loop.pass_time(Vigil.REST_S)
    assert loop.awake_share(vigil, 0.0002, 500) > 0.9


def test_time_queued_for_a_processor_is_counted_for_this_thread():
    before_s, start_s = wakeup._queued_s(), time.monotonic()
    threads = 4 * (os.cpu_count() or 1)
    rivals = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(threads)]
    try:
        end_s = time.monotonic() + 0.3
        while time.monotonic() < end_s:
            pass
    finally:
        for rival in rivals:
            rival.kill()
            rival.wait()
    assert 0.005 < wakeup._queued_s() - before_s < time.monotonic() - start_s
