//! The followed risk aversion and the closed form under it for Python, in as few crossings as a quote needs: one.

use std::sync::{Mutex, MutexGuard, PoisonError};

use mm_core::model::glft::{GlftParams, glft_closed_form};
use mm_core::model::risk_aversion;
use mm_core::types::Ns;
use pyo3::prelude::*;

use crate::error::CoreError;

/// The risk aversion behind a wanted inventory, taken from the market at once and then followed slowly.
///
/// It is taken anew when the parameters come from another source; in between it follows with a half-life, so that a
/// burst of volatility widens quotes instead of being explained away. Arguments go by position: a quote is one call.
///
/// Args:
///     sd_lots: wanted standard deviation of the inventory, in orders.
///     half_life_s: how slowly the market is followed, seconds.
///
/// Raises:
///     ValueError: a value is not above 0; the message names it.
#[pyclass(frozen, module = "mm_hybrid._core")]
pub struct RiskAversion(Mutex<risk_aversion::RiskAversion>);

#[pymethods]
impl RiskAversion {
    #[new]
    #[pyo3(signature = (*, sd_lots, half_life_s=1800.0))]
    fn new(sd_lots: f64, half_life_s: f64) -> Result<Self, CoreError> {
        Ok(Self(Mutex::new(risk_aversion::RiskAversion::new(sd_lots, half_life_s)?)))
    }

    /// Return the risk aversion now, 1/(P x base); arguments as in :func:`glft_closed_form`.
    ///
    /// Raises:
    ///     ValueError: a parameter is out of range; the message names it.
    #[expect(clippy::too_many_arguments, reason = "a quote is one call")]
    fn follow(
        &self,
        now_ns: Ns,
        source: &str,
        intensity_a: f64,
        intensity_k: f64,
        sigma: f64,
        size: f64,
        fee: f64,
        impact: f64,
        age_s: f64,
    ) -> Result<f64, CoreError> {
        let params = params(intensity_a, intensity_k, sigma, size, fee, impact, age_s);
        Ok(self.lock().follow(&params, now_ns, source)?)
    }

    /// Return the closed form under the risk aversion of now: distances of bid and ask at no inventory, and skew.
    ///
    /// The distances are in P, the skew in P per base unit; :func:`glft_closed_form` gives the same for a given
    /// risk aversion.
    ///
    /// Raises:
    ///     ValueError: a parameter is out of range; the message names it.
    #[expect(clippy::too_many_arguments, reason = "a quote is one call")]
    fn closed_form(
        &self,
        now_ns: Ns,
        source: &str,
        intensity_a: f64,
        intensity_k: f64,
        sigma: f64,
        size: f64,
        fee: f64,
        impact: f64,
        age_s: f64,
        drift: f64,
    ) -> Result<(f64, f64, f64), CoreError> {
        let params = params(intensity_a, intensity_k, sigma, size, fee, impact, age_s);
        let gamma = self.lock().follow(&params, now_ns, source)?;
        let quotes = glft_closed_form(&GlftParams { gamma, drift, ..params })?;
        Ok((quotes.delta_bid(0.0), quotes.delta_ask(0.0), quotes.skew_per_unit))
    }
}

impl RiskAversion {
    fn lock(&self) -> MutexGuard<'_, risk_aversion::RiskAversion> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The market as the closed form takes it, without risk aversion and drift.
pub(crate) fn params(
    intensity_a: f64,
    intensity_k: f64,
    sigma: f64,
    size: f64,
    fee: f64,
    impact: f64,
    age_s: f64,
) -> GlftParams {
    GlftParams { intensity_a, intensity_k, sigma, size, fee, impact, age_s, ..GlftParams::default() }
}
