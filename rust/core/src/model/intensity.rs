//! How often market orders reach how deep: lambda(delta) = A e^(-k delta) per second and side.
//!
//! Exponential excesses over a threshold are all the likelihood needs, so three decayed sums carry it (maximum
//! likelihood for a Poisson process with exponential marks, left-truncated at the threshold). The threshold follows
//! the book: one tick beyond the touch, because orders that stop at the touch are an atom that no exponential fits.

use super::domain::{non_negative, positive};
use crate::Result;

/// What the estimator starts from and how fast it forgets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IntensityConfig {
    /// Price grid, P; 0 for continuous depths.
    pub tick_size: f64,
    /// Half-life of an observation, s.
    pub half_life_s: f64,
    /// A expected before anything is seen, 1/s.
    pub prior_a: f64,
    /// k expected before anything is seen, 1/P.
    pub prior_k: f64,
    /// How many observed orders the expectation is worth (gamma prior); 0 for none. Never forgotten.
    pub prior_orders: f64,
}

/// A, k and how sure they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Intensity {
    /// Fills per second at distance 0, one side.
    pub a: f64,
    /// Decay, 1/P.
    pub k: f64,
    /// Standard error of `k`, 1/P.
    pub se_k: f64,
    /// Standard error of ln `a`.
    pub se_log_a: f64,
}

/// Decayed maximum-likelihood estimate of A and k.
#[derive(Debug, Clone, Copy)]
pub struct IntensityEstimator {
    config: IntensityConfig,
    orders: f64,
    /// Sum of squared weights of the orders: forgetting leaves fewer independent ones than it leaves weight.
    squared_weights: f64,
    excess: f64,
    side_seconds: f64,
    threshold_side_seconds: f64,
    last_threshold: f64,
}

impl IntensityEstimator {
    /// An estimator that knows only its prior.
    ///
    /// # Errors
    /// [`crate::Error::Domain`] naming the configuration value that is out of range.
    pub fn new(config: IntensityConfig) -> Result<Self> {
        non_negative("tick_size", config.tick_size)?;
        positive("half_life_s", config.half_life_s)?;
        positive("prior_a", config.prior_a)?;
        positive("prior_k", config.prior_k)?;
        non_negative("prior_orders", config.prior_orders)?;
        Ok(Self {
            config,
            orders: 0.0,
            squared_weights: 0.0,
            excess: 0.0,
            side_seconds: 0.0,
            threshold_side_seconds: 0.0,
            last_threshold: 0.0,
        })
    }

    /// Lets `dt_s` seconds of readable book pass for both sides, with market orders visible from depth `threshold`.
    pub fn expose(&mut self, dt_s: f64, threshold: f64) {
        let keep = (-dt_s / self.config.half_life_s).exp2();
        self.orders *= keep;
        self.squared_weights *= keep * keep;
        self.excess *= keep;
        self.side_seconds = keep * self.side_seconds + 2.0 * dt_s;
        self.threshold_side_seconds = keep * self.threshold_side_seconds + 2.0 * dt_s * threshold;
        self.last_threshold = threshold;
    }

    /// Takes one market order that reached `depth` when orders were visible from `threshold`; shallower ones are not
    /// observations. Returns whether it counted.
    pub fn observe(&mut self, depth: f64, threshold: f64) -> bool {
        // Depths lie on a half-tick grid: half a thousandth of a tick absorbs what the subtraction rounds.
        let counts = depth >= threshold - self.config.tick_size * 5e-4;
        if counts {
            self.orders += 1.0;
            self.squared_weights += 1.0;
            self.excess += (depth - threshold).max(0.0);
        }
        counts
    }

    /// Observed orders still remembered, without the prior.
    pub fn orders(&self) -> f64 {
        self.orders
    }

    /// How many equally weighted orders would be known as well as the decayed ones, without the prior.
    pub fn effective_orders(&self) -> f64 {
        if self.squared_weights > 0.0 { self.orders * self.orders / self.squared_weights } else { 0.0 }
    }

