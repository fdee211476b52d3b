"""Processes of a campaign: forked from one that has imported everything, or started as fresh interpreters.

Importing the package takes a second of processor time, and a run starts six processes. A *nursery* imports once, opens
nothing, and forks: each child is a process of its own with its own loop, threads, sockets and files from there on.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PACKAGE = "tests.chaos"
REPO = Path(__file__).resolve().parents[2]
PRELOADED = ("exchange", "maker", "market")
_PR_SET_PDEATHSIG = 1
_MESSAGE_BYTES = 1 << 16


class StartError(RuntimeError):
    """A process did not come up; carries the end of what it wrote."""


class Process:
    """A running child; its stdout is a file of JSON lines."""

    def __init__(self, pid: int, out: Path, offset: int, wait: Any) -> None:
        self.pid = pid
        self.out = out
        self.code: int | None = None
        self._pidfd = os.pidfd_open(pid)
        self._wait = wait
        self._offset = offset
        self.started_s = time.monotonic()

    def ended(self, timeout_s: float = 0.0) -> bool:
        """Return whether the process has ended, after waiting for it at most so long."""
        if self.code is None and select.select([self._pidfd], [], [], timeout_s)[0]:
            self.code = self._wait(self.pid)
            os.close(self._pidfd)
        return self.code is not None

    def signal(self, number: int) -> None:
        """Send a signal; a process that has ended gets none."""
        if self.code is None:
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                return

    def end(self, timeout_s: float = 15.0) -> int:
        """Ask the process to stop, force it when it does not, and return its code."""
        self.signal(signal.SIGINT)
        if not self.ended(timeout_s):
            self.signal(signal.SIGKILL)
            self.ended(10.0)
        return -1 if self.code is None else self.code

    def kill(self) -> None:
        """End the process at once."""
        self.signal(signal.SIGKILL)
        if not self.ended(10.0):
            raise RuntimeError(f"process {self.pid} survived SIGKILL")

    def lines(self) -> list[dict[str, Any]]:
        """Return what the process has announced so far."""
        with self.out.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        return [
            json.loads(line) for line in text.splitlines() if line.startswith(b"{") and line.endswith(b"}")
        ]

    def line(self, event: str, timeout_s: float) -> dict[str, Any] | None:
        """Wait for an announcement; ``None`` when the process ends or the time is up without it."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            over = self.ended()
            for line in self.lines():
                if line.get("event") == event:
                    return line
            if over or time.monotonic() >= deadline_s:
                return None
            self.ended(0.02)


class Nursery:
    """Starts processes for one campaign.

    Args:
        fork: fork from a preloaded process instead of starting interpreters.
        pythonpath: folders searched before all others, for instance a patched copy of the package.
        environ: more environment variables.
    """

    def __init__(
        self,
        *,
        fork: bool = True,
        pythonpath: Sequence[str | Path] = (),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._lock = threading.Lock()
        self._own: dict[int, subprocess.Popen[bytes]] = {}
        self._environ = _environ(pythonpath) | dict(environ or {})
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        if fork:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            command = [sys.executable, "-m", f"{PACKAGE}.processes", str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, cwd=REPO, env=self._environ, pass_fds=[theirs.fileno()], start_new_session=True
            )
            theirs.close()
            self._socket = ours
            if not self._ask({"do": "ready"}):
                raise StartError("the preloaded process did not start")

    def start(self, module: str, arguments: Mapping[str, Any], *, out: Path, log: Path) -> Process:
        """Start ``main(arguments)`` of a module of this package."""
        out.touch()
        offset = out.stat().st_size
        if self._socket is not None:
            call = {"do": "start", "module": module, "arguments": arguments, "out": str(out), "log": str(log)}
            return Process(int(self._ask(call)["pid"]), out, offset, self._reap)
        command = [sys.executable, "-m", f"{PACKAGE}.processes", module, json.dumps(arguments)]
        with out.open("ab") as out_file, log.open("ab") as log_file:
            child = subprocess.Popen(
                command,
                cwd=REPO,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=out_file,
                stderr=log_file,
                start_new_session=True,
            )
        self._own[child.pid] = child
        return Process(child.pid, out, offset, lambda pid: self._own.pop(pid).wait())

    def close(self) -> None:
        """End the preloaded process, and with it whatever it started."""
        for child in self._own.values():
            child.kill()
            child.wait()
        if self._socket is not None and self._process is not None:
            self._socket.close()
            self._process.wait()

    def _reap(self, pid: int) -> int:
        return int(self._ask({"do": "wait", "pid": pid})["code"])

    def _ask(self, call: dict[str, Any]) -> dict[str, Any]:
        if self._socket is None:
            raise RuntimeError("no preloaded process")
        with self._lock:
            try:
                self._socket.send(json.dumps(call).encode())
                reply = self._socket.recv(_MESSAGE_BYTES)
            except ConnectionError:
                reply = b""
        if not reply:
            raise StartError("the preloaded process has ended")
        answer: dict[str, Any] = json.loads(reply)
        return answer


def _environ(pythonpath: Sequence[str | Path]) -> dict[str, str]:
    folders = [*map(str, pythonpath), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(folders),
        "PYTHONUNBUFFERED": "1",
        "OPENBLAS_NUM_THREADS": "1",  # A process with threads cannot be forked safely.
    }


def announce(event: str, **facts: Any) -> None:
    """Write one line for whoever started this process; it survives a kill right after."""
    os.write(1, (json.dumps({"event": event, **facts}, default=str) + "\n").encode())


def _serve(channel: socket.socket) -> None:
    """Fork on demand until the other side closes."""
    for module in PRELOADED:
        importlib.import_module(f"{PACKAGE}.{module}")
    while message := channel.recv(_MESSAGE_BYTES):
        call = json.loads(message)
        answer: dict[str, Any] = {"ready": True}
        if call["do"] == "start":
            pid = os.fork()
            if pid == 0:
                _child(channel, call)
            answer = {"pid": pid}
        elif call["do"] == "wait":
            answer = {"code": os.waitstatus_to_exitcode(os.waitpid(call["pid"], 0)[1])}
        channel.send(json.dumps(answer).encode())


def _child(channel: socket.socket, call: dict[str, Any]) -> None:
    """Become what was asked for; never returns."""
    code = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        channel.close()
        os.setsid()
        for fd, path in ((1, call["out"]), (2, call["log"])):
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.dup2(file, fd)
            os.close(file)
        code = _run(call["module"], call["arguments"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _run(module: str, arguments: dict[str, Any]) -> int:
    return int(importlib.import_module(f"{PACKAGE}.{module}").main(arguments))


if __name__ == "__main__":
    if len(sys.argv) == 2:
        _serve(socket.socket(fileno=int(sys.argv[1])))
    else:
        raise SystemExit(_run(sys.argv[1], json.loads(sys.argv[2])))
