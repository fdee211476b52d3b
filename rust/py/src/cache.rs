//! The local cache for Python.

use std::path::PathBuf;
use std::time::Duration;

use mm_core::Error;
use mm_core::cache;
use mm_core::time;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::counts;
use crate::error::CoreError;
use crate::process::OwnerProcess;

/// Calibrated parameters as they were stored.
#[pyclass(frozen, get_all, module = "mm_hybrid._core")]
pub struct CachedCalibration {
    ts_ns: i64,
    intensity_a: f64,
    intensity_k: f64,
    sigma: f64,
    orders_seen: i64,
    seconds_seen: f64,
    se_log_a: Option<f64>,
    se_k: Option<f64>,
}

#[pymethods]
impl CachedCalibration {
    fn __repr__(&self) -> String {
        let Self { ts_ns, intensity_a, intensity_k, sigma, orders_seen, seconds_seen, .. } = self;
        format!(
            "CachedCalibration(ts_ns={ts_ns}, intensity_a={intensity_a}, intensity_k={intensity_k}, sigma={sigma}, \
             orders_seen={orders_seen}, seconds_seen={seconds_seen})"
        )
    }
}

/// One second of one book as it was stored.
#[pyclass(frozen, get_all, module = "mm_hybrid._core")]
pub struct CachedSnapshot {
    second: i64,
    mid: Option<f64>,
    spread_bps: Option<f64>,
    imbalance: Option<f64>,
    depth_bid_quote: Option<f64>,
    depth_ask_quote: Option<f64>,
    volatility_1m_bps: Option<f64>,
}

#[pymethods]
impl CachedSnapshot {
    fn __repr__(&self) -> String {
        let Self { second, mid, spread_bps, .. } = self;
        format!("CachedSnapshot(second={second}, mid={mid:?}, spread_bps={spread_bps:?})")
    }
}

/// An open cache file.
#[pyclass(frozen, module = "mm_hybrid._core")]
pub struct Cache {
    inner: cache::Cache,
    path: PathBuf,
    process: OwnerProcess,
}

impl Cache {
    fn check(&self) -> Result<(), CoreError> {
        self.process.check(|reason| Error::Cache { path: self.path.display().to_string(), reason })
    }

    /// The handle a feed writes its rows through.
    pub fn writer(&self) -> Result<cache::CacheWriter, CoreError> {
        self.check()?;
        Ok(self.inner.writer())
    }
}

