//! Recorded files for Python: one stream of events, and what is in them.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mm_core::Error;
use mm_core::replay::{self, Merge, Notices};
use mm_core::types::Ns;
use pyo3::prelude::*;

use crate::book::Books;
use crate::counts;
use crate::error::CoreError;
use crate::events::EventBatch;
use crate::interrupt::Patience;

/// Files as one stream of event batches in local-time order, in bounded memory.
#[pyclass(frozen, module = "mm_hybrid._core")]
pub struct EventReader {
    merge: Mutex<Merge>,
    exchange: Option<String>,
    symbol: Option<String>,
    keep_text: bool,
    notices: Notices,
    /// What ended the last batch; raised by the next call, so that what was read before it is not lost.
    failure: Mutex<Option<Error>>,
}

#[pymethods]
impl EventReader {
    #[new]
    #[pyo3(signature = (paths, *, exchange = None, symbol = None, keep_text = false))]
    #[expect(clippy::needless_pass_by_value, reason = "what PyO3 extracts")]
    fn new(
        py: Python<'_>,
        paths: Vec<String>,
        exchange: Option<String>,
        symbol: Option<String>,
        keep_text: bool,
    ) -> PyResult<Self> {
        warned(py, &paths)?;
        let merge = if keep_text { Merge::open_with_text(&paths) } else { Merge::open(&paths) };
        let merge = merge.map_err(CoreError::from)?;
        warn(py, merge.notices())?;
        let notices = merge.notices().clone();
        Ok(Self { merge: Mutex::new(merge), notices, exchange, symbol, keep_text, failure: Mutex::new(None) })
    }

    /// The next events, at most `max_events` and none later than `until_ns`; an empty batch when there is none.
    #[pyo3(signature = (max_events = 1000, until_ns = None))]
    fn read(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = counts::max_events)] max_events: usize,
        until_ns: Option<Ns>,
    ) -> PyResult<EventBatch> {
        let batch = py.detach(|| {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(error) = failure.take() {
                return Err(error.into());
            }
            let mut merge = self.lock();
            let (mut events, mut texts) = (Vec::new(), Vec::new());
            while events.len() < max_events {
                if until_ns.zip(merge.next_ts_ns()).is_some_and(|(until, next)| next > until) {
                    break;
                }
                let item = match merge.next_item() {
                    Ok(Some(item)) => item,
                    Ok(None) => break,
                    Err(error) if events.is_empty() => return Err(error.into()),
                    Err(error) => {
                        *failure = Some(error);
                        break;
                    }
                };
                let Some(event) = item.event.filter(|event| self.wants(&event.exchange, &event.symbol)) else {
                    continue;
                };
                events.push(event);
                if self.keep_text {
                    texts.push(item.text);
                }
            }
            Ok(EventBatch::with_texts(events, texts))
        });
        warn(py, &self.notices)?;
        batch.map_err(|error: CoreError| error.into())
    }

    /// Local time of the next message; `None` at the end.
    #[getter]
    fn next_local_ts_ns(&self) -> Option<Ns> {
        // A failure is still to come, at the time of what would have come instead.
        let failed = self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        self.lock().next_ts_ns().or(failed.then_some(Ns::MIN))
    }

    /// Bytes read and bytes of all files.
    fn progress(&self) -> (u64, u64) {
        self.lock().progress()
    }

    fn __repr__(&self) -> String {
        format!("EventReader(exchange={:?}, symbol={:?})", self.exchange, self.symbol)
    }
}

impl EventReader {
    fn lock(&self) -> MutexGuard<'_, Merge> {
        self.merge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A disconnect names no symbol and concerns every one of its exchange.
    fn wants(&self, exchange: &str, symbol: &str) -> bool {
        self.exchange.as_deref().is_none_or(|wanted| wanted == exchange)
            && (symbol.is_empty() || self.symbol.as_deref().is_none_or(|wanted| wanted == symbol))
    }
}

/// Gives what is worth a warning to the logger `mm_hybrid.data`, which tells stderr unless it is told otherwise.
/// Says what is to be known before files are read; what comes up later goes into the notices returned.
fn warned(py: Python<'_>, paths: &[String]) -> PyResult<Notices> {
    let notices = Notices::default();
    replay::note_limit(paths, &notices);
    warn(py, &notices)?;
    Ok(notices)
}

