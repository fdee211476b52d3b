//! Damaged and hostile messages: the decoder answers with an event or an error, and books keep their invariants.
//!
//! `PROPTEST_CASES` sets how many are tried; `make fuzz` tries many.

use mm_core::book::{BookState, SymbolBook};
use mm_core::decode::{Decoder, Message};
use mm_core::encode::encode;
use mm_core::event::Event;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

fn decode(bytes: &[u8]) -> Option<Event> {
    match Decoder::new().decode(bytes) {
        Ok(Message::Event(event)) => Some(event),
        Ok(_) | Err(_) => None,
    }
}

fn level() -> impl Strategy<Value = String> {
    (1_u32..200, 0_u32..50, 0_u32..3).prop_map(|(price, qty, digits)| {
        let amount = f64::from(qty) / f64::from(10_u32.pow(digits));
        format!(r#"{{"price":{price},"amount":{amount}}}"#)
    })
}

fn book_change() -> impl Strategy<Value = String> {
    (any::<bool>(), vec(level(), 0..6), vec(level(), 0..6), 0_u32..60).prop_map(|(snapshot, bids, asks, second)| {
        format!(
            concat!(
                r#"{{"type":"book_change","symbol":"S","exchange":"x","isSnapshot":{},"bids":[{}],"asks":[{}],"#,
                r#""timestamp":"2024-01-01T00:00:{:02}.5Z","localTimestamp":"2024-01-01T00:00:{:02}.500001Z"}}"#
            ),
            snapshot,
            bids.join(","),
            asks.join(","),
            second,
            second,
        )
    })
}

/// What may happen to bytes on their way.
#[derive(Debug, Clone)]
enum Damage {
    Replace(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    CutOff(Index),
}

const TOKENS: &[&str] = &[
    "null",
    "1e400",
    "-0",
    "\"",
    "{",
    "[",
    "]",
    "}",
    "\\u0000",
    "9999999999999999999999",
    "0.1",
    "NaN",
    "-1",
    "1e-400",
];

fn damage() -> impl Strategy<Value = Damage> {
    let token = prop_oneof![vec(any::<u8>(), 1..4), prop::sample::select(TOKENS).prop_map(|t| t.as_bytes().to_vec())];
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        (any::<Index>(), token).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (any::<Index>(), 1_usize..8).prop_map(|(at, count)| Damage::Remove(at, count)),
        any::<Index>().prop_map(Damage::CutOff),
    ]
}

fn damaged(mut bytes: Vec<u8>, all: &[Damage]) -> Vec<u8> {
    for one in all {
        if bytes.is_empty() {
            break;
        }
        let len = bytes.len();
        match one {
            Damage::Replace(at, byte) => bytes[at.index(len)] = *byte,
            Damage::Insert(at, new) => drop(bytes.splice(at.index(len)..at.index(len), new.iter().copied())),
            Damage::Remove(at, count) => drop(bytes.drain(at.index(len)..(at.index(len) + count).min(len))),
            Damage::CutOff(at) => bytes.truncate(at.index(len)),
        }
    }
    bytes
}

proptest! {
    #[test]
    fn any_bytes_are_an_event_or_an_error(bytes in vec(any::<u8>(), 0..400)) {
        decode(&bytes);
    }

    #[test]
    fn a_damaged_message_is_an_event_or_an_error_and_an_event_survives_being_written_and_read_again(
        text in book_change(), damage in vec(damage(), 1..4),
    ) {
        if let Some(event) = decode(&damaged(text.into_bytes(), &damage)) {
            let mut written = Vec::new();
            encode(&event, &mut written);
            let again = decode(&written);
            prop_assert_eq!(again.as_ref().map(|e| &e.symbol), Some(&event.symbol));
            prop_assert_eq!(again.map(|e| e.kind), Some(event.kind));
        }
    }

    #[test]
    fn a_book_is_sorted_and_uncrossed_while_live_whatever_is_applied(
        texts in vec((book_change(), vec(damage(), 0..2)), 1..40),
    ) {
        let mut book: Option<SymbolBook> = None;
        for (text, damage) in texts {
            let Some(event) = decode(&damaged(text.into_bytes(), &damage)) else { continue };
            let book = book.get_or_insert_with(|| SymbolBook::new(event.exchange.clone(), event.symbol.clone()));
            book.apply(&event);
            let snapshot = book.snapshot(usize::MAX);
            for (side, sign) in [(&snapshot.bids, -1.0), (&snapshot.asks, 1.0)] {
                prop_assert!(side.windows(2).all(|pair| pair[0][0] * sign <= pair[1][0] * sign));
                prop_assert!(side.iter().all(|level| level[1] > 0.0));
            }
            if let (BookState::Live, Some(bid), Some(ask)) = (book.state(), snapshot.bids.first(), snapshot.asks.first()) {
                prop_assert!(bid[0] <= ask[0]);
            }
        }
    }
}
