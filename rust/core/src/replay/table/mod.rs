//! The fast local format: one Arrow IPC file (Feather version 2) a market and UTC day.
//!
//! polars, pyarrow and, through them, duckdb open it as a table; we read it without parsing a digit. A message is one
//! row, a book change one row a level; `is_first` marks the row a message begins with. The footer holds what the
//! columns cannot: the market, the decimal grid its numbers lie on, and a checksum of every block. Blocks are not
//! compressed and hold whole messages.
//!
//! Source: Apache Arrow columnar format, section "IPC File Format".

mod grid;
mod read;
mod rows;
mod schema;
mod write;

pub(super) use read::{MAGIC, TableReader};
pub(super) use write::FinishedTable;
pub use write::TableWriter;

#[cfg(test)]
mod tests;
