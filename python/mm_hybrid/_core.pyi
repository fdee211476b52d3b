"""The Rust core: feeds, books, models, simulation. Pull only: nothing here calls back into Python."""

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self, final

import numpy as np
from numpy.typing import NDArray

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
    """Return the risk aversion, 1/(P x base), under which inventory has a wanted standard deviation.

    It is that of the quotes of :func:`glft_closed_form` with ``xi`` 0, whose other arguments these are.

    Args:
        sd_lots: wanted standard deviation of the inventory, multiples of ``size``, above 0.

    Source: stationary law of their chain of whole lots, p(q) = e^(-s q^2) / Z with s = sqrt(alpha/eta), by detailed
    balance; above one lot the usual (eta/alpha)^(1/4) / sqrt(2).

    Raises:
        ValueError: a parameter is out of range; the message names it.
    """

@final
class RiskAversion:
    """The risk aversion behind a wanted inventory, taken from the market at once and then followed slowly.

    It is taken anew when the parameters come from another source; in between it follows with a half-life, so that a
    burst of volatility widens quotes instead of being explained away. Arguments go by position: a quote is one call.

    Args:
        sd_lots: wanted standard deviation of the inventory, in orders.
        half_life_s: how slowly the market is followed, seconds.

    Raises:
        ValueError: a value is not above 0; the message names it.
    """

    def __new__(cls, *, sd_lots: float, half_life_s: float = 1800.0) -> Self: ...
    def follow(
        self,
        now_ns: int,
        source: str,
        intensity_a: float,
        intensity_k: float,
        sigma: float,
        size: float,
        fee: float,
        impact: float,
        age_s: float,
    ) -> float:
        """Return the risk aversion now, 1/(P x base); arguments as in :func:`glft_closed_form`.

        Raises:
            ValueError: a parameter is out of range; the message names it.
        """

    def closed_form(
        self,
        now_ns: int,
        source: str,
        intensity_a: float,
        intensity_k: float,
        sigma: float,
        size: float,
        fee: float,
        impact: float,
        age_s: float,
        drift: float,
    ) -> tuple[float, float, float]:
        """Return the closed form under the risk aversion of now: distances of bid and ask at no inventory, and skew.

        The distances are in P, the skew in P per base unit; :func:`glft_closed_form` gives the same for a given
        risk aversion.

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

    Inverts :func:`gamma_for_inventory_sd`; arguments as in :func:`glft_closed_form`.

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

    Args:
        bid: best bid, P, above 0.
        bid_qty: quantity there, base, at least 0.
        ask: best ask, P, above 0.
        ask_qty: quantity there, base, at least 0.

    Raises:
        ValueError: a price is not positive, a quantity negative or both quantities 0.
    """

def ewma_vol(*, t_s: Sequence[float], mid: Sequence[float], half_life_s: float) -> list[float]:
    """Return the volatility after each sample but the first, P/sqrt(s).

    A ratio of decayed sums of squared changes and of seconds.

    Args:
        t_s: times of the samples, s, rising.
        mid: reference price at each, P.
        half_life_s: seconds after which a change counts half, above 0.

    Raises:
        ValueError: lengths differ, times do not increase or the half-life is not positive.
    """

@final
class MarketMetrics:
    """Every metric of one symbol and its alarms, kept as events come; constant memory, constant time an event.

    Args:
        symbol: symbol as the feed writes it; ``None`` takes the first one seen.
        tick_size: price grid, P; ``None`` takes the grid of the first book.
        imbalance_levels: levels a side that the imbalance counts, 1 to 50.
        depth_band_bps: how far from mid the depth counts, bps, 1 to 9999.
        microprice: table of the microprice; without one the weighted mid stands in.
        volatility_window_s: seconds of the windowed volatilities.
        volatility_slow_s: stride of their slow scale, s.
        vpin_bucket: base units of a bucket; ``None`` takes a mean minute's volume of the first five.
        vpin_buckets: buckets of VPIN.
        false_alarms_per_hour: episodes an hour that may be false; thresholds follow from it.
        alarm_warm_up_s: seconds before the first alarm; thresholds need scores to rest on.

    Raises:
        ValueError: a value is out of range.
    """

    def __new__(
        cls,
        *,
        symbol: str | None = None,
        tick_size: float | None = None,
        imbalance_levels: int = 5,
        depth_band_bps: int = 1000,
        microprice: MicropriceTable | None = None,
        volatility_window_s: int = 300,
        volatility_slow_s: int = 5,
        vpin_bucket: float | None = None,
        vpin_buckets: int = 50,
        false_alarms_per_hour: float = 2.0,
        alarm_warm_up_s: float = 600.0,
    ) -> Self: ...
    def update(self, batch: EventBatch) -> None:
        """Take events in, in the order of their local time; events of other symbols are skipped."""

    def read(self) -> dict[str, Any]:
        """Return every figure as of the last event, ``None`` where it is not known; ``docs/metrics.md`` lists them."""

    def alarms(self) -> tuple[bool, list[str]]:
        """Return whether thresholds are known yet, and the kinds of alarm that are on."""

    def take_episodes(self) -> list[dict[str, Any]]:
        """Take the episodes of alarm that are over: kind, start_ns, end_ns, severity, score, threshold, mid, reason."""

@final
class MicropriceTable:
    """Adjustment of the mid by the touch's imbalance and spread: the microprice is the mid plus so many ticks.

    Args:
        ticks: float64 ``(spreads, imbalance_bins)``: one row a spread from one tick up (wider ones count as the
            last), one column a bin of the bid's share of the quantity at the touch, from none to all.

    Raises:
        ValueError: the table is empty or holds a value that is not finite.

    Source: Stoikov, "The micro-price" (2018).
    """

    def __new__(cls, ticks: NDArray[np.float64]) -> Self: ...
    @property
    def ticks(self) -> NDArray[np.float64]:
        """A copy of the table, to be kept and given to the constructor again."""

    def adjustment_ticks(self, bid_share: float, spread_ticks: int) -> float:
        """Return what is to be added to the mid, ticks."""

@final
class MicropriceFit:
    """Fits a :class:`MicropriceTable` to one symbol's recorded events.

    Args:
        symbol: symbol as the feed writes it.
        tick_size: price grid, P.
        imbalance_bins: bins of the bid's share; times ``spreads`` at most 200.
        spreads: spreads told apart, from one tick up.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> fit = MicropriceFit(symbol="BTCUSDT", tick_size=0.1)
        >>> reader = EventReader(["bybit-BTCUSDT.ndjson.zst"], symbol="BTCUSDT")
        >>> while len(batch := reader.read(2000)):
        ...     fit.update(batch)
        >>> metrics = MarketMetrics(symbol="BTCUSDT", microprice=fit.fit())
    """

    def __new__(
        cls, *, symbol: str, tick_size: float, imbalance_bins: int = 10, spreads: int = 4
    ) -> Self: ...
    def update(self, batch: EventBatch) -> None:
        """Take events in, in the order of their local time; events of other symbols are skipped."""

    @property
    def seen(self) -> int:
        """Changes of the book counted."""

    def fit(self) -> MicropriceTable:
        """Return the table of what was seen; states from which the mid never moved get no adjustment.

        Raises:
            ValueError: nothing was seen, or the chain of states has no limit.
        """

