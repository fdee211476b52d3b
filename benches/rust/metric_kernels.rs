//! One streaming metric at a time, over a fixed series of prices and trades.

use std::hint::black_box;

use mm_core::metrics::alarms::{AlarmConfig, Alarms, MarketSample};
use mm_core::model::anomaly::{CusumSums, HampelWindow, JumpWindow};
use mm_core::model::flow::{Touch, Vpin};
use mm_core::model::intensity::{IntensityConfig, IntensityEstimator};
use mm_core::model::microprice_table::MicropriceTable;
use mm_core::model::volatility::{EwmaVolatility, VolatilityWindow};

const VALUES: usize = 4000;

/// Names of the metrics, as [`round`] knows them.
pub const NAMES: [&str; 10] = [
    "metric_ofi",
    "metric_ewma",
    "metric_windows",
    "metric_hampel",
    "metric_cusum",
    "metric_jump",
    "metric_vpin",
    "metric_microprice",
    "metric_intensity",
    "metric_alarms",
];

/// The operations of a round of one metric, and the round.
#[expect(clippy::too_many_lines, reason = "a table of one entry a metric")]
pub fn round(name: &str) -> (usize, Box<dyn FnMut()>) {
    let walk = walk();
    let valid = "the parameters are valid";
    let run: Box<dyn FnMut()> = match name {
        "metric_ofi" => {
            let touch = |value: &f64| Touch { bid: *value as i64, bid_qty: 3.0, ask: *value as i64 + 2, ask_qty: 2.0 };
            let touches: Vec<_> = walk.iter().map(touch).collect();
            Box::new(move || {
                black_box(touches.windows(2).map(|pair| pair[1].ofi_since(&pair[0])).sum::<f64>());
            })
        }
        "metric_ewma" => {
            let mut volatility = EwmaVolatility::new(120.0).expect(valid);
            Box::new(move || {
                for pair in walk.windows(2) {
                    volatility.observe(pair[1] - pair[0], 1.0);
                    black_box(volatility.sigma());
                }
            })
        }
        "metric_windows" => {
            let mut window = VolatilityWindow::new(300, 5).expect(valid);
            Box::new(move || {
                for value in &walk {
                    window.push(*value);
                    black_box(window.estimate(1.0));
                }
            })
        }
        "metric_hampel" => {
            let mut window = HampelWindow::new(128).expect(valid);
            Box::new(move || {
                for value in &walk {
                    black_box(window.score(*value, 0.5));
                    window.push(*value);
                }
            })
        }
        "metric_cusum" => {
            let mut sums = CusumSums::new(0.5, 8.0).expect(valid);
            Box::new(move || {
                for pair in walk.windows(2) {
                    black_box(sums.observe(pair[1] - pair[0]));
                }
            })
        }
        "metric_jump" => {
            let mut window = JumpWindow::new(270).expect(valid);
            Box::new(move || {
                for pair in walk.windows(2) {
                    black_box(window.statistic(pair[1] - pair[0]));
                    window.push(pair[1] - pair[0]);
                }
            })
        }
        "metric_vpin" => {
            let mut vpin = Vpin::new(25.0, 50).expect(valid);
            Box::new(move || {
                for pair in walk.windows(2) {
                    vpin.observe(pair[1] - pair[0], |bucket| {
                        black_box(bucket);
                    });
                }
            })
        }
        "metric_microprice" => {
            let ticks = (0..40).map(|cell| f64::from(cell) / 40.0 - 0.5).collect();
            let table = MicropriceTable::new(ticks, 10, 4).expect(valid);
            Box::new(move || {
                for value in &walk {
                    let at = *value as i64;
                    black_box(table.adjustment_ticks((at % 97) as f64 / 97.0, 1 + at % 4));
                }
            })
        }
        "metric_intensity" => {
            let config =
                IntensityConfig { tick_size: 1.0, prior_a: 1.0, prior_k: 0.2, prior_orders: 20.0, half_life_s: 1800.0 };
            let mut estimator = IntensityEstimator::new(config).expect(valid);
            Box::new(move || {
                for value in &walk {
                    estimator.expose(0.1, 1.0);
                    black_box(estimator.observe(1.0 + (*value as i64 % 17) as f64, 1.0));
                }
                black_box(estimator.estimate());
            })
        }
        "metric_alarms" => {
            let mut alarms = Alarms::new(AlarmConfig::default()).expect(valid);
            let mut now_ns = 0;
            Box::new(move || {
                for value in &walk {
                    now_ns += 100_000_000;
                    let at = *value as i64;
                    let (bid_depth, ask_depth) = (1.0 + (at % 5) as f64, 1.0 + (at % 7) as f64);
                    alarms.on_volume(1.0);
                    alarms.on_sample(
                        now_ns,
                        &MarketSample { mid: *value, tick_size: 1.0, spread: 2.0, bid_depth, ask_depth },
                    );
                    black_box(alarms.active(now_ns));
                }
            })
        }
        other => panic!("no metric is called {other}: {}", NAMES.join(", ")),
    };
    (VALUES, run)
}

/// Whole prices that move by up to two either way, from a generator of its own.
fn walk() -> Vec<f64> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut price = 30_000i64;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        price += (state >> 33) as i64 % 5 - 2;
        price as f64
    };
    (0..VALUES).map(step).collect()
}
