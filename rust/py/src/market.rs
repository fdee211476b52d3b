//! Synthetic markets for Python.

use std::sync::{Mutex, PoisonError};

use mm_core::Error;
use mm_core::market;
use mm_core::types::{Decimal, Ns};
use pyo3::prelude::*;

use crate::counts;
use crate::error::CoreError;
use crate::events::EventBatch;

/// A seeded market of known truth; see `mm_core::market::tier1`.
#[pyclass(frozen, module = "mm_hybrid._core")]
pub struct SyntheticMarket {
    market: Mutex<market::SyntheticMarket>,
    #[pyo3(get)]
    tick_size: String,
    #[pyo3(get)]
    lot_size: String,
}

#[pymethods]
impl SyntheticMarket {
    #[new]
    #[pyo3(signature = (
        *, exchange, symbol, seed, start_ns, s0=60_000.0, tick_size="0.1", lot_size="0.001", sigma=5.0, intensity_a=1.5,
        intensity_k=0.2, book_interval_ms=50.0, latency_median_ms=10.0, latency_p99_ms=100.0, levels=400, level_qty=0.05
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword-only in Python")]
    fn new(
        exchange: &str,
        symbol: &str,
        #[pyo3(from_py_with = counts::seed)] seed: u64,
        start_ns: Ns,
        s0: f64,
        tick_size: &str,
        lot_size: &str,
        sigma: f64,
        intensity_a: f64,
        intensity_k: f64,
        book_interval_ms: f64,
        latency_median_ms: f64,
        latency_p99_ms: f64,
        #[pyo3(from_py_with = counts::levels)] levels: usize,
        level_qty: f64,
    ) -> Result<Self, CoreError> {
        let parameters = market::Parameters {
            s0,
            tick_size: decimal("tick_size", tick_size)?,
            lot_size: decimal("lot_size", lot_size)?,
            sigma,
            intensity_a,
            intensity_k,
            book_interval_ms,
            latency_median_ms,
            latency_p99_ms,
            levels,
            level_qty,
        };
        let (tick_size, lot_size) = (parameters.tick_size.to_string(), parameters.lot_size.to_string());
        let market = market::SyntheticMarket::new(exchange, symbol, seed, start_ns, parameters)?;
        Ok(Self { market: Mutex::new(market), tick_size, lot_size })
    }

    /// All further events with local time up to and including `to_ns`.
    fn advance(&self, py: Python<'_>, to_ns: Ns) -> EventBatch {
        py.detach(|| self.lock().advance(to_ns)).into()
    }

    /// Local time of the next event.
    #[getter]
    fn next_local_ts_ns(&self) -> Ns {
        self.lock().next_local_ts_ns()
    }
}

impl SyntheticMarket {
    fn lock(&self) -> std::sync::MutexGuard<'_, market::SyntheticMarket> {
        self.market.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads decimal text given by a caller.
pub fn decimal(name: &'static str, text: &str) -> Result<Decimal, Error> {
    Decimal::parse(text.as_bytes())
        .ok_or_else(|| Error::Domain { name, reason: format!("{text:?} is not a decimal number") })
}
