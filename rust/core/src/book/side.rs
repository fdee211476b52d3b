//! One side of a book: the levels near the touch in a [`Window`], all others in an ordered map.
//!
//! Prices are integers on a grid that the book chooses for both sides. Bids are kept under `price`, asks under
//! `-price`, so that the greatest key is the best on either side. The best level is always in the window, and all
//! levels of the map lie below it; the window moves with the touch and grows when much happens outside.

// The two conditions of a level that goes are no branch each: which levels go is as good as random.
#![allow(clippy::needless_bitwise_bool)]

use std::collections::BTreeMap;

use crate::event::Level;
use crate::types::Decimal;

use super::grid::{Grid, MAX_GRID, lots};
use super::window::{MAX_SLOTS, MIN_SLOTS, Window};

/// A window may have up to this many slots a level, and [`MIN_SLOTS`] at least: it takes memory by what it holds.
const SLOTS_PER_LEVEL: usize = 16;

/// Sums over the levels of a band. Exact while they fit 127 bits, as those of a million levels of 2^53 lots at a price
/// of 2^53 do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BandSums {
    /// Sum of lots.
    lots: i128,
    /// Sum of key x lots.
    value: i128,
}

impl BandSums {
    const ZERO: Self = Self { lots: 0, value: 0 };

    #[inline]
    fn add(&mut self, key: i64, lots: i64) {
        self.lots = self.lots.wrapping_add(i128::from(lots));
        self.value = self.value.wrapping_add(i128::from(key).wrapping_mul(i128::from(lots)));
    }
}

/// The levels of one side.
#[derive(Debug, Clone)]
pub struct Ladder {
    sign: i64,
    lot_decimals: u8,
    window: Window,
    /// The greatest key, `i64::MIN` when there is no level.
    best: i64,
    /// Levels below the window.
    far: BTreeMap<i64, i64>,
    /// Levels written there since the window last changed its size.
    far_writes: usize,
    /// The smallest key of the band.
    band_from: i64,
    band: BandSums,
}

impl Ladder {
    /// An empty bid side.
    pub fn bids() -> Self {
        Self::new(1)
    }

    /// An empty ask side.
    pub fn asks() -> Self {
        Self::new(-1)
    }

    fn new(sign: i64) -> Self {
        Self {
            sign,
            lot_decimals: 0,
            window: Window::new(MIN_SLOTS, 0),
            best: i64::MIN,
            far: BTreeMap::new(),
            far_writes: 0,
            band_from: i64::MIN,
            band: BandSums::ZERO,
        }
    }

    /// Number of levels.
    pub fn len(&self) -> usize {
        self.window.len() + self.far.len()
    }

    /// Whether there is no level.
    pub fn is_empty(&self) -> bool {
        self.best == i64::MIN
    }

    /// Price, on the grid, of the best level.
    #[inline]
    pub fn best_price(&self) -> Option<i64> {
        (self.best != i64::MIN).then_some(self.best.wrapping_mul(self.sign))
    }

    /// Price, on the grid, and quantity of the best level.
    pub fn best(&self) -> Option<(i64, Decimal)> {
        self.best_price().map(|price| (price, self.qty(self.window.get(self.best))))
    }

    /// Price, on the grid, and lots of the best level.
    #[inline]
    pub(super) fn best_lots(&self) -> Option<(i64, i64)> {
        self.best_price().map(|price| (price, self.window.get(self.best)))
    }

    /// Price, on the grid, of the level furthest from the touch.
    pub fn worst_price(&self) -> Option<i64> {
        self.worst_key().map(|key| key * self.sign)
    }

    fn worst_key(&self) -> Option<i64> {
        self.far.keys().next().copied().or_else(|| self.window.lowest())
    }

