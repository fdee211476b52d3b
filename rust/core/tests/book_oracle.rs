//! The book against an ordered map, which is slow and plainly right.

use std::collections::BTreeMap;
use std::sync::Arc;

use mm_core::book::{BookMap, BookState, SymbolBook};
use mm_core::event::{Event, EventKind, Level};
use mm_core::types::Decimal;
use proptest::prelude::*;

/// Grid on which the oracle keeps prices; finer than any price generated.
const NANO: u8 = 9;

#[derive(Debug, Clone)]
struct Change {
    is_snapshot: bool,
    bids: Vec<Level>,
    asks: Vec<Level>,
}

fn level(prices: std::ops::Range<i64>) -> impl Strategy<Value = Level> {
    (prices, 0u8..4, 0i64..5, 0u8..3).prop_map(|(price, decimals, qty, qty_decimals)| Level {
        price: Decimal::new(price * 10i64.pow(u32::from(decimals)) + i64::from(decimals), decimals),
        qty: Decimal::new(qty, qty_decimals),
    })
}

/// Changes with bids and asks from the given price ranges.
fn changes(bids: std::ops::Range<i64>, asks: std::ops::Range<i64>) -> impl Strategy<Value = Vec<Change>> {
    let side = |prices| prop::collection::vec(level(prices), 0..12);
    let change = (prop::bool::weighted(0.2), side(bids), side(asks)).prop_map(|(is_snapshot, bids, asks)| Change {
        is_snapshot,
        bids,
        asks,
    });
    prop::collection::vec(change, 1..40)
}

fn event(change: &Change) -> Event {
    let Change { is_snapshot, bids, asks } = change.clone();
    let kind = EventKind::BookChange { is_snapshot, bids, asks };
    Event { exchange: Arc::from("x"), symbol: Arc::from("S"), exchange_ts_ns: 0, local_ts_ns: 1, kind }
}

fn new_book() -> SymbolBook {
    SymbolBook::new(Arc::from("x"), Arc::from("S"))
}

#[expect(clippy::expect_used, reason = "a panic is the report")]
fn set(side: &mut BTreeMap<i64, Decimal>, levels: &[Level]) {
    for level in levels {
        let price = level.price.rescaled(NANO).expect("fits");
        if level.qty.mantissa == 0 {
            side.remove(&price);
        } else {
            side.insert(price, level.qty);
        }
    }
}

proptest! {
    #[test]
    fn the_book_equals_the_oracle_after_every_change(changes in changes(1..40, 60..100)) {
        let mut book = new_book();
        let (mut bids, mut asks, mut synced) = (BTreeMap::new(), BTreeMap::new(), false);
        for change in &changes {
            book.apply(&event(change));
            if change.is_snapshot {
                bids.clear();
                asks.clear();
                synced = true;
            }
            if synced {
                set(&mut bids, &change.bids);
                set(&mut asks, &change.asks);
            }
            let on_nano = |(price, qty)| (book.book().price(price).rescaled(NANO).expect("fits"), qty);
            let got: Vec<_> = book.book().bids().iter().map(on_nano).collect();
            prop_assert_eq!(got, bids.iter().rev().map(|(p, q)| (*p, *q)).collect::<Vec<_>>());
            let got: Vec<_> = book.book().asks().iter().map(on_nano).collect();
            prop_assert_eq!(got, asks.iter().map(|(p, q)| (*p, *q)).collect::<Vec<_>>());
            let live = synced && !bids.is_empty() && !asks.is_empty();
            prop_assert_eq!(book.state() == BookState::Live, live);
        }
    }

    #[test]
    fn a_late_reader_rebuilds_the_same_book_from_the_snapshot_event(changes in changes(1..40, 60..100)) {
        let mut book = new_book();
        for change in &changes {
            book.apply(&event(change));
        }
        if let Some(event) = book.snapshot_event(2) {
            let mut late = new_book();
            late.apply(&event);
            let (a, b) = (book.snapshot(usize::MAX), late.snapshot(usize::MAX));
            prop_assert_eq!((a.bids, a.asks, a.levels), (b.bids, b.asks, b.levels));
        }
    }

    #[test]
    fn no_change_leaves_the_book_crossed(changes in changes(1..20, 1..20)) {
        let mut book = new_book();
        for change in &changes {
            book.apply(&event(change));
            if let (Some(bid), Some(ask)) = (book.book().bids().best_price(), book.book().asks().best_price()) {
                prop_assert!(bid < ask);
            }
        }
    }
}

/// Prices of a book like the real ones: most near the touch at 60,000, some anywhere from 560 to 621,368, a few on a
/// finer grid than the rest.
fn wide_level(is_bid: bool) -> impl Strategy<Value = Level> {
    let reach = prop_oneof![6 => 0i64..40, 3 => 0i64..6_000, 1 => if is_bid { 0i64..594_400 } else { 0i64..5_613_680 }];
    (reach, 0i64..200, 0i64..4_000, 0u8..4).prop_map(move |(reach, finer, qty, qty_decimals)| {
        let tenths = if is_bid { 600_000 - reach } else { 600_001 + reach };
        let price = if finer == 7 { Decimal::new(tenths * 100 + 25, 3) } else { Decimal::new(tenths, 1) };
        let qty = if qty < 1_000 { Decimal::default() } else { Decimal::new(qty, qty_decimals) };
        Level { price, qty }
    })
}

