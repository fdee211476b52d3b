use super::*;

fn event(text: &str) -> Event {
    match Decoder::new().decode(text.as_bytes()).expect(text) {
        Message::Event(event) => event,
        other => panic!("no event: {other:?}"),
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
    let event = event(r#"{"type":"disconnect","exchange":"bybit","localTimestamp":"2024-01-01T00:00:00.000001Z"}"#);
    assert_eq!((event.kind.clone(), event.symbol.as_ref()), (EventKind::Disconnect, ""));
    assert!(event.disconnects("bybit", "A") && !event.disconnects("bitget", "A"));
}

#[test]
fn a_disconnect_that_names_symbols_concerns_them_alone() {
    let text =
        r#"{"type":"disconnect","exchange":"bybit","localTimestamp":"2024-01-01T00:00:00Z","symbols":["a","B"]}"#;
    let events = Decoder::new().decode(text.as_bytes()).expect(text).into_events();
    let hit = |symbol: &str| events.iter().any(|event| event.disconnects("bybit", symbol));
    assert_eq!((events.len(), hit("A"), hit("B"), hit("C")), (2, true, true, false));
}

#[test]
fn a_quote_is_a_sampled_book_of_depth_one_and_missing_levels_are_empty_objects() {
    let EventKind::BookSample(quote) = event(
        r#"{"type":"book_snapshot","name":"quote","symbol":"S","exchange":"x","depth":1,"interval":0,
        "bids":[{"price":1.5,"amount":2}],"asks":[{}],"localTimestamp":"2024-01-01T00:00:00Z"}"#,
    )
    .kind
    else {
        panic!()
    };
    assert_eq!((&*quote.name, quote.depth, quote.bids.len(), quote.asks.len()), ("quote", 1, 1, 0));
}

#[test]
fn tickers_carry_what_the_exchange_gave_and_nothing_else() {
    let kind = |fields: &str| {
        event(&format!(r#"{{{fields},"symbol":"S","exchange":"x","localTimestamp":"2024-01-01T00:00:00Z"}}"#)).kind
    };
    let EventKind::BookTicker(touch) = kind(r#""type":"book_ticker","bidPrice":1.5,"bidAmount":3"#) else { panic!() };
    assert_eq!((touch.bid_price, touch.ask_price), (Some(Decimal::new(15, 1)), None));
    let EventKind::DerivativeTicker(ticker) = kind(
        r#""type":"derivative_ticker","fundingRate":-0.0001,"fundingTimestamp":"2024-01-01T08:00:00.000Z",
        "predictedFundingRate":3.571428571428571e-5"#,
    ) else {
        panic!()
    };
    assert_eq!(ticker.funding_rate.map(|rate| rate.to_string()), Some("-0.0001".into()));
    assert_eq!(ticker.funding_ts_ns, parse_iso_ns("2024-01-01T08:00:00Z"));
    assert!(ticker.predicted_funding_rate.is_some() && ticker.mark_price.is_none());
    let EventKind::Liquidation { side: Some(Side::Buy), .. } =
        kind(r#""type":"liquidation","price":1,"amount":2,"side":"buy""#)
    else {
        panic!()
    };
}

#[test]
fn an_error_message_is_an_event_with_the_machine_s_words() {
    let text = r#"{"type":"error","exchange":"x","details":"no route","subSequentErrorsCount":4,"localTimestamp":"2024-01-01T00:00:00Z"}"#;
    let EventKind::UpstreamError(error) = event(text).kind else { panic!() };
    assert_eq!((&*error.details, error.subsequent_errors), ("no route", 4));
}

#[test]
fn a_key_that_comes_twice_is_refused_because_nobody_knows_which_was_meant() {
    assert!(reason(&TRADE.replace("\"amount\"", "\"price\":1,\"amount\"")).contains("duplicate field"));
    let book = r#"{"type":"book_change","symbol":"S","exchange":"x","isSnapshot":false,
        "bids":[{"price":1,"price":2,"amount":1}],"localTimestamp":"2024-01-01T00:00:00Z"}"#;
    assert!(reason(book).contains("duplicate field"), "{}", reason(book));
}

#[test]
fn unknown_types_and_keys_are_passed_over() {
    let bar = r#"{"type":"trade_bar","name":"trade_bar_1m","open":1,"localTimestamp":"2024-01-01T00:00:00Z"}"#;
    for text in [r#"{"type":"hologram","price":{"x":[1]}}"#, bar] {
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

#[test]
fn an_amount_of_more_digits_than_fit_is_rounded_and_a_price_is_refused() {
    let book = r#"{"type":"book_change","symbol":"S","exchange":"x","isSnapshot":false,"bids":[{"price":1.5,"amount":0.0047677363856087895}],"asks":[],"timestamp":"2024-01-01T00:00:00.000Z","localTimestamp":"2024-01-01T00:00:00.000Z"}"#;
    let EventKind::BookChange { bids, .. } = event(book).kind else { panic!() };
    assert_eq!((bids[0].price.to_string(), bids[0].qty.to_string()), ("1.5".into(), "0.00476773638560879".into()));
    for amount in ["0.0030000000000000005", "1.23456789012345678901", "1.2345678901234567e-5", "1e-300"] {
        let trade = event(&TRADE.replace("1e-7", amount));
        assert!(matches!(trade.kind, EventKind::Trade { qty, .. } if qty.decimals <= 18), "{amount}");
    }
    let refused = reason(&book.replace("1.5", "0.0047677363856087895"));
    assert!(refused.contains("`price` has more than 18 digits"), "{refused}");
    let refused = reason(&TRADE.replace("1e-7", "1e19"));
    assert!(refused.contains("`amount` is no number below 9.2e18"), "{refused}");
}

#[test]
fn names_never_heard_before_do_not_pile_up() {
    let mut names = Interner::default();
    let first = names.get("A");
    for index in 0..3 * MAX_TEXTS {
        names.get(&index.to_string());
        assert!(names.all.len() <= MAX_TEXTS);
    }
    names.get(&"X".repeat(MAX_TEXT_BYTES + 1));
    assert!(names.all.iter().all(|name| name.len() <= MAX_TEXT_BYTES));
    assert_eq!(names.get("A"), first);
    assert!(Arc::ptr_eq(&names.get("A"), &names.get("A")));
}
