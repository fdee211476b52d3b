"""The Rust core: feeds, books, models, simulation. Pull only: nothing here calls back into Python."""

from collections.abc import Sequence
from os import PathLike
from typing import Any, Self, final

__version__: str

class MmHybridError(Exception):
    """Base of every error of this package."""

class FeedError(MmHybridError):
    """The market-data feed cannot be started or used."""

class DecodeError(MmHybridError):
    """A message or row that does not have the expected form."""

class ReplayError(MmHybridError):
    """A data file that cannot be read."""

class BookError(MmHybridError):
    """An order book that cannot be built."""

class CacheError(MmHybridError):
    """The local cache failed."""

# Models

@final
class GlftQuotes:
    """Optimal distances from the reference price, all in P (quote currency per base).

    Attributes:
        c1: distance that maximises the margin of a single fill without costs or inventory.
        c2: skew per base unit and unit of volatility, before the shifts by fee, impact and age.
        half_spread: distance of both quotes at inventory 0 and drift 0.
        skew_per_unit: shift of both quotes per base unit of inventory.
        delta_bid: distance of the bid below the reference price at the inventory asked for.
        delta_ask: distance of the ask above it.
    """

    @property
    def c1(self) -> float: ...
    @property
    def c2(self) -> float: ...
    @property
    def half_spread(self) -> float: ...
    @property
    def skew_per_unit(self) -> float: ...
    @property
    def delta_bid(self) -> float: ...
    @property
    def delta_ask(self) -> float: ...

def glft_closed_form(
    *,
    intensity_a: float,
    intensity_k: float,
    sigma: float,
    gamma: float,
    size: float,
    q: float = 0.0,
    xi: float = 0.0,
    fee: float = 0.0,
    impact: float = 0.0,
    drift: float = 0.0,
    age_s: float = 0.0,
) -> GlftQuotes:
    """Return the stationary closed-form quotes of a market maker holding ``q``.

    Args:
        intensity_a: fills per second at distance 0, one side.
        intensity_k: decay of the fill intensity, 1/P.
        sigma: volatility of the reference price, P/sqrt(s).
        gamma: risk aversion, 1/(P x base).
        size: quantity per quote, base.
        q: signed inventory, base.
        xi: 0 for a running penalty on inventory variance, ``gamma`` for exponential utility.
        fee: maker fee per base unit, P; negative is a rebate.
        impact: permanent adverse move of the reference price per own fill, P.
        drift: drift of the reference price, P/s.
        age_s: total age of the information behind a resting quote, s.

    Raises:
        ValueError: a parameter is out of range; the message names it.

    Source: Gueant, Lehalle and Fernandez-Tapia (2013), general form Gueant (2017), equations 4.6 and 4.7.
    """

def gamma_for_inventory_sd(
    *,
    sd_lots: float,
    intensity_a: float,
    intensity_k: float,
    sigma: float,
    size: float,
    fee: float = 0.0,
    impact: float = 0.0,
    age_s: float = 0.0,
) -> float:
    """Return the risk aversion under which inventory has the standard deviation ``sd_lots`` (multiples of
    ``size``).

    Raises:
        ValueError: a parameter is out of range; the message names it.
    """

def inventory_sd_lots(
    *,
    gamma: float,
    intensity_a: float,
    intensity_k: float,
    sigma: float,
    size: float,
    fee: float = 0.0,
    impact: float = 0.0,
    age_s: float = 0.0,
) -> float:
    """Return the standard deviation of inventory under ``gamma``, in multiples of ``size``.

    Raises:
        ValueError: a parameter is out of range; the message names it.
    """

@final
class TouchPrices:
    """Prices derived from the best level of each side.

    Attributes:
        mid: middle of best bid and best ask, P.
        imbalance: share of the bid in the quantity at the touch, 0..1.
        imbalance_signed: the same on -1..1.
        weighted_mid: mid weighted towards the side with less quantity, P.
        spread_bps: full spread over mid, basis points.
    """

    @property
    def mid(self) -> float: ...
    @property
    def imbalance(self) -> float: ...
    @property
    def imbalance_signed(self) -> float: ...
    @property
    def weighted_mid(self) -> float: ...
    @property
    def spread_bps(self) -> float: ...

def weighted_mid(*, bid: float, bid_qty: float, ask: float, ask_qty: float) -> TouchPrices:
    """Return mid, imbalance and weighted mid of a touch.

    Raises:
        ValueError: a price is not positive, a quantity negative or both quantities 0.
    """

def ewma_vol(*, t_s: Sequence[float], mid: Sequence[float], half_life_s: float) -> list[float]:
    """Return the volatility after each sample but the first, P/sqrt(s).

    A ratio of decayed sums of squared changes and of seconds.

    Raises:
        ValueError: lengths differ, times do not increase or the half-life is not positive.
    """

def as_quotes(*, s: float, q: float, gamma: float, sigma: float, k: float, tau: float) -> dict[str, float]:
    """Return ``reservation, spread, bid, ask, delta_bid, delta_ask`` with ``tau`` seconds left, all in P.

    Source: Avellaneda and Stoikov (2008), equations 3.17 and 3.18.
    """

