//! The local cache for Python.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mm_core::Error;
use mm_core::cache;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

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
}

#[pymethods]
impl CachedCalibration {
    fn __repr__(&self) -> String {
        let Self { ts_ns, intensity_a, intensity_k, sigma, orders_seen, seconds_seen } = self;
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
    #[pyo3(signature = (path, *, max_age_hours=24.0))]
    fn new(py: Python<'_>, path: PathBuf, max_age_hours: f64) -> PyResult<Self> {
        let max_age = Duration::try_from_secs_f64(max_age_hours * 3600.0)
            .map_err(|error| PyValueError::new_err(format!("max_age_hours: {error}")))?;
        let inner = py.detach(|| cache::Cache::open(&path, max_age)).map_err(CoreError)?;
        Ok(Self { inner, path, process: OwnerProcess::current() })
    }

    #[pyo3(signature = (exchange, symbol, *, intensity_a, intensity_k, sigma, orders_seen, seconds_seen, ts_ns=None))]
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
        ts_ns: Option<i64>,
    ) -> PyResult<()> {
        self.check()?;
        let finite = [("intensity_a", intensity_a), ("intensity_k", intensity_k), ("sigma", sigma)];
        if let Some((name, value)) = finite.iter().find(|(_, value)| !value.is_finite()) {
            return Err(PyValueError::new_err(format!("{name}: must be finite, is {value}")));
        }
        let ts_ns = ts_ns.unwrap_or_else(now_ns);
        let row =
            cache::Calibration { exchange, symbol, ts_ns, intensity_a, intensity_k, sigma, orders_seen, seconds_seen };
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
        let oldest_ns = now_ns.unwrap_or_else(self::now_ns).saturating_sub(max_age_ns);
        let found = py.detach(|| self.inner.calibration(exchange, symbol, oldest_ns))?;
        Ok(found.map(|row| CachedCalibration {
            ts_ns: row.ts_ns,
            intensity_a: row.intensity_a,
            intensity_k: row.intensity_k,
            sigma: row.sigma,
            orders_seen: row.orders_seen,
            seconds_seen: row.seconds_seen,
        }))
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

/// Wall-clock time, for callers that keep no clock of their own.
fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
}
