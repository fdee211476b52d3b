//! Exact quotes, expected profit and offline fits of `mm_core::model` for Python; results are dictionaries.

use mm_core::model::seed::{Expected, Flow, Linear, Renewal, Toxic};
use mm_core::model::{exact, fit, glft, microprice};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::counts;
use crate::error::CoreError;

/// Return the exact quotes of a maker that holds at most ``max_lots`` lots of ``size`` on either side.
///
/// Arguments are those of :func:`glft_closed_form`; ``gamma`` may be 0.
///
/// Args:
///     max_lots: inventory cap in lots, 1 to 1000.
///     horizon_s: seconds left, after which inventory is worth the reference price less what unwinding it moves;
///         ``None`` for no horizon.
///
/// Returns:
///     ``alpha`` and ``eta`` (1/s), ``eigenvalue`` (1/s), ``best_rate`` (the best attainable certainty-equivalent
///     rate without a horizon, quote currency per second; with ``xi`` 0 that of mean profit less
///     gamma sigma^2 q^2 / 2), ``lots`` (-max_lots..max_lots), and by inventory ``delta_bid`` and ``delta_ask``
///     (P; ``None`` where no more may be bought or sold).
///
/// Raises:
///     ValueError: a parameter is out of range; the message names it.
///
/// Source: Gueant, Lehalle and Fernandez-Tapia (2013), sections 3 to 5; stationary by the ground eigenvector,
/// finite horizon by uniformisation.
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

/// Return the certainty-equivalent rate (quote currency per second) of quoting these distances (P) for ever.
///
/// Index i of both sides is inventory ``i - max_lots`` lots; ``None`` is no quote. Exact for the birth-death chain
/// of inventories; divide by ``exact_quotes(...)["best_rate"]`` for the share of the best that is attained.
///
/// Raises:
///     ValueError: a parameter is out of range or the lengths do not fit; the message names it.
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

/// Return the expected profit of quoting both sides at ``delta``, or at the best width.
///
/// Expected profit = spread x trade frequency - loss rate x loss amount x losses - inventory cost x holding time,
/// per second: ``size (N (delta - fee) - N p_loss loss - N/2 carry hold_s)``, ``N = 2 A e^(-k delta)``.
///
/// Args:
///     intensity_a: fills per second at distance 0, one side.
///     intensity_k: decay of the fill intensity, 1/P.
///     size: quantity per quote, base.
///     p_loss: probability that a fill is adverse, 0..1.
///     loss: mean adverse move after an adverse fill, P, at least 0.
///     hold_s: mean holding time of a round trip, s.
///     fee: maker fee per base unit, P; negative is a rebate.
///     carry: cost of carrying one base unit for one second, P/s.
///     delta: distance, P; ``None`` for the best one, margin cost + 1/k.
///
/// Returns:
///     ``delta`` and ``margin_cost`` (P), ``fills_per_s`` (both sides), ``p_loss``, ``hold_s``, ``pnl_per_s`` (quote
///     currency per second).
///
/// Raises:
///     ValueError: a parameter is out of range, or moves the best width to 0 or below; the message names it.
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

/// Return what :func:`seed_pnl_linear` does where narrow quotes draw adverse fills.
///
/// The probability is ``p0 + p1 e^(-kappa delta)``, ``p1`` cut to ``1 - p0``; ``kappa`` in 1/P. The best width is
/// ``m + 1/k + W(kappa B e^(-kappa (m + 1/k))) / kappa`` with ``B = loss p1 (k + kappa) / k``, W Lambert's.
///
/// Raises:
///     ValueError: a parameter is out of range, or moves the best width to 0 or below; the message names it.
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

/// Return the expected profit where an entry waits for the opposite fill, at most ``timeout_s``.
///
/// Args:
///     intensity_a: fills per second at distance 0, one side.
///     intensity_k: decay of the fill intensity, 1/P.
///     size: quantity per quote, base.
///     adverse: adverse cost of an entry, P.
///     timeout_s: longest wait, s; after it the position is closed as taker.
///     taker_cost: cost of that, P per base unit.
///     fee: maker fee per base unit, P.
///     carry: cost of carrying one base unit for one second, P/s.
///     delta: distance, P; ``None`` for the best one, found numerically.
///
/// Returns:
///     ``delta`` (P), ``fills_per_s`` (one side), ``p_timeout``, ``hold_s`` (mean wait), ``pnl_per_s``.
///
/// Raises:
///     ValueError: a parameter is out of range, or no width earns anything; the message names it.
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

/// Return A (1/s) and k (1/P) of binned reaches of market orders by three methods.
///
/// Args:
///     edges: bounds of the bins, P, rising; the last may be infinite.
///     counts: market orders that reached into each bin.
///     seconds: time observed.
///
/// Returns:
///     ``mle`` (Poisson likelihood, with ``se_log_a`` and ``se_k``), and for comparison ``ols`` and ``wls``
///     (regressions of the logarithm of the rate beyond each left edge), each with ``intensity_a`` and ``intensity_k``.
///
/// Raises:
///     ValueError: the bins do not fit together, or no decay fits the counts.
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

/// Return the adjustment to the mid of each state of a book.
///
/// Args:
///     stay: probabilities of the next state without a change of the mid, n x n.
///     jump: probabilities of the changes of the mid, n x m; a row sums to 1 with that of ``stay``.
///     moves: the changes, m, P.
///     land: probabilities of the state a change leads to, n x n.
///
/// Returns:
///     ``g1`` (first change), ``b`` (where it leads), ``g6`` (six changes), ``limit`` (all of them), P.
///
/// Raises:
///     ValueError: shapes or rows do not fit, or the counts were not symmetrised and the sum has no limit.
///
/// Source: Stoikov (2018), section 3.
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
