//! The live feed for Python: pull only, no Rust thread ever calls back.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mm_core::Error;
use mm_core::feed::{self, FeedConfig, Recording, Replay};
use mm_core::time::parse_moment_ns;
use mm_core::types::Ns;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::arrays::{self, LevelsOut};
use crate::book::{AggregatedOrderBook, state_name};
use crate::cache::Cache;
use crate::counts;
use crate::error::CoreError;
use crate::events::EventBatch;
use crate::process::OwnerProcess;

/// A live stream of one exchange, from a Tardis machine or the exchange itself.
///
/// Reading takes microseconds and waits for no other Python thread, so it keeps the interpreter attached: a thread that
/// detached would be ended in the middle of Rust code, which aborts the process, when the interpreter ends meanwhile.
#[pyclass(frozen, module = "mm_hybrid._core")]
pub struct Feed {
    inner: Arc<feed::Feed>,
    process: OwnerProcess,
}

impl Drop for Feed {
    /// A forked child has a copy of the feed and not its thread, which may have held a lock at that moment: taking the
    /// copy apart could wait for it for ever.
    fn drop(&mut self) {
        if !self.process.is_current() {
            std::mem::forget(Arc::clone(&self.inner));
        }
    }
}

impl Feed {
    fn check(&self) -> Result<(), CoreError> {
        self.process.check(|reason| Error::Feed { url: self.inner.config().url.clone(), reason })
    }

    /// The symbol meant: the one named, or the only one there is.
    fn symbol<'a>(&'a self, symbol: Option<&'a str>) -> PyResult<&'a str> {
        let symbols = &self.inner.config().symbols;
        match (symbol, symbols.as_slice()) {
            (Some(symbol), _) => Ok(symbol),
            (None, [only]) => Ok(only),
            (None, _) => Err(PyValueError::new_err(format!("symbol: give one of {}", symbols.join(", ")))),
        }
    }

    fn not_subscribed(&self, symbol: &str) -> PyErr {
        let symbols = self.inner.config().symbols.join(", ");
        PyValueError::new_err(format!("symbol: {symbol:?} is not subscribed, only {symbols}"))
    }
}

/// A time as Python gives it.
#[derive(FromPyObject)]
enum Moment {
    Ns(Ns),
    Text(String),
}

impl Moment {
    fn ns(self, name: &str) -> PyResult<Ns> {
        match self {
            Self::Ns(ns) => Ok(ns),
            Self::Text(text) => parse_moment_ns(&text).ok_or_else(|| {
                PyValueError::new_err(format!("{name}: {text:?} is neither an ISO 8601 time in UTC nor integer ns"))
            }),
        }
    }
}

/// What to replay, if anything.
fn replay(from: Option<Moment>, to: Option<Moment>, idle_after: Duration) -> PyResult<Option<Replay>> {
    match (from, to) {
        (None, None) => Ok(None),
        (Some(from), Some(to)) => {
            let (from_ns, to_ns) = (from.ns("replay_from")?, to.ns("replay_to")?);
            Ok(Some(Replay { from_ns, to_ns, idle_after }))
        }
        _ => Err(PyValueError::new_err("replay_from, replay_to: give both or none")),
    }
}

