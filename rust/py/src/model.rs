//! Closed-form quotes, formulas and streaming estimators for Python.

use mm_core::model::{glft, price, volatility};
use pyo3::prelude::*;

use crate::error::CoreError;

/// Optimal distances from the reference price; see `mm_core::model::glft`.
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

/// Stationary closed-form quotes at inventory `q`.
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
    Ok(GlftQuotes {
        c1: quotes.c1,
        c2: quotes.c2,
        half_spread: quotes.half_spread,
        skew_per_unit: quotes.skew_per_unit,
        delta_bid: quotes.delta_bid(q),
        delta_ask: quotes.delta_ask(q),
    })
}

/// Risk aversion that gives a wanted stationary inventory.
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
    let params =
        glft::GlftParams { intensity_a, intensity_k, sigma, size, fee, impact, age_s, ..glft::GlftParams::default() };
    Ok(glft::gamma_for_inventory_sd(&params, sd_lots)?)
}

/// Stationary inventory under a risk aversion.
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
    let params = glft::GlftParams {
        gamma,
        intensity_a,
        intensity_k,
        sigma,
        size,
        fee,
        impact,
        age_s,
        ..glft::GlftParams::default()
    };
    Ok(glft::inventory_sd_lots(&params)?)
}

/// Prices derived from the best level of each side.
#[pyclass(frozen, get_all, module = "mm_hybrid._core")]
pub struct TouchPrices {
    mid: f64,
    imbalance: f64,
    imbalance_signed: f64,
    weighted_mid: f64,
    spread_bps: f64,
}

/// Mid, imbalance and weighted mid of a touch.
#[pyfunction]
#[pyo3(signature = (*, bid, bid_qty, ask, ask_qty))]
pub fn weighted_mid(bid: f64, bid_qty: f64, ask: f64, ask_qty: f64) -> Result<TouchPrices, CoreError> {
    let price::TouchPrices { mid, imbalance, imbalance_signed, weighted_mid, spread_bps } =
        price::weighted_mid(bid, bid_qty, ask, ask_qty)?;
    Ok(TouchPrices { mid, imbalance, imbalance_signed, weighted_mid, spread_bps })
}

/// EWMA volatility after each sample but the first.
#[pyfunction]
#[pyo3(signature = (*, t_s, mid, half_life_s))]
#[expect(clippy::needless_pass_by_value, reason = "sequences of any kind arrive as vectors")]
pub fn ewma_vol(py: Python<'_>, t_s: Vec<f64>, mid: Vec<f64>, half_life_s: f64) -> Result<Vec<f64>, CoreError> {
    py.detach(|| Ok(volatility::ewma_vol(&t_s, &mid, half_life_s)?))
}
