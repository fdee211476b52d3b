//! Tardis normalised JSON messages -> [`Event`].
//!
//! Source: Tardis documentation, tardis-machine, "Normalized data types". Numbers are kept as the decimal they are
//! written as, quantities rounded to 18 digits after the point; unknown types and unknown keys are passed over, so that a newer server does not break an older client.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use foldhash::HashSet;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::error::Error;
use crate::event::{Event, EventKind, Level};
use crate::time::parse_iso_ns;
use crate::types::{Decimal, Ns, Side};

pub(crate) mod plain;
pub(crate) mod spare;
mod tickers;

/// A message that cannot be understood; [`Malformed::at`] adds where it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

impl Malformed {
    /// The error with its place: file and line, or the socket's URL.
    pub fn at(self, place: impl Into<String>) -> Error {
        Error::Decode { place: place.into(), reason: self.0 }
    }
}

/// What one message held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Market data the core works on.
    Event(Event),
    /// A disconnect that names the symbols it concerns: those of one option of a stream.
    PartialDisconnect {
        /// Tardis exchange id.
        exchange: Arc<str>,
        /// Symbols in upper case; at least one.
        symbols: Vec<Arc<str>>,
        /// Local time of the last message before the break.
        local_ts_ns: Ns,
    },
    /// A type the core does not use, with its arrival time if it has one.
    Other {
        /// `localTimestamp` of the message.
        local_ts_ns: Option<Ns>,
    },
}

impl Message {
    /// The events the message stands for; a partial disconnect is one for each symbol it names.
    pub fn into_events(self) -> Vec<Event> {
        match self {
            Self::Event(event) => vec![event],
            Self::PartialDisconnect { exchange, symbols, local_ts_ns } => {
                symbols.into_iter().map(|symbol| Event::disconnect(&exchange, symbol, local_ts_ns)).collect()
            }
            Self::Other { .. } => Vec::new(),
        }
    }
}

/// Types that become events; any other is passed over.
const KNOWN_TYPES: [&str; 8] =
    ["book_change", "trade", "book_ticker", "book_snapshot", "derivative_ticker", "liquidation", "disconnect", "error"];

/// Decodes messages one at a time; symbols and exchanges are shared, not copied, between the events it makes.
#[derive(Debug, Default)]
pub struct Decoder {
    exchanges: Interner,
    symbols: Interner,
    plain: plain::PlainDecoder,
    fallbacks: u64,
}

