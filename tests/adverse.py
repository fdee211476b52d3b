"""Services no decent provider runs: each takes a connection and misbehaves in one way, for as long as it is left."""

import asyncio
import json
from collections.abc import Awaitable, Callable

from advisors import reply

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def http(status: str, body: bytes, headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n"
    return head.encode() + body


def always(answer: bytes) -> Script:
    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return script


async def black_hole(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass


def drip(interval_s: float = 1.0) -> Script:
    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(interval_s)

    return script


def event_stream() -> bytes:
    content = json.loads(reply())["choices"][0]["message"]["content"]
    chunks = [
        {"choices": [{"delta": {"content": content[:30]}}]},
        {"choices": [{"delta": {"content": content[30:]}}]},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    ]
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    return http("200 OK", body.encode(), "Content-Type: text/event-stream\r\n")


def crumbs(pieces: int) -> Script:
    """A body in chunks of one byte."""
    return always(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * pieces + b"0\r\n\r\n"
    )


def unclosed_fence() -> bytes:
    """An answer that begins with a Markdown fence and goes on with nothing."""
    envelope = json.loads(reply())
    envelope["choices"][0]["message"]["content"] = "```\n" + " " * 60_000 + "x"
    return json.dumps(envelope).encode()


ADVERSE: dict[str, tuple[Script, set[str]]] = {
    "black hole": (black_hole, {"timeout"}),
    "drip": (drip(), {"timeout"}),
    "1 MB": (always(http("200 OK", b"x" * 1_000_000)), {"invalid_transport"}),
    "HTML": (always(http("200 OK", b"<html><h1>down</h1></html>")), {"invalid_envelope"}),
    "event stream": (always(event_stream()), {"accepted"}),
    "429 storm": (always(http("429 Too Many Requests", b"{}", "Retry-After: 0\r\n")), {"rate_limited"}),
    "502": (always(http("502 Bad Gateway", b"<html>502</html>")), {"http_5xx"}),
    "reset": (always(b""), {"invalid_transport"}),
    "wrong length": (always(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"), {"invalid_transport"}),
    "crumbs": (crumbs(60_000), {"invalid_transport"}),
    "fence": (always(http("200 OK", unclosed_fence())), {"invalid_json"}),
    "no HTTP": (always(b"\x00\xff\r\n\r\n" * 20), {"invalid_transport"}),
    "endless headers": (
        always(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 60_000),
        {"invalid_transport", "timeout"},
    ),
}
"""What a service does, and the outcomes a question to it may have."""
