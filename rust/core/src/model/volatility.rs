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
