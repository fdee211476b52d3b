//! The estimators of one symbol driven by feed events: keeps the book whose best prices they need.

use std::sync::Arc;

use super::domain::positive;
use super::estimators::{EstimatorConfig, MarketEstimators, Readings};
use crate::Result;
use crate::book::{BookState, L2Book};
use crate::event::{Event, EventKind};

/// What to estimate and what to expect of it; prices of the expectation scale with the first mid.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamConfig {
    /// Symbol as the feed writes it; `None` takes the first one seen.
    pub symbol: Option<String>,
    /// Price grid, P; `None` takes the greatest common divisor of the first snapshot's prices.
    pub tick_size: Option<f64>,
    /// A expected before anything is seen, 1/s and side.
    pub prior_intensity_a: f64,
    /// 1/k expected, bps of mid; at least one tick is taken.
    pub prior_depth_bps: f64,
    /// Volatility expected, bps per square root of a minute.
    pub prior_volatility_1m_bps: f64,
    /// Market orders the expectation of A and k is worth.
    pub prior_orders: f64,
    /// Half-life of market orders, s.
    pub half_life_s: f64,
    /// Half-life of volatility, s.
    pub sigma_half_life_s: f64,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            symbol: None,
            tick_size: None,
            prior_intensity_a: 1.5,
            prior_depth_bps: 0.83,
            prior_volatility_1m_bps: 6.5,
            prior_orders: 50.0,
            half_life_s: 1800.0,
            sigma_half_life_s: 120.0,
        }
    }
}

impl StreamConfig {
    /// Refuses values no estimator can start from.
    ///
    /// # Errors
    /// [`crate::Error::Domain`] naming the value that is out of range.
    pub fn check(&self) -> Result<()> {
        positive("prior_depth_bps", self.prior_depth_bps)?;
        positive("prior_volatility_1m_bps", self.prior_volatility_1m_bps)?;
        self.estimators_at(1.0, self.tick_size.unwrap_or(1.0)).map(drop)
    }

    /// Estimators that expect of a market at `mid`, P, what the configuration says in proportion to price.
    ///
    /// # Errors
    /// [`crate::Error::Domain`] naming the value that is out of range.
    pub fn estimators_at(&self, mid: f64, tick_size: f64) -> Result<MarketEstimators> {
        let depth = (self.prior_depth_bps * 1e-4 * mid).max(tick_size);
        let sigma = self.prior_volatility_1m_bps * 1e-4 * mid / 60.0f64.sqrt();
        MarketEstimators::new(EstimatorConfig {
            prior_orders: self.prior_orders,
            half_life_s: self.half_life_s,
            sigma_half_life_s: self.sigma_half_life_s,
            ..EstimatorConfig::new(tick_size, self.prior_intensity_a, 1.0 / depth, sigma)
        })
    }
}

/// Estimators of one symbol, fed with events in local time order; events of other symbols are skipped.
#[derive(Debug)]
pub struct StreamEstimators {
    config: StreamConfig,
    symbol: Option<Arc<str>>,
    exchange: Option<Arc<str>>,
    book: L2Book,
    market: Option<MarketEstimators>,
    keeps_reaches: bool,
}

