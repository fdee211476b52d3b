//! The lines of all connections in the order in which they came.

use std::io::Write as _;
use std::sync::mpsc::{SendError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::config::FeedConfig;
use super::{Piece, TapeCounters};
use crate::encode::{encode, encode_disconnect};
use crate::event::Event;
use crate::time::{format_iso, now_ns};
use crate::types::Ns;

/// How long lines wait before they are handed over; they are looked at ten times a second at least.
const HAND_OVER_EVERY: Duration = Duration::from_millis(100);

/// Bytes that are handed over at once.
const PIECE_BYTES: usize = 1 << 18;

/// What the connections of a feed write together.
#[derive(Debug)]
pub(super) struct Roll {
    pieces: SyncSender<Piece>,
    counters: Arc<TapeCounters>,
    exchange: String,
    symbols: Vec<String>,
    /// Whether to hold the reader up while the disk is slow rather than to lose messages: for a source that waits, too.
    waits: bool,
    piece: Piece,
    second: (i64, String),
    handed_over: Instant,
    /// Local time of the last message.
    local_ts_ns: Ns,
}

impl Roll {
    pub(super) fn new(pieces: SyncSender<Piece>, counters: Arc<TapeCounters>, config: &FeedConfig) -> Self {
        Self {
            pieces,
            counters,
            exchange: config.exchange.clone(),
            symbols: config.symbols.clone(),
            waits: config.replay.is_some(),
            piece: Piece::default(),
            second: (0, String::new()),
            handed_over: Instant::now(),
            local_ts_ns: 0,
        }
    }

    fn record(&mut self, message: &[u8], local_ts_ns: Option<Ns>) {
        let stamp = self.stamp();
        push_line(&mut self.piece.lines, &stamp, message.trim_ascii_start());
        self.piece.messages += 1;
        self.local_ts_ns = local_ts_ns.unwrap_or(self.local_ts_ns);
        self.hand_over_if_large();
    }

    fn reject(&mut self, message: &[u8]) {
        let stamp = self.stamp();
        push_line(&mut self.piece.rejected_lines, &stamp, message);
        self.piece.rejected += 1;
        self.hand_over_if_large();
    }

    fn note_loss(&mut self, symbols: &[String]) {
        if self.local_ts_ns == 0 {
            return; // nothing is there to be lost
        }
        let stamp = self.stamp();
        let mut message = Vec::new();
        encode_disconnect(&self.exchange, symbols, self.local_ts_ns, &mut message);
        push_line(&mut self.piece.lines, &stamp, &message);
    }

    fn hand_over_if_large(&mut self) {
        if self.piece.lines.len() + self.piece.rejected_lines.len() >= PIECE_BYTES {
            self.hand_over();
        }
    }

    /// Gives the lines to the thread that writes, without waiting for it unless told so. What follows lost lines begins
    /// with a disconnect: it does not continue what came before.
    fn hand_over(&mut self) {
        self.handed_over = Instant::now();
        if self.piece.is_empty() {
            return;
        }
        let piece = std::mem::take(&mut self.piece);
        let lost = if self.waits {
            self.pieces.send(piece).err().map(|SendError(lost)| lost)
        } else {
            let unsent = self.pieces.try_send(piece).err();
            unsent.map(|(TrySendError::Full(lost) | TrySendError::Disconnected(lost))| lost)
        };
        if let Some(lost) = lost {
            self.counters.drop_messages(&lost);
            let symbols = std::mem::take(&mut self.symbols);
            self.note_loss(&symbols);
            self.symbols = symbols;
        }
    }

    /// The time now, as a line begins with it.
    fn stamp(&mut self) -> [u8; 29] {
        let ns = now_ns();
        let second = ns.div_euclid(1_000_000_000);
        if self.second.0 != second || self.second.1.is_empty() {
            self.second = (second, format_iso(ns, 0)[..19].to_owned());
        }
        let mut stamp = [b' '; 29];
        stamp[..19].copy_from_slice(self.second.1.as_bytes());
        // Nine characters fit: a point, seven digits, a letter.
        let _ = write!(&mut stamp[19..28], ".{:07}Z", ns.rem_euclid(1_000_000_000) / 100);
        stamp
    }
}

impl Drop for Roll {
    fn drop(&mut self) {
        self.hand_over();
    }
}

/// Adds a line. A line feed between tokens means nothing in JSON, but would end the line.
fn push_line(lines: &mut Vec<u8>, stamp: &[u8], message: &[u8]) {
    lines.extend_from_slice(stamp);
    let start = lines.len();
    lines.extend_from_slice(message);
    lines[start..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    lines.push(b'\n');
}

/// The writing end of one connection.
#[derive(Debug)]
pub(in crate::feed) struct Tape {
    roll: Arc<Mutex<Roll>>,
    /// Symbols of the connection.
    symbols: Vec<String>,
}

impl Tape {
    pub(super) fn new(roll: Arc<Mutex<Roll>>, symbols: Vec<String>) -> Self {
        Self { roll, symbols }
    }

    fn roll(&self) -> MutexGuard<'_, Roll> {
        // All connections are served by one thread: nobody waits here.
        self.roll.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one message as it came, a JSON object, with its local time if it has one.
    pub(in crate::feed) fn record(&self, message: &[u8], local_ts_ns: Option<Ns>) {
        self.roll().record(message, local_ts_ns);
    }

    /// Records events of a source that does not speak the normalised form, in that form.
    pub(in crate::feed) fn record_events(&self, events: &[Event]) {
        let mut roll = self.roll();
        let mut message = Vec::new();
        for event in events {
            message.clear();
            encode(event, &mut message);
            roll.record(&message, Some(event.local_ts_ns));
        }
    }

    /// Takes one message that cannot be decoded; it is kept apart from the others.
    pub(in crate::feed) fn reject(&self, message: &[u8]) {
        self.roll().reject(message);
    }

    /// Notes that the connection is gone, and with it the books of its symbols, at the local time of the last message.
    pub(in crate::feed) fn note_loss(&self) {
        let mut roll = self.roll();
        roll.note_loss(&self.symbols);
        roll.hand_over();
    }

    /// Hands over what has waited long enough.
    pub(in crate::feed) fn tick(&self, now: Instant) {
        let mut roll = self.roll();
        if now.duration_since(roll.handed_over) >= HAND_OVER_EVERY {
            roll.hand_over();
        }
    }
}
