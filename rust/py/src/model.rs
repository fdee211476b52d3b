//! Closed-form quotes, formulas and streaming estimators for Python.

use std::sync::{Mutex, PoisonError};

use mm_core::model::stream::{StreamConfig, StreamEstimators};
use mm_core::model::{glft, price, risk_aversion, volatility};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::CoreError;
use crate::events::EventBatch;
use crate::risk_aversion::params;

/// Optimal distances from the reference price, all in P (quote currency per base).
///
/// Attributes:
///     c1: distance that maximises the margin of a single fill without costs or inventory.
///     c2: skew per base unit and unit of volatility, before the shifts by fee, impact and age.
///     half_spread: distance of both quotes at inventory 0 and drift 0.
///     skew_per_unit: shift of both quotes per base unit of inventory.
///     delta_bid: distance of the bid below the reference price at the inventory asked for.
///     delta_ask: distance of the ask above it.
#[pyclass(frozen, module = "mm_hybrid._core")]
pub struct GlftQuotes {
    #[pyo3(get)]
    c1: f64,
    #[pyo3(get)]
    c2: f64,
    #[pyo3(get)]
    half_spread: f64,
    #[pyo3(get)]
    skew_per_unit: f64,
    #[pyo3(get)]
    delta_bid: f64,
    #[pyo3(get)]
    delta_ask: f64,
}

#[pymethods]
impl GlftQuotes {
    fn __repr__(&self) -> String {
        format!(
            "GlftQuotes(delta_bid={}, delta_ask={}, half_spread={}, skew_per_unit={})",
            self.delta_bid, self.delta_ask, self.half_spread, self.skew_per_unit
        )
    }
}

/// Return the stationary closed-form quotes of a market maker holding ``q``.
///
/// Args:
///     intensity_a: fills per second at distance 0, one side.
///     intensity_k: decay of the fill intensity, 1/P.
///     sigma: volatility of the reference price, P/sqrt(s).
///     gamma: risk aversion, 1/(P x base).
///     size: quantity per quote, base.
///     q: signed inventory, base.
///     xi: 0 for a running penalty on inventory variance, ``gamma`` for exponential utility.
///     fee: maker fee per base unit, P; negative is a rebate.
///     impact: permanent adverse move of the reference price per own fill, P.
///     drift: drift of the reference price, P/s.
///     age_s: total age of the information behind a resting quote, s.
///
/// Raises:
///     ValueError: a parameter is out of range; the message names it.
///
/// Source: Gueant, Lehalle and Fernandez-Tapia (2013), general form Gueant (2017), equations 4.6 and 4.7.
#[pyfunction]
#[pyo3(signature = (*, intensity_a, intensity_k, sigma, gamma, size, q=0.0, xi=0.0, fee=0.0, impact=0.0, drift=0.0, age_s=0.0))]
#[expect(clippy::too_many_arguments, reason = "keyword-only in Python")]
pub fn glft_closed_form(
    intensity_a: f64,
    intensity_k: f64,
    sigma: f64,
    gamma: f64,
    size: f64,
    q: f64,
    xi: f64,
    fee: f64,
    impact: f64,
    drift: f64,
    age_s: f64,
) -> Result<GlftQuotes, CoreError> {
    let params = glft::GlftParams { intensity_a, intensity_k, sigma, gamma, xi, size, fee, impact, drift, age_s };
    let quotes = glft::glft_closed_form(&params)?;
    let (delta_bid, delta_ask) = quotes.distances(q)?;
    Ok(GlftQuotes {
        c1: quotes.c1,
        c2: quotes.c2,
        half_spread: quotes.half_spread,
        skew_per_unit: quotes.skew_per_unit,
        delta_bid,
        delta_ask,
    })
}

