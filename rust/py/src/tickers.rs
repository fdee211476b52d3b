//! Tickers and sampled books for Python.

use mm_core::event::{Event, EventKind};
use mm_core::types::{Decimal, Ns};
use numpy::PyArray2;
use pyo3::prelude::*;

use crate::arrays;

/// Best bid and ask from the exchange's own feed of them.
#[pyclass(frozen, get_all, module = "mm_hybrid._core")]
pub struct BookTicker {
    exchange: String,
    symbol: String,
    bid_price: Option<f64>,
    bid_qty: Option<f64>,
    ask_price: Option<f64>,
    ask_qty: Option<f64>,
    exchange_ts_ns: Ns,
    local_ts_ns: Ns,
}

impl BookTicker {
    pub fn of(event: &Event) -> Option<Self> {
        let EventKind::BookTicker(ticker) = &event.kind else { return None };
        Some(Self {
            exchange: event.exchange.to_string(),
            symbol: event.symbol.to_string(),
            bid_price: ticker.bid_price.map(Decimal::to_f64),
            bid_qty: ticker.bid_qty.map(Decimal::to_f64),
            ask_price: ticker.ask_price.map(Decimal::to_f64),
            ask_qty: ticker.ask_qty.map(Decimal::to_f64),
            exchange_ts_ns: event.exchange_ts_ns,
            local_ts_ns: event.local_ts_ns,
        })
    }
}

/// What the exchange says of a derivative beside its book.
#[pyclass(frozen, get_all, module = "mm_hybrid._core")]
pub struct DerivativeTicker {
    exchange: String,
    symbol: String,
    last_price: Option<f64>,
    open_interest: Option<f64>,
    funding_rate: Option<f64>,
    funding_ts_ns: Option<Ns>,
    predicted_funding_rate: Option<f64>,
    index_price: Option<f64>,
    mark_price: Option<f64>,
    exchange_ts_ns: Ns,
    local_ts_ns: Ns,
}

impl DerivativeTicker {
    pub fn of(event: &Event) -> Option<Self> {
        let EventKind::DerivativeTicker(ticker) = &event.kind else { return None };
        Some(Self {
            exchange: event.exchange.to_string(),
            symbol: event.symbol.to_string(),
            last_price: ticker.last_price.map(Decimal::to_f64),
            open_interest: ticker.open_interest.map(Decimal::to_f64),
            funding_rate: ticker.funding_rate.map(Decimal::to_f64),
            funding_ts_ns: ticker.funding_ts_ns,
            predicted_funding_rate: ticker.predicted_funding_rate.map(Decimal::to_f64),
            index_price: ticker.index_price.map(Decimal::to_f64),
            mark_price: ticker.mark_price.map(Decimal::to_f64),
            exchange_ts_ns: event.exchange_ts_ns,
            local_ts_ns: event.local_ts_ns,
        })
    }
}

/// The best levels of a book as the Tardis machine samples them.
#[pyclass(frozen, get_all, module = "mm_hybrid._core")]
pub struct BookSample {
    exchange: String,
    symbol: String,
    name: String,
    depth: u32,
    interval_ms: u64,
    bids: Py<PyArray2<f64>>,
    asks: Py<PyArray2<f64>>,
    exchange_ts_ns: Ns,
    local_ts_ns: Ns,
}

impl BookSample {
    pub fn of(py: Python<'_>, event: &Event) -> Option<Self> {
        let EventKind::BookSample(sample) = &event.kind else { return None };
        let side = |levels: &[mm_core::event::Level]| {
            let levels: Vec<_> = levels.iter().map(|level| [level.price.to_f64(), level.qty.to_f64()]).collect();
            arrays::levels(py, &levels).unbind()
        };
        Some(Self {
            exchange: event.exchange.to_string(),
            symbol: event.symbol.to_string(),
            name: sample.name.to_string(),
            depth: sample.depth,
            interval_ms: sample.interval_ms,
            bids: side(&sample.bids),
            asks: side(&sample.asks),
            exchange_ts_ns: event.exchange_ts_ns,
            local_ts_ns: event.local_ts_ns,
        })
    }
}
