//! Every metric against a slow computation from the whole history, which is plainly right.

use std::collections::BTreeMap;
use std::sync::Arc;

use mm_core::book::{BookState, SymbolBook};
use mm_core::event::{Event, EventKind, Level};
use mm_core::metrics::{MetricsConfig, MetricsReading};
use mm_core::model::flow::{ofi, vpin};
use mm_core::model::volatility::vol_estimators;
use mm_core::types::{Decimal, Side};
use proptest::prelude::*;

const S: i64 = 1_000_000_000;
const LEVELS: usize = 3;
const WINDOW_S: usize = 12;
const SLOW_S: usize = 3;
const BUCKET: f64 = 3.0;
const BUCKETS: usize = 4;
const HALF_LIFE_S: f64 = 20.0;

#[derive(Debug, Clone)]
enum Step {
    Book { is_snapshot: bool, bids: Vec<Level>, asks: Vec<Level> },
    Trade { price: i64, qty: i64, side: Option<Side> },
    Disconnect,
}

fn level(prices: std::ops::Range<i64>) -> impl Strategy<Value = Level> {
    // One price in ten is finer than the rest, so that the grid is refined on the way.
    (prices, 0i64..6, prop::bool::weighted(0.1)).prop_map(|(price, qty, fine)| Level {
        price: if fine { Decimal::new(price * 10 + 5, 1) } else { Decimal::new(price, 0) },
        qty: if fine { Decimal::new(qty * 10 + qty.min(1), 1) } else { Decimal::new(qty, 0) },
    })
}

fn step() -> impl Strategy<Value = Step> {
    let side = |prices| prop::collection::vec(level(prices), 0..6);
    let book = (prop::bool::weighted(0.1), side(90..100), side(101..111))
        .prop_map(|(is_snapshot, bids, asks)| Step::Book { is_snapshot, bids, asks });
    let taker = prop_oneof![Just(None), Just(Some(Side::Buy)), Just(Some(Side::Sell))];
    let trade = (95i64..106, 1i64..5, taker).prop_map(|(price, qty, side)| Step::Trade { price, qty, side });
    prop_oneof![12 => book, 6 => trade, 1 => Just(Step::Disconnect)]
}

/// Milliseconds to the next event: mostly short, at times longer than any window.
fn wait() -> impl Strategy<Value = i64> {
    prop_oneof![10 => 0i64..400, 4 => 400i64..3000, 1 => 3000i64..70_000]
}

/// All that happened, in full.
#[derive(Default)]
struct History {
    bids: BTreeMap<i64, f64>,
    asks: BTreeMap<i64, f64>,
    synced: bool,
    /// `(second, order-flow imbalance)`.
    flow: Vec<(i64, f64)>,
    touch: Option<[f64; 4]>,
    /// `(second, signed, total)`.
    prints: Vec<(i64, f64)>,
    signed: Vec<f64>,
    /// Mid at each second's begin since the book is live, and the same over all with NaN where it was not.
    grid: Vec<(i64, f64)>,
    /// Decayed sums of squares and of seconds, from the list of `(change, seconds, second)`.
    changes: Vec<(f64, f64)>,
    second: Option<i64>,
    start_ns: i64,
}

const TENTH: u8 = 1;

impl History {
    fn live(&self) -> bool {
        self.synced && !self.bids.is_empty() && !self.asks.is_empty()
    }

    fn top(&self) -> Option<[f64; 4]> {
        let (bid, bid_qty) = self.bids.last_key_value()?;
        let (ask, ask_qty) = self.asks.first_key_value()?;
        self.synced.then_some([*bid as f64 / 10.0, *bid_qty, *ask as f64 / 10.0, *ask_qty])
    }

    fn mid(&self) -> Option<f64> {
        self.top().map(|[bid, _, ask, _]| f64::midpoint(bid, ask))
    }

    fn pass_to(&mut self, now_ns: i64) {
        let second = now_ns.div_euclid(S);
        let Some(before) = self.second.replace(second) else {
            self.start_ns = now_ns;
            return;
        };
        let Some(mid) = self.mid().filter(|_| second > before) else { return };
        if let Some((_, last)) = self.grid.last() {
            let silent = (second - before).min(WINDOW_S as i64 + 1) as f64;
            self.changes.push((mid - last, silent));
        }
        for passed in before + 1..=second {
            self.grid.push((passed, mid));
        }
    }

