//! What is asked of an exchange's public stream: addresses, subscriptions, signs of life, and books asked for again.
//!
//! Source: Bybit API documentation, v5, WebSocket connect (10 arguments a request, a ping every 20 s, 21,000 characters
//! of arguments a connection); Bitget API documentation, WebSocket (10 messages a second, at best fewer than 50 channels
//! a connection, the text `ping` every 30 s).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::HashMap;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::feed::config::FeedConfig;
use crate::feed::plan::{Connection, is_bybit_inverse, symbol_groups};
use crate::feed::source::Source;

/// Symbols a connection, so that its channels stay within what the exchange takes.
const BYBIT_SYMBOLS: usize = 200;
const BITGET_CHANNELS: usize = 48;

const BYBIT_ARGS: usize = 10;
const BITGET_ARGS: usize = 5;

/// Messages that may be sent within any second; Bitget hangs up on more than ten, pings among them.
const BITGET_A_SECOND: usize = 8;

/// Longest wait before a book in constant trouble is asked for again.
const REPAIR_MAX: Duration = Duration::from_secs(2);

const BYBIT_KEEPALIVE: Duration = Duration::from_secs(20);
const BITGET_KEEPALIVE: Duration = Duration::from_secs(30);

/// The connections of a feed that asks an exchange itself, each with the requests to send when it opens.
///
/// # Errors
/// [`Error::Domain`] when the exchange does not belong to the source, or has no channel for a data type.
pub fn connections(config: &FeedConfig) -> Result<Vec<Connection>> {
    let venue = Venue::of(config)?;
    let channels = config.data_types.iter().map(|name| venue.channel(name)).collect::<Result<Vec<_>>>()?;
    let groups = match venue.source {
        Source::Bybit => symbol_groups(&config.exchange, &config.symbols),
        _ => vec![config.symbols.iter().map(String::as_str).collect()],
    };
    let most = match venue.source {
        Source::Bybit => BYBIT_SYMBOLS,
        _ => (BITGET_CHANNELS / channels.len()).max(1),
    };
    let chunks = groups.iter().flat_map(|group| group.chunks(most));
    let connection = |symbols: &[&str]| {
        let args: Vec<Value> =
            symbols.iter().flat_map(|symbol| channels.iter().map(|channel| venue.arg(channel, symbol))).collect();
        Connection {
            url: format!("{}{}", config.url, venue.path(symbols[0])),
            symbols: symbols.iter().map(|symbol| (*symbol).to_owned()).collect(),
            carries_books: config.expects_books(),
            opening: args.chunks(venue.args_a_request()).map(|args| request("subscribe", args)).collect(),
        }
    };
    Ok(chunks.map(connection).collect())
}

/// An exchange's ways of asking.
#[derive(Debug, Clone)]
struct Venue {
    source: Source,
    exchange: String,
    book_depth: u32,
}

impl Venue {
    fn of(config: &FeedConfig) -> Result<Self> {
        let known: &[&str] = match config.source {
            Source::Bybit => &["bybit", "bybit-spot"],
            _ => &["bitget-futures", "bitget"],
        };
        if !known.contains(&config.exchange.as_str()) {
            let reason = format!(
                "{:?} does not come from source {}: give {}",
                config.exchange,
                config.source,
                known.join(" or ")
            );
            return Err(Error::Domain { name: "exchange", reason });
        }
        let (source, exchange) = (config.source, config.exchange.clone());
        Ok(Self { source, exchange, book_depth: config.book_depth })
    }

    fn path(&self, symbol: &str) -> &'static str {
        match self.source {
            Source::BitgetV2 => "/v2/ws/public",
            Source::BitgetV3 => "/v3/ws/public",
            _ if self.exchange == "bybit-spot" => "/v5/public/spot",
            _ if is_bybit_inverse(symbol) => "/v5/public/inverse",
            _ => "/v5/public/linear",
        }
    }

    /// The channel of a Tardis data type.
    fn channel(&self, data_type: &str) -> Result<String> {
        let is_spot = !self.exchange.ends_with("-futures") && self.exchange != "bybit";
        let channel = match (self.source, data_type) {
            (Source::Bybit, "book_change") => format!("orderbook.{}", self.book_depth),
            (Source::Bybit | Source::BitgetV3, "trade") => "publicTrade".to_owned(),
            (Source::Bybit, "derivative_ticker") if !is_spot => "tickers".to_owned(),
            (Source::Bybit, "liquidation") if !is_spot => "allLiquidation".to_owned(),
            (Source::BitgetV2 | Source::BitgetV3, "book_change") => "books".to_owned(),
            (Source::BitgetV2, "trade") => "trade".to_owned(),
            (Source::BitgetV2 | Source::BitgetV3, "derivative_ticker") if !is_spot => "ticker".to_owned(),
            _ => {
                let reason = format!("{data_type:?} cannot be had of {} from source {}", self.exchange, self.source);
                return Err(Error::Domain { name: "data_types", reason });
            }
        };
        Ok(channel)
    }

    fn arg(&self, channel: &str, symbol: &str) -> Value {
        let product = bitget_product(&self.exchange, symbol);
        match self.source {
            Source::BitgetV2 => {
                json!({"instType": product.to_uppercase(), "channel": channel, "instId": symbol})
            }
            Source::BitgetV3 => json!({"instType": product, "topic": channel, "symbol": symbol}),
            _ => json!(format!("{channel}.{symbol}")),
        }
    }

    fn args_a_request(&self) -> usize {
        if self.source == Source::Bybit { BYBIT_ARGS } else { BITGET_ARGS }
    }
}

