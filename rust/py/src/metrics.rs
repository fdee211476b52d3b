//! Streaming metrics and alarms of one symbol for Python.

use std::sync::{Arc, Mutex, PoisonError};

use mm_core::book::SymbolBook;
use mm_core::event::EventKind;
use mm_core::metrics::alarms::{AlarmKind, Episode};
use mm_core::metrics::{MetricsConfig, MetricsReading};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::counts;
use crate::error::CoreError;
use crate::events::EventBatch;
use crate::microprice::MicropriceTable;

struct State {
    config: MetricsConfig,
    symbol: Option<String>,
    /// Made with the first event of the symbol.
    book: Option<SymbolBook>,
}

/// Every metric of one symbol and its alarms, kept as events come; constant memory, constant time an event.
///
/// Args:
///     symbol: symbol as the feed writes it; ``None`` takes the first one seen.
///     tick_size: price grid, P; ``None`` takes the grid of the first book.
///     imbalance_levels: levels a side that the imbalance counts, 1 to 50.
///     depth_band_bps: how far from mid the depth counts, bps, 1 to 9999.
///     microprice: table of the microprice; without one the weighted mid stands in.
///     volatility_window_s: seconds of the windowed volatilities.
///     volatility_slow_s: stride of their slow scale, s.
///     vpin_bucket: base units of a bucket; ``None`` takes a mean minute's volume of the first five.
///     vpin_buckets: buckets of VPIN.
///     false_alarms_per_hour: episodes an hour that may be false; thresholds follow from it.
///     alarm_warm_up_s: seconds before the first alarm; thresholds need scores to rest on.
///
/// Raises:
///     ValueError: a value is out of range.
#[pyclass(frozen, module = "mm_hybrid._core")]
pub struct MarketMetrics(Mutex<State>);

#[pymethods]
impl MarketMetrics {
    #[new]
    #[pyo3(signature = (
        *, symbol=None, tick_size=None, imbalance_levels=5, depth_band_bps=1000, microprice=None, volatility_window_s=300,
        volatility_slow_s=5, vpin_bucket=None, vpin_buckets=50, false_alarms_per_hour=2.0, alarm_warm_up_s=600.0
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword-only in Python")]
    fn new(
        symbol: Option<String>,
        tick_size: Option<f64>,
        #[pyo3(from_py_with = counts::imbalance_levels)] imbalance_levels: usize,
        depth_band_bps: i64,
        microprice: Option<&Bound<'_, MicropriceTable>>,
        #[pyo3(from_py_with = counts::volatility_window_s)] volatility_window_s: usize,
        #[pyo3(from_py_with = counts::volatility_slow_s)] volatility_slow_s: usize,
        vpin_bucket: Option<f64>,
        #[pyo3(from_py_with = counts::vpin_buckets)] vpin_buckets: usize,
        false_alarms_per_hour: f64,
        alarm_warm_up_s: f64,
    ) -> Result<Self, CoreError> {
        let mut config = MetricsConfig {
            imbalance_levels,
            depth_band_bps,
            microprice: microprice.map(|table| table.get().shared()),
            volatility_window_s,
            volatility_slow_s,
            vpin_bucket,
            vpin_buckets,
            ..MetricsConfig::default()
        };
        config.estimators.tick_size = tick_size;
        config.alarms.budget_per_hour = false_alarms_per_hour;
        config.alarms.warm_up_s = alarm_warm_up_s;
        config.check()?;
        Ok(Self(Mutex::new(State { config, symbol, book: None })))
    }

    /// Take events in, in the order of their local time; events of other symbols are skipped.
    fn update(&self, py: Python<'_>, batch: &Bound<'_, EventBatch>) -> Result<(), CoreError> {
        let events = batch.get().events();
        py.detach(|| {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for event in events {
                let State { config, symbol, book } = &mut *state;
                if let Some(book) = book {
                    let ours = *event.exchange == **book.exchange() && *event.symbol == **book.symbol();
                    if ours || event.disconnects(book.exchange(), book.symbol()) {
                        book.apply(event);
                    }
                    continue;
                }
                let wanted = symbol.as_deref().is_none_or(|symbol| *symbol == *event.symbol);
                if wanted && event.kind != EventKind::Disconnect {
                    let fresh = SymbolBook::new(Arc::clone(&event.exchange), Arc::clone(&event.symbol));
                    book.insert(fresh.with_metrics(config.clone())?).apply(event);
                }
            }
            Ok(())
        })
    }

