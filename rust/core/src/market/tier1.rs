//! The market of exact truth: a Brownian reference price and market orders of exponential reach.
//!
//! Market orders of each side arrive as a Poisson process of rate A. An order reaches R ~ Exp(k) from the reference
//! price S and trades every displayed level down to there, so that a quote at distance d is hit at rate A exp(-k d).
//! S is a Brownian motion seen on the grid of book changes: between two of them it stands still, so that the book
//! always shows the S that orders measure their reach from. A swept level is full again for the next order.
//!
//! Source: Avellaneda and Stoikov, High-frequency trading in a limit order book (2008), section 2.5, for the
//! intensity; the ladder, its quantities and the latencies are choices.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::event::{Event, EventKind, Level};
use crate::market::draw::Draw;
use crate::market::ladder::{Changes, Ladder};
use crate::types::{Decimal, Ns, Side};

/// 99 % quantile of the standard normal.
const NORMAL_P99: f64 = 2.326_347_874;
const NS_PER_S: f64 = 1e9;
const NS_PER_MS: f64 = 1e6;
const NS_PER_US: Ns = 1_000;

/// Parameters of the market; the price unit P is quote currency per base.
#[derive(Debug, Clone)]
pub struct Parameters {
    /// Reference price at the start, P.
    pub s0: f64,
    /// Price grid.
    pub tick_size: Decimal,
    /// Quantity grid.
    pub lot_size: Decimal,
    /// Volatility of the reference price, P per sqrt(second).
    pub sigma: f64,
    /// Market orders per second and side.
    pub intensity_a: f64,
    /// Decay of their reach, 1/P.
    pub intensity_k: f64,
    /// Time between two book changes.
    pub book_interval_ms: f64,
    /// Median of the lognormal feed latency; 0 for none.
    pub latency_median_ms: f64,
    /// Its 99 % quantile.
    pub latency_p99_ms: f64,
    /// Displayed levels per side.
    pub levels: usize,
    /// Mean quantity of a level, base units.
    pub level_qty: f64,
}

impl Default for Parameters {
    /// A liquid BTCUSDT perpetual.
    fn default() -> Self {
        Self {
            s0: 60_000.0,
            tick_size: Decimal::new(1, 1),
            lot_size: Decimal::new(1, 3),
            sigma: 5.0,
            intensity_a: 1.5,
            intensity_k: 0.2,
            book_interval_ms: 50.0,
            latency_median_ms: 10.0,
            latency_p99_ms: 100.0,
            levels: 400,
            level_qty: 0.05,
        }
    }
}

impl Parameters {
    fn check(&self) -> Result<()> {
        let refuse = |name, reason: String| Err(Error::Domain { name, reason });
        if self.tick_size.mantissa <= 0 || self.lot_size.mantissa <= 0 {
            return refuse("tick_size, lot_size", "must be positive".into());
        }
        let positive = [
            ("s0", self.s0),
            ("intensity_k", self.intensity_k),
            ("book_interval_ms", self.book_interval_ms),
            ("level_qty", self.level_qty),
        ];
        let not_negative =
            [("sigma", self.sigma), ("intensity_a", self.intensity_a), ("latency_median_ms", self.latency_median_ms)];
        for (name, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                return refuse(name, format!("{value} is not positive"));
            }
        }
        for (name, value) in not_negative {
            if !(value >= 0.0 && value.is_finite()) {
                return refuse(name, format!("{value} is negative or not a number"));
            }
        }
        if self.book_interval_ms < 0.001 {
            return refuse("book_interval_ms", "shorter than a microsecond".into());
        }
        if !(self.latency_p99_ms >= self.latency_median_ms && self.latency_p99_ms.is_finite()) {
            return refuse("latency_p99_ms", "below the median".into());
        }
        if !(1..=10_000).contains(&self.levels) {
            return refuse("levels", format!("{} is not in 1..=10000", self.levels));
        }
        if self.s0 / self.tick_size.to_f64() < 2.0 * self.levels as f64 {
            return refuse("s0", format!("less than twice {} levels of {}", self.levels, self.tick_size));
        }
        Ok(())
    }
}

