//! Recorded markets, when `MM_HYBRID_DATA` names a folder of them: the quick decoder reads nearly all of it and says
//! what the general one says, and the books equal those of an ordered map.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use mm_core::book::BookMap;
use mm_core::decode::{Decoder, Message};
use mm_core::event::{EventKind, Level};

/// Grid on which the oracle keeps prices; finer than any price recorded.
const NANO: u8 = 9;

/// Of so many messages at most one may need the general decoder.
const ONE_IN: u64 = 1000;

type Side = BTreeMap<i64, mm_core::types::Decimal>;

#[expect(clippy::expect_used, reason = "a panic is the report")]
fn recordings() -> Vec<PathBuf> {
    let Ok(folder) = std::env::var("MM_HYBRID_DATA") else { return Vec::new() };
    let entries = std::fs::read_dir(folder).expect("MM_HYBRID_DATA names a folder");
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.to_string_lossy().ends_with(".ndjson.gz"));
    files.sort();
    files
}

#[expect(clippy::expect_used, reason = "a panic is the report")]
fn set(side: &mut Side, levels: &[Level]) {
    for level in levels {
        let price = level.price.rescaled(NANO).expect("fits");
        if level.qty.mantissa == 0 {
            side.remove(&price);
        } else {
            side.insert(price, level.qty);
        }
    }
}

#[test]
fn recorded_messages_take_the_quick_way_and_make_the_books_of_the_oracle() {
    for path in recordings() {
        let (mut quick, mut general) = (Decoder::new(), Decoder::new());
        let mut books = BookMap::new();
        let mut oracle: BTreeMap<Arc<str>, (Side, Side)> = BTreeMap::new();
        let mut messages = 0;
        for line in BufReader::new(MultiGzDecoder::new(File::open(&path).expect("readable"))).split(b'\n') {
            let line = line.expect("readable");
            let decoded = quick.decode(&line).expect("a valid message");
            assert_eq!(
                Ok(&decoded),
                general.decode_any(&line).as_ref(),
                "{path:?}: {}",
                String::from_utf8_lossy(&line)
            );
            messages += 1;
            let Message::Event(event) = decoded else { continue };
            books.apply(&event);
            if let EventKind::BookChange { is_snapshot, bids, asks } = &event.kind {
                let (all_bids, all_asks) = oracle.entry(event.symbol.clone()).or_default();
                if *is_snapshot {
                    all_bids.clear();
                    all_asks.clear();
                }
                set(all_bids, bids);
                set(all_asks, asks);
            }
            quick.recycle(event);
        }
        assert!(quick.fallbacks() * ONE_IN <= messages, "{path:?}: {} of {messages}", quick.fallbacks());
        for (exchange, symbol) in books.symbols() {
            let book = books.get(&exchange, &symbol).expect("listed").book();
            let (bids, asks) = oracle.remove(&symbol).unwrap_or_default();
            let on_nano = |(price, qty)| (book.price(price).rescaled(NANO).expect("fits"), qty);
            assert!(book.bids().iter().map(on_nano).eq(bids.into_iter().rev()), "{path:?} {symbol}: bids");
            assert!(book.asks().iter().map(on_nano).eq(asks), "{path:?} {symbol}: asks");
        }
    }
}
