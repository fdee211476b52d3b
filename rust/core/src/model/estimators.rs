//! What the closed form and the advisor need to know about one symbol, kept up to date from its events.
//!
//! Rules:
//! * One observation of the intensity is one market order: prints of one side with one exchange time are merged; its
//!   depth is the distance from the mid in force before its first print to the worst price it reached. Orders count
//!   from one tick beyond the touch (see [`crate::model::intensity`]).
//! * Exposure stops while the book has no two sides or is not synchronised; a silence counts for at most
//!   [`EstimatorConfig::max_gap_s`].
//! * Volatility samples the mid once a second: quotes live for seconds, and faster samples measure bounce.
//! * A spike is a move of the mid of more than [`EstimatorConfig::spike_sigmas`] standard deviations of a second
//!   (and more than three ticks) since the last sample, held for [`EstimatorConfig::spike_hold_s`]. It is judged with
//!   the volatility known before the move and only after 30 s of samples.

use std::collections::VecDeque;

use super::drift::DriftEstimator;
use super::intensity::{Intensity, IntensityConfig, IntensityEstimator};
use super::reach::ReachTally;
use super::volatility::EwmaVolatility;
use crate::Result;
use crate::types::{Ns, Side};

const NS_PER_S: f64 = 1e9;
const SAMPLE_NS: Ns = 1_000_000_000;
const IMBALANCE_WINDOW_S: Ns = 60;
const HISTORY_SAMPLES: usize = 64;
const SPIKE_WARM_UP_S: f64 = 30.0;
const SPIKE_MIN_TICKS: f64 = 3.0;
const CALIBRATED_ORDERS: u64 = 50;
const CALIBRATED_SECONDS: f64 = 30.0;
/// Shorter memories know the drift too badly to use it, longer ones know one that is over.
pub const DRIFT_HALF_LIFE_S: f64 = 300.0;

/// Start values and memory of the estimators.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EstimatorConfig {
    /// Price grid, P.
    pub tick_size: f64,
    /// A expected before anything is seen, 1/s and side.
    pub prior_a: f64,
    /// k expected before anything is seen, 1/P.
    pub prior_k: f64,
    /// Market orders the expectation of A and k is worth.
    pub prior_orders: f64,
    /// Volatility expected before anything is seen, P/sqrt(s).
    pub prior_sigma: f64,
    /// Seconds of observation that expectation is worth; forgotten like any other.
    pub prior_sigma_s: f64,
    /// Half-life of market orders, s.
    pub half_life_s: f64,
    /// Half-life of volatility, s.
    pub sigma_half_life_s: f64,
    /// Half-life of drift, s.
    pub drift_half_life_s: f64,
    /// Longest silence that still counts as a readable book, s.
    pub max_gap_s: f64,
    /// Standard deviations that make a spike.
    pub spike_sigmas: f64,
    /// How long a spike stays flagged, s.
    pub spike_hold_s: f64,
}

impl EstimatorConfig {
    /// Defaults for a market of the given grid and expectations.
    pub fn new(tick_size: f64, prior_a: f64, prior_k: f64, prior_sigma: f64) -> Self {
        Self {
            tick_size,
            prior_a,
            prior_k,
            prior_orders: 50.0,
            prior_sigma,
            prior_sigma_s: 15.0,
            half_life_s: 1800.0,
            sigma_half_life_s: 120.0,
            drift_half_life_s: DRIFT_HALF_LIFE_S,
            max_gap_s: 10.0,
            spike_sigmas: 6.0,
            spike_hold_s: 5.0,
        }
    }
}

/// One reading; see [`MarketEstimators::read`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Readings {
    /// A and k with their errors.
    pub intensity: Intensity,
    /// Volatility, P/sqrt(s).
    pub sigma: f64,
    /// Drift of the mid, P/s; 0 until the mid was sampled.
    pub drift: f64,
    /// Standard error of `drift`, P/s; infinite until the mid was sampled.
    pub se_drift: f64,
    /// Market orders behind the intensity since the start.
    pub orders_seen: u64,
    /// Seconds of readable book behind everything since the start.
    pub seconds_seen: f64,
    /// Whether observations outweigh the priors.
    pub calibrated: bool,
    /// Log-return of the mid over 10 s, bps; `None` until so much history is there.
    pub return_10s_bps: Option<f64>,
    /// Log-return of the mid over 60 s, bps; `None` until so much history is there.
    pub return_60s_bps: Option<f64>,
    /// Bought minus sold over their sum, last 60 s, -1..1; `None` without trades.
    pub trade_imbalance_60s: Option<f64>,
    /// Whether a spike was seen within the hold time.
    pub spike: bool,
    /// Spikes since the start, one per episode.
    pub spikes_seen: u64,
    /// Local time of the last event, ns.
    pub timestamp_ns: Ns,
}

