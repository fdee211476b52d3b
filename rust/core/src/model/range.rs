//! Where the exponential holds: the depths over which A e^(-k delta) passes a test of fit.
//!
//! Market orders are binned by depth in bins that widen with it. Every run of bins is fitted by maximum likelihood and
//! judged by Pearson's chi-square; among those that pass, the run that holds most orders is the answer. Orders that went
//! through a run are one more cell of it, since they would have filled a quote inside: what has to be exponential is the
//! rate of orders that reach a depth, not of those that end there. With very many
//! orders every real market fails any test, so a run also passes when what is left unexplained is small (the root of
//! chi-square per order at most [`SMALL_MISFIT`]). The p-value is that of the run by itself: it was picked among
//! several, which makes passing easier, never harder.

use super::chi_square::chi_square_tail;
use super::fit::{IntensityFit, fit_intensity};
use super::reach::ReachTally;
use crate::Result;

/// A run fails below this p-value, unless its misfit is small.
pub const REJECT_BELOW: f64 = 0.01;
/// Misfit (root of chi-square per order) that no quoter would notice.
pub const SMALL_MISFIT: f64 = 0.05;
/// Fewer orders than this are no run.
pub const MIN_ORDERS: f64 = 50.0;
const MIN_BINS: usize = 4;
/// k is at least so many of its standard errors.
const MIN_DECAY_ERRORS: f64 = 3.0;
const MIN_EXPECTED: f64 = 5.0;
/// Each bin is wider than the one before by this factor, in whole ticks.
const WIDENING: f64 = 1.2;
/// Depths count from where orders were visible for this share of the time.
const VISIBLE_SHARE: f64 = 0.99;

/// Binned reaches of market orders.
#[derive(Debug, Clone, PartialEq)]
pub struct Bins {
    /// Bounds, P, rising; the last is infinite.
    pub edges: Vec<f64>,
    /// Orders between two bounds.
    pub counts: Vec<f64>,
    /// Side-seconds behind them.
    pub side_seconds: f64,
}

/// A run of bins and the exponential over it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HoldingRange {
    /// First depth, P.
    pub from: f64,
    /// Depth at which it ends, P; infinite when it never does.
    pub to: f64,
    /// Orders that ended in it.
    pub orders: f64,
    /// The fit over it.
    pub fit: IntensityFit,
    /// Pearson's statistic.
    pub chi_square: f64,
    /// Its degrees of freedom.
    pub degrees: f64,
    /// Probability of a worse fit if the exponential is true.
    pub p_value: f64,
    /// Root of chi-square per order.
    pub misfit: f64,
}

/// Bins a tally; `None` while no order was seen beyond the touch.
pub fn bins(tally: &ReachTally) -> Option<Bins> {
    let first = tally.threshold_quantile(VISIBLE_SHARE)?;
    let (seconds, by_depth) = tally.visible_from(first);
    let last = *by_depth.keys().next_back()?;
    let (mut edges, mut width) = (vec![first], 1.0f64);
    let mut edge = first;
    while edge <= last {
        edge += 2 * (width.round() as i64);
        edges.push(edge);
        width *= WIDENING;
    }
    let mut counts: Vec<f64> =
        edges.windows(2).map(|e| by_depth.range(e[0]..e[1]).map(|(_, n)| *n as f64).sum()).collect();
    // Sparse bins at the far end are one tail.
    while counts.len() > 2 && counts[counts.len() - 1] < MIN_EXPECTED {
        let tail = counts.pop().unwrap_or(0.0);
        edges.pop();
        if let Some(before) = counts.last_mut() {
            *before += tail;
        }
    }
    let mut edges: Vec<f64> = edges.into_iter().map(|e| tally.depth(e)).collect();
    if let Some(end) = edges.last_mut() {
        *end = f64::INFINITY;
    }
    Some(Bins { edges, counts, side_seconds: 2.0 * seconds })
}

/// The run of bins with most orders over which the exponential holds; `None` when none does.
///
/// # Errors
/// [`crate::Error::Domain`] when the bins hold no time.
pub fn holding_range(bins: &Bins) -> Result<Option<HoldingRange>> {
    let mut best: Option<HoldingRange> = None;
    let n = bins.counts.len();
    for start in 0..n {
        for end in (start + MIN_BINS..=n).rev() {
            let orders: f64 = bins.counts[start..end].iter().sum();
            if orders < MIN_ORDERS || best.is_some_and(|best| orders <= best.orders) {
                break;
            }
            if let Some(found) = judge(bins, start, end)? {
                best = Some(found);
                break;
            }
        }
    }
    Ok(best)
}

