"""Configuration of a session: one TOML file, checked field by field before anything starts.

Every model is frozen and refuses unknown keys, so that a misspelt key is an error and never a silent default.
Secrets are named by the environment variable that holds them and never stand in the file.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mm_hybrid.errors import ConfigError

Venue = Literal["bybit", "bitget"]
Mode = Literal["demo", "paper", "live"]

KILL_FILE = "KILL"
"""Name of the kill switch in a session's output folder: while it exists, nothing is quoted."""

OPTIMIZERS = ("glft", "avellaneda_stoikov", "exact", "seed_pnl")
"""Names of the optimizers that come with the package."""

_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Milliseconds = Annotated[int, Field(gt=0, le=3_600_000)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


def _checked_url(url: str, schemes: tuple[str, ...]) -> str:
    parts = urlsplit(url)
    if parts.scheme not in schemes or not parts.hostname:
        raise ValueError(f"{url!r} is no URL of the form {schemes[0]}://host:port")
    if parts.scheme in {"ws", "http"} and parts.hostname not in _LOOPBACK_HOSTS:
        raise ValueError(
            f"{url!r} is unencrypted and not on this machine: use {schemes[-1]}:// or a loopback address"
        )
    return url.rstrip("/")


def _without_secrets(url: str) -> str:
    """Return a URL without the places where a secret could stand: user info, query and fragment."""
    found = re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/+", url)
    scheme = found.group() if found else ""
    rest = url.removeprefix(scheme)
    authority, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}{authority.rpartition('@')[2]}{slash}{path}"


_SHOWN_CHARS = 200
"""Characters of a wrong value that a message repeats."""

SOURCE_URLS = {
    "tardis": None,
    "bybit": "wss://stream.bybit.com",
    "bitget": "wss://ws.bitget.com",
    "bitget-v2": "wss://ws.bitget.com",
}
"""Sources of market data, each with the address of its public stream; a tardis-machine has none but its own."""

LOCAL_TARDIS_URL = "ws://127.0.0.1:8001"
"""Where a tardis-machine listens by default."""


AWAKE_GAP_US, MAX_AWAKE_GAP_US = 500, 10_000
"""Mean gap between messages below which an event loop stays awake, and the longest that it may be told to."""


class MarketConfig(_Section):
    """Where market data comes from: a tardis-machine, or the exchange's own public stream.

    ``url`` is its WebSocket address without a path, by default that of the exchange; ``exchange`` the Tardis id
    (``bybit``, ``bitget-futures``); ``book_depth`` the levels a side to ask Bybit for. ``awake_gap_us``: the event
    loop does not sleep between messages that come less than this apart on average; 0 always sleeps.
    """

    source: Literal["tardis", "bybit", "bitget", "bitget-v2"] = "tardis"
    url: str
    exchange: str = Field(pattern=r"^[a-z0-9-]+$")
    symbol: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    book_depth: Literal[1, 50, 200, 1000] = 200
    stale_after_ms: Milliseconds = 3000
    resync_after_ms: Milliseconds = 10_000
    awake_gap_us: Annotated[int, Field(ge=0, le=MAX_AWAKE_GAP_US)] = AWAKE_GAP_US

    @model_validator(mode="before")
    @classmethod
    def _url_of_source(cls, values: Any) -> Any:
        if isinstance(values, dict) and "url" not in values:
            url = SOURCE_URLS.get(values.get("source", "tardis"))
            return values if url is None else {**values, "url": url}
        return values

    @field_validator("url")
    @classmethod
    def _url(cls, url: str) -> str:
        return _checked_url(url, ("ws", "wss"))

    @model_validator(mode="after")
    def _exchange_of_source(self) -> Self:
        venue = self.source.removesuffix("-v2")
        if self.source != "tardis" and not self.exchange.startswith(venue):
            raise ValueError(f"exchange = {self.exchange!r} does not come from source = {self.source!r}")
        return self


class VenueConfig(_Section):
    """Where orders go.

    ``url`` points to a local exchange server; without it ``live`` uses the venue itself, on its demo hosts unless
    ``demo`` is false. The three ``*_env`` fields name environment variables, never the secrets.
    """

    name: Venue
    symbol: str | None = Field(default=None, pattern=r"^[A-Za-z0-9]+$")
    url: str | None = None
    demo: bool = True
    api_key_env: str = "MM_HYBRID_API_KEY"
    api_secret_env: str = "MM_HYBRID_API_SECRET"  # noqa: S105  (a variable's name, not a secret)
    api_password_env: str = "MM_HYBRID_API_PASSWORD"  # noqa: S105

    @field_validator("url")
    @classmethod
    def _url(cls, url: str | None) -> str | None:
        return None if url is None else _checked_url(url, ("http", "https"))

    @property
    def on_demo_host(self) -> bool:
        """Whether orders go to the venue's demo hosts."""
        return self.url is None and self.demo


