//! Pure formulas of `mm_core::model` over sequences; results of several parts are dictionaries.

use mm_core::model::{anomaly, avellaneda, flow, volatility};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::counts;
use crate::error::CoreError;

fn dict<'py, const N: usize>(py: Python<'py>, items: [(&str, f64); N]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in items {
        dict.set_item(name, value)?;
    }
    Ok(dict)
}

/// Return ``reservation, spread, bid, ask, delta_bid, delta_ask`` with ``tau`` seconds left, all in P.
///
/// Args:
///     s: reference price, P.
///     q: signed inventory, units of one.
///     gamma: risk aversion, 1/P per unit, above 0.
///     sigma: volatility of the reference price, P/sqrt(s).
///     k: decay of the fill intensity, 1/P, above 0.
///     tau: time left, s, at least 0.
///
/// Raises:
///     ValueError: a parameter is out of range, or a price would not be finite; names the parameter.
///
/// Source: Avellaneda and Stoikov (2008), equations 3.17 and 3.18.
#[pyfunction]
#[pyo3(signature = (*, s, q, gamma, sigma, k, tau))]
pub fn as_quotes(
    py: Python<'_>,
    s: f64,
    q: f64,
    gamma: f64,
    sigma: f64,
    k: f64,
    tau: f64,
) -> PyResult<Bound<'_, PyDict>> {
    let r = avellaneda::horizon_quotes(s, q, gamma, sigma, k, tau).map_err(CoreError)?;
    dict(
        py,
        [
            ("reservation", r.reservation),
            ("spread", r.spread),
            ("bid", r.bid),
            ("ask", r.ask),
            ("delta_bid", r.delta_bid),
            ("delta_ask", r.delta_ask),
        ],
    )
}

/// Return ``omega, reservation_ask, reservation_bid`` without a horizon.
///
/// ``omega`` is the rate that bounds the inventory; the prices (P) leave the maker indifferent to one unit more sold
/// or bought.
///
/// Args:
///     s: reference price, P.
///     q: signed inventory, units of one, between ``-q_max`` and ``q_max``.
///     gamma: risk aversion, 1/P per unit, above 0.
///     sigma: volatility of the reference price, P/sqrt(s), above 0.
///     q_max: largest inventory, units, above 0.
///
/// Raises:
///     ValueError: a parameter is out of range, or a price would not be finite, as at ``q_max`` itself; names it.
///
/// Source: Avellaneda and Stoikov (2008), infinite-horizon section.
#[pyfunction]
#[pyo3(signature = (*, s, q, gamma, sigma, q_max))]
pub fn as_reservation(
    py: Python<'_>,
    s: f64,
    q: f64,
    gamma: f64,
    sigma: f64,
    q_max: f64,
) -> PyResult<Bound<'_, PyDict>> {
    let r = avellaneda::stationary_reservation(s, q, gamma, sigma, q_max).map_err(CoreError)?;
    dict(py, [("omega", r.omega), ("reservation_ask", r.reservation_ask), ("reservation_bid", r.reservation_bid)])
}

/// Return the order-flow imbalance of each change of the touch, base units; positive is demand.
///
/// Args:
///     quotes: rows of bid (P), bid quantity (base), ask, ask quantity.
///
/// Raises:
///     ValueError: a value is not finite.
///
/// Source: Cont, Kukanov and Stoikov (2014), section 2.
#[pyfunction]
#[pyo3(signature = (*, quotes))]
#[expect(clippy::needless_pass_by_value, reason = "sequences of any kind arrive as vectors")]
pub fn ofi(py: Python<'_>, quotes: Vec<flow::TouchRow>) -> Result<Vec<f64>, CoreError> {
    Ok(py.detach(|| flow::ofi(&quotes))?)
}

/// Return the one-sided share of the last ``n_buckets`` volume buckets, after each completed bucket.
///
/// A share is between 0 and 1; there is none before ``n_buckets`` are complete.
///
/// Args:
///     signed_qty: quantity of each print, base, positive when the taker bought.
///     bucket: volume of a bucket, base, above 0.
///     n_buckets: buckets looked at, 1 to 1 000 000.
///
/// Raises:
///     ValueError: a parameter is out of range; the message names it.
///
/// Source: Easley, Lopez de Prado and O'Hara (2012), with the aggressor's sign on each print.
#[pyfunction]
#[pyo3(signature = (*, signed_qty, bucket, n_buckets))]
#[expect(clippy::needless_pass_by_value, reason = "sequences of any kind arrive as vectors")]
pub fn vpin(
    py: Python<'_>,
    signed_qty: Vec<f64>,
    bucket: f64,
    #[pyo3(from_py_with = counts::n_buckets)] n_buckets: usize,
) -> Result<Vec<f64>, CoreError> {
    py.detach(|| Ok(flow::vpin(&signed_qty, bucket, n_buckets)?))
}

