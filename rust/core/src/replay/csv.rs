//! Tardis CSV datasets, read by their header line.
//!
//! Source: Tardis documentation, downloadable CSV files. `incremental_book_L2` rows of one exchange message share
//! `local_timestamp` and are applied together; a snapshot row after a non-snapshot row starts the book anew. Datasets
//! that are not known are counted and passed over.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use memchr::memchr_iter;

use crate::decode::plain::{begins, number as plain_number, sixteen_digits};
use crate::decode::{Interner, number_fault, size_fault};
use crate::error::{Error, Result};
use crate::event::{Event, EventKind, Level};
use crate::replay::csv_derived::Derived;
use crate::replay::reader::Item;
use crate::replay::source::Lines;
use crate::types::{Decimal, Ns, Side};

/// Messages kept for their memory.
const MAX_SPARE: usize = 128;

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

/// The columns of an `incremental_book_L2` file in the order in which Tardis writes them.
const BOOK_HEADER: &[u8] = b"exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount";

/// Reads one CSV file.
pub(super) struct CsvReader {
    lines: Lines,
    columns: Columns,
    exchanges: Interner,
    symbols: Interner,
    /// Messages being put together from rows, all of one local time.
    pending: Vec<Pending>,
    /// Messages whose rows have all been read.
    done: VecDeque<Item>,
    /// What the last row of a book file in Tardis's own order had before its side.
    last: Option<RowStart>,
    /// A message that was handed out and given back: the next one uses its memory.
    spare: Vec<Item>,
}

/// A message being put together from rows.
struct Pending {
    item: Item,
    /// Whether its last row was one of a snapshot.
    ends_in_snapshot: bool,
}

/// The fields that rows of one message share, as they are written.
#[derive(Default)]
struct RowStart {
    /// `exchange,symbol,timestamp,local_timestamp,is_snapshot,`
    text: Vec<u8>,
    /// Bytes of `exchange,symbol,` therein.
    names: usize,
    /// The message in `pending` that the row went to.
    at: usize,
}

/// What a header line tells.
enum Header {
    Dataset(Columns),
    /// The columns of every dataset, and none of a type in use.
    Unknown(Columns),
    Faulty(String),
    Foreign,
}

/// Columns of every dataset.
const COMMON: [&str; 4] = ["exchange", "symbol", "timestamp", "local_timestamp"];

/// Datasets and the columns they need beside those of every dataset.
const DATASETS: [(&str, &[&str]); 4] = [
    ("incremental_book_L2", &["is_snapshot", "side", "price", "amount"]),
    ("trades", &["id", "side", "price", "amount"]),
    ("liquidations", &["id", "side", "price", "amount"]),
    ("quotes", &["bid_price", "bid_amount", "ask_price", "ask_amount"]),
];

