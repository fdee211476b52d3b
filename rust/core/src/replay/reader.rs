//! One file as a sequence of items, whatever its layout.

use crate::error::{Error, Result};
use crate::event::Event;
use crate::replay::csv::CsvReader;
use crate::replay::ndjson::NdjsonReader;
use crate::replay::source::Lines;
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
}

/// Reads one file in bounded memory.
pub struct Reader(Layout);

enum Layout {
    Ndjson(NdjsonReader),
    Csv(CsvReader),
}

impl Reader {
    /// Opens a file; the layout is told by its first line.
    ///
    /// # Errors
    /// The file cannot be opened, or its first line is neither JSON nor the header of a Tardis dataset.
    pub fn open(path: &str) -> Result<Self> {
        let mut lines = Lines::open(path)?;
        let first = lines.next()?.map(<[u8]>::to_vec);
        Ok(Self(match first {
            None => return Err(Error::Decode { place: path.to_owned(), reason: "the file is empty".to_owned() }),
            Some(line) if line.first() == Some(&b'{') => Layout::Ndjson(NdjsonReader::new(lines, line)),
            Some(header) => Layout::Csv(CsvReader::new(lines, &header)?),
        }))
    }

    /// The next message, or `None` at the end.
    ///
    /// # Errors
    /// A line that cannot be read or understood, named as `path:line`.
    pub fn next_item(&mut self) -> Result<Option<Item>> {
        match &mut self.0 {
            Layout::Ndjson(reader) => reader.next(),
            Layout::Csv(reader) => reader.next(),
        }
    }

    /// Takes a message back that is done with: a later one uses its memory.
    pub fn recycle(&mut self, item: Item) {
        match &mut self.0 {
            Layout::Ndjson(reader) => reader.recycle(item),
            Layout::Csv(reader) => reader.recycle(item),
        }
    }
}