#[derive(Debug, Clone, Copy)]
struct Touch {
    mid: f64,
    threshold: f64,
}

#[derive(Debug, Clone, Copy)]
struct PendingOrder {
    exchange_ts_ns: Ns,
    local_ts_ns: Ns,
    touch: Touch,
    worst_price: f64,
}

/// Estimators of one symbol, fed with its best prices and prints in local time order.
#[derive(Debug, Clone)]
pub struct MarketEstimators {
    config: EstimatorConfig,
    intensity: IntensityEstimator,
    volatility: EwmaVolatility,
    drift: DriftEstimator,
    tally: Option<ReachTally>,
    touch: Option<Touch>,
    last_ts_ns: Option<Ns>,
    samples: VecDeque<(Ns, f64)>,
    sampled_s: f64,
    pending: [Option<PendingOrder>; 2],
    volume_by_second: VecDeque<(Ns, f64, f64)>,
    orders_seen: u64,
    seconds_seen: f64,
    spike_until_ns: Ns,
    spikes_seen: u64,
}

impl MarketEstimators {
    /// Estimators that know only their priors.
    ///
    /// # Errors
    /// [`crate::Error::Domain`] naming the configuration value that is out of range.
    pub fn new(config: EstimatorConfig) -> Result<Self> {
        super::domain::positive("tick_size", config.tick_size)?;
        super::domain::positive("prior_sigma", config.prior_sigma)?;
        super::domain::positive("prior_sigma_s", config.prior_sigma_s)?;
        super::domain::positive("max_gap_s", config.max_gap_s)?;
        super::domain::positive("spike_sigmas", config.spike_sigmas)?;
        super::domain::non_negative("spike_hold_s", config.spike_hold_s)?;
        let intensity = IntensityEstimator::new(IntensityConfig {
            tick_size: config.tick_size,
            half_life_s: config.half_life_s,
            prior_a: config.prior_a,
            prior_k: config.prior_k,
            prior_orders: config.prior_orders,
        })?;
        let volatility =
            EwmaVolatility::new(config.sigma_half_life_s)?.with_prior(config.prior_sigma, config.prior_sigma_s);
        Ok(Self {
            drift: DriftEstimator::new(config.drift_half_life_s)?,
            tally: None,
            config,
            intensity,
            volatility,
            touch: None,
            last_ts_ns: None,
            samples: VecDeque::with_capacity(HISTORY_SAMPLES),
            sampled_s: 0.0,
            pending: [None; 2],
            volume_by_second: VecDeque::new(),
            orders_seen: 0,
            seconds_seen: 0.0,
            spike_until_ns: Ns::MIN,
            spikes_seen: 0,
        })
    }

    /// Keeps the reach of every market order from now on, for fits after the fact.
    #[must_use]
    pub fn with_tally(mut self) -> Self {
        self.tally = Some(ReachTally::new(self.config.tick_size));
        self
    }

    /// The reaches kept, if they are.
    pub fn tally(&self) -> Option<&ReachTally> {
        self.tally.as_ref()
    }

    /// The estimator of A and k.
    pub fn intensity(&self) -> &IntensityEstimator {
        &self.intensity
    }

    /// Takes the best prices now in force; `None` when the book cannot be read.
    pub fn observe_touch(&mut self, local_ts_ns: Ns, best: Option<(f64, f64)>) {
        self.advance(local_ts_ns);
        self.touch = best.map(|(bid, ask)| Touch {
            mid: f64::midpoint(bid, ask),
            threshold: (ask - bid).max(0.0) / 2.0 + self.config.tick_size,
        });
        match self.touch {
            Some(touch) if self.samples.is_empty() => self.samples.push_back((local_ts_ns, touch.mid)),
            Some(touch) => self.judge_spike(local_ts_ns, touch.mid),
            None => {
                self.samples.clear();
                self.flush(Side::Buy);
                self.flush(Side::Sell);
            }
        }
    }

    /// Takes one print. A missing `side` is read off the mid; at the mid it stays unknown and counts for nothing.
    pub fn observe_trade(&mut self, local_ts_ns: Ns, exchange_ts_ns: Ns, price: f64, qty: f64, side: Option<Side>) {
        self.advance(local_ts_ns);
        let side = side.or_else(|| {
            let mid = self.touch?.mid;
            if price > mid {
                Some(Side::Buy)
            } else if price < mid {
                Some(Side::Sell)
            } else {
                None
            }
        });
        let Some(side) = side else { return };
        self.add_volume(local_ts_ns, qty, side);
        let slot = side as usize;
        if let Some(order) = self.pending[slot].as_mut().filter(|order| order.exchange_ts_ns == exchange_ts_ns) {
            order.worst_price =
                if side == Side::Buy { order.worst_price.max(price) } else { order.worst_price.min(price) };
            return;
        }
        self.flush(side);
        self.pending[slot] =
            self.touch.map(|touch| PendingOrder { exchange_ts_ns, local_ts_ns, touch, worst_price: price });
    }

