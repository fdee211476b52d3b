use std::io::Write as _;
use std::path::PathBuf;

use super::*;
use crate::book::BookMap;
use crate::error::Result;
use crate::event::EventKind;

/// A file that goes away with the test.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, content: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("mm_core-{}-{name}", std::process::id()));
        std::fs::write(&path, content).expect("temporary file");
        Self(path)
    }

    fn path(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn all(files: &[&Temporary]) -> Result<Vec<Item>> {
    let paths: Vec<String> = files.iter().map(|file| file.path()).collect();
    let mut replay = Merge::open(&paths)?;
    let mut records = Vec::new();
    while let Some(record) = replay.next_item()? {
        records.push(record);
    }
    Ok(records)
}

fn failure(file: &Temporary) -> String {
    all(&[file]).expect_err("must fail").to_string()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

const BOOK: &str = "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount\n";

const NDJSON: &str = concat!(
    r#"{"type":"disconnect","exchange":"x","localTimestamp":"1970-01-01T00:00:00.000001Z"}"#,
    "\n",
    r#"{"type":"trade_bar","exchange":"x","localTimestamp":"1970-01-01T00:00:00.000002Z"}"#,
    "\n\n",
    r#"{"type":"trade","symbol":"S","exchange":"x","price":1,"amount":2,"localTimestamp":"1970-01-01T00:00:00.000005Z"}"#,
);

#[test]
fn compression_is_told_from_the_content() {
    let plain = all(&[&Temporary::new("plain.gz", NDJSON.as_bytes())]).expect("plain");
    let gz = all(&[&Temporary::new("gz.ndjson", &gzip(NDJSON.as_bytes()))]).expect("gzip");
    let zst = zstd::encode_all(NDJSON.as_bytes(), 1).expect("memory");
    let zst = all(&[&Temporary::new("zst", &zst)]).expect("zstd");
    assert_eq!((plain.len(), &gz, &zst), (3, &plain, &plain));
    assert!(plain[1].event.is_none() && plain[1].local_ts_ns == 2_000);
}

/// What pzstd writes in front of every frame: the frame's length, in a frame that decoders pass over.
fn with_skippable(frame: &[u8]) -> Vec<u8> {
    [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0], (frame.len() as u32).to_le_bytes().as_slice(), frame].concat()
}

#[test]
fn zstd_that_begins_with_a_skippable_frame_is_read_whole_or_cut() {
    let (plain, ends) = recording(&[&trade_at(1), &trade_at(2)]);
    let frames = [with_skippable(&plain[..ends[0]]), with_skippable(&plain[ends[0]..])];
    let whole = Temporary::new("pzstd.zst", &frames.concat());
    assert_eq!(all(&[&whole]).expect("whole").len(), 2);
    let seekable = Temporary::new("seekable.zst", &[&frames.concat()[..], &with_skippable(b"")].concat());
    assert_eq!(all(&[&seekable]).expect("a seek table at the end").len(), 2);
    for cut in [frames[0].len() + 3, frames[0].len() + 9, frames.concat().len() - 1] {
        let file = Temporary::new("pzstd-cut.zst", &frames.concat()[..cut]);
        assert_eq!(all(&[&file]).expect("cut").len(), 1);
    }
}

/// A frame of one uncompressed block that declares a window of 2 to the power of `log`.
fn windowed(text: &str, log: u8) -> Vec<u8> {
    let block = ((text.len() as u32) << 3 | 1).to_le_bytes();
    [&[0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3], &block[..3], text.as_bytes()].concat()
}

#[test]
fn a_large_window_is_read_up_to_a_gibibyte_and_beyond_it_the_remedy_is_named() {
    let large = Temporary::new("window-28.zst", &windowed(NDJSON, 28));
    assert_eq!(all(&[&large]).expect("256 MiB").len(), 3);
    let reason = failure(&Temporary::new("window-31.zst", &windowed(NDJSON, 31)));
    assert!(reason.contains("zstd --long=30") && !reason.contains("damaged"), "{reason}");
}

#[test]
fn rows_of_one_local_time_and_symbol_are_one_change_and_interleaved_symbols_do_not_split_it() {
    let rows = "x,A,1,9,true,bid,5,1\nx,B,1,9,true,bid,7,1\nx,A,2,9,true,ask,6,1\nx,A,3,10,false,bid,5,0\n";
    let records = all(&[&Temporary::new("group.csv", format!("{BOOK}{rows}").as_bytes())]).expect("csv");
    let rows: Vec<u64> = records.iter().map(|record| record.lines).collect();
    assert_eq!(rows, [2, 1, 1]);
    let Some(EventKind::BookChange { is_snapshot: true, bids, asks }) = records[0].event.clone().map(|e| e.kind) else {
        panic!("{records:?}")
    };
    assert_eq!((bids.len(), asks.len()), (1, 1));
}

#[test]
fn a_snapshot_in_the_middle_replaces_the_book_even_at_the_local_time_of_an_update() {
    let rows = "x,A,1,9,true,bid,5,1\nx,A,1,9,true,ask,6,1\nx,A,2,10,false,bid,4,1\nx,A,3,10,true,bid,2,1\n\
                x,A,3,10,true,ask,3,1\n";
    let records = all(&[&Temporary::new("again.csv", format!("{BOOK}{rows}").as_bytes())]).expect("csv");
    let mut books = BookMap::new();
    records.iter().filter_map(|record| record.event.as_ref()).for_each(|event| books.apply(event));
    let snapshot = books.snapshot("x", "A", 9).expect("known");
    assert_eq!((snapshot.bids, snapshot.asks), (vec![[2.0, 1.0]], vec![[3.0, 1.0]]));
}

#[test]
fn a_snapshot_that_starts_anew_within_a_local_time_keeps_nothing_of_the_one_before() {
    let rows = [
        "true,bid,90,1",
        "true,ask,110,1",
        "false,bid,91,1",
        "false,bid,92,1",
        "true,bid,80,1",
        "true,ask,120,1",
        "false,ask,119,1",
    ];
    // Behind a message of another time as well, where the rows take the quick way.
    let text: String = (1..=2).flat_map(|time| rows.map(|row| format!("x,A,{time},{time},{row}\n"))).collect();
    let mut stamped = text.clone();
    for time in ["1", "2"] {
        stamped = stamped
            .replace(&format!("x,A,{time},{time},"), &format!("x,A,172316125600000{time},172316125600000{time},"));
    }
    for (name, text) in [("anew.csv", text), ("anew_quick.csv", stamped)] {
        let records = all(&[&Temporary::new(name, format!("{BOOK}{text}").as_bytes())]).expect("csv");
        assert_eq!(records.len(), 2);
        for record in records {
            let Some(EventKind::BookChange { is_snapshot: true, bids, asks }) = record.event.map(|event| event.kind)
            else {
                panic!("{name}")
            };
            let prices =
                |levels: &[crate::event::Level]| levels.iter().map(|level| level.price.mantissa).collect::<Vec<_>>();
            assert_eq!((prices(&bids), prices(&asks), record.lines), (vec![80], vec![120, 119], 7), "{name}");
        }
    }
}

#[test]
fn a_csv_amount_of_more_digits_than_fit_is_rounded_and_a_price_is_refused() {
    let file = |name: &str, level: &str| Temporary::new(name, format!("{BOOK}x,A,1,1,true,bid,{level}\n").as_bytes());
    let records = all(&[&file("long_amount.csv", "1.5,0.0047677363856087895")]).expect("csv");
    let Some(EventKind::BookChange { bids, .. }) = records[0].event.as_ref().map(|event| &event.kind) else { panic!() };
    assert_eq!(bids[0].qty.to_string(), "0.00476773638560879");
    let refused = failure(&file("long_price.csv", "0.0047677363856087895,1"));
    assert!(refused.contains("`price` has more than 18 digits"), "{refused}");
}

#[test]
fn columns_are_found_by_name() {
    let text = "amount,price,side,id,local_timestamp,timestamp,symbol,exchange\n2,1,unknown,,7,9,S,x\n";
    let records = all(&[&Temporary::new("order.csv", text.as_bytes())]).expect("csv");
    let event = records[0].event.clone().expect("trade");
    assert_eq!((event.local_ts_ns, event.exchange_ts_ns), (7_000, 9_000));
    assert!(matches!(event.kind, EventKind::Trade { id: None, side: None, .. }));
}

#[test]
fn files_merge_by_local_time_and_ties_keep_the_order_given() {
    let rows = "x,A,1,1,true,bid,5,1\nx,A,1,5,false,bid,5,2\nx,A,1,6,false,bid,5,3\n";
    let (csv, json) = (
        Temporary::new("merge.csv", format!("{BOOK}{rows}").as_bytes()),
        Temporary::new("merge.ndjson", NDJSON.as_bytes()),
    );
    let times = |files: &[&Temporary]| -> Vec<_> {
        let kind = |r: &Item| matches!(r.event.as_ref().map(|e| &e.kind), Some(EventKind::BookChange { .. }));
        all(files).expect("merge").iter().map(|r| (r.local_ts_ns / 1_000, kind(r))).collect()
    };
    let csv_first = [(1, true), (1, false), (2, false), (5, true), (5, false), (6, true)];
    assert_eq!(times(&[&csv, &json]), csv_first);
    let json_first = [(1, false), (1, true), (2, false), (5, false), (5, true), (6, true)];
    assert_eq!(times(&[&json, &csv]), json_first);
}

#[test]
fn every_failure_names_the_file_and_the_line() {
    let broken = Temporary::new("broken.ndjson", format!("{NDJSON}\n{{\"type\":\"tra").as_bytes());
    assert!(failure(&broken).contains("broken.ndjson:5: EOF"), "{}", failure(&broken));
    let row = Temporary::new("row.csv", format!("{BOOK}x,A,1,1,maybe,bid,5,1\n").as_bytes());
    assert!(failure(&row).contains("row.csv:2: `is_snapshot`"), "{}", failure(&row));
    let header = Temporary::new("header.csv", b"timestamp,local_timestamp,ask_amount\n");
    assert!(failure(&header).contains("header.csv:1: no column"), "{}", failure(&header));
    let empty = Temporary::new("empty.csv", b"");
    assert!(failure(&empty).contains("empty"), "{}", failure(&empty));
    assert!(Merge::open(&["/no/such/file".to_owned()]).is_err_and(|e| e.to_string().contains("/no/such/file")));
}

#[test]
fn compressed_data_that_is_cut_short_is_an_error_and_not_the_end() {
    let text = NDJSON.replace('\n', "") + "\n";
    let long: String = (0..2_000).map(|i| text.replace("\"amount\":2", &format!("\"amount\":{i}"))).collect();
    let lines: String = long.replace("}{", "}\n{");
    for (name, bytes) in
        [("cut.gz", gzip(lines.as_bytes())), ("cut.zst", zstd::encode_all(lines.as_bytes(), 1).expect("memory"))]
    {
        let cut = Temporary::new(name, &bytes[..bytes.len() - 12]);
        assert!(failure(&cut).contains("ends too early"), "{}", failure(&cut));
    }
}

#[test]
fn a_scan_finds_the_grid_of_prices_and_quantities() {
    let rows = "x,A,1,1,true,bid,100.5,3\nx,A,1,1,true,ask,101,4.5\nx,A,1,2,false,bid,99.25,0\nx,B,1,3,false,bid,1,1\n";
    let file = Temporary::new("scan.csv", format!("{BOOK}{rows}").as_bytes());
    let scans = scan(&[file.path()], &Notices::default(), |_| true).expect("scan");
    assert_eq!((scans.len(), scans[0].symbol.as_ref(), scans[0].messages), (2, "A", 2));
    assert_eq!((scans[0].tick_size.to_string(), scans[0].lot_size.to_string()), ("0.25".into(), "1.5".into()));
}

#[test]
fn a_rebuild_stops_after_the_local_time_asked_for_and_counts_what_it_read() {
    let rows = "x,A,1,1,true,bid,5,1\nx,A,1,1,true,ask,6,1\nx,A,1,2,false,bid,4,1\nx,A,1,3,false,bid,3,1\n";
    let file = Temporary::new("until.csv", format!("{BOOK}{rows}").as_bytes());
    let rebuilt = rebuild(&[file.path()], Some(2_000), &Notices::default(), |_| true).expect("rebuild");
    let snapshot = rebuilt.books.snapshot("x", "A", 9).expect("known");
    assert_eq!((rebuilt.lines, rebuilt.local_ts_ns, snapshot.levels), (3, 2_000, (2, 1)));
}

#[test]
fn a_rebuild_finds_messages_that_stand_after_later_ones() {
    let trade = |second: u32| {
        format!(
            r#"{{"type":"trade","symbol":"B","exchange":"x","price":1,"amount":2,"localTimestamp":"1970-01-01T00:00:{second:02}.000000Z"}}"#
        )
    };
    let change = |second: u32, is_snapshot: bool, bid: u32| {
        format!(
            r#"{{"type":"book_change","symbol":"A","exchange":"x","isSnapshot":{is_snapshot},"bids":[{{"price":{bid},"amount":1}}],"asks":[{{"price":900,"amount":1}}],"localTimestamp":"1970-01-01T00:00:{second:02}.000000Z"}}"#
        )
    };
    let lines = [change(1, true, 90), trade(6), change(3, false, 95), change(5, false, 99), trade(10), trade(20)];
    let file = Temporary::new("late.ndjson", lines.join("\n").as_bytes());
    let rebuilt = rebuild(&[file.path()], Some(4_000_000_000), &Notices::default(), |_| true).expect("rebuild");
    let snapshot = rebuilt.books.snapshot("x", "A", 1).expect("known");
    assert_eq!((rebuilt.lines, rebuilt.local_ts_ns, snapshot.bids), (2, 3_000_000_000, vec![[95.0, 1.0]]));
}

fn only(name: &str, header: &str, row: &str) -> EventKind {
    let text = format!("exchange,symbol,timestamp,local_timestamp,{header}\nx,S,1,2,{row}\n");
    let mut items = all(&[&Temporary::new(name, text.as_bytes())]).expect(name);
    items.remove(0).event.expect(name).kind
}

#[test]
fn the_columns_of_quotes_and_book_tickers_are_read_by_name_ask_first_as_they_come() {
    let header = "ask_amount,ask_price,bid_price,bid_amount";
    let EventKind::BookTicker(ticker) = only("x_book_ticker_1.csv", header, "1,101,100,2") else { panic!() };
    assert_eq!(ticker.ask_price.map(|p| p.to_string()), Some("101".into()));
    assert_eq!(ticker.bid_qty.map(|q| q.to_string()), Some("2".into()));
    let EventKind::BookSample(quote) = only("x_quotes_1.csv", header, ",,100,2") else { panic!() };
    assert_eq!((&*quote.name, quote.bids.len(), quote.asks.len()), ("quote", 1, 0));
}

#[test]
fn the_levels_of_a_sampled_book_come_interleaved_and_empty_ones_are_left_out() {
    let header = "asks[0].price,asks[0].amount,bids[0].price,bids[0].amount,\
                  asks[1].price,asks[1].amount,bids[1].price,bids[1].amount";
    let EventKind::BookSample(sample) = only("x_book_snapshot_2_1.csv", header, "101,1,100,2,102,3,,") else {
        panic!()
    };
    let prices = |levels: &[crate::event::Level]| levels.iter().map(|l| l.price.to_string()).collect::<Vec<_>>();
    assert_eq!((prices(&sample.asks), prices(&sample.bids)), (vec!["101".into(), "102".into()], vec!["100".into()]));
    assert_eq!((&*sample.name, sample.depth), ("book_snapshot_2", 2));
}

#[test]
fn an_empty_field_of_a_derivative_ticker_has_no_value() {
    let header =
        "funding_timestamp,funding_rate,predicted_funding_rate,open_interest,last_price,index_price,mark_price";
    let EventKind::DerivativeTicker(ticker) = only("x_derivative_ticker_1.csv", header, "5,-0.0001,,7,1,,1.5") else {
        panic!()
    };
    assert_eq!((ticker.funding_ts_ns, ticker.index_price), (Some(5_000), None));
    assert_eq!(ticker.funding_rate.map(|rate| rate.to_string()), Some("-0.0001".into()));
}

#[test]
fn liquidations_are_told_from_trades_by_the_name_of_their_file() {
    let header = "id,side,price,amount";
    assert!(matches!(only("x_liquidations_1.csv", header, ",buy,1,2"), EventKind::Liquidation { id: None, .. }));
    assert!(matches!(only("x_trades_1.csv", header, "7,buy,1,2"), EventKind::Trade { .. }));
}

#[test]
fn more_files_than_are_kept_open_come_in_order_of_their_time_as_one_stream() {
    let folder = std::env::temp_dir().join(format!("mm_core-{}-days", std::process::id()));
    std::fs::create_dir_all(&folder).expect("folder");
    for day in (0..40).rev() {
        let rows = format!("{BOOK}x,A,1,{},true,bid,5,1\nx,A,1,{},false,bid,5,2\n", day * 10 + 1, day * 10 + 5);
        std::fs::write(folder.join(format!("day-{day:02}.csv.gz")), gzip(rows.as_bytes())).expect("write");
    }
    std::fs::write(folder.join("day-99.csv.gz12.unconfirmed"), b"not a data file").expect("write");
    let mut merge = Merge::open(&[folder.to_string_lossy()]).expect("open");
    let mut times = Vec::new();
    while let Some(item) = merge.next_item().expect("item") {
        times.push(item.local_ts_ns / 1000);
    }
    let (done, total) = merge.progress();
    std::fs::remove_dir_all(&folder).expect("remove");
    assert_eq!(times, (0..40).flat_map(|day| [day * 10 + 1, day * 10 + 5]).collect::<Vec<_>>());
    assert!(done == total && total > 0);
}

/// A recording of one frame for each text.
fn recording(texts: &[&str]) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for text in texts {
        let line = format!("2024-01-01T00:00:00.0000000Z {text}\n");
        bytes.extend(zstd::encode_all(line.as_bytes(), 3).expect("memory"));
        ends.push(bytes.len());
    }
    (bytes, ends)
}

