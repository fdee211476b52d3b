//! Messages at the edge of what a feed may send.

use std::fmt::Write as _;

use mm_core::book::SymbolBook;
use mm_core::decode::{Decoder, Message};
use mm_core::event::{Event, EventKind, Level};

#[expect(clippy::expect_used, reason = "a panic is the report")]
fn event(text: &str) -> Event {
    match Decoder::new().decode(text.as_bytes()).expect(text) {
        Message::Event(event) => event,
        other => panic!("no event: {other:?}"),
    }
}

fn change(bids: &str, asks: &str, second: u32) -> String {
    format!(
        concat!(
            r#"{{"type":"book_change","symbol":"S","exchange":"x","isSnapshot":true,"bids":[{}],"asks":[{}],"#,
            r#""timestamp":"2024-01-01T00:00:{:02}.000Z","localTimestamp":"2024-01-01T00:00:{:02}.000000Z"}}"#
        ),
        bids, asks, second, second
    )
}

fn levels(event: Event) -> Vec<Level> {
    let EventKind::BookChange { bids, .. } = event.kind else { panic!("no book change") };
    bids
}

#[test]
fn a_message_of_twenty_megabytes_is_one_change() {
    let mut bids = String::new();
    for index in 0..620_000 {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(bids, r#"{comma}{{"price":{}.{},"amount":{}.5}}"#, 10_000 + index / 10, index % 10, index);
    }
    let text = change(&bids, r#"{"price":90000,"amount":1}"#, 0);
    assert!(text.len() > 20 << 20);
    let mut book = SymbolBook::new("x".into(), "S".into());
    assert!(book.apply(&event(&text)));
    let snapshot = book.snapshot(2);
    assert_eq!((snapshot.levels, snapshot.bids), ((620_000, 1), vec![[71_999.9, 619_999.5], [71_999.8, 619_998.5]]));
}

#[test]
fn numbers_are_exact_whatever_their_size_and_spelling() {
    for (text, exact) in [
        ("1e-7", "0.0000001"),
        ("1.25E3", "1250"),
        ("12e+2", "1200"),
        ("123456789012345678", "123456789012345678"),
        ("0.000000000000000001", "0.000000000000000001"),
        ("12345678.87654321", "12345678.87654321"),
        ("5.50", "5.5"),
    ] {
        let level = format!(r#"{{"price":{text},"amount":{text}}}"#);
        let found = levels(event(&change(&level, "", 0)));
        assert_eq!((found[0].price.to_string(), found[0].qty.to_string()), (exact.to_owned(), exact.to_owned()));
    }
}

#[test]
fn what_json_forbids_is_refused_in_numbers_and_keys_and_text() {
    for number in ["01", "1.", ".5", "+1", "1e", "0x10", "NaN", "1e400", "99999999999999999999", "--1", "1.2.3"] {
        let text = change(&format!(r#"{{"price":{number},"amount":1}}"#), "", 0);
        assert!(Decoder::new().decode(text.as_bytes()).is_err(), "{number}");
    }
    let good = change(r#"{"price":1,"amount":1}"#, "", 0);
    let twice = good.replace(r#""symbol":"S""#, r#""symbol":"S","symbol":"T""#);
    assert!(Decoder::new().decode(twice.as_bytes()).is_err());
    let twice = good.replace(r#""price":1"#, r#""price":1,"price":2"#);
    assert!(Decoder::new().decode(twice.as_bytes()).is_err());
    let bytes: Vec<u8> = good.bytes().map(|byte| if byte == b'S' { 0xff } else { byte }).collect();
    assert!(Decoder::new().decode(&bytes).is_err());
    assert!(Decoder::new().decode(format!("{good} ").as_bytes()).is_ok(), "white space may follow");
    assert!(Decoder::new().decode(format!("{good}x").as_bytes()).is_err());
}

#[test]
fn times_that_go_back_are_taken_as_they_come() {
    let mut book = SymbolBook::new("x".into(), "S".into());
    for second in [30, 29, 58, 0] {
        let bid = format!(r#"{{"price":{},"amount":1}}"#, 100 + second);
        assert!(book.apply(&event(&change(&bid, r#"{"price":900,"amount":1}"#, second))));
        let snapshot = book.snapshot(1);
        let seconds = snapshot.local_ts_ns % 60_000_000_000 / 1_000_000_000;
        assert_eq!((snapshot.bids, seconds), (vec![[f64::from(100 + second), 1.0]], i64::from(second)));
    }
}
