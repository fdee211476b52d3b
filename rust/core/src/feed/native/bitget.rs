//! Bitget's public streams, v2 and v3, which differ in names only.
//!
//! Source: Bitget API documentation, WebSocket public channels of v2 (`channel`, `instId`, `bids`, `asks`) and of the
//! unified account, v3 (`topic`, `symbol`, `b`, `a`). `pseq` of a book update is the `seq` of the update before it; the
//! checksum is 0 where none was computed, as in v3 snapshots. The first message of a trade channel repeats old trades.

use std::borrow::Cow;

use memchr::memchr;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::checksum::ChecksumBook;
use super::fields::{Pair, TickerFields, decimal, level, ms, ms_text, read, side};
use super::requests::bitget_product;
use super::scan::Scan;
use super::{Link, LossKind, Market, Markets, NativeDecoder, Received};
use crate::decode::Malformed;
use crate::event::{DerivativeTicker, Event, EventKind, Level};
use crate::types::Ns;

/// A message of any form.
pub(super) fn decode_any(
    decoder: &mut NativeDecoder,
    bytes: &[u8],
    local_ts_ns: Ns,
    events: &mut Vec<Event>,
) -> Result<Received, Malformed> {
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(|error| Malformed(error.to_string()))?;
    let (Some(arg), Some(data)) = (&envelope.arg, envelope.data) else { return Ok(answer(&envelope)) };
    let symbol = arg.symbol.as_deref().unwrap_or_default();
    if !arg.is_of(&decoder.exchange) || decoder.markets.find(symbol).is_none() {
        return Ok(Received::Unknown);
    }
    let is_snapshot = envelope.action.as_deref() == Some("snapshot");
    match arg.channel.as_deref() {
        Some("books") => Ok(match books(decoder, is_snapshot, data, local_ts_ns, events) {
            Ok(received) => received,
            Err(error) => decoder.markets.found().lose(LossKind::Unreadable, &error.0),
        }),
        Some("trade" | "publicTrade") if is_snapshot => Ok(Received::Nothing),
        Some("trade" | "publicTrade") => trades(decoder, data, local_ts_ns, events),
        Some("ticker") => tickers(decoder, data, envelope.ts, local_ts_ns, events),
        _ => Ok(Received::Unknown),
    }
}

/// A book message in the form in which Bitget writes it; `None` for any other.
#[inline]
pub(super) fn book_as_written(decoder: &mut NativeDecoder, bytes: &[u8]) -> Option<(Event, Link)> {
    let mut scan = Scan::new(bytes);
    scan.skip(b"{\"action\":\"")?;
    let is_update = scan.passes(b"update\"");
    if !is_update {
        scan.skip(b"snapshot\"")?;
    }
    scan.skip(b",\"arg\":")?;
    let arg = &scan.rest()[..=memchr(b'}', scan.rest())?];
    scan.skip(arg)?;
    let market = find_book(&mut decoder.markets, &decoder.exchange, arg)?;
    let mut event = decoder.spare.book_change(&decoder.exchange, &market.symbol);
    let EventKind::BookChange { is_snapshot, bids, asks } = &mut event.kind else { return None };
    *is_snapshot = !is_update;
    bids.clear();
    asks.clear();
    let texts = &mut market.texts;
    if *is_snapshot {
        texts.clear();
    }
    let (mut link, mut all_fit, mut ts_ms, mut seen) = (Link::default(), true, None, 0_u8);
    scan.skip(b",\"data\":[{")?;
    loop {
        let field = if scan.passes(b"\"asks\":[") || scan.passes(b"\"a\":[") {
            scan.levels(|level, price, qty| {
                asks.push(level);
                all_fit &= texts.set_ask(level, price, qty).is_some();
            })?;
            1
        } else if scan.passes(b"\"bids\":[") || scan.passes(b"\"b\":[") {
            scan.levels(|level, price, qty| {
                bids.push(level);
                all_fit &= texts.set_bid(level, price, qty).is_some();
            })?;
            2
        } else if scan.passes(b"\"checksum\":") {
            link.checksum = given(scan.integer()?);
            4
        } else if scan.passes(b"\"seq\":") {
            link.id = Some(scan.integer()?);
            8
        } else if scan.passes(b"\"pseq\":") {
            link.previous = Some(scan.integer()?);
            16
        } else {
            scan.skip(b"\"ts\":\"")?;
            ts_ms = Some(scan.integer()?);
            scan.skip(b"\"")?;
            32
        };
        // A field that comes twice says nothing certain.
        if seen & field != 0 {
            return None;
        }
        seen |= field;
        if !scan.passes(b",") {
            break;
        }
    }
    scan.skip(b"}],\"ts\":")?;
    scan.integer()?;
    scan.skip(b"}")?;
    event.exchange_ts_ns = ms(ts_ms?).ok()?;
    (all_fit && scan.rest().is_empty()).then_some((event, link))
}

/// The market whose book messages carry this `arg` object.
#[inline]
fn find_book<'m>(markets: &'m mut Markets, exchange: &str, arg: &[u8]) -> Option<&'m mut Market> {
    if markets.all.get(markets.last).is_some_and(|market| market.book_arg == arg) {
        return Some(markets.found());
    }
    let read: Arg<'_> = serde_json::from_slice(arg).ok()?;
    if read.channel.as_deref() != Some("books") || !read.is_of(exchange) {
        return None;
    }
    let market = markets.find(read.symbol.as_deref()?)?;
    market.book_arg.clear();
    market.book_arg.extend_from_slice(arg);
    Some(market)
}

