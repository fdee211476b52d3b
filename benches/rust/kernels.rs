//! Kernels of the core, one per run: the benchmark gate counts their instructions, `make bench` times them.
//!
//! `kernels NAME ROUNDS` runs a kernel that many rounds over a fixed input; `--operations` instead of ROUNDS prints the
//! operations of one round, `--time` operations per second. [`NAMES`] and those of `metric_kernels` are the names.

#![allow(clippy::print_stdout, clippy::expect_used)] // A program for benchmarks: its output is print, its failure a panic.

mod input;
mod metric_kernels;
mod native;

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use mm_core::book::SymbolBook;
use mm_core::decode::{Decoder, Message};
use mm_core::event::{Event, EventKind};
use mm_core::feed::Source;
use mm_core::feed::native::NativeDecoder;
use mm_core::market::{Parameters, SyntheticMarket};
use mm_core::model::estimators::{EstimatorConfig, MarketEstimators};
use mm_core::model::exact::exact_stationary;
use mm_core::model::glft::{GlftParams, glft_closed_form};
use mm_core::model::risk_aversion::RiskAversion;
use mm_core::replay::{Notices, Reader};

const NAMES: [&str; 11] =
    ["decode", "bybit", "bitget", "apply", "metrics", "csv", "snapshot", "copy", "estimate", "quote", "exact"];

const MESSAGES: usize = 2000;
const SNAPSHOTS: usize = 1000;
const DEPTH: usize = 50;
const QUOTES: usize = 1000;
const TIMED_FOR: Duration = Duration::from_millis(500);

/// One kernel with its input ready: `round` does `operations` of them.
struct Kernel {
    operations: usize,
    round: Box<dyn FnMut()>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kernel, what] = arguments.as_slice() else { panic!("usage: kernels NAME ROUNDS|--operations|--time") };
    let mut kernel = match kernel.as_str() {
        "decode" => decode(),
        "bybit" => exchange(Source::Bybit),
        "bitget" => exchange(Source::BitgetV3),
        "apply" => apply(),
        "metrics" => metrics(),
        "csv" => csv(),
        "snapshot" => snapshot(),
        "copy" => copy(),
        "estimate" => estimate(),
        "quote" => quote(),
        "exact" => exact(),
        name if metric_kernels::NAMES.contains(&name) => {
            let (operations, round) = metric_kernels::round(name);
            Kernel { operations, round }
        }
        other => panic!("no kernel is called {other}: {}, {}", NAMES.join(", "), metric_kernels::NAMES.join(", ")),
    };
    // The gate's own test makes every kernel dearer without changing it.
    let repeats: usize = std::env::var("MM_HYBRID_BENCH_REPEAT").map_or(1, |n| n.parse().expect("a whole number"));
    match what.as_str() {
        "--operations" => println!("{}", kernel.operations),
        "--time" => println!("{}", rate(&mut kernel, repeats)),
        rounds => {
            let rounds: usize = rounds.parse().expect("a whole number of rounds");
            (0..repeats * rounds).for_each(|_| (kernel.round)());
        }
    }
}

/// Operations per second over at least [`TIMED_FOR`], after one round to warm up.
fn rate(kernel: &mut Kernel, repeats: usize) -> f64 {
    (kernel.round)();
    let start = Instant::now();
    let mut rounds = 0;
    while start.elapsed() < TIMED_FOR {
        (0..repeats).for_each(|_| (kernel.round)());
        rounds += 1;
    }
    (rounds * kernel.operations) as f64 / start.elapsed().as_secs_f64()
}

/// One operation: one message from its bytes to an event.
fn decode() -> Kernel {
    let messages = input::messages(MESSAGES);
    let mut decoder = Decoder::new();
    let round = move || {
        for message in &messages {
            if let Message::Event(event) = black_box(decoder.decode(black_box(message)).expect("the input is valid")) {
                decoder.recycle(event);
            }
        }
    };
    Kernel { operations: MESSAGES, round: Box::new(round) }
}

/// One operation: one message of an exchange from its bytes to an event, its number and checksum verified.
fn exchange(source: Source) -> Kernel {
    let changes = book_changes();
    let messages = native::messages(source, &changes);
    let operations = messages.len();
    let symbols = [changes[0].symbol.to_string()];
    let mut decoder = NativeDecoder::new(source, "bybit", &symbols, 200);
    let mut events = Vec::new();
    let round = move || {
        for message in &messages {
            black_box(decoder.decode(black_box(message), 0, &mut events)).expect("the input is valid");
            events.drain(..).for_each(|event| decoder.recycle(event));
        }
    };
    Kernel { operations, round: Box::new(round) }
}

/// One operation: one book change applied; every round begins with the snapshot.
fn apply() -> Kernel {
    let changes = book_changes();
    let mut book = empty_book(&changes);
    let operations = changes.len();
    let round = move || {
        for change in &changes {
            black_box(book.apply(black_box(change)));
        }
    };
    Kernel { operations, round: Box::new(round) }
}

/// One operation: one book change applied to a book that keeps every metric, and all of them read.
fn metrics() -> Kernel {
    let changes = book_changes();
    let config = mm_core::metrics::MetricsConfig::default();
    let mut book = empty_book(&changes).with_metrics(config).expect("the defaults are valid");
    let operations = changes.len();
    let round = move || {
        for change in &changes {
            book.apply(black_box(change));
            black_box(book.read_metrics());
        }
    };
    Kernel { operations, round: Box::new(round) }
}

/// One operation: one snapshot of the best levels with all metrics.
fn snapshot() -> Kernel {
    let changes = book_changes();
    let mut book = empty_book(&changes);
    for change in &changes {
        book.apply(change);
    }
    let round = move || {
        for _ in 0..SNAPSHOTS {
            black_box(black_box(&book).snapshot(DEPTH));
        }
    };
    Kernel { operations: SNAPSHOTS, round: Box::new(round) }
}

