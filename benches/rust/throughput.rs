//! Throughput of the core on the common input of the peers (`benches/peers/generate.py`), one row a run.
//!
//! `throughput ROW FOLDER ROUNDS` prints one JSON object a round: what was done how often, and how long it took. Every
//! round ends with the book compared to `truth.json`; a book that differs, or a message that is missing, is a failure
//! and no figure.

#![allow(clippy::print_stdout, clippy::expect_used)] // A program for benchmarks: its output is print, its failure a panic.

mod clock;
mod native;

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clock::cpu_seconds;
use mm_core::book::{BookState, SymbolBook};
use mm_core::decode::{Decoder, Message};
use mm_core::event::{Event, EventKind, Level};
use mm_core::feed::Source;
use mm_core::feed::native::{NativeDecoder, Received};
use mm_core::metrics::{MetricsConfig, MetricsReading};
use mm_core::replay::{Notices, Reader, convert, rebuild};
use mm_core::types::Decimal;
use serde::Deserialize;

/// What the generator says about its own output.
#[derive(Deserialize)]
struct Truth {
    messages: u64,
    level_updates: u64,
    best_bid: f64,
    best_ask: f64,
    bid_levels: usize,
    ask_levels: usize,
    bid_lots: i64,
    ask_lots: i64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [row, folder, rounds] = arguments.as_slice() else {
        panic!("usage: throughput apply|columns|decode|json|csv|table|metrics|json_metrics|bybit|bitget FOLDER ROUNDS");
    };
    let rounds: usize = rounds.parse().expect("a whole number of rounds");
    let folder = PathBuf::from(folder);
    let truth = fs::read(folder.join("truth.json")).expect("truth.json: make the input with benches/peers/generate.py");
    let truth: Truth = serde_json::from_slice(&truth).expect("truth.json as the generator writes it");
    let mut round = match row.as_str() {
        "apply" => apply(&folder),
        "columns" => columns(&folder),
        "decode" => decode(&folder),
        "json" => json(&folder),
        "csv" => csv(&folder, &truth),
        "table" => table(&folder),
        "metrics" => metrics(&folder),
        "json_metrics" => json_metrics(&folder),
        "bybit" => exchange(Source::Bybit, &folder),
        "bitget" => exchange(Source::BitgetV3, &folder),
        other => panic!("no row is called {other}"),
    };
    for _ in 0..rounds {
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let done = round();
        let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        // Messages of one local time are one change in the CSV layout.
        let expected = if row == "csv" { truth.level_updates } else { truth.messages };
        assert_eq!(done.taken, expected, "something was lost");
        if let Some(book) = done.book {
            check(&book, &truth);
        }
        println!(
            r#"{{"row":"{row}","seconds":{seconds},"cpu_seconds":{cpu},"messages":{},"updates":{},"fallbacks":{}}}"#,
            truth.messages, truth.level_updates, done.fallbacks
        );
    }
}

/// One round's result.
struct Done {
    /// Messages; rows of a CSV file.
    taken: u64,
    book: Option<SymbolBook>,
    fallbacks: u64,
}

fn new_book() -> SymbolBook {
    SymbolBook::new("binance-futures".into(), "BTCUSDT".into())
}

fn check(book: &SymbolBook, truth: &Truth) {
    let snapshot = book.snapshot(usize::MAX);
    assert_eq!(snapshot.state, BookState::Live);
    assert_eq!((snapshot.bids[0][0], snapshot.asks[0][0]), (truth.best_bid, truth.best_ask));
    assert_eq!(snapshot.levels, (truth.bid_levels, truth.ask_levels));
    let lots = |side: &[[f64; 2]]| side.iter().map(|level| (level[1] * 1000.0).round() as i64).sum::<i64>();
    assert_eq!((lots(&snapshot.bids), lots(&snapshot.asks)), (truth.bid_lots, truth.ask_lots));
}

/// What a reader looks at after each message.
#[inline]
fn read_touch(book: &SymbolBook) {
    black_box((book.book().bids().best_price(), book.book().asks().best_price()));
}

/// The messages, each as a socket hands it over.
struct Messages {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Messages {
    fn read(folder: &Path) -> Self {
        let text = fs::read(folder.join("book_change.ndjson")).expect("book_change.ndjson");
        let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
        Self { text, ends }
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let message = &self.text[start..*end];
            start = end + 1;
            message
        })
    }
}

