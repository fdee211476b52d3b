//! Events of one market into a table.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::types::UInt8Type;
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, RecordBatch, TimestampNanosecondArray, UInt8Array,
};
use arrow_buffer::BooleanBufferBuilder;
use arrow_ipc::writer::FileWriter;
use arrow_schema::ArrowError;

use super::grid::as_double;
use super::schema::{
    ASK, BID, BOOK, BUY, BlockSummary, DISCONNECT, KINDS, LIQUIDATION, MESSAGE, NONE, SELL, SIDES, SUMMARY_CRC_KEY,
    SUMMARY_KEY, Summary, TRADE, VERSION, names, schema,
};
use crate::encode::encode;
use crate::error::{Error, Result};
use crate::event::{Event, EventKind, Level};
use crate::types::{Decimal, Ns, Side};

/// Rows after which a block is written. Small enough that hundreds of markets can be written at a time.
const BLOCK_ROWS: usize = 16_384;

/// Writes one table. It appears under its name when it is finished, and not at all if it never is.
pub struct TableWriter {
    path: PathBuf,
    part: PathBuf,
    file: Option<FileWriter<Checksummed<BufWriter<File>>>>,
    summary: Summary,
    rows: Rows,
    kinds: ArrayRef,
    sides: ArrayRef,
}

impl TableWriter {
    /// A table of one market at `path`; what was there is replaced at the end.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be made.
    pub fn create(path: &Path, exchange: &str, symbol: &str) -> Result<Self> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let fail = |source| Error::File { path: part.display().to_string(), source };
        let out = Checksummed::new(BufWriter::with_capacity(1 << 20, File::create(&part).map_err(fail)?));
        let file = FileWriter::try_new(out, &schema()).map_err(|error| failed(&part, error))?;
        let summary = Summary {
            version: VERSION,
            exchange: exchange.to_owned(),
            symbol: symbol.to_owned(),
            price_decimals: 0,
            qty_decimals: 0,
            blocks: Vec::new(),
        };
        let (kinds, sides) = (names(&KINDS), names(&SIDES));
        let mut table =
            Self { path: path.to_owned(), part, file: Some(file), summary, rows: Rows::default(), kinds, sides };
        // A block without rows takes the dictionaries with it, so that every later block is one message of the file.
        table.write_block()?;
        Ok(table)
    }

    /// Where the table will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds one event.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn push(&mut self, event: &Event) -> Result<()> {
        if !self.push_numbers(event) {
            // A number that no double stands for, or a type without columns of its own: kept as text.
            let mut text = Vec::new();
            encode(event, &mut text);
            let text = String::from_utf8_lossy(&text);
            self.rows.push(event, MESSAGE, NONE, (0.0, 0.0), Some(&text));
        }
        if self.rows.local_ts.len() >= BLOCK_ROWS { self.write_block() } else { Ok(()) }
    }

    /// `false` when the event has to be kept as text.
    fn push_numbers(&mut self, event: &Event) -> bool {
        match &event.kind {
            EventKind::BookChange { is_snapshot, bids, asks } => self.push_book(event, *is_snapshot, bids, asks),
            EventKind::Trade { id, price, qty, side } => {
                self.push_print(event, TRADE, id.as_deref(), (*price, *qty), *side)
            }
            EventKind::Liquidation { id, price, qty, side } => {
                self.push_print(event, LIQUIDATION, id.as_deref(), (*price, *qty), *side)
            }
            EventKind::Disconnect => {
                let symbol = Some(&*event.symbol).filter(|symbol| !symbol.is_empty());
                self.rows.push(event, DISCONNECT, NONE, (0.0, 0.0), symbol);
                true
            }
            _ => false,
        }
    }

    fn push_book(&mut self, event: &Event, is_snapshot: bool, bids: &[Level], asks: &[Level]) -> bool {
        let start = self.rows.local_ts.len();
        for (side, levels) in [(BID, bids), (ASK, asks)] {
            for level in levels {
                let Some(numbers) = self.numbers(level.price, level.qty) else {
                    self.rows.truncate(start);
                    return false;
                };
                self.rows.push(event, BOOK, side, numbers, None);
            }
        }
        if self.rows.local_ts.len() == start {
            self.rows.push(event, BOOK, NONE, (0.0, 0.0), None);
        }
        self.rows.mark_message(start, is_snapshot);
        true
    }

    fn push_print(
        &mut self,
        event: &Event,
        kind: u8,
        id: Option<&str>,
        (price, qty): (Decimal, Decimal),
        side: Option<Side>,
    ) -> bool {
        let Some(numbers) = self.numbers(price, qty) else { return false };
        let side = side.map_or(NONE, |side| if side == Side::Buy { BUY } else { SELL });
        self.rows.push(event, kind, side, numbers, id);
        true
    }

    fn numbers(&mut self, price: Decimal, qty: Decimal) -> Option<(f64, f64)> {
        let numbers = (as_double(price)?, as_double(qty)?);
        self.summary.price_decimals = self.summary.price_decimals.max(price.decimals);
        self.summary.qty_decimals = self.summary.qty_decimals.max(qty.decimals);
        Some(numbers)
    }

    fn write_block(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        let (first, last) = (rows.local_ts.first().copied(), rows.local_ts.iter().max().copied());
        let count = rows.local_ts.len() as u64;
        let batch = rows.into_batch(&self.kinds, &self.sides).map_err(|error| failed(&self.part, error))?;
        let Some(file) = &mut self.file else { return Ok(()) };
        file.get_mut().hasher = crc32fast::Hasher::new();
        file.write(&batch).map_err(|error| failed(&self.part, error))?;
        let crc32 = file.get_ref().hasher.clone().finalize();
        let (first_local_ts_ns, last_local_ts_ns) = (first.unwrap_or(0), last.unwrap_or(0));
        self.summary.blocks.push(BlockSummary { crc32, rows: count, first_local_ts_ns, last_local_ts_ns });
        Ok(())
    }

    /// Writes the footer and gives the table its name.
    ///
    /// # Errors
    /// The file cannot be written or renamed.
    pub fn finish(self) -> Result<PathBuf> {
        self.close()?.place()
    }

    /// Writes the footer. The table has yet to be put in its place.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(in crate::replay) fn close(mut self) -> Result<FinishedTable> {
        if !self.rows.local_ts.is_empty() {
            self.write_block()?;
        }
        // The block of the dictionaries is preceded by them and covers no rows: nothing to check.
        let summary = serde_json::to_string(&self.summary).map_err(|error| failed(&self.part, error))?;
        let file = self.file.take();
        let table = FinishedTable { path: std::mem::take(&mut self.path), part: self.part.clone(), is_placed: false };
        let Some(mut file) = file else { return Ok(table) };
        file.write_metadata(SUMMARY_CRC_KEY, crc32fast::hash(summary.as_bytes()).to_string());
        file.write_metadata(SUMMARY_KEY, summary);
        file.finish().map_err(|error| failed(&self.part, error))?;
        let fail = |source| Error::File { path: self.part.display().to_string(), source };
        let out = file.into_inner().map_err(|error| failed(&self.part, error))?;
        out.inner.into_inner().map_err(|error| fail(error.into_error()))?.sync_all().map_err(fail)?;
        Ok(table)
    }
}