/// One operation: the best levels of both sides copied into memory of the caller.
fn copy() -> Kernel {
    let changes = book_changes();
    let mut book = empty_book(&changes);
    for change in &changes {
        book.apply(change);
    }
    let mut out = [0.0; 4 * DEPTH];
    let round = move || {
        for _ in 0..SNAPSHOTS {
            black_box(&book).copy_levels(black_box(&mut out));
        }
    };
    Kernel { operations: SNAPSHOTS, round: Box::new(round) }
}

/// One operation: one row of a Tardis book file to its place in an event.
fn csv() -> Kernel {
    let mut text = String::from("exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount\n");
    let mut rows = 0;
    for change in book_changes() {
        let EventKind::BookChange { is_snapshot, bids, asks } = &change.kind else { continue };
        let (exchange, symbol) = (&change.exchange, &change.symbol);
        let (us, local_us) = (change.exchange_ts_ns / 1000, change.local_ts_ns / 1000);
        for (side, levels) in [("bid", bids), ("ask", asks)] {
            for level in levels {
                let (price, qty) = (level.price, level.qty);
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{exchange},{symbol},{us},{local_us},{is_snapshot},{side},{price},{qty}");
                rows += 1;
            }
        }
    }
    let path = std::env::temp_dir().join(format!("mm_hybrid-kernels-{}.csv", std::process::id()));
    std::fs::write(&path, text).expect("a writable temporary folder");
    let file = Temporary(path);
    let round = move || {
        let mut reader = Reader::open(&file.0.to_string_lossy(), &Notices::default()).expect("the file just written");
        while let Some(item) = reader.next_item().expect("the input is valid") {
            reader.recycle(black_box(item));
        }
    };
    Kernel { operations: rows, round: Box::new(round) }
}

/// One operation: one event of a synthetic market, best prices or a print, taken into the estimators.
fn estimate() -> Kernel {
    const SPAN_NS: i64 = 60_000_000_000;
    let mut market = SyntheticMarket::new("bybit", "BTCUSDT", 1, 0, Parameters::default()).expect("the defaults");
    let events = market.advance(SPAN_NS - 1);
    let mut book = empty_book(&events);
    let touches: Vec<_> = events
        .iter()
        .map(|event| {
            book.apply(event);
            let price = |grid: i64| book.book().price(grid).to_f64();
            let (bids, asks) = (book.book().bids(), book.book().asks());
            bids.best_price().zip(asks.best_price()).map(|(bid, ask)| (price(bid), price(ask)))
        })
        .collect();
    let mut estimators = MarketEstimators::new(EstimatorConfig::new(0.1, 1.5, 0.2, 5.0)).expect("the defaults");
    let operations = events.len();
    let mut start_ns = 0;
    let round = move || {
        for (event, touch) in events.iter().zip(&touches) {
            let (local_ns, exchange_ns) = (start_ns + event.local_ts_ns, start_ns + event.exchange_ts_ns);
            match &event.kind {
                EventKind::Trade { price, qty, side, .. } => {
                    estimators.observe_trade(local_ns, exchange_ns, price.to_f64(), qty.to_f64(), *side);
                }
                _ => estimators.observe_touch(local_ns, *touch),
            }
        }
        start_ns += SPAN_NS;
        black_box(estimators.read());
    };
    Kernel { operations, round: Box::new(round) }
}

/// A market that is a little different every time, in the units of `mm_core::model`.
fn markets() -> impl Iterator<Item = GlftParams> {
    (0..QUOTES).map(|i| GlftParams {
        intensity_a: 1.5,
        intensity_k: 0.2,
        sigma: 5.0 + 0.001 * i as f64,
        gamma: 1.0,
        size: 0.01,
        fee: 0.6,
        impact: 1.0,
        age_s: 0.1,
        ..GlftParams::default()
    })
}

/// One operation: parameters of a market in, risk aversion followed, both distances and the skew out.
fn quote() -> Kernel {
    let mut risk = RiskAversion::new(1.5, 1800.0).expect("the defaults");
    let mut now_ns = 0;
    let round = move || {
        for market in markets() {
            now_ns += 100_000_000;
            let gamma = risk.follow(black_box(&market), now_ns, "stream").expect("a market");
            let quotes = glft_closed_form(&GlftParams { gamma, ..market }).expect("a market");
            black_box((quotes.delta_bid(0.01), quotes.delta_ask(0.01), quotes.skew_per_unit));
        }
    };
    Kernel { operations: QUOTES, round: Box::new(round) }
}

/// One operation: the table of exact quotes of 30 orders a side.
fn exact() -> Kernel {
    const TABLES: usize = 50;
    let round = || {
        for market in markets().take(TABLES) {
            black_box(exact_stationary(black_box(&market), 30).expect("a market"));
        }
    };
    Kernel { operations: TABLES, round: Box::new(round) }
}

/// A file that goes with its kernel.
struct Temporary(std::path::PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Left behind in the temporary folder if it cannot be removed.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn book_changes() -> Vec<Event> {
    let mut decoder = Decoder::new();
    input::messages(MESSAGES)
        .iter()
        .filter_map(|message| match decoder.decode(message).expect("the input is valid") {
            Message::Event(event) if matches!(event.kind, EventKind::BookChange { .. }) => Some(event),
            _ => None,
        })
        .collect()
}

fn empty_book(changes: &[Event]) -> SymbolBook {
    SymbolBook::new(changes[0].exchange.clone(), changes[0].symbol.clone())
}