class SeedPnlConfig(_Section):
    """What the expected-profit optimizer (``optimizer = "seed_pnl"``) assumes beside the calibration.

    Distances are in multiples of 1/k, so that one configuration fits any symbol.

    Attributes:
        variant: what reacts to the width: nothing (``linear``), the share of adverse fills (``toxic``) or the holding
            time (``renewal``).
        p0: probability that a fill far from the price is adverse (``linear``: any fill).
        p1: what a fill at the price itself adds to it (``toxic``).
        kappa: how fast that addition decays, in multiples of k (``toxic``).
        loss: mean adverse move after an adverse fill, in 1/k; ``renewal``: adverse cost of an entry.
        hold_s: mean holding time of a round trip (``linear``, ``toxic``).
        carry: cost of carrying one base unit for one second, in 1/k.
        timeout_s: longest wait for the opposite fill (``renewal``).
        taker_cost: cost of closing as taker after it, in 1/k (``renewal``).
    """

    variant: Literal["linear", "toxic", "renewal"] = "toxic"
    p0: Annotated[float, Field(ge=0, le=1)] = 0.2
    p1: Annotated[float, Field(ge=0, le=1)] = 0.3
    kappa: PositiveFloat = 1.5
    loss: NonNegativeFloat = 0.5
    hold_s: NonNegativeFloat = 10.0
    carry: NonNegativeFloat = 0.0
    timeout_s: PositiveFloat = 30.0
    taker_cost: NonNegativeFloat = 3.0


class QuotingConfig(_Section):
    """How quotes are computed.

    Attributes:
        optimizer: ``glft`` (closed form with inventory), ``avellaneda_stoikov`` (rolling horizon), ``exact`` (bounded
            inventory), ``seed_pnl`` (expected profit of one width), or ``path.py:Class`` for one of your own.
        horizon_s: rolling horizon of ``avellaneda_stoikov``.
        seed_pnl: assumptions of ``seed_pnl``.
        order_size_quote: value of one order in quote currency, about: orders have whole lots.
        position_limit_orders: absolute position cap, in orders.
        inventory_sd_orders: wanted standard deviation of the inventory, in orders; sets the risk aversion.
        requote_ms: least time between two looks at the market.
        tolerance: how far a live order may be from its target before it is moved, as a fraction of its half-spread.
        information_age_ms: age of the information behind a resting quote until it is measured: latency plus half the
            requote interval.
        error_widening: standard errors of k by which the half-spread is widened; 0 trusts every estimate.
        use_impact: charge the measured adverse move per own fill; ``false`` only measures it.
        use_drift: lean the quotes on the measured drift as far as it exceeds two of its standard errors.
        drift_after_s: seconds of readable book before a drift is believed at all.
        static_half_bps: half-spread quoted when no parameters can be used at all; ``null`` pulls the quotes instead.
        half_life_s: half-life of market orders in the fit of A and k.
        sigma_half_life_s: half-life of volatility.
        safety_bps: least half-spread beyond fee and one tick.
        prior_intensity_a: fills per second at the mid, one side, before the stream has told.
        prior_depth_bps: 1/k in bps of mid, before the stream has told.
        prior_volatility_1m_bps: volatility of the mid, bps per square root of a minute, before the stream has told.
        prior_until_orders: market orders the stream must have shown before its own fit is used.
    """

    optimizer: Annotated[str, Field(min_length=1)] = "glft"
    horizon_s: PositiveFloat = 5.0
    seed_pnl: SeedPnlConfig = SeedPnlConfig()
    order_size_quote: PositiveFloat = 600.0
    position_limit_orders: PositiveFloat = 10.0
    inventory_sd_orders: PositiveFloat = 1.5
    requote_ms: Milliseconds = 100
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.15
    information_age_ms: Milliseconds = 100
    safety_bps: NonNegativeFloat = 0.0
    prior_intensity_a: PositiveFloat = 1.5
    prior_depth_bps: PositiveFloat = 0.83
    prior_volatility_1m_bps: PositiveFloat = 6.5
    prior_until_orders: Annotated[int, Field(ge=1)] = 30
    error_widening: Annotated[float, Field(ge=0, le=5)] = 1.0
    use_impact: bool = True
    use_drift: bool = True
    drift_after_s: PositiveFloat = 120.0
    static_half_bps: Annotated[float, Field(gt=0, le=500)] | None = 25.0
    half_life_s: PositiveFloat = 1800.0
    sigma_half_life_s: PositiveFloat = 120.0

    @field_validator("optimizer")
    @classmethod
    def _optimizer(cls, name: str) -> str:
        if name in OPTIMIZERS or (
            name.rpartition(":")[0].endswith(".py") and name.rpartition(":")[2].isidentifier()
        ):
            return name
        raise ValueError(f"one of {', '.join(OPTIMIZERS)}, or path.py:Class, not {name!r}")


