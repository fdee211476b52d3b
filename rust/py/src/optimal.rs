//! Exact quotes, expected profit and offline fits of `mm_core::model` for Python; results are dictionaries.

use mm_core::model::seed::{Expected, Flow, Linear, Renewal, Toxic};
use mm_core::model::{exact, fit, glft, microprice};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::counts;
use crate::error::CoreError;

/// Exact quotes of a bounded maker, at every inventory.
#[pyfunction]
#[pyo3(signature = (*, intensity_a, intensity_k, sigma, gamma, size, max_lots, horizon_s=None, xi=0.0, fee=0.0, impact=0.0, drift=0.0, age_s=0.0))]
#[expect(clippy::too_many_arguments, reason = "keyword-only in Python")]
pub fn exact_quotes(
    py: Python<'_>,
    intensity_a: f64,
    intensity_k: f64,
    sigma: f64,
    gamma: f64,
    size: f64,
    #[pyo3(from_py_with = counts::max_lots)] max_lots: usize,
    horizon_s: Option<f64>,
    xi: f64,
    fee: f64,
    impact: f64,
    drift: f64,
    age_s: f64,
) -> PyResult<Bound<'_, PyDict>> {
    let params = glft::GlftParams { intensity_a, intensity_k, sigma, gamma, xi, size, fee, impact, drift, age_s };
    let r = py
        .detach(|| match horizon_s {
            None => exact::exact_stationary(&params, max_lots),
            Some(horizon_s) => exact::exact_at_horizon(&params, max_lots, horizon_s),
        })
        .map_err(CoreError)?;
    let most = max_lots as i64;
    let out = PyDict::new(py);
    out.set_item("alpha", r.alpha)?;
    out.set_item("eta", r.eta)?;
    out.set_item("eigenvalue", r.eigenvalue)?;
    out.set_item("best_rate", r.best_rate)?;
    out.set_item("lots", (-most..=most).collect::<Vec<_>>())?;
    out.set_item("delta_bid", r.delta_bid)?;
    out.set_item("delta_ask", r.delta_ask)?;
    Ok(out)
}

/// Certainty-equivalent rate of given quotes.
#[pyfunction]
#[pyo3(signature = (*, intensity_a, intensity_k, sigma, gamma, size, delta_bid, delta_ask, fee=0.0, impact=0.0))]
#[expect(clippy::too_many_arguments, reason = "keyword-only in Python")]
#[expect(clippy::needless_pass_by_value, reason = "sequences of any kind arrive as vectors")]
pub fn chain_rate(
    intensity_a: f64,
    intensity_k: f64,
    sigma: f64,
    gamma: f64,
    size: f64,
    delta_bid: Vec<Option<f64>>,
    delta_ask: Vec<Option<f64>>,
    fee: f64,
    impact: f64,
) -> Result<f64, CoreError> {
    let params =
        glft::GlftParams { intensity_a, intensity_k, sigma, gamma, size, fee, impact, ..glft::GlftParams::default() };
    Ok(exact::chain_rate(&params, &delta_bid, &delta_ask)?)
}

fn expected<'py>(py: Python<'py>, e: &Expected, p_name: &str) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("delta", e.delta)?;
    out.set_item("margin_cost", e.margin_cost)?;
    out.set_item("fills_per_s", e.fills_per_s)?;
    out.set_item(p_name, e.p_loss)?;
    out.set_item("hold_s", e.hold_s)?;
    out.set_item("pnl_per_s", e.pnl_per_s)?;
    Ok(out)
}

/// Expected profit with constant loss probability and holding time.
#[pyfunction]
#[pyo3(signature = (*, intensity_a, intensity_k, size, p_loss, loss, hold_s, fee=0.0, carry=0.0, delta=None))]
#[expect(clippy::too_many_arguments, reason = "keyword-only in Python")]
pub fn seed_pnl_linear(
    py: Python<'_>,
    intensity_a: f64,
    intensity_k: f64,
    size: f64,
    p_loss: f64,
    loss: f64,
    hold_s: f64,
    fee: f64,
    carry: f64,
    delta: Option<f64>,
) -> PyResult<Bound<'_, PyDict>> {
    let flow = Flow { intensity_a, intensity_k, size, fee, carry };
    let market = Linear { flow, p_loss, loss, hold: hold_s };
    expected(py, &delta.map_or_else(|| market.optimum(), |d| market.at(d)).map_err(CoreError)?, "p_loss")
}

