//! Books of many symbols, fed from one stream of events.

use std::sync::Arc;

use foldhash::HashMap;

use crate::event::{Event, EventKind};
use crate::types::Ns;

use super::l2::BookState;
use super::symbol::{BookSnapshot, SymbolBook};

/// Routes every event to the book it concerns and makes the book when the symbol is new.
#[derive(Debug, Clone, Default)]
pub struct BookMap {
    books: HashMap<Arc<str>, HashMap<Arc<str>, SymbolBook>>,
    seen_ts_ns: Ns,
}

impl BookMap {
    /// No books yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies one event; a disconnect reaches every book of its exchange.
    pub fn apply(&mut self, event: &Event) {
        self.seen_ts_ns = self.seen_ts_ns.max(event.local_ts_ns);
        if event.kind == EventKind::Disconnect && event.symbol.is_empty() {
            for book in self.books.get_mut(&event.exchange).into_iter().flat_map(|books| books.values_mut()) {
                book.apply(event);
            }
            return;
        }
        if let Some(book) = self.books.get_mut(&event.exchange).and_then(|books| books.get_mut(&event.symbol)) {
            book.apply(event);
            return;
        }
        if !matches!(event.kind, EventKind::BookChange { .. } | EventKind::Trade { .. }) {
            return;
        }
        let mut book = SymbolBook::new(Arc::clone(&event.exchange), Arc::clone(&event.symbol));
        book.apply(event);
        let books = self.books.entry(Arc::clone(&event.exchange)).or_default();
        books.insert(Arc::clone(&event.symbol), book);
    }

    /// The book of a symbol, if anything of it has come.
    pub fn get(&self, exchange: &str, symbol: &str) -> Option<&SymbolBook> {
        self.books.get(exchange)?.get(symbol)
    }

    /// The same, to apply events of that symbol without looking it up each time; [`BookMap::advance`] afterwards.
    pub fn get_mut(&mut self, exchange: &str, symbol: &str) -> Option<&mut SymbolBook> {
        self.books.get_mut(exchange)?.get_mut(symbol)
    }

    /// Takes note of an event's local time, at which ages are judged.
    pub fn advance(&mut self, local_ts_ns: Ns) {
        self.seen_ts_ns = self.seen_ts_ns.max(local_ts_ns);
    }

    /// A copy of one book; its age is judged at the last event of any symbol.
    pub fn snapshot(&self, exchange: &str, symbol: &str, depth: usize) -> Option<BookSnapshot> {
        let mut snapshot = self.get(exchange, symbol)?.snapshot(depth);
        if snapshot.local_ts_ns != 0 {
            snapshot.age_ns = self.seen_ts_ns - snapshot.local_ts_ns;
        }
        Some(snapshot)
    }

    /// [`SymbolBook::copy_levels`] of one book, with its state, the local time of its last change, and its age at the last
    /// event of any symbol; `None` for a symbol never seen.
    pub fn copy_levels(&self, exchange: &str, symbol: &str, out: &mut [f64]) -> Option<(BookState, Ns, Ns)> {
        let book = self.get(exchange, symbol)?;
        book.copy_levels(out);
        let changed = book.local_ts_ns();
        Some((book.state(), changed, if changed == 0 { 0 } else { self.seen_ts_ns - changed }))
    }

    /// Every `(exchange, symbol)` seen, sorted.
    pub fn symbols(&self) -> Vec<(Arc<str>, Arc<str>)> {
        let of = |(exchange, books): (&Arc<str>, &HashMap<Arc<str>, SymbolBook>)| {
            books.keys().map(|symbol| (Arc::clone(exchange), Arc::clone(symbol))).collect::<Vec<_>>()
        };
        let mut all: Vec<_> = self.books.iter().flat_map(of).collect();
        all.sort();
        all
    }
}
