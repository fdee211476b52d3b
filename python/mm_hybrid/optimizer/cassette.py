"""Recorded questions and answers: JSON Lines that replay an advisor without a socket, and without look-ahead.

The first line is a header, every other one an attempt. A question is found again by (``pass_id``, ``key``, occurrence):
``key`` is the SHA-256 of the canonical request, so the same question asked twice gets its recordings in their order. A
replayed answer becomes visible its recorded latency after the snapshot it was asked about, and occupies the advisor
until then, as it did when it was recorded.

Each attempt's line carries a digest of itself and of all lines before it, so that an edit, a missing line and another
order are noticed; lines without one, written by something else, are taken as they are.

Bodies are kept as they came, broken ones too, so that another parser can be tried on them. A key, a token or a request
id has no place in the file: requests are kept as hashes and of the response's headers only a few known ones.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mm_hybrid.config import describe
from mm_hybrid.errors import ConfigError, MmHybridError
from mm_hybrid.optimizer.advice import MAX_TOKENS_TOLD
from mm_hybrid.optimizer.attempt import KEPT_HEADERS, MAX_BODY_BYTES, Attempt, TransportError

FORMAT: Literal["mmh-cassette/1"] = "mmh-cassette/1"

MAX_LATENCY_US = 86_400 * 1_000_000
"""No answer is a day on its way."""

MAX_COST_USD = 1e6
"""No question costs more."""

Microseconds = Annotated[int, Field(ge=0, le=2**63 // 1000)]
Tokens = Annotated[int, Field(ge=0, le=MAX_TOKENS_TOLD)]


class CassetteError(ConfigError):
    """A cassette that cannot be read; the message names file and line."""


class CassetteMissError(MmHybridError):
    """A question that was never recorded, in strict replay."""


class _Line(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


L = TypeVar("L", bound=_Line)


class Header(_Line):
    """The first line of a cassette.

    Attributes:
        format: always :data:`FORMAT`.
        contract: version of the question's contract.
        prompt: prompt profile and its version.
        model: the model asked.
        base_url: where it was asked.
        response_format: shape of reply that was asked for.
        price_in_usd_per_mtok: price when it was recorded; ``None`` when unknown.
        price_out_usd_per_mtok: likewise.
        code_version: version of this package that wrote it.
        created_ns: when.
    """

    format: Literal["mmh-cassette/1"]
    contract: str
    prompt: str
    model: str
    base_url: str
    response_format: str
    price_in_usd_per_mtok: float | None
    price_out_usd_per_mtok: float | None
    code_version: str
    created_ns: int


class Record(_Line):
    """One attempt.

    Attributes:
        key: SHA-256 of the canonical request, hexadecimal.
        pass_id: which recording of the same market this is.
        symbol: masked name of the asset.
        snapshot_seq: number of the question within its session.
        snapshot_ts_us: time of the market asked about, microseconds.
        sent_ts_us: wall clock when it was sent.
        latency_us: from the question's start to the end of this attempt.
        attempt: 1, or 2 for a retry.
        last: whether no attempt followed.
        status: HTTP status, or ``None`` with an ``error``.
        headers: the few that are kept.
        body_b64: the body, base64.
        error: what went wrong on the way.
        prompt_tokens: usage told.
        completion_tokens: usage told.
        cost_usd: what the question was charged; on its last attempt.
        chain: first half of the SHA-256 of the chain before and of this attempt; ``None`` is not checked.
    """

    key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    pass_id: str
    symbol: str
    snapshot_seq: Annotated[int, Field(ge=0)]
    snapshot_ts_us: Microseconds
    sent_ts_us: Microseconds
    latency_us: Annotated[int, Field(ge=0, le=MAX_LATENCY_US)]
    attempt: Annotated[int, Field(ge=1)]
    last: bool
    status: Annotated[int, Field(ge=100, le=999)] | None = None
    headers: dict[str, str] = {}
    body_b64: str = ""
    error: TransportError | None = None
    detail: str = ""
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None
    cost_usd: Annotated[float, Field(ge=0, le=MAX_COST_USD)] | None = None
    chain: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None

    def as_attempt(self) -> Attempt:
        """Return what the service did."""
        return Attempt(
            status=self.status,
            headers=self.headers,
            body=base64.b64decode(self.body_b64),
            error=self.error,
            detail=self.detail,
            latency_ns=self.latency_us * 1000,
        )


def chained(before: str, line: Header | Record) -> str:
    """Return the chain after a line, given the one before it (nothing before the header)."""
    text = before + line.model_dump_json(exclude_defaults=True, exclude={"chain"})
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def request_key(request: Mapping[str, Any]) -> str:
    """Return the key of a request: the same for the same model, parameters, messages and shape of reply."""
    text = json.dumps(request, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Recorder:
    """Appends to a cassette; a file that exists is continued if it is whole and its header fits.

    Args:
        path: the file.
        header: what its first line says; only ``created_ns`` and ``code_version`` may differ from an existing one.
        pass_id: name of this recording.

    Raises:
        CassetteError: the existing file is no cassette, a damaged one, or one of something else.
    """

    def __init__(self, path: str | os.PathLike[str], header: Header, *, pass_id: str) -> None:
        self.path = Path(path)
        self._pass_id = pass_id
        new = not self.path.exists() or self.path.stat().st_size == 0
        if not new:
            old = read_header(self.path)
            free = {"created_ns": 0, "code_version": ""}
            if old.model_copy(update=free) != header.model_copy(update=free):
                raise CassetteError(
                    f"{self.path}: recorded with {_facts(old)}, not {_facts(header)}: use another file"
                )
            self._chain = _check_whole(self.path, old)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a", encoding="utf-8")
        if new:
            self._chain = chained("", header)
            self._write(header)

    def record(
        self,
        *,
        key: str,
        symbol: str,
        snapshot_seq: int,
        snapshot_ts_ns: int,
        sent_ts_ns: int,
        attempts: Sequence[Attempt],
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
        cost_usd: float | None = None,
    ) -> None:
        """Append every attempt of one question."""
        for number, attempt in enumerate(attempts, start=1):
            last = number == len(attempts)
            record = Record(
                key=key,
                pass_id=self._pass_id,
                symbol=symbol,
                snapshot_seq=snapshot_seq,
                snapshot_ts_us=snapshot_ts_ns // 1000,
                sent_ts_us=sent_ts_ns // 1000,
                latency_us=max(attempt.latency_ns, 0) // 1000,
                attempt=number,
                last=last,
                status=attempt.status,
                headers=dict(attempt.headers),
                body_b64=base64.b64encode(attempt.body).decode(),
                error=attempt.error,
                detail=attempt.detail[:200],
                prompt_tokens=prompt_tokens if last else None,
                completion_tokens=completion_tokens if last else None,
                cost_usd=cost_usd if last else None,
            )
            self._chain = chained(self._chain, record)
            self._write(record.model_copy(update={"chain": self._chain}))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, line: _Line) -> None:
        self._file.write(line.model_dump_json(exclude_defaults=True) + "\n")
        self._file.flush()


class Cassette:
    """A recording, read whole."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.header = read_header(self.path)
        self.records = list(read_records(self.path, self.header))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read a cassette.

        Raises:
            CassetteError: it is missing or malformed; names the line.
        """
        return cls(path)


class Replay:
    """Finds recorded answers again; opens no socket.

    Args:
        cassette: where they are.
        pass_id: which recording to follow.

    Raises:
        CassetteError: the cassette holds no such pass.
    """

    def __init__(self, cassette: Cassette, *, pass_id: str) -> None:
        self.cassette = cassette
        self._pass_id = pass_id
        self._by_key: dict[str, list[list[Record]]] = defaultdict(list)
        self._taken: Counter[str] = Counter()
        open_question: list[Record] = []
        for record in cassette.records:
            if record.pass_id != pass_id:
                continue
            open_question.append(record)
            if record.last:
                self._by_key[record.key].append(open_question)
                open_question = []
        if not self._by_key and cassette.records:
            known = ", ".join(sorted({record.pass_id for record in cassette.records}))
            raise CassetteError(f"{cassette.path}: no pass {pass_id!r}; passes there: {known}")

    def take(self, key: str) -> list[Record] | None:
        """Return the next recording of a question, its attempts in order; ``None`` when there is none left."""
        recordings = self._by_key.get(key, [])
        if self._taken[key] >= len(recordings):
            return None
        self._taken[key] += 1
        return recordings[self._taken[key] - 1]

    def miss(self, key: str, snapshot_ts_ns: int) -> str:
        """Return why a question was not found, with the recorded one nearest in time."""
        records = [
            record for questions in self._by_key.values() for question in questions for record in question[:1]
        ]
        seen = len(self._by_key.get(key, []))
        what = f"was asked {seen} times and is asked again" if seen else "was never recorded"
        if not records:
            return f"{self.cassette.path}: the question {key} {what}: the recording is empty"
        nearest = min(records, key=lambda record: abs(record.snapshot_ts_us - snapshot_ts_ns // 1000))
        away_s = (nearest.snapshot_ts_us - snapshot_ts_ns // 1000) / 1e6
        return (
            f"{self.cassette.path}: the question {key} about {snapshot_ts_ns} {what} in pass {self._pass_id!r}; "
            f"nearest recorded: {nearest.snapshot_ts_us * 1000} ({away_s:+.3f} s), key {nearest.key}"
        )


def read_header(path: Path) -> Header:
    """Return the first line of a cassette.

    Raises:
        CassetteError: it is missing or no header.
    """
    for number, text in _lines(path):
        return _parsed(Header, path, number, text)
    raise CassetteError(f"{path}:1: the cassette is empty")


def read_records(path: Path, header: Header) -> Iterator[Record]:
    """Yield the attempts of a cassette.

    Raises:
        CassetteError: a line is malformed or not where or what it was when it was written, or a question ends without
            its last attempt; names the line.
    """
    unfinished: dict[str, tuple[int, Record]] = {}
    chain = chained("", header)
    for number, text in _lines(path):
        if number == 1:
            continue
        record = _parsed(Record, path, number, text)
        try:
            body = base64.b64decode(record.body_b64, validate=True)
        except (binascii.Error, ValueError):
            raise CassetteError(f"{path}:{number}: body_b64 is no base64") from None
        if (record.status is None) == (record.error is None):
            raise CassetteError(f"{path}:{number}: an attempt has either a status or an error")
        if len(body) > MAX_BODY_BYTES:
            raise CassetteError(f"{path}:{number}: the body is over {MAX_BODY_BYTES} bytes")
        if unknown := set(record.headers) - set(KEPT_HEADERS):
            raise CassetteError(f"{path}:{number}: header {min(unknown)!r} has no place in a cassette")
        before = unfinished.pop(record.pass_id, None)
        if record.attempt != (1 if before is None else before[1].attempt + 1):
            raise CassetteError(
                f"{path}:{number}: attempt {record.attempt} follows no attempt {record.attempt - 1}"
            )
        if before is not None and before[1].key != record.key:
            raise CassetteError(
                f"{path}:{number}: the attempt before, on line {before[0]}, was of another question"
            )
        if not record.last:
            unfinished[record.pass_id] = (number, record)
        chain = chained(chain, record)
        if record.chain not in {None, chain}:
            raise CassetteError(
                f"{path}:{number}: this line was changed, or lines before it were changed, added, taken away or moved"
            )
        yield record
    for number, record in unfinished.values():
        raise CassetteError(
            f"{path}:{number}: attempt {record.attempt} was not the last (last: false), and none follows"
        )


def _check_whole(path: Path, header: Header) -> str:
    """Check that a line appended will be a line of its own, after lines that can be used; return the chain."""
    try:
        chain = chained("", header)
        for record in read_records(path, header):
            chain = chained(chain, record)
    except CassetteError as error:
        raise CassetteError(f"{error}; a damaged cassette is not continued: use another file") from None
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            raise CassetteError(f"{path}: the last line is torn: it is not continued, use another file")
    return chain


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from enumerate(file, start=1)
    except OSError as error:
        raise CassetteError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise CassetteError(f"{path}: is no text file: no cassette") from None


def _parsed(kind: type[L], path: Path, number: int, text: str) -> L:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise CassetteError(f"{path}:{number}: {describe(error)}") from None


def _facts(header: Header) -> str:
    return f"{header.model} at {header.base_url}, {header.prompt}, {header.response_format}"
