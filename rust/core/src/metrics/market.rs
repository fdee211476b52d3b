//! Every metric of one symbol, kept up to date as its book changes and its trades come.
//!
//! Four clocks keep this cheap. What depends on the touch is worked out when the touch changes; flows are added to the
//! second under way; volatility, momentum and the calibrated parameters move when a second is over; alarms look at the
//! market ten times a second and whenever the mid moves. A change deep in the book costs a comparison of the touch.

use std::sync::Arc;

use super::alarms::{AlarmConfig, Alarms, MarketSample};
use super::depth::{DEPTH_BAND_BPS, Depth};
use super::seconds::Seconds;
use super::{lean, mid, spread_bps, weighted_mid};
use crate::book::{BookState, GridTouch, GridUnits, L2Book};
use crate::model::estimators::MarketEstimators;
use crate::model::flow::{Touch, Vpin};
use crate::model::intensity::Intensity;
use crate::model::microprice_table::MicropriceTable;
use crate::model::stream::StreamConfig;
use crate::model::volatility::{EwmaVolatility, VolatilityWindow, WindowVolatility};
use crate::types::{Ns, Side};
use crate::{Error, Result};

const NS_PER_S: i64 = 1_000_000_000;
const SAMPLE_NS: i64 = 100_000_000;

/// Seconds from which a bucket of VPIN is sized when none is given: it then holds a mean minute of them.
const VPIN_SIZING_S: i64 = 300;
const VPIN_MIN_PRINTS: u64 = 50;

/// What is measured and over which memory.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricsConfig {
    /// Priors and memory of A, k and the volatility; the tick size too.
    pub estimators: StreamConfig,
    /// Levels a side that the imbalance counts.
    pub imbalance_levels: usize,
    /// Half-width of the band that the depth counts, bps of mid.
    pub depth_band_bps: i64,
    /// Seconds of the windowed volatilities.
    pub volatility_window_s: usize,
    /// Stride of their slow scale, s.
    pub volatility_slow_s: usize,
    /// Base units of one bucket of VPIN; `None` takes a mean minute's volume of the first five.
    pub vpin_bucket: Option<f64>,
    /// Buckets of VPIN.
    pub vpin_buckets: usize,
    /// Table of the microprice, fitted beforehand; without it the weighted mid stands in.
    pub microprice: Option<Arc<MicropriceTable>>,
    /// What raises an alarm.
    pub alarms: AlarmConfig,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            estimators: StreamConfig::default(),
            imbalance_levels: 5,
            depth_band_bps: DEPTH_BAND_BPS,
            volatility_window_s: 300,
            volatility_slow_s: 5,
            vpin_bucket: None,
            vpin_buckets: 50,
            microprice: None,
            alarms: AlarmConfig::default(),
        }
    }
}

impl MetricsConfig {
    /// Refuses what cannot be measured.
    ///
    /// # Errors
    /// [`Error::Domain`] naming the value that is out of range.
    pub fn check(&self) -> Result<()> {
        if !(1..=50).contains(&self.imbalance_levels) {
            let reason = format!("must be 1 to 50, got {}", self.imbalance_levels);
            return Err(Error::Domain { name: "imbalance_levels", reason });
        }
        if self.volatility_window_s > 3600 {
            let reason = format!("must be at most 3600, got {}", self.volatility_window_s);
            return Err(Error::Domain { name: "volatility_window_s", reason });
        }
        L2Book::new().with_depth_band(self.depth_band_bps)?;
        if !(1..=1000).contains(&self.vpin_buckets) {
            let reason = format!("must be 1 to 1000, got {}", self.vpin_buckets);
            return Err(Error::Domain { name: "vpin_buckets", reason });
        }
        self.estimators.check()?;
        VolatilityWindow::new(self.volatility_window_s, self.volatility_slow_s)?;
        Vpin::new(self.vpin_bucket.unwrap_or(1.0), self.vpin_buckets)?;
        Alarms::new(self.alarms)?;
        Ok(())
    }
}

