//! A level-2 book of one symbol: applies changes as a whole and knows whether it can be trusted.

use std::fmt;

use crate::event::Level;
use crate::types::{Decimal, POW10};

use super::side::Ladder;

/// Book changes in a row that each left the book crossed before it is called [`BookState::Crossed`]: one may come from
/// a delete the exchange left out, several in a row mean that the book is wrong.
pub const PERSISTENT_CROSSES: u32 = 3;

/// Whether a book may be traded on; only `Live` may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BookState {
    /// No snapshot since the start or since the connection broke, or a side without levels.
    Unsynced,
    /// In step with the feed.
    Live,
    /// No news for longer than allowed; judged by whoever holds a running clock.
    Stale,
    /// The feed keeps crossing the book.
    Crossed,
}

impl fmt::Display for BookState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsynced => "UNSYNCED",
            Self::Live => "LIVE",
            Self::Stale => "STALE",
            Self::Crossed => "CROSSED",
        })
    }
}

/// Both sides on one integer price grid, which becomes finer when a finer price arrives.
#[derive(Debug, Clone)]
pub struct L2Book {
    bids: Ladder,
    asks: Ladder,
    decimals: u8,
    synced: bool,
    reason: String,
    crossed_run: u32,
    crossed_levels_pruned: u64,
}

impl Default for L2Book {
    fn default() -> Self {
        Self::new()
    }
}

impl L2Book {
    /// An empty book, waiting for its first snapshot.
    pub fn new() -> Self {
        Self {
            bids: Ladder::bids(),
            asks: Ladder::asks(),
            decimals: 0,
            synced: false,
            reason: "no snapshot yet".to_owned(),
            crossed_run: 0,
            crossed_levels_pruned: 0,
        }
    }

    /// Bid side.
    pub fn bids(&self) -> &Ladder {
        &self.bids
    }

    /// Ask side.
    pub fn asks(&self) -> &Ladder {
        &self.asks
    }

    /// Levels removed because the feed left the book crossed, since the start.
    pub fn crossed_levels_pruned(&self) -> u64 {
        self.crossed_levels_pruned
    }

    /// A price on the book's grid as an exact decimal.
    pub fn price(&self, grid: i64) -> Decimal {
        Decimal::new(grid, self.decimals)
    }

    /// The greatest step of the book's grid at or below a price.
    pub fn grid_floor(&self, price: Decimal) -> i64 {
        let digits = i32::from(self.decimals) - i32::from(price.decimals);
        match price.rescaled(self.decimals) {
            Some(grid) => grid,
            None if digits < 0 => price.mantissa.div_euclid(POW10[digits.unsigned_abs() as usize]),
            None => i64::MAX,
        }
    }

    /// The smallest step of the book's grid at or above a price.
    pub fn grid_ceil(&self, price: Decimal) -> i64 {
        price.rescaled(self.decimals).unwrap_or_else(|| self.grid_floor(price).saturating_add(1))
    }

    /// Whether a snapshot has come since the start or since the book was lost.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// The state, judged at the last change applied.
    pub fn state(&self) -> BookState {
        match (self.synced, self.bids.is_empty() || self.asks.is_empty()) {
            (false, _) | (true, true) => BookState::Unsynced,
            _ if self.crossed_run >= PERSISTENT_CROSSES => BookState::Crossed,
            _ => BookState::Live,
        }
    }

    /// Why the book is not live; empty when it is.
    pub fn reason(&self) -> String {
        match self.state() {
            BookState::Unsynced if !self.synced => self.reason.clone(),
            BookState::Unsynced if self.bids.is_empty() => "no bid levels".to_owned(),
            BookState::Unsynced => "no ask levels".to_owned(),
            BookState::Crossed => format!("crossed by {} changes in a row", self.crossed_run),
            _ => String::new(),
        }
    }

    /// Forgets the book until the next snapshot.
    pub fn unsync(&mut self, reason: &str) {
        self.bids.clear();
        self.asks.clear();
        self.synced = false;
        self.crossed_run = 0;
        reason.clone_into(&mut self.reason);
    }

    /// Applies one change as a whole: `true` when it was applied, `false` when it was ignored because no snapshot has
    /// come yet, or when a price does not fit the grid, which loses the book.
    ///
    /// A change that leaves the book crossed has its stale levels removed: bids if the change itself set the best
    /// ask, else asks. Source: `tardis-node`, `OrderBook` with `removeCrossedLevels`.
    pub fn apply(&mut self, is_snapshot: bool, bids: &[Level], asks: &[Level]) -> bool {
        if !is_snapshot && !self.synced {
            return false;
        }
        if is_snapshot {
            self.unsync("");
            self.decimals = 0;
        }
        if !self.fit_grid(bids, asks) {
            self.unsync("a price has too many digits for the book");
            return false;
        }
        let decimals = self.decimals;
        let on_grid = move |level: &Level| level.price.rescaled(decimals).map(|price| (price, level.qty));
        for (side, levels) in [(&mut self.bids, bids), (&mut self.asks, asks)] {
            if is_snapshot {
                side.load(levels.iter().filter_map(on_grid));
            } else {
                levels.iter().filter_map(on_grid).for_each(|(price, qty)| side.set(price, qty));
            }
        }
        self.synced = true;
        self.prune_crossed(asks);
        true
    }

