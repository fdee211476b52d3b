//! What an exchange's stream may send, and what becomes of it.

use proptest::prelude::*;

use super::*;
use crate::event::Level;
use crate::types::{Decimal, Side};

const NOW: Ns = 1_700_000_000_000_000_000;

struct Stream {
    decoder: NativeDecoder,
    events: Vec<Event>,
}

impl Stream {
    fn of(source: Source) -> Self {
        let exchange = if source == Source::Bybit { "bybit" } else { "bitget-futures" };
        let symbols = ["BTCUSDT".to_owned(), "ETHUSDT".to_owned()];
        Self { decoder: NativeDecoder::new(source, exchange, &symbols, 200), events: Vec::new() }
    }

    fn bybit() -> Self {
        Self::of(Source::Bybit)
    }

    fn take(&mut self, message: &str) -> Received {
        self.decoder.decode(message.as_bytes(), NOW, &mut self.events).unwrap()
    }

    fn loss(&mut self, message: &str) -> (LossKind, String) {
        match self.take(message) {
            Received::Lost(loss) => (loss.kind, loss.reason),
            other => panic!("{message}: {other:?}"),
        }
    }
}

fn bybit_book(kind: &str, bids: &str, u: i64) -> String {
    format!(
        r#"{{"topic":"orderbook.200.BTCUSDT","type":"{kind}","ts":1709891679500,"data":{{"s":"BTCUSDT","b":[{bids}],"a":[["27451.00","0.750"]],"u":{u},"seq":{}}},"cts":1709891679490}}"#,
        u * 3
    )
}

/// A v3 message with the true checksum of `texts`, or another.
fn bitget_book(action: &str, bids: &str, asks: &str, checksum: i32, seq: i64, pseq: i64) -> String {
    format!(
        r#"{{"action":"{action}","arg":{{"instType":"usdt-futures","topic":"books","symbol":"BTCUSDT"}},"data":[{{"a":[{asks}],"b":[{bids}],"checksum":{checksum},"seq":{seq},"pseq":{pseq},"ts":"1730332859988"}}],"ts":1730332859991}}"#
    )
}

fn crc(texts: &str) -> i32 {
    crc32fast::hash(texts.as_bytes()) as i32
}

