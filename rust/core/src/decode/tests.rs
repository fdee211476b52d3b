use super::*;

fn event(text: &str) -> Event {
    match Decoder::new().decode(text.as_bytes()).expect(text) {
        Message::Event(event) => event,
        Message::Other { .. } => panic!("no event: {text}"),
    }
}

fn reason(text: &str) -> String {
    Decoder::new().decode(text.as_bytes()).expect_err(text).0
}

const TRADE: &str = r#"{"type":"trade","symbol":"BTCUSDT","exchange":"bybit","id":"7","price":61800.3,"amount":1e-7,
    "side":"sell","timestamp":"2024-08-08T23:54:16.322Z","localTimestamp":"2024-08-08T23:54:15.088176Z"}"#;

#[test]
fn a_trade_keeps_the_decimals_it_was_written_with() {
    let EventKind::Trade { id, price, qty, side } = event(TRADE).kind else { panic!() };
    assert_eq!((id.as_deref(), side), (Some("7"), Some(Side::Sell)));
    assert_eq!((price.to_string(), qty.to_string()), ("61800.3".into(), "0.0000001".into()));
}

#[test]
fn local_time_may_lie_before_exchange_time() {
    let event = event(TRADE);
    assert_eq!(event.local_ts_ns - event.exchange_ts_ns, -1_233_824_000);
}

#[test]
fn fields_without_a_value_are_left_out_and_that_is_no_error() {
    let trade = event(
        r#"{"type":"trade","symbol":"S","exchange":"x","price":1,"amount":2,"localTimestamp":"2024-01-01T00:00:00Z"}"#,
    );
    assert_eq!(trade.exchange_ts_ns, trade.local_ts_ns);
    let EventKind::Trade { id: None, side: None, .. } = trade.kind else { panic!() };
    let book = event(
        r#"{"type":"book_change","symbol":"S","exchange":"x","isSnapshot":true,"localTimestamp":"2024-01-01T00:00:00Z"}"#,
    );
    assert_eq!(book.kind, EventKind::BookChange { is_snapshot: true, bids: vec![], asks: vec![] });
}

#[test]
fn a_disconnect_has_no_symbol_and_no_exchange_time() {
    let text =
        r#"{"type":"disconnect","exchange":"bybit","localTimestamp":"2024-01-01T00:00:00.000001Z","symbols":["A"]}"#;
    let event = event(text);
    assert_eq!((event.kind, event.symbol.as_ref()), (EventKind::Disconnect, ""));
}

#[test]
fn unknown_types_and_keys_are_passed_over() {
    let quote =
        r#"{"type":"book_snapshot","name":"quote","bids":[{}],"asks":[{}],"localTimestamp":"2024-01-01T00:00:00Z"}"#;
    for text in [r#"{"type":"hologram","price":{"x":[1]}}"#, quote] {
        assert!(matches!(Decoder::new().decode(text.as_bytes()), Ok(Message::Other { .. })), "{text}");
    }
    event(&TRADE.replace("\"id\"", "\"future\":{\"a\":[null]},\"id\""));
}

#[test]
fn an_error_object_in_the_stream_is_an_error_that_repeats_its_message() {
    let reason = reason(r#"{"message":"HttpError: status code: 401","url":"x"}"#);
    assert!(reason.contains("without `type`") && reason.contains("401"), "{reason}");
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    assert!(reason(&TRADE.replace("\"price\"", "\"prize\"")).contains("trade without `price`"));
    assert!(reason(&TRADE.replace("61800.3", "\"61800.3\"")).contains("`price` is no number"));
    assert!(reason(&TRADE.replace("1e-7", "-1")).contains("negative"));
    assert!(reason(&TRADE.replace("15.088176Z", "15,088")).contains("localTimestamp"));
    let book = r#"{"type":"book_change","symbol":"S","exchange":"x","isSnapshot":false,"bids":[{"price":1}],"asks":[],
        "localTimestamp":"2024-01-01T00:00:00Z"}"#;
    assert!(reason(book).contains("`bids`: missing field `amount`"), "{}", reason(book));
    assert!(reason("{\"type\":\"tra").contains("EOF"));
}

#[test]
fn events_of_one_symbol_share_its_text() {
    let mut decoder = Decoder::new();
    let mut symbol = || match decoder.decode(TRADE.as_bytes()) {
        Ok(Message::Event(event)) => event.symbol,
        other => panic!("{other:?}"),
    };
    assert!(Arc::ptr_eq(&symbol(), &symbol()));
}