impl Decoder {
    /// A decoder that has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes one message.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are no JSON object, have no `type` (the form of an HTTP error in the stream), or
    /// lack a field without which the event means nothing.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Message, Malformed> {
        if let Some(event) = self.plain.decode(bytes, &mut self.exchanges, &mut self.symbols) {
            return Ok(Message::Event(event));
        }
        self.fallbacks += 1;
        self.decode_any(bytes)
    }

    /// Messages since the start that were not book changes or trades as a tardis-machine writes them; they take some
    /// twenty times as long.
    pub fn fallbacks(&self) -> u64 {
        self.fallbacks
    }

    /// Gives an event back that is done with: the next book change uses its memory.
    pub fn recycle(&mut self, event: Event) {
        self.plain.recycle(event);
    }

    /// [`Decoder::decode`] for a message of any form.
    ///
    /// # Errors
    /// Those of [`Decoder::decode`].
    pub fn decode_any(&mut self, bytes: &[u8]) -> Result<Message, Malformed> {
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(Malformed("message is no JSON object".to_owned()));
        }
        let wire: Wire = serde_json::from_slice(bytes).map_err(|e| Malformed(e.to_string()))?;
        let local_ts_ns = wire.local_timestamp.as_deref().map(|t| time("localTimestamp", t)).transpose()?;
        let Some(kind) = wire.kind.as_deref() else {
            let message = wire.message.map_or_else(String::new, |m| format!("; it says: {m}"));
            return Err(Malformed(format!("message without `type`{message}")));
        };
        if !KNOWN_TYPES.contains(&kind) {
            return Ok(Message::Other { local_ts_ns });
        }
        let local_ts_ns = local_ts_ns.ok_or_else(|| missing(kind, "localTimestamp"))?;
        let exchange = self.exchanges.get(&wire.exchange.ok_or_else(|| missing(kind, "exchange"))?);
        if matches!(kind, "disconnect" | "error") {
            if kind == "error" {
                let kind = tickers::kind(kind, bytes)?;
                return Ok(Message::Event(self.of_exchange(exchange, local_ts_ns, kind)));
            }
            return Ok(match tickers::disconnected_symbols(bytes)? {
                Some(symbols) => {
                    let symbols = symbols.iter().map(|symbol| self.symbols.get(symbol)).collect();
                    Message::PartialDisconnect { exchange, symbols, local_ts_ns }
                }
                None => Message::Event(self.of_exchange(exchange, local_ts_ns, EventKind::Disconnect)),
            });
        }
        let symbol = self.symbols.get(&wire.symbol.ok_or_else(|| missing(kind, "symbol"))?);
        let exchange_ts_ns = match wire.timestamp.as_deref() {
            Some(text) => time("timestamp", text)?,
            None => local_ts_ns,
        };
        let kind = match kind {
            "book_change" => EventKind::BookChange {
                is_snapshot: wire.is_snapshot.ok_or_else(|| missing(kind, "isSnapshot"))?,
                bids: levels("bids", wire.bids)?,
                asks: levels("asks", wire.asks)?,
            },
            "trade" | "liquidation" => {
                let id = wire.id.map(|id| id.into_owned().into_boxed_str());
                let price = positive("price", wire.price.ok_or_else(|| missing(kind, "price"))?)?;
                let qty = amount("amount", wire.amount.ok_or_else(|| missing(kind, "amount"))?)?;
                let side = match wire.side.as_deref() {
                    Some("buy") => Some(Side::Buy),
                    Some("sell") => Some(Side::Sell),
                    _ => None,
                };
                if kind == "trade" {
                    EventKind::Trade { id, price, qty, side }
                } else {
                    EventKind::Liquidation { id, price, qty, side }
                }
            }
            _ => tickers::kind(kind, bytes)?,
        };
        Ok(Message::Event(Event { exchange, symbol, exchange_ts_ns, local_ts_ns, kind }))
    }

    fn of_exchange(&mut self, exchange: Arc<str>, local_ts_ns: Ns, kind: EventKind) -> Event {
        Event { exchange, symbol: self.symbols.get(""), exchange_ts_ns: local_ts_ns, local_ts_ns, kind }
    }
}

/// Texts an [`Interner`] remembers: more than any exchange has symbols.
const MAX_TEXTS: usize = 20_000;

/// Bytes of the longest text it remembers.
const MAX_TEXT_BYTES: usize = 100;

/// Hands out one shared copy of each text it is asked for, in bounded memory: beyond [`MAX_TEXTS`] it starts over, and
/// longer texts than names are get copies of their own.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    last: Option<Arc<str>>,
    all: HashSet<Arc<str>>,
}

impl Interner {
    pub(crate) fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(last) = self.last.as_ref().filter(|last| last.as_ref() == text) {
            return Arc::clone(last);
        }
        let shared = self.all.get(text).cloned().unwrap_or_else(|| self.remember(text));
        self.last = Some(Arc::clone(&shared));
        shared
    }

    #[cold]
    fn remember(&mut self, text: &str) -> Arc<str> {
        let new: Arc<str> = text.into();
        if self.all.len() >= MAX_TEXTS {
            self.all.clear();
        }
        if text.len() <= MAX_TEXT_BYTES {
            self.all.insert(Arc::clone(&new));
        }
        new
    }
}

/// Every field of the message types in use; all optional, because absent values are left out on the wire.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    exchange: Option<Cow<'a, str>>,
    #[serde(borrow)]
    symbol: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "localTimestamp")]
    local_timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    side: Option<Cow<'a, str>>,
    #[serde(borrow)]
    price: Option<&'a RawValue>,
    #[serde(borrow)]
    amount: Option<&'a RawValue>,
    #[serde(rename = "isSnapshot")]
    is_snapshot: Option<bool>,
    #[serde(borrow)]
    bids: Option<&'a RawValue>,
    #[serde(borrow)]
    asks: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

