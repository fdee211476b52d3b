//! One file as a sequence of items, whatever its layout.

use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::event::{Event, EventKind};
use crate::replay::csv::CsvReader;
use crate::replay::ndjson::NdjsonReader;
use crate::replay::notices::Notices;
use crate::replay::source::Lines;
use crate::replay::table::{MAGIC, TableReader};
use crate::types::Ns;

/// One message of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Arrival time, the order of everything.
    pub local_ts_ns: Ns,
    /// The event; `None` for a message of a type the core does not use.
    pub event: Option<Event>,
    /// Lines or rows the message took in its file.
    pub lines: u64,
    /// The message as it stands in the file, if the reader was told to keep it and it is one line of JSON.
    pub text: Option<Box<[u8]>>,
}

impl Item {
    /// An item of one line, without its text.
    pub fn of(event: Event) -> Self {
        Self { local_ts_ns: event.local_ts_ns, event: Some(event), lines: 1, text: None }
    }
}

/// Reads one file in bounded memory.
pub struct Reader(Layout);

enum Layout {
    Ndjson(NdjsonReader),
    Csv(CsvReader),
    Table(Box<TableReader>),
}

impl Reader {
    /// Opens a file; the layout is told by its first line.
    ///
    /// # Errors
    /// The file cannot be opened; [`Error::NoMarketData`] when it is empty or its first line is neither a message nor the
    /// header of a Tardis dataset.
    pub fn open(path: &str, notices: &Notices) -> Result<Self> {
        if let Some(table) = Self::open_table(path)? {
            return Ok(Self(Layout::Table(Box::new(table))));
        }
        let none = |reason: &str| Error::NoMarketData { path: path.to_owned(), reason: reason.to_owned() };
        let mut lines = Lines::open(path, notices)?;
        let cut = || none("the compressed data ends too early: the file was cut off before anything in it was whole");
        let first = match lines.first().map(|line| line.map(<[u8]>::to_vec)) {
            Err(_) if lines.is_cut_at_once() => return Err(cut()),
            first => first?,
        };
        Ok(Self(match first {
            None => return Err(none("the file is empty")),
            Some(line) if line.starts_with(MAGIC) => {
                return Err(none(
                    "a table is read here and there, which a pipe does not let one: name the file itself",
                ));
            }
            Some(line) if message(&line).first() == Some(&b'{') => {
                if !has_type(message(&line)) {
                    return Err(none("its first line is a JSON object without `type`: no message of market data"));
                }
                if line[0].is_ascii_digit() {
                    if lines.is_cut_at_once() {
                        return Err(cut());
                    }
                    lines.allow_cut_end();
                }
                Layout::Ndjson(NdjsonReader::new(lines, line))
            }
            Some(header) => Layout::Csv(CsvReader::new(lines, &header)?),
        }))
    }

    /// Opens a file if it is a table; of one that is not, and of a pipe, nothing is read that is wanted later.
    ///
    /// # Errors
    /// The file cannot be opened, or the table is damaged.
    pub(super) fn open_table(path: &str) -> Result<Option<TableReader>> {
        if is_table(path)? { TableReader::open(path).map(Some) } else { Ok(None) }
    }

    /// The next message, or `None` at the end.
    ///
    /// # Errors
    /// A line that cannot be read or understood, named as `path:line`.
    pub fn next_item(&mut self) -> Result<Option<Item>> {
        match &mut self.0 {
            Layout::Ndjson(reader) => reader.next(),
            Layout::Csv(reader) => reader.next(),
            Layout::Table(reader) => {
                let mut event = blank_event();
                let more = reader.next_into(&mut event)?;
                if matches!(event.kind, EventKind::Disconnect) {
                    // Every table of the exchange has its own row of it.
                    (event.exchange, event.symbol) = reader.market();
                }
                Ok(more.then(|| Item::of(event)))
            }
        }
    }

    /// Takes a message back that is done with: a later one uses its memory.
    pub fn recycle(&mut self, item: Item) {
        match &mut self.0 {
            Layout::Ndjson(reader) => reader.recycle(item),
            Layout::Csv(reader) => reader.recycle(item),
            Layout::Table(_) => {}
        }
    }

    /// Keeps the text of each message from here on.
    pub(super) fn keep_text(&mut self) {
        if let Layout::Ndjson(reader) = &mut self.0 {
            reader.keep_text();
        }
    }

    /// Bytes of the file taken so far, and bytes it has.
    pub fn progress(&self) -> (u64, u64) {
        match &self.0 {
            Layout::Ndjson(reader) => reader.progress(),
            Layout::Csv(reader) => reader.progress(),
            Layout::Table(reader) => reader.progress(),
        }
    }
}

/// An event to be overwritten.
pub(super) fn blank_event() -> Event {
    let nothing: Arc<str> = "".into();
    Event {
        exchange: Arc::clone(&nothing),
        symbol: nothing,
        exchange_ts_ns: 0,
        local_ts_ns: 0,
        kind: EventKind::Disconnect,
    }
}

/// The message of a line: what follows the arrival time that a recording puts in front of it.
pub(super) fn message(line: &[u8]) -> &[u8] {
    match line.iter().position(|byte| *byte == b' ') {
        Some(at) if line[0].is_ascii_digit() => &line[at + 1..],
        _ => line,
    }
}

/// Whether a line may be a message: damage to a message is not taken for another kind of file.
fn has_type(line: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Typed {
        r#type: Option<serde::de::IgnoredAny>,
    }
    match serde_json::from_slice::<Typed>(line) {
        Ok(typed) => typed.r#type.is_some(),
        Err(_) => memchr::memmem::find(line, b"\"type\"").is_some(),
    }
}

fn is_table(path: &str) -> Result<bool> {
    let fail = |source| Error::File { path: path.to_owned(), source };
    // What is read of a pipe is gone.
    if !std::fs::metadata(path).map_err(fail)?.is_file() {
        return Ok(false);
    }
    let mut magic = Vec::new();
    File::open(path).map_err(fail)?.take(MAGIC.len() as u64).read_to_end(&mut magic).map_err(fail)?;
    Ok(magic == MAGIC)
}