/// Everything measured at one moment; `None` and NaN-free. Prices are P, quantities base units.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MetricsReading {
    /// Local time of the last event.
    pub local_ts_ns: Ns,
    /// Middle of the touch; `None` while the book is not live, as all up to `momentum_60s_bps` but the flows.
    pub mid: Option<f64>,
    /// Full spread over mid, bps.
    pub spread_bps: Option<f64>,
    /// Mid weighted by the opposite quantities.
    pub weighted_mid: Option<f64>,
    /// Mid plus the table's adjustment; the weighted mid without a table.
    pub microprice: Option<f64>,
    /// Signed imbalance of the best levels, -1..1.
    pub imbalance: Option<f64>,
    /// What rests within 10 % of mid.
    pub depth: Depth,
    /// Change of the mid over 1 s, bps of what it was; the moment compared with is the start of a second, so up to 1 s
    /// more.
    pub momentum_1s_bps: Option<f64>,
    /// The same over 10 s.
    pub momentum_10s_bps: Option<f64>,
    /// The same over 60 s.
    pub momentum_60s_bps: Option<f64>,
    /// Order-flow imbalance of the last 10 s.
    pub ofi_10s: f64,
    /// Order-flow imbalance of the last 60 s.
    pub ofi_60s: f64,
    /// Bought minus sold by takers, last 10 s.
    pub trade_flow_10s: f64,
    /// Bought minus sold by takers, last 60 s.
    pub trade_flow_60s: f64,
    /// The latter over all that was traded with a side, -1..1.
    pub trade_imbalance_60s: Option<f64>,
    /// Prints a second, last 60 s or since the start.
    pub prints_per_s: f64,
    /// One-sided share of volume, 0..1.
    pub vpin: Option<f64>,
    /// Exponentially forgetting volatility of one-second mids, P/sqrt(s).
    pub sigma: Option<f64>,
    /// Volatility over the window by four estimators, P/sqrt(s).
    pub window: Option<WindowVolatility>,
    /// Volatility of the last minute, bps a minute.
    pub volatility_1m_bps: Option<f64>,
    /// A and k with their errors, as of the last whole second; `None` before the first book.
    pub intensity: Option<Intensity>,
    /// Market orders behind them.
    pub orders_seen: u64,
    /// Kinds of alarm that are on, one bit each; see [`super::alarms::AlarmKind`].
    pub alarms: u8,
    /// Episodes of alarm since the start.
    pub episodes: u64,
}

/// What the last look at the touch came to.
#[derive(Debug, Clone, Copy)]
struct Near {
    grid: GridTouch,
    bid: f64,
    ask: f64,
    mid: f64,
}

/// The metrics of one symbol. Events come in the order of their local time; times that go back count as the latest seen.
#[derive(Debug, Clone)]
pub struct MarketMetrics {
    config: MetricsConfig,
    near: Option<Near>,
    /// What the integers of `near` are worth.
    units: Option<GridUnits>,
    tick_size: f64,
    now_ns: Ns,
    started_ns: Ns,
    next_second_ns: Ns,
    next_sample_ns: Ns,
    seconds: Seconds,
    ewma: EwmaVolatility,
    window: VolatilityWindow,
    last_grid_mid: f64,
    /// 1e4 over the mids 1, 10 and 60 s ago.
    bps_per_move: [f64; 3],
    vpin: Option<Vpin>,
    volume: f64,
    prints: u64,
    market: Option<MarketEstimators>,
    /// What the slow clock worked out.
    slow: Slow,
    alarms: Alarms,
    was_live: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slow {
    sigma: Option<f64>,
    window: Option<WindowVolatility>,
    intensity: Option<Intensity>,
    orders_seen: u64,
}

impl MarketMetrics {
    /// Metrics that have seen nothing.
    ///
    /// # Errors
    /// [`Error::Domain`] naming the value that is out of range.
    pub fn new(config: MetricsConfig) -> Result<Self> {
        config.check()?;
        let vpin = config.vpin_bucket.map(|bucket| Vpin::new(bucket, config.vpin_buckets)).transpose()?;
        Ok(Self {
            near: None,
            units: None,
            tick_size: config.estimators.tick_size.unwrap_or(0.0),
            now_ns: Ns::MIN,
            started_ns: 0,
            next_second_ns: Ns::MIN,
            next_sample_ns: Ns::MIN,
            seconds: Seconds::default(),
            ewma: EwmaVolatility::new(config.estimators.sigma_half_life_s)?,
            window: VolatilityWindow::new(config.volatility_window_s, config.volatility_slow_s)?,
            last_grid_mid: f64::NAN,
            bps_per_move: [f64::NAN; 3],
            vpin,
            volume: 0.0,
            prints: 0,
            market: None,
            slow: Slow::default(),
            alarms: Alarms::new(config.alarms)?,
            was_live: false,
            config,
        })
    }