fn columns(header: &[&str], file_name: &str) -> Header {
    let names: HashMap<&str, usize> = header.iter().enumerate().map(|(at, name)| (*name, at)).collect();
    let level = names.get("side").zip(names.get("price")).zip(names.get("amount"));
    let kind = match (level, names.get("is_snapshot"), names.get("id")) {
        (Some(((&side, &price), &amount)), Some(&is_snapshot), _) => {
            Some(Kind::Book { is_snapshot, side, price, amount })
        }
        // Liquidations have the same columns as trades; only the name of the file tells them apart.
        (Some(((&side, &price), &amount)), None, Some(&id)) if !file_name.contains("liquidations") => {
            Some(Kind::Trades { id, side, price, amount })
        }
        _ => Derived::of(&names, file_name).map(Kind::Derived),
    };
    let missing = |wanted: &[&str]| -> Vec<String> {
        wanted.iter().filter(|name| !names.contains_key(*name)).map(|name| format!("{name:?}")).collect()
    };
    let mut lacks = missing(&COMMON);
    let mut dataset = None;
    if kind.is_none() {
        // The dataset that the file is named after, or else the one of which the fewest columns are missing.
        let rank = |(name, wanted): &&(&str, &[&str])| (!file_name.contains(*name), missing(wanted).len());
        let nearest = DATASETS.iter().filter(|(_, wanted)| missing(wanted).len() * 2 <= wanted.len()).min_by_key(rank);
        if let Some((name, wanted)) = nearest {
            lacks.extend(missing(wanted));
            dataset = Some(*name);
        }
    }
    if kind.is_none() && dataset.is_none() && lacks.len() == COMMON.len() {
        return Header::Foreign;
    }
    let mut seen = HashSet::new();
    let again = header.iter().copied().filter(|name| !name.is_empty() && !seen.insert(*name));
    let twice: Vec<String> = again.map(|name| format!("{name:?}")).collect();
    if !twice.is_empty() {
        return Header::Faulty(format!("the header has the column {} more than once", twice.join(", ")));
    }
    if !lacks.is_empty() {
        let of = dataset.map_or("a Tardis CSV dataset".to_owned(), |name| format!("the Tardis dataset `{name}`"));
        return Header::Faulty(format!("no column {} in the header, which looks like that of {of}", lacks.join(", ")));
    }
    let at = |name: &str| names.get(name).copied().unwrap_or(usize::MAX);
    let [exchange, symbol, timestamp, local_timestamp] = COMMON.map(at);
    let of = |kind| Columns { exchange, symbol, timestamp, local_timestamp, kind };
    kind.map_or_else(|| Header::Unknown(of(Kind::Other)), |kind| Header::Dataset(of(kind)))
}

impl CsvReader {
    pub(super) fn new(lines: Lines, header: &[u8]) -> Result<Self> {
        let Ok(text) = std::str::from_utf8(header) else {
            return Err(lines.no_market_data("its first line is no text"));
        };
        let names: Vec<&str> = text.split(',').map(str::trim).collect();
        let columns = match columns(&names, lines.file_name()) {
            Header::Dataset(columns) => columns,
            Header::Unknown(columns) => {
                let place = lines.place();
                lines.say(format!("{place}: a dataset of a type that is not known; its rows are passed over"));
                columns
            }
            Header::Faulty(reason) => return Err(Error::Decode { place: lines.place(), reason }),
            Header::Foreign => {
                let reason = "its first line is neither the header of a Tardis CSV dataset nor a JSON message";
                return Err(lines.no_market_data(reason));
            }
        };
        Ok(Self {
            lines,
            columns,
            exchanges: Interner::default(),
            symbols: Interner::default(),
            pending: Vec::new(),
            done: VecDeque::new(),
            last: (header == BOOK_HEADER).then(RowStart::default),
            spare: Vec::new(),
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
            if let Some(last) = &mut self.last {
                while let Some(bytes) = last.add_row(self.lines.ahead(), &mut self.pending) {
                    self.lines.pass(bytes);
                }
                let begun = last.begin_message(self.lines.ahead(), &mut self.pending, &mut self.spare);
                if let Some((item, bytes)) = begun {
                    self.lines.pass(bytes);
                    return Ok(Some(item));
                }
            }
            let Some(line) = self.lines.next()? else {
                self.complete();
                return Ok(self.done.pop_front());
            };
            if let Some(last) = &mut self.last {
                last.remember(line);
            }
            let parsed = parse(line, &self.columns, &mut self.exchanges, &mut self.symbols);
            self.lines.warn_of_open_line();
            match parsed.map_err(|reason| Error::Decode { place: self.lines.place(), reason })? {
                Row::Book(row) => {
                    let at = self.join(&row);
                    if let Some(last) = &mut self.last {
                        last.at = at;
                    }
                }
                Row::Whole(item) => return Ok(Some(item)),
            }
        }
    }

    /// Takes a message back that is done with: a later one uses its memory.
    pub(super) fn recycle(&mut self, item: Item) {
        if self.spare.len() < MAX_SPARE && matches!(&item.event, Some(Event { kind: EventKind::BookChange { .. }, .. }))
        {
            self.spare.push(item);
        }
    }

    /// Adds a row to the message of its symbol and local time; the first row of another time completes all pending.
    /// Returns which of `pending` it is.
    fn join(&mut self, row: &BookRow) -> usize {
        if self.pending.first().is_some_and(|pending| pending.item.local_ts_ns != row.event.local_ts_ns) {
            self.complete();
        }
        let of_symbol = |pending: &Pending| {
            let event = pending.item.event.as_ref();
            event.is_some_and(|e| (&e.symbol, &e.exchange) == (&row.event.symbol, &row.event.exchange))
        };
        if let Some(at) = self.pending.iter().position(of_symbol) {
            self.pending[at].add(row);
            return at;
        }
        let mut event = row.event.clone();
        event.kind = EventKind::BookChange { is_snapshot: row.is_snapshot, bids: Vec::new(), asks: Vec::new() };
        let item = Item { lines: 0, ..Item::of(event) };
        let mut pending = Pending { item, ends_in_snapshot: row.is_snapshot };
        pending.add(row);
        self.pending.push(pending);
        self.pending.len() - 1
    }

    fn complete(&mut self) {
        self.done.extend(self.pending.drain(..).map(|pending| pending.item));
    }
}

impl Pending {
    /// Adds a row. That of a snapshot after one of none discards the whole book, and with it what came before.
    fn add(&mut self, row: &BookRow) {
        let Item { event: Some(Event { kind, .. }), lines, .. } = &mut self.item else { return };
        let EventKind::BookChange { is_snapshot, bids, asks } = kind else { return };
        *lines += 1;
        if row.is_snapshot && !self.ends_in_snapshot {
            *is_snapshot = true;
            bids.clear();
            asks.clear();
        }
        self.ends_in_snapshot = row.is_snapshot;
        if row.is_bid { bids.push(row.level) } else { asks.push(row.level) }
    }
}

impl RowStart {
    /// Keeps what a row has before its side.
    fn remember(&mut self, line: &[u8]) {
        let comma = |nth: usize| memchr_iter(b',', line).nth(nth).map_or(0, |at| at + 1);
        self.names = comma(1);
        self.text.clear();
        self.text.extend_from_slice(&line[..comma(4)]);
    }