#[pymethods]
impl Feed {
    #[new]
    #[pyo3(signature = (
        url, *, exchange, symbols, data_types=None, source="tardis", book_depth=200, stale_after_ms=3000,
        resync_after_ms=10_000, reconnect_min_ms=100, reconnect_max_ms=32_000, queue_events=0, end_on_finish=false,
        replay_from=None, replay_to=None, replay_idle_s=600, cache=None, record_folder=None, record_rotate_mb=256, record_rotate_minutes=60
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword-only in Python")]
    fn new(
        py: Python<'_>,
        url: String,
        exchange: String,
        symbols: Vec<String>,
        data_types: Option<Vec<String>>,
        source: &str,
        #[pyo3(from_py_with = counts::book_depth)] book_depth: u32,
        #[pyo3(from_py_with = counts::stale_after_ms)] stale_after_ms: u64,
        #[pyo3(from_py_with = counts::resync_after_ms)] resync_after_ms: u64,
        #[pyo3(from_py_with = counts::reconnect_min_ms)] reconnect_min_ms: u64,
        #[pyo3(from_py_with = counts::reconnect_max_ms)] reconnect_max_ms: u64,
        #[pyo3(from_py_with = counts::queue_events)] queue_events: usize,
        end_on_finish: bool,
        replay_from: Option<Moment>,
        replay_to: Option<Moment>,
        replay_idle_s: u64,
        cache: Option<&Bound<'_, Cache>>,
        record_folder: Option<PathBuf>,
        #[pyo3(from_py_with = counts::record_rotate_mb)] record_rotate_mb: u64,
        #[pyo3(from_py_with = counts::record_rotate_minutes)] record_rotate_minutes: u64,
    ) -> PyResult<Self> {
        let config = FeedConfig {
            source: source.parse().map_err(CoreError)?,
            url,
            exchange,
            symbols,
            data_types: data_types.unwrap_or_else(|| vec!["book_change".to_owned(), "trade".to_owned()]),
            book_depth,
            stale_after: Duration::from_millis(stale_after_ms),
            resync_after: Duration::from_millis(resync_after_ms),
            reconnect_min: Duration::from_millis(reconnect_min_ms),
            reconnect_max: Duration::from_millis(reconnect_max_ms),
            queue_events,
            end_on_finish,
            replay: replay(replay_from, replay_to, Duration::from_secs(replay_idle_s))?,
        };
        // Makes numpy load now: a reader's thread that is still loading it when the interpreter ends takes the process down.
        arrays::levels(py, &[]);
        let writer = cache.map(|cache| cache.get().writer()).transpose()?;
        let mut inner = feed::Feed::new(config, writer).map_err(CoreError)?;
        if let Some(folder) = record_folder {
            if record_rotate_mb == 0 || record_rotate_minutes == 0 {
                return Err(PyValueError::new_err("record_rotate_mb, record_rotate_minutes: must be above 0"));
            }
            let rotate_every = Duration::from_secs(record_rotate_minutes.saturating_mul(60));
            inner = inner.recording(Recording { folder, rotate_bytes: record_rotate_mb << 20, rotate_every });
        }
        Ok(Self { inner: Arc::new(inner), process: OwnerProcess::current() })
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

    fn lead(&self) -> Result<bool, CoreError> {
        self.check()?;
        Ok(self.inner.lead())
    }

    /// Keeps the interpreter attached as every reader does: a turn takes a batch of messages at most.
    fn turn(&self) -> Result<(bool, bool), CoreError> {
        self.check()?;
        Ok(self.inner.turn())
    }

    fn sockets_fileno(&self) -> Result<RawFd, CoreError> {
        self.check()?;
        Ok(self.inner.sockets_fd())
    }

    #[pyo3(signature = (symbol=None, depth=50))]
    fn snapshot(
        &self,
        py: Python<'_>,
        symbol: Option<&str>,
        #[pyo3(from_py_with = counts::depth)] depth: usize,
    ) -> PyResult<AggregatedOrderBook> {
        self.check()?;
        let symbol = self.symbol(symbol)?;
        let snapshot = self.inner.board().snapshot(symbol, depth);
        let snapshot = snapshot.ok_or_else(|| self.not_subscribed(symbol))?;
        Ok(AggregatedOrderBook::new(py, snapshot))
    }

    /// Copies the best levels into `out`, float64 `(2, depth, 2)`; returns state, local time of the last change and age.
    ///
    /// Takes no detour over the interpreter's lock: the board's own is held for a few hundred nanoseconds.
    #[pyo3(signature = (out, symbol=None))]
    fn snapshot_into(
        &self,
        py: Python<'_>,
        out: &Bound<'_, PyAny>,
        symbol: Option<&str>,
    ) -> PyResult<(Py<PyString>, Ns, Ns)> {
        self.check()?;
        let symbol = self.symbol(symbol)?;
        let mut out = LevelsOut::new(out)?;
        let read = self.inner.board().copy_levels(symbol, out.values()?);
        let (state, local_ts_ns, age_ns) = read.ok_or_else(|| self.not_subscribed(symbol))?;
        Ok((state_name(py, state), local_ts_ns, age_ns))
    }

    /// Watches for news for at most `patience_us` without sleeping; `True` when there was some, which is cleared.
    fn watch(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = counts::patience_us)] patience_us: u64,
    ) -> Result<bool, CoreError> {
        self.check()?;
        let patience = Duration::from_micros(patience_us);
        Ok(py.detach(|| self.inner.watch(patience)))
    }

    #[pyo3(signature = (max_events=0))]
    fn drain(&self, #[pyo3(from_py_with = counts::max_events)] max_events: usize) -> Result<EventBatch, CoreError> {
        self.check()?;
        Ok(EventBatch::from(self.inner.board().drain(max_events)))
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.check()?;
        let stats = self.inner.board().stats();
        let dict = PyDict::new(py);
        dict.set_item("messages", stats.messages)?;
        dict.set_item("book_changes", stats.book_changes)?;
        dict.set_item("trades", stats.trades)?;
        dict.set_item("disconnects", stats.disconnects)?;
        dict.set_item("tickers", stats.tickers)?;
        dict.set_item("upstream_errors", stats.upstream_errors)?;
        dict.set_item("decode_errors", stats.decode_errors)?;
        dict.set_item("gaps", stats.gaps)?;
        dict.set_item("bad_checksums", stats.bad_checksums)?;
        dict.set_item("crosses", stats.crosses)?;
        dict.set_item("unknown_messages", stats.unknown_messages)?;
        dict.set_item("decode_fallbacks", stats.decode_fallbacks)?;
        dict.set_item("connects", stats.connects)?;
        dict.set_item("reconnects", stats.reconnects)?;
        dict.set_item("resyncs", stats.resyncs)?;
        dict.set_item("refusals", stats.refusals)?;
        dict.set_item("dropped_events", stats.dropped_events)?;
        dict.set_item("queued_events", stats.queued_events)?;
        dict.set_item("merged_news", stats.merged_news)?;
        dict.set_item("late_spells", stats.late_spells)?;
        let tape = self.inner.tape();
        dict.set_item("recorded_messages", tape.messages())?;
        dict.set_item("recorded_bytes", tape.bytes())?;
        dict.set_item("recorded_files", tape.files())?;
        dict.set_item("recording_rejected", tape.rejected())?;
        dict.set_item("recording_dropped", tape.dropped())?;
        dict.set_item("recording_failure", tape.failure())?;
        dict.set_item("cache_errors", stats.cache_errors)?;
        dict.set_item("cache_warning", stats.cache_warning)?;
        dict.set_item("connected", stats.connected)?;
        dict.set_item("finished", stats.finished)?;
        dict.set_item("running", stats.running)?;
        dict.set_item("led", self.inner.is_led())?;
        dict.set_item("last_error", stats.last_error)?;
        dict.set_item("failure", stats.failure)?;
        dict.set_item("stale_seconds", stats.stale_seconds)?;
        dict.set_item("last_local_ts_ns", stats.last_local_ts_ns)?;
        dict.set_item("last_lag_ns", stats.last_lag_ns)?;
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
