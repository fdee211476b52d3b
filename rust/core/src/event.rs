//! The one envelope in which market data travels from any source to books, metrics and simulation.

use std::sync::Arc;

use crate::types::{Decimal, Ns, Side};

/// One price level of a book change: the new absolute quantity at a price; quantity 0 removes the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Price, quote currency per base.
    pub price: Decimal,
    /// Absolute quantity in the exchange's unit; more digits than a [`Decimal`] holds were rounded.
    pub qty: Decimal,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// A book change, to be applied as a whole. A snapshot replaces both sides.
    BookChange {
        /// Replace the book (`true`) or change it.
        is_snapshot: bool,
        /// Bid levels in the order they came; not necessarily sorted.
        bids: Vec<Level>,
        /// Ask levels in the order they came; not necessarily sorted.
        asks: Vec<Level>,
    },
    /// A print.
    Trade {
        /// The exchange's id, when it gave one; not unique across reconnects.
        id: Option<Box<str>>,
        /// Price of the print.
        price: Decimal,
        /// Quantity of the print.
        qty: Decimal,
        /// Taker side; `None` when the exchange does not say.
        side: Option<Side>,
    },
    /// Best bid and ask from the exchange's own feed of them; may be ahead of the book.
    BookTicker(Box<BookTicker>),
    /// What the exchange says of a derivative beside its book.
    DerivativeTicker(Box<DerivativeTicker>),
    /// A forced order's print.
    Liquidation {
        /// The exchange's id, when it gave one.
        id: Option<Box<str>>,
        /// Price of the print.
        price: Decimal,
        /// Quantity of the print.
        qty: Decimal,
        /// `Buy` closed a short, `Sell` a long; `None` when the exchange does not say.
        side: Option<Side>,
    },
    /// The best levels as the Tardis machine samples them from its own book: `book_snapshot_*` and `quote`.
    BookSample(Box<BookSample>),
    /// The Tardis machine has trouble with the exchange and goes on trying. `symbol` is empty.
    UpstreamError(Box<UpstreamError>),
    /// The connection behind this exchange broke. With an empty `symbol` every book of the exchange is out of date,
    /// else the book of that symbol alone.
    Disconnect,
}

/// Best bid and ask; what the exchange left out is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BookTicker {
    /// Price of the best bid.
    pub bid_price: Option<Decimal>,
    /// Quantity at the best bid.
    pub bid_qty: Option<Decimal>,
    /// Price of the best ask.
    pub ask_price: Option<Decimal>,
    /// Quantity at the best ask.
    pub ask_qty: Option<Decimal>,
}

/// State of a derivative, in the exchange's own units. Values may be old: a message carries the last known of each.
/// More than 18 digits after the point are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DerivativeTicker {
    /// Price of the last trade.
    pub last_price: Option<Decimal>,
    /// Open interest.
    pub open_interest: Option<Decimal>,
    /// Rate of the funding at `funding_ts_ns`, a fraction.
    pub funding_rate: Option<Decimal>,
    /// Time of the next funding.
    pub funding_ts_ns: Option<Ns>,
    /// Rate expected for the funding after that, a fraction.
    pub predicted_funding_rate: Option<Decimal>,
    /// Price of the underlying index.
    pub index_price: Option<Decimal>,
    /// Price at which positions are marked.
    pub mark_price: Option<Decimal>,
}

/// The best levels of a book as somebody else keeps it, sampled in intervals of exchange time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookSample {
    /// The data type that was asked for, such as `quote` or `book_snapshot_25_100ms`.
    pub name: Box<str>,
    /// Levels a side that were asked for; a side may have fewer.
    pub depth: u32,
    /// Length of an interval; 0 for a sample at every change.
    pub interval_ms: u64,
    /// Width of the price groups, when levels are grouped.
    pub grouping: Option<Decimal>,
    /// Bid levels, best first.
    pub bids: Vec<Level>,
    /// Ask levels, best first.
    pub asks: Vec<Level>,
}

/// What the Tardis machine says went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamError {
    /// The machine's words.
    pub details: Box<str>,
    /// Errors in a row so far.
    pub subsequent_errors: u64,
}

/// One event of one symbol. Events are ordered by `local_ts_ns`, never by `exchange_ts_ns`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Tardis exchange id, such as `bybit` or `bitget-futures`.
    pub exchange: Arc<str>,
    /// Symbol as the exchange writes it, upper case.
    pub symbol: Arc<str>,
    /// Exchange time; may run ahead of local time.
    pub exchange_ts_ns: Ns,
    /// Arrival time at the collector.
    pub local_ts_ns: Ns,
    /// What happened.
    pub kind: EventKind,
}

impl Event {
    /// The books of the exchange are out of date since `local_ts_ns`: all of them, or that of `symbol` if not empty.
    pub fn disconnect(exchange: &Arc<str>, symbol: Arc<str>, local_ts_ns: Ns) -> Self {
        let exchange = Arc::clone(exchange);
        Self { exchange, symbol, exchange_ts_ns: local_ts_ns, local_ts_ns, kind: EventKind::Disconnect }
    }

    /// Whether this is a disconnect that takes the book of `symbol` on `exchange` with it.
    pub fn disconnects(&self, exchange: &str, symbol: &str) -> bool {
        self.kind == EventKind::Disconnect
            && &*self.exchange == exchange
            && (self.symbol.is_empty() || &*self.symbol == symbol)
    }
}
