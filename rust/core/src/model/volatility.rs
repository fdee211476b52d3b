//! Volatility of the reference price from irregular samples, in P/sqrt(s).

use super::domain::{all_finite, positive};
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
    all_finite("mid", mid)?;
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

/// The last prices of an even grid, with the sums that every estimator of [`WindowVolatility`] needs. O(1) amortised a
/// price, constant memory.
///
/// Source: Barndorff-Nielsen & Shephard (2004) for bipower; Zhang, Mykland & Aït-Sahalia (2005), equation 64, for two
/// scales; Parkinson (1980) for the range.
#[derive(Debug, Clone)]
pub struct VolatilityWindow {
    k_slow: usize,
    prices: Box<[f64]>,
    /// Prices seen since the last reset; the newest lies at `(seen - 1) % prices.len()`.
    seen: usize,
    squares: f64,
    products: f64,
    slow_squares: f64,
    high: Extreme,
    low: Extreme,
}

impl VolatilityWindow {
    /// A window of `changes` changes, of which the slow scale strides over `k_slow`.
    ///
    /// # Errors
    /// [`Error::Domain`] when the stride does not fit the window.
    pub fn new(changes: usize, k_slow: usize) -> Result<Self> {
        if k_slow < 2 || changes <= k_slow {
            let reason = format!("must be at least 2 and below the {changes} changes, got {k_slow}");
            return Err(Error::Domain { name: "k_slow", reason });
        }
        Ok(Self {
            k_slow,
            prices: vec![0.0; changes + 1].into(),
            seen: 0,
            squares: 0.0,
            products: 0.0,
            slow_squares: 0.0,
            high: Extreme::new(changes + 1, 1.0),
            low: Extreme::new(changes + 1, -1.0),
        })
    }

    /// Forgets every price.
    pub fn reset(&mut self) {
        self.seen = 0;
        (self.squares, self.products, self.slow_squares) = (0.0, 0.0, 0.0);
        self.high.clear();
        self.low.clear();
    }

    /// Prices held.
    pub fn len(&self) -> usize {
        self.seen.min(self.prices.len())
    }

    /// Whether no price is held.
    pub fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// The price that came `back` prices before the newest.
    fn price(&self, back: usize) -> f64 {
        self.prices[(self.seen - 1 - back) % self.prices.len()]
    }

    fn change(&self, back: usize) -> f64 {
        self.price(back) - self.price(back + 1)
    }

    /// Takes the next price of the grid; the oldest leaves a full window.
    pub fn push(&mut self, price: f64) {
        if self.seen >= self.prices.len() {
            let oldest = self.prices.len() - 1;
            let leaving = self.change(oldest - 1);
            self.squares -= leaving * leaving;
            self.products -= (leaving * self.change(oldest - 2)).abs();
            self.slow_squares -= (self.price(oldest - self.k_slow) - self.price(oldest)).powi(2);
        }
        self.prices[self.seen % self.prices.len()] = price;
        self.seen += 1;
        self.high.push(self.seen, price);
        self.low.push(self.seen, price);
        if self.seen > self.prices.len() && self.seen % self.prices.len() == 0 {
            // Once a round from scratch: what was added and taken off again has rounded.
            (self.squares, self.products, self.slow_squares) = (0.0, 0.0, 0.0);
            (0..self.prices.len()).rev().for_each(|back| self.count(back, self.prices.len() - 1 - back));
        } else {
            self.count(0, self.len() - 1);
        }
    }

    /// Adds what ends at the price `back` before the newest, which has `before` prices before it.
    fn count(&mut self, back: usize, before: usize) {
        if before >= 1 {
            self.squares += self.change(back).powi(2);
        }
        if before >= 2 {
            self.products += (self.change(back) * self.change(back + 1)).abs();
        }
        if before >= self.k_slow {
            self.slow_squares += (self.price(back) - self.price(back + self.k_slow)).powi(2);
        }
    }

