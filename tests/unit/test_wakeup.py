"""A coroutine that is resumed in the same turn of the event loop, and a loop that stays awake for the next news."""

import asyncio
import math
import os
import subprocess
import sys
import time
from types import SimpleNamespace

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
    """An event loop with a clock of its own, one other thread at its processor, and news every ``gap_s``."""

    def __init__(self):
        self.now_s, self.queued_s, self.queued_share, self.gap_s = 0.0, 0.0, 0.0, math.inf
        self.next_news_s, self.ready, self.watched_s = math.inf, [], 0.0

    def call_soon(self, callback):
        self.ready.append(callback)

    def monotonic(self):
        return self.now_s

    def pass_to(self, until_s):
        self.queued_s += (until_s - self.now_s) * self.queued_share
        self.now_s = until_s

    def comes(self):
        came = self.now_s >= self.next_news_s
        if came:
            self.next_news_s += self.gap_s
        return came

    def watch(self, patience_us):
        end_s = min(self.now_s + patience_us * 1e-6, max(self.now_s, self.next_news_s))
        self.watched_s += end_s - self.now_s
        self.pass_to(end_s)
        return self.comes()

    def share_watched(self, vigil, seconds, gap_s=math.inf):
        """Let time go by with news every ``gap_s``, and return the share of it that was watched."""
        self.gap_s, self.next_news_s, self.watched_s = gap_s, self.now_s + gap_s, 0.0
        start_s = self.now_s
        while self.now_s < start_s + seconds:
            callbacks, self.ready = self.ready, []
            if callbacks:
                self.pass_to(self.now_s + 5e-6)
            else:
                self.pass_to(min(self.next_news_s, start_s + seconds))
            if self.comes():
                vigil.heard()
            for callback in callbacks:
                callback()
        return self.watched_s / seconds


@pytest.fixture
def loop(monkeypatch):
    loop = Loop()
    monkeypatch.setattr(wakeup, "_thread", SimpleNamespace())
    monkeypatch.setattr(wakeup, "_queued_s", lambda: loop.queued_s)
    monkeypatch.setattr(wakeup, "time", SimpleNamespace(monotonic=loop.monotonic))
    return loop


def test_a_loop_watches_between_messages_that_come_thick(loop):
    assert loop.share_watched(Vigil(loop.watch, loop, 500), 0.1, gap_s=0.0002) > 0.85


@pytest.mark.parametrize(("longest_gap_us", "gap_s"), [(500, 0.001), (100, 0.0002), (0, 0.0002), (0, 1e-9)])
def test_a_loop_sleeps_between_messages_that_come_rarely_and_always_where_it_is_told_to(
    loop, longest_gap_us, gap_s
):
    assert loop.share_watched(Vigil(loop.watch, loop, longest_gap_us), min(1.0, 1000 * gap_s), gap_s) == 0


def test_a_loop_goes_to_sleep_soon_after_the_last_message_and_one_long_silence_ends_the_thick_of_it(loop):
    vigil = Vigil(loop.watch, loop, 500)
    loop.share_watched(vigil, 0.1, gap_s=0.0002)
    loop.share_watched(vigil, 1.0)
    assert 0.0004 < loop.watched_s < 0.001
    assert not loop.ready
    vigil.heard()
    assert not loop.ready, "one message is no thicket"


def test_a_vigil_that_is_told_to_end_watches_no_more(loop):
    vigil = Vigil(loop.watch, loop, 10_000)
    loop.share_watched(vigil, 0.1, gap_s=0.0002)
    vigil.end()
    loop.share_watched(vigil, 1.0)
    assert loop.watched_s <= Vigil.SLICE_US * 1e-6


def test_a_loop_that_has_to_queue_for_its_processor_rests_longer_each_time_and_then_watches_again(loop):
    vigil = Vigil(loop.watch, loop, 500)
    assert loop.share_watched(vigil, 0.1, gap_s=0.0002) > 0.85
    loop.queued_share = 0.5
    shares = [loop.share_watched(vigil, 10, gap_s=0.0002) for _ in range(3)]
    assert 0 < shares[0] < 0.01
    assert shares[2] < shares[0]
    loop.queued_share = 0.1
    loop.share_watched(vigil, Vigil.MAX_REST_S)
    loop.share_watched(vigil, 0.1, gap_s=0.0002)
    assert loop.share_watched(vigil, 0.1, gap_s=0.0002) > 0.85


def test_many_short_vigils_on_a_crowded_processor_end_in_a_rest_too(loop):
    vigil = Vigil(loop.watch, loop, 500)
    loop.queued_share = 0.8
    watched_s = 0.0
    for _ in range(300):
        loop.share_watched(vigil, 0.006, gap_s=0.0002)
        watched_s += loop.watched_s
        loop.share_watched(vigil, 0.01)
        watched_s += loop.watched_s
    assert 0.005 < watched_s < 0.1


def test_of_two_vigils_in_a_loop_one_watches_and_a_loop_that_closed_is_in_nobodys_way(loop):
    first, second = Vigil(loop.watch, loop, 500), Vigil(pytest.fail, loop, 500)
    for _ in range(20):
        first.heard()
        second.heard()
        loop.now_s += 0.0001
    assert len(loop.ready) == 1
    other = Loop()
    third = Vigil(other.watch, other, 500)
    for _ in range(20):
        third.heard()
        loop.now_s += 0.0001
    assert len(other.ready) == 1


def test_a_loop_that_is_throttled_for_long_rests_too(loop):
    vigil = Vigil(loop.watch, loop, 500)
    loop.share_watched(vigil, 0.005, gap_s=0.0002)
    loop.queued_share = 1.0
    loop.pass_to(loop.now_s + 0.06)
    loop.queued_share = 0.0
    assert loop.share_watched(vigil, 0.5, gap_s=0.0002) < 0.01


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's figure is Linux's")
def test_time_queued_for_a_processor_is_counted_for_this_thread():
    processors = os.sched_getaffinity(0)
    before_s, start_s = wakeup._queued_s(), time.monotonic()
    os.sched_setaffinity(0, {min(processors)})
    rivals = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        end_s = time.monotonic() + 0.3
        while time.monotonic() < end_s:
            pass
    finally:
        os.sched_setaffinity(0, processors)
        for rival in rivals:
            rival.kill()
            rival.wait()
    assert 0.005 < wakeup._queued_s() - before_s < time.monotonic() - start_s
