//! What is usual for a touch: the day's first mid and the recent quantities at the best prices.
//!
//! A number told as a multiple of the usual one says as much and gives away neither the asset nor the era.

use std::collections::VecDeque;

use crate::types::Ns;

const DAY_NS: Ns = 86_400_000_000_000;
/// The mid of the day's first moment is told as this much.
const INDEX_BASE: f64 = 1e4;

/// How long quantities are remembered, and how often one is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsualConfig {
    /// Memory of quantities.
    pub window_ns: Ns,
    /// Least time between two that are noted.
    pub sample_ns: Ns,
}

impl Default for UsualConfig {
    fn default() -> Self {
        Self { window_ns: 600_000_000_000, sample_ns: 5_000_000_000 }
    }
}

/// A moment in multiples of the usual.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Relative {
    /// Mid over the first mid of the UTC day, times 10 000.
    pub mid_index: f64,
    /// Best bid quantity over its recent median; `None` where that is 0.
    pub bid_qty: Option<f64>,
    /// Best ask quantity over its recent median; `None` where that is 0.
    pub ask_qty: Option<f64>,
}

/// Remembers what is usual; told moments in the order of their time.
#[derive(Debug, Clone, Default)]
pub struct UsualTouch {
    config: UsualConfig,
    day: Option<(Ns, f64)>,
    quantities: VecDeque<(Ns, f64, f64)>,
}

impl UsualTouch {
    /// A memory of nothing.
    pub fn new(config: UsualConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// Takes note of a moment and returns it in multiples of the usual, itself included.
    pub fn observe(&mut self, now_ns: Ns, mid: f64, bid_qty: f64, ask_qty: f64) -> Relative {
        let today = now_ns.div_euclid(DAY_NS);
        let first_mid = match self.day {
            Some((day, first)) if day == today => first,
            _ => {
                self.day = Some((today, mid));
                mid
            }
        };
        if self.quantities.back().is_none_or(|last| now_ns - last.0 >= self.config.sample_ns) {
            self.quantities.push_back((now_ns, bid_qty, ask_qty));
        }
        // The newest stays whatever the clock does, so that there is always something to compare with.
        while self.quantities.len() > 1
            && self.quantities.front().is_some_and(|oldest| oldest.0 < now_ns - self.config.window_ns)
        {
            self.quantities.pop_front();
        }
        let over = |qty: f64, usual: f64| (usual > 0.0).then(|| qty / usual);
        Relative {
            mid_index: INDEX_BASE * mid / first_mid,
            bid_qty: over(bid_qty, median(self.quantities.iter().map(|q| q.1))),
            ask_qty: over(ask_qty, median(self.quantities.iter().map(|q| q.2))),
        }
    }
}

/// Median of at least one number; of an even count the mean of the middle two.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: Ns = 1_000_000_000;

    #[test]
    fn quantities_are_told_over_the_median_of_the_last_ten_minutes_noted_every_five_seconds() {
        let mut usual = UsualTouch::default();
        let at = |usual: &mut UsualTouch, second: Ns, qty| usual.observe(second * SECOND_NS, 100.0, qty, 2.0 * qty);
        assert_eq!(at(&mut usual, 0, 4.0).bid_qty, Some(1.0));
        assert_eq!(at(&mut usual, 3, 8.0).bid_qty, Some(2.0), "not noted, but told");
        assert_eq!(at(&mut usual, 5, 2.0).bid_qty, Some(2.0 / 3.0), "the median of two is their mean");
        assert_eq!(at(&mut usual, 10, 6.0).ask_qty, Some(1.5));
        assert_eq!(at(&mut usual, 700, 1.0).bid_qty, Some(1.0), "what is older than ten minutes is forgotten");
        assert_eq!(usual.observe(0, 100.0, 3.0, 0.0).ask_qty, Some(0.0));
        assert_eq!(UsualTouch::default().observe(0, 1.0, 0.0, 1.0).bid_qty, None);
    }

    #[test]
    fn the_mid_is_told_over_the_first_of_the_day() {
        let mut usual = UsualTouch::default();
        let at = |usual: &mut UsualTouch, ns, mid| usual.observe(ns, mid, 1.0, 1.0).mid_index;
        assert!((at(&mut usual, DAY_NS, 200.0) - 1e4).abs() < 1e-9);
        assert!((at(&mut usual, 2 * DAY_NS - 1, 202.0) - 10_100.0).abs() < 1e-9);
        assert!((at(&mut usual, 2 * DAY_NS, 202.0) - 1e4).abs() < 1e-9);
    }
}
