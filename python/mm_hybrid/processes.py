"""Local servers as processes of their own: started, watched, started again, and never left behind.

A child announces itself with one JSON line on stdout and lives no longer than its parent: it stops when its stdin
closes, which the operating system does for us even when the parent is killed. Children run in a session of their own,
so that Ctrl-C in a terminal reaches the parent alone, which then ends them in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mm_hybrid.errors import ServerError

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0
SECRET_PREFIXES = ("MM_HYBRID_API_", "HOLYSHEEP_")
RESTART_DELAYS_S = (0.2, 0.5, 1.0, 2.0, 5.0)


class ServerProcess:
    """One ``mm-hybrid serve NAME`` process, restarted on its own ports when it dies.

    Args:
        name: which server (``tardis``, ``exchange``, ``advisor``).
        arguments: options of ``mm-hybrid serve NAME``; ``{key}`` in one is replaced by that value of ``ready`` on a
            restart, and by ``"0"`` at the first start, so that ports stay the same.
        log_path: file that collects the process's stderr.
        on_event: called with one line for people when the process dies and when it is back.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        log_path: Path,
        on_event: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.name = name
        self.ready: Mapping[str, Any] = {}
        self._arguments = tuple(arguments)
        self._log_path = log_path
        self._on_event = on_event
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return None if self._process is None else self._process.pid

    async def start(self) -> Mapping[str, Any]:
        """Start the process and return what it announced (host, ports).

        Raises:
            ServerError: it ended or stayed silent; carries the last line it wrote.
        """
        await self._spawn()
        self._watch = asyncio.create_task(self._restart_when_dead(), name=f"watch-{self.name}")
        return self.ready

    async def stop(self) -> None:
        """End the process: politely first, then by force. Safe to call twice."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        process, self._process = self._process, None
        if process is not None:
            await _end(process)

    async def _spawn(self) -> None:
        values = {key: str(value) for key, value in self.ready.items()}
        arguments = [_filled(argument, values) for argument in self._arguments]
        with self._log_path.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "mm_hybrid", "serve", self.name, "--json", "--until-stdin-closes"),
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env=_without_secrets(os.environ) | {"PYTHONUNBUFFERED": "1"},
            )
        self._process = process
        try:
            line = await asyncio.wait_for(_first_line(process), READY_TIMEOUT_S)
            self.ready = json.loads(line)
        except (TimeoutError, ValueError) as error:
            await _end(process)
            self._process = None
            raise ServerError(
                f"{self.name} server did not start: {_last_line(self._log_path) or error}"
            ) from error

    async def _restart_when_dead(self) -> None:
        attempt = 0
        while self._process is not None:
            code = await self._process.wait()
            delay = RESTART_DELAYS_S[min(attempt, len(RESTART_DELAYS_S) - 1)]
            self._on_event(f"{self.name} server ended with code {code}; starting it again in {delay:g} s")
            await asyncio.sleep(delay)
            try:
                await self._spawn()
            except ServerError as error:
                attempt += 1
                self._on_event(str(error))
                if attempt >= len(RESTART_DELAYS_S):
                    return
            else:
                attempt = 0
                self._on_event(f"{self.name} server is back")


def _without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without keys: local servers need none, and accept their own."""
    return {name: value for name, value in environ.items() if not name.startswith(SECRET_PREFIXES)}


def _filled(argument: str, values: Mapping[str, str]) -> str:
    if argument.startswith("{") and argument.endswith("}"):
        return values.get(argument[1:-1], "0")
    return argument


async def _first_line(process: asyncio.subprocess.Process) -> bytes:
    stdout = process.stdout
    if stdout is None:
        raise ValueError("no output")
    line = await stdout.readline()
    if not line:
        await process.wait()
        raise ValueError(f"it ended with code {process.returncode}")
    return line


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].removeprefix("mm-hybrid: ") if lines else ""
