//! The one envelope in which market data travels from any source to books, metrics and simulation.

use std::sync::Arc;

use crate::types::{Decimal, Ns, Side};

/// One price level of a book change: the new absolute quantity at a price; quantity 0 removes the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Price, quote currency per base.
    pub price: Decimal,
    /// Absolute quantity in the exchange's unit.
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
    /// The connection behind this exchange broke: every book of the exchange is out of date. `symbol` is empty.
    Disconnect,
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
