//! An exchange's own public stream, read into the same events as a Tardis machine's.
//!
//! Its messages are numbered, and Bitget's carry a checksum of the book: one that is missing, out of place or wrong is
//! noticed at the next message of its symbol. The book is then given up, asked for again, and right with the snapshot
//! that follows. A normalised Tardis stream has neither numbers nor checksums, so there such a loss cannot be seen.

mod bitget;
mod bybit;
mod checksum;
mod fields;
mod requests;
mod scan;

use std::sync::Arc;

use serde::de::IgnoredAny;

use crate::decode::Malformed;
use crate::decode::spare::SpareEvents;
use crate::event::{DerivativeTicker, Event, EventKind};
use crate::types::Ns;

use super::source::Source;
use checksum::ChecksumBook;
pub(super) use requests::{Requests, connections};

/// What one message was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// Market data: its events were added.
    Data,
    /// Nothing to pass on: an acknowledgement, an answer to a ping, a change before the first snapshot.
    Nothing,
    /// A channel or symbol that is not in use.
    Unknown,
    /// The book of a symbol is no longer known; changes are passed over until its next snapshot.
    Lost(Loss),
    /// The exchange would not do what it was asked to.
    Refused(String),
}

/// A book that can no longer be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Whose book.
    pub symbol: Arc<str>,
    /// What was noticed.
    pub kind: LossKind,
    /// In words.
    pub reason: String,
}

/// How a loss was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossKind {
    /// A message does not continue the one before it.
    Gap,
    /// The exchange's checksum is not that of the book.
    Checksum,
    /// A message of the book cannot be read.
    Unreadable,
}

/// Decodes the messages of one exchange's stream and checks that each continues the one before it.
#[derive(Debug)]
pub struct NativeDecoder {
    source: Source,
    exchange: Arc<str>,
    /// Levels a side of Bybit's book channel.
    book_depth: u32,
    markets: Markets,
    spare: SpareEvents,
    fallbacks: u64,
}

impl NativeDecoder {
    /// A decoder of the messages of `symbols`, upper case; of Bybit, of the book channel of that depth.
    pub fn new(source: Source, exchange: &str, symbols: &[String], book_depth: u32) -> Self {
        let mut all: Vec<Market> = symbols.iter().map(|symbol| Market::new(symbol)).collect();
        all.sort_by(|a, b| a.symbol.cmp(&b.symbol));
        let markets = Markets { all, last: 0 };
        Self { source, exchange: exchange.into(), book_depth, markets, spare: SpareEvents::default(), fallbacks: 0 }
    }

    /// Decodes one message that arrived at `local_ts_ns`, and appends its events.
    ///
    /// # Errors
    /// [`Malformed`] for a message that cannot be read and may have been of any symbol. One that was of the book of a
    /// known symbol is a [`Received::Lost`].
    pub fn decode(&mut self, bytes: &[u8], local_ts_ns: Ns, events: &mut Vec<Event>) -> Result<Received, Malformed> {
        let as_written = match self.source {
            Source::BitgetV2 | Source::BitgetV3 => bitget::book_as_written(self, bytes),
            Source::Bybit | Source::Tardis => bybit::book_as_written(self, bytes),
        };
        if let Some((event, link)) = as_written {
            return Ok(self.follow(event, &link, local_ts_ns, events));
        }
        self.fallbacks += 1;
        self.decode_any(bytes, local_ts_ns, events)
    }

    /// [`NativeDecoder::decode`] for a message of any form.
    ///
    /// # Errors
    /// Those of [`NativeDecoder::decode`].
    pub fn decode_any(
        &mut self,
        bytes: &[u8],
        local_ts_ns: Ns,
        events: &mut Vec<Event>,
    ) -> Result<Received, Malformed> {
        if matches!(bytes.trim_ascii(), b"" | b"pong") {
            return Ok(Received::Nothing);
        }
        // Valid JSON that is no object is no message, of a book or of anything.
        if !bytes.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(bytes).is_ok() {
            return Ok(Received::Unknown);
        }
        match self.source {
            Source::BitgetV2 | Source::BitgetV3 => bitget::decode_any(self, bytes, local_ts_ns, events),
            Source::Bybit | Source::Tardis => bybit::decode_any(self, bytes, local_ts_ns, events),
        }
    }

    /// Gives an event back that is done with: the next book change uses its memory.
    pub fn recycle(&mut self, event: Event) {
        self.spare.recycle(event);
    }

    /// Messages that were not book changes as the exchange writes them, and took the general decoder.
    pub fn fallbacks(&self) -> u64 {
        self.fallbacks
    }

    /// Forgets what an earlier connection brought.
    pub fn begin_connection(&mut self) {
        for market in &mut self.markets.all {
            market.chain = Chain::Waiting;
            market.ticker = None;
        }
    }

