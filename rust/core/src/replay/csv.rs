//! Tardis CSV datasets, read by their header line.
//!
//! Source: Tardis documentation, downloadable CSV files. `incremental_book_L2` rows of one exchange message share
//! `local_timestamp` and are applied together; a snapshot row after a non-snapshot row starts the book anew. Datasets
//! that are not known are counted and passed over.

use std::collections::{HashMap, VecDeque};

use crate::decode::Interner;
use crate::error::{Error, Result};
use crate::event::{Event, EventKind, Level};
use crate::replay::csv_derived::Derived;
use crate::replay::reader::Item;
use crate::replay::source::Lines;
use crate::types::{Decimal, Ns, Side};

/// Positions of the columns in use.
struct Columns {
    exchange: usize,
    symbol: usize,
    timestamp: usize,
    local_timestamp: usize,
    kind: Kind,
}

enum Kind {
    Book { is_snapshot: usize, side: usize, price: usize, amount: usize },
    Trades { id: usize, side: usize, price: usize, amount: usize },
    Derived(Derived),
    Other,
}

/// One row of book changes, parsed.
struct BookRow {
    event: Event,
    is_snapshot: bool,
    is_bid: bool,
    level: Level,
}

/// Reads one CSV file.
pub(super) struct CsvReader {
    lines: Lines,
    columns: Columns,
    exchanges: Interner,
    symbols: Interner,
    /// Messages being put together from rows, all of one local time.
    pending: Vec<Item>,
    /// Messages whose rows have all been read.
    done: VecDeque<Item>,
}

impl CsvReader {
    pub(super) fn new(lines: Lines, header: &[u8]) -> Result<Self> {
        let fail = |reason: String| Error::Decode { place: lines.place(), reason };
        let text = std::str::from_utf8(header).map_err(|_| fail("the header line is not UTF-8".to_owned()))?;
        let names: HashMap<&str, usize> = text.split(',').enumerate().map(|(at, name)| (name.trim(), at)).collect();
        let required = |name: &str| {
            names.get(name).copied().ok_or_else(|| {
                fail(format!("no column {name:?}; neither a Tardis CSV dataset nor one JSON message a line"))
            })
        };
        let place = lines.place();
        let file_name = place.rsplit('/').next().unwrap_or_default().to_owned();
        let levels = (names.get("side"), names.get("price"), names.get("amount"));
        let kind = match (levels, names.get("is_snapshot"), names.get("id")) {
            ((Some(&side), Some(&price), Some(&amount)), Some(&is_snapshot), _) => {
                Kind::Book { is_snapshot, side, price, amount }
            }
            // Liquidations have the same columns as trades; only the name of the file tells them apart.
            ((Some(&side), Some(&price), Some(&amount)), None, Some(&id)) if !file_name.contains("liquidations") => {
                Kind::Trades { id, side, price, amount }
            }
            _ => Derived::of(&names, &file_name).map_or(Kind::Other, Kind::Derived),
        };
        let columns = Columns {
            exchange: required("exchange")?,
            symbol: required("symbol")?,
            timestamp: required("timestamp")?,
            local_timestamp: required("local_timestamp")?,
            kind,
        };
        Ok(Self {
            lines,
            columns,
            exchanges: Interner::default(),
            symbols: Interner::default(),
            pending: Vec::new(),
            done: VecDeque::new(),
        })
    }

    pub(super) fn progress(&self) -> (u64, u64) {
        self.lines.progress()
    }

    pub(super) fn next(&mut self) -> Result<Option<Item>> {
        loop {
            if let Some(done) = self.done.pop_front() {
                return Ok(Some(done));
            }
            let Some(line) = self.lines.next()? else {
                self.done.extend(self.pending.drain(..));
                return Ok(self.done.pop_front());
            };
            let parsed = parse(line, &self.columns, &mut self.exchanges, &mut self.symbols);
            let row = parsed.map_err(|reason| Error::Decode { place: self.lines.place(), reason })?;
            match row {
                Row::Book(row) => self.join(&row),
                Row::Whole(item) => return Ok(Some(item)),
            }
        }
    }

