//! One side of a book: a sorted vector with the best level at its end, where most changes happen.

use crate::types::{Decimal, POW10};

/// Price key and quantity of one level.
type Entry = (i64, Decimal);

/// The levels of one side. Prices are integers on a grid of 10^-`decimals` that the book chooses for both sides;
/// bids are kept under `price`, asks under `-price`, so that the greatest key is the best on either side.
#[derive(Debug, Clone)]
pub struct Ladder {
    sign: i64,
    entries: Vec<Entry>,
}

impl Ladder {
    /// An empty bid side.
    pub fn bids() -> Self {
        Self { sign: 1, entries: Vec::new() }
    }

    /// An empty ask side.
    pub fn asks() -> Self {
        Self { sign: -1, entries: Vec::new() }
    }

    /// Number of levels.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no level.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Removes every level.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Price, on the grid, of the best level.
    pub fn best_price(&self) -> Option<i64> {
        self.entries.last().map(|(key, _)| key * self.sign)
    }

    /// Removes and returns the best level.
    pub fn pop_best(&mut self) -> Option<(i64, Decimal)> {
        self.entries.pop().map(|(key, qty)| (key * self.sign, qty))
    }

    /// Levels, best first, prices on the grid.
    pub fn iter(&self) -> impl Iterator<Item = (i64, Decimal)> + '_ {
        self.entries.iter().rev().map(|(key, qty)| (key * self.sign, *qty))
    }

    /// Levels with `from <= price < to`, prices on the grid, worst first. O(log n) to find.
    pub fn between(&self, from: i64, to: i64) -> impl Iterator<Item = (i64, Decimal)> + '_ {
        let (low, high) = if self.sign > 0 { (from, to) } else { (1 - to, 1 - from) };
        let start = self.entries.partition_point(|(key, _)| *key < low);
        let end = self.entries.partition_point(|(key, _)| *key < high);
        self.entries[start..end.max(start)].iter().map(|(key, qty)| (key * self.sign, *qty))
    }

    /// Sets the quantity at a price; 0 removes the level, and removing what is not there does nothing.
    /// O(log n) to find plus the levels better than `price` to move.
    pub fn set(&mut self, price: i64, qty: Decimal) {
        let key = price * self.sign;
        match self.entries.binary_search_by_key(&key, |(k, _)| *k) {
            Ok(at) if qty.mantissa == 0 => {
                self.entries.remove(at);
            }
            Ok(at) => self.entries[at].1 = qty,
            Err(at) if qty.mantissa != 0 => self.entries.insert(at, (key, qty)),
            Err(_) => {}
        }
    }

    /// Replaces the side by levels in any order. A price that comes twice keeps its last quantity; quantity 0 means
    /// that there is no level. O(n) when the levels come sorted, O(n log n) else.
    pub fn load(&mut self, levels: impl Iterator<Item = (i64, Decimal)>) {
        self.entries.clear();
        self.entries.extend(levels.map(|(price, qty)| (price * self.sign, qty)));
        // The sort is stable: of equal keys the last one came last.
        self.entries.sort_by_key(|(key, _)| *key);
        self.entries.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                *earlier = *later;
            }
            same
        });
        self.entries.retain(|(_, qty)| qty.mantissa != 0);
    }

    /// Moves the prices to a grid 10^`digits` times finer; `false`, and nothing changed, when one does not fit.
    pub fn refine(&mut self, digits: u8) -> bool {
        let Some(factor) = POW10.get(digits as usize) else { return false };
        // Keys are sorted: if the two ends fit, all do.
        let fits = |entry: Option<&Entry>| entry.is_none_or(|(key, _)| key.checked_mul(*factor).is_some());
        if !fits(self.entries.first()) || !fits(self.entries.last()) {
            return false;
        }
        for (key, _) in &mut self.entries {
            *key *= factor;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices(side: &Ladder) -> Vec<i64> {
        side.iter().map(|(price, _)| price).collect()
    }

    fn qty(n: i64) -> Decimal {
        Decimal::new(n, 0)
    }

    #[test]
    fn the_best_level_comes_first_on_either_side() {
        for (mut side, order) in [(Ladder::bids(), [3, 2, 1]), (Ladder::asks(), [1, 2, 3])] {
            for price in [2, 3, 1] {
                side.set(price, qty(1));
            }
            assert_eq!(prices(&side), order);
            assert_eq!(side.best_price(), Some(order[0]));
        }
    }

    #[test]
    fn a_range_of_prices_holds_its_lower_end_and_not_its_upper() {
        for mut side in [Ladder::bids(), Ladder::asks()] {
            side.load((1..=5).map(|price| (price, qty(price))));
            let mut within: Vec<i64> = side.between(2, 4).map(|(price, _)| price).collect();
            within.sort_unstable();
            assert_eq!(within, [2, 3]);
            assert_eq!(side.between(4, 2).count(), 0);
        }
    }

    #[test]
    fn an_unsorted_snapshot_with_zeros_and_repeats_loads_as_if_set_one_by_one() {
        let levels = [(5, 1), (9, 2), (7, 0), (5, 0), (8, 1), (8, 3)];
        let mut side = Ladder::asks();
        side.load(levels.iter().map(|(p, q)| (*p, qty(*q))));
        assert_eq!(side.iter().collect::<Vec<_>>(), [(8, qty(3)), (9, qty(2))]);
    }

    #[test]
    fn removing_an_unknown_level_does_nothing() {
        let mut side = Ladder::bids();
        side.set(5, qty(1));
        side.set(6, qty(0));
        assert_eq!(prices(&side), [5]);
    }

    #[test]
    fn a_finer_grid_that_does_not_fit_changes_nothing() {
        let mut side = Ladder::asks();
        side.set(5_000_000_000, qty(1));
        assert!(!side.refine(18) && !side.refine(40));
        assert!(side.refine(2));
        assert_eq!(prices(&side), [500_000_000_000]);
    }
}
