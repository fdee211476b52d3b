//! Calibration of one symbol from its recorded events: A, k, volatility, and what speaks against believing them.
//!
//! The estimators are those a session quotes with; here they run without a prior and leave a trace: how A, k and sigma
//! moved over time, the reach of every market order, and mids by the second.

use super::chi_square::chi_square_tail;
use super::estimators::Readings;
use super::fit::{IntensityFit, fit_intensity};
use super::horizon::{HorizonVolatility, MidGrid, horizon_volatility};
use super::range::{Bins, HoldingRange, bins, holding_range};
use super::reach::ReachTotals;
use super::stream::{StreamConfig, StreamEstimators};
use crate::Result;
use crate::event::{Event, EventKind};
use crate::types::Ns;

const NS_PER_S: f64 = 1e9;
/// A silence counts as readable for this long.
const MAX_GAP_S: f64 = 10.0;
/// The trace is thinned to half when it gets longer.
const MAX_MARKS: usize = 512;
/// Pieces the data is cut into to see whether A and k stayed the same.
const PIECES: usize = 6;
/// Orders a piece needs.
const PIECE_ORDERS: u64 = 30;

/// The estimators at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mark {
    /// Local time, ns.
    pub local_ts_ns: Ns,
    /// What they read.
    pub readings: Readings,
    /// Orders and time until then.
    pub totals: ReachTotals,
}

/// Whether A and k were the same in every part of the data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steadiness {
    /// Parts compared.
    pub pieces: usize,
    /// Probability of rates this different if A never changed (likelihood ratio, chi-square).
    pub p_rate: f64,
    /// Highest over lowest rate of orders.
    pub rate_ratio: f64,
    /// Probability of excesses this different if k never changed.
    pub p_decay: f64,
    /// Highest over lowest decay.
    pub decay_ratio: f64,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibrated {
    /// The estimators at the end.
    pub readings: Readings,
    /// Equally weighted orders the decayed ones are worth.
    pub effective_orders: f64,
    /// Totals of the whole data.
    pub totals: ReachTotals,
    /// Market orders of each depth below the first bin's edge are left out of these.
    pub bins: Option<Bins>,
    /// The fits over every bin; `None` when no decay fits.
    pub fit: Option<IntensityFit>,
    /// Where the exponential holds.
    pub range: Option<HoldingRange>,
    /// Volatility by horizon; `None` where the data is too short.
    pub volatility: Vec<(usize, Option<HorizonVolatility>)>,
    /// Whether A and k stayed the same; `None` with too few orders.
    pub steadiness: Option<Steadiness>,
    /// The estimators over time.
    pub marks: Vec<Mark>,
    /// Disconnects of the exchange.
    pub disconnects: u64,
    /// First and last local time, ns.
    pub span_ns: (Ns, Ns),
    /// The last mid that could be read, P.
    pub mid: f64,
}

/// Takes the events of one symbol in; see the module.
#[derive(Debug)]
pub struct Calibrator {
    stream: StreamEstimators,
    sigma_half_life_s: f64,
    grid: MidGrid,
    marks: Vec<Mark>,
    mark_every_ns: Ns,
    disconnects: u64,
    span_ns: Option<(Ns, Ns)>,
    mid: Option<f64>,
}

impl Calibrator {
    /// A calibrator of `symbol` on a price grid of `tick_size` (P).
    ///
    /// # Errors
    /// [`crate::Error::Domain`] naming the value that is out of range.
    pub fn new(symbol: &str, tick_size: f64, half_life_s: f64, sigma_half_life_s: f64) -> Result<Self> {
        let config = StreamConfig {
            symbol: Some(symbol.to_owned()),
            tick_size: Some(tick_size),
            prior_orders: 0.0,
            half_life_s,
            sigma_half_life_s,
            ..StreamConfig::default()
        };
        Ok(Self {
            stream: StreamEstimators::new(config)?.keeping_reaches(),
            sigma_half_life_s,
            grid: MidGrid::default(),
            marks: Vec::new(),
            mark_every_ns: NS_PER_S as Ns,
            disconnects: 0,
            span_ns: None,
            mid: None,
        })
    }