    /// Adds a row to the message of its symbol and local time; the first row of another time completes all pending.
    fn join(&mut self, row: &BookRow) {
        if self.pending.first().is_some_and(|item| item.local_ts_ns != row.event.local_ts_ns) {
            self.done.extend(self.pending.drain(..));
        }
        let of_symbol = |item: &&mut Item| {
            let event = item.event.as_ref();
            event.is_some_and(|e| (&e.symbol, &e.exchange) == (&row.event.symbol, &row.event.exchange))
        };
        if let Some(Item { event: Some(event), lines, .. }) = self.pending.iter_mut().find(of_symbol) {
            *lines += 1;
            add(event, row);
            return;
        }
        let mut event = row.event.clone();
        event.kind = EventKind::BookChange { is_snapshot: row.is_snapshot, bids: Vec::new(), asks: Vec::new() };
        add(&mut event, row);
        self.pending.push(Item::of(event));
    }
}

fn add(event: &mut Event, row: &BookRow) {
    if let EventKind::BookChange { is_snapshot, bids, asks } = &mut event.kind {
        if row.is_snapshot && !*is_snapshot {
            *is_snapshot = true;
            bids.clear();
            asks.clear();
        }
        if row.is_bid { bids.push(row.level) } else { asks.push(row.level) }
    }
}

enum Row {
    Book(BookRow),
    Whole(Item),
}

fn parse(
    line: &[u8],
    columns: &Columns,
    exchanges: &mut Interner,
    symbols: &mut Interner,
) -> std::result::Result<Row, String> {
    let text = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned())?;
    let fields: Vec<&str> = text.split(',').collect();
    let field = |at: usize, name: &str| {
        fields.get(at).copied().ok_or_else(|| format!("only {} columns, no `{name}`", fields.len()))
    };
    let local_ts_ns = microseconds(field(columns.local_timestamp, "local_timestamp")?, "local_timestamp")?;
    let event = Event {
        exchange: exchanges.get(field(columns.exchange, "exchange")?),
        symbol: symbols.get(field(columns.symbol, "symbol")?),
        exchange_ts_ns: microseconds(field(columns.timestamp, "timestamp")?, "timestamp")?,
        local_ts_ns,
        kind: EventKind::Disconnect,
    };
    match columns.kind {
        Kind::Book { is_snapshot, side, price, amount } => Ok(Row::Book(BookRow {
            event,
            is_snapshot: match field(is_snapshot, "is_snapshot")? {
                "true" => true,
                "false" => false,
                other => return Err(format!("`is_snapshot` is {other:?}, not true or false")),
            },
            is_bid: match field(side, "side")? {
                "bid" => true,
                "ask" => false,
                other => return Err(format!("`side` is {other:?}, not bid or ask")),
            },
            level: Level {
                price: number(field(price, "price")?, "price")?,
                qty: number(field(amount, "amount")?, "amount")?,
            },
        })),
        Kind::Trades { id, side, price, amount } => {
            let kind = EventKind::Trade {
                id: Some(field(id, "id")?).filter(|id| !id.is_empty()).map(Into::into),
                price: number(field(price, "price")?, "price")?,
                qty: number(field(amount, "amount")?, "amount")?,
                side: match field(side, "side")? {
                    "buy" => Some(Side::Buy),
                    "sell" => Some(Side::Sell),
                    _ => None,
                },
            };
            Ok(Row::Whole(Item::of(Event { kind, ..event })))
        }
        Kind::Derived(ref derived) => {
            let kind = derived.kind(&fields)?;
            Ok(Row::Whole(Item::of(Event { kind, ..event })))
        }
        Kind::Other => Ok(Row::Whole(Item { local_ts_ns, event: None, lines: 1, text: None })),
    }
}

pub(super) fn microseconds(text: &str, name: &str) -> std::result::Result<Ns, String> {
    text.parse::<i64>()
        .ok()
        .and_then(|us| us.checked_mul(1000))
        .ok_or_else(|| format!("`{name}` is {text:?}, not microseconds since the epoch"))
}

pub(super) fn number(text: &str, name: &str) -> std::result::Result<Decimal, String> {
    Decimal::parse(text.as_bytes())
        .filter(|value| value.mantissa >= 0)
        .ok_or_else(|| format!("`{name}` is {text:?}, not a number of up to 18 digits"))
}