    /// Levels, best first, prices on the grid.
    pub fn iter(&self) -> impl Iterator<Item = (i64, Decimal)> + '_ {
        self.lots().map(|(price, lots)| (price, self.qty(lots)))
    }

    /// Levels as (price on the grid, lots), best first.
    pub(super) fn lots(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        let far = self.far.iter().rev().map(|(key, lots)| (*key, *lots));
        self.window.descending().chain(far).map(|(key, lots)| (key * self.sign, lots))
    }

    /// Levels with `from <= price < to`, prices on the grid, worst first. O(log n) to find.
    pub fn between(&self, from: i64, to: i64) -> impl Iterator<Item = (i64, Decimal)> + '_ {
        let negated = |price: i64| price.saturating_neg().saturating_add(1);
        let (low, high) = if self.sign > 0 { (from, to) } else { (negated(to), negated(from)) };
        self.keys(low, high).map(|(key, lots)| (key * self.sign, self.qty(lots)))
    }

    /// Levels with `low <= key < high`, smallest key first.
    fn keys(&self, low: i64, high: i64) -> impl Iterator<Item = (i64, i64)> + '_ {
        let far = self.far.range(low.min(high)..high).map(|(key, lots)| (*key, *lots));
        let mut next = low.max(self.window.low());
        let near = std::iter::from_fn(move || {
            let key = self.window.holds(next).then(|| self.window.at_or_above(next))??;
            next = key + 1;
            Some((key, self.window.get(key)))
        });
        far.chain(near.take_while(move |(key, _)| *key < high))
    }

    fn qty(&self, lots: i64) -> Decimal {
        Decimal::new(lots, self.lot_decimals).normalized()
    }

    /// Sets the lots at a price; 0 removes the level, and removing what is not there does nothing. O(1) near the
    /// touch, O(log n) elsewhere. `price` is at most [`MAX_GRID`] from 0.
    #[inline]
    pub(super) fn set(&mut self, price: i64, lots: i64) {
        let key = price.wrapping_mul(self.sign);
        if !self.window.holds(key) {
            return self.set_outside(key, lots);
        }
        let old = self.window.put(key, lots);
        let change = lots.wrapping_sub(old);
        self.band.add(key, if key >= self.band_from { change } else { 0 });
        self.best = self.best.max(if lots == 0 { i64::MIN } else { key });
        if (lots == 0) & (key == self.best) {
            self.best_is_gone();
        }
    }

    /// Sets levels one after the other.
    ///
    /// # Errors
    /// The index of a level that the grid has no place for; those before it are set.
    #[inline]
    pub(super) fn set_all(&mut self, grid: &Grid, levels: impl Iterator<Item = Level>) -> Result<(), usize> {
        let grid = *grid;
        let (sign, band_from) = (self.sign, self.band_from);
        // What every level changes is kept at hand.
        let (mut best, mut band) = (self.best, self.band);
        let mut result = Ok(());
        for (index, level) in levels.enumerate() {
            let Some((price, lots)) = grid.place(level) else {
                result = Err(index);
                break;
            };
            let key = price.wrapping_mul(sign);
            // A key the window holds is in range, since the window is.
            if self.window.holds(key) {
                let old = self.window.put(key, lots);
                let change = lots.wrapping_sub(old);
                band.add(key, if key >= band_from { change } else { 0 });
                best = best.max(if lots == 0 { i64::MIN } else { key });
                if (lots == 0) & (key == best) {
                    self.best = best;
                    self.best_is_gone();
                    best = self.best;
                }
            } else if price.unsigned_abs() <= MAX_GRID as u64 {
                (self.best, self.band) = (best, band);
                self.set_outside(key, lots);
                (best, band) = (self.best, self.band);
            } else {
                result = Err(index);
                break;
            }
        }
        (self.best, self.band) = (best, band);
        result
    }

    fn best_is_gone(&mut self) {
        match self.window.below(self.best) {
            Some(key) if self.far.is_empty() || key >= self.window.low() + self.window.slots() as i64 / 4 => {
                self.best = key;
            }
            found => {
                self.best = found.or_else(|| self.far.keys().next_back().copied()).unwrap_or(i64::MIN);
                if self.best != i64::MIN {
                    self.centre();
                }
            }
        }
    }

    /// Changes the sums by `lots` at `key` if it lies in the band.
    fn count(&mut self, key: i64, lots: i64) {
        if key >= self.band_from {
            self.band.add(key, lots);
        }
    }

    #[cold]
    fn set_outside(&mut self, key: i64, lots: i64) {
        if key > self.best {
            if lots != 0 {
                self.best = key;
                self.centre();
                self.window.put(key, lots);
                self.count(key, lots);
            }
            return;
        }
        let old = if lots == 0 { self.far.remove(&key) } else { self.far.insert(key, lots) };
        self.count(key, lots - old.unwrap_or(0));
        self.far_writes += 1;
        if self.far_writes > 2 * self.window.slots() {
            self.far_writes = 0;
            let slots = self.window.slots() * 2;
            if slots <= most_slots(self.len()) {
                self.resize(slots);
            }
        }
    }

    /// The window's lowest key when the best is `best`: an eighth of its slots is room for better prices.
    fn low_for(best: i64, slots: usize) -> i64 {
        best - (slots - slots / 8) as i64
    }

    /// Moves the window to the best key; what leaves it at the bottom goes to the map, what enters comes from there.
    #[cold]
    fn centre(&mut self) {
        let low = Self::low_for(self.best, self.window.slots());
        while let Some(key) = self.window.lowest().filter(|key| *key < low) {
            let lots = self.window.put(key, 0);
            self.far.insert(key, lots);
        }
        self.window.move_to(low);
        self.take_from_far();
    }

    fn take_from_far(&mut self) {
        if self.far.keys().next_back().is_some_and(|key| *key >= self.window.low()) {
            for (key, lots) in self.far.split_off(&self.window.low()) {
                self.window.put(key, lots);
            }
        }
    }

    fn resize(&mut self, slots: usize) {
        let mut window = Window::new(slots, Self::low_for(self.best, slots));
        for (key, lots) in self.window.descending() {
            window.put(key, lots);
        }
        self.window = window;
        self.take_from_far();
    }

    /// Removes the best level.
    pub(super) fn pop_best(&mut self) {
        if let Some(price) = self.best_price() {
            self.set(price, 0);
        }
    }

    /// Removes every level and forgets the band.
    pub(super) fn clear(&mut self) {
        self.window.clear();
        self.far.clear();
        self.far_writes = 0;
        self.best = i64::MIN;
        self.band_from = i64::MIN;
        self.band = BandSums::ZERO;
    }

    /// Replaces the side by levels `(price, lots)` in any order, lots having `lot_decimals` digits after the point. A
    /// price that comes twice keeps its last quantity; quantity 0 means that there is no level.
    pub(super) fn load(&mut self, levels: impl Iterator<Item = (i64, i64)> + Clone, lot_decimals: u8) {
        self.clear();
        self.lot_decimals = lot_decimals;
        let keys = || levels.clone().filter(|(_, lots)| *lots != 0).map(|(price, _)| price.wrapping_mul(self.sign));
        let Some(best) = keys().max() else { return };
        let (count, worst) = keys().fold((0, best), |(count, worst), key| (count + 1, key.min(worst)));
        let needed = (best - worst) as usize / 7 * 8 + 64;
        let slots = needed.checked_next_power_of_two().unwrap_or(MAX_SLOTS).min(most_slots(count)).max(MIN_SLOTS);
        let low = Self::low_for(best, slots);
        if slots > self.window.slots() || slots * 4 < self.window.slots() {
            self.window = Window::new(slots, low);
        } else {
            self.window.move_to(Self::low_for(best, self.window.slots()));
        }
        // Known beforehand, so that levels in any order find the window where it will stay.
        self.best = best;
        levels.for_each(|(price, lots)| self.set(price, lots));
    }

    /// Moves the prices to a grid `factor` times finer; `false` when one does not fit, and the side is unusable then.
    pub(super) fn refine_prices(&mut self, factor: i64) -> bool {
        let finer = |price: i64| price.checked_mul(factor).filter(|price| price.unsigned_abs() <= MAX_GRID as u64);
        let ends = [self.best_price(), self.worst_price()];
        if ends.into_iter().flatten().any(|price| finer(price).is_none()) {
            return false;
        }
        let levels: Vec<_> = self.lots().map(|(price, lots)| (price * factor, lots)).collect();
        // Keys of the band are those from `band_from` on, and between two old keys there is no level.
        let band_from = self.band_from.saturating_sub(1).saturating_mul(factor).saturating_add(1);
        let value = self.band.value.wrapping_mul(i128::from(factor));
        let lots = self.band.lots;
        self.load(levels.iter().copied(), self.lot_decimals);
        (self.band_from, self.band) = (band_from, BandSums { lots, value });
        true
    }

    /// Gives the lots `decimals` digits after the point; fewer than before round them. All of them must fit.
    pub(super) fn rescale_lots(&mut self, decimals: u8) {
        let levels: Vec<_> = self.lots().map(|(price, lots)| (price, Decimal::new(lots, self.lot_decimals))).collect();
        for (price, qty) in levels {
            self.set(price, lots(qty, decimals).unwrap_or(i64::MAX));
        }
        self.lot_decimals = decimals;
    }

    /// Sums over the levels of the band: lots, and price on the grid x lots.
    pub(super) fn band(&self) -> (i128, i128) {
        (self.band.lots, self.band.value.wrapping_mul(i128::from(self.sign)))
    }

    /// Price, on the grid, of the level furthest from the touch, if it lies in the band: then all levels do.
    pub(super) fn worst_price_in_band(&self) -> Option<i64> {
        self.worst_key().filter(|key| *key >= self.band_from).map(|key| key * self.sign)
    }

    /// Moves the end of the band to a price on the grid, which belongs to it. O(levels between the old and the new).
    pub(super) fn set_band_end(&mut self, price: i64) {
        let from = price.wrapping_mul(self.sign);
        let before = std::mem::replace(&mut self.band_from, from);
        let (low, high, sign) = if from < before { (from, before, 1) } else { (before, from, -1) };
        if low == high {
            return;
        }
        let mut moved = BandSums::ZERO;
        for (key, lots) in self.keys(low, high) {
            moved.add(key, lots);
        }
        self.band.lots = self.band.lots.wrapping_add(moved.lots.wrapping_mul(sign));
        self.band.value = self.band.value.wrapping_add(moved.value.wrapping_mul(sign));
    }
}

