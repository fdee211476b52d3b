//! [`Event`] -> Tardis normalised JSON message, byte for byte as tardis-machine writes it.

use crate::event::{BookSample, BookTicker, DerivativeTicker, Event, EventKind, Level};
use crate::time::format_iso;
use crate::types::{Decimal, Ns, Side};

/// The `type` of the message an event becomes.
pub fn message_type(event: &Event) -> &'static str {
    match event.kind {
        EventKind::BookChange { .. } => "book_change",
        EventKind::Trade { .. } => "trade",
        EventKind::BookTicker(_) => "book_ticker",
        EventKind::DerivativeTicker(_) => "derivative_ticker",
        EventKind::Liquidation { .. } => "liquidation",
        EventKind::BookSample(_) => "book_snapshot",
        EventKind::UpstreamError(_) => "error",
        EventKind::Disconnect => "disconnect",
    }
}

/// Appends the event as one JSON object, without a newline. Times finer than a microsecond are cut off.
pub fn encode(event: &Event, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(message_type(event).as_bytes());
    out.push(b'"');
    let of_symbol = !matches!(event.kind, EventKind::Disconnect | EventKind::UpstreamError(_));
    if of_symbol {
        field_text("symbol", &event.symbol, out);
    }
    field_text("exchange", &event.exchange, out);
    match &event.kind {
        EventKind::BookChange { is_snapshot, bids, asks } => {
            out.extend_from_slice(if *is_snapshot { b",\"isSnapshot\":true" } else { b",\"isSnapshot\":false" });
            field_levels("bids", bids, out);
            field_levels("asks", asks, out);
        }
        EventKind::Trade { id, price, qty, side } | EventKind::Liquidation { id, price, qty, side } => {
            if let Some(id) = id {
                field_text("id", id, out);
            }
            field_number("price", *price, out);
            field_number("amount", *qty, out);
            field_text("side", side.map_or("unknown", |s| if s == Side::Buy { "buy" } else { "sell" }), out);
        }
        EventKind::BookTicker(ticker) => fields_of_book_ticker(ticker, out),
        EventKind::DerivativeTicker(ticker) => fields_of_derivative_ticker(ticker, out),
        EventKind::BookSample(sample) => fields_of_book_sample(sample, out),
        EventKind::UpstreamError(error) => {
            field_text("details", &error.details, out);
            field_integer("subSequentErrorsCount", error.subsequent_errors, out);
        }
        EventKind::Disconnect if event.symbol.is_empty() => {}
        EventKind::Disconnect => field_symbols(std::slice::from_ref(&event.symbol), out),
    }
    if of_symbol {
        field_text("timestamp", &format_iso(event.exchange_ts_ns, exchange_digits(event.exchange_ts_ns)), out);
    }
    field_text("localTimestamp", &format_iso(event.local_ts_ns, 6), out);
    out.push(b'}');
}

/// Appends a disconnect of the books of `symbols`, at least one, in the form of [`encode`].
pub fn encode_disconnect<S: AsRef<str>>(exchange: &str, symbols: &[S], local_ts_ns: Ns, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"disconnect\"");
    field_text("exchange", exchange, out);
    field_symbols(symbols, out);
    field_text("localTimestamp", &format_iso(local_ts_ns, 6), out);
    out.push(b'}');
}

fn field_symbols<S: AsRef<str>>(symbols: &[S], out: &mut Vec<u8>) {
    key("symbols", out);
    out.push(b'[');
    for (i, symbol) in symbols.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        text(symbol.as_ref(), out);
    }
    out.push(b']');
}

fn fields_of_book_ticker(ticker: &BookTicker, out: &mut Vec<u8>) {
    field_optional("askAmount", ticker.ask_qty, out);
    field_optional("askPrice", ticker.ask_price, out);
    field_optional("bidPrice", ticker.bid_price, out);
    field_optional("bidAmount", ticker.bid_qty, out);
}

fn fields_of_derivative_ticker(ticker: &DerivativeTicker, out: &mut Vec<u8>) {
    field_optional("lastPrice", ticker.last_price, out);
    field_optional("openInterest", ticker.open_interest, out);
    field_optional("fundingRate", ticker.funding_rate, out);
    if let Some(ns) = ticker.funding_ts_ns {
        field_text("fundingTimestamp", &format_iso(ns, exchange_digits(ns)), out);
    }
    field_optional("predictedFundingRate", ticker.predicted_funding_rate, out);
    field_optional("indexPrice", ticker.index_price, out);
    field_optional("markPrice", ticker.mark_price, out);
}

fn fields_of_book_sample(sample: &BookSample, out: &mut Vec<u8>) {
    field_text("name", &sample.name, out);
    field_integer("depth", u64::from(sample.depth), out);
    field_integer("interval", sample.interval_ms, out);
    field_optional("grouping", sample.grouping, out);
    for (name, levels) in [("bids", &sample.bids), ("asks", &sample.asks)] {
        field_levels(name, levels, out);
        // A side has exactly `depth` entries; those without a level are empty objects.
        out.pop();
        for i in levels.len()..sample.depth as usize {
            out.extend_from_slice(if i == 0 { b"{}" } else { b",{}" });
        }
        out.push(b']');
    }
}

/// Exchange times have milliseconds, unless the exchange gives microseconds.
fn exchange_digits(ns: Ns) -> u32 {
    if ns % 1_000_000 == 0 { 3 } else { 6 }
}