    /// The current reading.
    pub fn read(&self) -> Readings {
        let config = &self.config;
        // With a prior there is always an estimate; the fallback only guards against numbers that overflow.
        let intensity = self.intensity.estimate().unwrap_or(Intensity {
            a: config.prior_a,
            k: config.prior_k,
            se_k: f64::INFINITY,
            se_log_a: f64::INFINITY,
        });
        let now = self.last_ts_ns.unwrap_or(0);
        let (buy, sell) = self.volume_by_second.iter().fold((0.0, 0.0), |(b, s), v| (b + v.1, s + v.2));
        Readings {
            intensity,
            sigma: self.volatility.sigma().unwrap_or(config.prior_sigma),
            drift: self.drift.drift(),
            se_drift: self.drift.standard_error(),
            orders_seen: self.orders_seen,
            seconds_seen: self.seconds_seen,
            calibrated: self.orders_seen >= CALIBRATED_ORDERS && self.seconds_seen >= CALIBRATED_SECONDS,
            return_10s_bps: self.return_bps(10 * SAMPLE_NS),
            return_60s_bps: self.return_bps(60 * SAMPLE_NS),
            trade_imbalance_60s: (buy + sell > 0.0).then(|| (buy - sell) / (buy + sell)),
            spike: now < self.spike_until_ns,
            spikes_seen: self.spikes_seen,
            timestamp_ns: now,
        }
    }

    /// Lets time pass up to an event, with the best prices that were in force until now.
    fn advance(&mut self, local_ts_ns: Ns) {
        let Some(last) = self.last_ts_ns else {
            self.last_ts_ns = Some(local_ts_ns);
            return;
        };
        let now = local_ts_ns.max(last);
        self.last_ts_ns = Some(now);
        if let Some(touch) = self.touch {
            let dt_s = ((now - last) as f64 / NS_PER_S).min(self.config.max_gap_s);
            if dt_s > 0.0 {
                self.intensity.expose(dt_s, touch.threshold);
                if let Some(tally) = &mut self.tally {
                    tally.expose(dt_s, touch.threshold);
                }
                self.seconds_seen += dt_s;
            }
            self.sample(now, touch.mid);
        }
        for side in [Side::Buy, Side::Sell] {
            if self.pending[side as usize].is_some_and(|order| now - order.local_ts_ns > SAMPLE_NS) {
                self.flush(side);
            }
        }
        let oldest = now / SAMPLE_NS - IMBALANCE_WINDOW_S;
        while self.volume_by_second.front().is_some_and(|v| v.0 <= oldest) {
            self.volume_by_second.pop_front();
        }
    }