    /// Adds a row to the message of the last one when all they differ in is the level, and returns its length with its
    /// end; `None` when there is more to it, or the row is not all there.
    #[inline]
    fn add_row(&self, bytes: &[u8], pending: &mut [Pending]) -> Option<usize> {
        let at = begins(bytes, 0, self.text.as_slice()).filter(|at| *at > 0)?;
        let (is_bid, level, end) = level(bytes, at)?;
        let item = &mut pending.get_mut(self.at)?.item;
        let EventKind::BookChange { bids, asks, .. } = &mut item.event.as_mut()?.kind else { return None };
        if is_bid {
            bids.push(level);
        } else {
            asks.push(level);
        }
        item.lines += 1;
        Some(end)
    }

    /// Begins the message of another local time of the only symbol around, and returns the one it completes and the
    /// length of the row; `None` when there is more to it, or the row is not all there.
    #[inline]
    fn begin_message(&mut self, bytes: &[u8], pending: &mut [Pending], spare: &mut Vec<Item>) -> Option<(Item, usize)> {
        let [Pending { item: waiting, ends_in_snapshot }] = pending else { return None };
        let at = begins(bytes, 0, self.text.get(..self.names)?).filter(|at| *at > 0)?;
        let (exchange_ts_ns, at) = timestamp(bytes, at)?;
        let (local_ts_ns, at) = timestamp(bytes, at)?;
        let (is_snapshot, start) = match begins(bytes, at, b"false,") {
            Some(at) => (false, at),
            None => (true, begins(bytes, at, b"true,")?),
        };
        let (is_bid, level, end) = level(bytes, start)?;
        if local_ts_ns == waiting.local_ts_ns {
            return None;
        }
        let mut item = spare.pop().unwrap_or(Item { local_ts_ns: 0, event: None, lines: 0, text: None });
        let last = waiting.event.as_ref()?;
        match &mut item.event {
            Some(event @ Event { kind: EventKind::BookChange { .. }, .. }) => {
                if !Arc::ptr_eq(&event.exchange, &last.exchange) || !Arc::ptr_eq(&event.symbol, &last.symbol) {
                    (event.exchange, event.symbol) = (Arc::clone(&last.exchange), Arc::clone(&last.symbol));
                }
            }
            other => {
                let kind = EventKind::BookChange { is_snapshot: false, bids: Vec::new(), asks: Vec::new() };
                let (exchange, symbol) = (Arc::clone(&last.exchange), Arc::clone(&last.symbol));
                *other = Some(Event { exchange, symbol, exchange_ts_ns: 0, local_ts_ns: 0, kind });
            }
        }
        let event = item.event.as_mut()?;
        (event.exchange_ts_ns, event.local_ts_ns) = (exchange_ts_ns, local_ts_ns);
        let EventKind::BookChange { is_snapshot: snapshot, bids, asks } = &mut event.kind else { return None };
        (*snapshot, *ends_in_snapshot) = (is_snapshot, is_snapshot);
        bids.clear();
        asks.clear();
        if is_bid {
            bids.push(level);
        } else {
            asks.push(level);
        }
        (item.local_ts_ns, item.lines) = (local_ts_ns, 1);
        self.text.clear();
        self.text.extend_from_slice(&bytes[..start]);
        self.at = 0;
        Some((std::mem::replace(waiting, item), end))
    }
}

/// The `bid,30000.1,1.5` at `at`, and where the line after it begins.
#[inline]
fn level(bytes: &[u8], at: usize) -> Option<(bool, Level, usize)> {
    let (is_bid, at) = match begins(bytes, at, b"bid,") {
        Some(at) => (true, at),
        None => (false, begins(bytes, at, b"ask,")?),
    };
    let (price, at) = plain_number(bytes, at)?;
    if price.mantissa == 0 {
        return None;
    }
    let (qty, at) = plain_number(bytes, begins(bytes, at, b",")?)?;
    Some((is_bid, Level { price, qty }, begins(bytes, at, b"\n")?))
}

/// The microseconds at `at` in nanoseconds, and where their comma ends.
#[inline]
fn timestamp(bytes: &[u8], at: usize) -> Option<(Ns, usize)> {
    let (us, at) = sixteen_digits(bytes, at)?;
    Some((us.checked_mul(1000)?, begins(bytes, at, b",")?))
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
                price: level_price(field(price, "price")?, "price")?,
                qty: self::amount(field(amount, "amount")?, "amount")?,
            },
        })),
        Kind::Trades { id, side, price, amount } => {
            let kind = EventKind::Trade {
                id: Some(field(id, "id")?).filter(|id| !id.is_empty()).map(Into::into),
                price: self::price(field(price, "price")?, "price")?,
                qty: self::amount(field(amount, "amount")?, "amount")?,
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

/// A price, every digit of which counts.
pub(super) fn price(text: &str, name: &str) -> std::result::Result<Decimal, String> {
    let value = Decimal::parse(text.as_bytes()).ok_or_else(|| format!("`{name}` {}: {text:?}", number_fault(text)))?;
    not_negative(value, text, name)
}

/// A quantity, of which more digits than fit are rounded.
pub(super) fn amount(text: &str, name: &str) -> std::result::Result<Decimal, String> {
    let value = Decimal::parse_rounded(text.as_bytes());
    not_negative(value.ok_or_else(|| format!("`{name}` {}: {text:?}", size_fault(text)))?, text, name)
}

fn not_negative(value: Decimal, text: &str, name: &str) -> std::result::Result<Decimal, String> {
    if value.mantissa < 0 { Err(format!("`{name}` is negative: {text:?}")) } else { Ok(value) }
}

/// A price of a book: a level at 0 would be better than every ask.
pub(super) fn level_price(text: &str, name: &str) -> std::result::Result<Decimal, String> {
    let price = price(text, name)?;
    if price.mantissa == 0 { Err(format!("`{name}` of a book level is zero: {text:?}")) } else { Ok(price) }
}
