"""A coroutine that is resumed in the same turn of the event loop."""

import asyncio

import pytest

from mm_hybrid.wakeup import Waiter


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
