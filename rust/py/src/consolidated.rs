//! One view of several venues for Python.

use mm_core::book::{Consolidated, ConsolidatedLevel};
use mm_core::types::Ns;
use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray2, PyArrayMethods};
use pyo3::prelude::*;

use crate::arrays;
use crate::book::AggregatedOrderBook;
use crate::counts;

/// The books of several venues laid over each other.
#[pyclass(frozen, get_all, module = "mm_hybrid._core")]
pub struct ConsolidatedOrderBook {
    venues: Vec<(String, String)>,
    excluded: Vec<(String, String, String, String)>,
    bids: Py<PyArray2<f64>>,
    asks: Py<PyArray2<f64>>,
    bids_by_venue: Py<PyArray2<f64>>,
    asks_by_venue: Py<PyArray2<f64>>,
    best_bid: Option<f64>,
    best_ask: Option<f64>,
    is_crossed: bool,
    oldest_ts_ns: Ns,
}

/// Lays snapshots over each other; only `LIVE` ones take part.
#[pyfunction]
#[pyo3(signature = (books, depth = 50))]
#[expect(clippy::needless_pass_by_value, reason = "what PyO3 extracts")]
pub fn consolidate(
    py: Python<'_>,
    books: Vec<PyRef<'_, AggregatedOrderBook>>,
    #[pyo3(from_py_with = counts::depth)] depth: usize,
) -> ConsolidatedOrderBook {
    let snapshots: Vec<_> = books.iter().map(|book| book.snapshot().clone()).collect();
    let view = Consolidated::of(&snapshots, depth);
    let pair = |levels: &[ConsolidatedLevel]| -> Vec<[f64; 2]> { levels.iter().map(|l| [l.price, l.qty]).collect() };
    let by_venue = |levels: &[ConsolidatedLevel]| {
        let shape = (levels.len(), view.venues.len());
        let array = Array2::from_shape_fn(shape, |(row, venue)| levels[row].by_venue[venue]).into_pyarray(py);
        array.readwrite().make_nonwriteable();
        array.unbind()
    };
    ConsolidatedOrderBook {
        bids: arrays::levels(py, &pair(&view.bids)).unbind(),
        asks: arrays::levels(py, &pair(&view.asks)).unbind(),
        bids_by_venue: by_venue(&view.bids),
        asks_by_venue: by_venue(&view.asks),
        best_bid: view.bids.first().map(|level| level.price),
        best_ask: view.asks.first().map(|level| level.price),
        is_crossed: view.is_crossed(),
        oldest_ts_ns: view.oldest_ts_ns,
        venues: view.venues.iter().map(|(exchange, symbol)| (exchange.to_string(), symbol.to_string())).collect(),
        excluded: view
            .excluded
            .iter()
            .map(|out| (out.exchange.to_string(), out.symbol.to_string(), out.state.to_string(), out.reason.clone()))
            .collect(),
    }
}
