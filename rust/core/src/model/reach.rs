//! Counts of how deep market orders reached and for how long the book was readable, for fits after the fact.
//!
//! Depths and thresholds are counted in half ticks: a mid lies on a half tick, so that every depth does too.

use std::collections::BTreeMap;

/// Running totals of the intensity's observations; the difference of two is what happened between them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ReachTotals {
    /// Seconds of readable book.
    pub seconds: f64,
    /// Market orders of any depth.
    pub market_orders: u64,
    /// Of these the ones that went beyond the touch.
    pub orders: u64,
    /// By how much they did, summed, P.
    pub excess: f64,
}

/// Reaches of market orders by depth, and seconds by the depth from which orders were visible.
#[derive(Debug, Clone)]
pub struct ReachTally {
    half_tick: f64,
    seconds_by_threshold: BTreeMap<i64, f64>,
    orders: BTreeMap<(i64, i64), u64>,
    totals: ReachTotals,
}

impl ReachTally {
    /// An empty tally on a price grid of `tick_size` (P).
    pub fn new(tick_size: f64) -> Self {
        let half_tick = tick_size / 2.0;
        Self {
            half_tick,
            seconds_by_threshold: BTreeMap::new(),
            orders: BTreeMap::new(),
            totals: ReachTotals::default(),
        }
    }

    /// Lets `dt_s` seconds of readable book pass, with market orders visible from depth `threshold` (P).
    pub fn expose(&mut self, dt_s: f64, threshold: f64) {
        self.totals.seconds += dt_s;
        *self.seconds_by_threshold.entry(self.half_ticks(threshold)).or_default() += dt_s;
    }

    /// Takes a market order that reached `depth` when orders were visible from `threshold` (P); `counted` says whether
    /// the intensity took it.
    pub fn order(&mut self, depth: f64, threshold: f64, counted: bool) {
        self.totals.market_orders += 1;
        if counted {
            self.totals.orders += 1;
            self.totals.excess += (depth - threshold).max(0.0);
        }
        *self.orders.entry((self.half_ticks(threshold), self.half_ticks(depth))).or_default() += 1;
    }

    /// Everything so far.
    pub fn totals(&self) -> ReachTotals {
        self.totals
    }

    /// The depth from which orders were visible for at least `share` of the time, half ticks; `None` without time.
    pub fn threshold_quantile(&self, share: f64) -> Option<i64> {
        let mut seconds = 0.0;
        self.seconds_by_threshold.iter().find_map(|(&threshold, dt)| {
            seconds += dt;
            (seconds >= share * self.totals.seconds).then_some(threshold)
        })
    }

    /// Seconds during which orders were visible from `threshold` half ticks, and orders at least that deep then, by depth
    /// in half ticks.
    pub fn visible_from(&self, threshold: i64) -> (f64, BTreeMap<i64, u64>) {
        let seconds = self.seconds_by_threshold.range(..=threshold).map(|(_, dt)| dt).sum();
        let mut by_depth = BTreeMap::new();
        for (&(_, depth), count) in self.orders.range(..=(threshold, i64::MAX)) {
            if depth >= threshold {
                *by_depth.entry(depth).or_default() += count;
            }
        }
        (seconds, by_depth)
    }

    /// Depth of so many half ticks, P.
    pub fn depth(&self, half_ticks: i64) -> f64 {
        half_ticks as f64 * self.half_tick
    }

    fn half_ticks(&self, depth: f64) -> i64 {
        (depth / self.half_tick).round() as i64
    }
}