fn key(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn field_text(name: &str, value: &str, out: &mut Vec<u8>) {
    key(name, out);
    text(value, out);
}

fn text(value: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            c if c < ' ' => out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes()),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

fn field_number(name: &str, number: Decimal, out: &mut Vec<u8>) {
    key(name, out);
    push_number(number, out);
}

fn field_optional(name: &str, number: Option<Decimal>, out: &mut Vec<u8>) {
    if let Some(number) = number {
        field_number(name, number, out);
    }
}

fn field_integer(name: &str, number: u64, out: &mut Vec<u8>) {
    key(name, out);
    out.extend_from_slice(number.to_string().as_bytes());
}

fn field_levels(name: &str, levels: &[Level], out: &mut Vec<u8>) {
    key(name, out);
    out.push(b'[');
    for (i, level) in levels.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"{\"price\":" } else { b",{\"price\":" });
        push_number(level.price, out);
        out.extend_from_slice(b",\"amount\":");
        push_number(level.qty, out);
        out.push(b'}');
    }
    out.push(b']');
}

/// Shortest decimal text, with an exponent below 1e-6 as JavaScript writes it.
fn push_number(number: Decimal, out: &mut Vec<u8>) {
    let digits = number.mantissa.unsigned_abs().to_string();
    let exponent = digits.len() as i64 - 1 - i64::from(number.decimals);
    if number.mantissa == 0 || exponent >= -6 {
        out.extend_from_slice(number.to_string().as_bytes());
        return;
    }
    if number.mantissa < 0 {
        out.push(b'-');
    }
    let (first, rest) = digits.split_at(1);
    out.extend_from_slice(first.as_bytes());
    let rest = rest.trim_end_matches('0');
    if !rest.is_empty() {
        out.push(b'.');
        out.extend_from_slice(rest.as_bytes());
    }
    out.extend_from_slice(format!("e{exponent}").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Decoder, Message};

    fn round_trip(text: &str) {
        let Ok(Message::Event(event)) = Decoder::new().decode(text.as_bytes()) else { panic!("{text}") };
        let mut out = Vec::new();
        encode(&event, &mut out);
        assert_eq!(String::from_utf8(out).expect("utf-8"), text);
    }

    #[test]
    fn messages_survive_decoding_and_encoding_byte_for_byte() {
        round_trip(
            r#"{"type":"trade","symbol":"BTCUSDT","exchange":"binance","id":"3","price":61837.63,"amount":0.02,"side":"sell","timestamp":"2024-08-08T23:54:15.342Z","localTimestamp":"2024-08-08T23:54:14.087896Z"}"#,
        );
        round_trip(
            r#"{"type":"trade","symbol":"S","exchange":"bitget","price":1e-7,"amount":1.25e-8,"side":"unknown","timestamp":"2024-08-08T23:54:15.342001Z","localTimestamp":"2024-08-08T23:54:14.000000Z"}"#,
        );
        round_trip(
            r#"{"type":"book_change","symbol":"CULTUSDT","exchange":"bitget","isSnapshot":true,"bids":[{"price":0.00003505,"amount":285020},{"price":0.000035,"amount":0}],"asks":[],"timestamp":"2022-04-07T00:07:57.500Z","localTimestamp":"2022-04-07T00:07:57.701687Z"}"#,
        );
        round_trip(
            r#"{"type":"book_ticker","symbol":"S","exchange":"bybit","askPrice":2.5,"bidPrice":2,"bidAmount":7,"timestamp":"2024-01-01T00:00:00.000Z","localTimestamp":"2024-01-01T00:00:00.000001Z"}"#,
        );
        round_trip(
            r#"{"type":"derivative_ticker","symbol":"S","exchange":"bybit","lastPrice":1,"fundingRate":-0.000125,"fundingTimestamp":"2024-01-01T08:00:00.000Z","markPrice":1.5,"timestamp":"2024-01-01T00:00:00.000Z","localTimestamp":"2024-01-01T00:00:00.000001Z"}"#,
        );
        round_trip(
            r#"{"type":"liquidation","symbol":"S","exchange":"bybit","price":1,"amount":3,"side":"buy","timestamp":"2024-01-01T00:00:00.000Z","localTimestamp":"2024-01-01T00:00:00.000001Z"}"#,
        );
        round_trip(
            r#"{"type":"book_snapshot","symbol":"S","exchange":"bybit","name":"book_snapshot_2_grouped10_1s","depth":2,"interval":1000,"grouping":10,"bids":[{"price":10,"amount":3},{}],"asks":[{},{}],"timestamp":"2024-01-01T00:00:00.000Z","localTimestamp":"2024-01-01T00:00:00.000001Z"}"#,
        );
        round_trip(
            r#"{"type":"error","exchange":"bybit","details":"no route","subSequentErrorsCount":3,"localTimestamp":"2024-01-01T00:00:00.000001Z"}"#,
        );
        round_trip(r#"{"type":"disconnect","exchange":"bybit","localTimestamp":"2024-01-01T00:00:00.000001Z"}"#);
    }

    #[test]
    fn text_is_escaped() {
        round_trip(
            r#"{"type":"trade","symbol":"A\"B\\","exchange":"x","id":"\u0001é","price":1,"amount":2,"side":"buy","timestamp":"2024-08-08T23:54:15.342Z","localTimestamp":"2024-08-08T23:54:14.087896Z"}"#,
        );
    }
}
