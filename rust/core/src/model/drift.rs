//! Drift of the reference price with its standard error, forgetting exponentially.
//!
//! The decayed sum of changes over the decayed time. The error is that of independent changes: it needs their squares
//! under the square of the weights, not the volatility under another memory. Within minutes a drift is rarely known to
//! better than its own size: whoever uses it must weigh it by its error.

use super::domain::positive;
use crate::Result;

/// Exponentially forgetting drift.
#[derive(Debug, Clone, Copy)]
pub struct DriftEstimator {
    half_life_s: f64,
    change: f64,
    seconds: f64,
    squares: f64,
}

impl DriftEstimator {
    /// An estimator that forgets half of what it knows in `half_life_s`.
    ///
    /// # Errors
    /// [`crate::Error::Domain`] when the half-life is not above 0.
    pub fn new(half_life_s: f64) -> Result<Self> {
        Ok(Self { half_life_s: positive("drift_half_life_s", half_life_s)?, change: 0.0, seconds: 0.0, squares: 0.0 })
    }

    /// Takes a price change (P) over `dt_s` seconds.
    pub fn observe(&mut self, change: f64, dt_s: f64) {
        let keep = (-dt_s / self.half_life_s).exp2();
        self.change = keep * self.change + change;
        self.seconds = keep * self.seconds + dt_s;
        self.squares = keep * keep * self.squares + change * change;
    }

    /// The drift, P/s; 0 before the first change.
    pub fn drift(&self) -> f64 {
        if self.seconds > 0.0 { self.change / self.seconds } else { 0.0 }
    }

    /// Its standard error, P/s; infinite before the first change.
    pub fn standard_error(&self) -> f64 {
        if self.seconds > 0.0 { self.squares.sqrt() / self.seconds } else { f64::INFINITY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::draw::Draw;

    #[test]
    fn the_error_is_that_of_the_estimate_and_the_drift_is_not_biased() {
        let (drift, sigma, seeds) = (0.4, 5.0, 200);
        let (mut sum, mut squares) = (0.0, 0.0);
        for seed in 0..seeds {
            let mut draw = Draw::new(seed, 0);
            let mut estimator = DriftEstimator::new(300.0).unwrap();
            for _ in 0..1800 {
                estimator.observe(drift + sigma * draw.normal(), 1.0);
            }
            let z = (estimator.drift() - drift) / estimator.standard_error();
            sum += z;
            squares += z * z;
        }
        let (mean, rms) = (sum / seeds as f64, (squares / seeds as f64).sqrt());
        assert!(mean.abs() < 3.0 / (seeds as f64).sqrt() && (rms - 1.0).abs() < 0.2, "{mean} {rms}");
    }

    #[test]
    fn nothing_is_known_before_the_first_change() {
        let estimator = DriftEstimator::new(300.0).unwrap();
        assert_eq!((estimator.drift(), estimator.standard_error()), (0.0, f64::INFINITY));
    }
}