fn events(folder: &Path) -> Vec<Event> {
    let mut decoder = Decoder::new();
    let event = |line| match decoder.decode(line) {
        Ok(Message::Event(event)) => event,
        other => panic!("not an event: {other:?}"),
    };
    Messages::read(folder).iter().map(event).collect()
}

/// Decoded events through a book with all its metrics, best prices after each.
fn apply(folder: &Path) -> Box<dyn FnMut() -> Done> {
    let events = events(folder);
    Box::new(move || {
        let mut book = new_book();
        for event in &events {
            book.apply(event);
            read_touch(&book);
        }
        Done { taken: events.len() as u64, book: Some(book), fallbacks: 0 }
    })
}

/// Columns of integers that share their decimals, as the local file format holds them, through the same book.
fn columns(folder: &Path) -> Box<dyn FnMut() -> Done> {
    struct Change {
        is_snapshot: bool,
        bids: u32,
        asks: u32,
        exchange_ts_ns: i64,
        local_ts_ns: i64,
    }
    let (mut changes, mut prices, mut lots) = (Vec::new(), Vec::new(), Vec::new());
    for event in events(folder) {
        let EventKind::BookChange { is_snapshot, bids, asks } = event.kind else { panic!("not a book change") };
        changes.push(Change {
            is_snapshot,
            bids: bids.len() as u32,
            asks: asks.len() as u32,
            exchange_ts_ns: event.exchange_ts_ns,
            local_ts_ns: event.local_ts_ns,
        });
        for level in bids.iter().chain(&asks) {
            prices.push(level.price.rescaled(1).expect("a price of one decimal"));
            lots.push(level.qty.rescaled(3).expect("a quantity of three decimals"));
        }
    }
    Box::new(move || {
        let mut book = new_book();
        let mut at = 0;
        let level = |(price, qty): (&i64, &i64)| Level { price: Decimal::new(*price, 1), qty: Decimal::new(*qty, 3) };
        for change in &changes {
            let (middle, end) = (at + change.bids as usize, at + (change.bids + change.asks) as usize);
            let bids = prices[at..middle].iter().zip(&lots[at..middle]).map(level);
            let asks = prices[middle..end].iter().zip(&lots[middle..end]).map(level);
            book.apply_levels(change.is_snapshot, bids, asks, change.exchange_ts_ns, change.local_ts_ns);
            read_touch(&book);
            at = end;
        }
        Done { taken: changes.len() as u64, book: Some(book), fallbacks: 0 }
    })
}

/// Messages to events alone.
fn decode(folder: &Path) -> Box<dyn FnMut() -> Done> {
    let input = Messages::read(folder);
    Box::new(move || {
        let mut decoder = Decoder::new();
        let mut messages = 0;
        for line in input.iter() {
            if let Ok(Message::Event(event)) = black_box(decoder.decode(line)) {
                decoder.recycle(event);
                messages += 1;
            }
        }
        Done { taken: messages, book: None, fallbacks: decoder.fallbacks() }
    })
}

/// Messages to an applied book, best prices and depth sums after each.
fn json(folder: &Path) -> Box<dyn FnMut() -> Done> {
    let input = Messages::read(folder);
    Box::new(move || {
        let mut decoder = Decoder::new();
        let mut book = new_book();
        let mut messages = 0;
        for line in input.iter() {
            let Ok(Message::Event(event)) = decoder.decode(line) else { continue };
            book.apply(&event);
            decoder.recycle(event);
            read_touch(&book);
            black_box(book.book().depth());
            messages += 1;
        }
        Done { taken: messages, book: Some(book), fallbacks: decoder.fallbacks() }
    })
}

/// Messages as the exchange writes them, each checked to continue the one before it and, of Bitget, against its
/// checksum, to an applied book, best prices after each.
fn exchange(source: Source, folder: &Path) -> Box<dyn FnMut() -> Done> {
    let input = native::messages(source, &events(folder));
    Box::new(move || {
        let mut decoder = NativeDecoder::new(source, "binance-futures", &["BTCUSDT".to_owned()], 200);
        let (mut book, mut decoded, mut messages) = (new_book(), Vec::new(), 0);
        for message in &input {
            let received = decoder.decode(message, 0, &mut decoded).expect("a message of the exchange");
            assert_eq!(received, Received::Data);
            for event in decoded.drain(..) {
                book.apply(&event);
                decoder.recycle(event);
            }
            read_touch(&book);
            messages += 1;
        }
        Done { taken: messages, book: Some(book), fallbacks: decoder.fallbacks() }
    })
}

