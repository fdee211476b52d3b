//! Volatility of the reference price from irregular samples, in P/sqrt(s).

use super::domain::positive;
use crate::{Error, Result};

/// Exponentially forgetting volatility: a ratio of two decayed sums, so it needs no warm-up correction and short
/// gaps between samples cannot blow it up.
#[derive(Debug, Clone, Copy)]
pub struct EwmaVolatility {
    half_life_s: f64,
    sum_squares: f64,
    sum_seconds: f64,
}

impl EwmaVolatility {
    /// An estimator that forgets half of what it knows in `half_life_s`.
    ///
    /// # Errors
    /// [`Error::Domain`] when the half-life is not above 0.
    pub fn new(half_life_s: f64) -> Result<Self> {
        Ok(Self { half_life_s: positive("half_life_s", half_life_s)?, sum_squares: 0.0, sum_seconds: 0.0 })
    }

    /// Puts `seconds` of pretended observation at volatility `sigma` in front; they are forgotten like any other.
    #[must_use]
    pub fn with_prior(mut self, sigma: f64, seconds: f64) -> Self {
        self.sum_squares += sigma * sigma * seconds;
        self.sum_seconds += seconds;
        self
    }

    /// Takes a price change over `dt_s` seconds.
    pub fn observe(&mut self, change: f64, dt_s: f64) {
        let keep = (-dt_s / self.half_life_s).exp2();
        self.sum_squares = keep * self.sum_squares + change * change;
        self.sum_seconds = keep * self.sum_seconds + dt_s;
    }

    /// Volatility in P/sqrt(s); `None` before the first observation.
    pub fn sigma(&self) -> Option<f64> {
        (self.sum_seconds > 0.0).then(|| (self.sum_squares / self.sum_seconds).sqrt())
    }

    /// Seconds of observation still remembered.
    pub fn seconds(&self) -> f64 {
        self.sum_seconds
    }
}

/// Volatility after each sample but the first, P/sqrt(s).
///
/// # Errors
/// [`Error::Domain`] when the lengths differ, the times do not increase or the half-life is not above 0.
pub fn ewma_vol(t_s: &[f64], mid: &[f64], half_life_s: f64) -> Result<Vec<f64>> {
    if t_s.len() != mid.len() {
        let reason = format!("has {} values, t_s has {}", mid.len(), t_s.len());
        return Err(Error::Domain { name: "mid", reason });
    }
    let mut estimator = EwmaVolatility::new(half_life_s)?;
    let mut out = Vec::with_capacity(t_s.len().saturating_sub(1));
    for (t, m) in t_s.windows(2).zip(mid.windows(2)) {
        estimator.observe(m[1] - m[0], positive("t_s step", t[1] - t[0])?);
        out.push(estimator.sigma().unwrap_or(0.0));
    }
    Ok(out)
}

/// Volatility of one window of equally spaced prices by several estimators, P/sqrt(s).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowVolatility {
    /// From squared changes; what risk should use.
    pub realized: f64,
    /// From products of neighbouring changes; hardly moved by a jump.
    pub bipower: f64,
    /// From two time scales; free of independent noise. 0 when the correction exceeds the variance.
    pub two_scales: f64,
    /// From the range of the whole window.
    pub parkinson: f64,
    /// Variance of the noise around the price, P^2.
    pub noise_variance: f64,
}

/// Estimates the volatility of prices `dt_s` apart; `k_slow` is the stride of the slow scale.
///
/// Source: Barndorff-Nielsen & Shephard (2004) for bipower; Zhang, Mykland & Aït-Sahalia (2005), equation 64, for two
/// scales; Parkinson (1980) for the range.
///
/// # Errors
/// [`Error::Domain`] when the step is not positive or there are too few prices.
pub fn vol_estimators(price: &[f64], dt_s: f64, k_slow: usize) -> Result<WindowVolatility> {
    positive("dt_s", dt_s)?;
    let n = price.len().saturating_sub(1);
    if k_slow < 2 || n < k_slow + 1 {
        let reason = format!("must be at least 2 and below the {n} changes, got {k_slow}");
        return Err(Error::Domain { name: "k_slow", reason });
    }
    let changes: Vec<f64> = price.windows(2).map(|p| p[1] - p[0]).collect();
    let (count, seconds) = (n as f64, n as f64 * dt_s);
    let squares: f64 = changes.iter().map(|r| r * r).sum();
    let products: f64 = changes.windows(2).map(|r| (r[0] * r[1]).abs()).sum();
    let bipower = std::f64::consts::FRAC_PI_2 * products * count / (count - 1.0);
    let slow: f64 = price.windows(k_slow + 1).map(|p| (p[k_slow] - p[0]).powi(2)).sum::<f64>() / k_slow as f64;
    let mean_count = (count - k_slow as f64 + 1.0) / k_slow as f64;
    let two_scales = (slow - mean_count / count * squares) / (1.0 - mean_count / count);
    let (low, high) =
        price.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), p| (low.min(*p), high.max(*p)));
    Ok(WindowVolatility {
        realized: (squares / seconds).sqrt(),
        bipower: (bipower / seconds).sqrt(),
        two_scales: (two_scales.max(0.0) / seconds).sqrt(),
        parkinson: (high - low) / (4.0 * std::f64::consts::LN_2 * seconds).sqrt(),
        noise_variance: squares / (2.0 * count),
    })
}