@final
class Estimators:
    """Streaming estimators of one symbol: fill intensity, volatility, returns, trade imbalance, spikes.

    Rules:
        * One observation of the intensity is one market order (prints of one side and exchange time merged);
          its depth is measured from the mid in force before it, and counts from one tick beyond the touch.
        * Time counts while the book is in step with the feed; a silence for at most ten seconds.
        * Volatility samples the mid once a second.
        * A spike is a move of the mid by more than six standard deviations of a second (and three ticks)
          since the last sample; the flag holds for five seconds.

    Args:
        symbol: symbol as the feed writes it; ``None`` takes the first one seen.
        tick_size: price grid, P; ``None`` takes the greatest common divisor of the first snapshot's prices.
        prior_intensity_a: A expected before anything is seen, 1/s and side.
        prior_depth_bps: 1/k expected, bps of mid; at least one tick is taken.
        prior_volatility_1m_bps: volatility expected, bps per square root of a minute.
        prior_orders: market orders the expectation of A and k is worth.
        half_life_s: half-life of market orders, seconds.
        sigma_half_life_s: half-life of volatility, seconds.

    Raises:
        ValueError: a value is out of range; the message names it.
    """

    def __new__(
        cls,
        *,
        symbol: str | None = None,
        tick_size: float | None = None,
        prior_intensity_a: float = 1.5,
        prior_depth_bps: float = 0.83,
        prior_volatility_1m_bps: float = 6.5,
        prior_orders: float = 50.0,
        half_life_s: float = 1800.0,
        sigma_half_life_s: float = 120.0,
    ) -> Self: ...
    def update(self, batch: EventBatch) -> None:
        """Take events in, in local time order; other symbols are skipped."""

    def read(self) -> dict[str, Any]:
        """Return the current reading.

        Keys: ``intensity_a`` (1/s), ``intensity_k`` (1/P), ``se_k``, ``se_log_a``, ``sigma`` (P/sqrt(s)),
        ``drift`` and ``se_drift`` (P/s; the error is infinite until the mid was sampled), ``timestamp_ns`` (all
        ``None`` before the first book); ``orders_seen``, ``seconds_seen``, ``calibrated``
        (observations outweigh the priors), ``spike``, ``spikes_seen``; ``return_10s_bps``, ``return_60s_bps``
        and ``trade_imbalance_60s`` (``None`` while too little was seen).
        """

@final
class Calibrator:
    """Calibration of one symbol from its recorded events.

    The estimators of :class:`Estimators` without a prior, and a trace of what they saw: the reach of every market
    order, mids by the second, the parameters over time.

    Args:
        symbol: symbol as the feed writes it; events of others are skipped.
        tick_size: price grid, P.
        half_life_s: half-life of market orders, seconds.
        sigma_half_life_s: half-life of volatility, seconds.

    Raises:
        ValueError: a value is out of range; the message names it.
    """

    def __new__(
        cls, *, symbol: str, tick_size: float, half_life_s: float = 1800.0, sigma_half_life_s: float = 120.0
    ) -> Self: ...
    def update(self, batch: EventBatch) -> None:
        """Take events in, in local time order."""

    def finish(self, horizons_s: Sequence[int] = ...) -> dict[str, Any] | None:
        """Return what the events so far say; ``None`` before the first readable book. Horizons: 1, 10, 60, 300 s.

        Keys:
            ``intensity_a`` (1/s and side), ``intensity_k`` (1/P), ``se_log_a``, ``se_k``, ``effective_orders`` (equally
            weighted ones the decayed are worth), ``sigma`` (P/sqrt(s)), ``drift``, ``se_drift`` (P/s);
            ``market_orders`` of any depth, ``orders`` beyond the touch, ``seconds`` of readable book, ``disconnects``,
            ``mid_price``, ``first_local_ts_ns``, ``last_local_ts_ns``;
            ``bins`` (``edges`` in P, ``counts``, ``side_seconds``) and ``fit`` over them (see :func:`fit_intensity`);
            ``range``: depths (P) over which the exponential passes a chi-square test, with ``intensity_a``,
            ``intensity_k``, their errors, ``orders``, ``chi_square``, ``degrees``, ``p_value``, ``misfit``; ``to`` is
            ``None`` where it never ends; the whole is ``None`` where none passes;
            ``volatility``: for each horizon ``realized``, ``se_realized``, ``ewma``, ``two_scales`` (P/sqrt(s);
            ``None`` where the data is too short) and the ``changes`` behind them;
            ``steadiness``: likelihood-ratio tests of A and k over equal parts (``pieces``, ``p_rate``, ``rate_ratio``,
            ``p_decay``, ``decay_ratio``), ``None`` with too few orders;
            ``marks``: parameters over time, one list a key.

        Raises:
            ValueError: a horizon is 0.
        """

@final
class UsualTouch:
    """What is usual for a touch: the UTC day's first mid, and best quantities of the last ten minutes.

    A quantity is noted every five seconds. Told moments in the order of their time.
    """

    def __new__(cls) -> Self: ...
    def observe(
        self, now_ns: int, mid: float, bid_qty: float, ask_qty: float
    ) -> tuple[float, float | None, float | None]:
        """Take note of a moment and return it in multiples of the usual, itself included.

        Returns:
            Mid over the first mid of the day, times 10 000; best bid and best ask quantity over their medians,
            ``None`` where a median is 0.
        """

def as_quotes(*, s: float, q: float, gamma: float, sigma: float, k: float, tau: float) -> dict[str, float]:
    """Return ``reservation, spread, bid, ask, delta_bid, delta_ask`` with ``tau`` seconds left, all in P.

    Args:
        s: reference price, P.
        q: signed inventory, units of one.
        gamma: risk aversion, 1/P per unit, above 0.
        sigma: volatility of the reference price, P/sqrt(s).
        k: decay of the fill intensity, 1/P, above 0.
        tau: time left, s, at least 0.

    Raises:
        ValueError: a parameter is out of range, or a price would not be finite; names the parameter.

    Source: Avellaneda and Stoikov (2008), equations 3.17 and 3.18.
    """

def as_reservation(*, s: float, q: float, gamma: float, sigma: float, q_max: float) -> dict[str, float]:
    """Return ``omega, reservation_ask, reservation_bid`` without a horizon.

    ``omega`` is the rate that bounds the inventory; the prices (P) leave the maker indifferent to one unit more sold
    or bought.

    Args:
        s: reference price, P.
        q: signed inventory, units of one, between ``-q_max`` and ``q_max``.
        gamma: risk aversion, 1/P per unit, above 0.
        sigma: volatility of the reference price, P/sqrt(s), above 0.
        q_max: largest inventory, units, above 0.

    Raises:
        ValueError: a parameter is out of range, or a price would not be finite, as at ``q_max`` itself; names it.

    Source: Avellaneda and Stoikov (2008), infinite-horizon section.
    """

