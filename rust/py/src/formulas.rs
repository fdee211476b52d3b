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

/// Quotes at a finite horizon.
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

/// Indifference prices without a horizon.
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

/// Order-flow imbalance of each change of the touch.
#[pyfunction]
#[pyo3(signature = (*, quotes))]
#[expect(clippy::needless_pass_by_value, reason = "sequences of any kind arrive as vectors")]
pub fn ofi(py: Python<'_>, quotes: Vec<flow::TouchRow>) -> Result<Vec<f64>, CoreError> {
    Ok(py.detach(|| flow::ofi(&quotes))?)
}

/// One-sidedness of volume.
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

/// Scores against a causal window.
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

/// Two-sided cumulative sums.
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

/// Jump statistics.
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

/// Volatility of one window by several estimators.
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