/// Expected profit where narrow quotes draw adverse fills.
#[pyfunction]
#[pyo3(signature = (*, intensity_a, intensity_k, size, p0, p1, kappa, loss, hold_s, fee=0.0, carry=0.0, delta=None))]
#[expect(clippy::too_many_arguments, reason = "keyword-only in Python")]
pub fn seed_pnl_toxic(
    py: Python<'_>,
    intensity_a: f64,
    intensity_k: f64,
    size: f64,
    p0: f64,
    p1: f64,
    kappa: f64,
    loss: f64,
    hold_s: f64,
    fee: f64,
    carry: f64,
    delta: Option<f64>,
) -> PyResult<Bound<'_, PyDict>> {
    let flow = Flow { intensity_a, intensity_k, size, fee, carry };
    let market = Toxic { flow, p0, p1, kappa, loss, hold: hold_s };
    expected(py, &delta.map_or_else(|| market.optimum(), |d| market.at(d)).map_err(CoreError)?, "p_loss")
}

/// Expected profit with a timeout on every entry.
#[pyfunction]
#[pyo3(signature = (*, intensity_a, intensity_k, size, adverse, timeout_s, taker_cost, fee=0.0, carry=0.0, delta=None))]
#[expect(clippy::too_many_arguments, reason = "keyword-only in Python")]
pub fn seed_pnl_renewal(
    py: Python<'_>,
    intensity_a: f64,
    intensity_k: f64,
    size: f64,
    adverse: f64,
    timeout_s: f64,
    taker_cost: f64,
    fee: f64,
    carry: f64,
    delta: Option<f64>,
) -> PyResult<Bound<'_, PyDict>> {
    let flow = Flow { intensity_a, intensity_k, size, fee, carry };
    let market = Renewal { flow, adverse, timeout: timeout_s, taker_cost };
    let best = delta.map_or_else(|| market.optimum(), |d| market.at(d)).map_err(CoreError)?;
    let out = expected(py, &best, "p_timeout")?;
    out.del_item("margin_cost")?;
    Ok(out)
}

fn line(py: Python<'_>, line: fit::Line) -> PyResult<Bound<'_, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("intensity_a", line.a)?;
    out.set_item("intensity_k", line.k)?;
    Ok(out)
}

/// A and k from binned reaches.
#[pyfunction]
#[pyo3(signature = (*, edges, counts, seconds))]
#[expect(clippy::needless_pass_by_value, reason = "sequences of any kind arrive as vectors")]
pub fn fit_intensity(py: Python<'_>, edges: Vec<f64>, counts: Vec<f64>, seconds: f64) -> PyResult<Bound<'_, PyDict>> {
    let r = py.detach(|| fit::fit_intensity(&edges, &counts, seconds)).map_err(CoreError)?;
    fits(py, &r)
}

/// The three fits of one set of bins.
pub fn fits<'py>(py: Python<'py>, r: &fit::IntensityFit) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("ols", r.ols.map(|l| line(py, l)).transpose()?)?;
    out.set_item("wls", r.wls.map(|l| line(py, l)).transpose()?)?;
    let mle = line(py, r.mle)?;
    mle.set_item("se_log_a", r.se_log_a)?;
    mle.set_item("se_k", r.se_k)?;
    out.set_item("mle", mle)?;
    Ok(out)
}

/// Adjustments to the mid from a chain of book states.
#[pyfunction]
#[pyo3(signature = (*, stay, jump, moves, land))]
#[expect(clippy::needless_pass_by_value, reason = "sequences of any kind arrive as vectors")]
pub fn microprice_markov(
    py: Python<'_>,
    stay: microprice::Matrix,
    jump: microprice::Matrix,
    moves: Vec<f64>,
    land: microprice::Matrix,
) -> PyResult<Bound<'_, PyDict>> {
    let r = py.detach(|| microprice::microprice(&stay, &jump, &moves, &land)).map_err(CoreError)?;
    let out = PyDict::new(py);
    out.set_item("g1", r.g1)?;
    out.set_item("b", r.b)?;
    out.set_item("g6", r.g6)?;
    out.set_item("limit", r.limit)?;
    Ok(out)
}