def ofi(*, quotes: Sequence[Sequence[float]]) -> list[float]:
    """Return the order-flow imbalance of each change of the touch, base units; positive is demand.

    Args:
        quotes: rows of bid (P), bid quantity (base), ask, ask quantity.

    Raises:
        ValueError: a value is not finite.

    Source: Cont, Kukanov and Stoikov (2014), section 2.
    """

def vpin(*, signed_qty: Sequence[float], bucket: float, n_buckets: int) -> list[float]:
    """Return the one-sided share of the last ``n_buckets`` volume buckets, after each completed bucket.

    A share is between 0 and 1; there is none before ``n_buckets`` are complete.

    Args:
        signed_qty: quantity of each print, base, positive when the taker bought.
        bucket: volume of a bucket, base, above 0.
        n_buckets: buckets looked at, 1 to 1 000 000.

    Raises:
        ValueError: a parameter is out of range; the message names it.

    Source: Easley, Lopez de Prado and O'Hara (2012), with the aggressor's sign on each print.
    """

def hampel(
    *, x: Sequence[float], window: int, min_obs: int, threshold: float, floor: float
) -> dict[str, Any]:
    """Return ``score`` (robust z against the previous ``window`` values) and ``flag``, one of each per value.

    Args:
        x: the values, in any one unit.
        window: values looked back at, at least 1.
        min_obs: values needed for a score; before it is 0.
        threshold: score beyond which a value is flagged, standard deviations, above 0.
        floor: least standard deviation taken, unit of ``x``, above 0.

    Raises:
        ValueError: a parameter is out of range; the message names it.

    Source: Hampel (1974).
    """

def cusum(*, z: Sequence[float], drift: float, h: float) -> dict[str, Any]:
    """Return the sums ``up`` and ``down`` after each value and the ``alarms`` that reset them.

    An alarm is (index, 1 for up or -1 for down).

    Args:
        z: standardised values.
        drift: what a value may deviate without adding to a sum, standard deviations, at least 0.
        h: sum above which an alarm is given, standard deviations, above 0.

    Raises:
        ValueError: a parameter is out of range; the message names it.

    Source: Page (1954).
    """

def lee_mykland(*, returns: Sequence[float], window: int, alpha: float) -> dict[str, Any]:
    """Return ``stat`` and ``flag`` of each return after the first ``window``, and the ``critical`` value.

    Args:
        returns: changes of the price over equal times, in any one unit.
        window: returns before the tested one that its scale comes from, at least 3.
        alpha: probability that a series without a jump is flagged, between 0 and 1.

    Raises:
        ValueError: a parameter is out of range, or there are too few returns; the message names it.

    Source: Lee and Mykland (2008), definition 1 and lemma 1.
    """

def vol_estimators(*, price: Sequence[float], dt_s: float, k_slow: int) -> dict[str, float]:
    """Return ``rv, bipower, tsrv, parkinson`` in P/sqrt(s) and ``noise_var`` in P^2 of one window of prices.

    Args:
        price: equally spaced prices, P.
        dt_s: time between two of them, s, above 0.
        k_slow: stride of the slow scale of ``tsrv``, at least 2 and below the number of changes.

    Raises:
        ValueError: a parameter is out of range; the message names it.

    Source: Barndorff-Nielsen and Shephard (2004); Zhang, Mykland and Ait-Sahalia (2005); Parkinson (1980).
    """

def exact_quotes(
    *,
    intensity_a: float,
    intensity_k: float,
    sigma: float,
    gamma: float,
    size: float,
    max_lots: int,
    horizon_s: float | None = None,
    xi: float = 0.0,
    fee: float = 0.0,
    impact: float = 0.0,
    drift: float = 0.0,
    age_s: float = 0.0,
) -> dict[str, Any]:
    """Return the exact quotes of a maker that holds at most ``max_lots`` lots of ``size`` on either side.

    Arguments are those of :func:`glft_closed_form`; ``gamma`` may be 0.

    Args:
        max_lots: inventory cap in lots, 1 to 1000.
        horizon_s: seconds left, after which inventory is worth the reference price less what unwinding it moves;
            ``None`` for no horizon.

    Returns:
        ``alpha`` and ``eta`` (1/s), ``eigenvalue`` (1/s), ``best_rate`` (the best attainable certainty-equivalent
        rate without a horizon, quote currency per second; with ``xi`` 0 that of mean profit less
        gamma sigma^2 q^2 / 2), ``lots`` (-max_lots..max_lots), and by inventory ``delta_bid`` and ``delta_ask``
        (P; ``None`` where no more may be bought or sold).

    Raises:
        ValueError: a parameter is out of range; the message names it.

    Source: Gueant, Lehalle and Fernandez-Tapia (2013), sections 3 to 5; stationary by the ground eigenvector,
    finite horizon by uniformisation.
    """

def chain_rate(
    *,
    intensity_a: float,
    intensity_k: float,
    sigma: float,
    gamma: float,
    size: float,
    delta_bid: Sequence[float | None],
    delta_ask: Sequence[float | None],
    fee: float = 0.0,
    impact: float = 0.0,
) -> float:
    """Return the certainty-equivalent rate (quote currency per second) of quoting these distances (P) for ever.

    Index i of both sides is inventory ``i - max_lots`` lots; ``None`` is no quote. Exact for the birth-death chain
    of inventories; divide by ``exact_quotes(...)["best_rate"]`` for the share of the best that is attained.

    Raises:
        ValueError: a parameter is out of range or the lengths do not fit; the message names it.
    """

def seed_pnl_linear(
    *,
    intensity_a: float,
    intensity_k: float,
    size: float,
    p_loss: float,
    loss: float,
    hold_s: float,
    fee: float = 0.0,
    carry: float = 0.0,
    delta: float | None = None,
) -> dict[str, float]:
    """Return the expected profit of quoting both sides at ``delta``, or at the best width.

    Expected profit = spread x trade frequency - loss rate x loss amount x losses - inventory cost x holding time,
    per second: ``size (N (delta - fee) - N p_loss loss - N/2 carry hold_s)``, ``N = 2 A e^(-k delta)``.

    Args:
        intensity_a: fills per second at distance 0, one side.
        intensity_k: decay of the fill intensity, 1/P.
        size: quantity per quote, base.
        p_loss: probability that a fill is adverse, 0..1.
        loss: mean adverse move after an adverse fill, P, at least 0.
        hold_s: mean holding time of a round trip, s.
        fee: maker fee per base unit, P; negative is a rebate.
        carry: cost of carrying one base unit for one second, P/s.
        delta: distance, P; ``None`` for the best one, margin cost + 1/k.

    Returns:
        ``delta`` and ``margin_cost`` (P), ``fills_per_s`` (both sides), ``p_loss``, ``hold_s``, ``pnl_per_s`` (quote
        currency per second).

    Raises:
        ValueError: a parameter is out of range, or moves the best width to 0 or below; the message names it.
    """

