//! Damaged and hostile messages: the decoder answers with an event or an error, and books keep their invariants.
//!
//! `PROPTEST_CASES` sets how many of the structured cases are tried and `FUZZ_INPUTS` how many damaged messages the two
//! decoders are compared on; `make fuzz` tries many.

use mm_core::book::{BookState, SymbolBook};
use mm_core::decode::{Decoder, Message};
use mm_core::encode::encode;
use mm_core::event::Event;
use mm_core::feed::Source;
use mm_core::feed::native::{NativeDecoder, Received};
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

/// Messages that the comparison of the decoders damages: as tardis-machine writes them, and slightly otherwise.
const MESSAGES: &[&str] = &[
    r#"{"type":"book_change","symbol":"BTCUSDT","exchange":"binance-futures","isSnapshot":false,"bids":[{"price":30044.2,"amount":0.007},{"price":30000,"amount":12}],"asks":[{"price":61837.63,"amount":0}],"timestamp":"2024-08-08T23:54:16.322Z","localTimestamp":"2024-08-08T23:54:16.322001Z"}"#,
    r#"{"type":"book_change","symbol":"BTCUSDT","exchange":"binance-futures","isSnapshot":true,"bids":[],"asks":[{"price":0.00003505,"amount":285020.12345678},{"price":1e-7,"amount":1}],"timestamp":"2024-08-08T23:54:59.999Z","localTimestamp":"2024-08-08T23:55:00.000001Z"}"#,
    r#"{"type":"book_change","symbol":"ETHUSDT","exchange":"bybit","isSnapshot":false,"bids":[{"price":1234567.1,"amount":123456789.123456}],"asks":[],"timestamp":"2021-04-17T16:43:06.800123Z","localTimestamp":"2021-04-17T16:43:06.812Z"}"#,
    r#"{"type":"trade","symbol":"BTCUSDT","exchange":"bybit","id":"7","price":61800.3,"amount":0.001,"side":"sell","timestamp":"2024-08-08T23:54:16.322Z","localTimestamp":"2024-08-08T23:54:15.088176Z"}"#,
    r#"{"type":"trade","symbol":"AVAXUSDT","exchange":"bitget","price":85.25,"amount":10.5,"side":"buy","timestamp":"2022-04-07T00:07:57.500Z","localTimestamp":"2022-04-07T00:07:57.701687Z"}"#,
    r#"{ "type":"disconnect","exchange":"bybit","localTimestamp":"2024-01-01T00:00:00.000001Z"}"#,
];

/// Pieces that stand for what writers of JSON get wrong or write otherwise.
const PIECES: &[&str] = &[
    "0",
    "00",
    "1",
    "9",
    ".",
    "-",
    "+",
    "e",
    "E",
    "e5",
    "e-7",
    "1e400",
    "99999999999999999999",
    "9223372036854775807",
    "0.000000000000000001",
    "0.0047677363856087895",
    "12.34567890123456789",
    ".0",
    "0.10",
    " ",
    "\n",
    "\t",
    "\\",
    "\\u0041",
    "\"",
    ",",
    ":",
    "{",
    "}",
    "[",
    "]",
    "null",
    "true",
    "false",
    "\"price\":1,",
    "\"amount\":2,",
    "{\"price\":1,\"amount\":2},",
    "\"type\":\"trade\",",
    "\"x\":{\"y\":[1,null]},",
    "Z",
    "T",
    "60",
    "61",
    "\u{e9}",
    "\u{0}",
];

/// `SplitMix64`. Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    /// One of the messages with up to three pieces of damage; one in eight is whole.
    fn message(&mut self, messages: &[&str], bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.extend_from_slice(messages[self.below(messages.len())].as_bytes());
        let damages = if self.below(8) == 0 { 0 } else { 1 + self.below(3) };
        for _ in 0..damages {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(12)).min(bytes.len());
            match self.below(6) {
                0 => drop(bytes.splice(at..at, PIECES[self.below(PIECES.len())].bytes())),
                1 => drop(bytes.splice(at..end, PIECES[self.below(PIECES.len())].bytes())),
                2 => drop(bytes.drain(at..end)),
                3 => {
                    let copy = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    drop(bytes.splice(to..to, copy));
                }
                // A digit for a digit: most such messages stay valid, and other numbers than those written above.
                4 => {
                    for byte in bytes.iter_mut().skip(at).take(12).filter(|byte| byte.is_ascii_digit()) {
                        *byte = b'0' + self.below(10) as u8;
                    }
                }
                _ if at < bytes.len() => bytes[at] = self.below(256) as u8,
                _ => bytes.truncate(at / 2),
            }
        }
    }
}

/// `FUZZ_INPUTS` and `FUZZ_SEED`.
fn inputs_and_seed() -> (u64, u64) {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: not a number: {text}")))
    };
    (number("FUZZ_INPUTS", 40_000), number("FUZZ_SEED", 1))
}

