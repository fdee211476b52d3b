//! The microprice's table for Python: fitted from recorded events, looked up by the metrics.

use std::sync::{Arc, Mutex, PoisonError};

use mm_core::metrics::MicropriceFit as CoreFit;
use mm_core::model::microprice_table;
use numpy::{PyArray2, PyArrayMethods, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::counts;
use crate::error::CoreError;
use crate::events::EventBatch;

/// Adjustment of the mid by the touch's imbalance and spread: the microprice is the mid plus so many ticks.
///
/// Args:
///     ticks: float64 ``(spreads, imbalance_bins)``: one row a spread from one tick up (wider ones count as the
///         last), one column a bin of the bid's share of the quantity at the touch, from none to all.
///
/// Raises:
///     ValueError: the table is empty or holds a value that is not finite.
///
/// Source: Stoikov, "The micro-price" (2018).
#[pyclass(frozen, module = "mm_hybrid._core")]
pub struct MicropriceTable {
    inner: Arc<microprice_table::MicropriceTable>,
    shape: [usize; 2],
}

impl MicropriceTable {
    /// The table as metrics share it.
    pub fn shared(&self) -> Arc<microprice_table::MicropriceTable> {
        Arc::clone(&self.inner)
    }
}

#[pymethods]
impl MicropriceTable {
    #[new]
    #[expect(clippy::needless_pass_by_value, reason = "a borrow of the caller's array")]
    fn new(ticks: PyReadonlyArray2<'_, f64>) -> Result<Self, CoreError> {
        let shape = [ticks.shape()[0], ticks.shape()[1]];
        let values = ticks.as_array().iter().copied().collect();
        let inner = Arc::new(microprice_table::MicropriceTable::new(values, shape[1], shape[0])?);
        Ok(Self { inner, shape })
    }

    /// A copy of the table, to be kept and given to the constructor again.
    #[getter]
    fn ticks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f64>>> {
        numpy::PyArray1::from_slice(py, self.inner.ticks()).reshape(self.shape)
    }

    /// Return what is to be added to the mid, ticks.
    fn adjustment_ticks(&self, bid_share: f64, spread_ticks: i64) -> f64 {
        self.inner.adjustment_ticks(bid_share, spread_ticks)
    }
}

/// Fits a :class:`MicropriceTable` to one symbol's recorded events.
///
/// Args:
///     symbol: symbol as the feed writes it.
///     tick_size: price grid, P.
///     imbalance_bins: bins of the bid's share; times ``spreads`` at most 200.
///     spreads: spreads told apart, from one tick up.
///
/// Raises:
///     ValueError: a value is out of range.
///
/// Example:
///     >>> fit = MicropriceFit(symbol="BTCUSDT", tick_size=0.1)
///     >>> reader = EventReader(["bybit-BTCUSDT.ndjson.zst"], symbol="BTCUSDT")
///     >>> while len(batch := reader.read(2000)):
///     ...     fit.update(batch)
///     >>> metrics = MarketMetrics(symbol="BTCUSDT", microprice=fit.fit())
#[pyclass(frozen, module = "mm_hybrid._core")]
pub struct MicropriceFit {
    inner: Mutex<CoreFit>,
    shape: [usize; 2],
}

#[pymethods]
impl MicropriceFit {
    #[new]
    #[pyo3(signature = (*, symbol, tick_size, imbalance_bins=10, spreads=4))]
    fn new(
        symbol: &str,
        tick_size: f64,
        #[pyo3(from_py_with = counts::imbalance_bins)] imbalance_bins: usize,
        #[pyo3(from_py_with = counts::spreads)] spreads: usize,
    ) -> Result<Self, CoreError> {
        let inner = Mutex::new(CoreFit::new(symbol, tick_size, imbalance_bins, spreads)?);
        Ok(Self { inner, shape: [spreads, imbalance_bins] })
    }

    /// Take events in, in the order of their local time; events of other symbols are skipped.
    fn update(&self, py: Python<'_>, batch: &Bound<'_, EventBatch>) {
        let events = batch.get().events();
        py.detach(|| self.inner.lock().unwrap_or_else(PoisonError::into_inner).update(events));
    }

    /// Changes of the book counted.
    #[getter]
    fn seen(&self) -> u64 {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).seen()
    }

    /// Return the table of what was seen; states from which the mid never moved get no adjustment.
    ///
    /// Raises:
    ///     ValueError: nothing was seen, or the chain of states has no limit.
    fn fit(&self, py: Python<'_>) -> Result<MicropriceTable, CoreError> {
        let table = py.detach(|| self.inner.lock().unwrap_or_else(PoisonError::into_inner).fit())?;
        Ok(MicropriceTable { inner: Arc::new(table), shape: self.shape })
    }
}