#[pymethods]
impl Cache {
    #[new]
    #[pyo3(signature = (path, *, max_age_hours=24.0, max_mb=256))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        max_age_hours: f64,
        #[pyo3(from_py_with = counts::max_mb)] max_mb: u64,
    ) -> PyResult<Self> {
        let max_age = Duration::try_from_secs_f64(max_age_hours * 3600.0)
            .map_err(|error| PyValueError::new_err(format!("max_age_hours: {error}")))?;
        if max_mb == 0 {
            return Err(PyValueError::new_err("max_mb: must be above 0"));
        }
        let limits = cache::Limits { max_age, max_bytes: max_mb.saturating_mul(1 << 20) };
        let inner = py.detach(|| cache::Cache::open(&path, limits)).map_err(CoreError)?;
        Ok(Self { inner, path, process: OwnerProcess::current() })
    }

    #[pyo3(signature = (exchange, symbol, *, intensity_a, intensity_k, sigma, orders_seen, seconds_seen, se_log_a=None, se_k=None, ts_ns=None, wait=true))]
    #[expect(clippy::too_many_arguments, reason = "keyword-only in Python")]
    fn put_calibration(
        &self,
        py: Python<'_>,
        exchange: String,
        symbol: String,
        intensity_a: f64,
        intensity_k: f64,
        sigma: f64,
        orders_seen: i64,
        seconds_seen: f64,
        se_log_a: Option<f64>,
        se_k: Option<f64>,
        ts_ns: Option<i64>,
        wait: bool,
    ) -> PyResult<()> {
        self.check()?;
        let finite = [("intensity_a", intensity_a), ("intensity_k", intensity_k), ("sigma", sigma)];
        if let Some((name, value)) = finite.iter().find(|(_, value)| !value.is_finite()) {
            return Err(PyValueError::new_err(format!("{name}: must be finite, is {value}")));
        }
        let ts_ns = ts_ns.unwrap_or_else(time::now_ns);
        let row = cache::Calibration {
            exchange,
            symbol,
            ts_ns,
            intensity_a,
            intensity_k,
            sigma,
            orders_seen,
            seconds_seen,
            se_log_a,
            se_k,
        };
        if !wait {
            self.inner.writer().record_calibration(row);
            return Ok(());
        }
        Ok(py.detach(|| self.inner.put_calibration(row)).map_err(CoreError)?)
    }

    #[pyo3(signature = (exchange, symbol, max_age_ns, *, now_ns=None))]
    fn get_calibration(
        &self,
        py: Python<'_>,
        exchange: &str,
        symbol: &str,
        max_age_ns: i64,
        now_ns: Option<i64>,
    ) -> Result<Option<CachedCalibration>, CoreError> {
        self.check()?;
        let now_ns = now_ns.unwrap_or_else(time::now_ns);
        let within_ns = (now_ns.saturating_sub(max_age_ns), now_ns.saturating_add(CLOCK_SLACK_NS));
        let found = py.detach(|| self.inner.calibration(exchange, symbol, within_ns))?;
        Ok(found.map(|row| CachedCalibration {
            ts_ns: row.ts_ns,
            intensity_a: row.intensity_a,
            intensity_k: row.intensity_k,
            sigma: row.sigma,
            orders_seen: row.orders_seen,
            seconds_seen: row.seconds_seen,
            se_log_a: row.se_log_a,
            se_k: row.se_k,
        }))
    }

    /// Hands an episode of alarm over; never waits for the disk.
    fn record_spike(&self, exchange: String, symbol: String, episode: &Bound<'_, PyDict>) -> PyResult<()> {
        self.check()?;
        let value = |name: &str| {
            let missing = || PyValueError::new_err(format!("episode: `{name}` is missing"));
            episode.get_item(name)?.ok_or_else(missing)
        };
        self.inner.writer().record_spike(cache::SpikeRow {
            exchange,
            symbol,
            start_ns: value("start_ns")?.extract()?,
            end_ns: value("end_ns")?.extract()?,
            kind: value("kind")?.extract()?,
            severity: value("severity")?.extract()?,
            score: value("score")?.extract()?,
            threshold: value("threshold")?.extract()?,
            mid: value("mid")?.extract()?,
            reason: value("reason")?.extract()?,
        });
        Ok(())
    }

    /// The episodes of a symbol since a local time.
    #[pyo3(signature = (exchange, symbol, from_ns=0))]
    fn spikes<'py>(&self, py: Python<'py>, exchange: &str, symbol: &str, from_ns: i64) -> PyResult<Bound<'py, PyList>> {
        self.check()?;
        let rows = py.detach(|| self.inner.spikes(exchange, symbol, from_ns)).map_err(CoreError)?;
        let episode = |row: cache::SpikeRow| {
            let out = PyDict::new(py);
            out.set_item("kind", row.kind)?;
            out.set_item("start_ns", row.start_ns)?;
            out.set_item("end_ns", row.end_ns)?;
            out.set_item("severity", row.severity)?;
            out.set_item("score", row.score)?;
            out.set_item("threshold", row.threshold)?;
            out.set_item("mid", row.mid)?;
            out.set_item("reason", row.reason)?;
            Ok(out)
        };
        PyList::new(py, rows.into_iter().map(episode).collect::<PyResult<Vec<_>>>()?)
    }

    fn latest_snapshot(
        &self,
        py: Python<'_>,
        exchange: &str,
        symbol: &str,
    ) -> Result<Option<CachedSnapshot>, CoreError> {
        self.check()?;
        let found = py.detach(|| self.inner.latest_snapshot(exchange, symbol))?;
        Ok(found.map(|row| CachedSnapshot {
            second: row.second,
            mid: row.mid,
            spread_bps: row.spread_bps,
            imbalance: row.imbalance,
            depth_bid_quote: row.depth_bid_quote,
            depth_ask_quote: row.depth_ask_quote,
            volatility_1m_bps: row.volatility_1m_bps,
        }))
    }

    #[getter]
    fn errors(&self) -> u64 {
        self.inner.writer().errors()
    }

    #[getter]
    fn warning(&self) -> String {
        self.inner.writer().warning()
    }

    fn close(&self, py: Python<'_>) {
        if self.process.is_current() {
            py.detach(|| self.inner.close());
        }
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    #[pyo3(signature = (*_exc_info))]
    fn __exit__(&self, py: Python<'_>, _exc_info: &Bound<'_, pyo3::types::PyTuple>) {
        self.close(py);
    }
}

/// How far ahead a row may be: clocks are set back a little now and then.
const CLOCK_SLACK_NS: i64 = 1_000_000_000;
