//! Books and their snapshots for Python.

use std::sync::{Mutex, MutexGuard, PoisonError};

use mm_core::book::{BookMap, BookSnapshot, BookState};
use mm_core::encode::encode;
use mm_core::event::Level;
use mm_core::types::Ns;
use numpy::PyArray2;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use crate::arrays::{self, LevelsOut};
use crate::counts;
use crate::events::EventBatch;

/// Levels of a snapshot when the caller names no depth.
pub const DEFAULT_DEPTH: usize = 50;

/// One consistent copy of a book, its metrics and its state.
#[pyclass(frozen, module = "mm_hybrid._core")]
pub struct AggregatedOrderBook {
    snapshot: BookSnapshot,
    bids: Py<PyArray2<f64>>,
    asks: Py<PyArray2<f64>>,
}

impl AggregatedOrderBook {
    /// Moves a snapshot to Python.
    pub fn new(py: Python<'_>, snapshot: BookSnapshot) -> Self {
        let bids = arrays::levels(py, &snapshot.bids).unbind();
        let asks = arrays::levels(py, &snapshot.asks).unbind();
        Self { snapshot, bids, asks }
    }

    /// The snapshot behind it.
    pub fn snapshot(&self) -> &BookSnapshot {
        &self.snapshot
    }
}

/// The name of a state, made once.
pub fn state_name(py: Python<'_>, state: BookState) -> Py<PyString> {
    let name = match state {
        BookState::Unsynced => intern!(py, "UNSYNCED"),
        BookState::Live => intern!(py, "LIVE"),
        BookState::Stale => intern!(py, "STALE"),
        BookState::Crossed => intern!(py, "CROSSED"),
    };
    name.clone().unbind()
}

fn price(level: Option<Level>) -> Option<f64> {
    level.map(|level| level.price.to_f64())
}

fn qty(level: Option<Level>) -> Option<f64> {
    level.map(|level| level.qty.to_f64())
}

#[pymethods]
impl AggregatedOrderBook {
    #[getter]
    fn exchange(&self) -> &str {
        &self.snapshot.exchange
    }

    #[getter]
    fn symbol(&self) -> &str {
        &self.snapshot.symbol
    }

    #[getter]
    fn state(&self) -> String {
        self.snapshot.state.to_string()
    }

    #[getter]
    fn reason(&self) -> &str {
        &self.snapshot.reason
    }

    #[getter]
    fn bids(&self, py: Python<'_>) -> Py<PyArray2<f64>> {
        self.bids.clone_ref(py)
    }

    #[getter]
    fn asks(&self, py: Python<'_>) -> Py<PyArray2<f64>> {
        self.asks.clone_ref(py)
    }

    #[getter]
    fn best_bid(&self) -> Option<f64> {
        price(self.snapshot.best_bid)
    }

    #[getter]
    fn best_bid_qty(&self) -> Option<f64> {
        qty(self.snapshot.best_bid)
    }

    #[getter]
    fn best_ask(&self) -> Option<f64> {
        price(self.snapshot.best_ask)
    }

    #[getter]
    fn best_ask_qty(&self) -> Option<f64> {
        qty(self.snapshot.best_ask)
    }

    #[getter]
    fn mid_price(&self) -> Option<f64> {
        self.snapshot.mid_price
    }

    #[getter]
    fn spread_bps(&self) -> Option<f64> {
        self.snapshot.spread_bps
    }

    #[getter]
    fn microprice(&self) -> Option<f64> {
        self.snapshot.microprice
    }

    #[getter]
    fn imbalance(&self) -> Option<f64> {
        self.snapshot.imbalance
    }

