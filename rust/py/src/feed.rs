//! The live feed for Python: pull only, no Rust thread ever calls back.

use std::os::fd::RawFd;
use std::time::Duration;

use mm_core::Error;
use mm_core::feed::{self, FeedConfig};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::book::AggregatedOrderBook;
use crate::cache::Cache;
use crate::error::CoreError;
use crate::events::EventBatch;
use crate::process::OwnerProcess;

/// A live stream of one exchange from a Tardis machine.
#[pyclass(frozen, module = "mm_hybrid._core")]
pub struct Feed {
    inner: feed::Feed,
    process: OwnerProcess,
}

impl Feed {
    fn check(&self) -> Result<(), CoreError> {
        self.process.check(|reason| Error::Feed { url: self.inner.config().url.clone(), reason })
    }
}

#[pymethods]
impl Feed {
    #[new]
    #[pyo3(signature = (
        url, *, exchange, symbols, data_types=None, stale_after_ms=3000, resync_after_ms=10_000, reconnect_min_ms=100,
        reconnect_max_ms=32_000, queue_events=0, end_on_finish=false, cache=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword-only in Python")]
    fn new(
        url: String,
        exchange: String,
        symbols: Vec<String>,
        data_types: Option<Vec<String>>,
        stale_after_ms: u64,
        resync_after_ms: u64,
        reconnect_min_ms: u64,
        reconnect_max_ms: u64,
        queue_events: usize,
        end_on_finish: bool,
        cache: Option<&Bound<'_, Cache>>,
    ) -> PyResult<Self> {
        let config = FeedConfig {
            url,
            exchange,
            symbols,
            data_types: data_types.unwrap_or_else(|| vec!["book_change".to_owned(), "trade".to_owned()]),
            stale_after: Duration::from_millis(stale_after_ms),
            resync_after: Duration::from_millis(resync_after_ms),
            reconnect_min: Duration::from_millis(reconnect_min_ms),
            reconnect_max: Duration::from_millis(reconnect_max_ms),
            queue_events,
            end_on_finish,
        };
        let writer = cache.map(|cache| cache.get().writer()).transpose()?;
        let inner = feed::Feed::new(config, writer).map_err(CoreError)?;
        Ok(Self { inner, process: OwnerProcess::current() })
    }

    fn start(&self, py: Python<'_>) -> Result<(), CoreError> {
        self.check()?;
        Ok(py.detach(|| self.inner.start())?)
    }

    /// In a forked child there is no thread to end.
    fn close(&self, py: Python<'_>) {
        if self.process.is_current() {
            py.detach(|| self.inner.close());
        }
    }

    fn fileno(&self) -> Result<RawFd, CoreError> {
        self.check()?;
        Ok(self.inner.board().wake().fd())
    }

    fn clear(&self) -> Result<(), CoreError> {
        self.check()?;
        self.inner.board().wake().clear();
        Ok(())
    }

    #[pyo3(signature = (symbol=None, depth=50))]
    fn snapshot(&self, py: Python<'_>, symbol: Option<&str>, depth: usize) -> PyResult<AggregatedOrderBook> {
        self.check()?;
        let symbols = &self.inner.config().symbols;
        let symbol = match (symbol, symbols.as_slice()) {
            (Some(symbol), _) => symbol,
            (None, [only]) => only,
            (None, _) => return Err(PyValueError::new_err(format!("symbol: give one of {}", symbols.join(", ")))),
        };
        let snapshot = py.detach(|| self.inner.board().snapshot(symbol, depth));
        let snapshot = snapshot.ok_or_else(|| {
            PyValueError::new_err(format!("symbol: {symbol:?} is not subscribed, only {}", symbols.join(", ")))
        })?;
        Ok(AggregatedOrderBook::new(py, snapshot))
    }

    #[pyo3(signature = (max_events=0))]
    fn drain(&self, py: Python<'_>, max_events: usize) -> Result<EventBatch, CoreError> {
        self.check()?;
        Ok(EventBatch::from(py.detach(|| self.inner.board().drain(max_events))))
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.check()?;
        let stats = py.detach(|| self.inner.board().stats());
        let dict = PyDict::new(py);
        dict.set_item("messages", stats.messages)?;
        dict.set_item("book_changes", stats.book_changes)?;
        dict.set_item("trades", stats.trades)?;
        dict.set_item("disconnects", stats.disconnects)?;
        dict.set_item("tickers", stats.tickers)?;
        dict.set_item("upstream_errors", stats.upstream_errors)?;
        dict.set_item("decode_errors", stats.decode_errors)?;
        dict.set_item("unknown_messages", stats.unknown_messages)?;
        dict.set_item("connects", stats.connects)?;
        dict.set_item("reconnects", stats.reconnects)?;
        dict.set_item("resyncs", stats.resyncs)?;
        dict.set_item("refusals", stats.refusals)?;
        dict.set_item("dropped_events", stats.dropped_events)?;
        dict.set_item("queued_events", stats.queued_events)?;
        dict.set_item("cache_errors", stats.cache_errors)?;
        dict.set_item("cache_warning", stats.cache_warning)?;
        dict.set_item("connected", stats.connected)?;
        dict.set_item("finished", stats.finished)?;
        dict.set_item("running", stats.running)?;
        dict.set_item("last_error", stats.last_error)?;
        dict.set_item("stale_seconds", stats.stale_seconds)?;
        dict.set_item("last_local_ts_ns", stats.last_local_ts_ns)?;
        dict.set_item("last_frame_age_ns", stats.last_frame_age_ns)?;
        Ok(dict)
    }

    fn __enter__(this: Py<Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        this.get().start(py)?;
        Ok(this)
    }

    #[pyo3(signature = (*_exc_info))]
    fn __exit__(&self, py: Python<'_>, _exc_info: &Bound<'_, PyTuple>) {
        self.close(py);
    }
}