fn levels(event: &Event) -> (bool, Vec<String>, Vec<String>) {
    let text = |levels: &[Level]| levels.iter().map(|level| format!("{}@{}", level.qty, level.price)).collect();
    match &event.kind {
        EventKind::BookChange { is_snapshot, bids, asks } => (*is_snapshot, text(bids), text(asks)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bybit_book_is_followed_from_its_snapshot_on() {
    let mut stream = Stream::bybit();
    assert_eq!(stream.take(&bybit_book("delta", r#"["27450.00","0.400"]"#, 6)), Received::Nothing);
    assert_eq!(stream.take(&bybit_book("snapshot", r#"["27450.00","0.500"],["27449.50","1.000"]"#, 7)), Received::Data);
    assert_eq!(stream.take(&bybit_book("delta", r#"["27450.00","0"]"#, 8)), Received::Data);
    assert_eq!(
        levels(&stream.events[0]),
        (true, vec!["0.5@27450".into(), "1@27449.5".into()], vec!["0.75@27451".into()])
    );
    assert_eq!(levels(&stream.events[1]).1, ["0@27450"]);
    assert_eq!(stream.events[1].exchange_ts_ns, 1_709_891_679_500_000_000);
    assert_eq!((stream.events[1].local_ts_ns, stream.decoder.fallbacks()), (NOW, 0));
}

#[test]
fn one_message_missing_repeated_or_out_of_order_loses_the_book_until_its_next_snapshot() {
    for u in [9, 7, 6, 100] {
        let mut stream = Stream::bybit();
        stream.take(&bybit_book("snapshot", "", 7));
        let (kind, reason) = stream.loss(&bybit_book("delta", "", u));
        assert_eq!(kind, LossKind::Gap);
        assert!(reason.starts_with("BTCUSDT: ") && reason.contains("came after 7"), "{reason}");
        assert_eq!(stream.take(&bybit_book("delta", "", u + 1)), Received::Nothing);
        assert_eq!(stream.take(&bybit_book("snapshot", "", 50)), Received::Data);
        assert_eq!(stream.take(&bybit_book("delta", "", 51)), Received::Data);
    }
}

#[test]
fn a_restart_of_bybits_service_is_a_snapshot_whatever_its_type_says() {
    let mut stream = Stream::bybit();
    stream.take(&bybit_book("snapshot", "", 7_000));
    assert_eq!(stream.take(&bybit_book("delta", r#"["1","1"]"#, 1)), Received::Data);
    assert!(levels(&stream.events[1]).0);
    assert_eq!(stream.take(&bybit_book("delta", "", 2)), Received::Data);
}

#[test]
fn a_message_written_another_way_gives_the_same_events() {
    let plain = bybit_book("snapshot", r#"["27450.00","0.500"]"#, 7);
    let spaced = plain.replace(':', ": ").replace(',', " ,");
    let (mut a, mut b) = (Stream::bybit(), Stream::bybit());
    a.take(&plain);
    b.take(&spaced);
    assert_eq!((&a.events, b.decoder.fallbacks()), (&b.events, 1));

    let message = bitget_book("snapshot", r#"["0.5420","468"]"#, r#"["0.5426","51"]"#, 0, 5, 0);
    let (mut a, mut b) = (Stream::of(Source::BitgetV3), Stream::of(Source::BitgetV3));
    a.take(&message);
    b.take(&message.replace(':', ": "));
    assert_eq!((&a.events, a.decoder.fallbacks(), b.decoder.fallbacks()), (&b.events, 0, 1));
}

#[test]
fn a_level_that_cannot_be_read_loses_the_book_and_says_so() {
    for bad in [r#"["27450.00","-1"]"#, r#"["x","1"]"#, r#"["1e30","1"]"#] {
        let mut stream = Stream::bybit();
        stream.take(&bybit_book("snapshot", "", 7));
        let (kind, reason) = stream.loss(&bybit_book("delta", bad, 8));
        assert!(kind == LossKind::Unreadable && reason.contains("18 digits"), "{reason}");
    }
    let mut stream = Stream::bybit();
    assert!(stream.decoder.decode(b"{\"topic\":\"orderb", NOW, &mut Vec::new()).is_err());
}

#[test]
fn a_message_that_contradicts_itself_loses_the_book_and_one_of_another_depth_is_passed_over() {
    let mut stream = Stream::bybit();
    stream.take(&bybit_book("snapshot", "", 7));
    let other = bybit_book("delta", "", 8).replace("orderbook.200.", "orderbook.1.");
    assert_eq!(stream.take(&other), Received::Unknown);
    let (kind, reason) = stream.loss(&bybit_book("delta", "", 8).replace(r#""s":"BTCUSDT""#, r#""s":"ETHUSDT""#));
    assert!(kind == LossKind::Unreadable && reason.contains("ETHUSDT"), "{reason}");
}

#[test]
fn spot_and_futures_of_one_symbol_are_not_mixed_up() {
    let mut stream = Stream::of(Source::BitgetV3);
    let snapshot = bitget_book("snapshot", "", r#"["1","1"]"#, 0, 5, 0);
    assert_eq!(stream.take(&snapshot.replace("usdt-futures", "spot")), Received::Unknown);
    assert_eq!(stream.take(&snapshot.replace("usdt-futures", "USDT-FUTURES")), Received::Data);
}

#[test]
fn a_refused_unsubscription_is_no_trouble() {
    let mut stream = Stream::of(Source::BitgetV2);
    assert_eq!(stream.take(r#"{"event":"error","op":"unsubscribe","code":30001,"msg":"x"}"#), Received::Nothing);
}

#[test]
fn what_is_no_message_costs_no_book() {
    for (source, snapshot) in [
        (Source::Bybit, bybit_book("snapshot", "", 7)),
        (Source::BitgetV3, bitget_book("snapshot", "", r#"["1","1"]"#, 0, 5, 0)),
    ] {
        let mut stream = Stream::of(source);
        stream.take(&snapshot);
        for text in ["", " ", "pong"] {
            assert_eq!(stream.take(text), Received::Nothing, "{text:?}");
        }
        for text in ["[]", "null", "1", "\"x\"", "{}"] {
            assert_eq!(stream.take(text), Received::Unknown, "{text:?}");
        }
        for text in ["{", "[", "}{"] {
            assert!(stream.decoder.decode(text.as_bytes(), NOW, &mut Vec::new()).is_err(), "{text:?}");
        }
    }
}

#[test]
fn bitgets_updates_must_continue_each_other_and_match_their_checksum() {
    let mut stream = Stream::of(Source::BitgetV3);
    let (bids, asks) = (r#"["0.5420","468"],["0.5419","1576"]"#, r#"["0.5426","51"]"#);
    assert_eq!(stream.take(&bitget_book("snapshot", bids, asks, 0, 5, 0)), Received::Data);
    let sum = crc("0.5419:1576:0.5426:50.0");
    let update = bitget_book("update", r#"["0.5420","0"]"#, r#"["0.5426","50.0"]"#, sum, 9, 5);
    assert_eq!(stream.take(&update), Received::Data);
    let (kind, _) = stream.loss(&bitget_book("update", "", "", sum, 12, 11));
    assert_eq!(kind, LossKind::Gap);

    assert_eq!(stream.take(&bitget_book("snapshot", bids, asks, 0, 20, 0)), Received::Data);
    let (kind, reason) = stream.loss(&bitget_book("update", r#"["0.5420","469"]"#, "", sum, 21, 20));
    assert!(kind == LossKind::Checksum && reason.contains(&sum.to_string()), "{reason}");
    assert_eq!(stream.take(&bitget_book("update", "", "", 0, 22, 21)), Received::Nothing);
}

#[test]
fn the_second_version_of_bitgets_stream_has_no_previous_number_and_is_checked_all_the_same() {
    let mut stream = Stream::of(Source::BitgetV2);
    let book = |action: &str, bids: &str, checksum: i32, seq: i64| {
        format!(
            r#"{{"action":"{action}","arg":{{"instType":"USDT-FUTURES","channel":"books","instId":"BTCUSDT"}},"data":[{{"asks":[],"bids":[{bids}],"checksum":{checksum},"seq":{seq},"ts":"1730332859988"}}],"ts":1730332859991}}"#
        )
    };
    assert_eq!(stream.take(&book("snapshot", r#"["5.081","536.2"]"#, crc("5.081:536.2"), 5)), Received::Data);
    assert_eq!(stream.take(&book("update", r#"["5.080","1"]"#, crc("5.081:536.2:5.080:1"), 8)), Received::Data);
    assert_eq!(stream.decoder.fallbacks(), 0);
    let missed = book("update", r#"["5.079","1"]"#, crc("5.081:536.2:5.079:1"), 12);
    assert_eq!(stream.loss(&missed).0, LossKind::Checksum);
    stream.take(&book("snapshot", "", 0, 20));
    assert_eq!(stream.loss(&book("update", "", 0, 20)).0, LossKind::Gap);
}

#[test]
fn trades_carry_the_takers_side_and_their_own_time() {
    let mut stream = Stream::bybit();
    let trade = r#"{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1709891679005,"data":[{"T":1709891679000,"s":"BTCUSDT","S":"Sell","v":"0.010","p":"27451.00","i":"9dc7","BT":false}]}"#;
    assert_eq!(stream.take(trade), Received::Data);
    let (price, qty) = (Decimal::new(27451, 0), Decimal::new(1, 2));
    assert_eq!(stream.events[0].exchange_ts_ns, 1_709_891_679_000_000_000);
    assert_eq!(stream.events[0].kind, EventKind::Trade { id: Some("9dc7".into()), price, qty, side: Some(Side::Sell) });
}

#[test]
fn bitgets_first_trade_message_repeats_old_trades_and_is_passed_over() {
    for (source, arg, trade) in [
        (
            Source::BitgetV2,
            r#""channel":"trade","instId""#,
            r#"{"ts":"1730332859962","price":"0.16","size":"4","side":"buy","tradeId":"1"}"#,
        ),
        (
            Source::BitgetV3,
            r#""topic":"publicTrade","symbol""#,
            r#"{"i":"1","p":"0.16","v":"4","S":"buy","T":"1730332859962"}"#,
        ),
    ] {
        let mut stream = Stream::of(source);
        let message = |action: &str| {
            format!(
                r#"{{"action":"{action}","arg":{{"instType":"usdt-futures",{arg}:"BTCUSDT"}},"data":[{trade}],"ts":1}}"#
            )
        };
        assert_eq!(stream.take(&message("snapshot")), Received::Nothing);
        assert_eq!(stream.take(&message("update")), Received::Data);
        assert!(matches!(&stream.events[..], [Event { kind: EventKind::Trade { side: Some(Side::Buy), .. }, .. }]));
    }
}

#[test]
fn tickers_are_merged_and_a_change_before_the_first_whole_one_is_passed_over() {
    let mut stream = Stream::bybit();
    let ticker = |kind: &str, fields: &str| {
        format!(
            r#"{{"topic":"tickers.BTCUSDT","type":"{kind}","data":{{"symbol":"BTCUSDT",{fields}}},"cs":2,"ts":1673272861686}}"#
        )
    };
    assert_eq!(stream.take(&ticker("delta", r#""lastPrice":"1""#)), Received::Nothing);
    stream.take(&ticker(
        "snapshot",
        r#""lastPrice":"17216.00","fundingRate":"-0.000212","nextFundingTime":"1673280000000""#,
    ));
    stream.take(&ticker("delta", r#""markPrice":"17217.33","fundingRate":"""#));
    let EventKind::DerivativeTicker(ticker) = &stream.events[1].kind else { panic!() };
    assert_eq!(ticker.last_price, Some(Decimal::new(17216, 0)));
    assert_eq!(ticker.funding_rate, Some(Decimal::new(-212, 6)));
    assert_eq!(
        (ticker.mark_price, ticker.funding_ts_ns),
        (Some(Decimal::new(1_721_733, 2)), Some(1_673_280_000_000_000_000))
    );
}

#[test]
fn the_liquidation_of_a_long_position_is_a_sale() {
    let mut stream = Stream::bybit();
    stream.take(r#"{"topic":"allLiquidation.BTCUSDT","type":"snapshot","ts":5,"data":[{"T":4,"s":"BTCUSDT","S":"Buy","v":"2","p":"9"}]}"#);
    assert!(matches!(stream.events[0].kind, EventKind::Liquidation { side: Some(Side::Sell), .. }));
}

#[test]
fn answers_are_no_data_and_a_refusal_names_what_was_refused() {
    let mut bybit = Stream::bybit();
    for answer in [
        r#"{"success":true,"ret_msg":"","conn_id":"c","req_id":"","op":"subscribe"}"#,
        r#"{"success":true,"ret_msg":"pong","conn_id":"c","op":"ping"}"#,
        r#"{"op":"pong","args":["1675418560633"],"conn_id":"c"}"#,
    ] {
        assert_eq!(bybit.take(answer), Received::Nothing, "{answer}");
    }
    let refusal =
        r#"{"success":false,"ret_msg":"error:handler not found,topic:orderbook.77.BTCUSDT","op":"subscribe"}"#;
    assert!(matches!(bybit.take(refusal), Received::Refused(reason) if reason.contains("orderbook.77.BTCUSDT")));

    let mut bitget = Stream::of(Source::BitgetV2);
    assert_eq!(bitget.take("pong"), Received::Nothing);
    assert_eq!(
        bitget.take(r#"{"event":"subscribe","arg":{"instType":"USDT-FUTURES","channel":"trade","instId":"LTCUSDT"}}"#),
        Received::Nothing
    );
    let refusal = r#"{"event":"error","code":30001,"msg":"channel:x,instId:BTCUSDT doesn't exist"}"#;
    assert!(
        matches!(bitget.take(refusal), Received::Refused(reason) if reason.contains("instId:BTCUSDT") && reason.contains("30001"))
    );
    assert_eq!(bybit.take(r#"{"topic":"publicTrade.DOGEUSDT","type":"snapshot","ts":1,"data":[]}"#), Received::Unknown);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whichever_message_of_a_stream_is_missing_the_next_one_shows_it(lost in 1..30i64, numbers in prop::collection::vec(1..9i64, 40)) {
        let mut bybit = Stream::bybit();
        let mut bitget = Stream::of(Source::BitgetV3);
        let asks = r#"["27451.00","0.750"]"#;
        bitget.take(&bitget_book("snapshot", "", asks, 0, 1, 0));
        bybit.take(&bybit_book("snapshot", "", 1));
        let mut seq = 1;
        for (i, step) in (1..=30i64).zip(numbers) {
            let (previous, next) = (seq, seq + step);
            seq = next;
            if i == lost {
                continue;
            }
            let (a, b) = (
                bybit.take(&bybit_book("delta", "", i + 1)),
                bitget.take(&bitget_book("update", "", asks, crc("27451.00:0.750"), next, previous)),
            );
            if i < lost {
                prop_assert_eq!((a, b), (Received::Data, Received::Data));
            } else if i == lost + 1 {
                let gap = |received: &Received| matches!(received, Received::Lost(Loss { kind: LossKind::Gap, .. }));
                prop_assert!(gap(&a) && gap(&b));
            } else {
                prop_assert_eq!((a, b), (Received::Nothing, Received::Nothing));
            }
        }
    }
}