/// A table that is whole and not yet under its name; it goes away unless it is put there.
pub(in crate::replay) struct FinishedTable {
    path: PathBuf,
    part: PathBuf,
    is_placed: bool,
}

impl FinishedTable {
    /// Gives the table its name; what was there is replaced.
    pub(in crate::replay) fn place(mut self) -> Result<PathBuf> {
        let fail = |source| Error::File { path: self.part.display().to_string(), source };
        std::fs::rename(&self.part, &self.path).map_err(fail)?;
        self.is_placed = true;
        Ok(std::mem::take(&mut self.path))
    }
}

impl Drop for FinishedTable {
    fn drop(&mut self) {
        if !self.is_placed {
            // There is nobody to tell.
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

impl Drop for TableWriter {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Half a table is worth nothing, and there is nobody to tell.
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

fn failed(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::File { path: path.display().to_string(), source: std::io::Error::other(error.to_string()) }
}

/// Columns of the block being filled.
#[derive(Default)]
struct Rows {
    local_ts: Vec<Ns>,
    exchange_ts: Vec<Ns>,
    kind: Vec<u8>,
    side: Vec<u8>,
    is_snapshot: Vec<bool>,
    is_first: Vec<bool>,
    price: Vec<f64>,
    qty: Vec<f64>,
    text: Vec<Option<Box<str>>>,
}

impl Rows {
    /// Adds a row that is a message of its own until it is marked otherwise.
    fn push(&mut self, event: &Event, kind: u8, side: u8, (price, qty): (f64, f64), text: Option<&str>) {
        self.local_ts.push(event.local_ts_ns);
        self.exchange_ts.push(event.exchange_ts_ns);
        self.kind.push(kind);
        self.side.push(side);
        self.is_snapshot.push(false);
        self.is_first.push(true);
        self.price.push(price);
        self.qty.push(qty);
        self.text.push(text.map(Into::into));
    }

    /// Makes the rows from `start` on one message.
    fn mark_message(&mut self, start: usize, is_snapshot: bool) {
        self.is_snapshot[start..].fill(is_snapshot);
        self.is_first[start + 1..].fill(false);
    }

    fn truncate(&mut self, rows: usize) {
        self.local_ts.truncate(rows);
        self.exchange_ts.truncate(rows);
        self.kind.truncate(rows);
        self.side.truncate(rows);
        self.is_snapshot.truncate(rows);
        self.is_first.truncate(rows);
        self.price.truncate(rows);
        self.qty.truncate(rows);
        self.text.truncate(rows);
    }

    fn into_batch(self, kinds: &ArrayRef, sides: &ArrayRef) -> std::result::Result<RecordBatch, ArrowError> {
        let mut text = StringBuilder::new();
        for value in &self.text {
            text.append_option(value.as_deref());
        }
        let time = |values| TimestampNanosecondArray::from(values).with_timezone("UTC");
        let name =
            |codes, names: &ArrayRef| DictionaryArray::<UInt8Type>::try_new(UInt8Array::from(codes), Arc::clone(names));
        let flags = |flags: &[bool]| {
            let mut bits = BooleanBufferBuilder::new(flags.len());
            bits.append_slice(flags);
            BooleanArray::new(bits.finish(), None)
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(time(self.local_ts)),
            Arc::new(time(self.exchange_ts)),
            Arc::new(name(self.kind, kinds)?),
            Arc::new(name(self.side, sides)?),
            Arc::new(flags(&self.is_snapshot)),
            Arc::new(flags(&self.is_first)),
            Arc::new(Float64Array::from(self.price)),
            Arc::new(Float64Array::from(self.qty)),
            Arc::new(text.finish()),
        ];
        RecordBatch::try_new(schema(), columns)
    }
}

/// Passes bytes on and takes their checksum.
struct Checksummed<W> {
    inner: W,
    hasher: crc32fast::Hasher,
}

impl<W> Checksummed<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: crc32fast::Hasher::new() }
    }
}

impl<W: Write> Write for Checksummed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