class RiskConfig(_Section):
    """Hard limits; a quote that breaks one is refused, a loss beyond ``max_loss_quote`` stops the session (exit 3).

    ``max_position_base`` caps the position and what may still fill on a side in base units, whatever the price does.
    """

    max_loss_quote: PositiveFloat = 1000.0
    max_order_quote: PositiveFloat = 10_000.0
    max_position_quote: PositiveFloat = 10_000.0
    max_position_base: PositiveFloat | None = None
    max_distance_bps: PositiveFloat = 500.0
    max_book_age_ms: Milliseconds = 5000


class ExecutionConfig(_Section):
    """How orders are sent, watched and settled.

    Attributes:
        tag: first part of every client id; orders whose id begins with it are taken for this strategy's, so two that
            trade one symbol of one account need different ones.
        orders_via: ``rest``, or ``websocket`` for the venue's trade stream (Bybit only, not on its demo hosts).
        request_timeout_s: after this long without a reply a request's outcome is unknown.
        grace_s: what the private stream gets to tell of an order before it is looked up.
        window_s: how long the venue's answers must be without an order to declare it not placed, three times as long
            if it has confirmed it once: at least the venue's receive window plus its longest latency, since an
            accepted request can show up late.
        recancel_s: how long an order may stay open after its cancel before it is cancelled again.
        reconcile_s: between two full comparisons with the venue.
        position_check_s: between two looks at a position that differs from the venue's.
        position_checks: looks until a difference that nothing explains stops trading.
        silence_s: without any frame of the private streams, heartbeats included, until they are connected anew.
        stop_s: for cancelling everything, at a start and at the end.
        adopt_position: take the venue's position as it is when the journal cannot explain it; for one start, after
            a person has looked at the difference.
    """

    tag: str = Field(default="mm", pattern=r"^[A-Za-z0-9]{1,12}$")
    orders_via: Literal["rest", "websocket"] = "rest"
    request_timeout_s: PositiveFloat = 3.0
    grace_s: PositiveFloat = 0.5
    window_s: PositiveFloat = 10.0
    recancel_s: PositiveFloat = 1.0
    reconcile_s: PositiveFloat = 10.0
    position_check_s: PositiveFloat = 0.5
    position_checks: Annotated[int, Field(ge=1)] = 4
    silence_s: PositiveFloat = 15.0
    stop_s: PositiveFloat = 20.0
    adopt_position: bool = False

    @model_validator(mode="after")
    def _times_fit(self) -> Self:
        if self.stop_s <= self.window_s:
            raise ValueError(
                f"stop_s {self.stop_s:g} is not above window_s {self.window_s:g}: "
                "a stop could end before an unknown order is settled"
            )
        return self