def seed_pnl_toxic(
    *,
    intensity_a: float,
    intensity_k: float,
    size: float,
    p0: float,
    p1: float,
    kappa: float,
    loss: float,
    hold_s: float,
    fee: float = 0.0,
    carry: float = 0.0,
    delta: float | None = None,
) -> dict[str, float]:
    """Return what :func:`seed_pnl_linear` does where narrow quotes draw adverse fills.

    The probability is ``p0 + p1 e^(-kappa delta)``, ``p1`` cut to ``1 - p0``; ``kappa`` in 1/P. The best width is
    ``m + 1/k + W(kappa B e^(-kappa (m + 1/k))) / kappa`` with ``B = loss p1 (k + kappa) / k``, W Lambert's.

    Raises:
        ValueError: a parameter is out of range, or moves the best width to 0 or below; the message names it.
    """

def seed_pnl_renewal(
    *,
    intensity_a: float,
    intensity_k: float,
    size: float,
    adverse: float,
    timeout_s: float,
    taker_cost: float,
    fee: float = 0.0,
    carry: float = 0.0,
    delta: float | None = None,
) -> dict[str, float]:
    """Return the expected profit where an entry waits for the opposite fill, at most ``timeout_s``.

    Args:
        intensity_a: fills per second at distance 0, one side.
        intensity_k: decay of the fill intensity, 1/P.
        size: quantity per quote, base.
        adverse: adverse cost of an entry, P.
        timeout_s: longest wait, s; after it the position is closed as taker.
        taker_cost: cost of that, P per base unit.
        fee: maker fee per base unit, P.
        carry: cost of carrying one base unit for one second, P/s.
        delta: distance, P; ``None`` for the best one, found numerically.

    Returns:
        ``delta`` (P), ``fills_per_s`` (one side), ``p_timeout``, ``hold_s`` (mean wait), ``pnl_per_s``.

    Raises:
        ValueError: a parameter is out of range, or no width earns anything; the message names it.
    """

def fit_intensity(
    *, edges: Sequence[float], counts: Sequence[float], seconds: float
) -> dict[str, dict[str, float] | None]:
    """Return A (1/s) and k (1/P) of binned reaches of market orders by three methods.

    Args:
        edges: bounds of the bins, P, rising; the last may be infinite.
        counts: market orders that reached into each bin.
        seconds: time observed.

    Returns:
        ``mle`` (Poisson likelihood, with ``se_log_a`` and ``se_k``), and for comparison ``ols`` and ``wls``
        (regressions of the logarithm of the rate beyond each left edge), each with ``intensity_a`` and ``intensity_k``.

    Raises:
        ValueError: the bins do not fit together, or no decay fits the counts.
    """

def microprice_markov(
    *,
    stay: Sequence[Sequence[float]],
    jump: Sequence[Sequence[float]],
    moves: Sequence[float],
    land: Sequence[Sequence[float]],
) -> dict[str, Any]:
    """Return the adjustment to the mid of each state of a book.

    Args:
        stay: probabilities of the next state without a change of the mid, n x n.
        jump: probabilities of the changes of the mid, n x m; a row sums to 1 with that of ``stay``.
        moves: the changes, m, P.
        land: probabilities of the state a change leads to, n x n.

    Returns:
        ``g1`` (first change), ``b`` (where it leads), ``g6`` (six changes), ``limit`` (all of them), P.

    Raises:
        ValueError: shapes or rows do not fit, or the counts were not symmetrised and the sum has no limit.

    Source: Stoikov (2018), section 3.
    """

@final
class RegimeDetector:
    """Names the kind of market: ``calm``, ``trending``, ``volatile`` or ``thin``.

    Each measurement is compared with its own slow level; a regime is left lower than it was entered.

    Args:
        volatile_ratio: volatility over its slow level that is volatile; a spike is too.
        thin_ratio: spread over its slow level, or slow depth over depth, that is thin.
        trend_sigmas: standard deviations of a minute within the last minute's move that is trending.
        slow_half_life_s: half-life of the slow levels, s.

    Raises:
        ValueError: a threshold is out of range; the message names it.
    """

    def __new__(
        cls,
        *,
        volatile_ratio: float = 2.0,
        thin_ratio: float = 3.0,
        trend_sigmas: float = 2.5,
        slow_half_life_s: float = 1800.0,
    ) -> Self: ...
    def observe(
        self,
        now_ns: int,
        *,
        sigma: float,
        spread_bps: float,
        depth: float,
        move_sigmas: float | None = None,
        spike: bool = False,
    ) -> dict[str, Any]:
        """Take a moment in; return ``regime``, its evidence ``sigma_ratio, spread_ratio, depth_ratio`` (1 is usual)
        and ``move_sigmas``, and ``since_s``."""

@final
class AdverseMove:
    """How far the mid moves against own fills within ``horizon_s``: a decayed mean with its standard error, P.

    Raises:
        ValueError: an argument is out of range; the message names it.
    """

    def __new__(cls, *, horizon_s: float = 5.0, half_life_fills: float = 200.0) -> Self: ...
    def fill(self, now_ns: int, side: Literal["buy", "sell"], mid: float) -> None:
        """Take an own fill at the mid then in force."""

    def mark(self, now_ns: int, mid: float) -> None:
        """Take the mid now in force; fills whose horizon has passed are judged by it."""

    def estimate(self) -> dict[str, float] | None:
        """Return ``mean`` and ``se`` (P), ``fills`` and ``toxic_share``; ``None`` before the second judged fill."""

# Events and books --------------------------------------------------------------------------------------

@final
class Trade:
    """A print; ``price_text`` and ``qty_text`` are exact, ``side`` is the taker's."""

    @property
    def exchange(self) -> str: ...
    @property
    def symbol(self) -> str: ...
    @property
    def id(self) -> str | None: ...
    @property
    def price(self) -> float: ...
    @property
    def qty(self) -> float: ...
    @property
    def price_text(self) -> str: ...
    @property
    def qty_text(self) -> str: ...
    @property
    def side(self) -> Literal["buy", "sell"] | None: ...
    @property
    def exchange_ts_ns(self) -> int: ...
    @property
    def local_ts_ns(self) -> int: ...

@final
class BookTicker:
    """Best bid and ask from the exchange's own feed of them; ``None`` is what it left out."""

    @property
    def exchange(self) -> str: ...
    @property
    def symbol(self) -> str: ...
    @property
    def bid_price(self) -> float | None: ...
    @property
    def bid_qty(self) -> float | None: ...
    @property
    def ask_price(self) -> float | None: ...
    @property
    def ask_qty(self) -> float | None: ...
    @property
    def exchange_ts_ns(self) -> int: ...
    @property
    def local_ts_ns(self) -> int: ...