    #[getter]
    fn depth_10pct<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let depth = &self.snapshot.depth_10pct;
        let dict = PyDict::new(py);
        dict.set_item("bid_base", depth.bid_base)?;
        dict.set_item("ask_base", depth.ask_base)?;
        dict.set_item("bid_quote", depth.bid_quote)?;
        dict.set_item("ask_quote", depth.ask_quote)?;
        dict.set_item("covered_pct", depth.covered_pct)?;
        Ok(dict)
    }

    #[getter]
    fn volatility_1m(&self) -> Option<f64> {
        self.snapshot.volatility_1m
    }

    #[getter]
    fn timestamp(&self) -> Ns {
        self.snapshot.local_ts_ns
    }

    #[getter]
    fn exchange_ts_ns(&self) -> Ns {
        self.snapshot.exchange_ts_ns
    }

    #[getter]
    fn age_ns(&self) -> Ns {
        self.snapshot.age_ns
    }

    #[getter]
    fn messages(&self) -> u64 {
        self.snapshot.messages
    }

    #[getter]
    fn book_changes(&self) -> u64 {
        self.snapshot.book_changes
    }

    #[getter]
    fn trades(&self) -> u64 {
        self.snapshot.trades
    }

    #[getter]
    fn crossed_levels_pruned(&self) -> u64 {
        self.snapshot.crossed_levels_pruned
    }

    #[getter]
    fn levels(&self) -> (usize, usize) {
        self.snapshot.levels
    }

    fn __repr__(&self) -> String {
        let BookSnapshot { exchange, symbol, state, levels: (bids, asks), .. } = &self.snapshot;
        let mid = self.snapshot.mid_price.map_or_else(|| "none".to_owned(), |mid| mid.to_string());
        format!("AggregatedOrderBook({exchange} {symbol} {state}, mid {mid}, {bids} bids, {asks} asks)")
    }
}

/// Books of many symbols, fed by batches of events.
#[pyclass(frozen, module = "mm_hybrid._core")]
pub struct Books {
    books: Mutex<BookMap>,
}

impl From<BookMap> for Books {
    fn from(books: BookMap) -> Self {
        Self { books: Mutex::new(books) }
    }
}

impl Books {
    fn lock(&self) -> MutexGuard<'_, BookMap> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Books {
    #[new]
    fn new() -> Self {
        Self::from(BookMap::new())
    }

    /// Applies every event of a batch to the book it concerns.
    fn apply(&self, py: Python<'_>, batch: &EventBatch) {
        py.detach(|| {
            let mut books = self.lock();
            batch.events().iter().for_each(|event| books.apply(event));
        });
    }

    /// A copy of one book, its best `depth` levels (all with `None`); `None` for a symbol never seen.
    #[pyo3(signature = (exchange, symbol, depth=Some(DEFAULT_DEPTH)), text_signature = "($self, exchange, symbol, depth=50)")]
    fn snapshot(
        &self,
        py: Python<'_>,
        exchange: &str,
        symbol: &str,
        #[pyo3(from_py_with = counts::depth)] depth: Option<usize>,
    ) -> Option<AggregatedOrderBook> {
        let depth = depth.unwrap_or(usize::MAX);
        let snapshot = py.detach(|| self.lock().snapshot(exchange, symbol, depth))?;
        Some(AggregatedOrderBook::new(py, snapshot))
    }

    /// Copies the best levels into `out`, float64 `(2, depth, 2)`; returns state, local time of the last change and age,
    /// or `None` for a symbol never seen.
    fn snapshot_into(
        &self,
        py: Python<'_>,
        exchange: &str,
        symbol: &str,
        out: &Bound<'_, PyAny>,
    ) -> PyResult<Option<(Py<PyString>, Ns, Ns)>> {
        let mut out = LevelsOut::new(out)?;
        let read = self.lock().copy_levels(exchange, symbol, out.values()?);
        Ok(read.map(|(state, local_ts_ns, age_ns)| (state_name(py, state), local_ts_ns, age_ns)))
    }

    /// The whole book as a Tardis snapshot message; `None` while it is not synced.
    fn snapshot_message<'py>(
        &self,
        py: Python<'py>,
        exchange: &str,
        symbol: &str,
        local_ts_ns: Ns,
    ) -> Option<Bound<'py, PyBytes>> {
        let message = py.detach(|| {
            let event = self.lock().get(exchange, symbol)?.snapshot_event(local_ts_ns)?;
            let mut message = Vec::new();
            encode(&event, &mut message);
            Some(message)
        })?;
        Some(PyBytes::new(py, &message))
    }

    /// Every `(exchange, symbol)` seen, sorted.
    fn symbols(&self) -> Vec<(String, String)> {
        self.lock().symbols().iter().map(|(e, s)| (e.to_string(), s.to_string())).collect()
    }
}
