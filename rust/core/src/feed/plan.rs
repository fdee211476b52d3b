//! Which connections a feed opens, and what each asks a Tardis machine for; of an exchange, see `native`.
//!
//! A `disconnect` names the symbols of an option of the request, whichever of the option's exchange connections broke,
//! and only a connection that broke is followed by new snapshots. So symbols that the exchange serves over different
//! connections stand in options of their own, and data types served over another connection than the books go over
//! a socket of their own, whose disconnects say nothing about books. A request line has a bounded length: many symbols
//! are spread over several sockets.
//!
//! Source: `tardis-node`, `src/realtimefeeds/bybit.ts` (which symbols go to which endpoint), `binance.ts`.

use std::fmt::Write as _;

use serde::Serialize;

use super::config::FeedConfig;
use super::history::{Range, Replay};
use crate::error::{Error, Result};

/// A Tardis machine refuses request lines and headers beyond 20,000 bytes; this leaves room for the headers.
const MAX_URL_BYTES: usize = 19_000;

/// Data types an exchange may serve over another connection than its books.
const TYPES_APART: [&str; 2] = ["derivative_ticker", "option_summary"];

/// One socket of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Address, with the request.
    pub url: String,
    /// Symbols asked for, upper case.
    pub symbols: Vec<String>,
    /// Whether the state of books hangs on this socket.
    pub carries_books: bool,
    /// What to send first; nothing to a Tardis machine, which reads its request from the address.
    pub opening: Vec<String>,
}

/// The machine's request object. Its keys are camel case: a snake-case key closes the socket with 1011.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct StreamOptions<'a> {
    exchange: &'a str,
    symbols: Vec<&'a str>,
    data_types: &'a [&'a str],
    // Without these messages a book survives an outage at the exchange unnoticed.
    with_disconnect_messages: bool,
    /// Only a live stream has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    with_error_messages: Option<bool>,
    #[serde(flatten)]
    range: Option<Range>,
}

impl FeedConfig {
    /// The sockets to open; the first carries the books, if any were asked for.
    ///
    /// # Errors
    /// [`Error::Domain`] when one symbol alone makes a request too long, or the source does not have what is asked for.
    pub fn connections(&self) -> Result<Vec<Connection>> {
        if self.source.is_native() {
            return super::native::connections(self);
        }
        // History has one connection to the exchange, and its order is kept only within one of ours.
        let is_apart = |name: &&str| self.replay.is_none() && TYPES_APART.contains(name);
        let (apart, main): (Vec<&str>, Vec<&str>) = self.data_types.iter().map(String::as_str).partition(is_apart);
        let mut connections = Vec::new();
        for (types, carries_books) in [(main, true), (apart, false)] {
            if !types.is_empty() {
                self.spread(&types, carries_books, &mut connections)?;
            }
        }
        Ok(connections)
    }

    fn spread(&self, types: &[&str], carries_books: bool, connections: &mut Vec<Connection>) -> Result<()> {
        let option = |symbols| StreamOptions {
            exchange: &self.exchange,
            symbols,
            data_types: types,
            with_disconnect_messages: true,
            with_error_messages: self.replay.is_none().then_some(true),
            range: self.replay.as_ref().map(Replay::range),
        };
        let option_bytes = encoded_json(&option(Vec::new()))?.len() + SEPARATOR_BYTES;
        let base_bytes = self.url.len() + self.path().len() + 2 * SEPARATOR_BYTES;
        let mut open: Vec<StreamOptions<'_>> = Vec::new();
        let mut bytes = base_bytes;
        for group in symbol_groups(&self.exchange, &self.symbols) {
            let mut starts = true;
            for symbol in group {
                let symbol_bytes = encoded_json(&symbol)?.len() + SEPARATOR_BYTES;
                if base_bytes + option_bytes + symbol_bytes > MAX_URL_BYTES {
                    let reason = format!("{symbol:.20}... makes a request longer than {MAX_URL_BYTES} bytes");
                    return Err(Error::Domain { name: "symbols", reason });
                }
                if bytes + symbol_bytes + if starts { option_bytes } else { 0 } > MAX_URL_BYTES {
                    connections.push(self.connection(&open, carries_books)?);
                    open.clear();
                    (bytes, starts) = (base_bytes, true);
                }
                if starts {
                    open.push(option(Vec::new()));
                    bytes += option_bytes;
                    starts = false;
                }
                if let Some(option) = open.last_mut() {
                    option.symbols.push(symbol);
                }
                bytes += symbol_bytes;
            }
        }
        connections.push(self.connection(&open, carries_books)?);
        Ok(())
    }

    fn connection(&self, options: &[StreamOptions<'_>], carries_books: bool) -> Result<Connection> {
        let encoded = if let [only] = options { encoded_json(only) } else { encoded_json(&options) }?;
        let symbols = options.iter().flat_map(|option| &option.symbols).map(|symbol| (*symbol).to_owned()).collect();
        let url = format!("{}{}{encoded}", self.url, self.path());
        Ok(Connection { url, symbols, carries_books, opening: Vec::new() })
    }

    fn path(&self) -> &'static str {
        if self.replay.is_some() { REPLAY_PATH } else { STREAM_PATH }
    }
}

const STREAM_PATH: &str = "/ws-stream-normalized?options=";
const REPLAY_PATH: &str = "/ws-replay-normalized?options=";

