//! Exact quotes of a maker whose inventory is bounded, and the best rate anybody can reach.
//!
//! With at most `max_lots` lots of `size` on either side, the control problem behind [`super::glft`] turns linear: the
//! value of inventory q is ln(v(q)) size / k, where v solves v' = M v with the tridiagonal
//!
//! M = tridiag(-eta, alpha q^2 - k mu q, -eta), alpha = k gamma size sigma^2 / 2, eta = A C e^(-k (fee + impact/2)).
//!
//! Without a horizon v is the ground eigenvector of M and -lambda size / k, with lambda the smallest eigenvalue, the
//! certainty-equivalent rate.
//! Components of v span dozens of orders of magnitude, so only their ratios are ever formed: from both ends towards
//! the smallest diagonal element, the direction in which the recursion forgets its errors. With a horizon, v comes by
//! uniformisation, a series without a negative term, for the same reason.
//!
//! Source: Guéant, Lehalle & Fernandez-Tapia, "Dealing with the inventory risk" (2013), sections 3 and 4 (drift:
//! section 5); the impact is shared by the two fills of a round trip.

use super::domain::{finite, largest, non_negative, positive};
use super::glft::{GlftParams, beyond_range, fill_rate_and_margin};
use crate::{Error, Result};

/// Most lots of inventory a side that are computed.
pub const MAX_LOTS: usize = 1000;

const MAX_STEPS: usize = 200;
const SERIES_PER_STEP: f64 = 50.0;
const MAX_UNIFORM_STEPS: f64 = 1e6;

/// Exact quotes for every inventory of a bounded maker; index i of a side is inventory `i - max_lots` lots.
#[derive(Debug, Clone, PartialEq)]
pub struct ExactQuotes {
    /// Rate at which inventory costs grow, 1/s per squared lot.
    pub alpha: f64,
    /// Rate of fills at the optimal width of a risk-neutral maker, 1/s and side.
    pub eta: f64,
    /// Smallest eigenvalue of M, 1/s.
    pub eigenvalue: f64,
    /// Best attainable certainty-equivalent rate without a horizon, quote currency per second.
    pub best_rate: f64,
    /// Distance of the bid below the reference price, P; `None` where no more may be bought.
    pub delta_bid: Vec<Option<f64>>,
    /// Distance of the ask above it; `None` where no more may be sold.
    pub delta_ask: Vec<Option<f64>>,
}

/// The matrix M and the constant part of a quote.
struct Problem {
    alpha: f64,
    eta: f64,
    diagonal: Vec<f64>,
    margin: f64,
}

impl Problem {
    fn new(p: &GlftParams, max_lots: usize) -> Result<Self> {
        if max_lots == 0 || max_lots > MAX_LOTS {
            let reason = format!("must be between 1 and {MAX_LOTS}, got {max_lots}");
            return Err(Error::Domain { name: "max_lots", reason });
        }
        let (eta, margin) = fill_rate_and_margin(p)?;
        let k = p.intensity_k;
        let sigma = non_negative("sigma", p.sigma)?;
        let alpha = k * non_negative("gamma", p.gamma)? * positive("size", p.size)? * sigma * sigma / 2.0;
        let drift = k * finite("drift", p.drift)?;
        let diagonal: Vec<f64> = lots(max_lots).map(|q| alpha * q * q - drift * q).collect();
        // The recursion divides differences of the diagonal by the rate of fills.
        let most = max_lots as f64;
        let reach = (alpha * most * most + 2.0 * drift.abs() * most + 2.0 * eta) / eta;
        if reach.is_finite() { Ok(Self { alpha, eta, diagonal, margin }) } else { Err(too_steep(p, max_lots, eta)) }
    }

    /// Index at which the ratios from both ends meet: where the ground eigenvector is largest or nearly so.
    fn meeting_point(&self) -> usize {
        let smallest = self.diagonal.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
        smallest.map_or(0, |(index, _)| index)
    }

    /// Ratios v(i+1)/v(i) up to the meeting point and v(i-1)/v(i) down to it; `None` when `lambda` is above an
    /// eigenvalue of the part before it.
    fn ratios(&self, lambda: f64, meet: usize) -> Option<(Vec<f64>, Vec<f64>)> {
        let ratio = |diagonal: f64, last: f64| {
            let next = (diagonal - lambda) / self.eta - 1.0 / last;
            (next > 0.0 && next.is_finite()).then_some(next)
        };
        let chain = |part: &mut dyn Iterator<Item = &f64>| {
            let mut last = f64::INFINITY;
            part.map(|&diagonal| {
                last = ratio(diagonal, last)?;
                Some(last)
            })
            .collect::<Option<Vec<f64>>>()
        };
        let up = chain(&mut self.diagonal[..meet].iter())?;
        let down = chain(&mut self.diagonal[meet + 1..].iter().rev())?;
        Some((up, down))
    }

