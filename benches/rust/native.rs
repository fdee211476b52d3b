//! Book changes as Bybit and Bitget write them themselves, numbered and with true checksums.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mm_core::event::{Event, EventKind, Level};
use mm_core::feed::Source;
use mm_core::types::Decimal;

/// Levels a side that Bitget's checksum covers.
const CHECKED_LEVELS: usize = 25;

/// The messages of `source` that say what `events` say, the first of them a snapshot.
pub fn messages(source: Source, events: &[Event]) -> Vec<Vec<u8>> {
    let mut sides = [BTreeMap::new(), BTreeMap::new()];
    let mut written = Vec::with_capacity(events.len());
    for (number, event) in (7_001..).zip(events) {
        let EventKind::BookChange { is_snapshot, bids, asks } = &event.kind else { panic!("not a book change") };
        let ms = event.exchange_ts_ns / 1_000_000;
        let (bid_texts, ask_texts) = (texts(bids), texts(asks));
        let text = if source == Source::Bybit {
            let kind = if *is_snapshot { "snapshot" } else { "delta" };
            format!(
                r#"{{"topic":"orderbook.200.{0}","type":"{kind}","ts":{ms},"data":{{"s":"{0}","b":[{1}],"a":[{2}],"u":{number},"seq":{3}}},"cts":{ms}}}"#,
                event.symbol,
                joined(&bid_texts),
                joined(&ask_texts),
                number * 3
            )
        } else {
            if *is_snapshot {
                sides.iter_mut().for_each(BTreeMap::clear);
            }
            for (side, (levels, texts)) in sides.iter_mut().zip([(bids, &bid_texts), (asks, &ask_texts)]) {
                for (level, (price, qty)) in levels.iter().zip(texts) {
                    let key = level.price.rescaled(8).expect("a price of eight decimals");
                    if level.qty.mantissa == 0 {
                        side.remove(&key);
                    } else {
                        side.insert(key, format!("{price}:{qty}"));
                    }
                }
            }
            let (action, checksum, previous) =
                if *is_snapshot { ("snapshot", 0, 0) } else { ("update", checksum(&sides), number - 1) };
            format!(
                r#"{{"action":"{action}","arg":{{"instType":"usdt-futures","topic":"books","symbol":"{}"}},"data":[{{"a":[{}],"b":[{}],"checksum":{checksum},"seq":{number},"pseq":{previous},"ts":"{ms}"}}],"ts":{ms}}}"#,
                event.symbol,
                joined(&ask_texts),
                joined(&bid_texts)
            )
        };
        written.push(text.into_bytes());
    }
    written
}

fn texts(levels: &[Level]) -> Vec<(String, String)> {
    // The exchanges write every price of a symbol with as many digits.
    let fixed = |value: Decimal, decimals: usize| format!("{:.decimals$}", value.to_f64());
    let text = |level: &Level| {
        let qty = if level.qty.mantissa == 0 { "0".to_owned() } else { fixed(level.qty, 3) };
        (fixed(level.price, 2), qty)
    };
    levels.iter().map(text).collect()
}

fn joined(levels: &[(String, String)]) -> String {
    let mut text = String::new();
    for (price, qty) in levels {
        let comma = if text.is_empty() { "" } else { "," };
        write!(text, r#"{comma}["{price}","{qty}"]"#).expect("text");
    }
    text
}

fn checksum(sides: &[BTreeMap<i64, String>; 2]) -> i32 {
    let (mut bids, mut asks) = (sides[0].values().rev(), sides[1].values());
    let mut texts: Vec<&str> = Vec::new();
    for _ in 0..CHECKED_LEVELS {
        texts.extend([bids.next(), asks.next()].into_iter().flatten().map(String::as_str));
    }
    crc32fast::hash(texts.join(":").as_bytes()) as i32
}
