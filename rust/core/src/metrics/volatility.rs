//! One-minute volatility from a grid of one-second mids.

use std::collections::VecDeque;

use crate::types::Ns;

const STEP_NS: Ns = 1_000_000_000;
const WINDOW_STEPS: i64 = 60;

/// Returns needed before there is a figure: with 10 its relative standard error is about a quarter.
pub const MIN_RETURNS: usize = 10;

/// Standard deviation of one-second mid log-returns over the last 60 s of local time.
///
/// The mid of a grid second is the one in force when the second began. Seconds without a mid (before the first
/// snapshot, during an outage) give no return, and none is taken across them. Constant memory.
#[derive(Debug, Clone, Default)]
pub struct Volatility {
    /// Last grid second seen and the mid in force since.
    last: Option<(i64, f64)>,
    /// Mid at the last grid second, when there was one.
    grid_mid: Option<f64>,
    /// `(grid second, log-return ending there)`, oldest first.
    returns: VecDeque<(i64, f64)>,
    /// What the returns come to; worked out when they change, once a second.
    deviation_bps: Option<f64>,
}

impl Volatility {
    /// A new estimator.
    pub fn new() -> Self {
        Self::default()
    }

    /// The mid is `mid` from `local_ts_ns` on. Times that go back count as the latest time seen.
    pub fn update(&mut self, local_ts_ns: Ns, mid: f64) {
        let now = local_ts_ns.div_euclid(STEP_NS);
        match &mut self.last {
            Some((last, in_force)) if now <= *last => *in_force = mid,
            _ => {
                self.pass_to(now);
                self.last = Some((now, mid));
            }
        }
    }

    /// Time passed without a change of mid.
    pub fn advance(&mut self, local_ts_ns: Ns) {
        self.pass_to(local_ts_ns.div_euclid(STEP_NS));
    }

    fn pass_to(&mut self, now: i64) {
        let Some((last, mid)) = self.last.filter(|(last, _)| now > *last) else { return };
        // Seconds that would leave the window at once need no entry.
        let first = (last + 1).max(now - WINDOW_STEPS);
        for second in first..=now {
            if let Some(before) = self.grid_mid.replace(mid) {
                self.returns.push_back((second, (mid / before).ln()));
            }
        }
        while self.returns.front().is_some_and(|(second, _)| *second <= now - WINDOW_STEPS) {
            self.returns.pop_front();
        }
        self.last = Some((now, mid));
        self.deviation_bps = self.deviation();
    }

    /// The mid is unknown from now on.
    pub fn interrupt(&mut self) {
        self.last = None;
        self.grid_mid = None;
    }

    /// Basis points per minute: sample standard deviation of the returns times sqrt(60); `None` with fewer than
    /// [`MIN_RETURNS`] of them.
    pub fn bps_per_minute(&self) -> Option<f64> {
        self.deviation_bps
    }

    fn deviation(&self) -> Option<f64> {
        let n = self.returns.len();
        if n < MIN_RETURNS {
            return None;
        }
        let mean = self.returns.iter().map(|(_, r)| r).sum::<f64>() / n as f64;
        let squares = self.returns.iter().map(|(_, r)| (r - mean).powi(2)).sum::<f64>();
        Some(1e4 * (squares / (n - 1) as f64).sqrt() * 60_f64.sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Ns = STEP_NS;

    #[test]
    fn it_is_the_sample_deviation_of_the_grid_returns_of_the_last_minute() {
        let mids: Vec<f64> = (0..200).map(|i| 100.0 + f64::from(i * i % 17)).collect();
        let mut volatility = Volatility::new();
        for (i, mid) in mids.iter().enumerate() {
            volatility.update(i as i64 * S + S / 2, *mid);
        }
        volatility.advance(200 * S);
        let returns: Vec<f64> = mids.windows(2).map(|w| (w[1] / w[0]).ln()).collect();
        let window = &returns[returns.len() - 60..];
        let mean = window.iter().sum::<f64>() / 60.0;
        let variance = window.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / 59.0;
        let expected = 1e4 * variance.sqrt() * 60_f64.sqrt();
        let got = volatility.bps_per_minute().expect("enough returns");
        assert!((got / expected - 1.0).abs() < 1e-9, "{got} {expected}");
    }

    #[test]
    fn a_quiet_market_has_returns_of_zero_and_a_jump_leaves_after_a_minute() {
        let mut volatility = Volatility::new();
        volatility.update(S / 2, 100.0);
        volatility.advance(11 * S);
        assert_eq!(volatility.bps_per_minute(), Some(0.0));
        volatility.update(11 * S + 1, 101.0);
        volatility.advance(13 * S);
        assert!(volatility.bps_per_minute() > Some(100.0));
        volatility.advance(5_000 * S);
        assert_eq!((volatility.bps_per_minute(), volatility.returns.len()), (Some(0.0), 60));
    }

    #[test]
    fn there_is_no_figure_from_too_little_and_no_return_across_an_outage() {
        let mut volatility = Volatility::new();
        volatility.update(0, 100.0);
        volatility.advance(5 * S);
        assert_eq!(volatility.bps_per_minute(), None);
        volatility.interrupt();
        volatility.update(30 * S, 200.0);
        volatility.advance(40 * S);
        assert_eq!(volatility.bps_per_minute(), Some(0.0));
    }
}
