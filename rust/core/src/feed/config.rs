//! What a feed is asked to do.

use std::time::Duration;

use super::history::Replay;
use super::source::Source;
use crate::error::{Error, Result};

/// One live stream of one exchange.
#[derive(Debug, Clone)]
pub struct FeedConfig {
    /// Who sends the messages.
    pub source: Source,
    /// WebSocket address of the source, `ws://host:port` or `wss://host:port`, without path.
    pub url: String,
    /// Tardis exchange id, such as `bybit` or `bitget-futures`.
    pub exchange: String,
    /// Symbols in the exchange's spelling; made upper case.
    pub symbols: Vec<String>,
    /// Tardis data types, such as `book_change` and `trade`.
    pub data_types: Vec<String>,
    /// Levels a side to ask Bybit for, 1, 50, 200 or 1000; other sources send what they have.
    pub book_depth: u32,
    /// A book without a change for longer than this is `STALE`.
    pub stale_after: Duration,
    /// A book without a snapshot for longer than this makes the feed reconnect.
    pub resync_after: Duration,
    /// Shortest wait before a reconnect.
    pub reconnect_min: Duration,
    /// Longest wait before a reconnect.
    pub reconnect_max: Duration,
    /// Bound of the lossless event queue; 0 keeps none. After an overflow it must hold a disconnect, a snapshot of each
    /// book and one event more.
    pub queue_events: usize,
    /// A regular close after data ends the feed instead of reconnecting; for streams that play files.
    pub end_on_finish: bool,
    /// What to replay; the live stream without it.
    pub replay: Option<Replay>,
}

impl FeedConfig {
    /// The configuration with its symbols in upper case, once each value makes sense.
    ///
    /// # Errors
    /// [`Error::Domain`] names the parameter and what it must be.
    pub fn checked(mut self) -> Result<Self> {
        let rest = self.url.strip_prefix("ws://").or_else(|| self.url.strip_prefix("wss://"));
        let host = rest.map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        let Some(host) = host.filter(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' '])) else {
            return refuse("url", format!("{:?} is not ws://host:port or wss://host:port, without a path", self.url));
        };
        let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
        if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
            return refuse("url", format!("{:?} has no port from 1 to 65535 after the colon", self.url));
        }
        self.url = self.url[..self.url.find(host).unwrap_or(0) + host.len()].to_owned();
        if self.exchange.is_empty() {
            return refuse("exchange", "is empty: give a Tardis exchange id, such as bybit".to_owned());
        }
        for symbol in &mut self.symbols {
            *symbol = symbol.to_uppercase();
        }
        self.symbols.sort();
        self.symbols.dedup();
        if self.symbols.is_empty() || self.symbols.iter().any(String::is_empty) {
            return refuse("symbols", "give at least one, none of them empty".to_owned());
        }
        if self.data_types.is_empty() {
            return refuse("data_types", "give at least one, such as book_change".to_owned());
        }
        if ![1, 50, 200, 1000].contains(&self.book_depth) {
            return refuse("book_depth", format!("{} is not one of 1, 50, 200, 1000", self.book_depth));
        }
        if self.stale_after.is_zero() || self.resync_after.is_zero() || self.reconnect_min.is_zero() {
            return refuse("stale_after_ms, resync_after_ms, reconnect_min_ms", "must be above 0".to_owned());
        }
        if self.reconnect_max < self.reconnect_min {
            return refuse("reconnect_max_ms", "must not be below reconnect_min_ms".to_owned());
        }
        let least = self.symbols.len() + 2;
        if (1..least).contains(&self.queue_events) {
            let reason = format!(
                "{} is too few: give at least {least}, the symbols and two more, or 0 for no queue",
                self.queue_events
            );
            return refuse("queue_events", reason);
        }
        let connections = self.connections()?.len();
        if let Some(replay) = self.replay {
            replay.check(self.source, connections)?;
        }
        Ok(self)
    }

    /// A book without a change for longer than this is `STALE`; the books of a replay never are.
    pub(super) fn book_patience(&self) -> Duration {
        if self.replay.is_some() { Duration::MAX } else { self.stale_after }
    }

    /// Whether books can be expected from the data types asked for.
    pub fn expects_books(&self) -> bool {
        self.data_types.iter().any(|name| name == "book_change")
    }
}

pub(super) fn refuse<T>(name: &'static str, reason: String) -> Result<T> {
    Err(Error::Domain { name, reason })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn config() -> FeedConfig {
        FeedConfig {
            source: Source::Tardis,
            url: "ws://127.0.0.1:8001".into(),
            exchange: "bybit".into(),
            symbols: vec!["BTCUSDT".into()],
            data_types: vec!["book_change".into(), "trade".into()],
            book_depth: 200,
            stale_after: Duration::from_secs(3),
            resync_after: Duration::from_secs(10),
            reconnect_min: Duration::from_millis(100),
            reconnect_max: Duration::from_secs(32),
            queue_events: 0,
            end_on_finish: false,
            replay: None,
        }
    }

    #[test]
    fn symbols_become_upper_case_and_unique_and_a_trailing_slash_goes() {
        let given =
            FeedConfig { url: "ws://[::1]:9/".into(), symbols: vec!["btcusdt".into(), "BTCUSDT".into()], ..config() };
        let checked = given.checked().unwrap();
        assert_eq!((checked.url.as_str(), checked.symbols), ("ws://[::1]:9", vec!["BTCUSDT".to_owned()]));
    }

    #[test]
    fn a_queue_holds_at_least_what_repairs_it() {
        for queue_events in [0, 3, 1000] {
            assert!(FeedConfig { queue_events, ..config() }.checked().is_ok(), "{queue_events}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let long = "X".repeat(20_000);
        let cases = [
            ("url", FeedConfig { url: "http://x".into(), ..config() }),
            ("url", FeedConfig { url: "ws://x/ws-stream-normalized".into(), ..config() }),
            ("url", FeedConfig { url: "ws://".into(), ..config() }),
            ("url", FeedConfig { url: "ws://x:99999".into(), ..config() }),
            ("url", FeedConfig { url: "ws://x:port".into(), ..config() }),
            ("exchange", FeedConfig { exchange: String::new(), ..config() }),
            ("symbols", FeedConfig { symbols: vec![], ..config() }),
            ("symbols", FeedConfig { symbols: vec![long], ..config() }),
            ("data_types", FeedConfig { data_types: vec![], ..config() }),
            ("book_depth", FeedConfig { book_depth: 25, ..config() }),
            ("reconnect_max_ms", FeedConfig { reconnect_max: Duration::from_millis(1), ..config() }),
            ("queue_events: 2 is too few: give at least 3", FeedConfig { queue_events: 2, ..config() }),
        ];
        for (field, bad) in cases {
            let message = bad.checked().unwrap_err().to_string();
            assert!(message.starts_with(field), "{field}: {message}");
        }
    }
}