@final
class DerivativeTicker:
    """State of a derivative in the exchange's units; rates are fractions, ``None`` is what it left out."""

    @property
    def exchange(self) -> str: ...
    @property
    def symbol(self) -> str: ...
    @property
    def last_price(self) -> float | None: ...
    @property
    def open_interest(self) -> float | None: ...
    @property
    def funding_rate(self) -> float | None: ...
    @property
    def funding_ts_ns(self) -> int | None: ...
    @property
    def predicted_funding_rate(self) -> float | None: ...
    @property
    def index_price(self) -> float | None: ...
    @property
    def mark_price(self) -> float | None: ...
    @property
    def exchange_ts_ns(self) -> int: ...
    @property
    def local_ts_ns(self) -> int: ...

@final
class BookSample:
    """The best levels of a book as the Tardis machine samples them.

    ``name`` is the data type asked for, ``bids`` and ``asks`` are read-only float64 arrays of shape (n, 2), best
    first, n at most ``depth``. ``interval_ms`` 0 means a sample at every change.
    """

    @property
    def exchange(self) -> str: ...
    @property
    def symbol(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def depth(self) -> int: ...
    @property
    def interval_ms(self) -> int: ...
    @property
    def bids(self) -> NDArray[np.float64]: ...
    @property
    def asks(self) -> NDArray[np.float64]: ...
    @property
    def exchange_ts_ns(self) -> int: ...
    @property
    def local_ts_ns(self) -> int: ...

@final
class EventBatch:
    """An immutable batch of events in the order of their local time."""

    @staticmethod
    def decode(lines: Sequence[bytes]) -> EventBatch:
        """Decode Tardis-normalised JSON messages; types the core does not use are skipped.

        Raises:
            DecodeError: names the index of the message and the reason.
        """

    def __len__(self) -> int: ...
    def encode(self) -> list[tuple[int, str, str, str, bytes]]:
        """Return ``(local_ts_ns, exchange, symbol, type, message)``, the message as Tardis writes it."""

    @property
    def last_local_ts_ns(self) -> int:
        """Local time of the last event; 0 in an empty batch."""

    def trades(self) -> list[Trade]:
        """Return the trades in the batch."""

    def liquidations(self) -> list[Trade]:
        """Return the forced prints in the batch; ``buy`` closed a short, ``sell`` a long."""

    def book_tickers(self) -> list[BookTicker]:
        """Return the exchange's own best bids and asks in the batch."""

    def derivative_tickers(self) -> list[DerivativeTicker]:
        """Return the derivative tickers in the batch."""

    def book_samples(self) -> list[BookSample]:
        """Return the sampled books (``book_snapshot_*`` and ``quote``) in the batch."""

@final
class AggregatedOrderBook:
    """One consistent copy of a book: levels, metrics, and whether it may be trusted.

    ``bids`` and ``asks`` are read-only float64 arrays of shape (depth, 2), price in quote and quantity, best
    first. ``state`` is ``UNSYNCED``, ``LIVE``, ``STALE`` or ``CROSSED``, and ``reason`` says why it is not
    ``LIVE``. ``CROSSED`` after three changes in a row that crossed it, until the next snapshot. Quantities are
    rounded where one grid of lots does not hold the largest and the finest. What needs both sides is ``None``
    while one has no level.
    """

    @property
    def exchange(self) -> str: ...
    @property
    def symbol(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def timestamp(self) -> int:
        """Local time of the last book change, ns since the epoch; 0 before the first."""

    @property
    def exchange_ts_ns(self) -> int: ...
    @property
    def age_ns(self) -> int:
        """Time since the last book change; 0 before the first."""

    @property
    def bids(self) -> NDArray[np.float64]: ...
    @property
    def asks(self) -> NDArray[np.float64]: ...
    @property
    def best_bid(self) -> float | None: ...
    @property
    def best_bid_qty(self) -> float | None: ...
    @property
    def best_ask(self) -> float | None: ...
    @property
    def best_ask_qty(self) -> float | None: ...
    @property
    def mid_price(self) -> float | None: ...
    @property
    def spread_bps(self) -> float | None:
        """Full spread over mid."""

    @property
    def microprice(self) -> float | None: ...
    @property
    def imbalance(self) -> float | None:
        """Signed imbalance of the best 5 levels, -1..1."""

    @property
    def depth_10pct(self) -> dict[str, float]:
        """``bid_base, ask_base, bid_quote, ask_quote`` within 10 % of mid, and ``covered_pct``."""

    @property
    def volatility_1m(self) -> float | None:
        """Bps per minute; ``None`` while too little has been seen."""

    @property
    def messages(self) -> int: ...
    @property
    def book_changes(self) -> int: ...
    @property
    def trades(self) -> int: ...
    @property
    def crossed_levels_pruned(self) -> int: ...
    @property
    def levels(self) -> tuple[int, int]:
        """Levels of the whole book: bids, asks."""

@final
class Books:
    """Books of many symbols, fed by batches of events."""

    def __new__(cls) -> Self: ...
    def apply(self, batch: EventBatch) -> None:
        """Apply every event of a batch to the book it concerns."""

    def snapshot(self, exchange: str, symbol: str, depth: int | None = ...) -> AggregatedOrderBook | None:
        """Return a copy of one book, its best ``depth`` levels (50; ``None``: all); ``None`` if never seen."""

    def snapshot_into(
        self, exchange: str, symbol: str, out: NDArray[np.float64]
    ) -> tuple[str, int, int] | None:
        """Copy the best levels into ``out``; allocates no array. ``None`` for a symbol never seen.

        Args:
            exchange: Tardis exchange id.
            symbol: symbol in the exchange's spelling.
            out: float64 ``(2, depth, 2)``, C-contiguous: bids, then asks; price in quote, qty in base; best first;
                NaN where there is no level.

        Returns:
            State, local time of the last book change (ns, 0 before the first), age at the last event (ns).

        Raises:
            ValueError: ``out`` is no such array.
        """

    def snapshot_message(self, exchange: str, symbol: str, local_ts_ns: int) -> bytes | None:
        """Return the whole book as a Tardis snapshot message; ``None`` while it waits for one itself."""

    def symbols(self) -> list[tuple[str, str]]:
        """Return every ``(exchange, symbol)`` seen, sorted."""

# Live feed ---------------------------------------------------------------------------------------------

@final
class Feed:
    """A live stream of one exchange, from a Tardis machine or the exchange itself, on a thread of its own.

    A Tardis machine is always asked for ``disconnect`` messages, without which a book survives an outage
    unnoticed. An exchange's own stream is numbered: a message that is missing, a wrong checksum and a change that
    crosses the book cost the book, which is asked for again and ``LIVE`` with its next snapshot. Lost connections
    come back with jittered exponential backoff that only a message resets. Safe to read from any thread, and not
    after a fork.

    Args:
        url: WebSocket address of the source, ``ws://host:port``, without a path.
        exchange: Tardis exchange id, such as ``bybit``.
        symbols: symbols in the exchange's spelling.
        data_types: Tardis data types.
        source: ``tardis``; or the exchange's own stream: ``bybit`` (v5), ``bitget`` (v3), ``bitget-v2``. These have
            ``book_change`` and ``trade``, and of futures ``derivative_ticker`` and (Bybit) ``liquidation``.
        book_depth: levels a side to ask Bybit for: 1, 50, 200 or 1000.
        stale_after_ms: a book without a change for longer is ``STALE``.
        resync_after_ms: a book without a snapshot, or a peer without an answer, for longer makes it
            reconnect.
        reconnect_min_ms: shortest wait before a reconnect; ten times that after a refusal.
        reconnect_max_ms: longest wait before a reconnect.
        queue_events: bound of the event queue for :meth:`drain`, at least the number of symbols and two; 0 keeps
            none. The book levels in it are bounded too, to 32 for each event and at least 100,000.
        end_on_finish: a regular close after data ends the feed instead of reconnecting.
        replay_from: ask a Tardis machine for history from here, a whole minute, in place of the live stream: ISO 8601
            in UTC or integer ns. As fast as it comes, over one connection and once: it ends the feed, ``finished``;
            one that is empty, breaks off or stands still ends it with its reason in ``failure`` of :meth:`stats`.
            Its books are never ``STALE``, and its recording waits for a slow disk.
        replay_to: end of the history, a whole minute that is not part of it.
        replay_idle_s: a replay without a message for longer has failed; a machine whose own source is throttled is
            silent for minutes.
        cache: where one row a second and symbol goes; not of a replay.
        record_folder: where every message goes as it comes, with its arrival time; zstd, one frame a second. What
            an exchange sends itself is recorded in the normalised form.
        record_rotate_mb: size at which a new file begins, compressed.
        record_rotate_minutes: time after which a new file begins.

    Raises:
        ValueError: an argument that cannot work, by name.
    """

    def __new__(
        cls,
        url: str,
        *,
        exchange: str,
        symbols: Sequence[str],
        data_types: Sequence[str] | None = None,
        source: str = "tardis",
        book_depth: int = 200,
        stale_after_ms: int = 3000,
        resync_after_ms: int = 10_000,
        reconnect_min_ms: int = 100,
        reconnect_max_ms: int = 32_000,
        queue_events: int = 0,
        end_on_finish: bool = False,
        replay_from: int | str | None = None,
        replay_to: int | str | None = None,
        replay_idle_s: int = 600,
        cache: Cache | None = None,
        record_folder: PathLike[str] | None = None,
        record_rotate_mb: int = 256,
        record_rotate_minutes: int = 60,
    ) -> Self: ...
    def start(self) -> None:
        """Start connecting in the background; does nothing on a feed that runs.

        Raises:
            FeedError: it was closed, or the system gives no thread.
        """

    def close(self) -> None:
        """End the feed and wait for its thread; a second call does nothing. Books and queue stay readable."""

    def fileno(self) -> int:
        """Return a descriptor that is readable after news; belongs to the feed."""

    def clear(self) -> None:
        """Make the descriptor unreadable until the next news. Look at the news after this call."""

    def lead(self) -> bool:
        """Have this thread read the sockets in place of the feed's own: one wake-up less from the wire to the reader.

        Wait until :meth:`sockets_fileno` is readable, then call :meth:`turn`. Only a stream that runs smoothly can be
        led: every connection open, every book there, neither a recording nor a replay, not too much to read. The
        feed's thread takes over when there is more to do than a few messages, when a connection is lost, and when
        a message has lain for 2 ms, or for 8 as the first in a while. For one thread: what its turns read does not make
        :meth:`fileno` readable. Costs no system call.

        Returns:
            Whether this thread is to read; ask again before every wait.
        """

    def turn(self) -> tuple[bool, bool]:
        """Read, decode and apply what has arrived, if this thread leads; never waits.

        Returns:
            Whether there is news, which is cleared as by :meth:`clear`; whether this thread still leads.
        """

    def sockets_fileno(self) -> int:
        """Return a descriptor that is readable while a socket has something to read; -1 elsewhere than on Linux.

        Belongs to the feed, and is for the one who leads.
        """

    def snapshot(self, symbol: str | None = None, depth: int = 50) -> AggregatedOrderBook:
        """Return a copy of the best ``depth`` levels a side, state and age judged now.

        Args:
            symbol: in letters of any case; may be left out when only one is subscribed.
            depth: levels a side.

        Raises:
            ValueError: the symbol is not subscribed, or left out while several are.
            FeedError: used in a forked child.
        """

    def snapshot_into(self, out: NDArray[np.float64], symbol: str | None = None) -> tuple[str, int, int]:
        """Copy the best levels into ``out`` and return what is needed to judge them; allocates no array.

        Args:
            out: float64 ``(2, depth, 2)``, C-contiguous: bids, then asks; price in quote, qty in base; best first;
                NaN where there is no level.
            symbol: in letters of any case; may be left out when only one is subscribed.

        Returns:
            State judged now, local time of the last book change (ns, 0 before the first), age (ns).

        Raises:
            ValueError: ``out`` is no such array, or the symbol is not subscribed.
        """

    def watch(self, patience_us: int) -> bool:
        """Watch for news for at most ``patience_us`` microseconds without sleeping.

        Reads the sockets itself where :meth:`lead` allows it. No wake-up at all, at the price of a busy processor;
        the interpreter's lock is released. For one watcher at a time.

        Returns:
            Whether there was news; it is cleared as by :meth:`clear`.
        """

    def drain(self, max_events: int = 0) -> EventBatch:
        """Take the oldest queued events, at most ``max_events`` of them (0: all); what stays is news again.

        A lost connection shows as a ``disconnect``. After an overflow, counted in ``dropped_events``, a
        ``disconnect`` and a snapshot of each book come first, so that no gap is invisible.
        """

    def stats(self) -> dict[str, int | float | str | bool]:
        """Return counters (``messages``, ``reconnects``, ``decode_errors`` …), flags and ``last_error``.

        ``last_lag_ns`` is this machine's clock when the last message came, less its ``localTimestamp`` (ns, 0
        before the first): large where the machine sends a slow reader old data, negative where clocks differ that
        way. No book is judged by it. ``late_spells`` counts how often it began to exceed ``stale_after_ms``, which
        ``last_error`` then says; a day or more is taken for a recording being played. ``merged_news`` counts news
        that became one with earlier news because nobody had looked yet. ``led`` says whether a reader reads the
        sockets (:meth:`lead`).
        """

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> None: ...

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
    @property
    def se_log_a(self) -> float | None: ...
    @property
    def se_k(self) -> float | None: ...

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
    """Local SQLite cache of book snapshots, episodes of alarm and calibrated parameters, so that a restart is warm.

    A thread of its own writes what a :class:`Feed` hands over; a slow or full disk never stops the feed. A
    corrupt file is set aside under another name, which ``warning`` then says. Nothing in it is needed for
    correctness: the order journal is another file.

    Args:
        path: the file, created if absent.
        max_age_hours: older seconds and episodes are deleted as new ones come.
        max_mb: largest size of the file; the oldest rows go when it is nearly reached.

    Raises:
        CacheError: the file cannot be created or belongs to a newer version.

    Example:
        >>> with Cache("cache.sqlite") as cache:
        ...     latest = cache.latest_snapshot("bybit", "BTCUSDT")
    """

    def __new__(
        cls, path: str | PathLike[str], *, max_age_hours: float = 24.0, max_mb: int = 256
    ) -> Self: ...
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
        se_log_a: float | None = None,
        se_k: float | None = None,
        ts_ns: int | None = None,
        wait: bool = True,
    ) -> None:
        """Store parameters calibrated at ``ts_ns`` (now by default).

        Args:
            exchange: Tardis exchange id.
            symbol: symbol as the exchange writes it.
            intensity_a: fills per second at distance 0, one side.
            intensity_k: decay of the fill intensity, 1/P.
            sigma: volatility, P/sqrt(s).
            orders_seen: market orders behind the intensities.
            seconds_seen: seconds of live feed behind them.
            se_log_a: standard error of the logarithm of ``intensity_a``.
            se_k: standard error of ``intensity_k``, 1/P.
            ts_ns: when they were calibrated, ns since the epoch.
            wait: return once they are written; else hand them over and never wait for the disk.

        Raises:
            ValueError: a value is not finite.
            CacheError: they could not be written.
        """

    def get_calibration(
        self, exchange: str, symbol: str, max_age_ns: int, *, now_ns: int | None = None
    ) -> CachedCalibration | None:
        """Return the newest parameters of a symbol; ``None`` if all are older than ``max_age_ns`` or of the future."""

    def record_spike(self, exchange: str, symbol: str, episode: dict[str, Any]) -> None:
        """Hand over an episode of :meth:`MarketMetrics.take_episodes`; never waits for the disk."""

    def spikes(self, exchange: str, symbol: str, from_ns: int = 0) -> list[dict[str, Any]]:
        """Return the episodes of a symbol that began at ``from_ns`` or later, oldest first."""

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

@final
class EventReader:
    """Recorded files as one stream of event batches in local-time order, in bounded memory.

    Reads Tardis NDJSON and CSV datasets, plain, gzip or zstd, recordings, and tables of the fast local format. At
    equal times the file named first comes first.

    Args:
        paths: the files; a folder stands for the data files in it.
        exchange: only events of this Tardis exchange id.
        symbol: only events of this symbol.
        keep_text: keep messages as they stand in the file, for an :class:`Outbox` to pass on.

    Raises:
        FileNotFoundError: a file is missing.
        ReplayError: a file cannot be read.
        DecodeError: a file begins with something that is neither layout; names ``path:line``.
    """

    def __new__(
        cls,
        paths: Sequence[str],
        *,
        exchange: str | None = None,
        symbol: str | None = None,
        keep_text: bool = False,
    ) -> EventReader: ...
    def read(self, max_events: int = 1000, until_ns: int | None = None) -> EventBatch:
        """Return the next events, at most ``max_events`` and none later than ``until_ns``.

        The batch is empty when there is none; at the end :attr:`next_local_ts_ns` is ``None``.

        Raises:
            DecodeError: a line that cannot be read or understood; names ``path:line``.
        """

    @property
    def next_local_ts_ns(self) -> int | None:
        """Local time of the next message; ``None`` at the end."""

    def progress(self) -> tuple[int, int]:
        """Return bytes read, compressed as they are, and bytes of all files."""

@final
class MarketScan:
    """One symbol of a set of files, and the grid its numbers lie on.

    Attributes:
        messages: book changes and trades together.
        first_local_ts_ns: local time of the first message.
        last_local_ts_ns: local time of the last message.
        tick_size: greatest step of which every price is a multiple, exact decimal text.
        lot_size: the same of the quantities.
    """

    @property
    def exchange(self) -> str: ...
    @property
    def symbol(self) -> str: ...
    @property
    def messages(self) -> int: ...
    @property
    def book_changes(self) -> int: ...
    @property
    def trades(self) -> int: ...
    @property
    def first_local_ts_ns(self) -> int: ...
    @property
    def last_local_ts_ns(self) -> int: ...
    @property
    def tick_size(self) -> str: ...
    @property
    def lot_size(self) -> str: ...

def scan_files(
    paths: Sequence[str], *, on_progress: Callable[[int, int, int], object] | None = None
) -> list[MarketScan]:
    """Read files to their end and describe each symbol, the one with most messages first.

    Args:
        paths: Tardis files or tables of the fast local format; a folder stands for the data files in it.
        on_progress: called about ten times a second with bytes read, bytes of all files, and lines read.

    Raises:
        FileNotFoundError: a file is missing.
        DecodeError: a line that cannot be read or understood; names ``path:line``.
    """

def rebuild_books(
    paths: Sequence[str],
    *,
    until_ns: int | None = None,
    on_progress: Callable[[int, int, int], object] | None = None,
) -> tuple[int, int, Books]:
    """Run files through books up to a local time, inclusive.

    Args:
        paths: Tardis files or tables of the fast local format; a folder stands for the data files in it.
        until_ns: local time of the last message taken; ``None`` for all. Messages need not stand in the order of their
            times: those up to five seconds after later ones are found.
        on_progress: called about ten times a second with bytes read, bytes of all files, and lines read.

    Returns:
        Lines or rows taken, of all symbols and types; the latest local time among them; the books.

    Raises:
        FileNotFoundError: a file is missing.
        DecodeError: a line that cannot be read or understood; names ``path:line``.
    """

def convert_files(
    paths: Sequence[str],
    folder: str,
    *,
    overwrite: bool = False,
    on_progress: Callable[[int, int, int], object] | None = None,
) -> tuple[list[Path], int, int, list[str]]:
    """Convert files to tables of the fast local format (Arrow IPC), one a market and UTC day.

    A file that cannot be used, be it from some line on, is refused whole and the others are converted without it.
    The tables get their names, and replace others, when everything was read; an exception leaves none behind.

    Args:
        paths: Tardis files; a folder stands for the data files in it.
        folder: where the tables go; made if need be.
        overwrite: replace tables that are there already.
        on_progress: called about ten times a second with bytes read, bytes of all files, and lines read.

    Returns:
        The tables, lines or rows read, messages written, and what is wrong with each file that was refused.

    Raises:
        DecodeError: a folder holds nothing but files of other kinds.
        ReplayError: a folder holds no data file; a table cannot be written, or is there already.
    """

@final
class ConsolidatedOrderBook:
    """The books of several venues laid over each other; only ``LIVE`` ones take part.

    ``bids`` and ``asks`` are read-only float64 arrays of shape (n, 2), price and quantity of all venues, best first;
    ``bids_by_venue`` and ``asks_by_venue`` have the same rows and one column a venue, in the order of ``venues``.
    ``excluded`` holds exchange, symbol, state and reason of the books left out. Venues may cross each other.
    """

    @property
    def venues(self) -> list[tuple[str, str]]: ...
    @property
    def excluded(self) -> list[tuple[str, str, str, str]]: ...
    @property
    def bids(self) -> NDArray[np.float64]: ...
    @property
    def asks(self) -> NDArray[np.float64]: ...
    @property
    def bids_by_venue(self) -> NDArray[np.float64]: ...
    @property
    def asks_by_venue(self) -> NDArray[np.float64]: ...
    @property
    def best_bid(self) -> float | None: ...
    @property
    def best_ask(self) -> float | None: ...
    @property
    def is_crossed(self) -> bool: ...
    @property
    def oldest_ts_ns(self) -> int: ...

def consolidate(books: Sequence[AggregatedOrderBook], depth: int = 50) -> ConsolidatedOrderBook:
    """Lay books of one market at several venues over each other, the best ``depth`` prices a side.

    Quantities are added as they are: the venues must count in the same unit.
    """

@final
class Outbox:
    """What a tardis-machine sends for one request: which events pass, the sampled books it computes, the bytes of both.

    Args:
        options: exchange, symbols (``None`` for all), data types, whether disconnects and whether errors pass, first
            local time and end of the range (ns), of each option.
        live: a live stream names the symbols of a disconnect, a replay does not.
    """

    def __new__(
        cls,
        options: Sequence[tuple[str, Sequence[str] | None, Sequence[str], bool, bool, int, int]],
        *,
        live: bool,
    ) -> Self: ...
    def frames(self, batch: EventBatch) -> bytes:
        """Return the messages sent because of these events as WebSocket text frames, unmasked."""

    def lines(self, batch: EventBatch) -> bytes:
        """Return the same as lines."""

    @property
    def messages(self) -> int:
        """Messages sent so far."""

# Synthetic markets and matching

@final
class SyntheticMarket:
    """A seeded market of known truth: Brownian reference price, Poisson market orders of exponential reach.

    Equal arguments give equal events. The reference price moves on the grid of book changes, so that the book
    always shows the price orders measure their reach from. A swept level is full again for the next order.

    Args:
        exchange: Tardis id put into the events.
        symbol: symbol put into the events.
        seed: chooses the market.
        start_ns: exchange time of the first event, a book snapshot.
        s0: reference price at the start, P (quote currency per base).
        tick_size: price grid.
        lot_size: quantity grid.
        sigma: volatility of the reference price, P per sqrt(second).
        intensity_a: market orders per second and side.
        intensity_k: decay of their reach, 1/P.
        book_interval_ms: time between two book changes.
        latency_median_ms: median of the lognormal feed latency; 0 for none.
        latency_p99_ms: its 99 % quantile.
        levels: displayed levels per side.
        level_qty: mean quantity of a level, base units.

    Raises:
        ValueError: a parameter makes no market; names it.

    Source: Avellaneda and Stoikov (2008), section 2.5, for the intensity.
    """

    def __new__(
        cls,
        *,
        exchange: str,
        symbol: str,
        seed: int,
        start_ns: int,
        s0: float = 60_000.0,
        tick_size: str = "0.1",
        lot_size: str = "0.001",
        sigma: float = 5.0,
        intensity_a: float = 1.5,
        intensity_k: float = 0.2,
        book_interval_ms: float = 50.0,
        latency_median_ms: float = 10.0,
        latency_p99_ms: float = 100.0,
        levels: int = 400,
        level_qty: float = 0.05,
    ) -> SyntheticMarket: ...
    @property
    def tick_size(self) -> str: ...
    @property
    def lot_size(self) -> str: ...
    @property
    def next_local_ts_ns(self) -> int:
        """Local time of the next event."""

    def advance(self, to_ns: int) -> EventBatch:
        """Return all further events with local time up to and including ``to_ns``."""

@final
class Execution:
    """One fill of one own order.

    Attributes:
        order_id: the caller's id.
        side: ``buy`` or ``sell``.
        price: decimal text; the order's own price as maker, the level's as taker.
        qty: decimal text.
        is_maker: whether the order rested.
        print_id: the feed's id of the print that filled a maker.
        print_price: price of that print; ``None`` for a taker.
        exchange_ts_ns: exchange time of the print; for a taker the time of the request.
        local_ts_ns: local time of the print; for a taker the time of the request.
    """

    @property
    def order_id(self) -> str: ...
    @property
    def side(self) -> str: ...
    @property
    def price(self) -> str: ...
    @property
    def qty(self) -> str: ...
    @property
    def is_maker(self) -> bool: ...
    @property
    def print_id(self) -> str | None: ...
    @property
    def print_price(self) -> str | None: ...
    @property
    def exchange_ts_ns(self) -> int: ...
    @property
    def local_ts_ns(self) -> int: ...

@final
class SimExchange:
    """Matching of own orders of one symbol against a market that does not know them.

    A resting order joins behind the displayed quantity of its price and fills there only after that quantity
    traded; a print through its price fills it at once, at its own price. All own orders together take at most the
    size of one print, in price-time order. A taking order meets the displayed book, which it does not change. Only
    prints fill a resting order.

    Args:
        exchange: Tardis id of the events to match against.
        symbol: symbol of the events to match against; others are ignored.
        tick_size: price grid.
        lot_size: quantity grid.

    Raises:
        ValueError: tick or lot size is not a positive number.
    """

    def __new__(cls, *, exchange: str, symbol: str, tick_size: str, lot_size: str) -> SimExchange: ...
    def apply(self, batch: EventBatch) -> list[Execution]:
        """Take market events and return the fills they cause."""

    def place(
        self,
        order_id: str,
        side: str,
        price: str | None,
        qty: str,
        *,
        post_only: bool,
        ioc: bool = False,
        now_ns: int,
    ) -> tuple[str, list[Execution]]:
        """Send a new order; ``price`` ``None`` is a market order.

        Returns:
            Status and fills. ``open``: it rests, in whole or in part. ``filled``: nothing is left. ``canceled``:
            post-only would have taken, or the rest of an immediate or market order. ``unsynced``: there is no book
            to match against, nothing happened.

        Raises:
            ValueError: the id rests already, price or quantity is off its grid, a market order is post-only.
        """

    def amend(
        self, order_id: str, *, price: str | None = None, qty: str | None = None, now_ns: int
    ) -> tuple[str, list[Execution]]:
        """Change price or total quantity (what is filled already included) of a resting order.

        Less quantity at the same price keeps the place in the queue; a new price or more quantity goes to the back.

        Returns:
            Status and fills as of ``place``; ``unknown`` when no such order rests. After ``unsynced`` the order
            rests as it was.

        Raises:
            ValueError: price or quantity is off its grid, or the quantity is not above what is filled.
        """

    def cancel(self, order_id: str) -> bool:
        """Take an order out; ``False`` when no such order rests."""

    def best(self) -> tuple[str | None, str | None]:
        """Return best bid and best ask of the market as decimal text."""

    def mid(self) -> float | None:
        """Return the mid of the market."""

    def is_synced(self) -> bool:
        """Return whether there is a book to match against."""

    def qty_ahead(self, order_id: str) -> str | None:
        """Return the market quantity ahead of a resting order at its price."""

    def open_orders(self) -> list[tuple[str, str, str, str]]:
        """Return resting orders as (id, side, price, open quantity), best price first per side, buys first."""