    /// The configuration in force.
    pub fn config(&self) -> &MetricsConfig {
        &self.config
    }

    /// Local time of the last event; the least number before the first.
    pub fn now_ns(&self) -> Ns {
        self.now_ns
    }

    /// The alarms, with their episodes.
    pub fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// The alarms, to take their finished episodes from.
    pub fn alarms_mut(&mut self) -> &mut Alarms {
        &mut self.alarms
    }

    /// Takes the book as a change left it.
    #[inline]
    pub fn on_book(&mut self, local_ts_ns: Ns, book: &L2Book) {
        self.pass_to(local_ts_ns);
        let touch = book.grid_touch().filter(|_| book.state() == BookState::Live);
        match (touch, &self.near) {
            (Some(touch), Some(near)) if near.grid == touch && !self.units_changed(book) => {}
            (Some(touch), _) => self.on_touch(touch, book),
            (None, _) => self.on_lost(&book.reason()),
        }
        if self.now_ns >= self.next_sample_ns {
            self.sample(Some(book));
        }
    }

    fn units_changed(&self, book: &L2Book) -> bool {
        self.units != Some(book.grid_units())
    }

    fn on_touch(&mut self, grid: GridTouch, book: &L2Book) {
        let units = book.grid_units();
        let (bid, ask) = (units.price(grid.bid), units.price(grid.ask));
        let now = Near { grid, bid, ask, mid: mid(bid, ask) };
        let old_units = self.units.replace(units).unwrap_or(units);
        let moved = match self.near.replace(now) {
            Some(before) => {
                let touch = |near: &Near, units: &GridUnits| Touch {
                    bid: near.grid.bid,
                    bid_qty: units.qty(near.grid.bid_lots),
                    ask: near.grid.ask,
                    ask_qty: units.qty(near.grid.ask_lots),
                };
                let (old, new) = (touch(&before, &old_units), touch(&now, &units));
                self.seconds.now().ofi += if old_units == units {
                    new.ofi_since(&old)
                } else {
                    // Steps of two grids do not compare; prices do, being the nearest number to the same decimal.
                    let (bid, ask) = (before.bid, before.ask);
                    let old = Touch { bid, bid_qty: old.bid_qty, ask, ask_qty: old.ask_qty };
                    let (bid, ask) = (now.bid, now.ask);
                    Touch { bid, bid_qty: new.bid_qty, ask, ask_qty: new.ask_qty }.ofi_since(&old)
                };
                before.bid.to_bits() != now.bid.to_bits() || before.ask.to_bits() != now.ask.to_bits()
            }
            None => true,
        };
        if moved {
            self.on_move(now);
        }
    }

