//! Recorded data: files of any Tardis layout -> one stream of events in local-time order.
//!
//! `files` finds the files of a folder, `source` opens a file whatever it is compressed with, `ndjson`, `csv` and
//! `table` read one layout each, `reader` chooses between them, `merge` joins many files, `scan` says what files hold,
//! `rebuild` runs them through books, `convert` turns them into tables. `notices` keeps what is worth a warning, `frames`
//! finds where a recording that was cut off is whole, `limit` says when too many files would be open.

mod convert;
mod csv;
mod csv_derived;
mod files;
mod frames;
mod limit;
mod merge;
mod ndjson;
mod notices;
mod reader;
mod rebuild;
mod scan;
mod source;
mod table;

pub use convert::{Converted, Progress, convert};
pub use limit::note_limit;
pub use merge::Merge;
pub use notices::Notices;
pub use reader::{Item, Reader};
pub use rebuild::{Rebuilt, rebuild};
pub use scan::{MarketScan, scan};
pub use table::TableWriter;

#[cfg(test)]
mod tests;
