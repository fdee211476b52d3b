//! Local cache: one-second book snapshots, episodes of alarm and calibrated parameters, so that a restart is warm.
//!
//! Not the journal: nothing here is needed to be right, only to be quick. One thread owns the `SQLite` connection; the
//! feed hands it rows over a bounded channel and never waits. A corrupt file is set aside and a new one begun.

mod store;
mod writer;

pub use store::{Calibration, Limits, SnapshotRow, SpikeRow, Store};
pub use writer::{Cache, CacheWriter};