    /// The best prices changed, or are known again.
    fn on_move(&mut self, near: Near) {
        self.was_live = true;
        if self.market.is_none() {
            if self.tick_size <= 0.0 {
                self.tick_size = self.units.map_or(1.0, |units| units.price(1));
            }
            // Both were checked; a grid too fine for any estimator leaves the market uncalibrated.
            self.market = self.config.estimators.estimators_at(near.mid, self.tick_size).ok();
        }
        if let Some(market) = &mut self.market {
            market.observe_touch(self.now_ns, Some((near.bid, near.ask)));
        }
        self.alarms.on_mid(self.now_ns, near.mid);
    }

    /// The book cannot be read from now on.
    pub fn on_lost(&mut self, reason: &str) {
        if self.near.take().is_some() {
            self.seconds.forget_mids();
            self.window.reset();
            self.last_grid_mid = f64::NAN;
            self.bps_per_move = [f64::NAN; 3];
            self.slow.window = None;
            if let Some(market) = &mut self.market {
                market.observe_touch(self.now_ns, None);
            }
        }
        if self.was_live {
            self.was_live = false;
            self.alarms.on_fault(self.now_ns, reason);
        }
    }

    /// Takes one print; one without a side counts for the rate alone.
    pub fn on_trade(&mut self, local_ts_ns: Ns, exchange_ts_ns: Ns, price: f64, qty: f64, side: Option<Side>) {
        self.pass_to(local_ts_ns);
        self.prints += 1;
        self.volume += qty;
        let flows = self.seconds.now();
        flows.prints += 1.0;
        let signed = match side {
            Some(Side::Buy) => qty,
            Some(Side::Sell) => -qty,
            None => 0.0,
        };
        flows.buy += signed.max(0.0);
        flows.sell += (-signed).max(0.0);
        if let Some(vpin) = &mut self.vpin {
            // A print that fills every bucket twice says no more than one that fills them once.
            let most = vpin.bucket() * (vpin.buckets() + 2) as f64;
            vpin.observe(signed.clamp(-most, most), |_| ());
        }
        if let Some(market) = &mut self.market {
            market.observe_trade(self.now_ns, exchange_ts_ns, price, qty, side);
        }
        self.alarms.on_volume(qty);
        if self.now_ns >= self.next_sample_ns {
            self.sample(None);
        }
    }

    /// Time passed without news of this symbol.
    pub fn advance(&mut self, local_ts_ns: Ns) {
        self.pass_to(local_ts_ns);
    }

    #[inline]
    fn pass_to(&mut self, local_ts_ns: Ns) {
        self.now_ns = self.now_ns.max(local_ts_ns);
        if self.now_ns >= self.next_second_ns {
            self.pass_second();
        }
    }

    #[cold]
    fn pass_second(&mut self) {
        let second = self.now_ns.div_euclid(NS_PER_S);
        if self.next_second_ns == Ns::MIN {
            self.started_ns = self.now_ns;
        }
        self.next_second_ns = (second + 1).saturating_mul(NS_PER_S);
        let in_force = self.near.map_or(f64::NAN, |near| near.mid);
        let before = self.seconds.second();
        self.seconds.pass_to(second, in_force);
        for (bps, back) in self.bps_per_move.iter_mut().zip([1, 10, 60]) {
            *bps = 1e4 / self.seconds.mid_back(back);
        }
        if self.vpin.is_none() && self.now_ns - self.started_ns >= VPIN_SIZING_S * NS_PER_S {
            let minutes = (self.now_ns - self.started_ns) as f64 / (60.0 * NS_PER_S as f64);
            if self.prints >= VPIN_MIN_PRINTS {
                self.vpin = Vpin::new(self.volume / minutes, self.config.vpin_buckets).ok();
            }
        }
        let Some(near) = self.near else { return };
        // More silence than the window holds is as good as all of it.
        let silent = second.saturating_sub(before).min(self.config.volatility_window_s as i64 + 1);
        if !self.last_grid_mid.is_nan() {
            self.ewma.observe(near.mid - self.last_grid_mid, silent as f64);
        }
        (0..silent).for_each(|_| self.window.push(near.mid));
        self.last_grid_mid = near.mid;
        if let Some(market) = &mut self.market {
            market.observe_touch(self.now_ns, Some((near.bid, near.ask)));
            let reading = market.read();
            self.slow.intensity = Some(reading.intensity);
            self.slow.orders_seen = reading.orders_seen;
        }
        self.slow.sigma = self.ewma.sigma();
        self.slow.window = self.window.estimate(1.0);
    }