/// A checksum, unless it says that there is none.
fn given(checksum: i64) -> Option<i64> {
    (checksum != 0).then_some(checksum)
}

fn books(
    decoder: &mut NativeDecoder,
    is_snapshot: bool,
    data: &RawValue,
    local_ts_ns: Ns,
    events: &mut Vec<Event>,
) -> Result<Received, Malformed> {
    let wires: Vec<Book<'_>> = read(data)?;
    let mut received = Received::Nothing;
    for wire in wires {
        let texts = &mut decoder.markets.found().texts;
        if is_snapshot {
            texts.clear();
        }
        let mut levels = |pairs: &[Pair<'_>], set: SetLevel| {
            let take = |pair: &Pair<'_>| {
                let (level, (price, qty)) = (level(pair)?, pair);
                set(texts, level, price.as_bytes(), qty.as_bytes())
                    .ok_or_else(|| Malformed(format!("a level's text is too long: {price}")))?;
                Ok(level)
            };
            pairs.iter().map(take).collect::<Result<Vec<_>, _>>()
        };
        let bids = levels(&wire.bids, ChecksumBook::set_bid)?;
        let asks = levels(&wire.asks, ChecksumBook::set_ask)?;
        let link = Link { id: wire.seq, previous: wire.pseq, checksum: wire.checksum.and_then(given) };
        let kind = EventKind::BookChange { is_snapshot, bids, asks };
        let event = decoder.event(ms_text("ts", &wire.ts)?, local_ts_ns, kind);
        received = decoder.follow(event, &link, local_ts_ns, events);
        if matches!(received, Received::Lost(_)) {
            break;
        }
    }
    Ok(received)
}

type SetLevel = fn(&mut ChecksumBook, Level, &[u8], &[u8]) -> Option<()>;

fn trades(
    decoder: &NativeDecoder,
    data: &RawValue,
    local_ts_ns: Ns,
    events: &mut Vec<Event>,
) -> Result<Received, Malformed> {
    let trades: Vec<Trade<'_>> = read(data)?;
    for trade in trades {
        let exchange_ts_ns = ms_text("ts", &trade.ts)?;
        let kind = EventKind::Trade {
            id: trade.id.map(|id| id.into_owned().into_boxed_str()),
            price: decimal("price", &trade.price)?,
            qty: decimal("size", &trade.qty)?,
            side: side(&trade.side),
        };
        events.push(decoder.event(exchange_ts_ns, local_ts_ns, kind));
    }
    Ok(Received::Data)
}

fn tickers(
    decoder: &mut NativeDecoder,
    data: &RawValue,
    pushed_ts: Option<&RawValue>,
    local_ts_ns: Ns,
    events: &mut Vec<Event>,
) -> Result<Received, Malformed> {
    let tickers: Vec<TickerFields<'_>> = read(data)?;
    for fields in tickers {
        let ticker = decoder.markets.found().ticker.get_or_insert_with(DerivativeTicker::default);
        fields.merge_into(ticker)?;
        let kind = EventKind::DerivativeTicker(Box::new(*ticker));
        let exchange_ts_ns = match (fields.ts, pushed_ts) {
            (Some(ts), _) => ms_text("ts", &read::<Cow<'_, str>>(ts)?)?,
            (None, Some(ts)) => ms_text("ts", ts.get().trim_matches('"'))?,
            (None, None) => local_ts_ns,
        };
        events.push(decoder.event(exchange_ts_ns, local_ts_ns, kind));
    }
    Ok(Received::Data)
}

fn answer(envelope: &Envelope<'_>) -> Received {
    match envelope.event.as_deref() {
        Some("error") if envelope.op.as_deref() == Some("unsubscribe") => Received::Nothing,
        Some("error") => {
            let said = envelope.msg.as_deref().unwrap_or("no reason given");
            let code = envelope.code.map_or("none", |code| code.get().trim_matches('"'));
            Received::Refused(format!("Bitget refused the request: {said} (code {code})"))
        }
        Some(_) => Received::Nothing,
        None => Received::Unknown,
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    action: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arg: Option<Arg<'a>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    ts: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow)]
    op: Option<Cow<'a, str>>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    msg: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Arg<'a> {
    #[serde(borrow, rename = "instType")]
    product: Option<Cow<'a, str>>,
    #[serde(borrow, alias = "topic")]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow, alias = "instId")]
    symbol: Option<Cow<'a, str>>,
}

impl Arg<'_> {
    /// Whether this is of the product that the exchange id stands for: spot and futures share symbols.
    fn is_of(&self, exchange: &str) -> bool {
        let symbol = self.symbol.as_deref().unwrap_or_default();
        let wanted = bitget_product(exchange, symbol);
        self.product.as_deref().is_none_or(|product| product.eq_ignore_ascii_case(wanted))
    }
}

#[derive(Deserialize)]
struct Book<'a> {
    #[serde(borrow, default, alias = "b")]
    bids: Vec<Pair<'a>>,
    #[serde(borrow, default, alias = "a")]
    asks: Vec<Pair<'a>>,
    checksum: Option<i64>,
    seq: Option<i64>,
    pseq: Option<i64>,
    #[serde(borrow)]
    ts: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Trade<'a> {
    #[serde(borrow, alias = "T")]
    ts: Cow<'a, str>,
    #[serde(borrow, alias = "p")]
    price: Cow<'a, str>,
    #[serde(borrow, rename = "size", alias = "v")]
    qty: Cow<'a, str>,
    #[serde(borrow, alias = "S")]
    side: Cow<'a, str>,
    #[serde(borrow, rename = "tradeId", alias = "i")]
    id: Option<Cow<'a, str>>,
}
