//! A threshold that follows from how many false alarms an hour are allowed, not from taste.
//!
//! The greatest score of each block of time goes into a histogram on a logarithmic scale, which slowly forgets. Beyond its
//! upper fifth the tail is taken as a power law whose exponent is Hill's estimate, made without the heights of the upper
//! twentieth, and the threshold is where that law passes as seldom as the budget says. Blocks, not samples, are counted,
//! because one episode is one alarm.
//!
//! Source: Hill, "A simple general approach to inference about the tail of a distribution" (1975); the idea of a threshold
//! by extrapolated tail: Siffer et al., "Anomaly detection in streams with extreme value theory" (2017).

use std::f64::consts::LN_2;

use crate::types::Ns;

const BINS_PER_OCTAVE: f64 = 16.0;
const BINS: usize = 384;
/// Exponent of two at the lower end of the histogram.
const LOWEST: f64 = -6.0;

/// Share of the blocks that is the tail, and share of them whose height is not read.
const TAIL_SHARE: f64 = 0.2;
const UNREAD_SHARE: f64 = 0.05;
const TAIL_FEWEST: f64 = 12.0;

const HOUR_NS: f64 = 3.6e12;

/// Scores of one detector, and the threshold that keeps its alarms within a budget.
#[derive(Debug, Clone)]
pub struct TailBudget {
    block_ns: Ns,
    /// What is kept of the past from block to block.
    keep: f64,
    warm_blocks: f64,
    bins: Box<[f64]>,
    blocks: f64,
    blocks_seen: f64,
    block_end_ns: Ns,
    block_max: f64,
    greatest: f64,
    threshold: f64,
}

fn bin(score: f64) -> usize {
    if score <= 0.0 {
        return 0;
    }
    (((score.log2() - LOWEST) * BINS_PER_OCTAVE).max(0.0) as usize).min(BINS - 1)
}

fn lower_edge(bin: usize) -> f64 {
    (LOWEST + bin as f64 / BINS_PER_OCTAVE).exp2()
}

impl TailBudget {
    /// No score seen, so no threshold: alarms begin after `warm_up_s`.
    pub fn new(block_s: f64, memory_s: f64, warm_up_s: f64) -> Self {
        Self {
            block_ns: (block_s * 1e9) as Ns,
            keep: (-block_s / memory_s).exp2(),
            warm_blocks: warm_up_s / block_s,
            bins: vec![0.0; BINS].into(),
            blocks: 0.0,
            blocks_seen: 0.0,
            block_end_ns: Ns::MIN,
            block_max: 0.0,
            greatest: 0.0,
            threshold: f64::INFINITY,
        }
    }

    /// Score from which it is an alarm; infinite while not enough is known.
    #[inline]
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// The greatest score of the block under way: a smaller one changes nothing.
    #[inline]
    pub fn block_max(&self) -> f64 {
        self.block_max
    }

    /// The greatest score since the start.
    pub fn greatest(&self) -> f64 {
        self.greatest
    }

    /// Takes a score and returns whether it is an alarm.
    #[inline]
    pub fn observe(&mut self, score: f64) -> bool {
        self.block_max = self.block_max.max(score);
        score > self.threshold
    }

    /// Ends the block if its time is over; `per_hour` is how many alarms an hour are allowed now. A silence counts as one
    /// block.
    pub fn pass_to(&mut self, now_ns: Ns, per_hour: f64) {
        if now_ns < self.block_end_ns {
            return;
        }
        let is_first = self.block_end_ns == Ns::MIN;
        self.block_end_ns = now_ns.saturating_add(self.block_ns);
        if is_first {
            return;
        }
        let allowed = per_hour * self.block_ns as f64 / HOUR_NS;
        self.blocks_seen += 1.0;
        let score = std::mem::take(&mut self.block_max);
        self.greatest = self.greatest.max(score);
        // What is to be detected must not teach the detector that it is usual.
        if score > self.threshold {
            return;
        }
        self.bins.iter_mut().for_each(|count| *count *= self.keep);
        self.bins[bin(score)] += 1.0;
        self.blocks = self.blocks * self.keep + 1.0;
        if self.blocks_seen >= self.warm_blocks {
            self.threshold = self.extrapolate(allowed).unwrap_or(f64::INFINITY);
        }
    }