/// The largest window that a number of levels is worth.
fn most_slots(levels: usize) -> usize {
    (levels.saturating_mul(SLOTS_PER_LEVEL)).clamp(MIN_SLOTS, MAX_SLOTS).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices(side: &Ladder) -> Vec<i64> {
        side.iter().map(|(price, _)| price).collect()
    }

    fn load(side: &mut Ladder, levels: &[(i64, i64)]) {
        side.load(levels.iter().copied(), 0);
    }

    #[test]
    fn the_best_level_comes_first_on_either_side() {
        for (mut side, order) in [(Ladder::bids(), [3, 2, 1]), (Ladder::asks(), [1, 2, 3])] {
            for price in [2, 3, 1] {
                side.set(price, 1);
            }
            assert_eq!(prices(&side), order);
            assert_eq!(side.best_price(), Some(order[0]));
            assert_eq!(side.worst_price(), Some(order[2]));
        }
    }

    #[test]
    fn a_range_of_prices_holds_its_lower_end_and_not_its_upper() {
        for mut side in [Ladder::bids(), Ladder::asks()] {
            side.load((1..=5).map(|price| (price * 1_000, price)), 0);
            let mut within: Vec<i64> = side.between(2_000, 4_000).map(|(price, _)| price).collect();
            within.sort_unstable();
            assert_eq!(within, [2_000, 3_000]);
            assert_eq!(side.between(4, 2).count(), 0);
            assert_eq!(side.between(i64::MIN, i64::MAX).count(), 5);
        }
    }

    #[test]
    fn an_unsorted_snapshot_with_zeros_and_repeats_loads_as_if_set_one_by_one() {
        let mut side = Ladder::asks();
        load(&mut side, &[(5, 1), (9, 2), (7, 0), (5, 0), (8, 1), (8, 3)]);
        assert_eq!(side.lots().collect::<Vec<_>>(), [(8, 3), (9, 2)]);
    }

    #[test]
    fn removing_an_unknown_level_does_nothing() {
        let mut side = Ladder::bids();
        side.set(5, 1);
        for price in [6, 1_000_000, -1_000_000] {
            side.set(price, 0);
        }
        assert_eq!(prices(&side), [5]);
    }

    #[test]
    fn a_finer_grid_that_does_not_fit_is_refused() {
        let mut side = Ladder::asks();
        side.set(5_000_000_000, 1);
        assert!(!side.refine_prices(1_000_000_000_000_000_000));
        assert!(side.refine_prices(100));
        assert_eq!(prices(&side), [500_000_000_000]);
    }

    /// A walk over a range far wider than the window, with jumps, gaps and empty books on the way.
    #[test]
    fn levels_near_and_far_are_those_of_an_ordered_map_and_the_sums_are_those_of_the_band() {
        for sign in [1, -1] {
            let mut side = Ladder::new(sign);
            let mut map = BTreeMap::new();
            let (mut draw, mut centre) = (7_u64, 1_000_000_i64);
            for round in 0..60_000 {
                draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let random = (draw >> 16) as i64;
                centre += random % 7 - 3 + if round % 5_000 == 0 { random % 40_000 - 20_000 } else { 0 };
                let spread = [20, 300, 5_000, 900_000][(draw >> 60) as usize % 4];
                let price = centre - sign * (random / 7 % spread);
                let lots = if random % 3 == 0 { 0 } else { random % 1_000 };
                side.set(price, lots);
                if lots == 0 {
                    map.remove(&(price * sign))
                } else {
                    map.insert(price * sign, lots)
                };
                // A book whose touch moves sheds the levels it passes.
                while let Some((key, _)) = map.last_key_value().filter(|(key, _)| **key > centre * sign) {
                    side.set(key * sign, 0);
                    map.pop_last();
                }
                let best = map.last_key_value().map(|(key, _)| key * sign);
                assert_eq!((side.best_price(), side.len()), (best, map.len()));
                if let Some(best) = best {
                    side.set_band_end(best - sign * (best / 10));
                }
                if round % 501 == 0 {
                    assert!(side.lots().eq(map.iter().rev().map(|(key, lots)| (key * sign, *lots))));
                    assert_eq!(side.worst_price(), map.keys().next().map(|key| key * sign));
                    let mut sums = BandSums::ZERO;
                    map.range(side.band_from..).for_each(|(key, lots)| sums.add(*key, *lots));
                    assert_eq!(side.band, sums);
                }
                if round % 20_011 == 0 {
                    let all: Vec<_> = map.iter().map(|(key, lots)| (key * sign, *lots)).collect();
                    load(&mut side, &all);
                }
            }
            assert!(side.window.slots() > MIN_SLOTS, "it grows where much happens");
        }
    }
}
