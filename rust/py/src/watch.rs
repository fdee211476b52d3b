//! Streaming judgements of `mm_core::model` for Python: the kind of market, and how own fills fare.

use std::sync::{Mutex, PoisonError};

use mm_core::model::markout::AdverseMove as CoreAdverse;
use mm_core::model::regime::{RegimeConfig, RegimeDetector as CoreDetector, RegimeInput};
use mm_core::types::Side;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::CoreError;

/// Names the kind of market: ``calm``, ``trending``, ``volatile`` or ``thin``.
///
/// Each measurement is compared with its own slow level; a regime is left lower than it was entered.
///
/// Args:
///     volatile_ratio: volatility over its slow level that is volatile; a spike is too.
///     thin_ratio: spread over its slow level, or slow depth over depth, that is thin.
///     trend_sigmas: standard deviations of a minute within the last minute's move that is trending.
///     slow_half_life_s: half-life of the slow levels, s.
///
/// Raises:
///     ValueError: a threshold is out of range; the message names it.
#[pyclass(frozen, module = "mm_hybrid._core")]
pub struct RegimeDetector(Mutex<CoreDetector>);

#[pymethods]
impl RegimeDetector {
    #[new]
    #[pyo3(signature = (*, volatile_ratio=2.0, thin_ratio=3.0, trend_sigmas=2.5, slow_half_life_s=1800.0))]
    fn new(volatile_ratio: f64, thin_ratio: f64, trend_sigmas: f64, slow_half_life_s: f64) -> Result<Self, CoreError> {
        let config = RegimeConfig { volatile_ratio, thin_ratio, trend_sigmas, slow_half_life_s };
        Ok(Self(Mutex::new(CoreDetector::new(config)?)))
    }

    /// Take a moment in; return ``regime``, its evidence ``sigma_ratio, spread_ratio, depth_ratio`` (1 is usual)
    /// and ``move_sigmas``, and ``since_s``.
    #[pyo3(signature = (now_ns, *, sigma, spread_bps, depth, move_sigmas=None, spike=false))]
    #[expect(clippy::too_many_arguments, reason = "keyword-only in Python")]
    fn observe<'py>(
        &self,
        py: Python<'py>,
        now_ns: i64,
        sigma: f64,
        spread_bps: f64,
        depth: f64,
        move_sigmas: Option<f64>,
        spike: bool,
    ) -> PyResult<Bound<'py, PyDict>> {
        let input = RegimeInput { sigma, spread_bps, depth, move_sigmas, spike };
        let r = self.0.lock().unwrap_or_else(PoisonError::into_inner).observe(now_ns, &input);
        let out = PyDict::new(py);
        out.set_item("regime", r.regime.name())?;
        out.set_item("sigma_ratio", r.sigma_ratio)?;
        out.set_item("spread_ratio", r.spread_ratio)?;
        out.set_item("depth_ratio", r.depth_ratio)?;
        out.set_item("move_sigmas", r.move_sigmas)?;
        out.set_item("since_s", r.since_s)?;
        Ok(out)
    }
}

/// How far the mid moves against own fills within ``horizon_s``: a decayed mean with its standard error, P.
///
/// Raises:
///     ValueError: an argument is out of range; the message names it.
#[pyclass(frozen, module = "mm_hybrid._core")]
pub struct AdverseMove(Mutex<CoreAdverse>);

#[pymethods]
impl AdverseMove {
    #[new]
    #[pyo3(signature = (*, horizon_s=5.0, half_life_fills=200.0))]
    fn new(horizon_s: f64, half_life_fills: f64) -> Result<Self, CoreError> {
        Ok(Self(Mutex::new(CoreAdverse::new(horizon_s, half_life_fills)?)))
    }

    /// Take an own fill at the mid then in force.
    fn fill(&self, now_ns: i64, side: &str, mid: f64) -> PyResult<()> {
        let side = match side {
            "buy" => Side::Buy,
            "sell" => Side::Sell,
            other => return Err(PyValueError::new_err(format!("side: must be 'buy' or 'sell', got {other:?}"))),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(now_ns, side, mid);
        Ok(())
    }

    /// Take the mid now in force; fills whose horizon has passed are judged by it.
    fn mark(&self, now_ns: i64, mid: f64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).mark(now_ns, mid);
    }

    /// Return ``mean`` and ``se`` (P), ``fills`` and ``toxic_share``; ``None`` before the second judged fill.
    fn estimate<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Some(e) = self.0.lock().unwrap_or_else(PoisonError::into_inner).estimate() else { return Ok(None) };
        let out = PyDict::new(py);
        out.set_item("mean", e.mean)?;
        out.set_item("se", e.se)?;
        out.set_item("fills", e.fills)?;
        out.set_item("toxic_share", e.toxic_share)?;
        Ok(Some(out))
    }
}
