//! A and k from binned reaches of market orders: lambda(delta) = A e^(-k delta) is the rate of those beyond delta.
//!
//! Three estimates of one set of bins. Maximum likelihood is the one to use; the two regressions of the logarithm of the
//! cumulative rate are for comparison: their points are correlated, they leave empty tails out, and the unweighted one
//! leans on the noisiest points.
//!
//! Source: Poisson likelihood of disjoint bins; regression as commonly done after Laruelle, "Limit order book modelling
//! for high frequency trading" (2013).

use super::domain::{non_negative, positive};
use crate::{Error, Result};

/// Parameters of an exponential intensity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Orders per second beyond distance 0.
    pub a: f64,
    /// Decay, 1/P.
    pub k: f64,
}

/// Three estimates of A and k.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IntensityFit {
    /// Unweighted regression; `None` with fewer than two bins that hold something.
    pub ols: Option<Line>,
    /// Regression weighted by the cumulative count.
    pub wls: Option<Line>,
    /// Maximum likelihood.
    pub mle: Line,
    /// Standard error of ln A.
    pub se_log_a: f64,
    /// Standard error of k, 1/P.
    pub se_k: f64,
}

/// Fits binned counts: `counts[i]` orders reached between `edges[i]` and `edges[i + 1]` (P) in `seconds`.
///
/// # Errors
/// [`Error::Domain`] naming what is out of range, or counts that no decay fits.
pub fn fit_intensity(edges: &[f64], counts: &[f64], seconds: f64) -> Result<IntensityFit> {
    let seconds = positive("seconds", seconds)?;
    if counts.len() < 2 || edges.len() != counts.len() + 1 {
        let reason =
            format!("{} edges are needed for {} counts, and two bins at least", counts.len() + 1, counts.len());
        return Err(Error::Domain { name: "edges", reason });
    }
    for pair in edges.windows(2) {
        non_negative("edges", pair[0])?;
        if pair[1].is_nan() || pair[1] <= pair[0] {
            return Err(Error::Domain { name: "edges", reason: format!("{} does not follow {}", pair[1], pair[0]) });
        }
    }
    for &count in counts {
        non_negative("counts", count)?;
    }
    let (mle, se_log_a, se_k) = likelihood(edges, counts, seconds)?;
    let points = cumulative(edges, counts, seconds);
    Ok(IntensityFit { ols: regress(&points, |_| 1.0), wls: regress(&points, |count| count), mle, se_log_a, se_k })
}

/// Left edge, logarithm of the rate beyond it, and the count behind that, wherever it is not 0.
fn cumulative(edges: &[f64], counts: &[f64], seconds: f64) -> Vec<(f64, f64, f64)> {
    // Summed from the tail, where the numbers are small.
    let mut beyond = 0.0;
    let mut points = Vec::with_capacity(counts.len());
    for (&edge, count) in edges.iter().zip(counts).rev() {
        beyond += count;
        if beyond > 0.0 {
            points.push((edge, (beyond / seconds).ln(), beyond));
        }
    }
    points
}

fn regress(points: &[(f64, f64, f64)], weight: impl Fn(f64) -> f64) -> Option<Line> {
    let sum = |f: &dyn Fn(f64, f64) -> f64| points.iter().map(|&(x, y, n)| weight(n) * f(x, y)).sum::<f64>();
    let total = sum(&|_, _| 1.0);
    let (mean_x, mean_y) = (sum(&|x, _| x) / total, sum(&|_, y| y) / total);
    let slope = sum(&|x, y| (x - mean_x) * (y - mean_y)) / sum(&|x, _| (x - mean_x).powi(2));
    slope.is_finite().then(|| Line { a: (mean_y - slope * mean_x).exp(), k: -slope })
}

/// Mean reach into a bin of the orders that end in it, P.
fn within(width: f64, k: f64) -> f64 {
    let z = k * width;
    if z < 1e-4 {
        return width * (0.5 - z / 12.0);
    }
    if z.is_infinite() { 1.0 / k } else { 1.0 / k - width / z.exp_m1() }
}

/// Maximum likelihood, with the errors of the expected information at it.
fn likelihood(edges: &[f64], counts: &[f64], seconds: f64) -> Result<(Line, f64, f64)> {
    let total: f64 = counts.iter().sum();
    let first = edges[0];
    let span = edges[edges.len() - 1] - first;
    if total <= 0.0 {
        return Err(Error::Domain { name: "counts", reason: "no bin holds anything".to_owned() });
    }
    // Given the total, the counts are multinomial over the bins: the score in k compares mean reaches.
    let excess = |k: f64| {
        let binned = edges.windows(2).zip(counts).map(|(e, n)| n * (e[0] - first + within(e[1] - e[0], k)));
        binned.sum::<f64>() / total - within(span, k)
    };
    let scale = edges.windows(2).map(|e| e[1] - e[0]).fold(f64::INFINITY, f64::min);
    let (mut low, mut high) = (1e-9 / scale, 50.0 / scale);
    if excess(low) >= 0.0 || excess(high) <= 0.0 {
        let reason = "do not fall off with distance as an exponential does".to_owned();
        return Err(Error::Domain { name: "counts", reason });
    }
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            break;
        }
        if excess(middle) < 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    let k = f64::midpoint(low, high);
    let seen = |k: f64| -(-k * span).exp_m1();
    let a = total / (seconds * (-k * first).exp() * seen(k));
    // Fisher information of (ln A, k): the means mu_i = A T (e^(-k l) - e^(-k r)) have d ln mu_i / dk = 1/k - l - mean reach.
    let (mut i_ak, mut i_kk) = (0.0, 0.0);
    for e in edges.windows(2) {
        let width = e[1] - e[0];
        let mu = a * seconds * (-k * e[0]).exp() * -(-k * width).exp_m1();
        let derivative = 1.0 / k - e[0] - within(width, k);
        i_ak += mu * derivative;
        i_kk += mu * derivative * derivative;
    }
    let determinant = total * i_kk - i_ak * i_ak;
    let (se_log_a, se_k) = ((i_kk / determinant).sqrt(), (total / determinant).sqrt());
    Ok((Line { a, k }, se_log_a, se_k))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_counts_give_the_parameters_back() {
        let (a, k, seconds) = (1.5, 0.2, 1e6);
        let edges: Vec<f64> = (0..200).map(f64::from).chain([f64::INFINITY]).collect();
        let counts: Vec<f64> =
            edges.windows(2).map(|e| a * seconds * ((-k * e[0]).exp() - (-k * e[1]).exp())).collect();
        let fit = fit_intensity(&edges, &counts, seconds).unwrap();
        for line in [fit.mle, fit.ols.unwrap(), fit.wls.unwrap()] {
            assert!((line.k / k - 1.0).abs() < 1e-6 && (line.a / a - 1.0).abs() < 1e-6, "{line:?}");
        }
        // Binning finely loses next to nothing of 1/sqrt(N).
        assert!((fit.se_k / k * (a * seconds).sqrt() - 1.0).abs() < 0.01);
    }

    #[test]
    fn what_cannot_be_fitted_is_named() {
        let named = |edges: &[f64], counts: &[f64], name: &str| {
            let error = fit_intensity(edges, counts, 10.0).unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        };
        named(&[0.0, 1.0, 2.0], &[1.0], "edges: ");
        named(&[0.0, 2.0, 1.0], &[1.0, 1.0], "edges: ");
        named(&[0.0, 1.0, 2.0], &[0.0, 0.0], "counts: no bin");
        named(&[0.0, 1.0, 2.0], &[1.0, 9.0], "counts: do not fall off");
    }
}