    /// The smallest eigenvalue and the ratios at it. Newton's method on the last pivot of the twisted factorisation,
    /// which is the Rayleigh quotient's correction, kept inside a bracket.
    fn ground_state(&self, p: &GlftParams) -> Result<(f64, Vec<f64>, Vec<f64>)> {
        let meet = self.meeting_point();
        let center = self.diagonal[meet];
        let (mut low, mut high) = (center - 2.0 * self.eta, center);
        let mut lambda = low;
        let mut found = None;
        for _ in 0..MAX_STEPS {
            let Some((up, down)) = self.ratios(lambda, meet) else {
                high = lambda;
                lambda = f64::midpoint(low, high);
                continue;
            };
            // M v - lambda v is zero but at the meeting point, v being 1 there.
            let neighbours = up.last().map_or(0.0, |r| 1.0 / r) + down.last().map_or(0.0, |r| 1.0 / r);
            let residual = (center - lambda) - self.eta * neighbours;
            let norm = 1.0 + squares(&up) + squares(&down);
            let step = residual / norm;
            if residual > 0.0 {
                low = lambda;
            } else {
                high = lambda;
            }
            found = Some((lambda, up, down));
            let next = lambda + step;
            if step.abs() <= 2.0 * f64::EPSILON * (lambda.abs() + self.eta) {
                break;
            }
            lambda = if next > low && next < high { next } else { f64::midpoint(low, high) };
            if high - low <= 2.0 * f64::EPSILON * (lambda.abs() + self.eta) {
                break;
            }
        }
        found.ok_or_else(|| too_steep(p, self.diagonal.len() / 2, self.eta))
    }
}

/// The error of an inventory whose cost or drift is out of all proportion to the rate of fills: names the parameter
/// that brings it about.
#[cold]
fn too_steep(p: &GlftParams, max_lots: usize, eta: f64) -> Error {
    let (ln_k, ln_lots) = (p.intensity_k.ln(), (max_lots as f64).ln());
    let risk = [("gamma", p.gamma.ln()), ("sigma", 2.0 * p.sigma.ln()), ("size", p.size.ln()), ("intensity_k", ln_k)];
    let cost = risk.iter().map(|part| part.1).sum::<f64>() + 2.0 * ln_lots;
    let drifts = [("drift", p.drift.abs().ln()), ("intensity_k", ln_k)];
    let drift = drifts.iter().map(|part| part.1).sum::<f64>() + ln_lots;
    match largest(&[("cost", cost), ("drift", drift), ("fills", -eta.ln())]) {
        "fills" => beyond_range(p, &[], "rate of fills", eta),
        part => {
            let name = if part == "cost" { largest(&risk) } else { largest(&drifts) };
            let reason = "is out of range here: no quote follows an inventory that steep".to_owned();
            Error::Domain { name, reason }
        }
    }
}

/// Sum of the squares of the components a chain of ratios leads to, the one at its end being 1.
fn squares(ratios: &[f64]) -> f64 {
    let mut component = 1.0;
    let mut sum = 0.0;
    for ratio in ratios.iter().rev() {
        component /= ratio;
        sum += component * component;
    }
    sum
}

fn lots(max_lots: usize) -> impl Iterator<Item = f64> {
    let most = max_lots as i64;
    (-most..=most).map(|q| q as f64)
}

/// The quotes from ln(v(i) / v(i+1)) of neighbouring inventories.
fn quotes_from_steps(problem: &Problem, k: f64, size: f64, eigenvalue: f64, steps: &[f64]) -> Result<ExactQuotes> {
    let mut delta_bid = Vec::with_capacity(steps.len() + 1);
    let mut delta_ask = vec![None];
    for step in steps {
        delta_bid.push(Some(finite("impact", problem.margin + step / k)?));
        delta_ask.push(Some(finite("impact", problem.margin - step / k)?));
    }
    delta_bid.push(None);
    Ok(ExactQuotes {
        alpha: problem.alpha,
        eta: problem.eta,
        eigenvalue,
        best_rate: -eigenvalue * size / k,
        delta_bid,
        delta_ask,
    })
}

