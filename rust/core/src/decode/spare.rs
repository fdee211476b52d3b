//! Book changes whose memory is used again.

// Every message passes here.
#![allow(clippy::inline_always)]

use std::sync::Arc;

use crate::event::{Event, EventKind};

/// Events kept for their memory, and the most levels a side one of them may have room for.
const MAX_SPARE: usize = 128;
const MAX_SPARE_LEVELS: usize = 4096;

/// Events that are done with, for the book changes to come.
#[derive(Debug, Default)]
pub(crate) struct SpareEvents(Vec<Event>);

impl SpareEvents {
    /// A book change without times; its levels are to be cleared.
    #[inline(always)]
    pub(crate) fn book_change(&mut self, exchange: &Arc<str>, symbol: &Arc<str>) -> Event {
        let Some(mut event) = self.0.pop() else {
            let kind = EventKind::BookChange { is_snapshot: false, bids: Vec::new(), asks: Vec::new() };
            let (exchange, symbol) = (Arc::clone(exchange), Arc::clone(symbol));
            return Event { exchange, symbol, exchange_ts_ns: 0, local_ts_ns: 0, kind };
        };
        if !Arc::ptr_eq(&event.exchange, exchange) {
            event.exchange = Arc::clone(exchange);
        }
        if !Arc::ptr_eq(&event.symbol, symbol) {
            event.symbol = Arc::clone(symbol);
        }
        event
    }

    /// Takes an event back; keeps it if it is a book change of ordinary size.
    pub(crate) fn recycle(&mut self, event: Event) {
        if let EventKind::BookChange { bids, asks, .. } = &event.kind {
            if self.0.len() < MAX_SPARE && bids.capacity().max(asks.capacity()) <= MAX_SPARE_LEVELS {
                self.0.push(event);
            }
        }
    }
}
