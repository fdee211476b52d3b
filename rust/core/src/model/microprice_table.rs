//! The microprice of a market: its chain of states counted from data, and the finished table looked up as one goes.

use super::microprice::{Matrix, microprice};
use crate::{Error, Result};

/// Largest change of the mid told apart, half ticks; larger ones count as this.
const MAX_HALF_TICKS: i64 = 8;

/// Adjustment of the mid by the imbalance of the touch and the spread.
#[derive(Debug, Clone, PartialEq)]
pub struct MicropriceTable {
    imbalance_bins: usize,
    spreads: usize,
    /// Ticks, by spread and then by imbalance.
    ticks: Box<[f64]>,
}

impl MicropriceTable {
    /// A table of adjustments in ticks: `spreads` rows, from one tick up, of `imbalance_bins` bins of equal width, from
    /// all asks to all bids. Wider spreads count as the widest.
    ///
    /// # Errors
    /// [`Error::Domain`] when the shape does not fit or a value is not finite.
    pub fn new(ticks: Vec<f64>, imbalance_bins: usize, spreads: usize) -> Result<Self> {
        if imbalance_bins == 0 || spreads == 0 || ticks.len() != imbalance_bins * spreads {
            let reason = format!("must be {spreads} x {imbalance_bins} values, got {}", ticks.len());
            return Err(Error::Domain { name: "ticks", reason });
        }
        if ticks.iter().any(|ticks| !ticks.is_finite()) {
            return Err(Error::Domain { name: "ticks", reason: "must be finite".to_owned() });
        }
        Ok(Self { imbalance_bins, spreads, ticks: ticks.into() })
    }

    /// What is to be added to the mid, ticks; `bid_share` is the bid's share of the quantity at the touch, 0..1.
    #[inline]
    pub fn adjustment_ticks(&self, bid_share: f64, spread_ticks: i64) -> f64 {
        self.ticks[state(bid_share, spread_ticks, self.imbalance_bins, self.spreads)]
    }

    /// The adjustments, ticks, row by row.
    pub fn ticks(&self) -> &[f64] {
        &self.ticks
    }
}

#[inline]
fn state(bid_share: f64, spread_ticks: i64, bins: usize, spreads: usize) -> usize {
    let bin = ((bid_share * bins as f64) as usize).min(bins - 1);
    let spread = (spread_ticks.max(1) as usize).min(spreads) - 1;
    spread * bins + bin
}

/// Counts how the states of a book follow each other. Every change is counted with its mirror image, without which the
/// microprice has no limit.
///
/// Source: Stoikov, "The micro-price" (2018), section 4.
#[derive(Debug, Clone)]
pub struct MicropriceCounter {
    bins: usize,
    spreads: usize,
    /// Changes of state without a change of the mid.
    stay: Matrix,
    /// Changes of the mid: how far.
    jump: Matrix,
    /// Changes of the mid: where to.
    land: Matrix,
    /// State and sum of both prices, ticks.
    last: Option<(usize, i64)>,
    seen: u64,
}

impl MicropriceCounter {
    /// Nothing counted yet.
    ///
    /// # Errors
    /// [`Error::Domain`] when there is no state, or so many that the chain could not be solved in reasonable time.
    pub fn new(imbalance_bins: usize, spreads: usize) -> Result<Self> {
        let n = imbalance_bins.saturating_mul(spreads);
        if !(1..=200).contains(&n) {
            let reason = format!("times spreads must be 1 to 200 states, got {n}");
            return Err(Error::Domain { name: "imbalance_bins", reason });
        }
        let zeros = |columns: usize| vec![vec![0.0; columns]; n];
        let (stay, jump, land) = (zeros(n), zeros(2 * MAX_HALF_TICKS as usize + 1), zeros(n));
        Ok(Self { bins: imbalance_bins, spreads, stay, jump, land, last: None, seen: 0 })
    }