/// Exact quotes without a horizon.
///
/// `p.gamma` may be 0: then the width is the best a risk-neutral maker with this cap can do.
///
/// # Errors
/// [`Error::Domain`] naming the parameter that is out of range.
pub fn exact_stationary(p: &GlftParams, max_lots: usize) -> Result<ExactQuotes> {
    let problem = Problem::new(p, max_lots)?;
    let (eigenvalue, up, down) = problem.ground_state(p)?;
    // `up` holds v(i+1)/v(i), `down`, from the far end, v(i-1)/v(i).
    let steps: Vec<f64> = up.iter().map(|r| -r.ln()).chain(down.iter().rev().map(|r| r.ln())).collect();
    quotes_from_steps(&problem, p.intensity_k, p.size, eigenvalue, &steps)
}

/// Exact quotes with `horizon_s` seconds left, after which inventory is valued at the reference price less what
/// unwinding it moves.
///
/// # Errors
/// [`Error::Domain`] naming the parameter that is out of range.
pub fn exact_at_horizon(p: &GlftParams, max_lots: usize, horizon_s: f64) -> Result<ExactQuotes> {
    let problem = Problem::new(p, max_lots)?;
    let horizon_s = non_negative("horizon_s", horizon_s)?;
    let (eigenvalue, ..) = problem.ground_state(p)?;
    let terminal = lots(max_lots).map(|q| (-p.intensity_k * p.impact * q * q / 2.0).exp()).collect();
    let values = propagate(&problem, terminal, horizon_s)?;
    let steps: Vec<f64> = values.windows(2).map(|pair| (pair[0] / pair[1]).ln()).collect();
    quotes_from_steps(&problem, p.intensity_k, p.size, eigenvalue, &steps)
}

/// exp(-M t) v up to a factor, by uniformisation in steps short enough not to overflow.
fn propagate(problem: &Problem, mut values: Vec<f64>, horizon_s: f64) -> Result<Vec<f64>> {
    let top = problem.diagonal.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let bottom = problem.diagonal.iter().copied().fold(f64::INFINITY, f64::min);
    let norm = top - bottom + 2.0 * problem.eta;
    let steps = (norm * horizon_s / SERIES_PER_STEP).ceil().max(1.0);
    if steps > MAX_UNIFORM_STEPS {
        let reason = format!("{horizon_s} s are so long that the quotes are those without a horizon");
        return Err(Error::Domain { name: "horizon_s", reason });
    }
    let dt = horizon_s / steps;
    for _ in 0..steps as usize {
        let before = values.clone();
        series_step(problem, top, dt, &mut values);
        let largest = values.iter().copied().fold(0.0, f64::max);
        for value in &mut values {
            *value /= largest;
        }
        // Nothing moves any more: what is left of the horizon changes no quote.
        if values.iter().zip(&before).all(|(new, old)| (new - old).abs() <= 1e-15 * new) {
            break;
        }
    }
    Ok(values)
}

/// One step: sum of (dt N)^n v / n! with N = top - M, whose elements are all at least 0.
fn series_step(problem: &Problem, top: f64, dt: f64, values: &mut [f64]) {
    let mut term = values.to_vec();
    let mut next = vec![0.0; term.len()];
    let last = term.len() - 1;
    for n in 1..=10_000 {
        let scale = dt / f64::from(n);
        for i in 0..=last {
            let left = if i > 0 { term[i - 1] } else { 0.0 };
            let right = if i < last { term[i + 1] } else { 0.0 };
            next[i] = scale * ((top - problem.diagonal[i]) * term[i] + problem.eta * (left + right));
        }
        std::mem::swap(&mut term, &mut next);
        let mut done = n as usize > last;
        for (value, add) in values.iter_mut().zip(&term) {
            *value += add;
            done &= *add <= 1e-18 * *value;
        }
        if done {
            return;
        }
    }
}