    /// Makes the grid fine enough for every price of a change; `false` when that is not possible.
    fn fit_grid(&mut self, bids: &[Level], asks: &[Level]) -> bool {
        let levels = || bids.iter().chain(asks);
        let needed = levels().map(|level| level.price.decimals).max().unwrap_or(0);
        if needed > self.decimals {
            let digits = needed - self.decimals;
            if !(self.bids.refine(digits) && self.asks.refine(digits)) {
                return false;
            }
            self.decimals = needed;
        }
        levels().all(|level| level.price.rescaled(self.decimals).is_some())
    }

    fn prune_crossed(&mut self, changed_asks: &[Level]) {
        let before = self.crossed_levels_pruned;
        while let (Some(bid), Some(ask)) = (self.bids.best_price(), self.asks.best_price()) {
            if bid < ask {
                break;
            }
            let ask_is_new = changed_asks.iter().any(|level| level.price.rescaled(self.decimals) == Some(ask));
            if ask_is_new {
                self.bids.pop_best()
            } else {
                self.asks.pop_best()
            };
            self.crossed_levels_pruned += 1;
        }
        self.crossed_run = if self.crossed_levels_pruned > before { self.crossed_run + 1 } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(texts: &[(&str, &str)]) -> Vec<Level> {
        let number = |t: &str| Decimal::parse(t.as_bytes()).expect(t);
        texts.iter().map(|(price, qty)| Level { price: number(price), qty: number(qty) }).collect()
    }

    fn best(book: &L2Book) -> (Option<String>, Option<String>) {
        let text = |side: &Ladder| side.best_price().map(|p| book.price(p).to_string());
        (text(&book.bids), text(&book.asks))
    }

    fn live() -> L2Book {
        let mut book = L2Book::new();
        book.apply(true, &levels(&[("99", "1"), ("98", "1")]), &levels(&[("101", "1"), ("102", "1")]));
        book
    }

    #[test]
    fn changes_before_the_first_snapshot_are_ignored() {
        let mut book = L2Book::new();
        assert!(!book.apply(false, &levels(&[("99", "1")]), &[]));
        assert_eq!((book.state(), book.bids.len()), (BookState::Unsynced, 0));
        assert_eq!(book.reason(), "no snapshot yet");
    }

    #[test]
    fn a_snapshot_replaces_both_sides() {
        let mut book = live();
        book.apply(true, &levels(&[("50", "1")]), &levels(&[("51", "1")]));
        assert_eq!((book.bids.len(), book.asks.len(), book.state()), (1, 1, BookState::Live));
    }

    #[test]
    fn a_finer_price_refines_the_grid() {
        let mut book = live();
        book.apply(false, &levels(&[("99.125", "1")]), &[]);
        assert_eq!(best(&book), (Some("99.125".into()), Some("101".into())));
    }

    #[test]
    fn a_price_that_does_not_fit_loses_the_book_and_says_so() {
        let mut book = live();
        assert!(!book.apply(false, &levels(&[("0.000000000000000001", "1")]), &[]));
        assert_eq!(book.state(), BookState::Unsynced);
        assert!(book.reason().contains("too many digits"));
    }

    #[test]
    fn a_message_is_atomic_so_that_crossing_inside_it_does_not_matter() {
        let mut book = live();
        book.apply(false, &levels(&[("101", "1")]), &levels(&[("101", "0")]));
        assert_eq!(best(&book), (Some("101".into()), Some("102".into())));
        assert_eq!(book.crossed_levels_pruned(), 0);
    }

    #[test]
    fn crossed_levels_are_removed_on_the_side_that_did_not_change() {
        let mut book = live();
        book.apply(false, &[], &levels(&[("98", "1")]));
        assert_eq!((best(&book).1, book.bids.len(), book.crossed_levels_pruned()), (Some("98".into()), 0, 2));
        let mut book = live();
        book.apply(false, &levels(&[("101.5", "1")]), &[]);
        assert_eq!(best(&book), (Some("101.5".into()), Some("102".into())));
        assert_eq!(book.state(), BookState::Live);
    }

    #[test]
    fn a_cross_that_persists_is_a_state_and_ends_with_the_first_clean_change() {
        let mut book = live();
        for price in ["101", "102", "103"] {
            let above = levels(&[("104", "1"), ("105", "1"), ("106", "1")]);
            book.apply(false, &levels(&[(price, "1")]), &[&levels(&[(price, "1")])[..], &above].concat());
            book.apply(false, &levels(&[]), &[]);
            assert_eq!(book.state(), BookState::Live);
        }
        for (bid, ask) in [("104", "107"), ("105", "108"), ("106", "109")] {
            book.apply(false, &levels(&[(bid, "1")]), &levels(&[(ask, "1")]));
        }
        assert_eq!(book.state(), BookState::Crossed);
        book.apply(false, &levels(&[("90", "1")]), &[]);
        assert_eq!(book.state(), BookState::Live);
    }

    #[test]
    fn a_side_without_levels_cannot_be_traded_on() {
        let mut book = live();
        book.apply(false, &levels(&[("99", "0"), ("98", "0")]), &[]);
        assert_eq!((book.state(), book.reason()), (BookState::Unsynced, "no bid levels".into()));
        book.apply(false, &levels(&[("97", "1")]), &[]);
        assert_eq!(book.state(), BookState::Live);
    }
}
