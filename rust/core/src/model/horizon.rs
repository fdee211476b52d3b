//! Volatility by horizon, from mids on a grid of whole seconds with gaps.
//!
//! A quoter needs the volatility over the time it holds inventory. Where it falls with the horizon the mid bounces; where
//! it rises the mid trends.

use super::domain::positive;
use super::volatility::{EwmaVolatility, vol_estimators};
use crate::Result;
use crate::types::Ns;

const SECOND_NS: Ns = 1_000_000_000;

/// Mids in force at whole seconds of local time, in runs without a gap.
#[derive(Debug, Clone, Default)]
pub struct MidGrid {
    runs: Vec<Vec<f64>>,
    in_force: Option<(Ns, f64)>,
    next_second: Ns,
}

impl MidGrid {
    /// The mid from `local_ts_ns` on; `None` where the book cannot be read. A mid stands for at most `max_gap_s`.
    pub fn observe(&mut self, local_ts_ns: Ns, mid: Option<f64>, max_gap_s: f64) {
        let now = local_ts_ns.div_euclid(SECOND_NS);
        if let Some((since, before)) = self.in_force {
            let stale = (local_ts_ns - since) as f64 > max_gap_s * SECOND_NS as f64;
            if stale {
                self.end_run();
            } else if let Some(run) = self.runs.last_mut() {
                // The second that begins now still saw the mid from before.
                run.extend((self.next_second..=now).map(|_| before));
            }
        }
        match (mid, self.in_force.is_some()) {
            (Some(_), false) => self.runs.push(Vec::new()),
            (None, true) => self.end_run(),
            _ => {}
        }
        self.next_second = now + 1;
        self.in_force = mid.map(|mid| (local_ts_ns, mid));
    }

    fn end_run(&mut self) {
        self.in_force = None;
        if self.runs.last().is_some_and(|run| run.len() < 2) {
            self.runs.pop();
        }
        self.runs.push(Vec::new());
    }

    /// Mids of each run, one a second.
    pub fn runs(&self) -> impl Iterator<Item = &[f64]> {
        self.runs.iter().map(Vec::as_slice).filter(|run| run.len() > 1)
    }
}

/// Volatility over one horizon by several estimators, P/sqrt(s).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HorizonVolatility {
    /// Seconds a change of the mid is taken over.
    pub horizon_s: usize,
    /// Overlapping changes behind it.
    pub changes: usize,
    /// Root mean square change over the root of the horizon, all starting seconds averaged.
    pub realized: f64,
    /// Its standard error, from the fourth moment of the changes and how much they overlap.
    pub se_realized: f64,
    /// Exponentially forgetting, at the end of the data; from changes that do not overlap.
    pub ewma: f64,
    /// Two-scale: realised over this horizon less what noise of one second adds; `None` for a horizon of a second.
    pub two_scales: Option<f64>,
}

/// Volatility over `horizon_s`; `None` with fewer than three horizons of data in one run.
///
/// # Errors
/// [`crate::Error::Domain`] when a value is not above 0.
pub fn horizon_volatility(grid: &MidGrid, horizon_s: usize, half_life_s: f64) -> Result<Option<HorizonVolatility>> {
    let horizon = positive("horizon_s", horizon_s as f64)?;
    let mut ewma = EwmaVolatility::new(half_life_s.max(2.0 * horizon))?;
    let (mut squares, mut fourths, mut changes) = (0.0, 0.0, 0usize);
    let (mut two_scales, mut weight) = (0.0, 0.0);
    for run in grid.runs().filter(|run| run.len() > 3 * horizon_s) {
        for pair in run.windows(horizon_s + 1) {
            let square = (pair[horizon_s] - pair[0]).powi(2);
            squares += square;
            fourths += square * square;
        }
        changes += run.len() - horizon_s;
        for (from, to) in run.iter().step_by(horizon_s).zip(run.iter().skip(horizon_s).step_by(horizon_s)) {
            ewma.observe(to - from, horizon);
        }
        if horizon_s > 1 {
            let seconds = run.len() as f64;
            two_scales += seconds * vol_estimators(run, 1.0, horizon_s)?.two_scales.powi(2);
            weight += seconds;
        }
    }
    if changes == 0 {
        return Ok(None);
    }
    let n = changes as f64;
    let variance = squares / n;
    // Overlapping changes of a walk: var(mean square)/variance^2 = (2h^2+1)/(3h) x (kurtosis-1) / n; a horizon shorter
    // than the data keeps at least one change of its own.
    let kurtosis = if variance > 0.0 { (fourths / n / (variance * variance)).max(1.0) } else { 1.0 };
    let independent = (n * 3.0 * horizon / (2.0 * horizon * horizon + 1.0)).max(1.0);
    let realized = (variance / horizon).sqrt();
    Ok(Some(HorizonVolatility {
        horizon_s,
        changes,
        realized,
        se_realized: realized * 0.5 * ((kurtosis - 1.0) / independent).sqrt(),
        ewma: ewma.sigma().unwrap_or(realized),
        two_scales: (weight > 0.0).then(|| (two_scales / weight).sqrt()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::draw::Draw;

    fn walk(seed: u64, seconds: i64, noise: f64) -> MidGrid {
        let (mut draw, mut mid, mut grid) = (Draw::new(seed, 0), 1000.0, MidGrid::default());
        for second in 0..seconds {
            mid += 5.0 * draw.normal();
            grid.observe(second * SECOND_NS, Some(mid + noise * draw.normal()), 10.0);
        }
        grid
    }

    #[test]
    fn a_walk_has_one_volatility_at_every_horizon_within_its_errors() {
        for horizon_s in [1, 10, 60] {
            let mut squares = 0.0;
            for seed in 0..60 {
                let got = horizon_volatility(&walk(seed, 7200, 0.0), horizon_s, 600.0).unwrap().unwrap();
                squares += ((got.realized - 5.0) / got.se_realized).powi(2);
            }
            let rms = (squares / 60.0f64).sqrt();
            assert!((rms - 1.0).abs() < 0.3, "{horizon_s}: {rms}");
        }
    }

    #[test]
    fn two_scales_see_through_noise_that_the_realised_one_takes_in() {
        let got = horizon_volatility(&walk(1, 7200, 5.0), 10, 600.0).unwrap().unwrap();
        assert!(got.realized > 5.3 && (got.two_scales.unwrap() - 5.0).abs() < 0.5, "{got:?}");
    }

    #[test]
    fn no_change_is_taken_across_a_gap() {
        let mut grid = MidGrid::default();
        for (second, mid) in [(0, Some(1.0)), (5, None), (9, Some(100.0)), (14, Some(100.0)), (200, Some(7.0))] {
            grid.observe(second * SECOND_NS + 1, mid, 10.0);
        }
        assert_eq!(grid.runs().map(<[f64]>::to_vec).collect::<Vec<_>>(), [vec![1.0; 5], vec![100.0; 5]]);
        let got = horizon_volatility(&grid, 1, 60.0).unwrap().unwrap();
        assert_eq!((got.realized, got.changes), (0.0, 8));
        assert_eq!(horizon_volatility(&grid, 2, 60.0).unwrap(), None);
    }
}