/// Certainty-equivalent rate, quote currency per second, of a maker that quotes the given distances at every
/// inventory: the stationary mean of spread less fee and impact, less the penalty gamma sigma^2 / 2 per squared unit.
///
/// Index i is inventory `i - max_lots` lots, both sides being `2 max_lots + 1` long; `None` is no quote. `p.xi`,
/// `p.drift` and `p.age_s` are not read. It is the ruler for quotes of any origin: the best rate there is comes from
/// [`exact_stationary`] with `xi` = 0.
///
/// # Errors
/// [`Error::Domain`] naming what is out of range, or a chain of inventories that is interrupted.
pub fn chain_rate(p: &GlftParams, delta_bid: &[Option<f64>], delta_ask: &[Option<f64>]) -> Result<f64> {
    let (a, k) = (positive("intensity_a", p.intensity_a)?, positive("intensity_k", p.intensity_k)?);
    let (sigma, gamma) = (non_negative("sigma", p.sigma)?, non_negative("gamma", p.gamma)?);
    let (size, cost) = (positive("size", p.size)?, finite("fee", p.fee)? + finite("impact", p.impact)? / 2.0);
    let count = delta_bid.len();
    if count < 3 || count % 2 == 0 || delta_ask.len() != count {
        let reason = "both sides must be of one odd length of at least 3".to_owned();
        return Err(Error::Domain { name: "delta_bid", reason });
    }
    let rate = |delta: Option<f64>| delta.map_or(0.0, |delta| a * (-k * delta).exp());
    // Detailed balance of a birth-death chain; logarithms, since the weights span as much as the components of v do.
    let mut log_weights = vec![0.0f64];
    for (i, q) in lots(count / 2).enumerate().skip(1) {
        let step = match (delta_bid[i - 1], delta_ask[i]) {
            (Some(bid), Some(ask)) => k * (ask - bid),
            (None, None) => f64::NEG_INFINITY,
            _ => {
                let reason = format!("inventory {q} can be entered or left on one side only");
                return Err(Error::Domain { name: "delta_ask", reason });
            }
        };
        log_weights.push(log_weights[i - 1] + step);
    }
    let heaviest = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (mut total, mut sum) = (0.0, 0.0);
    for (i, q) in lots(count / 2).enumerate() {
        let weight = (log_weights[i] - heaviest).exp();
        if weight > 0.0 {
            let earned = |delta: Option<f64>| delta.map_or(0.0, |delta| rate(Some(delta)) * (delta - cost));
            let flow = size * (earned(delta_bid[i]) + earned(delta_ask[i]));
            total += weight;
            sum += weight * (flow - gamma * (sigma * size * q).powi(2) / 2.0);
        }
    }
    finite("delta_bid", sum / total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::glft::glft_closed_form;

    const CLEAN: GlftParams = GlftParams {
        intensity_a: 1.5,
        intensity_k: 0.2,
        sigma: 5.0,
        gamma: 1.0,
        xi: 0.0,
        size: 0.01,
        fee: 0.0,
        impact: 0.0,
        drift: 0.0,
        age_s: 0.0,
    };

    /// Markets and what is attainable in them, quote currency per second, with 10 lots a side.
    fn markets() -> [(&'static str, GlftParams, f64); 5] {
        [
            ("clean", CLEAN, 0.049_388_4),
            ("adverse", GlftParams { impact: 3.0, ..CLEAN }, 0.035_904_5),
            ("fee of 1 bp, adverse", GlftParams { fee: 6.0, impact: 2.0, ..CLEAN }, 0.010_771_8),
            ("rebate, toxic", GlftParams { fee: -3.0, impact: 8.0, ..CLEAN }, 0.039_944_6),
            ("busy", GlftParams { sigma: 2.0, intensity_k: 0.8, intensity_a: 4.0, gamma: 4.0, ..CLEAN }, 0.033_002_5),
        ]
    }

    #[test]
    fn the_best_attainable_rates_are_the_known_ones_and_their_quotes_attain_them() {
        for (name, market, known) in markets() {
            let exact = exact_stationary(&market, 10).unwrap();
            assert!((exact.best_rate - known).abs() < 1e-7, "{name}: {}", exact.best_rate);
            let attained = chain_rate(&market, &exact.delta_bid, &exact.delta_ask).unwrap();
            assert!((attained / exact.best_rate - 1.0).abs() < 1e-11, "{name}: {attained}");
        }
    }

    /// The same quotes at every inventory as the closed form gives, up to the cap.
    fn closed_form(market: &GlftParams, max_lots: usize) -> (Vec<Option<f64>>, Vec<Option<f64>>) {
        let quotes = glft_closed_form(market).unwrap();
        let side = |distance: &dyn Fn(f64) -> f64, edge: f64| {
            lots(max_lots).map(|q| (q * edge < max_lots as f64).then(|| distance(q * market.size))).collect()
        };
        (side(&|q| quotes.delta_bid(q), 1.0), side(&|q| quotes.delta_ask(q), -1.0))
    }

    #[test]
    fn the_closed_form_attains_nearly_all_of_it_unless_it_ignores_the_impact() {
        for ((name, market, _), (share, blind)) in
            markets().into_iter().zip([(1.0, 1.0), (0.9999, 0.938), (0.9995, 0.971), (0.9999, 0.385), (1.0, 1.0)])
        {
            let best = exact_stationary(&market, 10).unwrap().best_rate;
            let (bid, ask) = closed_form(&market, 10);
            let got = chain_rate(&market, &bid, &ask).unwrap() / best;
            assert!((got - share).abs() < 6e-5, "{name}: {got}");
            let (bid, ask) = closed_form(&GlftParams { impact: 0.0, ..market }, 10);
            let got = chain_rate(&market, &bid, &ask).unwrap() / best;
            assert!((got - blind).abs() < 6e-4, "{name} without impact: {got}");
        }
    }

    #[test]
    fn a_long_horizon_is_none_at_all() {
        let market = GlftParams { impact: 3.0, fee: 1.0, ..CLEAN };
        let stationary = exact_stationary(&market, 10).unwrap();
        let distant = exact_at_horizon(&market, 10, 3600.0).unwrap();
        for (a, b) in stationary.delta_bid.iter().zip(&distant.delta_bid) {
            match (a, b) {
                (Some(a), Some(b)) => assert!((a - b).abs() < 1e-9, "{a} {b}"),
                (a, b) => assert_eq!(a, b),
            }
        }
    }

    #[test]
    fn at_the_horizon_itself_only_the_impact_of_unwinding_skews() {
        let now = exact_at_horizon(&GlftParams { impact: 3.0, ..CLEAN }, 3, 0.0).unwrap();
        // Buying from q lots to q + 1 costs impact (q + 1/2) more at the end, beside its share of half an impact.
        assert!((now.delta_bid[4].unwrap() - (5.0 + 1.5 + 3.0 * 1.5)).abs() < 1e-12);
    }

    #[test]
    fn a_drift_moves_both_quotes_towards_it_and_mirrors() {
        let up = exact_stationary(&GlftParams { drift: 0.3, ..CLEAN }, 10).unwrap();
        let down = exact_stationary(&GlftParams { drift: -0.3, ..CLEAN }, 10).unwrap();
        let flat = exact_stationary(&CLEAN, 10).unwrap();
        assert!(up.delta_bid[10].unwrap() < flat.delta_bid[10].unwrap());
        assert!(up.delta_ask[10].unwrap() > flat.delta_ask[10].unwrap());
        for i in 0..=20 {
            match (up.delta_bid[i], down.delta_ask[20 - i]) {
                (Some(a), Some(b)) => assert!((a - b).abs() < 1e-9),
                (a, b) => assert_eq!(a, b),
            }
        }
    }

    #[test]
    fn strong_risk_aversion_and_wide_caps_stay_exact_at_the_edges() {
        // Components here span some hundred orders of magnitude.
        let market = GlftParams { gamma: 200.0, ..CLEAN };
        let exact = exact_stationary(&market, 60).unwrap();
        let deltas: Vec<f64> = exact.delta_bid.iter().flatten().copied().collect();
        assert!(deltas.windows(2).all(|pair| pair[1] > pair[0]), "a longer maker bids lower, at every inventory");
        let attained = chain_rate(&market, &exact.delta_bid, &exact.delta_ask).unwrap();
        assert!((attained / exact.best_rate - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let named = |p: GlftParams, max_lots, name: &str| {
            let error = exact_stationary(&p, max_lots).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}: ")), "{error}");
        };
        named(CLEAN, 0, "max_lots");
        named(GlftParams { gamma: f64::NAN, ..CLEAN }, 3, "gamma");
        named(GlftParams { gamma: f64::INFINITY, ..CLEAN }, 3, "gamma");
        named(GlftParams { fee: 1e5, ..CLEAN }, 3, "fee");
        named(GlftParams { drift: 1e308, ..CLEAN }, 3, "drift");
        named(GlftParams { drift: -1e308, ..CLEAN }, 3, "drift");
        named(GlftParams { intensity_a: 1e-320, ..CLEAN }, 3, "intensity_a");
        named(GlftParams { gamma: 1e308, size: 1.0, ..CLEAN }, 3, "gamma");
        named(GlftParams { sigma: 1e160, ..CLEAN }, 3, "sigma");
        named(GlftParams { size: 1e308, ..CLEAN }, 3, "size");
        assert!(exact_at_horizon(&CLEAN, 3, -1.0).unwrap_err().to_string().starts_with("horizon_s: "));
        assert!(exact_at_horizon(&CLEAN, 3, 1e300).unwrap_err().to_string().starts_with("horizon_s: "));
    }
}
