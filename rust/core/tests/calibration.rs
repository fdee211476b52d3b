//! Calibration on markets of known truth: the estimates lie within their standard errors, and the errors are right.
//!
//! `CALIBRATION_SEEDS` and `CALIBRATION_BOOK_MS` widen the campaign (`make calibration`): more seeds, a finer clock.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // A test's failure is a panic; the campaign prints what it measured.

use mm_core::market::{Parameters, SyntheticMarket};
use mm_core::model::estimators::Readings;
use mm_core::model::exact::{chain_rate, exact_stationary};
use mm_core::model::glft::{GlftParams, glft_closed_form};
use mm_core::model::stream::{StreamConfig, StreamEstimators};
use mm_core::types::Decimal;

const MINUTES: i64 = 30;
const MINUTE_NS: i64 = 60_000_000_000;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// The reference market on a coarser grid, so that a hundred half-hours pass in seconds.
fn market() -> Parameters {
    Parameters {
        tick_size: Decimal::new(5, 1),
        book_interval_ms: setting("CALIBRATION_BOOK_MS", 500) as f64,
        levels: 120,
        ..Parameters::default()
    }
}

/// What the estimators read after half an hour.
fn calibrated(seed: u64, half_life_s: f64) -> Readings {
    let truth = market();
    let mut source = SyntheticMarket::new("bybit", "BTCUSDT", seed, 0, truth).unwrap();
    let config = StreamConfig { prior_orders: 0.0, half_life_s, ..StreamConfig::default() };
    let mut stream = StreamEstimators::new(config).unwrap();
    for minute in 1..=MINUTES {
        stream.update(&source.advance(minute * MINUTE_NS)).unwrap();
    }
    stream.read().unwrap()
}

/// Standardised errors of k and ln A after half an hour.
fn errors(seed: u64, half_life_s: f64) -> [f64; 2] {
    let (truth, got) = (market(), calibrated(seed, half_life_s).intensity);
    // Orders measure their reach from S, we from the mid on the grid: A is seen that much larger.
    let half = truth.intensity_k * truth.tick_size.to_f64() / 2.0;
    let seen_a = truth.intensity_a * half.sinh() / half;
    [(got.k - truth.intensity_k) / got.se_k, (got.a / seen_a).ln() / got.se_log_a]
}

fn rms(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let n = values.clone().count() as f64;
    (values.map(|z| z * z).sum::<f64>() / n).sqrt()
}

#[test]
fn after_half_an_hour_k_and_a_lie_within_three_standard_errors_and_the_errors_are_right() {
    let seeds = setting("CALIBRATION_SEEDS", 100);
    // Half an hour is one half-life of what a session forgets with; ten minutes stand for a market long past its start.
    for half_life_s in [1800.0, 600.0] {
        let found: Vec<[f64; 2]> = (0..seeds).map(|seed| errors(seed, half_life_s)).collect();
        let within = found.iter().filter(|z| z.iter().all(|z| z.abs() <= 3.0)).count() as u64;
        let (k, a) = (rms(found.iter().map(|z| z[0])), rms(found.iter().map(|z| z[1])));
        println!("half-life {half_life_s} s: {within} of {seeds} within 3, errors over stated: k {k:.3}, ln A {a:.3}");
        assert!(within * 100 >= seeds * 99, "{within} of {seeds} seeds within three standard errors");
        assert!((k - 1.0).abs() <= 0.2 && (a - 1.0).abs() <= 0.2, "errors over stated: k {k}, ln A {a}");
    }
}

#[test]
fn quotes_on_what_was_calibrated_earn_nearly_what_the_truth_would() {
    const MAX_LOTS: i32 = 10;
    // Fee and adverse move are known to the maker; A, k and volatility are what half an hour has told.
    for (fee, impact) in [(0.0, 0.0), (6.0, 2.0), (-3.0, 8.0)] {
        let mut worst: f64 = 1.0;
        for seed in 0..10 {
            let (truth, got) = (market(), calibrated(seed, 1800.0));
            let known = GlftParams { gamma: 1.0, size: 0.01, fee, impact, ..GlftParams::default() };
            let (a, k, sigma) = (truth.intensity_a, truth.intensity_k, truth.sigma);
            let world = GlftParams { intensity_a: a, intensity_k: k, sigma, ..known };
            let (a, k) = (got.intensity.a, got.intensity.k);
            let quotes =
                glft_closed_form(&GlftParams { intensity_a: a, intensity_k: k, sigma: got.sigma, ..known }).unwrap();
            let at = |lots: i32| f64::from(lots) * known.size;
            let bid: Vec<_> = (-MAX_LOTS..=MAX_LOTS).map(|q| (q < MAX_LOTS).then(|| quotes.delta_bid(at(q)))).collect();
            let ask: Vec<_> =
                (-MAX_LOTS..=MAX_LOTS).map(|q| (q > -MAX_LOTS).then(|| quotes.delta_ask(at(q)))).collect();
            let best = exact_stationary(&world, 10).unwrap().best_rate;
            worst = worst.min(chain_rate(&world, &bid, &ask).unwrap() / best);
        }
        println!("fee {fee}, impact {impact}: worst of 10 seeds attains {worst:.4} of the best rate");
        assert!(worst >= 0.97, "fee {fee}, impact {impact}: {worst}");
    }
}