fn warn(py: Python<'_>, notices: &Notices) -> PyResult<()> {
    for notice in notices.take() {
        let logger = py.import("logging")?.call_method1("getLogger", ("mm_hybrid.data",))?;
        logger.call_method1("warning", ("warning: %s", notice))?;
    }
    Ok(())
}

/// One symbol of a set of files and the grid its numbers lie on.
#[pyclass(frozen, get_all, module = "mm_hybrid._core")]
pub struct MarketScan {
    exchange: String,
    symbol: String,
    messages: u64,
    book_changes: u64,
    trades: u64,
    first_local_ts_ns: i64,
    last_local_ts_ns: i64,
    tick_size: String,
    lot_size: String,
}

impl From<replay::MarketScan> for MarketScan {
    fn from(scan: replay::MarketScan) -> Self {
        Self {
            exchange: scan.exchange.to_string(),
            symbol: scan.symbol.to_string(),
            messages: scan.messages,
            book_changes: scan.book_changes,
            trades: scan.trades,
            first_local_ts_ns: scan.first_local_ts_ns,
            last_local_ts_ns: scan.last_local_ts_ns,
            tick_size: scan.tick_size.to_string(),
            lot_size: scan.lot_size.to_string(),
        }
    }
}

/// Reads files to their end and describes each symbol, the one with most messages first.
#[pyfunction]
#[pyo3(signature = (paths, *, on_progress = None))]
#[expect(clippy::needless_pass_by_value, reason = "what PyO3 extracts")]
pub fn scan_files(py: Python<'_>, paths: Vec<String>, on_progress: Option<Py<PyAny>>) -> PyResult<Vec<MarketScan>> {
    let mut patience = Patience::telling(on_progress);
    let notices = warned(py, &paths)?;
    let scans = py.detach(|| replay::scan(&paths, &notices, |progress| patience.go_on(progress)));
    warn(py, &notices)?;
    let scans = scans.map_err(CoreError::from)?;
    patience.check()?;
    Ok(scans.into_iter().map(MarketScan::from).collect())
}

/// Runs files through books up to a local time, inclusive; `None` for all.
///
/// Returns the lines or rows taken, the latest local time among them, and the books.
#[pyfunction]
#[pyo3(signature = (paths, *, until_ns = None, on_progress = None))]
#[expect(clippy::needless_pass_by_value, reason = "what PyO3 extracts")]
pub fn rebuild_books(
    py: Python<'_>,
    paths: Vec<String>,
    until_ns: Option<Ns>,
    on_progress: Option<Py<PyAny>>,
) -> PyResult<(u64, Ns, Books)> {
    let mut patience = Patience::telling(on_progress);
    let notices = warned(py, &paths)?;
    let rebuilt = py.detach(|| replay::rebuild(&paths, until_ns, &notices, |progress| patience.go_on(progress)));
    warn(py, &notices)?;
    patience.check()?;
    let rebuilt = rebuilt.map_err(CoreError::from)?;
    Ok((rebuilt.lines, rebuilt.local_ts_ns, rebuilt.books.into()))
}

/// Converts files to tables of the fast local format in `folder`.
///
/// Returns the tables' paths, the lines or rows read, the messages written, and what is wrong with each file that could
/// not be used: the others are converted without it.
#[pyfunction]
#[pyo3(signature = (paths, folder, *, overwrite = false, on_progress = None))]
#[expect(clippy::needless_pass_by_value, reason = "what PyO3 extracts")]
pub fn convert_files(
    py: Python<'_>,
    paths: Vec<String>,
    folder: String,
    overwrite: bool,
    on_progress: Option<Py<PyAny>>,
) -> PyResult<(Vec<PathBuf>, u64, u64, Vec<String>)> {
    let mut patience = Patience::telling(on_progress);
    let notices = warned(py, &paths)?;
    let go_on = |progress| patience.go_on(progress);
    let converted = py.detach(|| replay::convert(&paths, &folder, overwrite, &notices, go_on));
    warn(py, &notices)?;
    patience.check()?;
    let converted = converted.map_err(CoreError::from)?;
    let refused = converted.refused.iter().map(|(_, error)| error.to_string()).collect();
    Ok((converted.tables, converted.lines, converted.messages, refused))
}