/// A seeded market of one symbol. Times are whole microseconds, as a Tardis message carries them.
#[derive(Debug)]
pub struct SyntheticMarket {
    exchange: Arc<str>,
    symbol: Arc<str>,
    parameters: Parameters,
    path: Draw,
    orders: [Draw; 2],
    sizes: Draw,
    latencies: Draw,
    reference: f64,
    ladder: Ladder,
    next_book_ns: Ns,
    next_order_ns: [Ns; 2],
    last_local_ns: Ns,
    last_trade_id: u64,
    pending: VecDeque<Event>,
}

const TAKERS: [Side; 2] = [Side::Buy, Side::Sell];

impl SyntheticMarket {
    /// A market that starts with a book snapshot at `start_ns` (exchange time). Equal arguments give equal events.
    ///
    /// # Errors
    /// [`Error::Domain`] naming the parameter that cannot be used.
    pub fn new(exchange: &str, symbol: &str, seed: u64, start_ns: Ns, parameters: Parameters) -> Result<Self> {
        parameters.check()?;
        let mut sizes = Draw::new(seed, 3);
        let mean_lots = parameters.level_qty / parameters.lot_size.to_f64();
        let best_bid = best_bid_ticks(parameters.s0, &parameters);
        let ladder = Ladder::new(best_bid, parameters.levels, mean_lots, &mut sizes);
        let mut market = Self {
            exchange: exchange.into(),
            symbol: symbol.into(),
            reference: parameters.s0,
            path: Draw::new(seed, 0),
            orders: [Draw::new(seed, 1), Draw::new(seed, 2)],
            sizes,
            latencies: Draw::new(seed, 4),
            ladder,
            next_book_ns: start_ns,
            next_order_ns: [start_ns; 2],
            last_local_ns: Ns::MIN,
            last_trade_id: 0,
            pending: VecDeque::new(),
            parameters,
        };
        for taker in 0..TAKERS.len() {
            market.schedule_order(taker);
        }
        let (bids, asks) = market.ladder.levels();
        market.publish_book(true, &bids, &asks);
        Ok(market)
    }

    /// The parameters. What is estimated from the events must not read them.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Local time of the next event.
    pub fn next_local_ts_ns(&mut self) -> Ns {
        loop {
            if let Some(event) = self.pending.front() {
                return event.local_ts_ns;
            }
            self.step();
        }
    }

    /// All further events with local time up to and including `to_ns`, in local-time order. How the time is cut into
    /// calls does not change them.
    pub fn advance(&mut self, to_ns: Ns) -> Vec<Event> {
        let mut events = Vec::new();
        while self.next_local_ts_ns() <= to_ns {
            events.extend(self.pending.pop_front());
        }
        events
    }

    /// Makes the next thing happen, in exchange time.
    fn step(&mut self) {
        let taker = usize::from(self.next_order_ns[1] < self.next_order_ns[0]);
        if self.next_book_ns <= self.next_order_ns[taker] {
            let interval_s = self.parameters.book_interval_ms * NS_PER_MS / NS_PER_S;
            self.reference += self.parameters.sigma * interval_s.sqrt() * self.path.normal();
            let best_bid = best_bid_ticks(self.reference, &self.parameters);
            let (bids, asks) = self.ladder.advance(best_bid, &mut self.sizes);
            self.publish_book(false, &bids, &asks);
        } else {
            self.market_order(taker);
            self.schedule_order(taker);
        }
    }

    fn schedule_order(&mut self, taker: usize) {
        let wait_ns = self.orders[taker].exponential() / self.parameters.intensity_a * NS_PER_S;
        // Float to integer saturates: with A = 0 the next order is never.
        self.next_order_ns[taker] = self.next_order_ns[taker].saturating_add(wait_ns as Ns);
    }