def as_reservation(*, s: float, q: float, gamma: float, sigma: float, q_max: float) -> dict[str, float]:
    """Return ``omega, reservation_ask, reservation_bid`` without a horizon, ``abs(q) <= q_max``.

    Source: Avellaneda and Stoikov (2008), infinite-horizon section.
    """

def ofi(*, quotes: Sequence[Sequence[float]]) -> list[float]:
    """Return the order-flow imbalance of each change of the touch, base units; positive is demand.

    Args:
        quotes: rows of bid, bid quantity, ask, ask quantity.

    Source: Cont, Kukanov and Stoikov (2014), section 2.
    """

def vpin(*, signed_qty: Sequence[float], bucket: float, n_buckets: int) -> list[float]:
    """Return the one-sided share of the last ``n_buckets`` volume buckets, after each completed bucket.

    Source: Easley, Lopez de Prado and O'Hara (2012), with the aggressor's sign on each print.
    """

def hampel(
    *, x: Sequence[float], window: int, min_obs: int, threshold: float, floor: float
) -> dict[str, Any]:
    """Return ``score`` (robust z against the previous ``window`` values) and ``flag``, one of each per value.

    Source: Hampel (1974).
    """

def cusum(*, z: Sequence[float], drift: float, h: float) -> dict[str, Any]:
    """Return the sums ``up`` and ``down`` after each value and the ``alarms`` that reset them.

    An alarm is (index, 1 for up or -1 for down).

    Source: Page (1954).
    """

def lee_mykland(*, returns: Sequence[float], window: int, alpha: float) -> dict[str, Any]:
    """Return ``stat`` and ``flag`` of each return after the first ``window`` ones, and the ``critical`` value.

    Source: Lee and Mykland (2008), definition 1 and lemma 1.
    """

def vol_estimators(*, price: Sequence[float], dt_s: float, k_slow: int) -> dict[str, float]:
    """Return ``rv, bipower, tsrv, parkinson`` in P/sqrt(s) and ``noise_var`` in P^2 of one window of prices.

    Source: Barndorff-Nielsen and Shephard (2004); Zhang, Mykland and Ait-Sahalia (2005); Parkinson (1980).
    """

# Local cache ----------------------------------------------------------------------------------------------

@final
class CachedCalibration:
    """Calibrated parameters as stored; the units are those of :class:`mm_hybrid.types.Calibration`."""

    @property
    def ts_ns(self) -> int: ...
    @property
    def intensity_a(self) -> float: ...
    @property
    def intensity_k(self) -> float: ...
    @property
    def sigma(self) -> float: ...
    @property
    def orders_seen(self) -> int: ...
    @property
    def seconds_seen(self) -> float: ...

@final
class CachedSnapshot:
    """One second of one book as it was stored; ``None`` where the book had no value."""

    @property
    def second(self) -> int: ...
    @property
    def mid(self) -> float | None: ...
    @property
    def spread_bps(self) -> float | None: ...
    @property
    def imbalance(self) -> float | None: ...
    @property
    def depth_bid_quote(self) -> float | None: ...
    @property
    def depth_ask_quote(self) -> float | None: ...
    @property
    def volatility_1m_bps(self) -> float | None: ...

@final
class Cache:
    """Local SQLite cache of one-second book snapshots and calibrated parameters, so that a restart is warm.

    A thread of its own writes what a :class:`Feed` hands over; a slow or full disk never stops the feed. A
    corrupt file is set aside under another name, which ``warning`` then says. Nothing in it is needed for
    correctness: the order journal is another file.

    Args:
        path: the file, created if absent.
        max_age_hours: older seconds are deleted as new ones come.

    Raises:
        CacheError: the file cannot be created or belongs to a newer version.

    Example:
        >>> with Cache("cache.sqlite") as cache:
        ...     latest = cache.latest_snapshot("bybit", "BTCUSDT")
    """

    def __new__(cls, path: str | PathLike[str], *, max_age_hours: float = 24.0) -> Self: ...
    def put_calibration(
        self,
        exchange: str,
        symbol: str,
        *,
        intensity_a: float,
        intensity_k: float,
        sigma: float,
        orders_seen: int,
        seconds_seen: float,
        ts_ns: int | None = None,
    ) -> None:
        """Store parameters calibrated at ``ts_ns`` (now by default); return once they are written."""

    def get_calibration(
        self, exchange: str, symbol: str, max_age_ns: int, *, now_ns: int | None = None
    ) -> CachedCalibration | None:
        """Return the newest parameters of a symbol; ``None`` if all are older than ``max_age_ns``."""

    def latest_snapshot(self, exchange: str, symbol: str) -> CachedSnapshot | None:
        """Return the newest second of a symbol."""

    @property
    def errors(self) -> int:
        """Rows that could not be written."""

    @property
    def warning(self) -> str:
        """What happened last to the file, empty if nothing did."""

    def close(self) -> None:
        """Write what is waiting and close the file; a second call does nothing."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> None: ...
