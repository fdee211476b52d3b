//! Bytes to events: what one turn of reading brought, and what was wrong with it.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Deserialize;

use super::config::FeedConfig;
use super::native::{LossKind, NativeDecoder, Received};
use crate::decode::{Decoder, Message};
use crate::event::{Event, EventKind};
use crate::time::now_ns;

/// Counters of one turn.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    /// Messages, decodable or not.
    pub messages: u64,
    /// Book changes among them.
    pub book_changes: u64,
    /// Trades among them.
    pub trades: u64,
    /// Disconnect messages among them.
    pub disconnects: u64,
    /// Tickers, liquidations and sampled books among them.
    pub tickers: u64,
    /// Troubles the machine reported.
    pub upstream_errors: u64,
    /// Messages that could not be decoded.
    pub decode_errors: u64,
    /// Messages of an unknown type.
    pub unknown: u64,
    /// Messages that took the general decoder.
    pub fallbacks: u64,
    /// Books lost to a missing message.
    pub gaps: u64,
    /// Books lost to a wrong checksum.
    pub bad_checksums: u64,
}

impl Tally {
    fn count(&mut self, kind: &EventKind) {
        *match kind {
            EventKind::BookChange { .. } => &mut self.book_changes,
            EventKind::Trade { .. } => &mut self.trades,
            EventKind::Disconnect => &mut self.disconnects,
            EventKind::UpstreamError(_) => &mut self.upstream_errors,
            _ => &mut self.tickers,
        } += 1;
    }
}

/// What turns bytes into events, by the source of the feed.
#[derive(Debug)]
enum Language {
    Tardis(Box<Decoder>),
    Native(Box<NativeDecoder>),
}

/// Events of one turn of reading, on their way to the board.
#[derive(Debug)]
pub struct Inbox {
    /// Decoded events, oldest first.
    pub events: Vec<Event>,
    /// What was counted along the way.
    pub tally: Tally,
    /// What went wrong last, if anything.
    pub fault: Option<String>,
    /// Why the books of this turn's disconnects were lost, oldest first; empty for those of a Tardis machine.
    pub losses: VecDeque<String>,
    /// Symbols whose books are to be asked for again.
    pub wanted: Vec<Arc<str>>,
    /// Symbols among them whose books crossed in this turn.
    pub crossed: Vec<Arc<str>>,
    has_seen_data: bool,
    carries_books: bool,
    language: Language,
}

/// The part of an undecodable message that tells whether a book update was lost with it.
#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    kind: &'a str,
}

impl Inbox {
    /// An inbox; disconnects on a connection that does not carry books are counted and say nothing about books.
    pub fn new(config: &FeedConfig, symbols: &[String], carries_books: bool) -> Self {
        let native = || Box::new(NativeDecoder::new(config.source, &config.exchange, symbols, config.book_depth));
        Self {
            events: Vec::new(),
            tally: Tally::default(),
            fault: None,
            losses: VecDeque::new(),
            wanted: Vec::new(),
            crossed: Vec::new(),
            has_seen_data: false,
            carries_books,
            language: if config.source.is_native() {
                Language::Native(native())
            } else {
                Language::Tardis(Box::default())
            },
        }
    }

    /// Takes an event back that is done with.
    pub fn recycle(&mut self, event: Event) {
        match &mut self.language {
            Language::Tardis(decoder) => decoder.recycle(event),
            Language::Native(decoder) => decoder.recycle(event),
        }
    }

    /// The book of `symbol` crossed: what follows is passed over until its next snapshot, which is wanted.
    pub fn give_up(&mut self, symbol: Arc<str>) {
        if let Language::Native(decoder) = &mut self.language {
            decoder.give_up(&symbol);
            self.wanted.push(Arc::clone(&symbol));
            self.crossed.push(symbol);
        }
    }