fn measured_book() -> SymbolBook {
    new_book().with_metrics(MetricsConfig::default()).expect("the defaults are valid")
}

/// Every figure of a reading, added up so that none can be left out.
#[inline]
fn checksum(reading: &MetricsReading) -> f64 {
    let known = |value: Option<f64>| value.unwrap_or(0.0);
    let window = reading.window.map_or(0.0, |w| w.realized + w.bipower + w.two_scales + w.parkinson);
    let depth = reading.depth;
    known(reading.mid)
        + known(reading.spread_bps)
        + known(reading.weighted_mid)
        + known(reading.microprice)
        + known(reading.imbalance)
        + depth.bid_base
        + depth.ask_base
        + depth.bid_quote
        + depth.ask_quote
        + depth.covered_pct
        + known(reading.momentum_1s_bps)
        + known(reading.momentum_10s_bps)
        + known(reading.momentum_60s_bps)
        + reading.ofi_10s
        + reading.ofi_60s
        + reading.trade_flow_10s
        + reading.trade_flow_60s
        + known(reading.trade_imbalance_60s)
        + reading.prints_per_s
        + known(reading.vpin)
        + known(reading.sigma)
        + window
        + known(reading.volatility_1m_bps)
        + reading.intensity.map_or(0.0, |i| i.a + i.k + i.se_k + i.se_log_a)
        + f64::from(reading.alarms)
}

/// Decoded events through a book that keeps every metric, all of them read after each.
fn metrics(folder: &Path) -> Box<dyn FnMut() -> Done> {
    let events = events(folder);
    Box::new(move || {
        let mut book = measured_book();
        let mut sum = 0.0;
        for event in &events {
            book.apply(event);
            sum += book.read_metrics().as_ref().map_or(0.0, checksum);
        }
        black_box(sum);
        Done { taken: events.len() as u64, book: Some(book), fallbacks: 0 }
    })
}

/// Messages to metrics, all of them read after each.
fn json_metrics(folder: &Path) -> Box<dyn FnMut() -> Done> {
    let input = Messages::read(folder);
    Box::new(move || {
        let mut decoder = Decoder::new();
        let mut book = measured_book();
        let (mut messages, mut sum) = (0, 0.0);
        for line in input.iter() {
            let Ok(Message::Event(event)) = decoder.decode(line) else { continue };
            book.apply(&event);
            decoder.recycle(event);
            sum += book.read_metrics().as_ref().map_or(0.0, checksum);
            messages += 1;
        }
        black_box(sum);
        Done { taken: messages, book: Some(book), fallbacks: decoder.fallbacks() }
    })
}

/// A Tardis CSV file to events; the book they lead to is compared once, before the clock runs.
fn csv(folder: &Path, truth: &Truth) -> Box<dyn FnMut() -> Done> {
    let path = folder.join("incremental_book_L2.csv").to_string_lossy().into_owned();
    let mut book = new_book();
    read_csv(&path, |event| _ = book.apply(event));
    check(&book, truth);
    Box::new(move || Done { taken: read_csv(&path, |_event| {}), book: None, fallbacks: 0 })
}

fn read_csv(path: &str, mut take: impl FnMut(&Event)) -> u64 {
    let mut reader = Reader::open(path, &Notices::default()).expect("incremental_book_L2.csv");
    let mut rows = 0;
    while let Some(item) = reader.next_item().expect("a valid file") {
        if let Some(event) = &item.event {
            take(event);
        }
        rows += item.lines;
        reader.recycle(black_box(item));
    }
    rows
}

/// The table that `convert` makes of the messages, from the file to an applied book; read and checked ahead by a thread.
fn table(folder: &Path) -> Box<dyn FnMut() -> Done> {
    let messages = folder.join("book_change.ndjson").to_string_lossy().into_owned();
    let tables = folder.join("tables").to_string_lossy().into_owned();
    let converted = convert(&[messages], &tables, true, &Notices::default(), |_progress| true).expect("valid messages");
    let paths: Vec<String> = converted.tables.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    Box::new(move || {
        let rebuilt = rebuild(&paths, None, &Notices::default(), |_progress| true).expect("a valid table");
        let book = rebuilt.books.get("binance-futures", "BTCUSDT").cloned();
        Done { taken: rebuilt.lines, book, fallbacks: 0 }
    })
}
