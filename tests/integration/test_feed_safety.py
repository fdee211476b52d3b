"""A feed may be closed, forked, interrupted or left behind at any moment: processes end, and end in order."""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tardis_double import TardisDouble

from mm_hybrid._core import Feed

BUSY = """
import json, os, signal, sys, threading, time
from mm_hybrid._core import Feed

feed = Feed(sys.argv[1], exchange="bybit", symbols=["BTCUSDT"], queue_events=1000, reconnect_min_ms=5)
feed.start()

def read():
    while True:
        feed.snapshot()
        feed.drain()
        feed.stats()

threads = [threading.Thread(target=read, daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
deadline = time.monotonic() + 20
while feed.stats()["book_changes"] < 10 and time.monotonic() < deadline:
    time.sleep(0.01)
print("busy", flush=True)
"""


async def flood(double):
    """Serve every connection with changes until it is gone."""
    while True:
        connection = await double.accept(60)
        asyncio.get_running_loop().create_task(feed_one(connection))


async def feed_one(connection):
    try:
        await connection.snapshot()
        for quantity in range(1, 1_000_000):
            await connection.book(snapshot=False, bids=[(99, quantity)])
            await asyncio.sleep(0)
    except Exception:
        return


@pytest.fixture
async def flooding():
    async with TardisDouble() as double:
        task = asyncio.create_task(flood(double))
        yield double
        task.cancel()


async def run(script, double, *, interrupt=False, timeout_s=60):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, double.url, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    line = await asyncio.wait_for(process.stdout.readline(), timeout_s)
    assert line == b"busy\n", await process.stderr.read()
    if interrupt:
        process.send_signal(signal.SIGINT)
    output, errors = await asyncio.wait_for(process.communicate(), timeout_s)
    return process.returncode, output.decode(), errors.decode()


async def test_the_interpreter_ends_while_threads_read_a_busy_feed(flooding):
    assert await run(BUSY, flooding) == (0, "", "")


async def test_ctrl_c_ends_a_process_that_waits_on_the_descriptor(flooding):
    script = (
        BUSY
        + "\nimport select\nwhile True:\n    select.select([feed.fileno()], [], [], 30)\n    feed.clear()\n"
    )
    code, _, errors = await run(script, flooding, interrupt=True)
    assert code in {-signal.SIGINT, 130}, errors
    assert errors.strip().endswith("KeyboardInterrupt")


async def test_ctrl_c_ends_an_event_loop_that_waits_for_news(flooding):
    script = (
        "import asyncio, sys\nfrom mm_hybrid.feed import LiveFeed\n"
        "async def main():\n"
        "    async with LiveFeed(sys.argv[1], exchange='bybit', symbols=['BTCUSDT']) as feed:\n"
        "        print('busy', flush=True)\n"
        "        while True:\n"
        "            await feed.wait_news(30)\n"
        "            feed.snapshot()\n"
        "try:\n    asyncio.run(main())\nexcept KeyboardInterrupt:\n    print('ended')\n"
    )
    assert await run(script, flooding, interrupt=True) == (0, "ended\n", "")


async def test_the_interpreter_ends_under_a_leader(flooding):
    script = (
        "import asyncio, sys\nfrom mm_hybrid.feed import LiveFeed\n"
        "async def main():\n"
        "    global feed\n"
        "    feed = LiveFeed(sys.argv[1], exchange='bybit', symbols=['BTCUSDT'])\n"
        "    feed.start()\n"
        "    while not feed.stats()['led']:\n"
        "        await feed.wait_news(1)\n"
        "    print('busy', flush=True)\n"
        "asyncio.run(main())\n"
    )
    assert await run(script, flooding) == (0, "", "")


@pytest.mark.parametrize(
    ("options", "ready"),
    [({"awake_gap_us": 10_000}, "changes > 1000"), ({"busy_poll_us": 20_000}, "True")],
)
async def test_the_interpreter_ends_while_a_loop_in_another_thread_watches(double, flooding, options, ready):
    script = f"""
import asyncio, sys, threading, time
from mm_hybrid.feed import LiveFeed

changes = 0

async def wait():
    global changes
    async with LiveFeed(sys.argv[1], exchange="bybit", symbols=["BTCUSDT"], **{options}) as feed:
        while True:
            await feed.wait_news(1)
            changes += 1

threading.Thread(target=asyncio.run, args=(wait(),), daemon=True).start()
deadline = time.monotonic() + 20
while not ({ready}) and time.monotonic() < deadline:
    time.sleep(0.01)
time.sleep(0.1)
print("busy", flush=True)
"""
    # The second peer never says anything.
    peer = flooding if "awake_gap_us" in options else double
    for _ in range(3):
        assert await run(script, peer) == (0, "", "")


