//! Cost of one level update against the depth of the book, the number of symbols, and the messages seen so far.
//!
//! `curves depth|symbols|messages` prints a table; `messages` takes the greatest number as a further argument (default
//! 10^7). Times are of this thread's processor, the least of several runs: noise only adds.

#![allow(clippy::print_stdout, clippy::expect_used)] // A program for benchmarks: its output is print, its failure a panic.

mod clock;

use std::sync::Arc;

use clock::cpu_seconds;
use mm_core::book::{BookMap, SymbolBook};
use mm_core::event::{Event, EventKind, Level};
use mm_core::types::Decimal;

const CHANGES: usize = 20_000;
const LEVELS_PER_CHANGE: u64 = 5;
const RUNS: usize = 7;
const REPEATS: usize = 50;
const BEST_BID_TICKS: i64 = 300_000;

/// `SplitMix64`. Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// Levels from the touch: mostly near it, one in 25 anywhere in the book.
    fn distance(&mut self, levels: u64) -> u64 {
        let reach = match self.below(25) {
            0 => levels,
            1..=6 => 120,
            _ => 12,
        };
        self.below(reach.min(levels))
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["depth"] => depth(),
        ["symbols"] => symbols(),
        ["messages"] => messages(10_000_000),
        ["messages", most] => messages(most.parse().expect("a whole number of messages")),
        _ => panic!("usage: curves depth|symbols|messages [MOST]"),
    }
}

fn depth() {
    println!("{:>10} {:>14}", "levels", "ns per update");
    for levels in [10, 100, 1_000, 10_000, 100_000] {
        let changes = changes("BTCUSDT", levels, CHANGES);
        let mut book = SymbolBook::new(changes[0].exchange.clone(), changes[0].symbol.clone());
        book.apply(&snapshot("BTCUSDT", levels));
        let ns = least(|| apply_all(&mut book, &changes));
        println!("{levels:>10} {:>14.2}", ns / (CHANGES as f64 * LEVELS_PER_CHANGE as f64));
    }
}

fn symbols() {
    println!("{:>10} {:>14}", "symbols", "ns per update");
    for count in [1, 10, 50, 100, 500] {
        let names: Vec<String> = (0..count).map(|index| format!("COIN{index}USDT")).collect();
        let mut books = BookMap::new();
        let mut streams: Vec<_> = names
            .iter()
            .map(|name| {
                books.apply(&snapshot(name, 500));
                changes(name, 500, CHANGES / count).into_iter()
            })
            .collect();
        let mut draw = Draw(3);
        let mut mixed = Vec::new();
        while mixed.len() < CHANGES / count * count {
            let at = draw.below(count as u64) as usize;
            mixed.extend(streams[at].next().or_else(|| streams.iter_mut().find_map(Iterator::next)));
        }
        let ns = least(|| mixed.iter().for_each(|change| books.apply(change)));
        println!("{count:>10} {:>14.2}", ns / (mixed.len() as f64 * LEVELS_PER_CHANGE as f64));
    }
}

fn messages(most: usize) {
    println!("{:>10} {:>14}", "messages", "ns per update");
    let changes = changes("BTCUSDT", 1_000, CHANGES);
    let mut book = SymbolBook::new(changes[0].exchange.clone(), changes[0].symbol.clone());
    book.apply(&snapshot("BTCUSDT", 1_000));
    let mut seen = 0;
    let mut next = 100_000;
    while next <= most {
        let ns = least(|| apply_all(&mut book, &changes));
        println!("{next:>10} {:>14.2}", ns / (CHANGES as f64 * LEVELS_PER_CHANGE as f64));
        while seen < next {
            apply_all(&mut book, &changes);
            seen += CHANGES;
        }
        next *= 10;
    }
}

fn apply_all(book: &mut SymbolBook, changes: &[Event]) {
    for change in changes {
        book.apply(change);
    }
}

/// Nanoseconds of one run, the least of several measurements after a run to warm up. The system counts processor time
/// in ticks of some milliseconds, so each measurement takes many runs.
fn least(mut run: impl FnMut()) -> f64 {
    run();
    let measure = |_| {
        let start = cpu_seconds();
        (0..REPEATS).for_each(|_| run());
        (cpu_seconds() - start) * 1e9 / REPEATS as f64
    };
    (0..RUNS).map(measure).fold(f64::INFINITY, f64::min)
}

fn event(symbol: &Arc<str>, local_ts_ns: i64, is_snapshot: bool, bids: Vec<Level>, asks: Vec<Level>) -> Event {
    let kind = EventKind::BookChange { is_snapshot, bids, asks };
    Event { exchange: "binance-futures".into(), symbol: symbol.clone(), exchange_ts_ns: local_ts_ns, local_ts_ns, kind }
}

fn level(is_bid: bool, distance: u64, lots: u64) -> Level {
    let ticks = if is_bid { BEST_BID_TICKS - distance as i64 } else { BEST_BID_TICKS + 1 + distance as i64 };
    Level { price: Decimal::new(ticks, 1), qty: Decimal::new(lots as i64, 3) }
}

fn snapshot(symbol: &str, levels: u64) -> Event {
    let side = |is_bid| (0..levels).map(|distance| level(is_bid, distance, 1 + distance)).collect();
    event(&symbol.into(), 0, true, side(true), side(false))
}

fn changes(symbol: &str, levels: u64, count: usize) -> Vec<Event> {
    let mut draw = Draw(levels);
    let symbol: Arc<str> = symbol.into();
    let one = |index: usize| {
        let (mut bids, mut asks) = (Vec::new(), Vec::new());
        for _ in 0..LEVELS_PER_CHANGE {
            let (is_bid, distance) = (draw.below(2) == 0, draw.distance(levels));
            let goes = distance > 0 && draw.below(5) == 0;
            let level = level(is_bid, distance, if goes { 0 } else { 1 + draw.below(20_000) });
            if is_bid { bids.push(level) } else { asks.push(level) }
        }
        event(&symbol, index as i64 * 5_000_000, false, bids, asks)
    };
    (0..count).map(one).collect()
}
