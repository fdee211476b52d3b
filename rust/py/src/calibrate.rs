//! Calibration from recorded events for Python.

use std::sync::{Mutex, PoisonError};

use mm_core::model::calibrate::{self, Calibrated, Mark};
use mm_core::model::horizon::HorizonVolatility;
use mm_core::model::range::HoldingRange;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::counts;
use crate::error::CoreError;
use crate::events::EventBatch;
use crate::optimal::fits;

/// A, k and volatility of one symbol's events, and what speaks against them; see `mm_core::model::calibrate`.
#[pyclass(frozen, module = "mm_hybrid._core")]
pub struct Calibrator {
    inner: Mutex<calibrate::Calibrator>,
}

#[pymethods]
impl Calibrator {
    #[new]
    #[pyo3(signature = (*, symbol, tick_size, half_life_s=1800.0, sigma_half_life_s=120.0))]
    fn new(symbol: &str, tick_size: f64, half_life_s: f64, sigma_half_life_s: f64) -> Result<Self, CoreError> {
        let inner = calibrate::Calibrator::new(symbol, tick_size, half_life_s, sigma_half_life_s)?;
        Ok(Self { inner: Mutex::new(inner) })
    }

    /// Takes a batch of events in.
    fn update(&self, py: Python<'_>, batch: &Bound<'_, EventBatch>) -> Result<(), CoreError> {
        let events = batch.get().events();
        py.detach(|| Ok(self.inner.lock().unwrap_or_else(PoisonError::into_inner).update(events)?))
    }

    /// What the events so far say; `None` before the first readable book.
    #[pyo3(signature = (horizons_s = vec![1, 10, 60, 300]))]
    #[expect(clippy::needless_pass_by_value, reason = "sequences of any kind arrive as vectors")]
    fn finish<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = counts::horizons_s)] horizons_s: Vec<usize>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let found = py
            .detach(|| self.inner.lock().unwrap_or_else(PoisonError::into_inner).finish(&horizons_s))
            .map_err(CoreError)?;
        found.map(|found| document(py, &found)).transpose()
    }
}

fn document<'py>(py: Python<'py>, found: &Calibrated) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("first_local_ts_ns", found.span_ns.0)?;
    out.set_item("last_local_ts_ns", found.span_ns.1)?;
    out.set_item("seconds", found.totals.seconds)?;
    out.set_item("disconnects", found.disconnects)?;
    out.set_item("mid_price", found.mid)?;
    out.set_item("market_orders", found.totals.market_orders)?;
    out.set_item("orders", found.totals.orders)?;
    out.set_item("effective_orders", found.effective_orders)?;
    let intensity = found.readings.intensity;
    out.set_item("intensity_a", intensity.a)?;
    out.set_item("intensity_k", intensity.k)?;
    out.set_item("se_log_a", intensity.se_log_a)?;
    out.set_item("se_k", intensity.se_k)?;
    out.set_item("sigma", found.readings.sigma)?;
    out.set_item("drift", found.readings.drift)?;
    out.set_item("se_drift", found.readings.se_drift)?;
    let bins = found.bins.as_ref().map(|bins| {
        let d = PyDict::new(py);
        d.set_item("edges", &bins.edges)?;
        d.set_item("counts", &bins.counts)?;
        d.set_item("side_seconds", bins.side_seconds)?;
        PyResult::Ok(d)
    });
    out.set_item("bins", bins.transpose()?)?;
    out.set_item("fit", found.fit.as_ref().map(|fit| fits(py, fit)).transpose()?)?;
    out.set_item("range", found.range.as_ref().map(|range| holding(py, range)).transpose()?)?;
    let volatility = found.volatility.iter().map(|(horizon_s, v)| horizon(py, *horizon_s, v.as_ref()));
    out.set_item("volatility", volatility.collect::<PyResult<Vec<_>>>()?)?;
    let steadiness = found.steadiness.map(|s| {
        let d = PyDict::new(py);
        d.set_item("pieces", s.pieces)?;
        d.set_item("p_rate", s.p_rate)?;
        d.set_item("rate_ratio", s.rate_ratio)?;
        d.set_item("p_decay", s.p_decay)?;
        d.set_item("decay_ratio", s.decay_ratio)?;
        PyResult::Ok(d)
    });
    out.set_item("steadiness", steadiness.transpose()?)?;
    out.set_item("marks", marks(py, &found.marks)?)?;
    Ok(out)
}

fn holding<'py>(py: Python<'py>, range: &HoldingRange) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("from", range.from)?;
    out.set_item("to", range.to.is_finite().then_some(range.to))?;
    out.set_item("orders", range.orders)?;
    out.set_item("intensity_a", range.fit.mle.a)?;
    out.set_item("intensity_k", range.fit.mle.k)?;
    out.set_item("se_log_a", range.fit.se_log_a)?;
    out.set_item("se_k", range.fit.se_k)?;
    out.set_item("chi_square", range.chi_square)?;
    out.set_item("degrees", range.degrees)?;
    out.set_item("p_value", range.p_value)?;
    out.set_item("misfit", range.misfit)?;
    Ok(out)
}

fn horizon<'py>(py: Python<'py>, horizon_s: usize, v: Option<&HorizonVolatility>) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("horizon_s", horizon_s)?;
    out.set_item("changes", v.map_or(0, |v| v.changes))?;
    out.set_item("realized", v.map(|v| v.realized))?;
    out.set_item("se_realized", v.map(|v| v.se_realized))?;
    out.set_item("ewma", v.map(|v| v.ewma))?;
    out.set_item("two_scales", v.and_then(|v| v.two_scales))?;
    Ok(out)
}

fn marks<'py>(py: Python<'py>, marks: &[Mark]) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    let column = |f: &dyn Fn(&Mark) -> f64| marks.iter().map(f).collect::<Vec<_>>();
    out.set_item("local_ts_ns", marks.iter().map(|m| m.local_ts_ns).collect::<Vec<_>>())?;
    out.set_item("orders", marks.iter().map(|m| m.totals.orders).collect::<Vec<_>>())?;
    out.set_item("intensity_a", column(&|m| m.readings.intensity.a))?;
    out.set_item("intensity_k", column(&|m| m.readings.intensity.k))?;
    out.set_item("se_log_a", column(&|m| m.readings.intensity.se_log_a))?;
    out.set_item("se_k", column(&|m| m.readings.intensity.se_k))?;
    out.set_item("sigma", column(&|m| m.readings.sigma))?;
    Ok(out)
}
