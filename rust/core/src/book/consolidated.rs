//! One view of the same market at several venues.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::l2::BookState;
use super::symbol::BookSnapshot;
use crate::types::Ns;

/// One price of the view.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsolidatedLevel {
    /// Price.
    pub price: f64,
    /// Quantity of all venues.
    pub qty: f64,
    /// Quantity of each venue, in the order of [`Consolidated::venues`].
    pub by_venue: Vec<f64>,
}

/// A venue that is left out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excluded {
    /// Tardis exchange id.
    pub exchange: Arc<str>,
    /// Symbol there.
    pub symbol: Arc<str>,
    /// State of its book.
    pub state: BookState,
    /// The book's own reason.
    pub reason: String,
}

/// The books of several venues laid over each other. Only `LIVE` books take part: an old level must not look like a
/// price one can trade at. Between venues best bid and best ask may cross, which is a fact of the market and stays.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Consolidated {
    /// Exchange and symbol of each venue that takes part.
    pub venues: Vec<(Arc<str>, Arc<str>)>,
    /// Venues left out.
    pub excluded: Vec<Excluded>,
    /// Bids, best first.
    pub bids: Vec<ConsolidatedLevel>,
    /// Asks, best first.
    pub asks: Vec<ConsolidatedLevel>,
    /// Local time of the oldest book that takes part; 0 when there is none.
    pub oldest_ts_ns: Ns,
}

impl Consolidated {
    /// Lays snapshots over each other and keeps the best `depth` prices a side.
    ///
    /// Quantities are added as they are: the venues must count in the same unit. A venue's book ends where its
    /// snapshot ends, so prices beyond the shallowest of them count only part of the market; ask for enough levels.
    pub fn of(books: &[BookSnapshot], depth: usize) -> Self {
        let (live, other): (Vec<_>, Vec<_>) = books.iter().partition(|book| book.state == BookState::Live);
        let side = |levels: fn(&BookSnapshot) -> &[[f64; 2]], sign: f64| {
            let mut by_price: BTreeMap<i64, ConsolidatedLevel> = BTreeMap::new();
            for (venue, book) in live.iter().enumerate() {
                for &[price, qty] in levels(book) {
                    let level = by_price.entry(ordered(price * sign)).or_insert_with(|| ConsolidatedLevel {
                        price,
                        qty: 0.0,
                        by_venue: vec![0.0; live.len()],
                    });
                    level.qty += qty;
                    level.by_venue[venue] += qty;
                }
            }
            by_price.into_values().take(depth).collect()
        };
        Self {
            venues: live.iter().map(|book| (Arc::clone(&book.exchange), Arc::clone(&book.symbol))).collect(),
            excluded: other.iter().map(|book| excluded(book)).collect(),
            bids: side(|book| &book.bids, -1.0),
            asks: side(|book| &book.asks, 1.0),
            oldest_ts_ns: live.iter().map(|book| book.local_ts_ns).min().unwrap_or(0),
        }
    }

    /// Best bid and best ask over all venues; `None` while a side has no level.
    pub fn touch(&self) -> Option<(&ConsolidatedLevel, &ConsolidatedLevel)> {
        self.bids.first().zip(self.asks.first())
    }

    /// Whether one venue bids at or above what another asks.
    pub fn is_crossed(&self) -> bool {
        self.touch().is_some_and(|(bid, ask)| bid.price >= ask.price)
    }
}

fn excluded(book: &BookSnapshot) -> Excluded {
    Excluded {
        exchange: Arc::clone(&book.exchange),
        symbol: Arc::clone(&book.symbol),
        state: book.state,
        reason: book.reason.clone(),
    }
}

/// Bits of a double that sort as the doubles do.
fn ordered(value: f64) -> i64 {
    let bits = (value + 0.0).to_bits() as i64;
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::SymbolBook;
    use crate::event::{Event, EventKind, Level};
    use crate::types::Decimal;

    fn book(exchange: &str, local_ts_ns: Ns, bids: &[(i64, i64)], asks: &[(i64, i64)]) -> BookSnapshot {
        let (exchange, symbol): (Arc<str>, Arc<str>) = (exchange.into(), "S".into());
        let levels = |levels: &[(i64, i64)]| {
            let level =
                |(price, qty): &(i64, i64)| Level { price: Decimal::new(*price, 1), qty: Decimal::new(*qty, 0) };
            levels.iter().map(level).collect()
        };
        let kind = EventKind::BookChange { is_snapshot: true, bids: levels(bids), asks: levels(asks) };
        let mut book = SymbolBook::new(exchange.clone(), symbol.clone());
        book.apply(&Event { exchange, symbol, exchange_ts_ns: 0, local_ts_ns, kind });
        book.snapshot(usize::MAX)
    }

    fn prices(levels: &[ConsolidatedLevel]) -> Vec<(f64, f64)> {
        levels.iter().map(|level| (level.price, level.qty)).collect()
    }

    #[test]
    fn quantities_at_one_price_add_up_and_stay_told_apart() {
        let books =
            [book("x", 5, &[(995, 1), (990, 2)], &[(1005, 1)]), book("y", 3, &[(990, 4)], &[(1000, 3), (1005, 2)])];
        let view = Consolidated::of(&books, 10);
        assert_eq!(prices(&view.bids), [(99.5, 1.0), (99.0, 6.0)]);
        assert_eq!(prices(&view.asks), [(100.0, 3.0), (100.5, 3.0)]);
        assert_eq!(view.bids[1].by_venue, [2.0, 4.0]);
        assert_eq!((view.oldest_ts_ns, view.is_crossed()), (3, false));
        assert_eq!(Consolidated::of(&books, 1).bids.len(), 1);
    }

    #[test]
    fn venues_may_cross_each_other_and_that_is_shown() {
        let view =
            Consolidated::of(&[book("x", 1, &[(1010, 1)], &[(1020, 1)]), book("y", 1, &[(990, 1)], &[(1000, 1)])], 5);
        assert!(view.is_crossed());
        assert_eq!(view.touch().map(|(bid, ask)| (bid.price, ask.price)), Some((101.0, 100.0)));
    }

    #[test]
    fn a_book_that_is_not_live_takes_no_part_and_says_why() {
        let stale = {
            let mut stale = book("y", 1, &[(1500, 1)], &[(1600, 1)]);
            stale.judge_age(5_000_000_000, 3_000_000_000);
            stale
        };
        let view = Consolidated::of(&[book("x", 1, &[(990, 1)], &[(1000, 1)]), stale], 5);
        assert_eq!(view.venues.len(), 1);
        assert_eq!(prices(&view.bids), [(99.0, 1.0)]);
        assert_eq!((view.excluded[0].state, view.excluded[0].reason.is_empty()), (BookState::Stale, false));
        assert_eq!(Consolidated::of(&[], 5), Consolidated::default());
    }
}