    /// The estimate; `None` while there is neither prior nor observation.
    pub fn estimate(&self) -> Option<Intensity> {
        let IntensityConfig { tick_size: tau, prior_a, prior_k, prior_orders, .. } = self.config;
        let n = self.orders + prior_orders;
        if n <= 0.0 {
            return None;
        }
        let prior_excess = if tau > 0.0 { tau / (prior_k * tau).exp_m1() } else { 1.0 / prior_k };
        let excess = self.excess + prior_orders * prior_excess;
        // On a grid the excess counts whole ticks: geometric, not exponential.
        let k = if tau > 0.0 { (tau * n / excess).ln_1p() / tau } else { n / excess };
        let threshold =
            if self.side_seconds > 0.0 { self.threshold_side_seconds / self.side_seconds } else { self.last_threshold };
        let prior_seconds = prior_orders * (prior_k * threshold).exp() / prior_a;
        let rate = n / (self.side_seconds + prior_seconds);
        let a = rate * (k * threshold).exp();
        // A decayed sum of n weights varies like one of n^2 / sum of squares; each order of the prior weighs 1.
        let relative = (self.squared_weights + prior_orders).sqrt() / n;
        // Fisher information of a geometric excess; k itself in the limit of a fine grid.
        let se_k = relative * if tau > 0.0 { 2.0 * (k * tau / 2.0).sinh() / tau } else { k };
        // ln A = ln rate + k d0: the two errors are independent.
        let se_log_a = relative.hypot(threshold * se_k);
        (k.is_finite() && k > 0.0 && a.is_finite() && a > 0.0).then_some(Intensity { a, k, se_k, se_log_a })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const NO_PRIOR: IntensityConfig =
        IntensityConfig { tick_size: 0.1, half_life_s: 1e9, prior_a: 1.0, prior_k: 1.0, prior_orders: 0.0 };

    /// An hour of both sides of a market with A = 1.5 and k = 0.2 seen through a book of ticks of 0.1.
    fn hour(estimator: &mut IntensityEstimator, seed: u64) {
        let (a, k, tick, touch) = (1.5, 0.2, 0.1, 0.05);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut t = 0.0;
        while t < 3600.0 {
            let wait = -rng.random::<f64>().ln() / (2.0 * a);
            t += wait;
            estimator.expose(wait, touch + tick);
            let reach = -rng.random::<f64>().ln() / k;
            let levels = ((reach - touch) / tick).floor();
            if levels >= 0.0 {
                estimator.observe(touch + levels * tick, touch + tick);
            }
        }
    }

    #[test]
    fn a_known_market_is_recovered_within_its_standard_errors() {
        let mut misses = 0;
        for seed in 0..40 {
            let mut estimator = IntensityEstimator::new(NO_PRIOR).unwrap();
            hour(&mut estimator, seed);
            let got = estimator.estimate().unwrap();
            assert!((got.se_k / got.k - 0.0098).abs() < 0.001, "{got:?}");
            misses += i32::from((got.k - 0.2).abs() > 2.0 * got.se_k);
            misses += i32::from((got.a / 1.5).ln().abs() > 2.0 * got.se_log_a);
        }
        assert!(misses <= 10, "{misses} of 80 outside two standard errors");
    }

    #[test]
    fn without_orders_the_prior_stands_and_with_many_it_fades() {
        let config = IntensityConfig { prior_a: 3.0, prior_k: 0.5, prior_orders: 50.0, ..NO_PRIOR };
        let mut estimator = IntensityEstimator::new(config).unwrap();
        let prior = estimator.estimate().unwrap();
        assert!((prior.a - 3.0).abs() < 1e-9 && (prior.k - 0.5).abs() < 1e-9);
        hour(&mut estimator, 1);
        let got = estimator.estimate().unwrap();
        assert!((got.k / 0.2 - 1.0).abs() < 0.04 && (got.a / 1.5 - 1.0).abs() < 0.04, "{got:?}");
    }

    #[test]
    fn silence_lowers_the_rate_but_says_nothing_about_the_decay() {
        let config = IntensityConfig { prior_a: 3.0, prior_k: 0.5, prior_orders: 50.0, ..NO_PRIOR };
        let mut estimator = IntensityEstimator::new(config).unwrap();
        estimator.expose(600.0, 0.15);
        let got = estimator.estimate().unwrap();
        assert!(got.a < 0.2 && (got.k - 0.5).abs() < 1e-9, "{got:?}");
    }
}
