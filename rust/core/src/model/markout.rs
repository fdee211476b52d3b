//! How far the price moves against own fills: the adverse move the closed form charges as `impact`.
//!
//! Of a fill with sign s (+1 buy) at time t, the move is -s (m(t+h) - m(t)): what the reference price did against the
//! new position within the horizon h. A decayed mean over fills, with its standard error; negative moves count as they
//! are, so that luck averages out.
//!
//! Source: mark-outs as in Cartea, Jaimungal & Penalva, "Algorithmic and High-Frequency Trading" (2015), chapter 10.

use std::collections::VecDeque;

use super::domain::positive;
use crate::Result;
use crate::types::{Ns, Side};

/// Fills waiting for their horizon; more at once are taken off at the oldest.
const MAX_PENDING: usize = 10_000;

/// Decayed mean of the moves against own fills.
#[derive(Debug, Clone)]
pub struct AdverseMove {
    horizon_ns: Ns,
    keep: f64,
    pending: VecDeque<(Ns, f64, Side)>,
    weight: f64,
    weight_squared: f64,
    sum: f64,
    sum_squared: f64,
    against: f64,
}

/// A mean and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdverseEstimate {
    /// Mean adverse move per fill, P.
    pub mean: f64,
    /// Its standard error, P.
    pub se: f64,
    /// Fills it rests on, after forgetting.
    pub fills: f64,
    /// Share of fills the price moved against.
    pub toxic_share: f64,
}

impl AdverseMove {
    /// An estimator of moves within `horizon_s` that forgets half of a fill after `half_life_fills` more.
    ///
    /// # Errors
    /// [`crate::Error::Domain`] naming the value that is out of range.
    pub fn new(horizon_s: f64, half_life_fills: f64) -> Result<Self> {
        let horizon_ns = (positive("horizon_s", horizon_s)? * 1e9) as Ns;
        let keep = (-1.0 / positive("half_life_fills", half_life_fills)?).exp2();
        Ok(Self {
            horizon_ns,
            keep,
            pending: VecDeque::new(),
            weight: 0.0,
            weight_squared: 0.0,
            sum: 0.0,
            sum_squared: 0.0,
            against: 0.0,
        })
    }

    /// Takes an own fill at the mid then in force.
    pub fn fill(&mut self, now_ns: Ns, side: Side, mid: f64) {
        if self.pending.len() == MAX_PENDING {
            self.pending.pop_front();
        }
        if mid.is_finite() {
            self.pending.push_back((now_ns, mid, side));
        }
    }

    /// Takes the mid now in force; fills whose horizon has passed are judged by it.
    pub fn mark(&mut self, now_ns: Ns, mid: f64) {
        while let Some(&(at_ns, then, side)) = self.pending.front() {
            if now_ns - at_ns < self.horizon_ns || !mid.is_finite() {
                return;
            }
            self.pending.pop_front();
            let adverse = if side == Side::Buy { then - mid } else { mid - then };
            self.weight = self.keep * self.weight + 1.0;
            self.weight_squared = self.keep * self.keep * self.weight_squared + 1.0;
            self.sum = self.keep * self.sum + adverse;
            self.sum_squared = self.keep * self.sum_squared + adverse * adverse;
            self.against = self.keep * self.against + f64::from(adverse > 0.0);
        }
    }

    /// The estimate; `None` before the second judged fill.
    pub fn estimate(&self) -> Option<AdverseEstimate> {
        let fills = self.weight * self.weight / self.weight_squared;
        if self.weight <= 1.0 {
            return None;
        }
        let mean = self.sum / self.weight;
        let variance = (self.sum_squared / self.weight - mean * mean).max(0.0) * fills / (fills - 1.0);
        Some(AdverseEstimate { mean, se: (variance / fills).sqrt(), fills, toxic_share: self.against / self.weight })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_that_always_moves_against_us_is_measured_with_its_error() {
        let mut adverse = AdverseMove::new(5.0, 1000.0).unwrap();
        let mut mid = 100.0;
        for i in 0..200 {
            let now = i * 10_000_000_000;
            let side = if i % 2 == 0 { Side::Buy } else { Side::Sell };
            adverse.fill(now, side, mid);
            adverse.mark(now + 4_999_999_999, mid + 50.0);
            // A buy is followed by a fall of 2 or 4, a sell by a rise of as much.
            mid += if side == Side::Buy { -1.0 } else { 1.0 } * if i % 4 < 2 { 2.0 } else { 4.0 };
            adverse.mark(now + 5_000_000_000, mid);
        }
        let got = adverse.estimate().unwrap();
        assert!((got.mean - 3.0).abs() < 0.01 && (got.se - 1.0 / 200f64.sqrt()).abs() < 0.01, "{got:?}");
        assert!((got.toxic_share - 1.0).abs() < 1e-12);
    }

    #[test]
    fn one_fill_says_nothing() {
        let mut adverse = AdverseMove::new(5.0, 100.0).unwrap();
        adverse.fill(0, Side::Buy, 100.0);
        assert_eq!(adverse.estimate(), None);
        adverse.mark(6_000_000_000, 90.0);
        assert_eq!(adverse.estimate(), None);
    }
}
