//! Detectors: level (Hampel), drift (CUSUM) and jump (Lee-Mykland).

use std::f64::consts::PI;

use super::domain::{non_negative, positive};
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

/// Distance from the median of the previous `window` values in robust standard deviations (1.4826 x median absolute
/// deviation, at least `floor`).
///
/// Source: Hampel, "The influence curve and its role in robust estimation" (1974).
///
/// # Errors
/// [`Error::Domain`] naming the parameter that is out of range.
pub fn hampel(x: &[f64], window: usize, min_obs: usize, threshold: f64, floor: f64) -> Result<Hampel> {
    positive("threshold", threshold)?;
    positive("floor", floor)?;
    if window == 0 {
        return Err(Error::Domain { name: "window", reason: "must be at least 1".to_owned() });
    }
    let mut out = Hampel { score: Vec::with_capacity(x.len()), flag: Vec::with_capacity(x.len()) };
    for (i, value) in x.iter().enumerate() {
        let before = &x[i.saturating_sub(window)..i];
        let score = if before.len() < min_obs.max(1) {
            0.0
        } else {
            let mut sorted = before.to_vec();
            sorted.sort_by(f64::total_cmp);
            let center = median(&sorted);
            let mut deviations: Vec<f64> = before.iter().map(|v| (v - center).abs()).collect();
            deviations.sort_by(f64::total_cmp);
            (value - center) / (1.4826 * median(&deviations)).max(floor)
        };
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

/// Sums of standardised values beyond `drift`, alarming above `h`.
///
/// Source: Page, "Continuous inspection schemes" (1954).
///
/// # Errors
/// [`Error::Domain`] naming the parameter that is out of range.
pub fn cusum(z: &[f64], drift: f64, h: f64) -> Result<Cusum> {
    non_negative("drift", drift)?;
    positive("h", h)?;
    let mut out = Cusum { up: Vec::with_capacity(z.len()), down: Vec::with_capacity(z.len()), alarms: Vec::new() };
    let (mut up, mut down) = (0.0f64, 0.0f64);
    for (i, value) in z.iter().enumerate() {
        up = (up + value - drift).max(0.0);
        down = (down - value - drift).max(0.0);
        if up > h || down > h {
            out.alarms.push((i, if up > h { 1 } else { -1 }));
            (up, down) = (0.0, 0.0);
        }
        out.up.push(up);
        out.down.push(down);
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

/// Jump test with bipower volatility over the `window` returns before the tested one.
///
/// Source: Lee & Mykland, "Jumps in financial markets" (2008), definition 1 and lemma 1.
///
/// # Errors
/// [`Error::Domain`] naming the parameter that is out of range.
pub fn lee_mykland(returns: &[f64], window: usize, alpha: f64) -> Result<LeeMykland> {
    if window < 3 {
        return Err(Error::Domain { name: "window", reason: format!("must be at least 3, got {window}") });
    }
    if !(alpha > 0.0 && alpha < 1.0) {
        return Err(Error::Domain { name: "alpha", reason: format!("must be between 0 and 1, got {alpha}") });
    }
    let stat: Vec<f64> = returns
        .windows(window + 1)
        .map(|w| {
            let bipower: f64 = w[..window].windows(2).map(|r| (r[0] * r[1]).abs()).sum();
            w[window] / (bipower / (window as f64 - 2.0)).sqrt()
        })
        .collect();
    if stat.len() < 2 {
        let reason = format!("needs at least {} values, got {}", window + 2, returns.len());
        return Err(Error::Domain { name: "returns", reason });
    }
    let (n, c) = (stat.len() as f64, (2.0 / PI).sqrt());
    let root = (2.0 * n.ln()).sqrt();
    let center = root / c - (PI.ln() + n.ln().ln()) / (2.0 * c * root);
    let critical = center + (1.0 / (c * root)) * -(-(1.0 - alpha).ln()).ln();
    let flag = stat.iter().map(|l| l.abs() > critical).collect();
    Ok(LeeMykland { stat, flag, critical })
}