    /// Takes events in, in local time order.
    ///
    /// # Errors
    /// [`crate::Error::Domain`] when the price grid cannot be used.
    pub fn update(&mut self, events: &[Event]) -> Result<()> {
        for event in events {
            self.stream.update(std::slice::from_ref(event))?;
            let now = event.local_ts_ns;
            self.span_ns = Some((self.span_ns.map_or(now, |(first, _)| first), now));
            self.disconnects += u64::from(event.kind == EventKind::Disconnect);
            if matches!(event.kind, EventKind::BookChange { .. } | EventKind::Disconnect) {
                let mid = self.stream.touch().map(|(bid, ask)| f64::midpoint(bid, ask));
                self.grid.observe(now, mid, MAX_GAP_S);
                self.mid = mid.or(self.mid);
            }
            let due = self.marks.last().is_none_or(|mark| now >= mark.local_ts_ns + self.mark_every_ns);
            if due {
                self.mark(now);
            }
        }
        Ok(())
    }

    fn mark(&mut self, now: Ns) {
        let Some(mark) = self.mark_at(now) else { return };
        if self.marks.len() == MAX_MARKS {
            let mut keep = false;
            self.marks.retain(|_| {
                keep = !keep;
                keep
            });
            self.mark_every_ns *= 2;
        }
        self.marks.push(mark);
    }

    fn mark_at(&self, now: Ns) -> Option<Mark> {
        let market = self.stream.market()?;
        Some(Mark { local_ts_ns: now, readings: market.read(), totals: market.tally()?.totals() })
    }

    /// What the events so far say; `None` before the first readable book.
    ///
    /// # Errors
    /// [`crate::Error::Domain`] for a horizon of 0.
    pub fn finish(&self, horizons_s: &[usize]) -> Result<Option<Calibrated>> {
        let (Some(market), Some(mid), Some(span_ns)) = (self.stream.market(), self.mid, self.span_ns) else {
            return Ok(None);
        };
        let Some(tally) = market.tally() else { return Ok(None) };
        let bins = bins(tally);
        // Too few bins, or counts that rise with depth, have no fit: that is an answer, not an error.
        let fit = bins.as_ref().and_then(|b| fit_intensity(&b.edges, &b.counts, b.side_seconds).ok());
        let range = bins.as_ref().map(holding_range).transpose()?.flatten();
        let volatility = horizons_s
            .iter()
            .map(|&h| Ok((h, horizon_volatility(&self.grid, h, self.sigma_half_life_s)?)))
            .collect::<Result<_>>()?;
        let mut marks = self.marks.clone();
        marks.extend(self.mark_at(span_ns.1).filter(|mark| marks.last().is_none_or(|last| last != mark)));
        Ok(Some(Calibrated {
            readings: market.read(),
            effective_orders: market.intensity().effective_orders(),
            totals: tally.totals(),
            bins,
            fit,
            range,
            volatility,
            steadiness: steadiness(&marks)?,
            marks,
            disconnects: self.disconnects,
            span_ns,
            mid,
        }))
    }
}