    fn lose(&mut self) {
        self.bids.clear();
        self.asks.clear();
        self.synced = false;
    }

    /// The book changed: the change of the touch is a flow, and a book that is not live ends every series of mids.
    fn settle(&mut self) {
        let top = self.top();
        if let (Some(old), Some(new), Some(second)) = (self.touch, top, self.second) {
            self.flow.extend(ofi(&[old, new]).into_iter().flatten().map(|flow| (second, flow)));
        }
        self.touch = top;
        if top.is_none() {
            self.grid.clear();
        }
    }

    fn sum(list: &[(i64, f64)], from: i64, part: impl Fn(f64) -> f64) -> f64 {
        list.iter().filter(|(second, _)| *second > from).map(|(_, value)| part(*value)).sum()
    }

    fn check(&self, now_ns: i64, got: &MetricsReading) -> Result<(), TestCaseError> {
        let near = |name: &str, got: Option<f64>, want: Option<f64>| {
            let close = match (got, want) {
                (Some(got), Some(want)) => (got - want).abs() <= 1e-7 * (1.0 + want.abs()),
                (got, want) => got.is_none() && want.is_none(),
            };
            prop_assert!(close, "{name}: got {got:?}, want {want:?}");
            Ok(())
        };
        let top = self.top();
        let second = self.second.unwrap_or(0);
        near("mid", got.mid, self.mid())?;
        near("spread", got.spread_bps, top.map(|[b, _, a, _]| 1e4 * (a - b) / f64::midpoint(a, b)))?;
        let weighted = top.map(|[b, qb, a, qa]| (qb * a + qa * b) / (qb + qa));
        near("weighted mid", got.weighted_mid, weighted)?;
        near("microprice", got.microprice, weighted)?;
        let bids: f64 = self.bids.values().rev().take(LEVELS).sum();
        let asks: f64 = self.asks.values().take(LEVELS).sum();
        near("imbalance", got.imbalance, top.map(|_| (bids - asks) / (bids + asks)))?;
        let mid = self.mid().unwrap_or(f64::NAN);
        let within = |side: &BTreeMap<i64, f64>| -> f64 {
            side.iter().filter(|(price, _)| (**price as f64 / 10.0 - mid).abs() <= 0.1 * mid).map(|(_, qty)| qty).sum()
        };
        near("bid depth", Some(got.depth.bid_base), Some(within(&self.bids)).filter(|_| self.live()).or(Some(0.0)))?;
        near("ask depth", Some(got.depth.ask_base), Some(within(&self.asks)).filter(|_| self.live()).or(Some(0.0)))?;
        near("ofi 10", Some(got.ofi_10s), Some(Self::sum(&self.flow, second - 10, |e| e)))?;
        near("ofi 60", Some(got.ofi_60s), Some(Self::sum(&self.flow, second - 60, |e| e)))?;
        near("flow 10", Some(got.trade_flow_10s), Some(Self::sum(&self.prints, second - 10, |q| q)))?;
        let net = Self::sum(&self.prints, second - 60, |q| q);
        let gross = Self::sum(&self.prints, second - 60, f64::abs);
        near("flow 60", Some(got.trade_flow_60s), Some(net))?;
        near("trade imbalance", got.trade_imbalance_60s, (gross > 0.0).then(|| net / gross))?;
        let seconds = ((now_ns - self.start_ns) as f64 / S as f64).clamp(1.0, 60.0);
        near("prints", Some(got.prints_per_s), Some(Self::sum(&self.prints, second - 60, |_| 1.0) / seconds))?;
        near("vpin", got.vpin, vpin(&self.signed, BUCKET, BUCKETS).ok().and_then(|values| values.last().copied()))?;
        let back = |seconds: i64| {
            let (_, then) = self.grid.iter().find(|(at, _)| *at == second - seconds)?;
            Some(1e4 * (self.mid()? / then - 1.0))
        };
        near("momentum 1", got.momentum_1s_bps, back(1))?;
        near("momentum 10", got.momentum_10s_bps, back(10))?;
        near("momentum 60", got.momentum_60s_bps, back(60))?;
        let (mut squares, mut over) = (0.0, 0.0);
        for (change, seconds) in &self.changes {
            let keep = (-seconds / HALF_LIFE_S).exp2();
            (squares, over) = (keep * squares + change * change, keep * over + seconds);
        }
        near("sigma", got.sigma, (over > 0.0).then(|| (squares / over).sqrt()))?;
        let mids: Vec<f64> = self.grid.iter().map(|(_, mid)| *mid).collect();
        let window = &mids[mids.len().saturating_sub(WINDOW_S + 1)..];
        let want = vol_estimators(window, 1.0, SLOW_S).ok();
        near("realized", got.window.map(|w| w.realized), want.map(|w| w.realized))?;
        near("parkinson", got.window.map(|w| w.parkinson), want.map(|w| w.parkinson))?;
        // Roots of differences: what rounding leaves of 0 is a root of it.
        let square = |v: f64| v * v;
        near("bipower", got.window.map(|w| square(w.bipower)), want.map(|w| square(w.bipower)))?;
        near("two scales", got.window.map(|w| square(w.two_scales)), want.map(|w| square(w.two_scales)))
    }
}

