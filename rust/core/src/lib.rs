//! Core of `mm_hybrid`: market data in, books, metrics, models and simulation out.
//!
//! The data flows `feed`/`replay` -> `decode` -> `book` -> `metrics` -> snapshot. `market` makes synthetic markets of
//! known truth, `sim` matches our own orders against a market, `model` holds closed-form quotes and estimators.
//! Nothing here knows Python.

pub mod book;
pub mod cache;
pub mod decode;
pub mod encode;
pub mod error;
pub mod event;
pub mod feed;
pub mod market;
pub mod metrics;
pub mod model;
pub mod queue;
pub mod replay;
pub mod serve;
pub mod sim;
pub mod time;
pub mod types;

pub use error::{Error, Result};
