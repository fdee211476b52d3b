"""The command line as a test runs it: processes, journals and what is left of them."""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "mm_hybrid", *arguments]


def run(*arguments: str, cwd: Path, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False
    )


def started(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def result_of(done: subprocess.CompletedProcess[str]) -> dict:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rows(journal: str | Path, query: str) -> list[tuple]:
    with sqlite3.connect(f"file:{journal}?mode=ro", uri=True) as database:
        return database.execute(query).fetchall()


def children_of(pid: int) -> dict[str, int]:
    """Return the running servers of a demo process by name."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                status = (folder / "stat").read_text().rsplit(") ", 1)[1].split()
                words = (folder / "cmdline").read_text().split("\0")
            except OSError:
                continue
            if int(status[1]) == pid and "serve" in words:
                found[words[words.index("serve") + 1]] = int(folder.name)
    return found


def wait_until(what: str, condition: Callable[[], Any], timeout_s: float = 40) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    pytest.fail(f"waited {timeout_s} s for {what}")


def journal_has(folder: Path, query: str) -> Callable[[], Any]:
    path = folder / "journal.sqlite"

    def look():
        try:
            return path.exists() and rows(path, query)
        except sqlite3.OperationalError:
            return None

    return look
