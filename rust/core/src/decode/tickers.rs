//! The message types beside book changes and trades: tickers, sampled books, troubles of the machine.
//!
//! They come seldom enough to be decoded by field name in a second pass over the message.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Malformed, amount, decimal, level_price, missing, rounded, time};
use crate::event::{BookSample, BookTicker, DerivativeTicker, EventKind, Level, UpstreamError};

/// Every field of these types; all optional, because absent values are left out on the wire.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    #[serde(borrow)]
    bid_price: Option<&'a RawValue>,
    #[serde(borrow)]
    bid_amount: Option<&'a RawValue>,
    #[serde(borrow)]
    ask_price: Option<&'a RawValue>,
    #[serde(borrow)]
    ask_amount: Option<&'a RawValue>,
    #[serde(borrow)]
    last_price: Option<&'a RawValue>,
    #[serde(borrow)]
    open_interest: Option<&'a RawValue>,
    #[serde(borrow)]
    funding_rate: Option<&'a RawValue>,
    funding_timestamp: Option<String>,
    #[serde(borrow)]
    predicted_funding_rate: Option<&'a RawValue>,
    #[serde(borrow)]
    index_price: Option<&'a RawValue>,
    #[serde(borrow)]
    mark_price: Option<&'a RawValue>,
    name: Option<String>,
    depth: Option<u32>,
    interval: Option<u64>,
    #[serde(borrow)]
    grouping: Option<&'a RawValue>,
    #[serde(borrow, default)]
    bids: Vec<PartialLevel<'a>>,
    #[serde(borrow, default)]
    asks: Vec<PartialLevel<'a>>,
    details: Option<String>,
    // Spelled so by the machine.
    #[serde(rename = "subSequentErrorsCount")]
    subsequent_errors: Option<u64>,
    symbols: Option<Vec<String>>,
}

/// A level of a sampled book; one that is missing is an empty object.
#[derive(Deserialize)]
struct PartialLevel<'a> {
    #[serde(borrow)]
    price: Option<&'a RawValue>,
    #[serde(borrow)]
    amount: Option<&'a RawValue>,
}

fn fields(bytes: &[u8]) -> Result<Fields<'_>, Malformed> {
    serde_json::from_slice(bytes).map_err(|error| Malformed(error.to_string()))
}

/// The kind of a message of one of these types.
pub(super) fn kind(name: &str, bytes: &[u8]) -> Result<EventKind, Malformed> {
    let fields = fields(bytes)?;
    Ok(match name {
        "book_ticker" => EventKind::BookTicker(Box::new(BookTicker {
            bid_price: optional("bidPrice", fields.bid_price, decimal)?,
            bid_qty: optional("bidAmount", fields.bid_amount, amount)?,
            ask_price: optional("askPrice", fields.ask_price, decimal)?,
            ask_qty: optional("askAmount", fields.ask_amount, amount)?,
        })),
        "derivative_ticker" => EventKind::DerivativeTicker(Box::new(DerivativeTicker {
            last_price: optional("lastPrice", fields.last_price, rounded)?,
            open_interest: optional("openInterest", fields.open_interest, rounded)?,
            funding_rate: optional("fundingRate", fields.funding_rate, rounded)?,
            funding_ts_ns: fields.funding_timestamp.map(|text| time("fundingTimestamp", &text)).transpose()?,
            predicted_funding_rate: optional("predictedFundingRate", fields.predicted_funding_rate, rounded)?,
            index_price: optional("indexPrice", fields.index_price, rounded)?,
            mark_price: optional("markPrice", fields.mark_price, rounded)?,
        })),
        "error" => EventKind::UpstreamError(Box::new(UpstreamError {
            details: fields.details.unwrap_or_default().into_boxed_str(),
            subsequent_errors: fields.subsequent_errors.unwrap_or(0),
        })),
        _ => EventKind::BookSample(Box::new(BookSample {
            name: fields.name.ok_or_else(|| missing(name, "name"))?.into_boxed_str(),
            depth: fields.depth.unwrap_or_else(|| fields.bids.len().max(fields.asks.len()) as u32),
            interval_ms: fields.interval.unwrap_or(0),
            grouping: optional("grouping", fields.grouping, decimal)?,
            bids: levels(&fields.bids)?,
            asks: levels(&fields.asks)?,
        })),
    })
}

/// The symbols a disconnect names, in upper case; `None` when it names none and concerns all of its exchange.
pub(super) fn disconnected_symbols(bytes: &[u8]) -> Result<Option<Vec<String>>, Malformed> {
    let symbols = fields(bytes)?.symbols.filter(|symbols| !symbols.is_empty());
    Ok(symbols.map(|symbols| symbols.iter().map(|symbol| symbol.to_uppercase()).collect()))
}

fn levels(levels: &[PartialLevel<'_>]) -> Result<Vec<Level>, Malformed> {
    let present = levels.iter().filter_map(|level| level.price.zip(level.amount));
    let level = |(price, qty)| Ok(Level { price: level_price("price", price)?, qty: amount("amount", qty)? });
    present.map(level).collect()
}

fn optional<T>(
    field: &str,
    raw: Option<&RawValue>,
    read: fn(&str, &RawValue) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    raw.map(|raw| read(field, raw)).transpose()
}
