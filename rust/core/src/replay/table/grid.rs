//! Decimal numbers kept as doubles and taken back without losing a digit.

use crate::types::{Decimal, POW10};

/// Below this a double times a power of ten is off by less than a half, so that rounding finds the integer meant.
const EXACT: f64 = (1_u64 << 51) as f64;

/// Adding it pushes the fraction of a number below `EXACT` out of the double: rounding without a call.
const ROUNDER: f64 = (3_u64 << 51) as f64;

/// The double closest to `value`, if reading it back gives `value` again.
pub(super) fn as_double(value: Decimal) -> Option<f64> {
    // A quotient of two numbers that are exact is rounded once, to the double that 15 digits or fewer stand for alone.
    if value.mantissa.unsigned_abs() < 1_000_000_000_000_000 {
        return Some(value.to_f64());
    }
    let double: f64 = value.to_string().parse().ok()?;
    let same = |other: Decimal| {
        other
            .rescaled(18)
            .zip(value.rescaled(18))
            .map_or_else(|| other.rescaled(value.decimals) == Some(value.mantissa), |(a, b)| a == b)
    };
    Decimal::parse(double.to_string().as_bytes()).is_some_and(same).then_some(double)
}

/// The grid on which all numbers of a column lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    decimals: u8,
    factor: f64,
}

impl Grid {
    /// A grid of 10^-`decimals`; `None` above 18.
    pub(super) fn new(decimals: u8) -> Option<Self> {
        Some(Self { decimals, factor: *POW10.get(decimals as usize)? as f64 })
    }

    /// The number a double stands for. `None` when it cannot be one of this grid.
    pub(super) fn decimal(self, double: f64) -> Option<Decimal> {
        if self.is_plain(double) { Some(self.number(self.plain(double))) } else { Self::of_many_digits(double) }
    }

    /// Whether [`Grid::plain`] is right.
    #[inline]
    pub(super) fn is_plain(self, double: f64) -> bool {
        (double * self.factor).abs() < EXACT
    }

    /// The digits of the number that a double of 15 digits or fewer stands for.
    #[inline]
    pub(super) fn plain(self, double: f64) -> i64 {
        ((double * self.factor + ROUNDER).to_bits() as i64).wrapping_sub(ROUNDER.to_bits() as i64)
    }

    /// The number with these digits.
    #[inline]
    pub(super) fn number(self, digits: i64) -> Decimal {
        Decimal::new(digits, self.decimals)
    }

    /// More than 15 digits: the shortest text that means this double is what was stored.
    #[cold]
    fn of_many_digits(double: f64) -> Option<Decimal> {
        Decimal::parse(double.to_string().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_digit_for_digit_whatever_grid_they_share() {
        let texts = ["0", "61800.3", "0.00003505", "5744070", "0.001", "1234567.12345678", "1e-18", "9.2e17", "0.1"];
        for decimals in [8, 9, 12, 18] {
            let grid = Grid::new(decimals).unwrap();
            for text in texts {
                let value = Decimal::parse(text.as_bytes()).unwrap();
                if value.decimals <= decimals {
                    let double = as_double(value).unwrap();
                    assert_eq!(grid.decimal(double).unwrap().to_string(), value.to_string(), "{text} on {decimals}");
                }
            }
        }
    }

    #[test]
    fn a_number_no_double_stands_for_is_refused() {
        assert_eq!(as_double(Decimal::new(1_234_567_890_123_456_789, 3)), None);
        assert!(as_double(Decimal::new(12_345_678_901_234_567, 9)).is_some());
    }

    #[test]
    fn every_tick_of_a_price_range_is_exact() {
        let grid = Grid::new(2).unwrap();
        for ticks in (6_000_000..6_100_000).chain(-100..100) {
            let value = Decimal::new(ticks, 2);
            assert_eq!(grid.decimal(as_double(value).unwrap()), Some(value));
        }
    }
}
