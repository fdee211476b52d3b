//! Bybit v5, public streams.
//!
//! Source: Bybit API documentation, v5, WebSocket public: `orderbook` (`u` rises by one a message of a topic; `u` = 1
//! after a restart of the service, that message then being a snapshot; size 0 deletes), `publicTrade`, `tickers`
//! (fields that did not change are left out), `allLiquidation` (`S` is the side of the position that was closed).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::fields::{Pair, TickerFields, decimal, level, ms, read, side};
use super::scan::Scan;
use super::{Link, LossKind, NativeDecoder, Received};
use crate::decode::Malformed;
use crate::event::{DerivativeTicker, Event, EventKind};
use crate::types::{Decimal, Ns, Side};

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
            Err(error) => decoder.markets.found().lose(LossKind::Unreadable, &error.0),
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
    if !named.is_empty() && *named != *decoder.markets.found().symbol {
        return Err(Malformed(format!("the data of this topic's message is that of {named}")));
    }
    let exchange_ts_ns = ms(ts_ms.ok_or_else(|| Malformed("book message without `ts`".to_owned()))?)?;
    let levels = |side: &[Pair<'_>]| side.iter().map(level).collect::<Result<Vec<_>, _>>();
    let kind = EventKind::BookChange {
        is_snapshot: is_snapshot || wire.u == RESTART,
        bids: levels(&wire.b)?,
        asks: levels(&wire.a)?,
    };
    Ok((decoder.event(exchange_ts_ns, 0, kind), link(wire.u)))
}

/// Trades and liquidations, which look alike.
fn prints(
    decoder: &NativeDecoder,
    data: &RawValue,
    local_ts_ns: Ns,
    events: &mut Vec<Event>,
    kind: impl Fn(Option<Box<str>>, Decimal, Decimal, Option<Side>) -> EventKind,
) -> Result<Received, Malformed> {
    let prints: Vec<Print<'_>> = read(data)?;
    for print in prints {
        let id = print.id.map(|id| id.into_owned().into_boxed_str());
        let exchange_ts_ns = ms(print.ts_ms)?;
        let kind = kind(id, decimal("p", &print.price)?, decimal("v", &print.qty)?, side(&print.side));
        events.push(decoder.event(exchange_ts_ns, local_ts_ns, kind));
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
    let fields: TickerFields<'_> = read(data)?;
    let market = decoder.markets.found();
    if is_snapshot {
        market.ticker = Some(DerivativeTicker::default());
    }
    let Some(ticker) = &mut market.ticker else { return Ok(Received::Nothing) };
    fields.merge_into(ticker)?;
    let kind = EventKind::DerivativeTicker(Box::new(*ticker));
    events.push(decoder.event(ts_ms.map_or(Ok(local_ts_ns), ms)?, local_ts_ns, kind));
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
    b: Vec<Pair<'a>>,
    #[serde(borrow, default)]
    a: Vec<Pair<'a>>,
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
