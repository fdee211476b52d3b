//! Bytes to events: what one turn of reading brought, and what was wrong with it.

use serde::Deserialize;

use crate::decode::{Decoder, Message};
use crate::event::{Event, EventKind};

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
    has_seen_data: bool,
    carries_books: bool,
    /// Takes events back that are done with.
    pub decoder: Decoder,
}

/// The part of an undecodable message that tells whether a book update was lost with it.
#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    kind: &'a str,
}

impl Inbox {
    /// An inbox; disconnects on a connection that does not carry books are counted and say nothing about books.
    pub fn new(carries_books: bool) -> Self {
        Self {
            events: Vec::new(),
            tally: Tally::default(),
            fault: None,
            has_seen_data: false,
            carries_books,
            decoder: Decoder::new(),
        }
    }

    /// Decodes one message. Messages of unknown types are counted and skipped.
    ///
    /// # Errors
    /// The reason, when the message cannot be decoded and may have been a book change: an update is lost, and only a
    /// new snapshot makes the book right again. Other undecodable messages are only counted.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.tally.messages += 1;
        let fallbacks = self.decoder.fallbacks();
        let decoded = self.decoder.decode(bytes);
        self.tally.fallbacks += self.decoder.fallbacks() - fallbacks;
        match decoded {
            Ok(Message::Event(event)) => {
                match event.kind {
                    EventKind::BookChange { .. } => self.tally.book_changes += 1,
                    EventKind::Trade { .. } => self.tally.trades += 1,
                    EventKind::Disconnect => self.tally.disconnects += 1,
                    EventKind::UpstreamError(ref error) => {
                        self.tally.upstream_errors += 1;
                        self.fault = Some(format!("the Tardis machine reports: {}", error.details));
                    }
                    _ => self.tally.tickers += 1,
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

    /// Counts a frame whose content never became a message.
    pub fn count_garbled(&mut self) {
        self.tally.messages += 1;
        self.tally.decode_errors += 1;
    }

    /// Forgets what came on an earlier connection.
    pub fn begin_connection(&mut self) {
        self.has_seen_data = false;
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

fn may_be_book_change(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Kind<'_>>(bytes).map_or(true, |message| message.kind == "book_change")
}