fn missing(kind: &str, field: &str) -> Malformed {
    Malformed(format!("{kind} without `{field}`"))
}

fn time(field: &str, text: &str) -> Result<Ns, Malformed> {
    parse_iso_ns(text).ok_or_else(|| Malformed(format!("`{field}` is no ISO time in UTC: {text:?}")))
}

fn decimal(field: &str, raw: &RawValue) -> Result<Decimal, Malformed> {
    let text = raw.get();
    Decimal::parse(text.as_bytes()).ok_or_else(|| Malformed(format!("`{field}` {}: {text}", number_fault(text))))
}

/// Why a text is no exact decimal.
pub(crate) fn number_fault(text: &str) -> &'static str {
    if is_number(text) { "has more than 18 digits" } else { "is no number" }
}

/// Why a text is no decimal although it may be rounded.
pub(crate) fn size_fault(text: &str) -> &'static str {
    if is_number(text) { "is no number below 9.2e18" } else { "is no number" }
}

fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || c == '-') && text.parse::<f64>().is_ok()
}

/// A price of a book: a level at 0 would be better than every ask.
fn level_price(field: &str, raw: &RawValue) -> Result<Decimal, Malformed> {
    let price = positive(field, raw)?;
    if price.mantissa == 0 {
        return Err(Malformed(format!("`{field}` of a book level is zero: {}", raw.get())));
    }
    Ok(price)
}

fn positive(field: &str, raw: &RawValue) -> Result<Decimal, Malformed> {
    not_negative(field, decimal(field, raw)?)
}

/// A quantity, of which more digits than fit are rounded: doubles are written with up to seventeen.
fn amount(field: &str, raw: &RawValue) -> Result<Decimal, Malformed> {
    not_negative(field, rounded(field, raw)?)
}

fn rounded(field: &str, raw: &RawValue) -> Result<Decimal, Malformed> {
    let text = raw.get();
    Decimal::parse_rounded(text.as_bytes()).ok_or_else(|| Malformed(format!("`{field}` {}: {text}", size_fault(text))))
}

fn not_negative(field: &str, value: Decimal) -> Result<Decimal, Malformed> {
    if value.mantissa < 0 { Err(Malformed(format!("`{field}` is negative: {value}"))) } else { Ok(value) }
}

fn levels(side: &str, raw: Option<&RawValue>) -> Result<Vec<Level>, Malformed> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    let side_of = |e: serde_json::Error| Malformed(format!("`{side}`: {e}"));
    serde_json::from_str::<Levels>(raw.get()).map(|Levels(levels)| levels).map_err(side_of)
}

struct Levels(Vec<Level>);

impl<'de> Deserialize<'de> for Levels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(LevelsVisitor)
    }
}

struct LevelsVisitor;

impl<'de> Visitor<'de> for LevelsVisitor {
    type Value = Levels;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of levels")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Levels, A::Error> {
        let mut levels = Vec::new();
        while let Some(WireLevel(level)) = seq.next_element()? {
            levels.push(level);
        }
        Ok(Levels(levels))
    }
}

struct WireLevel(Level);

impl<'de> Deserialize<'de> for WireLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LevelVisitor)
    }
}

struct LevelVisitor;

impl<'de> Visitor<'de> for LevelVisitor {
    type Value = WireLevel;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a level {price, amount}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WireLevel, A::Error> {
        let (mut price, mut qty) = (None, None);
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match key.as_ref() {
                "price" if price.is_some() => return Err(A::Error::duplicate_field("price")),
                "amount" if qty.is_some() => return Err(A::Error::duplicate_field("amount")),
                "price" => price = Some(level_price("price", map.next_value()?).map_err(A::Error::custom)?),
                "amount" => qty = Some(amount("amount", map.next_value()?).map_err(A::Error::custom)?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        match (price, qty) {
            (Some(price), Some(qty)) => Ok(WireLevel(Level { price, qty })),
            (None, _) => Err(A::Error::missing_field("price")),
            (_, None) => Err(A::Error::missing_field("amount")),
        }
    }
}

#[cfg(test)]
mod tests;