class AdvisorConfig(_Section):
    """The advisor beside the closed form: any OpenAI-compatible chat-completions server.

    ``weight`` 0 is shadow mode: advice is asked for, checked and journalled, and moves nothing. The key comes from
    the environment variable named by ``api_key_env``.

    Attributes:
        model: any model the service offers; its price must be known or configured.
        response_format: how the shape of the reply is asked for; ``auto`` tries json_schema, json_object and none once,
            before the first question, and remembers what worked.
        check_models: ask the service for its models first, and refuse one it does not offer or has shut down.
        prompt: ``exogenous`` (replayable) or ``seed`` (tells inventory and price; for comparison).
        weight: weight of fresh advice, 0 to 0.5.
        timeout_s: most that a question may take, retry included; never more than a quarter of ``ttl_s``, since advice
            fades while it is waited for.
        ttl_s: life of advice, from the market it was asked about.
        budget_usd_per_day: most that may be spent per day (UTC), over restarts.
        tokens_per_min: most tokens in a minute.
        calls_per_min: most calls in a minute.
        spend_file: where spending is kept, by default ``advice-spend.sqlite`` in the output folder; sessions that name
            the same file share the limits of money, tokens and calls.
        cassette: file of recorded answers.
        cassette_mode: ``off``, ``record``, ``replay`` (an unknown question gets no answer), ``replay_strict`` (it is an
            error).
        cassette_pass: name of the recording within the file.
    """

    enabled: bool = True
    base_url: str = "https://api.holysheep.ai/v1"
    model: str = "gpt-4.1"
    response_format: Literal["auto", "json_schema", "json_object", "none"] = "auto"
    check_models: bool = True
    prompt: Literal["exogenous", "seed"] = "exogenous"
    api_key_env: str = "HOLYSHEEP_API_KEY"
    weight: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    interval_s: Annotated[float, Field(ge=5, le=3600)] = 15.0
    timeout_s: Annotated[float, Field(gt=0, le=30)] = 4.0
    ttl_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    budget_usd_per_day: NonNegativeFloat = 5.0
    tokens_per_min: Annotated[int, Field(ge=1)] = 100_000
    calls_per_min: Annotated[int, Field(ge=1, le=600)] = 20
    price_in_usd_per_mtok: NonNegativeFloat | None = None
    price_out_usd_per_mtok: NonNegativeFloat | None = None
    spend_file: Path | None = None
    cassette: Path | None = None
    cassette_mode: Literal["off", "record", "replay", "replay_strict"] = "off"
    cassette_pass: str = "1"  # noqa: S105 (a name, not a secret)

    @model_validator(mode="after")
    def _cassette_is_named(self) -> Self:
        if self.cassette_mode != "off" and self.cassette is None:
            raise ValueError(f"cassette_mode {self.cassette_mode} needs the file: set advisor.cassette")
        if self.cassette_mode != "off" and self.response_format == "auto":
            raise ValueError(
                f"cassette_mode {self.cassette_mode} needs a fixed response_format: a recording holds one shape"
            )
        return self

    @property
    def deadline_s(self) -> float:
        """What a question may take in all."""
        return min(self.timeout_s, self.ttl_s / 4)

    @field_validator("base_url")
    @classmethod
    def _url(cls, url: str) -> str:
        if _without_secrets(url) != url:
            raise ValueError(
                "a URL with user info, a query or a fragment would put a secret into files: "
                "leave it out, the key belongs into the environment variable that api_key_env names"
            )
        return _checked_url(url, ("http", "https"))


class OutputConfig(_Section):
    """Where journal, cache, report and logs go."""

    dir: Path = Path("out")


class SessionConfig(_Section):
    """Everything a paper or live session needs to know."""

    market: MarketConfig
    venue: VenueConfig
    quoting: QuotingConfig = QuotingConfig()
    risk: RiskConfig = RiskConfig()
    execution: ExecutionConfig = ExecutionConfig()
    advisor: AdvisorConfig = AdvisorConfig()
    output: OutputConfig = OutputConfig()

    @model_validator(mode="after")
    def _limits_fit(self) -> Self:
        if self.quoting.order_size_quote > self.risk.max_order_quote:
            raise ValueError(
                f"quoting.order_size_quote {self.quoting.order_size_quote:g} is above "
                f"risk.max_order_quote {self.risk.max_order_quote:g}"
            )
        if self.execution.orders_via == "websocket" and (
            self.venue.name != "bybit" or self.venue.on_demo_host
        ):
            raise ValueError(
                "execution.orders_via websocket: only Bybit takes orders by stream, and not on its demo hosts"
            )
        wanted_quote = self.quoting.order_size_quote * self.quoting.position_limit_orders
        if wanted_quote > self.risk.max_position_quote:
            raise ValueError(
                f"quoting.position_limit_orders of order_size_quote are worth {wanted_quote:g}, above "
                f"risk.max_position_quote {self.risk.max_position_quote:g}"
            )
        return self

    @property
    def trading_venue(self) -> VenueConfig:
        """The venue with the symbol to trade there: the market's, where the venue names none of its own."""
        return self.venue.model_copy(update={"symbol": self.venue.symbol or self.market.symbol})

    def public(self) -> dict[str, Any]:
        """Return the configuration as JSON-ready values; it holds no secret by construction."""
        return self.model_dump(mode="json")


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def describe(error: ValidationError) -> str:
    """Return one line that names each wrong key, its value and the reason."""
    problems = []
    for item in error.errors(include_url=False):
        key = ".".join(str(part) for part in item["loc"]) or "(file)"
        reason = (
            "unknown key" if item["type"] == "extra_forbidden" else item["msg"].removeprefix("Value error, ")
        )
        given = item["input"]
        if isinstance(given, str) and key.endswith("url"):
            given = _without_secrets(given)
        value = "" if item["type"] == "missing" or isinstance(given, dict) else f" = {_cut(repr(given))}"
        problems.append(f"{key}{value}: {reason}")
    return "; ".join(problems)


def load(path: Path) -> SessionConfig:
    """Read and check a configuration file.

    Raises:
        ConfigError: the file is missing, no TOML, or holds a key or value that cannot be used; names which.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no valid TOML: {error}") from error
    try:
        return SessionConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe(error)}") from error