impl StreamEstimators {
    /// Estimators waiting for their first book.
    ///
    /// # Errors
    /// [`crate::Error::Domain`] naming the configuration value that is out of range.
    pub fn new(config: StreamConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { config, symbol: None, exchange: None, book: L2Book::new(), market: None, keeps_reaches: false })
    }

    /// Takes events in.
    ///
    /// # Errors
    /// [`crate::Error::Domain`] when the price grid of the first book cannot be used.
    pub fn update(&mut self, events: &[Event]) -> Result<()> {
        for event in events {
            match &event.kind {
                EventKind::Disconnect => self.disconnect(event),
                _ if !self.is_ours(event) => {}
                EventKind::BookChange { is_snapshot, bids, asks } => {
                    self.book.apply(*is_snapshot, bids, asks);
                    let best = self.best();
                    if self.market.is_none() {
                        if let Some((bid, ask)) = best {
                            let tick = self.config.tick_size.unwrap_or_else(|| self.inferred_tick());
                            let market = self.config.estimators_at(f64::midpoint(bid, ask), tick)?;
                            self.market = Some(if self.keeps_reaches { market.with_tally() } else { market });
                        }
                    }
                    if let Some(market) = &mut self.market {
                        market.observe_touch(event.local_ts_ns, best);
                    }
                }
                EventKind::Trade { price, qty, side, .. } => {
                    if let Some(market) = &mut self.market {
                        let (price, qty) = (price.to_f64(), qty.to_f64());
                        market.observe_trade(event.local_ts_ns, event.exchange_ts_ns, price, qty, *side);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Keeps the reach of every market order, for fits after the fact.
    #[must_use]
    pub fn keeping_reaches(mut self) -> Self {
        self.keeps_reaches = true;
        self.market = self.market.map(MarketEstimators::with_tally);
        self
    }

    /// The estimators; `None` before the first book.
    pub fn market(&self) -> Option<&MarketEstimators> {
        self.market.as_ref()
    }

    /// Best bid and ask now in force, P; `None` while the book cannot be read.
    pub fn touch(&self) -> Option<(f64, f64)> {
        self.best()
    }

    /// The current reading; `None` before the first book.
    pub fn read(&self) -> Option<Readings> {
        self.market.as_ref().map(MarketEstimators::read)
    }

    fn is_ours(&mut self, event: &Event) -> bool {
        let symbol = self.symbol.get_or_insert_with(|| match &self.config.symbol {
            Some(symbol) => Arc::from(symbol.as_str()),
            None => Arc::clone(&event.symbol),
        });
        if **symbol != *event.symbol {
            return false;
        }
        let exchange = self.exchange.get_or_insert_with(|| Arc::clone(&event.exchange));
        **exchange == *event.exchange
    }

    fn disconnect(&mut self, event: &Event) {
        let ours = self.exchange.as_deref().zip(self.symbol.as_deref());
        if ours.is_some_and(|(exchange, symbol)| event.disconnects(exchange, symbol)) {
            self.book.unsync("disconnected");
            if let Some(market) = &mut self.market {
                market.observe_touch(event.local_ts_ns, None);
            }
        }
    }

    fn best(&self) -> Option<(f64, f64)> {
        if self.book.state() != BookState::Live {
            return None;
        }
        let price = |grid: i64| self.book.price(grid).to_f64();
        Some((price(self.book.bids().best_price()?), price(self.book.asks().best_price()?)))
    }

    /// Greatest common divisor of the book's prices.
    fn inferred_tick(&self) -> f64 {
        let prices = self.book.bids().iter().chain(self.book.asks().iter());
        let divisor = prices.fold(0, |divisor, (price, _)| greatest_common_divisor(divisor, price.abs()));
        self.book.price(divisor.max(1)).to_f64()
    }
}

fn greatest_common_divisor(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Level;
    use crate::market::{Parameters, SyntheticMarket};
    use crate::types::{Decimal, Ns, Side};

    fn level(price: &str) -> Level {
        Level { price: Decimal::parse(price.as_bytes()).unwrap(), qty: Decimal::new(1, 0) }
    }

    fn event(second: Ns, symbol: &str, kind: EventKind) -> Event {
        let ns = second * 1_000_000_000;
        Event { exchange: "bybit".into(), symbol: symbol.into(), exchange_ts_ns: ns, local_ts_ns: ns, kind }
    }

    fn snapshot(second: Ns, symbol: &str, bids: &[&str], asks: &[&str]) -> Event {
        let levels = |prices: &[&str]| prices.iter().map(|p| level(p)).collect();
        event(second, symbol, EventKind::BookChange { is_snapshot: true, bids: levels(bids), asks: levels(asks) })
    }

    #[test]
    fn before_the_first_book_there_is_no_reading_and_after_it_the_prior_scaled_to_the_price() {
        let mut stream = StreamEstimators::new(StreamConfig::default()).unwrap();
        assert_eq!(stream.read(), None);
        stream.update(&[snapshot(0, "BTCUSDT", &["59999.5", "59999"], &["60000", "60001.5"])]).unwrap();
        let reading = stream.read().unwrap();
        assert!((reading.intensity.k * 0.83e-4 * 59_999.75 - 1.0).abs() < 1e-9);
        assert!(!reading.calibrated);
        assert!((stream.inferred_tick() - 0.5).abs() < 1e-12);
    }

    #[test]
    fn other_symbols_and_a_broken_connection_do_not_count() {
        let mut stream = StreamEstimators::new(StreamConfig::default()).unwrap();
        let trade = |second, symbol: &str| {
            let price = Decimal::parse(b"101").unwrap();
            event(second, symbol, EventKind::Trade { id: None, price, qty: price, side: Some(Side::Buy) })
        };
        stream
            .update(&[
                snapshot(0, "A", &["99.9"], &["100"]),
                snapshot(1, "B", &["1"], &["2"]),
                trade(2, "B"),
                trade(3, "A"),
                event(5, "", EventKind::Disconnect),
                trade(6, "A"),
                snapshot(9, "A", &["99.9"], &["100"]),
            ])
            .unwrap();
        let reading = stream.read().unwrap();
        assert_eq!(reading.orders_seen, 1);
        assert!((reading.seconds_seen - 5.0).abs() < 1e-9);
    }

    #[test]
    fn the_truth_of_a_synthetic_market_is_recovered_from_its_events() {
        let mut market = SyntheticMarket::new("bybit", "BTCUSDT", 7, 0, Parameters::default()).unwrap();
        let truth = market.parameters().clone();
        let config = StreamConfig { prior_intensity_a: 5.0, prior_depth_bps: 0.3, ..StreamConfig::default() };
        let mut stream = StreamEstimators::new(config).unwrap();
        for second in (60..=900).step_by(60) {
            stream.update(&market.advance(second * 1_000_000_000)).unwrap();
        }
        let reading = stream.read().unwrap();
        // Four standard errors, and the prior of 50 orders that is 2.8 times off among some 2600.
        assert!((reading.intensity.k / truth.intensity_k - 1.0).abs() < 0.09, "{reading:?}");
        assert!((reading.intensity.a / truth.intensity_a - 1.0).abs() < 0.09, "{reading:?}");
        assert!((reading.sigma / truth.sigma - 1.0).abs() < 0.25, "{reading:?}");
        assert!(reading.calibrated && reading.seconds_seen > 890.0);
    }
}