fn trade_at(us: u32) -> String {
    format!(
        r#"{{"type":"trade","symbol":"S","exchange":"x","price":1,"amount":2,"localTimestamp":"1970-01-01T00:00:00.{us:06}Z"}}"#
    )
}

#[test]
fn a_recording_cut_anywhere_is_read_up_to_its_last_whole_frame_and_the_rest_is_told_of_once() {
    let texts: Vec<String> = (1..=4).map(trade_at).collect();
    let (bytes, ends) = recording(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    for length in ends[0]..=bytes.len() {
        let file = Temporary::new("cut-tape.ndjson.zst", &bytes[..length]);
        let mut merge = Merge::open(&[file.path()]).expect("open");
        let mut items = 0;
        while merge.next_item().expect("item").is_some() {
            items += 1;
        }
        assert_eq!(items, ends.iter().filter(|end| **end <= length).count(), "{length} bytes");
        let notices = merge.notices().take();
        assert_eq!(notices.len(), usize::from(!ends.contains(&length)), "{length} bytes: {notices:?}");
        assert!(notices.iter().all(|notice| notice.contains("cut-tape.ndjson.zst: the recording was cut off")));
    }
    for length in 0..ends[0] {
        let file = Temporary::new("cut-tape.ndjson.zst", &bytes[..length]);
        let error = Merge::open(&[file.path()]).err().expect("nothing is whole");
        assert!(matches!(error, crate::Error::NoMarketData { .. }), "{length} bytes: {error}");
    }
}

#[test]
fn damage_in_the_middle_of_a_recording_is_not_taken_for_its_end() {
    let texts: Vec<String> = (1..=6).map(trade_at).collect();
    let (bytes, ends) = recording(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    let middle = ends[1]..ends[3];
    let without = |at: std::ops::Range<usize>| [&bytes[..at.start], &bytes[at.end..]].concat();
    let longer = {
        // The length of a block that leads past the end of the file.
        let mut bytes = bytes.clone();
        bytes[ends[2] + 8] = 0xff;
        bytes
    };
    for (name, damaged) in [("hole", without(middle.start + 5..middle.end - 5)), ("length", longer)] {
        let file = Temporary::new(&format!("{name}.ndjson.zst"), &damaged);
        let message = failure(&file);
        assert!(message.contains(&format!("{name}.ndjson.zst:")), "{message}");
    }
}

#[test]
fn a_header_without_a_needed_column_or_with_one_twice_names_it_and_the_dataset() {
    let names: Vec<&str> = BOOK.trim().split(',').collect();
    for missing in &names {
        let header: Vec<&str> = names.iter().filter(|name| name != &missing).copied().collect();
        let file = Temporary::new("incremental_book_L2_missing.csv", header.join(",").as_bytes());
        let message = failure(&file);
        let wanted = format!("missing.csv:1: no column {missing:?} in the header");
        assert!(message.contains(&wanted) && message.contains("Tardis"), "{message}");
    }
    let renamed = failure(&Temporary::new("renamed.csv", BOOK.replace("price", "prise").as_bytes()));
    assert!(renamed.contains("no column \"price\"") && renamed.contains("incremental_book_L2"), "{renamed}");
    let twice = failure(&Temporary::new("twice.csv", format!("{},price\n", BOOK.trim()).as_bytes()));
    assert!(twice.contains("twice.csv:1: the header has the column \"price\" more than once"), "{twice}");
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    let rows = format!("\u{feff}{BOOK}x,A,1,1,true,bid,5,1\n");
    let json = format!("\u{feff}{NDJSON}");
    for (name, text) in [("bom.csv", &rows), ("bom.ndjson", &json)] {
        let marked = all(&[&Temporary::new(name, text.as_bytes())]).expect(name);
        let plain = all(&[&Temporary::new(name, text.trim_start_matches('\u{feff}').as_bytes())]).expect(name);
        assert_eq!(marked, plain);
        let zipped = all(&[&Temporary::new(name, &gzip(text.as_bytes()))]).expect(name);
        assert_eq!(zipped, plain);
    }
}

#[test]
fn a_level_whose_price_is_not_above_zero_is_refused_in_rows_and_in_messages() {
    for (price, fault) in [
        ("0", "of a book level is zero"),
        ("0.00", "of a book level is zero"),
        ("-1.5", "is negative"),
        ("123456789012345678901.5", "has more than 18 digits"),
    ] {
        for line in 0..3 {
            let price_of = |at: usize| if at == line { price } else { "5" };
            let row = |at: usize| {
                let local_us = 1_700_000_000_000_000_i64 + at as i64;
                format!("x,A,1,{local_us},false,bid,{},1\n", price_of(at))
            };
            let rows = (0..3).map(row).collect::<Vec<_>>().concat();
            let message = failure(&Temporary::new("level.csv", format!("{BOOK}{rows}").as_bytes()));
            assert!(message.contains(&format!("level.csv:{}: `price` {fault}", line + 2)), "{message}");
        }
        let text = format!(
            r#"{{"type":"book_change","symbol":"S","exchange":"x","isSnapshot":true,"bids":[{{"price":1,"amount":1}}],"asks":[{{"price":{price},"amount":1}}],"timestamp":"1970-01-01T00:00:00.000Z","localTimestamp":"1970-01-01T00:00:00.000001Z"}}"#
        );
        let message = failure(&Temporary::new("level.ndjson", text.as_bytes()));
        assert!(message.contains("level.ndjson:1: `asks`: `price`") && message.contains(fault), "{message}");
    }
}

#[test]
fn a_plain_csv_whose_last_line_has_no_end_is_read_with_a_warning() {
    let rows = format!("{BOOK}x,A,1,1,true,bid,5,1\nx,A,1,2,false,bid,4,27");
    let notices_of = |name: &str, bytes: &[u8]| {
        let file = Temporary::new(name, bytes);
        let mut merge = Merge::open(&[file.path()]).expect("open");
        let mut items = 0;
        while merge.next_item().expect("item").is_some() {
            items += 1;
        }
        assert_eq!(items, 2);
        merge.notices().take()
    };
    let notices = notices_of("open.csv", rows.as_bytes());
    assert_eq!(notices.len(), 1);
    assert!(notices[0].contains("open.csv:3: the last line has no line end"), "{notices:?}");
    assert!(notices_of("closed.csv", format!("{rows}\n").as_bytes()).is_empty());
    assert!(notices_of("whole.csv.gz", &gzip(rows.as_bytes())).is_empty(), "gzip tells that it is whole");
}