    fn market_order(&mut self, taker: usize) {
        let side = TAKERS[taker];
        let exchange_ts_ns = whole_us(self.next_order_ns[taker]);
        let reach = self.orders[taker].exponential() / self.parameters.intensity_k;
        let tick = self.parameters.tick_size.to_f64();
        let worst_ticks = match side {
            Side::Buy => ((self.reference + reach) / tick).floor(),
            Side::Sell => ((self.reference - reach) / tick).ceil(),
        };
        let prints = self.ladder.sweep(side, worst_ticks as i64, &mut self.sizes);
        if prints.is_empty() {
            return;
        }
        let local_ts_ns = self.arrival_ns(exchange_ts_ns);
        for (ticks, lots) in prints {
            self.last_trade_id += 1;
            let kind = EventKind::Trade {
                id: Some(self.last_trade_id.to_string().into()),
                price: times(self.parameters.tick_size, ticks),
                qty: times(self.parameters.lot_size, lots),
                side: Some(side),
            };
            self.push(exchange_ts_ns, local_ts_ns, kind);
        }
    }

    fn publish_book(&mut self, is_snapshot: bool, bids: &Changes, asks: &Changes) {
        let exchange_ts_ns = whole_us(self.next_book_ns);
        let interval_ns = (self.parameters.book_interval_ms * NS_PER_MS) as Ns;
        self.next_book_ns = self.next_book_ns.saturating_add(interval_ns);
        if bids.is_empty() && asks.is_empty() {
            return;
        }
        let Parameters { tick_size, lot_size, .. } = self.parameters;
        let levels = |changes: &Changes| {
            changes
                .iter()
                .map(|&(ticks, lots)| Level { price: times(tick_size, ticks), qty: times(lot_size, lots) })
                .collect()
        };
        let kind = EventKind::BookChange { is_snapshot, bids: levels(bids), asks: levels(asks) };
        let local_ts_ns = self.arrival_ns(exchange_ts_ns);
        self.push(exchange_ts_ns, local_ts_ns, kind);
    }

    fn push(&mut self, exchange_ts_ns: Ns, local_ts_ns: Ns, kind: EventKind) {
        let (exchange, symbol) = (Arc::clone(&self.exchange), Arc::clone(&self.symbol));
        self.pending.push_back(Event { exchange, symbol, exchange_ts_ns, local_ts_ns, kind });
    }

    /// When a message sent at `exchange_ts_ns` arrives: one connection, so never before the message sent earlier.
    fn arrival_ns(&mut self, exchange_ts_ns: Ns) -> Ns {
        let Parameters { latency_median_ms, latency_p99_ms, .. } = self.parameters;
        let mut latency_ns = 0;
        if latency_median_ms > 0.0 {
            let spread = (latency_p99_ms / latency_median_ms).ln() / NORMAL_P99;
            let latency_ms = latency_median_ms * (spread * self.latencies.normal()).exp();
            latency_ns = whole_us((latency_ms * NS_PER_MS) as Ns);
        }
        self.last_local_ns = self.last_local_ns.max(exchange_ts_ns.saturating_add(latency_ns));
        self.last_local_ns
    }
}

/// The best bid of a book one tick wide around the reference price; never so low that a level would not be positive.
fn best_bid_ticks(reference: f64, parameters: &Parameters) -> i64 {
    ((reference / parameters.tick_size.to_f64()).floor() as i64).max(parameters.levels as i64)
}

fn whole_us(ns: Ns) -> Ns {
    ns - ns.rem_euclid(NS_PER_US)
}

fn times(step: Decimal, count: i64) -> Decimal {
    let (mut mantissa, mut decimals) = (step.mantissa.saturating_mul(count), step.decimals);
    while decimals > 0 && mantissa % 10 == 0 {
        mantissa /= 10;
        decimals -= 1;
    }
    Decimal::new(mantissa, decimals)
}

#[cfg(test)]
#[path = "tier1_tests.rs"]
mod tests;