/// The exponential over the bins from `start` to before `end`, if it passes.
fn judge(bins: &Bins, start: usize, end: usize) -> Result<Option<HoldingRange>> {
    let (mut edges, mut counts) = (bins.edges[start..=end].to_vec(), bins.counts[start..end].to_vec());
    if end < bins.counts.len() {
        edges.push(f64::INFINITY);
        counts.push(bins.counts[end..].iter().sum());
    }
    // Counts that rise with depth are no decay: they do not pass.
    let Ok(fit) = fit_intensity(&edges, &counts, bins.side_seconds) else { return Ok(None) };
    let beyond = |depth: f64| fit.mle.a * bins.side_seconds * (-fit.mle.k * depth).exp();
    let (mut chi_square, mut cells, mut merged) = (0.0, 0u32, (0.0, 0.0));
    for (e, count) in edges.windows(2).zip(&counts) {
        merged = (merged.0 + beyond(e[0]) - beyond(e[1]), merged.1 + count);
        if merged.0 >= MIN_EXPECTED {
            chi_square += (merged.1 - merged.0).powi(2) / merged.0;
            cells += 1;
            merged = (0.0, 0.0);
        }
    }
    if merged.0 > 0.0 {
        chi_square += (merged.1 - merged.0).powi(2) / merged.0.max(1.0);
        cells += 1;
    }
    if (cells as usize) < MIN_BINS {
        return Ok(None);
    }
    let degrees = f64::from(cells - 2);
    let p_value = chi_square_tail(chi_square, degrees)?;
    let misfit = (chi_square / counts.iter().sum::<f64>()).sqrt();
    // A decay that may as well be none is a flat piece of something else.
    let decays = fit.mle.k > MIN_DECAY_ERRORS * fit.se_k;
    let passes = decays && (p_value >= REJECT_BELOW || misfit <= SMALL_MISFIT);
    let (from, to) = (bins.edges[start], bins.edges[end]);
    let orders = bins.counts[start..end].iter().sum();
    Ok(passes.then_some(HoldingRange { from, to, orders, fit, chi_square, degrees, p_value, misfit }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::draw::Draw;

    /// An hour of orders whose reach is drawn by `reach`, on ticks of 0.1 with a spread of one.
    fn tally(seed: u64, mut reach: impl FnMut(&mut Draw) -> f64) -> ReachTally {
        let mut draw = Draw::new(seed, 0);
        let mut tally = ReachTally::new(0.1);
        tally.expose(3600.0, 0.15);
        for _ in 0..10_800 {
            let levels = ((reach(&mut draw) - 0.05) / 0.1).floor();
            if levels >= 0.0 {
                tally.order(0.05 + 0.1 * levels, 0.15, levels >= 1.0);
            }
        }
        tally
    }

    #[test]
    fn an_exponential_holds_everywhere_and_gives_its_parameters_back() {
        let mut whole = 0;
        for seed in 0..20 {
            let bins = bins(&tally(seed, |draw| draw.exponential() / 0.2)).unwrap();
            let range = holding_range(&bins).unwrap().unwrap();
            assert!((range.fit.mle.k / 0.2 - 1.0).abs() < 4.0 * range.fit.se_k / 0.2, "{range:?}");
            assert!((range.fit.mle.a / 1.5).ln().abs() < 4.0 * range.fit.se_log_a, "{range:?}");
            whole += i32::from((range.from - 0.15).abs() < 1e-9 && range.to.is_infinite());
        }
        assert!(whole >= 19, "{whole} of 20 over every depth");
    }

    #[test]
    fn of_a_mixture_one_part_is_found_and_not_the_whole() {
        // Nine of ten stop within a few ticks, the others go deep.
        let bins = bins(&tally(3, |draw| {
            let k = if draw.uniform() < 0.9 { 5.0 } else { 0.1 };
            draw.exponential() / k
        }))
        .unwrap();
        let range = holding_range(&bins).unwrap().unwrap();
        let all: f64 = bins.counts.iter().sum();
        assert!(range.orders < 0.98 * all && range.p_value >= REJECT_BELOW, "{range:?}");
        assert!(range.fit.mle.k > 3.0 || range.fit.mle.k < 0.2, "{range:?}");
    }

    #[test]
    fn nothing_holds_where_reaches_do_not_fall_off() {
        let bins = bins(&tally(4, |draw| 10.0 * draw.uniform())).unwrap();
        let range = holding_range(&bins).unwrap();
        assert!(range.is_none_or(|range| range.orders < 0.5 * bins.counts.iter().sum::<f64>()), "{range:?}");
    }

    #[test]
    fn a_tally_without_orders_has_no_bins() {
        assert_eq!(bins(&ReachTally::new(0.1)), None);
    }
}