    /// The estimates for prices `dt_s` apart; `None` with too few prices for the slow scale.
    pub fn estimate(&self, dt_s: f64) -> Option<WindowVolatility> {
        let n = self.len().saturating_sub(1);
        if n < self.k_slow + 1 {
            return None;
        }
        let (count, k_slow) = (n as f64, self.k_slow as f64);
        let seconds = count * dt_s;
        let bipower = std::f64::consts::FRAC_PI_2 * self.products * count / (count - 1.0);
        let mean_count = (count - k_slow + 1.0) / k_slow;
        let two_scales = (self.slow_squares / k_slow - mean_count / count * self.squares) / (1.0 - mean_count / count);
        let root = |variance: f64| (variance.max(0.0) / seconds).sqrt();
        let range = self.high.value() - self.low.value();
        Some(WindowVolatility {
            realized: root(self.squares),
            bipower: root(bipower),
            two_scales: root(two_scales),
            parkinson: range / (4.0 * std::f64::consts::LN_2 * seconds).sqrt(),
            noise_variance: self.squares.max(0.0) / (2.0 * count),
        })
    }
}

/// Greatest (`sign` 1) or smallest (-1) of the last values: a queue of those that may yet become it.
#[derive(Debug, Clone)]
struct Extreme {
    sign: f64,
    /// `(number, value)`, numbers ascending and values descending; a ring.
    ring: Box<[(usize, f64)]>,
    first: usize,
    len: usize,
}

impl Extreme {
    fn new(window: usize, sign: f64) -> Self {
        Self { sign, ring: vec![(0, 0.0); window].into(), first: 0, len: 0 }
    }

    fn clear(&mut self) {
        self.len = 0;
    }

    fn at(&self, index: usize) -> usize {
        (self.first + index) % self.ring.len()
    }

    fn push(&mut self, number: usize, value: f64) {
        if self.len > 0 && self.ring[self.first].0 + self.ring.len() <= number {
            (self.first, self.len) = (self.at(1), self.len - 1);
        }
        while self.len > 0 && self.ring[self.at(self.len - 1)].1 * self.sign <= value * self.sign {
            self.len -= 1;
        }
        self.ring[self.at(self.len)] = (number, value);
        self.len += 1;
    }

    fn value(&self) -> f64 {
        if self.len == 0 { f64::NAN } else { self.ring[self.first].1 }
    }
}

/// [`VolatilityWindow`] over prices `dt_s` apart; `k_slow` is the stride of the slow scale.
///
/// # Errors
/// [`Error::Domain`] when the step is not positive or there are too few prices.
pub fn vol_estimators(price: &[f64], dt_s: f64, k_slow: usize) -> Result<WindowVolatility> {
    positive("dt_s", dt_s)?;
    all_finite("price", price)?;
    let changes = price.len().saturating_sub(1);
    let mut window = VolatilityWindow::new(changes, k_slow)?;
    for price in price {
        window.push(*price);
    }
    // A window that could be made is full now, which is enough.
    let reason = || format!("must be below the {changes} changes, got {k_slow}");
    window.estimate(dt_s).ok_or_else(|| Error::Domain { name: "k_slow", reason: reason() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wobble(i: usize) -> f64 {
        100.0 + ((i * 7919) % 101) as f64 * 0.013 - ((i * 31) % 17) as f64 * 0.07
    }

    #[test]
    fn a_sliding_window_equals_a_fresh_one_over_the_same_prices() {
        let prices: Vec<f64> = (0..1000).map(wobble).collect();
        let mut window = VolatilityWindow::new(60, 5).unwrap();
        for (i, price) in prices.iter().enumerate() {
            window.push(*price);
            let from = (i + 1).saturating_sub(61);
            let fresh = vol_estimators(&prices[from..=i], 1.0, 5).ok();
            let got = window.estimate(1.0);
            assert_eq!(got.is_some(), fresh.is_some(), "{i}");
            let Some((got, fresh)) = got.zip(fresh) else { continue };
            for (one, other) in [
                (got.realized, fresh.realized),
                (got.bipower, fresh.bipower),
                (got.two_scales, fresh.two_scales),
                (got.parkinson, fresh.parkinson),
            ] {
                assert!((one - other).abs() < 1e-9 * (1.0 + other), "{i}: {one} {other}");
            }
        }
        window.reset();
        assert!(window.is_empty() && window.estimate(1.0).is_none());
    }
}