    fn sample(&mut self, book: Option<&L2Book>) {
        self.next_sample_ns = (self.now_ns.div_euclid(SAMPLE_NS) + 1).saturating_mul(SAMPLE_NS);
        let (Some(near), Some(book), Some(units)) = (&self.near, book, self.units) else { return };
        let (bid_lots, ask_lots) = book.near_lots(self.config.imbalance_levels);
        let lot = units.qty(1);
        let sample = MarketSample {
            mid: near.mid,
            tick_size: self.tick_size,
            spread: near.ask - near.bid,
            bid_depth: bid_lots * lot,
            ask_depth: ask_lots * lot,
        };
        self.alarms.on_sample(self.now_ns, &sample);
    }

    /// Everything as of the last event; `book` is the one the last change left. O(levels of the imbalance).
    #[inline]
    pub fn read(&self, book: &L2Book) -> MetricsReading {
        let (flows_10, flows_60) = (self.seconds.last_10s(), self.seconds.last_60s());
        let traded = flows_60.buy + flows_60.sell;
        let seconds = ((self.now_ns.saturating_sub(self.started_ns)) as f64 / NS_PER_S as f64).clamp(1.0, 60.0);
        let mut reading = MetricsReading {
            local_ts_ns: self.now_ns.max(0),
            ofi_10s: flows_10.ofi,
            ofi_60s: flows_60.ofi,
            trade_flow_10s: flows_10.buy - flows_10.sell,
            trade_flow_60s: flows_60.buy - flows_60.sell,
            trade_imbalance_60s: (traded > 0.0).then(|| lean(flows_60.buy, flows_60.sell)),
            prints_per_s: flows_60.prints / seconds,
            vpin: self.vpin.as_ref().and_then(Vpin::value),
            sigma: self.slow.sigma,
            window: self.slow.window,
            intensity: self.slow.intensity,
            orders_seen: self.slow.orders_seen,
            alarms: self.alarms.active(self.now_ns),
            episodes: self.alarms.episodes(),
            ..MetricsReading::default()
        };
        let Some(near) = &self.near else { return reading };
        let Near { grid, bid, ask, mid } = *near;
        let (bid_qty, ask_qty) = (grid.bid_lots as f64, grid.ask_lots as f64);
        let weighted = weighted_mid(bid, bid_qty, ask, ask_qty);
        let (bids, asks) = book.near_lots(self.config.imbalance_levels);
        reading.mid = Some(mid);
        reading.spread_bps = Some(spread_bps(bid, ask));
        reading.weighted_mid = Some(weighted);
        reading.microprice = Some(match &self.config.microprice {
            Some(table) => {
                let spread = ((ask - bid) / self.tick_size).round() as i64;
                mid + self.tick_size * table.adjustment_ticks(bid_qty / (bid_qty + ask_qty), spread)
            }
            None => weighted,
        });
        reading.imbalance = Some(lean(bids, asks));
        reading.depth = book.depth();
        let momentum = |bps: f64| Some(mid * bps - 1e4).filter(|moved| !moved.is_nan());
        reading.momentum_1s_bps = momentum(self.bps_per_move[0]);
        reading.momentum_10s_bps = momentum(self.bps_per_move[1]);
        reading.momentum_60s_bps = momentum(self.bps_per_move[2]);
        reading
    }
}
