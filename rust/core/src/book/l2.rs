//! A level-2 book of one symbol: applies changes as a whole and knows whether it can be trusted.

use std::borrow::Cow;
use std::fmt;

use crate::event::Level;
use crate::metrics::{self, DEPTH_BAND_BPS, Depth};
use crate::types::{Decimal, POW10};
use crate::{Error, Result};

use super::grid::{Grid, MOST_DECIMALS, common_divisor, lots};
use super::side::Ladder;

/// Book changes in a row that each left the book crossed before it is called [`BookState::Crossed`]: one may come from
/// a delete the exchange left out, several in a row mean that the book is wrong, and only a snapshot makes it right.
pub const PERSISTENT_CROSSES: u32 = 3;

/// Whether a book may be traded on; only `Live` may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BookState {
    /// No snapshot since the start or since the book was lost, or a side without levels.
    Unsynced,
    /// In step with the feed.
    Live,
    /// No news for longer than allowed; judged by whoever holds a running clock.
    Stale,
    /// The feed kept crossing the book: it is wrong until the next snapshot.
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

/// What a book's integers are worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GridUnits {
    step: i64,
    per_unit: f64,
    per_lot_unit: f64,
}

impl GridUnits {
    /// The price of a step of the grid, P; exactly rounded while it fits 2^53.
    #[inline]
    pub fn price(&self, steps: i64) -> f64 {
        steps.wrapping_mul(self.step) as f64 / self.per_unit
    }

    /// A quantity, base units.
    #[inline]
    pub fn qty(&self, lots: i64) -> f64 {
        lots as f64 / self.per_lot_unit
    }
}

/// Best levels in whole steps of a book's grid and whole lots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GridTouch {
    /// Best bid, steps.
    pub bid: i64,
    /// Lots there.
    pub bid_lots: i64,
    /// Best ask, steps.
    pub ask: i64,
    /// Lots there.
    pub ask_lots: i64,
}

