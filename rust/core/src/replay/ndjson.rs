//! Files of normalised messages, one JSON object a line, as a tardis-machine sends them.

use std::collections::VecDeque;

use crate::decode::{Decoder, Message};
use crate::error::Result;
use crate::replay::reader::{Item, message};
use crate::replay::source::Lines;

/// Reads one message a line.
pub(super) struct NdjsonReader {
    lines: Lines,
    decoder: Decoder,
    /// The first line was read to tell the layout; it waits here.
    first: Option<Vec<u8>>,
    last_ts_ns: i64,
    /// Further events of a line that held several.
    waiting: VecDeque<Item>,
    keeps_text: bool,
}

impl NdjsonReader {
    pub(super) fn new(lines: Lines, first: Vec<u8>) -> Self {
        Self {
            lines,
            decoder: Decoder::new(),
            first: Some(first),
            last_ts_ns: 0,
            waiting: VecDeque::new(),
            keeps_text: false,
        }
    }

    pub(super) fn keep_text(&mut self) {
        self.keeps_text = true;
    }

    pub(super) fn progress(&self) -> (u64, u64) {
        self.lines.progress()
    }

    pub(super) fn next(&mut self) -> Result<Option<Item>> {
        if let Some(item) = self.waiting.pop_front() {
            return Ok(Some(item));
        }
        let keep = |text: &[u8]| self.keeps_text.then(|| text.into());
        let (decoded, text) = if let Some(first) = self.first.take() {
            let text = message(&first);
            (self.decoder.decode(text), keep(text))
        } else {
            match self.lines.next()? {
                Some(line) => (self.decoder.decode(message(line)), keep(message(line))),
                None => return Ok(None),
            }
        };
        let item = match decoded.map_err(|malformed| malformed.at(self.lines.place()))? {
            Message::Event(event) => Item { text, ..Item::of(event) },
            message @ Message::PartialDisconnect { local_ts_ns, .. } => {
                let item = |event| Item { lines: 0, ..Item::of(event) };
                self.waiting.extend(message.into_events().into_iter().map(item));
                // The one line counts with the first of its events.
                let none = Item { local_ts_ns, event: None, lines: 1, text: None };
                Item { lines: 1, ..self.waiting.pop_front().unwrap_or(none) }
            }
            // Without a time of its own it stays where it stands.
            Message::Other { local_ts_ns } => {
                Item { local_ts_ns: local_ts_ns.unwrap_or(self.last_ts_ns), event: None, lines: 1, text: None }
            }
        };
        self.last_ts_ns = item.local_ts_ns;
        Ok(Some(item))
    }

    /// Takes a message back that is done with: a later one uses its memory.
    pub(super) fn recycle(&mut self, item: Item) {
        if let Some(event) = item.event {
            self.decoder.recycle(event);
        }
    }
}