async def test_a_child_forked_while_another_thread_watches_exits(flooding):
    script = """
import asyncio, os, sys, threading, time
from mm_hybrid.feed import LiveFeed

feeds = []

async def wait():
    async with LiveFeed(sys.argv[1], exchange="bybit", symbols=["BTCUSDT"]) as feed:
        feeds.append(feed)
        while True:
            await feed.wait_news(1)

threading.Thread(target=asyncio.run, args=(wait(),), daemon=True).start()
while not feeds or feeds[0].stats()["book_changes"] < 10:
    time.sleep(0.01)
print("busy", flush=True)
feeds[0]._is_watching = True  # As most of the time; its thread is not in the child.
if os.fork() == 0:
    sys.exit(0)
os.wait()
feeds[0]._is_watching = False
"""
    assert await run(script, flooding, timeout_s=20) == (0, "", "")


async def test_a_child_forked_from_a_busy_feed_lives_and_the_parent_s_feed_goes_on(flooding):
    script = BUSY + (
        "\npid = os.fork()\n"
        "if pid == 0:\n"
        "    try:\n"
        "        feed.snapshot()\n"
        "    except Exception as error:\n"
        "        feed.close()\n"
        "        mine = Feed(sys.argv[1], exchange='bybit', symbols=['BTCUSDT'])\n"
        "        mine.start()\n"
        "        deadline = time.monotonic() + 20\n"
        "        while not mine.stats()['book_changes'] and time.monotonic() < deadline:\n"
        "            time.sleep(0.01)\n"
        "        alive = mine.stats()['book_changes'] > 0\n"
        "        mine.close()\n"
        "        os._exit(0 if alive and 'fork' in str(error) else 3)\n"
        "    os._exit(4)\n"
        "_, status = os.waitpid(pid, 0)\n"
        "before = feed.stats()['book_changes']\n"
        "deadline = time.monotonic() + 20\n"
        "while feed.stats()['book_changes'] == before and time.monotonic() < deadline:\n"
        "    time.sleep(0.01)\n"
        "print(os.waitstatus_to_exitcode(status), feed.stats()['book_changes'] > before)\n"
    )
    assert await run(script, flooding) == (0, "0 True\n", "")


async def test_a_child_that_leaves_a_running_loop_is_quiet_and_the_parent_s_news_goes_on(flooding):
    script = (
        "import asyncio, os, sys\n"
        "from mm_hybrid.feed import LiveFeed\n"
        "async def main():\n"
        "    async with LiveFeed(sys.argv[1], exchange='bybit', symbols=['BTCUSDT']) as feed:\n"
        "        await feed.wait_news(20)\n"
        "        print('busy', flush=True)\n"
        "        for _ in range(3):\n"
        "            pid = os.fork()\n"
        "            if pid == 0:\n"
        "                sys.exit(0)\n"
        "            _, status = os.waitpid(pid, 0)\n"
        "            print(status, [await feed.wait_news(20) for _ in range(3)], flush=True)\n"
        "        # The child closed its copy of the loop, and with it what wakes this one: no way out but this.\n"
        "        os._exit(0)\n"
        "asyncio.run(main())\n"
    )
    assert await run(script, flooding) == (0, 3 * "0 [True, True, True]\n", "")


async def test_close_is_safe_while_other_threads_read_start_and_close(flooding):
    for _ in range(10):
        feed = Feed(flooding.url, exchange="bybit", symbols=["BTCUSDT"], queue_events=100, reconnect_min_ms=5)
        feed.start()
        failures: list[str] = []

        def use(feed=feed, failures=failures):
            for _ in range(200):
                try:
                    feed.snapshot()
                    feed.drain()
                    feed.clear()
                    feed.stats()
                except Exception as error:
                    failures.append(repr(error))

        users = [threading.Thread(target=use) for _ in range(2)]
        closers = [threading.Thread(target=feed.close) for _ in range(2)]
        for thread in [*users, *closers]:
            thread.start()
        began = time.monotonic()
        for thread in [*users, *closers]:
            await asyncio.to_thread(thread.join, 30)
        assert not any(thread.is_alive() for thread in [*users, *closers])
        assert failures == []
        assert time.monotonic() - began < 20
        assert not feed.stats()["running"]


async def test_a_feed_that_is_dropped_while_it_runs_ends_its_thread(flooding):
    def name(task):
        try:
            return (task / "comm").read_text()
        except OSError:  # the thread ended between the listing and the reading
            return ""

    def threads():
        return sum(name(task).startswith("mm-feed") for task in Path("/proc/self/task").iterdir())

    before = threads()
    feed = Feed(flooding.url, exchange="bybit", symbols=["BTCUSDT"])
    feed.start()
    async with asyncio.timeout(10):
        while threads() == before:  # noqa: ASYNC110 (a thread takes its name when it runs)
            await asyncio.sleep(0.01)
    del feed
    async with asyncio.timeout(10):
        while threads() > before:  # noqa: ASYNC110 (a thread of another runtime)
            await asyncio.sleep(0.01)
