//! The microprice's table of a market, fitted from its recorded events.

use crate::book::{BookState, SymbolBook};
use crate::event::Event;
use crate::model::microprice_table::{MicropriceCounter, MicropriceTable};
use crate::{Error, Result};

/// Follows one symbol's book and counts how its touch changes.
#[derive(Debug)]
pub struct MicropriceFit {
    symbol: String,
    tick_size: f64,
    counter: MicropriceCounter,
    book: Option<SymbolBook>,
}

impl MicropriceFit {
    /// Nothing seen yet.
    ///
    /// # Errors
    /// [`Error::Domain`] naming the value that is out of range.
    pub fn new(symbol: &str, tick_size: f64, imbalance_bins: usize, spreads: usize) -> Result<Self> {
        if !(tick_size.is_finite() && tick_size > 0.0) {
            return Err(Error::Domain { name: "tick_size", reason: format!("must be above 0, got {tick_size}") });
        }
        let counter = MicropriceCounter::new(imbalance_bins, spreads)?;
        Ok(Self { symbol: symbol.to_owned(), tick_size, counter, book: None })
    }

    /// Takes events in, in the order of their local time; those of other symbols are passed over.
    pub fn update(&mut self, events: &[Event]) {
        for event in events {
            let ours = *event.symbol == *self.symbol;
            let disconnects = |book: &SymbolBook| event.disconnects(book.exchange(), book.symbol());
            if !ours && !self.book.as_ref().is_some_and(disconnects) {
                continue;
            }
            let new = || SymbolBook::new(event.exchange.clone(), event.symbol.clone());
            let book = self.book.get_or_insert_with(new);
            if book.apply(event) {
                self.look();
            }
        }
    }

    fn look(&mut self) {
        let Some(book) = self.book.as_ref().filter(|book| book.state() == BookState::Live) else {
            return self.counter.interrupt();
        };
        if let Some(touch) = book.book().grid_touch() {
            let units = book.book().grid_units();
            let ticks = |grid| (units.price(grid) / self.tick_size).round() as i64;
            let (bid, ask) = (ticks(touch.bid), ticks(touch.ask));
            self.counter.observe(bid, units.qty(touch.bid_lots), ask, units.qty(touch.ask_lots));
        }
    }

    /// Changes of the touch counted.
    pub fn seen(&self) -> u64 {
        self.counter.seen()
    }

    /// The table of what was seen.
    ///
    /// # Errors
    /// Those of [`MicropriceCounter::fit`].
    pub fn fit(&self) -> Result<MicropriceTable> {
        self.counter.fit()
    }
}
