//! Detectors: level (Hampel), drift (CUSUM) and jump (Lee-Mykland).

use std::f64::consts::PI;

use super::domain::{all_finite, non_negative, positive};
use crate::{Error, Result};

/// Scores of each value against a causal window, and whether they pass the threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Hampel {
    /// Robust z-score, 0 while too few values came before.
    pub score: Vec<f64>,
    /// Whether abs(score) is above the threshold.
    pub flag: Vec<bool>,
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// Standard deviations of a normal distribution in its median absolute deviation.
const MAD_TO_SD: f64 = 1.4826;

/// The last values in the order they came and in the order of their size.
///
/// Source: Hampel, "The influence curve and its role in robust estimation" (1974).
#[derive(Debug, Clone)]
pub struct HampelWindow {
    capacity: usize,
    /// In the order they came; the oldest is overwritten once full.
    ring: Vec<f64>,
    next: usize,
    sorted: Vec<f64>,
}

impl HampelWindow {
    /// An empty window of up to `window` values.
    ///
    /// # Errors
    /// [`Error::Domain`] when it would hold nothing.
    pub fn new(window: usize) -> Result<Self> {
        if window == 0 {
            return Err(Error::Domain { name: "window", reason: "must be at least 1".to_owned() });
        }
        let empty = || Vec::with_capacity(window);
        Ok(Self { capacity: window, ring: empty(), next: 0, sorted: empty() })
    }

    /// Values held.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Forgets every value.
    pub fn clear(&mut self) {
        self.ring.clear();
        self.sorted.clear();
        self.next = 0;
    }

    /// Takes a value; the oldest leaves a full window. A binary search and a move of memory.
    pub fn push(&mut self, value: f64) {
        if self.ring.len() < self.capacity {
            self.ring.push(value);
        } else {
            let oldest = std::mem::replace(&mut self.ring[self.next], value);
            let at = self.sorted.partition_point(|held| held.total_cmp(&oldest).is_lt());
            self.sorted.remove(at);
        }
        self.next = (self.next + 1) % self.capacity;
        let at = self.sorted.partition_point(|held| held.total_cmp(&value).is_lt());
        self.sorted.insert(at, value);
    }

    /// Median, and median absolute deviation from it; NaN when empty.
    pub fn centre(&self) -> (f64, f64) {
        if self.is_empty() {
            return (f64::NAN, f64::NAN);
        }
        let centre = median(&self.sorted);
        // Deviations ascend from the median to both ends: merge the two until the middle ones are reached.
        let n = self.sorted.len();
        let mut above = self.sorted.partition_point(|held| *held < centre);
        let mut below = above;
        let (mut last, mut before_last) = (0.0, 0.0);
        for _ in 0..=n / 2 {
            let down = if below > 0 { (self.sorted[below - 1] - centre).abs() } else { f64::INFINITY };
            let up = if above < n { (self.sorted[above] - centre).abs() } else { f64::INFINITY };
            before_last = last;
            if down < up {
                (last, below) = (down, below - 1);
            } else {
                (last, above) = (up, above + 1);
            }
        }
        (centre, if n % 2 == 1 { last } else { f64::midpoint(before_last, last) })
    }

    /// Distance of a value from the median in robust standard deviations, of which at least `floor` is taken.
    pub fn score(&self, value: f64, floor: f64) -> f64 {
        let (centre, deviation) = self.centre();
        (value - centre) / (MAD_TO_SD * deviation).max(floor)
    }
}

/// [`HampelWindow::score`] of each value against the `window` values before it; 0 while fewer than `min_obs` came.
///
/// # Errors
/// [`Error::Domain`] naming the parameter that is out of range.
pub fn hampel(x: &[f64], window: usize, min_obs: usize, threshold: f64, floor: f64) -> Result<Hampel> {
    positive("threshold", threshold)?;
    positive("floor", floor)?;
    all_finite("x", x)?;
    // Never longer than what comes, whatever was asked for.
    let mut before = HampelWindow::new(window.min(x.len().max(1)))?;
    let mut out = Hampel { score: Vec::with_capacity(x.len()), flag: Vec::with_capacity(x.len()) };
    for value in x {
        let score = if before.len() < min_obs.max(1) { 0.0 } else { before.score(*value, floor) };
        before.push(*value);
        out.score.push(score);
        out.flag.push(score.abs() > threshold);
    }
    Ok(out)
}

/// Two-sided cumulative sums; both restart at 0 on an alarm.
#[derive(Debug, Clone, PartialEq)]
pub struct Cusum {
    /// Upward sum after each value.
    pub up: Vec<f64>,
    /// Downward sum after each value.
    pub down: Vec<f64>,
    /// Index at which a sum passed `h`, and its direction: 1 up, -1 down.
    pub alarms: Vec<(usize, i8)>,
}

/// Two-sided cumulative sums of a stream of standardised values.
///
/// Source: Page, "Continuous inspection schemes" (1954).
#[derive(Debug, Clone, Copy)]
pub struct CusumSums {
    drift: f64,
    h: f64,
    up: f64,
    down: f64,
}

impl CusumSums {
    /// Sums of what is beyond `drift`, alarming above `h`.
    ///
    /// # Errors
    /// [`Error::Domain`] naming the parameter that is out of range.
    pub fn new(drift: f64, h: f64) -> Result<Self> {
        Ok(Self { drift: non_negative("drift", drift)?, h: positive("h", h)?, up: 0.0, down: 0.0 })
    }

