//! Bitget's public streams, v2 and v3, which differ in names only.
//!
//! Source: Bitget API documentation, WebSocket public channels of v2 (`channel`, `instId`, `bids`, `asks`) and of the
//! unified account, v3 (`topic`, `symbol`, `b`, `a`). `pseq` of a book update is the `seq` of the update before it; the
//! checksum is 0 where none was computed, as in v3 snapshots. The first message of a trade channel repeats old trades.

use std::borrow::Cow;

use memchr::memchr;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::requests::bitget_product;
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
    let (Some(arg), Some(data)) = (&envelope.arg, envelope.data) else { return Ok(answer(&envelope)) };
    let symbol = arg.symbol.as_deref().unwrap_or_default();
    if !arg.is_of(&decoder.exchange) || decoder.markets.find(symbol).is_none() {
        return Ok(Received::Unknown);
    }
    let is_snapshot = envelope.action.as_deref() == Some("snapshot");
    match arg.channel.as_deref() {
        Some("books") => Ok(match books(decoder, is_snapshot, data, local_ts_ns, events) {
            Ok(received) => received,
            Err(error) => decoder.markets.all[decoder.markets.last].lose(LossKind::Unreadable, &error.0),
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
    find_book(decoder, arg)?;
    scan.skip(arg)?;
    let market = &mut decoder.markets.all[decoder.markets.last];
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
fn find_book(decoder: &mut NativeDecoder, arg: &[u8]) -> Option<()> {
    let markets = &mut decoder.markets;
    if markets.all.get(markets.last).is_some_and(|market| market.book_arg == arg) {
        return Some(());
    }
    let read: Arg<'_> = serde_json::from_slice(arg).ok()?;
    if read.channel.as_deref() != Some("books") || !read.is_of(&decoder.exchange) {
        return None;
    }
    let market = markets.find(read.symbol.as_deref()?)?;
    market.book_arg.clear();
    market.book_arg.extend_from_slice(arg);
    Some(())
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
        let market = &mut decoder.markets.all[decoder.markets.last];
        if is_snapshot {
            market.texts.clear();
        }
        let mut sides = [Vec::with_capacity(wire.bids.len()), Vec::with_capacity(wire.asks.len())];
        for (side, (levels, is_bid)) in sides.iter_mut().zip([(&wire.bids, true), (&wire.asks, false)]) {
            for (price, qty) in levels {
                let level = Level { price: decimal("price", price)?, qty: decimal("size", qty)? };
                let set = if is_bid { super::ChecksumBook::set_bid } else { super::ChecksumBook::set_ask };
                set(&mut market.texts, level, price.as_bytes(), qty.as_bytes())
                    .ok_or_else(|| Malformed(format!("a level's text is too long: {price}")))?;
                side.push(level);
            }
        }
        let [bids, asks] = sides;
        let link = Link { id: wire.seq, previous: wire.pseq, checksum: wire.checksum.and_then(given) };
        let event = Event {
            exchange: decoder.exchange.clone(),
            symbol: market.symbol.clone(),
            exchange_ts_ns: ms_text("ts", &wire.ts)?,
            local_ts_ns,
            kind: EventKind::BookChange { is_snapshot, bids, asks },
        };
        received = decoder.follow(event, &link, local_ts_ns, events);
        if matches!(received, Received::Lost(_)) {
            break;
        }
    }
    Ok(received)
}

fn trades(
    decoder: &NativeDecoder,
    data: &RawValue,
    local_ts_ns: Ns,
    events: &mut Vec<Event>,
) -> Result<Received, Malformed> {
    let trades: Vec<Trade<'_>> = read(data)?;
    let market = &decoder.markets.all[decoder.markets.last];
    for trade in trades {
        let side = match &*trade.side {
            "buy" | "Buy" => Some(Side::Buy),
            "sell" | "Sell" => Some(Side::Sell),
            _ => None,
        };
        events.push(Event {
            exchange: decoder.exchange.clone(),
            symbol: market.symbol.clone(),
            exchange_ts_ns: ms_text("ts", &trade.ts)?,
            local_ts_ns,
            kind: EventKind::Trade {
                id: trade.id.map(|id| id.into_owned().into_boxed_str()),
                price: decimal("price", &trade.price)?,
                qty: decimal("size", &trade.qty)?,
                side,
            },
        });
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
    let wires: Vec<Ticker<'_>> = read(data)?;
    let market = &mut decoder.markets.all[decoder.markets.last];
    for wire in wires {
        let ticker = market.ticker.get_or_insert_with(DerivativeTicker::default);
        let fields = [
            ("last", wire.last_price, &mut ticker.last_price),
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
        let pushed = pushed_ts.map(|raw| raw.get().trim_matches('"'));
        let exchange_ts_ns = match wire.ts.as_deref().or(pushed) {
            Some(text) => ms_text("ts", text)?,
            None => local_ts_ns,
        };
        events.push(Event {
            exchange: decoder.exchange.clone(),
            symbol: market.symbol.clone(),
            exchange_ts_ns,
            local_ts_ns,
            kind: EventKind::DerivativeTicker(Box::new(*ticker)),
        });
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

fn read<'a, T: Deserialize<'a>>(data: &'a RawValue) -> Result<T, Malformed> {
    serde_json::from_str(data.get()).map_err(|error| Malformed(error.to_string()))
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
    bids: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    #[serde(borrow, default, alias = "a")]
    asks: Vec<(Cow<'a, str>, Cow<'a, str>)>,
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ticker<'a> {
    #[serde(borrow, alias = "lastPr")]
    last_price: Option<Cow<'a, str>>,
    #[serde(borrow, alias = "holdingAmount")]
    open_interest: Option<Cow<'a, str>>,
    #[serde(borrow)]
    funding_rate: Option<Cow<'a, str>>,
    #[serde(borrow)]
    next_funding_time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    index_price: Option<Cow<'a, str>>,
    #[serde(borrow)]
    mark_price: Option<Cow<'a, str>>,
    #[serde(borrow)]
    ts: Option<Cow<'a, str>>,
}
