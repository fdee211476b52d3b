//! Bybit v5, public streams.
//!
//! Source: Bybit API documentation, v5, WebSocket public: `orderbook` (`u` rises by one a message of a topic; `u` = 1
//! after a restart of the service, that message then being a snapshot; size 0 deletes), `publicTrade`, `tickers`
//! (fields that did not change are left out), `allLiquidation` (`S` is the side of the position that was closed).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::scan::Scan;
use super::{Link, LossKind, NativeDecoder, Received, decimal, looked_at, ms, ms_text};
use crate::decode::Malformed;
use crate::event::{DerivativeTicker, Event, EventKind, Level};
use crate::types::{Ns, Side};

/// A message of any form.
pub(super) fn decode_any(
    decoder: &mut NativeDecoder,
    bytes: &[u8],
    local_ts_ns: Ns,
    events: &mut Vec<Event>,
) -> Result<Received, Malformed> {
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(|error| Malformed(error.to_string()))?;
    let (Some(topic), Some(data)) = (envelope.topic.as_deref(), envelope.data) else {
        return Ok(answer(&envelope));
    };
    let Some((channel, symbol)) = topic.rsplit_once('.') else { return Ok(Received::Unknown) };
    if decoder.markets.find(symbol).is_none() {
        return Ok(Received::Unknown);
    }
    let is_snapshot = envelope.kind.as_deref() == Some("snapshot");
    match channel.split('.').next() {
        Some("orderbook") if channel != format!("orderbook.{}", decoder.book_depth) => Ok(Received::Unknown),
        Some("orderbook") => Ok(match book(decoder, is_snapshot, envelope.ts, data) {
            Ok((event, link)) => decoder.follow(event, &link, local_ts_ns, events),
            Err(error) => decoder.markets.all[decoder.markets.last].lose(LossKind::Unreadable, &error.0),
        }),
        Some("publicTrade") => {
            prints(decoder, data, local_ts_ns, events, |id, price, qty, side| EventKind::Trade { id, price, qty, side })
        }
        Some("allLiquidation") => prints(decoder, data, local_ts_ns, events, |id, price, qty, position| {
            // A long position is closed by a sale.
            let side = position.map(|side| if side == Side::Buy { Side::Sell } else { Side::Buy });
            EventKind::Liquidation { id, price, qty, side }
        }),
        Some("tickers") => ticker(decoder, is_snapshot, envelope.ts, data, local_ts_ns, events),
        _ => Ok(Received::Unknown),
    }
}

/// A book message in the form in which Bybit writes it; `None` for any other.
#[inline]
pub(super) fn book_as_written(decoder: &mut NativeDecoder, bytes: &[u8]) -> Option<(Event, Link)> {
    let mut scan = Scan::new(bytes);
    scan.skip(b"{\"topic\":\"orderbook.")?;
    if scan.integer()? != i64::from(decoder.book_depth) {
        return None;
    }
    scan.skip(b".")?;
    let symbol = scan.text()?;
    let market = decoder.markets.find(symbol)?;
    let mut event = decoder.spare.book_change(&decoder.exchange, &market.symbol);
    let EventKind::BookChange { is_snapshot, bids, asks } = &mut event.kind else { return None };
    scan.skip(b",\"type\":\"")?;
    *is_snapshot = !scan.passes(b"delta\"");
    if *is_snapshot {
        scan.skip(b"snapshot\"")?;
    }
    scan.skip(b",\"ts\":")?;
    event.exchange_ts_ns = ms(scan.integer()?).ok()?;
    scan.skip(b",\"data\":{\"s\":\"")?;
    scan.skip(symbol.as_bytes())?;
    scan.skip(b"\",\"b\":[")?;
    bids.clear();
    scan.levels(|level, _, _| bids.push(level))?;
    scan.skip(b",\"a\":[")?;
    asks.clear();
    scan.levels(|level, _, _| asks.push(level))?;
    scan.skip(b",\"u\":")?;
    let u = scan.integer()?;
    scan.skip(b",\"seq\":")?;
    scan.integer()?;
    scan.skip(b"}")?;
    if scan.passes(b",\"cts\":") {
        scan.integer()?;
    }
    scan.skip(b"}")?;
    *is_snapshot |= u == RESTART;
    scan.rest().is_empty().then_some((event, link(u)))
}

/// The number of the first message after a restart of the service.
const RESTART: i64 = 1;

fn link(u: i64) -> Link {
    Link { id: Some(u), previous: Some(u.wrapping_sub(1)), checksum: None }
}

fn book(
    decoder: &mut NativeDecoder,
    is_snapshot: bool,
    ts_ms: Option<i64>,
    data: &RawValue,
) -> Result<(Event, Link), Malformed> {
    let wire: Book<'_> = read(data)?;
    let named = wire.s.as_deref().unwrap_or_default();
    if !named.is_empty() && *named != *decoder.markets.all[decoder.markets.last].symbol {
        return Err(Malformed(format!("the data of this topic's message is that of {named}")));
    }
    let exchange_ts_ns = ms(ts_ms.ok_or_else(|| Malformed("book message without `ts`".to_owned()))?)?;
    let market = &decoder.markets.all[decoder.markets.last];
    let levels = |side: Vec<(Cow<'_, str>, Cow<'_, str>)>| {
        let level = |(price, qty): (Cow<'_, str>, Cow<'_, str>)| {
            Ok(Level { price: decimal("price", &price)?, qty: decimal("size", &qty)? })
        };
        side.into_iter().map(level).collect::<Result<Vec<_>, Malformed>>()
    };
    let kind = EventKind::BookChange {
        is_snapshot: is_snapshot || wire.u == RESTART,
        bids: levels(wire.b)?,
        asks: levels(wire.a)?,
    };
    let (exchange, symbol) = (decoder.exchange.clone(), market.symbol.clone());
    Ok((Event { exchange, symbol, exchange_ts_ns, local_ts_ns: 0, kind }, link(wire.u)))
}