    /// The score that a share `allowed` of the blocks passes.
    fn extrapolate(&self, allowed: f64) -> Option<f64> {
        let wanted = (TAIL_SHARE * self.blocks).max(TAIL_FEWEST);
        // Of the highest scores only the number counts, not how high they are: spikes of the time before a threshold was
        // known must not pass for the tail of the usual.
        let unread = UNREAD_SHARE * self.blocks;
        let (mut beyond_cut, mut cut, mut count, mut logs) = (0.0, BINS, 0.0, 0.0);
        let mut from = BINS;
        while beyond_cut + count < wanted {
            from = from.checked_sub(1)?;
            if beyond_cut + self.bins[from] <= unread && count == 0.0 {
                beyond_cut += self.bins[from];
                cut = from;
            } else {
                count += self.bins[from];
                logs += self.bins[from] * (from as f64 + 0.5);
            }
        }
        if from == 0 {
            // Hardly anything but zeros.
            return None;
        }
        // Alarms were left out. Those that the budget allows belong to the tail nevertheless, beyond the cut (the
        // likelihood of a sample cut off there).
        let missing = if self.threshold.is_finite() { self.blocks * allowed } else { 0.0 };
        let above = beyond_cut + missing;
        let edge = if beyond_cut > 0.0 { lower_edge(cut) } else { self.threshold };
        let from_edge = if above > 0.0 { (edge / lower_edge(from)).ln().max(0.0) } else { 0.0 };
        let excess = (logs - count * from as f64) / BINS_PER_OCTAVE * LN_2;
        let exponent = (excess + above * from_edge) / count;
        // A quarter of a standard error on the careful side: the fewer were seen, the higher the threshold.
        let exponent = exponent * (1.0 + 0.25 / count.sqrt());
        let times_rarer = ((count + above) / (self.blocks * allowed)).max(1.0);
        Some(lower_edge(from) * times_rarer.powf(exponent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Alarms an hour of a stream whose scores pass x with probability x^-`power`, one a block.
    fn rate(power: f64, per_hour: f64, seed: u64) -> f64 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut budget = TailBudget::new(5.0, 4.0 * 3600.0, 300.0);
        let hours = 60;
        let mut alarms = 0;
        for block in 0..hours * 720_i64 {
            budget.pass_to(block * 5_000_000_000, per_hour);
            alarms += i32::from(budget.observe(rng.random::<f64>().powf(-1.0 / power)));
        }
        f64::from(alarms) / hours as f64
    }

    #[test]
    fn alarms_stay_within_the_budget_whatever_the_tail() {
        for (power, per_hour) in [(2.0, 1.0), (3.0, 1.0), (3.0, 4.0), (6.0, 2.0)] {
            for seed in 0..3 {
                let got = rate(power, per_hour, seed);
                assert!(got <= 1.15 * per_hour && got > 0.3 * per_hour, "{power} {per_hour}: {got}");
            }
        }
    }

    #[test]
    fn spikes_that_come_from_the_start_do_not_hide_themselves() {
        for (per_hour, seed) in [(6, 1), (10, 2), (14, 3), (20, 4)] {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut budget = TailBudget::new(5.0, 4.0 * 3600.0, 600.0);
            let (mut found, mut spikes, mut others) = (0, 0, 0);
            for block in 0..20 * 720_i64 {
                budget.pass_to(block * 5_000_000_000, 2.0);
                let is_spike = block % (720 / per_hour) == 0;
                let usual = rng.random::<f64>().powf(-0.25);
                let alarm = budget.observe(if is_spike { 14.0 } else { usual });
                if block > 720 {
                    found += i32::from(is_spike && alarm);
                    spikes += i32::from(is_spike);
                    others += i32::from(!is_spike && alarm);
                }
            }
            assert!(f64::from(found) >= 0.95 * f64::from(spikes), "{per_hour} an hour: {found} of {spikes}");
            assert!(f64::from(others) <= 1.15 * 2.0 * 19.0, "{per_hour} an hour: {others}");
        }
    }

    #[test]
    fn there_is_no_alarm_before_enough_is_known_and_spikes_beyond_the_budget_do_not_raise_the_threshold() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut budget = TailBudget::new(5.0, 4.0 * 3600.0, 300.0);
        let mut quiet = 0.0;
        for block in 0..7200_i64 {
            budget.pass_to(block * 5_000_000_000, 1.0);
            let spike = block > 3600 && block % 40 == 0;
            let score = if spike { 1e4 } else { rng.random::<f64>().powf(-0.25) };
            let alarm = budget.observe(score);
            assert!(block > 60 || !alarm, "{block}");
            assert!(!spike || alarm, "{block}: threshold {}", budget.threshold());
            if block == 3600 {
                quiet = budget.threshold();
            }
        }
        assert!(budget.threshold() < 1.3 * quiet, "{} after {quiet}", budget.threshold());
    }
}