    /// Takes the next touch, prices in ticks.
    pub fn observe(&mut self, bid_ticks: i64, bid_qty: f64, ask_ticks: i64, ask_qty: f64) {
        let next = state(bid_qty / (bid_qty + ask_qty), ask_ticks - bid_ticks, self.bins, self.spreads);
        let sum = bid_ticks + ask_ticks;
        if let Some((before, sum_before)) = self.last.replace((next, sum)) {
            self.seen += 1;
            let half_ticks = (sum - sum_before).clamp(-MAX_HALF_TICKS, MAX_HALF_TICKS);
            self.count(before, next, half_ticks);
            self.count(self.mirror(before), self.mirror(next), -half_ticks);
        }
    }

    /// The next touch does not follow the last one.
    pub fn interrupt(&mut self) {
        self.last = None;
    }

    /// Changes counted, mirror images apart.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    fn mirror(&self, state: usize) -> usize {
        let (spread, bin) = (state / self.bins, state % self.bins);
        spread * self.bins + self.bins - 1 - bin
    }

    fn count(&mut self, from: usize, to: usize, half_ticks: i64) {
        if half_ticks == 0 {
            self.stay[from][to] += 1.0;
        } else {
            self.jump[from][(half_ticks + MAX_HALF_TICKS) as usize] += 1.0;
            self.land[from][to] += 1.0;
        }
    }

    /// The table of what was counted. States from which the mid was never seen to move get no adjustment.
    ///
    /// # Errors
    /// [`Error::Domain`] when nothing was counted or the chain has no limit.
    pub fn fit(&self) -> Result<MicropriceTable> {
        if self.seen == 0 {
            return Err(Error::Domain { name: "touches", reason: "are needed, two at least".to_owned() });
        }
        let (mut stay, mut jump, mut land) = (self.stay.clone(), self.jump.clone(), self.land.clone());
        let middle = MAX_HALF_TICKS as usize;
        for i in 0..stay.len() {
            // A move either way of no evidence, so that every state is left some time.
            if land[i].iter().sum::<f64>() == 0.0 {
                jump[i][middle - 1] += 0.5;
                jump[i][middle + 1] += 0.5;
                let mirror = self.mirror(i);
                land[i][i] += 0.5;
                land[i][mirror] += 0.5;
            }
            let total: f64 = stay[i].iter().chain(&land[i]).sum();
            stay[i].iter_mut().chain(&mut jump[i]).chain(&mut land[i]).for_each(|count| *count /= total);
        }
        let moves: Vec<f64> = (-MAX_HALF_TICKS..=MAX_HALF_TICKS).map(|half| half as f64 / 2.0).collect();
        MicropriceTable::new(microprice(&stay, &jump, &moves, &land)?.limit, self.bins, self.spreads)
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the same entry of a table is compared")]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn a_market_that_follows_its_queues_is_worth_more_when_bids_are_long() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut counter = MicropriceCounter::new(4, 2).unwrap();
        let mut bid = 1000;
        for _ in 0..50_000 {
            let share = rng.random::<f64>();
            counter.observe(bid, share, bid + 1, 1.0 - share);
            if rng.random::<f64>() < 0.2 {
                bid += if rng.random::<f64>() < share { 1 } else { -1 };
            }
        }
        let table = counter.fit().unwrap();
        let row: Vec<f64> = [0.1, 0.4, 0.6, 0.9].iter().map(|share| table.adjustment_ticks(*share, 1)).collect();
        assert!(row.windows(2).all(|pair| pair[0] < pair[1]), "{row:?}");
        assert!((row[0] + row[3]).abs() < 1e-9 && (row[1] + row[2]).abs() < 1e-9, "{row:?}");
        // A fifth of the time it moves at once, three quarters of a tick on average; later moves know nothing of now.
        assert!((0.1..0.3).contains(&row[3]), "{row:?}");
        assert!((table.adjustment_ticks(0.9, 2)).abs() < 1e-12, "a spread never seen says nothing");
        assert_eq!(table.adjustment_ticks(0.9, 7), table.adjustment_ticks(0.9, 2));
    }

    #[test]
    fn what_cannot_be_fitted_is_refused() {
        assert!(MicropriceCounter::new(0, 1).is_err() && MicropriceCounter::new(100, 100).is_err());
        assert!(MicropriceCounter::new(4, 1).unwrap().fit().is_err());
        assert!(MicropriceTable::new(vec![0.0; 3], 2, 2).is_err());
    }
}