/// Bitget's name for what a symbol of an exchange id is.
pub(super) fn bitget_product(exchange: &str, symbol: &str) -> &'static str {
    match symbol {
        _ if exchange == "bitget" => "spot",
        _ if symbol.ends_with("PERP") => "usdc-futures",
        _ if symbol.ends_with("USD") => "coin-futures",
        _ => "usdt-futures",
    }
}

fn request(op: &str, args: &[Value]) -> String {
    json!({"op": op, "args": args}).to_string()
}

/// The requests of one connection: each at its time, none faster than the exchange allows.
#[derive(Debug)]
pub struct Requests {
    venue: Venue,
    book_channel: Option<String>,
    opening: Vec<String>,
    queue: VecDeque<String>,
    /// When the last requests left, oldest first, as many as may leave within a second.
    sent: VecDeque<Instant>,
    keepalive_at: Instant,
    repairs: HashMap<Arc<str>, Repair>,
    repair_min: Duration,
    repair_max: Duration,
}

/// How often a book was asked for again lately.
#[derive(Debug)]
struct Repair {
    /// When to ask, if it has not been asked for yet.
    due: Option<Instant>,
    /// When it was last asked for.
    last: Option<Instant>,
    /// How long after that it may be asked for again.
    wait: Duration,
}

impl Requests {
    /// The requests of `connection`; `None` for a Tardis machine, which is asked in the address.
    pub fn new(config: &FeedConfig, connection: &Connection) -> Option<Self> {
        if !config.source.is_native() {
            return None;
        }
        // The configuration was checked: the exchange is one of the source's.
        let venue = Venue::of(config).ok()?;
        let now = Instant::now();
        Some(Self {
            book_channel: config.expects_books().then(|| venue.channel("book_change").ok()).flatten(),
            venue,
            opening: connection.opening.clone(),
            queue: VecDeque::new(),
            sent: VecDeque::new(),
            keepalive_at: now,
            repairs: HashMap::default(),
            repair_min: config.reconnect_min,
            repair_max: config.reconnect_max.min(REPAIR_MAX),
        })
    }

    /// A connection was opened.
    pub fn open(&mut self, now: Instant) {
        self.queue = self.opening.iter().cloned().collect();
        self.sent.clear();
        self.keepalive_at = now + self.keepalive_every();
        self.repairs.values_mut().for_each(|repair| repair.due = None);
    }

    /// Asks for the book of `symbol` anew: at once, unless it was asked for shortly before.
    pub fn ask_again(&mut self, symbol: &Arc<str>, now: Instant) {
        let (min, max) = (self.repair_min, self.repair_max);
        let repair = self.repairs.entry(Arc::clone(symbol)).or_insert(Repair { due: None, last: None, wait: min });
        if repair.due.is_some() {
            return;
        }
        if let Some(last) = repair.last.filter(|last| now.duration_since(*last) <= max) {
            repair.due = Some((last + repair.wait).max(now));
            repair.wait = (repair.wait * 2).min(max);
        } else {
            (repair.wait, repair.due) = (min, Some(now));
        }
    }

    /// When [`Requests::take`] is to be asked next.
    pub fn due(&self) -> Instant {
        let repair = self.repairs.values().filter_map(|repair| repair.due).min();
        if self.queue.is_empty() && repair.is_none() {
            return self.keepalive_at;
        }
        // What is in the queue may leave as soon as there is room, a book to ask for again at its time.
        let wanted = repair.filter(|_| self.queue.is_empty());
        wanted.into_iter().chain(self.free_at()).max().unwrap_or_else(Instant::now).min(self.keepalive_at)
    }

    /// When the next request may leave; `None` when it may at once.
    fn free_at(&self) -> Option<Instant> {
        let is_full = self.venue.source != Source::Bybit && self.sent.len() == BITGET_A_SECOND;
        self.sent.front().filter(|_| is_full).map(|oldest| *oldest + Duration::from_secs(1))
    }

