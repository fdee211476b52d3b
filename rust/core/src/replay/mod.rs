//! Recorded data: files of any Tardis layout -> one stream of events in local-time order.
//!
//! `source` opens a file whatever it is compressed with, `ndjson` and `csv` read one layout each, `reader` chooses between
//! them, `merge` joins many files, `scan` says what files hold, `rebuild` runs them through books.

mod csv;
mod merge;
mod ndjson;
mod reader;
mod rebuild;
mod scan;
mod source;

pub use merge::Merge;
pub use reader::{Item, Reader};
pub use rebuild::{Rebuilt, rebuild};
pub use scan::{MarketScan, scan};

#[cfg(test)]
mod tests;