/// Return ``score`` (robust z against the previous ``window`` values) and ``flag``, one of each per value.
///
/// Args:
///     x: the values, in any one unit.
///     window: values looked back at, at least 1.
///     min_obs: values needed for a score; before it is 0.
///     threshold: score beyond which a value is flagged, standard deviations, above 0.
///     floor: least standard deviation taken, unit of ``x``, above 0.
///
/// Raises:
///     ValueError: a parameter is out of range; the message names it.
///
/// Source: Hampel (1974).
#[pyfunction]
#[pyo3(signature = (*, x, window, min_obs, threshold, floor))]
#[expect(clippy::needless_pass_by_value, reason = "sequences of any kind arrive as vectors")]
pub fn hampel(
    py: Python<'_>,
    x: Vec<f64>,
    #[pyo3(from_py_with = counts::window)] window: usize,
    #[pyo3(from_py_with = counts::min_obs)] min_obs: usize,
    threshold: f64,
    floor: f64,
) -> PyResult<Bound<'_, PyDict>> {
    let r = py.detach(|| anomaly::hampel(&x, window, min_obs, threshold, floor)).map_err(CoreError)?;
    let out = PyDict::new(py);
    out.set_item("score", r.score)?;
    out.set_item("flag", r.flag)?;
    Ok(out)
}

/// Return the sums ``up`` and ``down`` after each value and the ``alarms`` that reset them.
///
/// An alarm is (index, 1 for up or -1 for down).
///
/// Args:
///     z: standardised values.
///     drift: what a value may deviate without adding to a sum, standard deviations, at least 0.
///     h: sum above which an alarm is given, standard deviations, above 0.
///
/// Raises:
///     ValueError: a parameter is out of range; the message names it.
///
/// Source: Page (1954).
#[pyfunction]
#[pyo3(signature = (*, z, drift, h))]
#[expect(clippy::needless_pass_by_value, reason = "sequences of any kind arrive as vectors")]
pub fn cusum(py: Python<'_>, z: Vec<f64>, drift: f64, h: f64) -> PyResult<Bound<'_, PyDict>> {
    let r = py.detach(|| anomaly::cusum(&z, drift, h)).map_err(CoreError)?;
    let out = PyDict::new(py);
    out.set_item("up", r.up)?;
    out.set_item("down", r.down)?;
    out.set_item("alarms", r.alarms)?;
    Ok(out)
}

/// Return ``stat`` and ``flag`` of each return after the first ``window``, and the ``critical`` value.
///
/// Args:
///     returns: changes of the price over equal times, in any one unit.
///     window: returns before the tested one that its scale comes from, at least 3.
///     alpha: probability that a series without a jump is flagged, between 0 and 1.
///
/// Raises:
///     ValueError: a parameter is out of range, or there are too few returns; the message names it.
///
/// Source: Lee and Mykland (2008), definition 1 and lemma 1.
#[pyfunction]
#[pyo3(signature = (*, returns, window, alpha))]
#[expect(clippy::needless_pass_by_value, reason = "sequences of any kind arrive as vectors")]
pub fn lee_mykland(
    py: Python<'_>,
    returns: Vec<f64>,
    #[pyo3(from_py_with = counts::window)] window: usize,
    alpha: f64,
) -> PyResult<Bound<'_, PyDict>> {
    let r = py.detach(|| anomaly::lee_mykland(&returns, window, alpha)).map_err(CoreError)?;
    let out = PyDict::new(py);
    out.set_item("stat", r.stat)?;
    out.set_item("flag", r.flag)?;
    out.set_item("critical", r.critical)?;
    Ok(out)
}

/// Return ``rv, bipower, tsrv, parkinson`` in P/sqrt(s) and ``noise_var`` in P^2 of one window of prices.
///
/// Args:
///     price: equally spaced prices, P.
///     dt_s: time between two of them, s, above 0.
///     k_slow: stride of the slow scale of ``tsrv``, at least 2 and below the number of changes.
///
/// Raises:
///     ValueError: a parameter is out of range; the message names it.
///
/// Source: Barndorff-Nielsen and Shephard (2004); Zhang, Mykland and Ait-Sahalia (2005); Parkinson (1980).
#[pyfunction]
#[pyo3(signature = (*, price, dt_s, k_slow))]
#[expect(clippy::needless_pass_by_value, reason = "sequences of any kind arrive as vectors")]
pub fn vol_estimators(
    py: Python<'_>,
    price: Vec<f64>,
    dt_s: f64,
    #[pyo3(from_py_with = counts::k_slow)] k_slow: usize,
) -> PyResult<Bound<'_, PyDict>> {
    let r = py.detach(|| volatility::vol_estimators(&price, dt_s, k_slow)).map_err(CoreError)?;
    dict(
        py,
        [
            ("rv", r.realized),
            ("bipower", r.bipower),
            ("tsrv", r.two_scales),
            ("parkinson", r.parkinson),
            ("noise_var", r.noise_variance),
        ],
    )
}