    /// The text to send now, if one is due.
    pub fn take(&mut self, now: Instant) -> Option<String> {
        for (symbol, repair) in &mut self.repairs {
            if repair.due.is_some_and(|due| due <= now) {
                (repair.due, repair.last) = (None, Some(now));
                if let Some(channel) = &self.book_channel {
                    let arg = [self.venue.arg(channel, symbol)];
                    self.queue.extend(["unsubscribe", "subscribe"].map(|op| request(op, &arg)));
                }
            }
        }
        if self.free_at().is_none_or(|free_at| now >= free_at) {
            if let Some(text) = self.queue.pop_front() {
                if self.sent.len() == BITGET_A_SECOND {
                    self.sent.pop_front();
                }
                self.sent.push_back(now);
                return Some(text);
            }
        }
        if now >= self.keepalive_at {
            self.keepalive_at = now + self.keepalive_every();
            return Some(if self.venue.source == Source::Bybit { r#"{"op":"ping"}"# } else { "ping" }.to_owned());
        }
        None
    }

    fn keepalive_every(&self) -> Duration {
        if self.venue.source == Source::Bybit { BYBIT_KEEPALIVE } else { BITGET_KEEPALIVE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::config::tests::config;

    fn native(source: Source, exchange: &str, symbols: &[&str], data_types: &[&str]) -> FeedConfig {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let (symbols, data_types) = (owned(symbols), owned(data_types));
        FeedConfig { source, exchange: exchange.into(), symbols, data_types, ..config() }
    }

    fn requests(config: &FeedConfig) -> Requests {
        Requests::new(config, &connections(config).unwrap()[0]).unwrap()
    }

    #[test]
    fn bybit_is_asked_ten_topics_at_a_time_linear_apart_from_inverse() {
        let symbols: Vec<String> = (0..8).map(|i| format!("C{i}USDT")).chain(["BTCUSD".to_owned()]).collect();
        let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
        let config = native(Source::Bybit, "bybit", &symbols, &["book_change", "trade"]);
        let connections = connections(&config.checked().unwrap()).unwrap();
        let urls: Vec<_> = connections.iter().map(|connection| connection.url.as_str()).collect();
        assert_eq!(urls, ["ws://127.0.0.1:8001/v5/public/linear", "ws://127.0.0.1:8001/v5/public/inverse"]);
        assert_eq!(connections[0].opening.len(), 2);
        assert_eq!(
            connections[1].opening,
            [r#"{"args":["orderbook.200.BTCUSD","publicTrade.BTCUSD"],"op":"subscribe"}"#]
        );
    }

    #[test]
    fn bitget_is_asked_in_the_words_of_its_version() {
        for (source, path, arg) in [
            (Source::BitgetV2, "/v2/ws/public", r#"{"channel":"books","instId":"BTCUSDT","instType":"USDT-FUTURES"}"#),
            (Source::BitgetV3, "/v3/ws/public", r#"{"instType":"usdt-futures","symbol":"BTCUSDT","topic":"books"}"#),
        ] {
            let connections = connections(&native(source, "bitget-futures", &["BTCUSDT"], &["book_change"])).unwrap();
            assert!(connections[0].url.ends_with(path));
            assert_eq!(connections[0].opening, [format!(r#"{{"args":[{arg}],"op":"subscribe"}}"#)]);
        }
    }

    #[test]
    fn what_an_exchange_does_not_have_is_refused_by_name() {
        for (config, name) in [
            (native(Source::Bybit, "bitget", &["BTCUSDT"], &["book_change"]), "exchange"),
            (native(Source::BitgetV3, "bitget-futures", &["BTCUSDT"], &["liquidation"]), "data_types"),
            (native(Source::Bybit, "bybit", &["BTCUSDT"], &["book_snapshot_5_100ms"]), "data_types"),
        ] {
            let error = config.checked().unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }

    #[test]
    fn bitget_is_sent_no_more_than_it_takes_and_a_ping_when_all_was_said() {
        let names: Vec<String> = (0..48).map(|i| format!("C{i}USDT")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut requests = requests(&native(Source::BitgetV2, "bitget-futures", &names, &["book_change"]));
        let start = Instant::now();
        requests.open(start);
        let (mut now, mut sent) = (start, Vec::new());
        while sent.last().is_none_or(|(_, text)| text != "ping") {
            now = now.max(requests.due());
            sent.extend(requests.take(now).map(|text| (now.duration_since(start), text)));
        }
        let times: Vec<u64> = sent.iter().map(|(at, _)| at.as_secs()).collect();
        assert_eq!(times, [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 30]);
    }

    #[test]
    fn a_book_in_trouble_is_asked_for_at_once_and_then_ever_more_seldom() {
        let mut requests = requests(&native(Source::Bybit, "bybit", &["BTCUSDT"], &["book_change"]));
        let start = Instant::now();
        requests.open(start);
        while requests.take(start).is_some() {}
        let symbol: Arc<str> = "BTCUSDT".into();
        let mut asked = Vec::new();
        let mut now = start;
        for _ in 0..5 {
            requests.ask_again(&symbol, now);
            requests.ask_again(&symbol, now);
            now = requests.due();
            let ops: Vec<String> = std::iter::from_fn(|| requests.take(now)).collect();
            assert_eq!(ops.len(), 2);
            assert!(ops[0].contains("\"unsubscribe\"") && ops[1].contains("\"subscribe\""), "{ops:?}");
            asked.push(now.duration_since(start).as_millis());
        }
        assert_eq!(asked, [0, 100, 300, 700, 1500]);
    }
}