    fn sample(&mut self, now: Ns, mid: f64) {
        let Some(&(last, last_mid)) = self.samples.back() else { return };
        if now - last < SAMPLE_NS {
            return;
        }
        let dt_s = (now - last) as f64 / NS_PER_S;
        if dt_s > self.config.max_gap_s {
            self.samples.clear();
        } else {
            self.volatility.observe(mid - last_mid, dt_s);
            self.drift.observe(mid - last_mid, dt_s);
            self.sampled_s += dt_s;
        }
        if self.samples.len() == HISTORY_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now, mid));
    }

    fn judge_spike(&mut self, now: Ns, mid: f64) {
        let (Some(&(last, last_mid)), Some(sigma)) = (self.samples.back(), self.volatility.sigma()) else { return };
        let dt_s = ((now - last) as f64 / NS_PER_S).max(1.0);
        let limit = (self.config.spike_sigmas * sigma * dt_s.sqrt()).max(SPIKE_MIN_TICKS * self.config.tick_size);
        if self.sampled_s >= SPIKE_WARM_UP_S && (mid - last_mid).abs() > limit {
            self.spikes_seen += u64::from(now >= self.spike_until_ns);
            self.spike_until_ns = now + (self.config.spike_hold_s * NS_PER_S) as Ns;
        }
    }

    fn add_volume(&mut self, local_ts_ns: Ns, qty: f64, side: Side) {
        let second = self.last_ts_ns.unwrap_or(local_ts_ns) / SAMPLE_NS;
        if self.volume_by_second.back().is_none_or(|v| v.0 != second) {
            self.volume_by_second.push_back((second, 0.0, 0.0));
        }
        if let Some(bucket) = self.volume_by_second.back_mut() {
            match side {
                Side::Buy => bucket.1 += qty,
                Side::Sell => bucket.2 += qty,
            }
        }
    }

    fn flush(&mut self, side: Side) {
        let Some(order) = self.pending[side as usize].take() else { return };
        let depth = match side {
            Side::Buy => order.worst_price - order.touch.mid,
            Side::Sell => order.touch.mid - order.worst_price,
        };
        let counted = self.intensity.observe(depth, order.touch.threshold);
        self.orders_seen += u64::from(counted);
        if let Some(tally) = &mut self.tally {
            tally.order(depth, order.touch.threshold, counted);
        }
    }

    fn return_bps(&self, horizon_ns: Ns) -> Option<f64> {
        let (now, mid) = (self.last_ts_ns?, self.touch?.mid);
        let &(_, past) = self.samples.iter().rev().find(|sample| sample.0 <= now - horizon_ns)?;
        (past > 0.0 && mid > 0.0).then(|| 1e4 * (mid / past).ln())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimators() -> MarketEstimators {
        MarketEstimators::new(EstimatorConfig::new(0.1, 1.5, 0.2, 5.0)).unwrap()
    }

    fn at(seconds: f64) -> Ns {
        (seconds * NS_PER_S) as Ns
    }

    #[test]
    fn prints_of_one_sweep_are_one_order_and_touch_orders_are_none() {
        let mut e = estimators();
        e.observe_touch(0, Some((99.9, 100.0)));
        for (i, price) in [100.0, 100.1, 100.4].iter().enumerate() {
            e.observe_trade(at(0.1) + i as Ns, at(0.1), *price, 1.0, Some(Side::Buy));
        }
        e.observe_trade(at(0.2), at(0.2), 100.0, 1.0, Some(Side::Buy));
        e.observe_trade(at(0.3), at(0.3), 99.8, 1.0, Some(Side::Sell));
        e.observe_touch(at(3.0), Some((99.9, 100.0)));
        assert_eq!(
            e.read().orders_seen,
            2,
            "one sweep up, one down; the order that stopped at the touch does not count"
        );
    }

    #[test]
    fn exposure_stops_while_the_book_is_not_readable() {
        let mut e = estimators();
        e.observe_touch(0, Some((99.9, 100.0)));
        e.observe_touch(at(2.0), None);
        e.observe_touch(at(9.0), Some((99.9, 100.0)));
        e.observe_touch(at(10.0), Some((99.9, 100.0)));
        assert!((e.read().seconds_seen - 3.0).abs() < 1e-9);
        e.observe_touch(at(1000.0), Some((99.9, 100.0)));
        assert!((e.read().seconds_seen - 13.0).abs() < 1e-9, "a silence counts for ten seconds at most");
    }

    #[test]
    fn returns_need_their_history_and_are_signed() {
        let mut e = estimators();
        for second in 0..=70 {
            let mid = 100.0 + 0.01 * f64::from(second);
            e.observe_touch(at(f64::from(second)), Some((mid - 0.05, mid + 0.05)));
            let reading = e.read();
            assert_eq!(reading.return_10s_bps.is_some(), second >= 10, "{second}");
            assert_eq!(reading.return_60s_bps.is_some(), second >= 60, "{second}");
        }
        let back = e.read().return_10s_bps.unwrap();
        assert!((9.0..=12.0).contains(&back), "{back}");
        let reading = e.read();
        assert!((reading.drift / 0.01 - 1.0).abs() < 0.02 && reading.se_drift > 0.0, "{reading:?}");
    }

    #[test]
    fn trade_imbalance_forgets_after_a_minute_and_is_absent_without_trades() {
        let mut e = estimators();
        e.observe_touch(0, Some((99.9, 100.0)));
        assert_eq!(e.read().trade_imbalance_60s, None);
        e.observe_trade(at(1.0), at(1.0), 100.0, 3.0, Some(Side::Buy));
        e.observe_trade(at(2.0), at(2.0), 99.9, 1.0, None);
        assert_eq!(e.read().trade_imbalance_60s, Some(0.5));
        e.observe_touch(at(61.5), Some((99.9, 100.0)));
        assert_eq!(e.read().trade_imbalance_60s, Some(-1.0));
        e.observe_touch(at(90.0), Some((99.9, 100.0)));
        assert_eq!(e.read().trade_imbalance_60s, None);
    }

    #[test]
    fn a_jump_is_flagged_at_once_and_for_its_hold_time() {
        let mut e = estimators();
        for second in 0..60 {
            let mid = 100.0 + if second % 2 == 0 { 0.1 } else { 0.0 };
            e.observe_touch(at(f64::from(second)), Some((mid - 0.05, mid + 0.05)));
            assert!(!e.read().spike);
        }
        e.observe_touch(at(59.2), Some((149.95, 150.05)));
        assert!(e.read().spike);
        e.observe_touch(at(64.0), Some((149.95, 150.05)));
        assert!(e.read().spike);
        e.observe_touch(at(64.3), Some((149.95, 150.05)));
        assert_eq!((e.read().spike, e.read().spikes_seen), (false, 1));
    }
}