/// Return the risk aversion, 1/(P x base), under which inventory has a wanted standard deviation.
///
/// It is that of the quotes of :func:`glft_closed_form` with ``xi`` 0, whose other arguments these are.
///
/// Args:
///     sd_lots: wanted standard deviation of the inventory, multiples of ``size``, above 0.
///
/// Source: stationary law of their chain of whole lots, p(q) = e^(-s q^2) / Z with s = sqrt(alpha/eta), by detailed
/// balance; above one lot the usual (eta/alpha)^(1/4) / sqrt(2).
///
/// Raises:
///     ValueError: a parameter is out of range; the message names it.
#[pyfunction]
#[pyo3(signature = (*, sd_lots, intensity_a, intensity_k, sigma, size, fee=0.0, impact=0.0, age_s=0.0))]
#[expect(clippy::too_many_arguments, reason = "keyword-only in Python")]
pub fn gamma_for_inventory_sd(
    sd_lots: f64,
    intensity_a: f64,
    intensity_k: f64,
    sigma: f64,
    size: f64,
    fee: f64,
    impact: f64,
    age_s: f64,
) -> Result<f64, CoreError> {
    let params = params(intensity_a, intensity_k, sigma, size, fee, impact, age_s);
    Ok(risk_aversion::gamma_for_inventory_sd(&params, sd_lots)?)
}

/// Return the standard deviation of inventory under ``gamma``, in multiples of ``size``.
///
/// Inverts :func:`gamma_for_inventory_sd`; arguments as in :func:`glft_closed_form`.
///
/// Raises:
///     ValueError: a parameter is out of range; the message names it.
#[pyfunction]
#[pyo3(signature = (*, gamma, intensity_a, intensity_k, sigma, size, fee=0.0, impact=0.0, age_s=0.0))]
#[expect(clippy::too_many_arguments, reason = "keyword-only in Python")]
pub fn inventory_sd_lots(
    gamma: f64,
    intensity_a: f64,
    intensity_k: f64,
    sigma: f64,
    size: f64,
    fee: f64,
    impact: f64,
    age_s: f64,
) -> Result<f64, CoreError> {
    let market = params(intensity_a, intensity_k, sigma, size, fee, impact, age_s);
    Ok(risk_aversion::inventory_sd_lots(&glft::GlftParams { gamma, ..market })?)
}

/// Prices derived from the best level of each side.
///
/// Attributes:
///     mid: middle of best bid and best ask, P.
///     imbalance: share of the bid in the quantity at the touch, 0..1.
///     imbalance_signed: the same on -1..1.
///     weighted_mid: mid weighted towards the side with less quantity, P.
///     spread_bps: full spread over mid, basis points.
#[pyclass(frozen, get_all, module = "mm_hybrid._core")]
pub struct TouchPrices {
    mid: f64,
    imbalance: f64,
    imbalance_signed: f64,
    weighted_mid: f64,
    spread_bps: f64,
}

/// Return mid, imbalance and weighted mid of a touch.
///
/// Args:
///     bid: best bid, P, above 0.
///     bid_qty: quantity there, base, at least 0.
///     ask: best ask, P, above 0.
///     ask_qty: quantity there, base, at least 0.
///
/// Raises:
///     ValueError: a price is not positive, a quantity negative or both quantities 0.
#[pyfunction]
#[pyo3(signature = (*, bid, bid_qty, ask, ask_qty))]
pub fn weighted_mid(bid: f64, bid_qty: f64, ask: f64, ask_qty: f64) -> Result<TouchPrices, CoreError> {
    let price::TouchPrices { mid, imbalance, imbalance_signed, weighted_mid, spread_bps } =
        price::weighted_mid(bid, bid_qty, ask, ask_qty)?;
    Ok(TouchPrices { mid, imbalance, imbalance_signed, weighted_mid, spread_bps })
}

