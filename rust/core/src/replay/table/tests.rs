use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::decode::Decoder;
use crate::encode::encode;
use crate::event::{Event, EventKind, Level};
use crate::replay::reader::blank_event;
use crate::types::Decimal;

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mm_core-table-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("temporary folder");
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("x_S_2024-01-01.arrow")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn event(local_ts_ns: i64, kind: EventKind) -> Event {
    Event { exchange: Arc::from("x"), symbol: Arc::from("S"), exchange_ts_ns: 7, local_ts_ns, kind }
}

fn level(price: &str, qty: &str) -> Level {
    let number = |text: &str| Decimal::parse(text.as_bytes()).expect(text);
    Level { price: number(price), qty: number(qty) }
}

fn decoded(text: &str) -> Event {
    let text = format!(r#"{{{text},"exchange":"x","symbol":"S","localTimestamp":"2024-01-01T00:00:00.000001Z"}}"#);
    Decoder::new().decode(text.as_bytes()).expect(&text).into_events().remove(0)
}

fn all_kinds() -> Vec<Event> {
    let book = |is_snapshot, bids: &[Level], asks: &[Level]| {
        event(1, EventKind::BookChange { is_snapshot, bids: bids.to_vec(), asks: asks.to_vec() })
    };
    vec![
        book(true, &[level("100.5", "1"), level("0.00003505", "0")], &[level("101", "12345.678901")]),
        book(false, &[], &[]),
        book(false, &[], &[level("101", "0")]),
        // No double stands for this quantity: it is kept as text.
        book(false, &[level("100", "1234567890123456.789")], &[]),
        decoded(r#""type":"trade","id":"a-1","price":1e-7,"amount":3,"side":"sell""#),
        decoded(r#""type":"trade","price":2,"amount":3.25"#),
        decoded(r#""type":"liquidation","price":2,"amount":3,"side":"buy""#),
        decoded(r#""type":"book_ticker","bidPrice":1.5"#),
        decoded(r#""type":"derivative_ticker","fundingRate":-0.0001"#),
        decoded(
            r#""type":"book_snapshot","name":"quote","depth":1,"interval":0,"bids":[{}],"asks":[{"price":1,"amount":2}]"#,
        ),
        Event { symbol: Arc::from(""), ..event(9, EventKind::Disconnect) },
        event(9, EventKind::Disconnect),
    ]
}

fn written(folder: &Folder, events: &[Event]) -> String {
    let mut table = TableWriter::create(&folder.file(), "x", "S").expect("create");
    for event in events {
        table.push(event).expect("push");
    }
    table.finish().expect("finish").to_string_lossy().into_owned()
}

fn read(path: &str) -> crate::Result<Vec<String>> {
    let mut table = TableReader::open(path)?;
    let mut event = blank_event();
    let mut texts = Vec::new();
    while table.next_into(&mut event)? {
        texts.push(text(&event));
    }
    Ok(texts)
}

fn text(event: &Event) -> String {
    let mut text = Vec::new();
    encode(event, &mut text);
    String::from_utf8(text).expect("utf-8")
}

#[test]
fn every_kind_of_event_comes_back_as_the_same_message() {
    let folder = Folder::new("kinds");
    let events = all_kinds();
    let path = written(&folder, &events);
    assert_eq!(read(&path).expect("read"), events.iter().map(text).collect::<Vec<_>>());
    let times = || events.iter().map(|event| event.local_ts_ns);
    assert_eq!(TableReader::open(&path).expect("open").span(), times().min().zip(times().max()));
}

#[test]
fn a_book_change_read_without_an_event_is_the_same_and_one_with_long_numbers_is_read_with_one() {
    let folder = Folder::new("changes");
    let plain: Vec<Event> =
        all_kinds().into_iter().filter(|event| !text(event).contains("1234567890123456.789")).collect();
    // 16 digits: on this grid a double's fraction does not settle the last one.
    let long = event(
        2,
        EventKind::BookChange { is_snapshot: false, bids: vec![level("3", "92345678.12345678")], asks: vec![] },
    );
    let mixed: Vec<Event> = plain.iter().cloned().chain([long]).collect();
    for (events, has_changes) in [(plain, true), (mixed, false)] {
        let path = written(&folder, &events);
        let (mut table, mut event) = (TableReader::open(&path).expect("open"), blank_event());
        let mut expected = events.iter();
        while table.advance().expect("read") {
            let wanted = expected.next().expect("no more than was written");
            table.read_into(&mut event).expect("read");
            assert_eq!(text(&event), text(wanted));
            assert_eq!(table.times(), (wanted.exchange_ts_ns, wanted.local_ts_ns));
            let is_book = matches!(wanted.kind, EventKind::BookChange { .. });
            let change = table.change();
            assert_eq!(change.is_some(), is_book && has_changes, "{}", text(wanted));
            if let (Some(change), EventKind::BookChange { is_snapshot, bids, asks }) = (change, event.kind.clone()) {
                assert_eq!((change.is_snapshot, change.levels().map(Iterator::collect)), (is_snapshot, [bids, asks]));
            }
        }
        assert_eq!(expected.next(), None);
        std::fs::remove_file(path).expect("remove");
    }
}

#[test]
fn a_message_is_never_cut_by_a_block() {
    let folder = Folder::new("blocks");
    let levels: Vec<Level> = (1..=1000).map(|i| level(&i.to_string(), "1")).collect();
    let change = |i| event(i, EventKind::BookChange { is_snapshot: i == 0, bids: levels.clone(), asks: vec![] });
    let events: Vec<Event> = (0..100).map(change).collect();
    let path = written(&folder, &events);
    assert_eq!(read(&path).expect("read"), events.iter().map(text).collect::<Vec<_>>());
}

#[test]
fn a_flipped_bit_anywhere_is_found_and_a_bad_block_is_named() {
    let folder = Folder::new("damage");
    let trade = decoded(r#""type":"trade","id":"a-1","price":1.5,"amount":3,"side":"sell""#);
    let events: Vec<Event> = (0..40_000).map(|i| Event { local_ts_ns: i, ..trade.clone() }).collect();
    let path = written(&folder, &events);
    let intact = std::fs::read(&path).expect("table");
    let damaged_at = |at: usize| {
        let mut bytes = intact.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, bytes).expect("write");
        read(&path).expect_err("must be noticed").to_string()
    };
    // In the middle of the first and the second block of rows.
    for (part, block) in [(6, "block 1 of 4 (rows 0 to 16384)"), (2, "block 2 of 4 (rows 16384 to 32768)")] {
        let message = damaged_at(intact.len() / part);
        assert!(message.contains(block) && message.contains("checksum"), "{message}");
    }
    assert!(damaged_at(intact.len() - 400).contains("footer"));
    for keep in [intact.len() - 1, intact.len() / 2, 9, 7] {
        std::fs::write(&path, &intact[..keep]).expect("write");
        let message = read(&path).expect_err("cut short").to_string();
        assert!(message.contains("x_S_2024-01-01.arrow"), "{message}");
    }
}

#[test]
fn an_unfinished_table_leaves_nothing_behind() {
    let folder = Folder::new("unfinished");
    let mut table = TableWriter::create(&folder.file(), "x", "S").expect("create");
    table.push(&all_kinds()[0]).expect("push");
    drop(table);
    assert_eq!(std::fs::read_dir(&folder.0).expect("folder").count(), 0);
}

#[test]
fn another_arrow_file_is_told_apart() {
    let folder = Folder::new("foreign");
    let path = folder.file();
    let schema = schema::schema();
    let file = std::fs::File::create(&path).expect("create");
    arrow_ipc::writer::FileWriter::try_new(file, &schema).and_then(|mut writer| writer.finish()).expect("write");
    let message = read(&path.to_string_lossy()).expect_err("foreign").to_string();
    assert!(message.contains("not one made by `mm-hybrid convert`"), "{message}");
}

#[test]
fn no_flipped_bit_makes_a_table_panic_or_changes_a_message() {
    let folder = Folder::new("flips");
    let path = written(&folder, &all_kinds());
    let intact = std::fs::read(&path).expect("table");
    let expected = read(&path).expect("read");
    let mut bits = 0_u32;
    for at in 0..intact.len() {
        let mut bytes = intact.clone();
        bits = bits.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        bytes[at] ^= 1 << (bits >> 16 & 7);
        std::fs::write(&path, bytes).expect("write");
        // What is not read, such as the schema in front, may be damaged.
        match read(&path) {
            Ok(found) => assert_eq!(found, expected, "byte {at}"),
            Err(error) => assert!(error.to_string().contains("arrow"), "byte {at}: {error}"),
        }
    }
}