fn config() -> MetricsConfig {
    let mut config = MetricsConfig {
        imbalance_levels: LEVELS,
        volatility_window_s: WINDOW_S,
        volatility_slow_s: SLOW_S,
        vpin_bucket: Some(BUCKET),
        vpin_buckets: BUCKETS,
        ..MetricsConfig::default()
    };
    config.estimators.sigma_half_life_s = HALF_LIFE_S;
    config
}

#[expect(clippy::expect_used, reason = "a panic is the report")]
fn set(side: &mut BTreeMap<i64, f64>, levels: &[Level]) {
    for level in levels {
        let price = level.price.rescaled(TENTH).expect("fits");
        if level.qty.mantissa == 0 {
            side.remove(&price);
        } else {
            side.insert(price, level.qty.to_f64());
        }
    }
}

proptest! {
    #[test]
    fn the_metrics_equal_the_history_after_every_event(steps in prop::collection::vec((step(), wait()), 1..120)) {
        let mut book = SymbolBook::new(Arc::from("x"), Arc::from("S")).with_metrics(config()).expect("valid");
        let mut history = History::default();
        let mut now_ns = 1_700_000_000 * S;
        for (step, wait_ms) in steps {
            now_ns += wait_ms * 1_000_000;
            let kind = match &step {
                Step::Book { is_snapshot, bids, asks } => {
                    EventKind::BookChange { is_snapshot: *is_snapshot, bids: bids.clone(), asks: asks.clone() }
                }
                Step::Trade { price, qty, side } => EventKind::Trade {
                    id: None,
                    price: Decimal::new(*price, 0),
                    qty: Decimal::new(*qty, 0),
                    side: *side,
                },
                Step::Disconnect => EventKind::Disconnect,
            };
            let (exchange, symbol) = (Arc::from("x"), Arc::from("S"));
            book.apply(&Event { exchange, symbol, exchange_ts_ns: now_ns, local_ts_ns: now_ns, kind });
            match step {
                Step::Book { is_snapshot, bids, asks } => {
                    history.pass_to(now_ns);
                    if is_snapshot {
                        history.bids.clear();
                        history.asks.clear();
                        history.synced = true;
                    }
                    if history.synced {
                        set(&mut history.bids, &bids);
                        set(&mut history.asks, &asks);
                    }
                    history.settle();
                }
                Step::Trade { qty, side, .. } => {
                    history.pass_to(now_ns);
                    let signed = match side {
                        Some(Side::Buy) => qty as f64,
                        Some(Side::Sell) => -qty as f64,
                        None => 0.0,
                    };
                    history.prints.push((history.second.expect("passed"), signed));
                    history.signed.push(signed);
                }
                Step::Disconnect => {
                    history.lose();
                    history.settle();
                }
            }
            prop_assert_eq!(book.state() == BookState::Live, history.live());
            // A disconnect has no time of its own: the clock stands.
            let clock_ns = book.metrics().expect("kept").now_ns();
            history.check(clock_ns, &book.read_metrics().expect("kept"))?;
        }
    }
}