/// Compares parts of equal readable time by likelihood ratios: Poisson counts for A, exponential excesses for k.
fn steadiness(marks: &[Mark]) -> Result<Option<Steadiness>> {
    let Some(last) = marks.last() else { return Ok(None) };
    let (end, orders) = (last.totals.seconds, last.totals.orders);
    let pieces = PIECES.min((orders / PIECE_ORDERS) as usize);
    if pieces < 2 {
        return Ok(None);
    }
    let (mut parts, mut before) = (Vec::with_capacity(pieces), ReachTotals::default());
    for piece in 1..=pieces {
        let wanted = end * piece as f64 / pieces as f64;
        let at = marks.iter().find(|m| m.totals.seconds >= wanted - 1e-6).unwrap_or(last).totals;
        parts.push((at.seconds - before.seconds, (at.orders - before.orders) as f64, at.excess - before.excess));
        before = at;
    }
    parts.retain(|(seconds, _, _)| *seconds > 0.0);
    if parts.len() < 2 || parts.iter().any(|(_, n, excess)| *n < 1.0 || *excess <= 0.0) {
        return Ok(None);
    }
    let sum = |f: &dyn Fn(&(f64, f64, f64)) -> f64| parts.iter().map(f).sum::<f64>();
    let (t, n, y) = (sum(&|p| p.0), sum(&|p| p.1), sum(&|p| p.2));
    let rate = 2.0 * sum(&|p| p.1 * (p.1 / p.0 / (n / t)).ln());
    let decay = 2.0 * sum(&|p| p.1 * (p.1 / p.2 / (n / y)).ln());
    let ratio = |f: &dyn Fn(&(f64, f64, f64)) -> f64| {
        let (low, high) = parts.iter().map(f).fold((f64::INFINITY, 0.0f64), |(l, h), v| (l.min(v), h.max(v)));
        high / low
    };
    let degrees = (parts.len() - 1) as f64;
    Ok(Some(Steadiness {
        pieces: parts.len(),
        p_rate: chi_square_tail(rate.max(0.0), degrees)?,
        rate_ratio: ratio(&|p| p.1 / p.0),
        p_decay: chi_square_tail(decay.max(0.0), degrees)?,
        decay_ratio: ratio(&|p| p.1 / p.2),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Parameters, SyntheticMarket};

    const HORIZONS_S: [usize; 4] = [1, 10, 60, 300];

    fn calibrated(parts: &[Parameters], seconds: i64) -> Calibrated {
        let mut calibrator = Calibrator::new("X", 0.5, 1e9, 120.0).unwrap();
        let mut start = 0;
        for (seed, parameters) in parts.iter().enumerate() {
            let mut market = SyntheticMarket::new("bybit", "X", seed as u64, start, parameters.clone()).unwrap();
            start += seconds * 1_000_000_000;
            calibrator.update(&market.advance(start - 1)).unwrap();
        }
        calibrator.finish(&HORIZONS_S).unwrap().unwrap()
    }

    fn market() -> Parameters {
        Parameters {
            tick_size: crate::types::Decimal::new(5, 1),
            book_interval_ms: 250.0,
            levels: 120,
            latency_median_ms: 0.0,
            latency_p99_ms: 0.0,
            ..Parameters::default()
        }
    }

    #[test]
    fn a_known_market_is_steady_exponential_and_as_volatile_at_every_horizon() {
        let got = calibrated(&[market()], 1800);
        let intensity = got.readings.intensity;
        assert!((intensity.k - 0.2).abs() < 4.0 * intensity.se_k, "{intensity:?}");
        let fit = got.fit.unwrap();
        assert!((fit.mle.k / intensity.k - 1.0).abs() < 0.03 && (fit.mle.a / intensity.a - 1.0).abs() < 0.03);
        let range = got.range.unwrap();
        assert!(range.orders > 0.95 * got.totals.orders as f64, "{range:?}");
        let steady = got.steadiness.unwrap();
        assert!(steady.p_rate > 1e-3 && steady.p_decay > 1e-3 && steady.decay_ratio < 1.4, "{steady:?}");
        for (horizon_s, volatility) in got.volatility {
            let volatility = volatility.unwrap();
            assert!((volatility.realized - 5.0).abs() < 4.0 * volatility.se_realized, "{horizon_s}: {volatility:?}");
        }
        assert!(got.marks.len() <= MAX_MARKS + 1 && got.marks.len() > MAX_MARKS / 2);
    }

    #[test]
    fn a_change_of_regime_shows() {
        let got = calibrated(&[market(), Parameters { intensity_k: 0.1, intensity_a: 4.0, ..market() }], 900);
        let steady = got.steadiness.unwrap();
        assert!(steady.p_rate < 1e-6 && steady.p_decay < 1e-6, "{steady:?}");
        assert!(steady.decay_ratio > 1.7 && steady.rate_ratio > 2.0, "{steady:?}");
    }
}