    /// Return every figure as of the last event, ``None`` where it is not known; ``docs/metrics.md`` lists them.
    fn read<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = state.book.as_ref().and_then(SymbolBook::read_metrics);
        reading_to_dict(py, &reading.unwrap_or_default())
    }

    /// Return whether thresholds are known yet, and the kinds of alarm that are on.
    fn alarms(&self) -> (bool, Vec<&'static str>) {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(metrics) = state.book.as_ref().and_then(SymbolBook::metrics) else { return (false, Vec::new()) };
        let (is_ready, on) = (metrics.alarms().is_ready(), metrics.alarms().active(metrics.now_ns()));
        (is_ready, AlarmKind::ALL.into_iter().filter(|kind| on & kind.bit() != 0).map(AlarmKind::name).collect())
    }

    /// Take the episodes of alarm that are over: kind, start_ns, end_ns, severity, score, threshold, mid, reason.
    fn take_episodes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let metrics = state.book.as_mut().and_then(SymbolBook::metrics_mut);
        let episodes = metrics.map_or_else(Vec::new, |metrics| {
            let now_ns = metrics.now_ns();
            metrics.alarms_mut().take_finished(now_ns)
        });
        let rows = episodes.iter().map(|episode| episode_to_dict(py, episode)).collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, rows)
    }
}

fn episode_to_dict<'py>(py: Python<'py>, episode: &Episode) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("kind", episode.kind.name())?;
    out.set_item("start_ns", episode.start_ns)?;
    out.set_item("end_ns", episode.end_ns)?;
    out.set_item("severity", episode.severity().to_string())?;
    out.set_item("score", episode.score)?;
    out.set_item("threshold", episode.threshold)?;
    out.set_item("mid", Some(episode.mid).filter(|mid| mid.is_finite()))?;
    out.set_item("reason", episode.reason())?;
    Ok(out)
}

fn reading_to_dict<'py>(py: Python<'py>, r: &MetricsReading) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    let depth = PyDict::new(py);
    for (name, value) in [
        ("bid_base", r.depth.bid_base),
        ("ask_base", r.depth.ask_base),
        ("bid_quote", r.depth.bid_quote),
        ("ask_quote", r.depth.ask_quote),
        ("covered_pct", r.depth.covered_pct),
    ] {
        depth.set_item(name, value)?;
    }
    out.set_item("timestamp_ns", r.local_ts_ns)?;
    out.set_item("depth", depth)?;
    for (name, value) in [
        ("mid_price", r.mid),
        ("spread_bps", r.spread_bps),
        ("weighted_mid", r.weighted_mid),
        ("microprice", r.microprice),
        ("imbalance", r.imbalance),
        ("momentum_1s_bps", r.momentum_1s_bps),
        ("momentum_10s_bps", r.momentum_10s_bps),
        ("momentum_60s_bps", r.momentum_60s_bps),
        ("ofi_10s", Some(r.ofi_10s)),
        ("ofi_60s", Some(r.ofi_60s)),
        ("trade_flow_10s", Some(r.trade_flow_10s)),
        ("trade_flow_60s", Some(r.trade_flow_60s)),
        ("trade_imbalance_60s", r.trade_imbalance_60s),
        ("prints_per_s", Some(r.prints_per_s)),
        ("vpin", r.vpin),
        ("sigma_ewma", r.sigma),
        ("sigma_realized", r.window.map(|w| w.realized)),
        ("sigma_bipower", r.window.map(|w| w.bipower)),
        ("sigma_two_scales", r.window.map(|w| w.two_scales)),
        ("sigma_parkinson", r.window.map(|w| w.parkinson)),
        ("volatility_1m", r.volatility_1m_bps),
        ("intensity_a", r.intensity.map(|i| i.a)),
        ("intensity_k", r.intensity.map(|i| i.k)),
        ("se_k", r.intensity.map(|i| i.se_k)),
        ("se_log_a", r.intensity.map(|i| i.se_log_a)),
    ] {
        out.set_item(name, value)?;
    }
    out.set_item("orders_seen", r.orders_seen)?;
    let on = AlarmKind::ALL.into_iter().filter(|kind| r.alarms & kind.bit() != 0).map(AlarmKind::name);
    out.set_item("alarms", PyList::new(py, on.collect::<Vec<_>>())?)?;
    out.set_item("episodes", r.episodes)?;
    Ok(out)
}
