//! The market's book on the grid of one symbol: what an order would meet if it were sent now.

use crate::book::L2Book;
use crate::event::Level;
use crate::sim::grid::Grid;
use crate::types::{Decimal, Side};

/// The displayed book, read in ticks and lots.
///
/// Levels off the grid count for the next tick away from the touch, quantities off the grid are rounded up: what
/// stands ahead of an own order is never understated.
#[derive(Debug, Clone)]
pub struct Displayed {
    book: L2Book,
    price: Grid,
    qty: Grid,
}

impl Displayed {
    /// An empty book, waiting for its first snapshot.
    pub fn new(price: Grid, qty: Grid) -> Self {
        Self { book: L2Book::new(), price, qty }
    }

    /// Whether a snapshot was seen since the last disconnect.
    pub fn is_synced(&self) -> bool {
        self.book.is_synced()
    }

    /// Forgets the book until the next snapshot.
    pub fn unsync(&mut self) {
        self.book.unsync("disconnected");
    }

    /// Applies one book change as a whole; a change before the first snapshot is ignored.
    pub fn apply(&mut self, is_snapshot: bool, bids: &[Level], asks: &[Level]) {
        self.book.apply(is_snapshot, bids, asks);
    }

    /// Best bid or best ask in ticks; `Side::Buy` is the bid side.
    pub fn best(&self, side: Side) -> Option<i64> {
        let ladder = if side == Side::Buy { self.book.bids() } else { self.book.asks() };
        ladder.best_price().map(|price| self.ticks(side, price))
    }

    /// Lots shown at a price; 0 where there is no level.
    pub fn qty_at(&self, side: Side, ticks: i64) -> i64 {
        let lots = |(_, qty): (i64, Decimal)| self.qty.ceil(qty);
        match side {
            Side::Buy => {
                let from = |ticks| self.book.grid_ceil(self.price.value(ticks));
                self.book.bids().between(from(ticks), from(ticks.saturating_add(1))).map(lots).sum()
            }
            Side::Sell => {
                let past = |ticks| self.book.grid_floor(self.price.value(ticks)).saturating_add(1);
                self.book.asks().between(past(ticks.saturating_sub(1)), past(ticks)).map(lots).sum()
            }
        }
    }

    /// Levels an order of `taker` side would meet, best first, as (ticks, lots).
    pub fn opposite(&self, taker: Side) -> impl Iterator<Item = (i64, i64)> + '_ {
        let (side, ladder) = match taker {
            Side::Buy => (Side::Sell, self.book.asks()),
            Side::Sell => (Side::Buy, self.book.bids()),
        };
        ladder.iter().map(move |(price, qty)| (self.ticks(side, price), self.qty.ceil(qty)))
    }

    /// A price of the book in ticks, off-grid ones moved away from the touch.
    fn ticks(&self, side: Side, price: i64) -> i64 {
        match side {
            Side::Buy => self.price.floor(self.book.price(price)),
            Side::Sell => self.price.ceil(self.book.price(price)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dec(text: &str) -> Decimal {
        Decimal::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn levels_off_the_grid_count_away_from_the_touch_and_never_too_little() {
        let grid = |name, step| Grid::new(name, dec(step)).unwrap();
        let mut shown = Displayed::new(grid("price", "0.5"), grid("qty", "0.1"));
        let level = |price, qty| Level { price: dec(price), qty: dec(qty) };
        let bids = [level("10", "1"), level("10.2", "0.25"), level("9.5", "3")];
        let asks = [level("11", "1"), level("10.9", "2"), level("11.5", "4")];
        shown.apply(true, &bids, &asks);
        assert_eq!((shown.best(Side::Buy), shown.best(Side::Sell)), (Some(20), Some(22)));
        assert_eq!((shown.qty_at(Side::Buy, 20), shown.qty_at(Side::Buy, 19)), (13, 30));
        assert_eq!((shown.qty_at(Side::Sell, 22), shown.qty_at(Side::Sell, 23)), (30, 40));
        assert_eq!(shown.qty_at(Side::Buy, 25), 0);
    }

    #[test]
    fn a_tick_finer_than_every_level_finds_each_level_once() {
        let grid = |name, step| Grid::new(name, dec(step)).unwrap();
        let mut shown = Displayed::new(grid("price", "0.05"), grid("qty", "1"));
        let level = |price| Level { price: dec(price), qty: dec("7") };
        shown.apply(true, &[level("10")], &[level("11")]);
        for (side, at) in [(Side::Buy, 200), (Side::Sell, 220)] {
            let lots: Vec<i64> = (at - 2..=at + 2).map(|ticks| shown.qty_at(side, ticks)).collect();
            assert_eq!(lots, [0, 0, 7, 0, 0]);
        }
    }
}