/// Bytes of a comma or bracket in a query string.
const SEPARATOR_BYTES: usize = 3;

/// Symbols by the exchange's endpoint that serves them.
pub(super) fn symbol_groups<'a>(exchange: &str, symbols: &'a [String]) -> Vec<Vec<&'a str>> {
    let is_inverse = |symbol: &&str| exchange == "bybit" && is_bybit_inverse(symbol);
    let (inverse, linear): (Vec<&str>, Vec<&str>) = symbols.iter().map(String::as_str).partition(is_inverse);
    [linear, inverse].into_iter().filter(|group| !group.is_empty()).collect()
}

/// Whether a Bybit contract is settled in its base coin, and served by an endpoint of its own.
pub(super) fn is_bybit_inverse(symbol: &str) -> bool {
    !(symbol.ends_with("USDT") || symbol.ends_with("PERP") || symbol.contains('-'))
}

fn encoded_json(value: &impl Serialize) -> Result<String> {
    let json =
        serde_json::to_string(value).map_err(|error| Error::Domain { name: "symbols", reason: error.to_string() })?;
    Ok(percent_encoded(&json))
}

/// Query-string form of `text`: everything but the unreserved characters of RFC 3986 as `%XX`.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::config::tests::config;
    use crate::feed::history::tests::hour;

    fn with(symbols: &[&str], data_types: &[&str]) -> Vec<Connection> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let config = FeedConfig { symbols: owned(symbols), data_types: owned(data_types), ..config() };
        config.checked().unwrap().connections().unwrap()
    }

    fn decoded(connection: &Connection) -> String {
        let (_, query) = connection.url.split_once('=').unwrap();
        query.replace("%22", "\"").replace("%5B", "[").replace("%5D", "]").replace("%2C", ",").replace("%7B", "{")
    }

    #[test]
    fn the_url_asks_in_camel_case_and_always_for_disconnects_and_errors() {
        let connections = config().connections().unwrap();
        assert_eq!(connections.len(), 1);
        assert_eq!(
            connections[0].url,
            "ws://127.0.0.1:8001/ws-stream-normalized?options=%7B%22exchange%22%3A%22bybit%22%2C%22symbols%22%3A%5B\
             %22BTCUSDT%22%5D%2C%22dataTypes%22%3A%5B%22book_change%22%2C%22trade%22%5D%2C\
             %22withDisconnectMessages%22%3Atrue%2C%22withErrorMessages%22%3Atrue%7D"
        );
    }

    #[test]
    fn a_replay_asks_for_its_range_over_one_socket_and_for_no_error_messages() {
        let data_types = ["book_change", "derivative_ticker"].map(str::to_owned).to_vec();
        let symbols = ["XRPUSDT", "BTCUSD"].map(str::to_owned).to_vec();
        let connections = FeedConfig { data_types, symbols, replay: Some(hour()), ..config() }.connections().unwrap();
        let [only] = connections.as_slice() else { panic!("{connections:?}") };
        assert!(only.url.starts_with("ws://127.0.0.1:8001/ws-replay-normalized?options=%5B%7B"), "{}", only.url);
        let range = "\"from\"%3A\"2024-01-01T00%3A00%3A00.000Z\",\"to\"%3A\"2024-01-01T01%3A00%3A00.000Z\"";
        let text = decoded(only);
        assert_eq!(text.matches(range).count(), 2, "{text}");
        assert!(text.contains("derivative_ticker") && text.contains("withDisconnectMessages"));
        assert!(!text.contains("withErrorMessages"));
    }

    #[test]
    fn anything_outside_the_unreserved_set_is_encoded() {
        assert_eq!(percent_encoded("a-Z_0.~ é&="), "a-Z_0.~%20%C3%A9%26%3D");
    }

    #[test]
    fn linear_and_inverse_contracts_of_bybit_are_options_of_their_own_in_one_connection() {
        let connections = with(&["XRPUSDT", "BTCUSD", "ETHPERP"], &["book_change"]);
        let [only] = connections.as_slice() else { panic!("{connections:?}") };
        assert!(decoded(only).starts_with('['));
        assert!(decoded(only).contains(r#"["ETHPERP","XRPUSDT"]"#) && decoded(only).contains(r#"["BTCUSD"]"#));
        assert_eq!(only.symbols.len(), 3);
    }

    #[test]
    fn derivative_tickers_go_over_a_socket_on_which_no_book_depends() {
        let connections = with(&["BTCUSDT"], &["book_change", "trade", "derivative_ticker"]);
        let roles: Vec<_> = connections.iter().map(|c| (c.carries_books, decoded(c).contains("derivative"))).collect();
        assert_eq!(roles, [(true, false), (false, true)]);
    }

    #[test]
    fn hundreds_of_symbols_share_a_socket_and_thousands_are_spread_without_loss() {
        let names: Vec<String> =
            (0..3000).map(|i| format!("COIN{i:04}USD{}", if i % 3 == 0 { "" } else { "T" })).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(with(&names[..500], &["book_change", "trade"]).len(), 1);
        let connections = with(&names, &["book_change", "trade"]);
        assert!((2..20).contains(&connections.len()));
        let mut all: Vec<&str> = connections.iter().flat_map(|c| &c.symbols).map(String::as_str).collect();
        all.sort_unstable();
        assert_eq!(all, names);
        assert!(connections.iter().all(|c| c.url.len() <= MAX_URL_BYTES && !c.symbols.is_empty()));
    }
}
