//! `mm_hybrid._core`: the thin Python binding of `mm_core`.

#![allow(
    clippy::doc_markdown,
    clippy::doc_link_with_quotes,
    rustdoc::broken_intra_doc_links,
    reason = "comments of what Python sees are its docstrings, in the style of Python"
)]

mod arrays;
mod book;
mod cache;
mod calibrate;
mod consolidated;
mod counts;
mod error;
mod events;
mod feed;
mod formulas;
mod interrupt;
mod market;
mod metrics;
mod microprice;
mod model;
mod optimal;
mod process;
mod replay;
mod risk_aversion;
mod serve;
mod sim;
mod tickers;
mod usual;
mod watch;

/// The extension module; names only.
#[pyo3::pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::cache::{Cache, CachedCalibration, CachedSnapshot};

    #[pymodule_export]
    use crate::calibrate::Calibrator;

    #[pymodule_export]
    use crate::error::{BookError, CacheError, DecodeError, FeedError, MmHybridError, ReplayError};

    #[pymodule_export]
    use crate::book::{AggregatedOrderBook, Books};

    #[pymodule_export]
    use crate::consolidated::{ConsolidatedOrderBook, consolidate};

    #[pymodule_export]
    use crate::serve::Outbox;

    #[pymodule_export]
    use crate::events::{EventBatch, Trade};

    #[pymodule_export]
    use crate::feed::Feed;

    #[pymodule_export]
    use crate::formulas::{as_quotes, as_reservation, cusum, hampel, lee_mykland, ofi, vol_estimators, vpin};

    #[pymodule_export]
    use crate::market::SyntheticMarket;

    #[pymodule_export]
    use crate::metrics::MarketMetrics;
    #[pymodule_export]
    use crate::microprice::{MicropriceFit, MicropriceTable};

    #[pymodule_export]
    use crate::model::{
        Estimators, GlftQuotes, TouchPrices, ewma_vol, gamma_for_inventory_sd, glft_closed_form, inventory_sd_lots,
        weighted_mid,
    };

    #[pymodule_export]
    use crate::optimal::{
        chain_rate, exact_quotes, fit_intensity, microprice_markov, seed_pnl_linear, seed_pnl_renewal, seed_pnl_toxic,
    };

    #[pymodule_export]
    use crate::replay::{EventReader, MarketScan, convert_files, rebuild_books, scan_files};

    #[pymodule_export]
    use crate::risk_aversion::RiskAversion;

    #[pymodule_export]
    use crate::sim::{Execution, SimExchange};

    #[pymodule_export]
    use crate::tickers::{BookSample, BookTicker, DerivativeTicker};

    #[pymodule_export]
    use crate::usual::UsualTouch;

    #[pymodule_export]
    use crate::watch::{AdverseMove, RegimeDetector};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::process::count_forks(module.py())?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