    /// Takes a value; the direction of an alarm, 1 up or -1 down, upon which both sums restart.
    pub fn observe(&mut self, value: f64) -> Option<i8> {
        self.up = (self.up + value - self.drift).max(0.0);
        self.down = (self.down - value - self.drift).max(0.0);
        if self.up <= self.h && self.down <= self.h {
            return None;
        }
        let direction = if self.up > self.h { 1 } else { -1 };
        (self.up, self.down) = (0.0, 0.0);
        Some(direction)
    }
}

/// [`CusumSums`] over values.
///
/// # Errors
/// [`Error::Domain`] naming the parameter that is out of range.
pub fn cusum(z: &[f64], drift: f64, h: f64) -> Result<Cusum> {
    let mut sums = CusumSums::new(drift, h)?;
    all_finite("z", z)?;
    let mut out = Cusum { up: Vec::with_capacity(z.len()), down: Vec::with_capacity(z.len()), alarms: Vec::new() };
    for (i, value) in z.iter().enumerate() {
        out.alarms.extend(sums.observe(*value).map(|direction| (i, direction)));
        out.up.push(sums.up);
        out.down.push(sums.down);
    }
    Ok(out)
}

/// Jump statistic of each tested return.
#[derive(Debug, Clone, PartialEq)]
pub struct LeeMykland {
    /// Return over the local volatility of the returns before it; the first tested return is number `window`.
    pub stat: Vec<f64>,
    /// Whether abs(stat) is above `critical`.
    pub flag: Vec<bool>,
    /// Bound that the largest of so many statistics passes with probability `alpha` without jumps.
    pub critical: f64,
}

/// Bipower volatility of the last returns, against which the next one is judged.
///
/// Source: Lee & Mykland, "Jumps in financial markets" (2008), definition 1.
#[derive(Debug, Clone)]
pub struct JumpWindow {
    sizes: Box<[f64]>,
    seen: usize,
    /// Sum of the products of neighbours; added up anew each round.
    products: f64,
}

impl JumpWindow {
    /// A window of `window` returns.
    ///
    /// # Errors
    /// [`Error::Domain`] when it has fewer than three.
    pub fn new(window: usize) -> Result<Self> {
        if window < 3 {
            return Err(Error::Domain { name: "window", reason: format!("must be at least 3, got {window}") });
        }
        Ok(Self { sizes: vec![0.0; window].into(), seen: 0, products: 0.0 })
    }

    /// The return over the volatility of the returns before it; `None` until there are enough of those.
    pub fn statistic(&self, value: f64) -> Option<f64> {
        let full = self.seen >= self.sizes.len();
        full.then(|| value / (self.products / (self.sizes.len() as f64 - 2.0)).sqrt())
    }

    /// Takes a return in.
    pub fn push(&mut self, value: f64) {
        let (n, at) = (self.sizes.len(), self.seen % self.sizes.len());
        let size = value.abs();
        if self.seen >= n {
            self.products -= self.sizes[at] * self.sizes[(at + 1) % n];
        }
        if self.seen >= 1 {
            self.products += size * self.sizes[(at + n - 1) % n];
        }
        self.sizes[at] = size;
        self.seen += 1;
        if at == n - 1 {
            self.products = self.sizes.windows(2).map(|pair| pair[0] * pair[1]).sum();
        }
    }
}

/// Bound that the largest of `n` statistics without jumps passes with probability `alpha`.
///
/// Source: Lee & Mykland (2008), lemma 1.
pub fn lee_mykland_critical(n: usize, alpha: f64) -> f64 {
    let (n, c) = (n as f64, (2.0 / PI).sqrt());
    let root = (2.0 * n.ln()).sqrt();
    let centre = root / c - (PI.ln() + n.ln().ln()) / (2.0 * c * root);
    centre + (1.0 / (c * root)) * -(-(1.0 - alpha).ln()).ln()
}

/// Jump test with bipower volatility over the `window` returns before the tested one.
///
/// # Errors
/// [`Error::Domain`] naming the parameter that is out of range.
pub fn lee_mykland(returns: &[f64], window: usize, alpha: f64) -> Result<LeeMykland> {
    // Never longer than what comes, whatever was asked for.
    let mut before = JumpWindow::new(window.min(returns.len().max(3)))?;
    all_finite("returns", returns)?;
    if !(alpha > 0.0 && alpha < 1.0) {
        return Err(Error::Domain { name: "alpha", reason: format!("must be between 0 and 1, got {alpha}") });
    }
    let mut stat = Vec::with_capacity(returns.len());
    for value in returns {
        stat.extend(before.statistic(*value));
        before.push(*value);
    }
    if stat.len() < 2 {
        let reason = format!("needs at least {} values, got {}", window.saturating_add(2), returns.len());
        return Err(Error::Domain { name: "returns", reason });
    }
    let critical = lee_mykland_critical(stat.len(), alpha);
    let flag = stat.iter().map(|l| l.abs() > critical).collect();
    Ok(LeeMykland { stat, flag, critical })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sorted_window_knows_median_and_deviation_of_what_a_sort_would() {
        let mut window = HampelWindow::new(37).unwrap();
        let values: Vec<f64> = (0..500).map(|i| f64::from((i * 7919) % 97) / 7.0).collect();
        for (i, value) in values.iter().enumerate() {
            window.push(*value);
            let mut held = values[(i + 1).saturating_sub(37)..=i].to_vec();
            held.sort_by(f64::total_cmp);
            let centre = median(&held);
            let mut deviations: Vec<f64> = held.iter().map(|v| (v - centre).abs()).collect();
            deviations.sort_by(f64::total_cmp);
            assert_eq!(window.centre(), (centre, median(&deviations)), "{i}");
        }
    }
}