fn wide_changes() -> impl Strategy<Value = Vec<Change>> {
    let side = |is_bid| prop::collection::vec(wide_level(is_bid), 0..20);
    let change = (prop::bool::weighted(0.03), side(true), side(false)).prop_map(|(is_snapshot, bids, asks)| Change {
        is_snapshot,
        bids,
        asks,
    });
    prop::collection::vec(change, 1..120)
}

/// Quantity and value of the levels not further than a tenth of mid from it, summed one by one.
fn walked_depth(levels: &[[f64; 2]], mid: f64) -> (f64, f64) {
    let near = |level: &&[f64; 2]| (level[0] - mid).abs() <= 0.1 * mid;
    levels.iter().filter(near).fold((0.0, 0.0), |(base, quote), [price, qty]| (base + qty, quote + price * qty))
}

proptest! {
    #[test]
    fn depth_and_levels_equal_those_of_the_oracle_over_any_range_of_prices(changes in wide_changes()) {
        let mut book = new_book();
        let (mut bids, mut asks, mut synced) = (BTreeMap::new(), BTreeMap::new(), false);
        for change in &changes {
            book.apply(&event(change));
            if change.is_snapshot {
                bids.clear();
                asks.clear();
                synced = true;
            }
            if synced {
                set(&mut bids, &change.bids);
                set(&mut asks, &change.asks);
            }
            let on_nano = |price| book.book().price(price).rescaled(NANO).expect("fits");
            prop_assert_eq!(book.book().bids().best_price().map(on_nano), bids.keys().next_back().copied());
            prop_assert_eq!(book.book().asks().best_price().map(on_nano), asks.keys().next().copied());
            let snapshot = book.snapshot(usize::MAX);
            prop_assert_eq!(snapshot.levels, (bids.len(), asks.len()));
            if let Some(mid) = snapshot.mid_price {
                let depth = snapshot.depth_10pct;
                for ((base, quote), side) in
                    [((depth.bid_base, depth.bid_quote), &snapshot.bids), ((depth.ask_base, depth.ask_quote), &snapshot.asks)]
                {
                    let (walked_base, walked_quote) = walked_depth(side, mid);
                    prop_assert!((base - walked_base).abs() <= 1e-9 * walked_base, "{} {}", base, walked_base);
                    prop_assert!((quote - walked_quote).abs() <= 1e-9 * walked_quote, "{} {}", quote, walked_quote);
                }
            }
        }
        let on_nano = |(price, qty)| (book.book().price(price).rescaled(NANO).expect("fits"), qty);
        let plain = |(price, qty): (&i64, &Decimal)| (*price, qty.normalized());
        prop_assert!(book.book().bids().iter().map(on_nano).eq(bids.iter().rev().map(plain)));
        prop_assert!(book.book().asks().iter().map(on_nano).eq(asks.iter().map(plain)));
    }
}

#[test]
fn levels_in_columns_make_the_same_book_as_events_and_a_copy_has_nan_where_there_is_no_level() {
    let one = |price, qty| Level { price: Decimal::new(price, 1), qty: Decimal::new(qty, 3) };
    let (bids, asks) = ([one(995, 1_500), one(990, 2_000)], [one(1_005, 3_000)]);
    let (mut events, mut columns) = (new_book(), new_book());
    events.apply(&event(&Change { is_snapshot: true, bids: bids.to_vec(), asks: asks.to_vec() }));
    columns.apply_levels(true, bids.iter().copied(), asks.iter().copied(), 0, 1);
    assert_eq!(events.snapshot(9).bids, columns.snapshot(9).bids);
    let mut out = [0.0; 12];
    events.copy_levels(&mut out);
    assert!(out[..4].iter().eq(&[99.5, 1.5, 99.0, 2.0]) && out[6..8].iter().eq(&[100.5, 3.0]));
    assert!(out[4..6].iter().chain(&out[8..]).all(|value| value.is_nan()));
}

#[test]
fn a_disconnect_without_symbol_unsyncs_every_book_of_its_exchange_and_no_other() {
    let one = |price| vec![Level { price: Decimal::new(price, 0), qty: Decimal::new(1, 0) }];
    let snapshot = event(&Change { is_snapshot: true, bids: one(9), asks: one(11) });
    let mut books = BookMap::new();
    for (exchange, symbol) in [("x", "A"), ("x", "B"), ("y", "A")] {
        books.apply(&Event { exchange: Arc::from(exchange), symbol: Arc::from(symbol), ..snapshot.clone() });
    }
    books.apply(&Event { symbol: Arc::from(""), kind: EventKind::Disconnect, ..snapshot.clone() });
    let state = |exchange, symbol| books.get(exchange, symbol).expect("known").state();
    assert_eq!(state("x", "A"), BookState::Unsynced);
    assert_eq!(state("x", "B"), BookState::Unsynced);
    assert_eq!(state("y", "A"), BookState::Live);
    assert_eq!(books.symbols().len(), 3, "a disconnect makes no book");
}
