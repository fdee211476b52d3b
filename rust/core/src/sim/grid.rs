//! The grid of prices or quantities orders live on.

use crate::error::{Error, Result};
use crate::types::{Decimal, POW10};

/// Multiples of one step: ticks for prices, lots for quantities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    step: Decimal,
    name: &'static str,
}

impl Grid {
    /// A grid of `step`; `name` is what errors call a value of it.
    ///
    /// # Errors
    /// [`Error::Domain`] when the step is not positive.
    pub fn new(name: &'static str, step: Decimal) -> Result<Self> {
        if step.mantissa <= 0 {
            return Err(Error::Domain { name, reason: format!("grid step {step} is not positive") });
        }
        Ok(Self { step, name })
    }

    /// The step.
    pub fn step(&self) -> Decimal {
        self.step
    }

    /// Steps in `value`, rounded down.
    pub fn floor(&self, value: Decimal) -> i64 {
        let (numerator, denominator) = self.ratio(value);
        saturate(numerator.div_euclid(denominator))
    }

    /// Steps in `value`, rounded up.
    pub fn ceil(&self, value: Decimal) -> i64 {
        let (numerator, denominator) = self.ratio(value);
        saturate(-(-numerator).div_euclid(denominator))
    }

    /// Steps in `value`.
    ///
    /// # Errors
    /// [`Error::Domain`] when `value` is not positive or not a multiple of the step.
    pub fn exact(&self, value: Decimal) -> Result<i64> {
        let steps = self.floor(value);
        if steps <= 0 || steps != self.ceil(value) {
            let reason = format!("{value} is not a positive multiple of {}", self.step);
            return Err(Error::Domain { name: self.name, reason });
        }
        Ok(steps)
    }

    /// Parses text and returns its steps.
    ///
    /// # Errors
    /// [`Error::Domain`] when the text is no number or off the grid.
    pub fn parse(&self, text: &str) -> Result<i64> {
        let value = Decimal::parse(text.as_bytes())
            .ok_or_else(|| Error::Domain { name: self.name, reason: format!("{text:?} is not a decimal number") })?;
        self.exact(value)
    }

    /// The value of so many steps.
    pub fn value(&self, steps: i64) -> Decimal {
        Decimal::new(self.step.mantissa.saturating_mul(steps), self.step.decimals)
    }

    fn ratio(&self, value: Decimal) -> (i128, i128) {
        (
            i128::from(value.mantissa) * i128::from(POW10[self.step.decimals as usize]),
            i128::from(self.step.mantissa) * i128::from(POW10[value.decimals as usize]),
        )
    }
}

fn saturate(steps: i128) -> i64 {
    steps.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dec(text: &str) -> Decimal {
        Decimal::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn values_off_the_grid_round_both_ways_and_are_refused_as_exact() {
        let grid = Grid::new("price", dec("0.05")).unwrap();
        assert_eq!((grid.floor(dec("1.12")), grid.ceil(dec("1.12"))), (22, 23));
        assert_eq!(grid.exact(dec("1.15")).unwrap(), 23);
        assert!(grid.exact(dec("1.12")).unwrap_err().to_string().contains("multiple of 0.05"));
        assert!(grid.parse("0").is_err());
        assert!(grid.parse("x").is_err());
        assert_eq!(grid.value(23).to_string(), "1.15");
    }

    #[test]
    fn a_grid_needs_a_positive_step() {
        assert!(Grid::new("qty", dec("0")).is_err());
        assert!(Grid::new("qty", dec("-1")).is_err());
    }
}
