//! The known truth comes back out of the events alone.

use std::collections::HashMap;

use super::*;
use crate::sim::Grid;
use crate::sim::displayed::Displayed;

const START_NS: Ns = 1_700_000_000_000_000_000;
const SECOND_NS: Ns = 1_000_000_000;

fn market(seed: u64) -> SyntheticMarket {
    SyntheticMarket::new("bybit", "BTCUSDT", seed, START_NS, Parameters::default()).unwrap()
}

/// What an observer of the feed knows after `seconds`.
struct Observed {
    /// Ticks from the touch to the worst print, one entry per market order.
    depths: Vec<i64>,
    /// Mid at the end of each second, P.
    mids: Vec<f64>,
}

fn observe(market: &mut SyntheticMarket, seconds: i64) -> Observed {
    let (tick_size, lot_size) = (market.parameters.tick_size, market.parameters.lot_size);
    let (price, qty) = (Grid::new("price", tick_size).unwrap(), Grid::new("qty", lot_size).unwrap());
    let mut book = Displayed::new(price, qty);
    let mut orders: HashMap<(Side, Ns), i64> = HashMap::new();
    let mut mids = Vec::new();
    for event in market.advance(START_NS + seconds * SECOND_NS) {
        while event.exchange_ts_ns >= START_NS + (mids.len() as i64 + 1) * SECOND_NS {
            let sum = book.best(Side::Buy).unwrap() + book.best(Side::Sell).unwrap();
            mids.push(0.5 * sum as f64 * tick_size.to_f64());
        }
        match &event.kind {
            EventKind::BookChange { is_snapshot, bids, asks } => book.apply(*is_snapshot, bids, asks),
            EventKind::Trade { price: at, side: Some(side), .. } => {
                let ticks = price.exact(*at).unwrap();
                let depth = match side {
                    Side::Buy => ticks - book.best(Side::Sell).unwrap(),
                    Side::Sell => book.best(Side::Buy).unwrap() - ticks,
                };
                let deepest = orders.entry((*side, event.exchange_ts_ns)).or_default();
                *deepest = depth.max(*deepest);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    Observed { depths: orders.into_values().collect(), mids }
}

#[test]
fn intensity_and_volatility_come_back_within_three_standard_errors_on_every_seed() {
    let (seconds, seeds) = (600, 24);
    let (mut z_k, mut z_a, mut z_sigma) = (Vec::new(), Vec::new(), Vec::new());
    for seed in 0..seeds {
        let mut market = market(seed);
        let truth = market.parameters.clone();
        let seen = observe(&mut market, seconds);
        let tick = truth.tick_size.to_f64();
        let (n, y) = (seen.depths.len() as f64, seen.depths.iter().sum::<i64>() as f64 * tick);
        let k = (1.0 + tick * n / y).ln() / tick;
        let a = n / (2.0 * seconds as f64) * (k * tick / 2.0).exp();
        let squares: f64 = seen.mids.windows(2).map(|pair| (pair[1] - pair[0]).powi(2)).sum();
        let samples = (seen.mids.len() - 1) as f64;
        let sigma = (squares / samples).sqrt();
        z_k.push((k / truth.intensity_k - 1.0) * n.sqrt());
        z_a.push((a / truth.intensity_a).ln() * n.sqrt());
        z_sigma.push((sigma / truth.sigma - 1.0) * (2.0 * samples).sqrt());
    }
    for (name, scores) in [("k", z_k), ("A", z_a), ("sigma", z_sigma)] {
        assert!(scores.iter().all(|z| z.abs() < 3.0), "{name}: {scores:?}");
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        assert!(mean.abs() < 3.0 / (scores.len() as f64).sqrt(), "{name} is biased: {mean} standard errors");
    }
}

#[test]
fn the_events_do_not_depend_on_how_time_is_cut() {
    let end = START_NS + 20 * SECOND_NS;
    let whole = market(7).advance(end);
    let mut stepped = market(7);
    let mut pieces = stepped.advance(START_NS - SECOND_NS);
    let mut now = START_NS;
    for step in [1, 333, 1_000_000, 7_000_001, 50_000_000].into_iter().cycle() {
        now = (now + step).min(end);
        pieces.extend(stepped.advance(now));
        if now == end {
            break;
        }
    }
    assert!(whole.len() > 1_000);
    assert_eq!(whole, pieces);
    assert_ne!(whole, market(8).advance(end));
}

#[test]
fn local_time_never_goes_back_and_no_message_arrives_before_it_was_sent() {
    let events = market(1).advance(START_NS + 60 * SECOND_NS);
    assert!(events.is_sorted_by_key(|event| event.local_ts_ns));
    assert!(events.is_sorted_by_key(|event| event.exchange_ts_ns));
    assert!(events.iter().all(|event| event.local_ts_ns >= event.exchange_ts_ns));
    assert!(events.iter().all(|event| event.local_ts_ns % NS_PER_US == 0 && event.exchange_ts_ns % NS_PER_US == 0));
}

#[test]
fn the_book_starts_with_a_snapshot_and_stays_one_tick_wide_and_full() {
    let mut market = market(3);
    let (price, qty) = (Grid::new("p", Decimal::new(1, 1)).unwrap(), Grid::new("q", Decimal::new(1, 3)).unwrap());
    let mut book = Displayed::new(price, qty);
    for (index, event) in market.advance(START_NS + 30 * SECOND_NS).iter().enumerate() {
        if let EventKind::BookChange { is_snapshot, bids, asks } = &event.kind {
            assert_eq!(*is_snapshot, index == 0);
            book.apply(*is_snapshot, bids, asks);
            assert_eq!(book.best(Side::Buy).unwrap() + 1, book.best(Side::Sell).unwrap());
            assert_eq!((book.opposite(Side::Buy).count(), book.opposite(Side::Sell).count()), (400, 400));
        }
    }
}

#[test]
fn prints_of_one_order_walk_the_displayed_levels_with_rising_ids() {
    let events = market(4).advance(START_NS + 30 * SECOND_NS);
    let mut last_id = 0u64;
    let mut last: Option<(Side, Ns, i64)> = None;
    for event in &events {
        let EventKind::Trade { id: Some(id), price, side: Some(side), qty } = &event.kind else { continue };
        let id: u64 = id.parse().unwrap();
        assert_eq!(id, last_id + 1);
        assert!(qty.mantissa > 0);
        let ticks = price.rescaled(1).unwrap();
        let same_order = last.filter(|(taker, at, _)| taker == side && *at == event.exchange_ts_ns);
        if let Some((_, _, before)) = same_order {
            assert_eq!(ticks - before, if *side == Side::Buy { 1 } else { -1 });
        }
        last = Some((*side, event.exchange_ts_ns, ticks));
        last_id = id;
    }
    assert!(last_id > 100);
}

#[test]
fn parameters_that_make_no_market_are_named() {
    let bad = |change: fn(&mut Parameters)| {
        let mut parameters = Parameters::default();
        change(&mut parameters);
        SyntheticMarket::new("bybit", "X", 0, 0, parameters).unwrap_err().to_string()
    };
    assert!(bad(|p| p.s0 = f64::NAN).starts_with("s0"));
    assert!(bad(|p| p.s0 = 10.0).starts_with("s0"));
    assert!(bad(|p| p.intensity_k = 0.0).starts_with("intensity_k"));
    assert!(bad(|p| p.sigma = -1.0).starts_with("sigma"));
    assert!(bad(|p| p.levels = 0).starts_with("levels"));
    assert!(bad(|p| p.latency_p99_ms = 1.0).starts_with("latency_p99_ms"));
}

#[test]
fn a_market_without_orders_only_moves_its_book() {
    let parameters = Parameters { intensity_a: 0.0, latency_median_ms: 0.0, ..Parameters::default() };
    let mut quiet = SyntheticMarket::new("bybit", "X", 0, START_NS, parameters).unwrap();
    let events = quiet.advance(START_NS + SECOND_NS);
    assert_eq!(events.len(), 21);
    assert!(events.iter().all(|event| matches!(event.kind, EventKind::BookChange { .. })));
    assert!(events.iter().all(|event| event.local_ts_ns == event.exchange_ts_ns));
}