/// Both sides on one integer price grid, which becomes finer when a finer price arrives.
#[derive(Debug, Clone)]
pub struct L2Book {
    bids: Ladder,
    asks: Ladder,
    grid: Grid,
    /// Best bid and best ask for which `mid` and the depth bands stand.
    measured_at: Option<(i64, i64)>,
    mid: f64,
    synced: bool,
    reason: Cow<'static, str>,
    crossed_run: u32,
    /// Whether the run became so long that the book is wrong.
    is_crossed: bool,
    crossed_levels_pruned: u64,
    depth_band_bps: i64,
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
            grid: Grid { decimals: 0, step: 1, lot_decimals: 0, most_lot_decimals: MOST_DECIMALS },
            measured_at: None,
            mid: 0.0,
            synced: false,
            reason: Cow::Borrowed("no snapshot yet"),
            crossed_run: 0,
            is_crossed: false,
            crossed_levels_pruned: 0,
            depth_band_bps: DEPTH_BAND_BPS,
        }
    }

    /// The same empty book, whose depth counts what rests within `bps` of mid.
    ///
    /// # Errors
    /// [`crate::Error::Domain`] unless the band is 1 to 9999 bps wide either way.
    pub fn with_depth_band(mut self, bps: i64) -> Result<Self> {
        if !(1..10_000).contains(&bps) {
            let reason = format!("must be 1 to 9999 bps, got {bps}");
            return Err(Error::Domain { name: "depth_band_bps", reason });
        }
        self.depth_band_bps = bps;
        Ok(self)
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
        Decimal::new(grid * self.grid.step, self.grid.decimals)
    }

    /// The greatest step of the book's grid at or below a price.
    pub fn grid_floor(&self, price: Decimal) -> i64 {
        let digits = i32::from(self.grid.decimals) - i32::from(price.decimals);
        match price.rescaled(self.grid.decimals) {
            Some(units) => units.div_euclid(self.grid.step),
            None if digits < 0 => {
                price.mantissa.div_euclid(POW10[digits.unsigned_abs() as usize]).div_euclid(self.grid.step)
            }
            None => i64::MAX,
        }
    }

    /// The smallest step of the book's grid at or above a price.
    pub fn grid_ceil(&self, price: Decimal) -> i64 {
        let floor = self.grid_floor(price);
        let exact = price.rescaled(self.grid.decimals).is_some_and(|units| units % self.grid.step == 0);
        if exact { floor } else { floor.saturating_add(1) }
    }

    /// Levels of both sides.
    pub fn len(&self) -> usize {
        self.bids.len() + self.asks.len()
    }

    /// Whether there is no level.
    pub fn is_empty(&self) -> bool {
        self.bids.is_empty() && self.asks.is_empty()
    }

    /// Whether a snapshot has come since the start or since the book was lost.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Whether only a snapshot can make the book right. A side without levels is a market, not a loss.
    pub fn needs_snapshot(&self) -> bool {
        !self.synced || self.is_crossed
    }

    /// The state, judged at the last change applied.
    #[inline]
    pub fn state(&self) -> BookState {
        match (self.synced, self.bids.is_empty() || self.asks.is_empty()) {
            (true, _) if self.is_crossed => BookState::Crossed,
            (false, _) | (true, true) => BookState::Unsynced,
            _ => BookState::Live,
        }
    }

    /// Why the book is not live; empty when it is.
    pub fn reason(&self) -> String {
        match self.state() {
            BookState::Unsynced if !self.synced => self.reason.clone().into_owned(),
            BookState::Unsynced if self.bids.is_empty() => "no bid levels".to_owned(),
            BookState::Unsynced => "no ask levels".to_owned(),
            BookState::Crossed => format!("crossed by {PERSISTENT_CROSSES} changes in a row: waiting for a snapshot"),
            _ => String::new(),
        }
    }

    /// Forgets the book until the next snapshot.
    pub fn unsync(&mut self, reason: &str) {
        self.forget(Cow::Owned(reason.to_owned()));
    }

    fn forget(&mut self, reason: Cow<'static, str>) {
        self.bids.clear();
        self.asks.clear();
        self.measured_at = None;
        self.synced = false;
        self.crossed_run = 0;
        self.is_crossed = false;
        self.reason = reason;
    }

    /// Applies one change as a whole: `true` when it was applied, `false` when it was ignored because no snapshot has
    /// come yet, or when a price does not fit the grid, which loses the book. Quantities that are too large and too fine
    /// for one grid are rounded to the finest lots in which the largest fits, until the next snapshot.
    ///
    /// A change that leaves the book crossed has its stale levels removed: bids if the change itself set the best
    /// ask, else asks. Source: `tardis-node`, `OrderBook` with `removeCrossedLevels`.
    pub fn apply(&mut self, is_snapshot: bool, bids: &[Level], asks: &[Level]) -> bool {
        self.apply_levels(is_snapshot, bids.iter().copied(), asks.iter().copied())
    }

    /// [`L2Book::apply`] for levels in any form, such as columns of integers that share their decimals.
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "both sides are given alike")]
    pub fn apply_levels<I: Iterator<Item = Level> + Clone>(&mut self, is_snapshot: bool, bids: I, asks: I) -> bool {
        if is_snapshot {
            self.forget(Cow::Borrowed(""));
            let Some(grid) = Grid::of(bids.clone().chain(asks.clone())) else { return self.overflow() };
            if bids.clone().chain(asks.clone()).any(|level| grid.place_in_range(level).is_none()) {
                if !self.load_rounded(grid, bids, asks.clone()) {
                    return self.overflow();
                }
            } else {
                self.load(grid, bids, asks.clone(), |level| grid.place(level));
            }
        } else if !self.synced || !self.set_all(bids, true) || !self.set_all(asks.clone(), false) {
            return false;
        }
        match (self.bids.best_price(), self.asks.best_price()) {
            (Some(bid), Some(ask)) if bid >= ask => self.prune_crossed(&asks),
            (Some(bid), Some(ask)) => {
                self.crossed_run = 0;
                if self.measured_at != Some((bid, ask)) {
                    self.measure(bid, ask);
                }
            }
            _ => self.crossed_run = 0,
        }
        true
    }

    #[inline]
    fn load<I>(&mut self, grid: Grid, bids: I, asks: I, place: impl Fn(Level) -> Option<(i64, i64)> + Copy)
    where
        I: Iterator<Item = Level> + Clone,
    {
        self.grid = grid;
        self.bids.load(bids.filter_map(place), grid.lot_decimals);
        self.asks.load(asks.filter_map(place), grid.lot_decimals);
        self.synced = true;
    }

    /// Loads a snapshot whose quantities do not fit the grid of its levels; `false` when its prices do not either.
    #[cold]
    fn load_rounded<I: Iterator<Item = Level> + Clone>(&mut self, grid: Grid, bids: I, asks: I) -> bool {
        let all = bids.clone().chain(asks.clone());
        let Some(grid) = grid.with_room_for(&all) else { return false };
        let fits = all.clone().all(|level| grid.place_rounded(level).is_some());
        if fits {
            self.load(grid, bids, asks, |level| grid.place_rounded(level));
        }
        fits
    }

    /// Sets the levels of one side; `false` when a number does not fit, which loses the book.
    #[inline]
    fn set_all(&mut self, mut levels: impl Iterator<Item = Level> + Clone, is_bid: bool) -> bool {
        loop {
            let side = if is_bid { &mut self.bids } else { &mut self.asks };
            let Err(placed) = side.set_all(&self.grid, levels.clone()) else { return true };
            let Some(level) = levels.nth(placed) else { return true };
            let Some((price, lots)) = self.refine(level) else { return self.overflow() };
            if is_bid { self.bids.set(price, lots) } else { self.asks.set(price, lots) }
        }
    }

    /// The book cannot hold a number it was given.
    #[cold]
    fn overflow(&mut self) -> bool {
        self.forget(Cow::Borrowed("a price has too many digits for the book"));
        false
    }

    /// Makes the grid fine enough for a level and places it; `None` when that is not possible.
    #[cold]
    fn refine(&mut self, level: Level) -> Option<(i64, i64)> {
        self.refine_prices(level.price)?;
        self.fit_lots(level.qty)?;
        self.measured_at = None;
        self.grid.place_rounded(level)
    }

    fn refine_prices(&mut self, price: Decimal) -> Option<()> {
        let old = self.grid;
        let decimals = old.decimals.max(price.decimals);
        let units = old.step.checked_mul(*POW10.get(usize::from(decimals - old.decimals))?)?;
        let price = price.rescaled(decimals)?;
        let step = i64::try_from(common_divisor(units.unsigned_abs(), price.unsigned_abs())).ok()?;
        let factor = units / step;
        if factor != 1 && !(self.bids.refine_prices(factor) && self.asks.refine_prices(factor)) {
            return None;
        }
        self.grid = Grid { decimals, step, ..old };
        Some(())
    }

    /// Makes the lots as fine as a quantity is, or as the largest quantity allows; coarser, when it is the largest.
    fn fit_lots(&mut self, qty: Decimal) -> Option<()> {
        let old = self.grid.lot_decimals;
        let wanted = old.max(qty.decimals.min(self.grid.most_lot_decimals));
        if wanted == old && lots(qty, old).is_some() {
            return Some(());
        }
        let largest = self.bids.lots().chain(self.asks.lots()).map(|(_, lots)| lots).max().unwrap_or(0);
        let fit = |decimals: &u8| [qty, Decimal::new(largest, old)].iter().all(|qty| lots(*qty, *decimals).is_some());
        let decimals = (0..=wanted).rev().find(fit)?;
        if decimals != old {
            self.bids.rescale_lots(decimals);
            self.asks.rescale_lots(decimals);
            self.grid.lot_decimals = decimals;
        }
        if decimals < wanted {
            self.grid.most_lot_decimals = decimals;
        }
        Some(())
    }

    #[cold]
    fn prune_crossed(&mut self, changed_asks: &(impl Iterator<Item = Level> + Clone)) {
        while let (Some(bid), Some(ask)) = (self.bids.best_price(), self.asks.best_price()) {
            if bid < ask {
                self.measure(bid, ask);
                break;
            }
            let ask_is_new = changed_asks.clone().any(|level| self.grid.place_price(level.price) == Some(ask));
            if ask_is_new {
                self.bids.pop_best();
            } else {
                self.asks.pop_best();
            }
            self.crossed_levels_pruned += 1;
        }
        self.crossed_run = self.crossed_run.saturating_add(1);
        self.is_crossed |= self.crossed_run >= PERSISTENT_CROSSES;
    }

    /// Works out what depends on the touch alone: mid, and the ends of the depth bands.
    fn measure(&mut self, bid: i64, ask: i64) {
        self.measured_at = Some((bid, ask));
        self.mid = metrics::mid(self.price(bid).to_f64(), self.price(ask).to_f64());
        let touch = i128::from(bid) + i128::from(ask);
        let (mid, band) = (10_000 * touch, i128::from(self.depth_band_bps) * touch.abs());
        // Within the band means not further than that: the bid end is rounded up, the ask end down.
        self.bids.set_band_end(-(band - mid).div_euclid(20_000) as i64);
        self.asks.set_band_end((mid + band).div_euclid(20_000) as i64);
    }

    /// Price and quantity of the best bid and the best ask; `None` while a side has no level.
    pub fn touch(&self) -> Option<(Level, Level)> {
        self.best(&self.bids).zip(self.best(&self.asks))
    }

    /// Exact price and quantity of a side's best level.
    pub(super) fn best(&self, side: &Ladder) -> Option<Level> {
        side.best().map(|(price, qty)| Level { price: self.price(price).normalized(), qty })
    }

    /// Middle of the touch; `None` while a side has no level.
    #[inline]
    pub fn mid(&self) -> Option<f64> {
        (!self.bids.is_empty() && !self.asks.is_empty()).then_some(self.mid)
    }

    /// What rests within the book's band around mid, ten percent by default; zeros while a side has no level. O(1): the sums are kept as levels
    /// change.
    pub fn depth(&self) -> Depth {
        let (Some(bid), Some(ask)) = (self.bids.best_price(), self.asks.best_price()) else { return Depth::default() };
        let lot = POW10[usize::from(self.grid.lot_decimals)] as f64;
        let value = POW10[usize::from(self.grid.decimals)] as f64 * lot / self.grid.step as f64;
        let base = |side: &Ladder| to_f64(side.band().0) / lot;
        let quote = |side: &Ladder| to_f64(side.band().1) / value;
        let mid = (bid + ask) as f64 / 2.0;
        let covered = |side: &Ladder| match side.worst_price_in_band() {
            Some(worst) => 100.0 * (worst as f64 - mid).abs() / mid.abs(),
            None => self.depth_band_bps as f64 / 100.0,
        };
        Depth {
            bid_base: base(&self.bids),
            ask_base: base(&self.asks),
            bid_quote: quote(&self.bids),
            ask_quote: quote(&self.asks),
            covered_pct: covered(&self.bids).min(covered(&self.asks)),
        }
    }

    /// The touch in whole steps of the grid and whole lots; `None` while a side has no level. O(1).
    #[inline]
    pub fn grid_touch(&self) -> Option<GridTouch> {
        let ((bid, bid_lots), (ask, ask_lots)) = self.bids.best_lots().zip(self.asks.best_lots())?;
        Some(GridTouch { bid, bid_lots, ask, ask_lots })
    }

    /// What one step of the grid and one lot are worth. Both become finer when finer numbers arrive.
    #[inline]
    pub fn grid_units(&self) -> GridUnits {
        let Grid { decimals, step, lot_decimals, .. } = self.grid;
        let scale = |decimals: u8| POW10[usize::from(decimals)] as f64;
        GridUnits { step, per_unit: scale(decimals), per_lot_unit: scale(lot_decimals) }
    }

    /// Lots of the best `levels` levels: bids, asks. O(`levels`).
    #[inline]
    pub fn near_lots(&self, levels: usize) -> (f64, f64) {
        let sum = |side: &Ladder| side.lots().take(levels).map(|(_, lots)| lots as f64).sum();
        (sum(&self.bids), sum(&self.asks))
    }

    /// Copies the best levels of a side as price, qty, price, qty … into `out`, fills the rest with NaN, and returns how
    /// many levels there were. O(`out`).
    pub(super) fn copy_top(&self, side: &Ladder, out: &mut [f64]) -> usize {
        let units = self.grid_units();
        let mut rows = out.chunks_exact_mut(2);
        let mut copied = 0;
        for ((price, lots), row) in side.lots().zip(&mut rows) {
            row.copy_from_slice(&[units.price(price), units.qty(lots)]);
            copied += 1;
        }
        out[2 * copied..].fill(f64::NAN);
        copied
    }
}

/// The nearest `f64`; most sums fit the quick conversion.
fn to_f64(sum: i128) -> f64 {
    i64::try_from(sum).map_or_else(|_| large_to_f64(sum), |sum| sum as f64)
}

/// A call of its own, or the compiler converts both ways and then chooses.
#[cold]
#[inline(never)]
fn large_to_f64(sum: i128) -> f64 {
    sum as f64
}

#[cfg(test)]
#[path = "l2_tests.rs"]
mod tests;
