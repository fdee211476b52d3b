//! The integers in which a book counts prices and quantities.

use crate::event::Level;
use crate::types::{Decimal, POW10};

/// Greatest absolute price on the grid: differences of two stay within an `i64`.
pub(super) const MAX_GRID: i64 = 1 << 61;

/// The units in which a book counts, learned from what it was given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    /// Digits after the point of a price.
    pub(super) decimals: u8,
    /// Steps of 10^-`decimals` that every price is a multiple of; a price on the grid is a number of them.
    pub(super) step: i64,
    /// Digits after the point of a quantity.
    pub(super) lot_decimals: u8,
    /// With more digits the largest quantity would not fit: those of others are rounded.
    pub(super) most_lot_decimals: u8,
}

/// Digits after the point that any number may have.
pub(super) const MOST_DECIMALS: u8 = 18;

/// A quantity in lots of 10^-`decimals`, rounded; what is more than nothing stays at least one. `None` when it does not
/// fit.
pub(super) fn lots(qty: Decimal, decimals: u8) -> Option<i64> {
    let lots = qty.rounded(decimals)?;
    Some(if lots == 0 { qty.mantissa.signum() } else { lots })
}

impl Grid {
    /// Price and quantity of a level in whole units; `None` when the grid is too coarse, or they are too large. The
    /// price may still be beyond [`MAX_GRID`].
    #[inline]
    pub(super) fn place(&self, level: Level) -> Option<(i64, i64)> {
        let scaled = |value: Decimal, decimals: u8| {
            let digits = decimals.wrapping_sub(value.decimals);
            value.mantissa.checked_mul(*POW10.get(usize::from(digits))?)
        };
        let price = scaled(level.price, self.decimals)?;
        let lots = scaled(level.qty, self.lot_decimals)?;
        let price = if self.step == 1 { price } else { self.steps(price)? };
        Some((price, lots))
    }

    #[inline(never)]
    fn steps(&self, units: i64) -> Option<i64> {
        let steps = units.checked_div(self.step)?;
        (steps.wrapping_mul(self.step) == units).then_some(steps)
    }

    /// Price of a level on the grid; `None` when the grid is too coarse for it, or it is beyond [`MAX_GRID`].
    pub(super) fn place_price(&self, price: Decimal) -> Option<i64> {
        self.place_in_range(Level { price, qty: Decimal::default() }).map(|(price, _)| price)
    }

    /// [`Grid::place_in_range`] with the quantity rounded to whole lots.
    pub(super) fn place_rounded(&self, level: Level) -> Option<(i64, i64)> {
        self.place_price(level.price).zip(lots(level.qty, self.lot_decimals))
    }

    /// The same grid with the finest lots in which every level's quantity fits.
    pub(super) fn with_room_for(mut self, levels: &(impl Iterator<Item = Level> + Clone)) -> Option<Self> {
        let fit = |decimals: &u8| levels.clone().all(|level| lots(level.qty, *decimals).is_some());
        self.lot_decimals = (0..=self.lot_decimals).rev().find(fit)?;
        self.most_lot_decimals = self.lot_decimals;
        Some(self)
    }

    /// [`Grid::place`], and the price is not beyond [`MAX_GRID`].
    pub(super) fn place_in_range(&self, level: Level) -> Option<(i64, i64)> {
        self.place(level).filter(|(price, _)| price.unsigned_abs() <= MAX_GRID as u64)
    }

    /// The grid of levels alone: the coarsest that has them all. `None` when there is none.
    pub(super) fn of(levels: impl Iterator<Item = Level> + Clone) -> Option<Self> {
        let decimals = levels.clone().map(|level| level.price.decimals).max().unwrap_or(0);
        let lot_decimals = levels.clone().map(|level| level.qty.decimals).max().unwrap_or(0);
        let mut step = 0;
        for level in levels {
            step = common_divisor(step, level.price.rescaled(decimals)?.unsigned_abs());
        }
        let step = i64::try_from(step).ok()?.max(1);
        Some(Self { decimals, step, lot_decimals, most_lot_decimals: MOST_DECIMALS })
    }
}

/// Greatest common divisor; the other one when one is 0.
pub(super) fn common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        if a == 1 {
            return 1;
        }
        (a, b) = (b, a % b);
    }
    a
}