/// Trades and liquidations, which look alike.
fn prints(
    decoder: &NativeDecoder,
    data: &RawValue,
    local_ts_ns: Ns,
    events: &mut Vec<Event>,
    kind: impl Fn(Option<Box<str>>, crate::types::Decimal, crate::types::Decimal, Option<Side>) -> EventKind,
) -> Result<Received, Malformed> {
    let prints: Vec<Print<'_>> = read(data)?;
    let market = &decoder.markets.all[decoder.markets.last];
    for print in prints {
        let side = match &*print.side {
            "Buy" => Some(Side::Buy),
            "Sell" => Some(Side::Sell),
            _ => None,
        };
        let id = print.id.map(|id| id.into_owned().into_boxed_str());
        events.push(Event {
            exchange: decoder.exchange.clone(),
            symbol: market.symbol.clone(),
            exchange_ts_ns: ms(print.ts_ms)?,
            local_ts_ns,
            kind: kind(id, decimal("p", &print.price)?, decimal("v", &print.qty)?, side),
        });
    }
    Ok(Received::Data)
}

fn ticker(
    decoder: &mut NativeDecoder,
    is_snapshot: bool,
    ts_ms: Option<i64>,
    data: &RawValue,
    local_ts_ns: Ns,
    events: &mut Vec<Event>,
) -> Result<Received, Malformed> {
    let wire: Ticker<'_> = read(data)?;
    let market = &mut decoder.markets.all[decoder.markets.last];
    if is_snapshot {
        market.ticker = Some(DerivativeTicker::default());
    }
    let Some(ticker) = &mut market.ticker else { return Ok(Received::Nothing) };
    let fields = [
        ("lastPrice", wire.last_price, &mut ticker.last_price),
        ("openInterest", wire.open_interest, &mut ticker.open_interest),
        ("fundingRate", wire.funding_rate, &mut ticker.funding_rate),
        ("indexPrice", wire.index_price, &mut ticker.index_price),
        ("markPrice", wire.mark_price, &mut ticker.mark_price),
    ];
    for (name, text, place) in fields {
        looked_at(name, text.as_deref().unwrap_or_default(), place)?;
    }
    if let Some(text) = wire.next_funding_time.filter(|text| !text.is_empty()) {
        ticker.funding_ts_ns = Some(ms_text("nextFundingTime", &text)?);
    }
    events.push(Event {
        exchange: decoder.exchange.clone(),
        symbol: market.symbol.clone(),
        exchange_ts_ns: ts_ms.map_or(Ok(local_ts_ns), ms)?,
        local_ts_ns,
        kind: EventKind::DerivativeTicker(Box::new(*ticker)),
    });
    Ok(Received::Data)
}

fn answer(envelope: &Envelope<'_>) -> Received {
    match (envelope.success, envelope.op.as_deref()) {
        (Some(true), _) | (None | Some(false), Some("unsubscribe" | "pong")) => Received::Nothing,
        (Some(false), op) => {
            let (op, said) = (op.unwrap_or("request"), envelope.ret_msg.as_deref().unwrap_or("no reason given"));
            Received::Refused(format!("Bybit refused to {op}: {said}"))
        }
        (None, _) => Received::Unknown,
    }
}

fn read<'a, T: Deserialize<'a>>(data: &'a RawValue) -> Result<T, Malformed> {
    serde_json::from_str(data.get()).map_err(|error| Malformed(error.to_string()))
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    topic: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    ts: Option<i64>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    success: Option<bool>,
    #[serde(borrow)]
    op: Option<Cow<'a, str>>,
    #[serde(borrow)]
    ret_msg: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Book<'a> {
    #[serde(borrow)]
    s: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    b: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    #[serde(borrow, default)]
    a: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    u: i64,
}

#[derive(Deserialize)]
struct Print<'a> {
    #[serde(rename = "T")]
    ts_ms: i64,
    #[serde(borrow, rename = "S")]
    side: Cow<'a, str>,
    #[serde(borrow, rename = "p")]
    price: Cow<'a, str>,
    #[serde(borrow, rename = "v")]
    qty: Cow<'a, str>,
    #[serde(borrow, rename = "i")]
    id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ticker<'a> {
    #[serde(borrow)]
    last_price: Option<Cow<'a, str>>,
    #[serde(borrow)]
    open_interest: Option<Cow<'a, str>>,
    #[serde(borrow)]
    funding_rate: Option<Cow<'a, str>>,
    #[serde(borrow)]
    next_funding_time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    index_price: Option<Cow<'a, str>>,
    #[serde(borrow)]
    mark_price: Option<Cow<'a, str>>,
}