/// Return the volatility after each sample but the first, P/sqrt(s).
///
/// A ratio of decayed sums of squared changes and of seconds.
///
/// Args:
///     t_s: times of the samples, s, rising.
///     mid: reference price at each, P.
///     half_life_s: seconds after which a change counts half, above 0.
///
/// Raises:
///     ValueError: lengths differ, times do not increase or the half-life is not positive.
#[pyfunction]
#[pyo3(signature = (*, t_s, mid, half_life_s))]
#[expect(clippy::needless_pass_by_value, reason = "sequences of any kind arrive as vectors")]
pub fn ewma_vol(py: Python<'_>, t_s: Vec<f64>, mid: Vec<f64>, half_life_s: f64) -> Result<Vec<f64>, CoreError> {
    py.detach(|| Ok(volatility::ewma_vol(&t_s, &mid, half_life_s)?))
}

/// Streaming estimators of one symbol; see `mm_core::model::stream`.
#[pyclass(frozen, module = "mm_hybrid._core")]
pub struct Estimators {
    inner: Mutex<StreamEstimators>,
}

#[pymethods]
impl Estimators {
    #[new]
    #[pyo3(signature = (*, symbol=None, tick_size=None, prior_intensity_a=1.5, prior_depth_bps=0.83, prior_volatility_1m_bps=6.5, prior_orders=50.0, half_life_s=1800.0, sigma_half_life_s=120.0))]
    #[expect(clippy::too_many_arguments, reason = "keyword-only in Python")]
    fn new(
        symbol: Option<String>,
        tick_size: Option<f64>,
        prior_intensity_a: f64,
        prior_depth_bps: f64,
        prior_volatility_1m_bps: f64,
        prior_orders: f64,
        half_life_s: f64,
        sigma_half_life_s: f64,
    ) -> Result<Self, CoreError> {
        let inner = StreamEstimators::new(StreamConfig {
            symbol,
            tick_size,
            prior_intensity_a,
            prior_depth_bps,
            prior_volatility_1m_bps,
            prior_orders,
            half_life_s,
            sigma_half_life_s,
        })?;
        Ok(Self { inner: Mutex::new(inner) })
    }

    /// Takes a batch of events in.
    fn update(&self, py: Python<'_>, batch: &Bound<'_, EventBatch>) -> Result<(), CoreError> {
        let events = batch.get().events();
        py.detach(|| Ok(self.inner.lock().unwrap_or_else(PoisonError::into_inner).update(events)?))
    }

    /// The current reading; every value but the counters is `None` before the first book.
    fn read<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let reading = self.inner.lock().unwrap_or_else(PoisonError::into_inner).read();
        let out = PyDict::new(py);
        let intensity = reading.map(|r| r.intensity);
        out.set_item("intensity_a", intensity.map(|i| i.a))?;
        out.set_item("intensity_k", intensity.map(|i| i.k))?;
        out.set_item("se_k", intensity.map(|i| i.se_k))?;
        out.set_item("se_log_a", intensity.map(|i| i.se_log_a))?;
        out.set_item("sigma", reading.map(|r| r.sigma))?;
        out.set_item("drift", reading.map(|r| r.drift))?;
        out.set_item("se_drift", reading.map(|r| r.se_drift))?;
        out.set_item("orders_seen", reading.map_or(0, |r| r.orders_seen))?;
        out.set_item("seconds_seen", reading.map_or(0.0, |r| r.seconds_seen))?;
        out.set_item("calibrated", reading.is_some_and(|r| r.calibrated))?;
        out.set_item("return_10s_bps", reading.and_then(|r| r.return_10s_bps))?;
        out.set_item("return_60s_bps", reading.and_then(|r| r.return_60s_bps))?;
        out.set_item("trade_imbalance_60s", reading.and_then(|r| r.trade_imbalance_60s))?;
        out.set_item("spike", reading.is_some_and(|r| r.spike))?;
        out.set_item("spikes_seen", reading.map_or(0, |r| r.spikes_seen))?;
        out.set_item("timestamp_ns", reading.map(|r| r.timestamp_ns))?;
        Ok(out)
    }
}