#[test]
fn the_quick_decoder_and_the_general_one_say_the_same_of_every_message() {
    let (inputs, seed) = inputs_and_seed();
    let (mut draw, mut bytes) = (Draw(seed), Vec::new());
    let (mut quick, mut general) = (Decoder::new(), Decoder::new());
    let mut events = 0;
    for index in 0..inputs {
        draw.message(MESSAGES, &mut bytes);
        let (found, expected) = (quick.decode(&bytes), general.decode_any(&bytes));
        assert_eq!(found, expected, "input {index} of seed {seed}: {}", String::from_utf8_lossy(&bytes));
        if let Ok(Message::Event(event)) = found {
            quick.recycle(event);
            events += 1;
        }
    }
    let by_quick = inputs - quick.fallbacks();
    assert!(events > inputs / 20 && by_quick > inputs / 25, "{events} valid, {by_quick} quick of {inputs}: too few");
}

/// Of each exchange: a snapshot, and messages that may follow it.
const EXCHANGES: &[(Source, &str, &[&str])] = &[
    (
        Source::Bybit,
        r#"{"topic":"orderbook.200.BTCUSDT","type":"snapshot","ts":1709891679000,"data":{"s":"BTCUSDT","b":[["27450.00","0.500"]],"a":[["27451.00","0.750"]],"u":7,"seq":21},"cts":1709891678999}"#,
        &[
            r#"{"topic":"orderbook.200.BTCUSDT","type":"delta","ts":1709891679500,"data":{"s":"BTCUSDT","b":[["27450.00","0.400"],["27449.5","12"]],"a":[["27451.00","0"]],"u":8,"seq":24},"cts":1709891679499}"#,
            r#"{"topic":"orderbook.200.BTCUSDT","type":"delta","ts":1709891679500,"data":{"s":"BTCUSDT","b":[],"a":[],"u":1,"seq":24}}"#,
            r#"{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1709891679005,"data":[{"T":1709891679000,"s":"BTCUSDT","S":"Sell","v":"0.010","p":"27451.00","i":"9dc7","BT":false}]}"#,
            r#"{"topic":"tickers.BTCUSDT","type":"snapshot","data":{"symbol":"BTCUSDT","lastPrice":"17216.00","nextFundingTime":"1673280000000"},"cs":2,"ts":1673272861686}"#,
            r#"{"success":true,"ret_msg":"","conn_id":"c","req_id":"","op":"subscribe"}"#,
        ],
    ),
    (
        Source::BitgetV3,
        r#"{"action":"snapshot","arg":{"instType":"usdt-futures","topic":"books","symbol":"BTCUSDT"},"data":[{"a":[["0.5426","51"]],"b":[["0.5420","468"]],"checksum":0,"seq":5,"pseq":0,"ts":"1730332859900"}],"ts":1730332859901}"#,
        &[
            r#"{"action":"update","arg":{"instType":"usdt-futures","topic":"books","symbol":"BTCUSDT"},"data":[{"a":[["0.5427","7.0"]],"b":[["0.5420","468"]],"checksum":0,"seq":9,"pseq":5,"ts":"1730332859988"}],"ts":1730332859991}"#,
            r#"{"action":"update","arg":{"instType":"usdt-futures","topic":"books","symbol":"BTCUSDT"},"data":[{"a":[],"b":[["0.5419","0"]],"checksum":-1258619028,"seq":9,"pseq":5,"ts":"1730332859988"}],"ts":1730332859991}"#,
            r#"{"action":"update","arg":{"instType":"usdt-futures","topic":"publicTrade","symbol":"BTCUSDT"},"data":[{"i":"1","p":"0.16","v":"4","S":"buy","T":"1730332859962"}],"ts":1}"#,
            r#"{"event":"error","code":30001,"msg":"channel:x doesn't exist"}"#,
            "pong",
        ],
    ),
];

#[test]
fn the_quick_decoder_of_an_exchange_and_the_general_one_say_the_same_of_whatever_follows_a_snapshot() {
    let (inputs, seed) = inputs_and_seed();
    let (mut draw, mut bytes) = (Draw(seed), Vec::new());
    for (source, snapshot, messages) in EXCHANGES {
        let symbols = ["BTCUSDT".to_owned()];
        let mut quick = NativeDecoder::new(*source, "x", &symbols, 200);
        let mut general = NativeDecoder::new(*source, "x", &symbols, 200);
        let (mut found, mut expected) = (Vec::new(), Vec::new());
        let mut data = 0;
        for index in 0..inputs / 4 {
            draw.message(messages, &mut bytes);
            for decoder in [&mut quick, &mut general] {
                decoder.begin_connection();
                decoder.decode(snapshot.as_bytes(), 1, &mut found).expect("a snapshot");
            }
            found.clear();
            let said = quick.decode(&bytes, 1, &mut found);
            let meant = general.decode_any(&bytes, 1, &mut expected);
            let text = || format!("input {index} of seed {seed}: {}", String::from_utf8_lossy(&bytes));
            assert_eq!(said, meant, "{}", text());
            assert_eq!(found, expected, "{}", text());
            data += u64::from(said == Ok(Received::Data));
            expected.clear();
            found.drain(..).for_each(|event| quick.recycle(event));
        }
        let by_quick = inputs / 4 * 2 - quick.fallbacks();
        assert!(data > inputs / 80 && by_quick > inputs / 4 + inputs / 100, "{data} data, {by_quick} quick");
    }
}