    /// Gives the book of a symbol up for a reason found elsewhere; changes are passed over until its next snapshot.
    pub fn give_up(&mut self, symbol: &str) {
        if let Some(market) = self.markets.find(symbol) {
            market.chain = Chain::Waiting;
        }
    }

    /// The book of a symbol is out of date since `local_ts_ns`.
    pub fn disconnect(&self, symbol: &Arc<str>, local_ts_ns: Ns) -> Event {
        Event::disconnect(&self.exchange, Arc::clone(symbol), local_ts_ns)
    }

    /// An event of the market found last.
    fn event(&self, exchange_ts_ns: Ns, local_ts_ns: Ns, kind: EventKind) -> Event {
        let (exchange, symbol) = (Arc::clone(&self.exchange), Arc::clone(&self.markets.all[self.markets.last].symbol));
        Event { exchange, symbol, exchange_ts_ns, local_ts_ns, kind }
    }

    /// Takes a decoded book message if it continues the one before it.
    fn follow(&mut self, mut event: Event, link: &Link, local_ts_ns: Ns, events: &mut Vec<Event>) -> Received {
        let EventKind::BookChange { is_snapshot, .. } = event.kind else { return Received::Nothing };
        let received = self.markets.found().follow(is_snapshot, link);
        if received == Received::Data {
            event.local_ts_ns = local_ts_ns;
            events.push(event);
        } else {
            self.spare.recycle(event);
        }
        received
    }
}

/// Where in its stream a book message stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Link {
    /// Its own number, when it has one.
    id: Option<i64>,
    /// The number of the message it continues, when that is known.
    previous: Option<i64>,
    /// The exchange's checksum of the book after it, when it gives one.
    checksum: Option<i64>,
}

/// How far the book of a symbol was followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chain {
    /// No snapshot yet, or none since something was missing.
    Waiting,
    /// Whole up to the message of this number.
    At(Option<i64>),
}

/// What is known of a symbol.
#[derive(Debug)]
struct Market {
    symbol: Arc<str>,
    chain: Chain,
    /// The last of each value; the exchange sends what changed.
    ticker: Option<DerivativeTicker>,
    /// Kept for Bitget only.
    texts: ChecksumBook,
    /// The `arg` object of this symbol's book messages as the exchange writes it; empty before the first.
    book_arg: Vec<u8>,
}

impl Market {
    fn new(symbol: &str) -> Self {
        Self {
            symbol: symbol.into(),
            chain: Chain::Waiting,
            ticker: None,
            texts: ChecksumBook::default(),
            book_arg: Vec::new(),
        }
    }

    fn follow(&mut self, is_snapshot: bool, link: &Link) -> Received {
        match self.chain {
            _ if is_snapshot => {}
            Chain::Waiting => return Received::Nothing,
            Chain::At(last) => {
                let is_next = match (last, link.previous, link.id) {
                    (Some(last), Some(previous), _) => previous == last,
                    (Some(last), None, Some(id)) => id > last,
                    _ => true,
                };
                if !is_next {
                    let number = |number: Option<i64>| number.map_or("none".to_owned(), |number| number.to_string());
                    let continues =
                        link.previous.map_or(String::new(), |previous| format!(" continues {previous} and"));
                    let (id, last) = (number(link.id), number(last));
                    let reason = format!(
                        "message {id}{continues} came after {last}: one is missing, was repeated or is out of its order"
                    );
                    return self.lose(LossKind::Gap, &reason);
                }
            }
        }
        if let Some(theirs) = link.checksum {
            let ours = i64::from(self.texts.checksum());
            if ours != theirs {
                let reason = format!("the exchange's checksum is {theirs}, that of the book is {ours}");
                return self.lose(LossKind::Checksum, &reason);
            }
        }
        self.chain = Chain::At(link.id);
        Received::Data
    }

    fn lose(&mut self, kind: LossKind, reason: &str) -> Received {
        self.chain = Chain::Waiting;
        Received::Lost(Loss { symbol: Arc::clone(&self.symbol), kind, reason: format!("{}: {reason}", self.symbol) })
    }
}

/// The subscribed symbols, in order.
#[derive(Debug)]
struct Markets {
    all: Vec<Market>,
    /// The one found last: messages of one symbol often follow each other.
    last: usize,
}

impl Markets {
    #[inline]
    fn find(&mut self, symbol: &str) -> Option<&mut Market> {
        if self.all.get(self.last).is_none_or(|market| *market.symbol != *symbol) {
            self.last = self.all.binary_search_by(|market| (*market.symbol).cmp(symbol)).ok()?;
        }
        self.all.get_mut(self.last)
    }

    /// The market found last.
    #[inline]
    fn found(&mut self) -> &mut Market {
        &mut self.all[self.last]
    }
}

#[cfg(test)]
mod tests;
