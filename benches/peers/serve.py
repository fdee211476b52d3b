"""A WebSocket server that is never the bottleneck: plain sockets, frames made before the clock starts.

``blast`` sends every message as fast as the client reads; ``pace`` sends ``rate`` messages a second, each alone, with
the time of sending in its ``localTimestamp``. The snapshot goes first, then half a second passes. One client, then
the process ends. The port is the first line of output.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import re
import socket
import struct
import time
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
CHUNK = 1 << 18
CLOSE = b"\x88\x02\x03\xe8"
STAMP = b'"localTimestamp":"'


def main() -> None:
    """Serve one client."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mode", choices=("blast", "pace"), default="blast")
    parser.add_argument("--messages", type=int, default=None)
    parser.add_argument("--rate", type=float, default=5000.0)
    options = parser.parse_args()
    with (options.folder / "book_change.ndjson").open("rb") as file:
        snapshot, *lines = (line[:-1] for line in islice(file, options.messages and options.messages + 1))
    everything = b"".join(map(frame, lines)) if options.mode == "blast" else b""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        client, _ = listener.accept()
    with client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        shake_hands(client)
        client.sendall(frame(snapshot))
        time.sleep(0.5)
        if options.mode == "blast":
            for start in range(0, len(everything), CHUNK):
                client.sendall(memoryview(everything)[start : start + CHUNK])
        else:
            pace(client, lines, options.rate)
        client.sendall(CLOSE)
        client.shutdown(socket.SHUT_WR)
        client.settimeout(20)
        while client.recv(65536):
            pass


def frame(payload: bytes) -> bytes:
    """Return the payload as one unmasked text frame."""
    size = len(payload)
    if size < 126:
        return struct.pack(">BB", 0x81, size) + payload
    if size < 1 << 16:
        return struct.pack(">BBH", 0x81, 126, size) + payload
    return struct.pack(">BBQ", 0x81, 127, size) + payload


def shake_hands(client: socket.socket) -> None:
    """Answer the upgrade request."""
    request = b""
    while b"\r\n\r\n" not in request:
        request += client.recv(65536)
    key = re.search(rb"(?i)sec-websocket-key: *(\S+)", request)
    assert key is not None, request
    accept = base64.b64encode(hashlib.sha1(key[1] + GUID).digest())
    client.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def pace(client: socket.socket, lines: list[bytes], rate: float) -> None:
    """Send each message when it is due, stamped with the microsecond before."""
    heads = [line[: line.index(STAMP) + len(STAMP)] for line in lines]
    start = time.perf_counter()
    for index, head in enumerate(heads):
        while time.perf_counter() < start + index / rate:
            pass
        seconds, us = divmod(time.time_ns() // 1000, 1_000_000)
        clock = datetime.fromtimestamp(seconds, tz=UTC)
        client.sendall(frame(head + f'{clock:%Y-%m-%dT%H:%M:%S}.{us:06}Z"}}'.encode()))


if __name__ == "__main__":
    main()