    /// Decodes one message. Messages of unknown types are counted and skipped.
    ///
    /// # Errors
    /// The reason, when the message cannot be decoded and may have been a book change: an update is lost, and only a
    /// new snapshot makes the book right again. Other undecodable messages are only counted.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.tally.messages += 1;
        let decoder = match &mut self.language {
            Language::Tardis(decoder) => decoder,
            Language::Native(_) => return self.decode_native(bytes),
        };
        let fallbacks = decoder.fallbacks();
        let decoded = decoder.decode(bytes);
        self.tally.fallbacks += decoder.fallbacks() - fallbacks;
        match decoded {
            Ok(Message::Event(event)) => {
                self.tally.count(&event.kind);
                if let EventKind::UpstreamError(error) = &event.kind {
                    self.fault = Some(format!("the Tardis machine reports: {}", error.details));
                }
                // Words about the connection are no sign that the request can be served.
                self.has_seen_data |= !matches!(event.kind, EventKind::Disconnect | EventKind::UpstreamError(_));
                if self.carries_books || event.kind != EventKind::Disconnect {
                    self.events.push(event);
                }
                Ok(())
            }
            Ok(message @ Message::PartialDisconnect { .. }) => {
                self.tally.disconnects += 1;
                if self.carries_books {
                    self.events.extend(message.into_events());
                }
                Ok(())
            }
            Ok(Message::Other { .. }) => {
                self.tally.unknown += 1;
                self.has_seen_data = true;
                Ok(())
            }
            Err(error) => {
                self.tally.decode_errors += 1;
                let reason = format!("undecodable message: {error}");
                self.fault = Some(reason.clone());
                if may_be_book_change(bytes) { Err(reason) } else { Ok(()) }
            }
        }
    }

    fn decode_native(&mut self, bytes: &[u8]) -> Result<(), String> {
        let Language::Native(decoder) = &mut self.language else { return Ok(()) };
        let (fallbacks, first) = (decoder.fallbacks(), self.events.len());
        let local_ts_ns = now_ns();
        let received = decoder.decode(bytes, local_ts_ns, &mut self.events);
        self.tally.fallbacks += decoder.fallbacks() - fallbacks;
        for event in &self.events[first..] {
            self.tally.count(&event.kind);
        }
        self.has_seen_data |= self.events.len() > first;
        match received {
            Ok(Received::Data | Received::Nothing) => Ok(()),
            Ok(Received::Unknown) => {
                self.tally.unknown += 1;
                Ok(())
            }
            Ok(Received::Refused(reason)) => Err(reason),
            Ok(Received::Lost(loss)) => {
                match loss.kind {
                    LossKind::Gap => self.tally.gaps += 1,
                    LossKind::Checksum => self.tally.bad_checksums += 1,
                    LossKind::Unreadable => self.tally.decode_errors += 1,
                }
                self.fault = Some(loss.reason.clone());
                self.losses.push_back(loss.reason);
                self.events.push(decoder.disconnect(&loss.symbol, local_ts_ns));
                self.wanted.push(loss.symbol);
                Ok(())
            }
            Err(error) => {
                self.tally.decode_errors += 1;
                let reason = format!("undecodable message: {error}");
                self.fault = Some(reason.clone());
                if may_be_native_book(bytes) { Err(reason) } else { Ok(()) }
            }
        }
    }

    /// Counts a frame whose content never became a message.
    pub fn count_garbled(&mut self) {
        self.tally.messages += 1;
        self.tally.decode_errors += 1;
    }

    /// Forgets what came on an earlier connection.
    pub fn begin_connection(&mut self) {
        self.has_seen_data = false;
        self.wanted.clear();
        if let Language::Native(decoder) = &mut self.language {
            decoder.begin_connection();
        }
    }

    /// Whether this turn brought data, of types in use or not.
    pub fn has_data(&self) -> bool {
        !self.events.is_empty() || self.tally.unknown > 0
    }

    /// Whether any data came on this connection.
    pub fn has_seen_data(&self) -> bool {
        self.has_seen_data
    }
}

/// Whether an unreadable message of an exchange may have been of a book: one of another channel says so.
fn may_be_native_book(bytes: &[u8]) -> bool {
    let says = |text: &[u8]| memchr::memmem::find(bytes, text).is_some();
    let others: [&[u8]; 5] = [b"publicTrade", b"\"trade\"", b"tickers.", b"\"ticker\"", b"allLiquidation"];
    !others.into_iter().any(says)
}

fn may_be_book_change(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Kind<'_>>(bytes).map_or(true, |message| message.kind == "book_change")
}
