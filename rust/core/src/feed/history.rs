//! A stretch of history asked of a Tardis machine, in place of the live stream.
//!
//! Source: `tardis-machine` documentation, WebSocket endpoint `/ws-replay-normalized`: times are cut to the minute, and
//! `to` is not part of the range. Trouble upstream is retried for minutes without a word.

use std::time::Duration;

use serde::Serialize;

use super::config::refuse;
use super::source::Source;
use crate::error::Result;
use crate::time::{NS_PER_SECOND, format_iso};
use crate::types::Ns;

const NS_PER_MINUTE: Ns = 60 * NS_PER_SECOND;

/// What to replay, and how long to wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// Local time of the first message, a whole minute.
    pub from_ns: Ns,
    /// Local time before which the last message lies, a whole minute.
    pub to_ns: Ns,
    /// A replay without a message for longer than this has failed.
    pub idle_after: Duration,
}

/// The range as a request names it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Range {
    from: String,
    to: String,
}

impl Replay {
    /// Refuses what cannot be replayed from `source` over so many connections.
    pub(super) fn check(self, source: Source, connections: usize) -> Result<()> {
        if source.is_native() {
            return refuse("replay_from, replay_to", format!("{source} has no history: ask a Tardis machine"));
        }
        for (name, ns) in [("replay_from", self.from_ns), ("replay_to", self.to_ns)] {
            if ns.rem_euclid(NS_PER_MINUTE) != 0 {
                let time = format_iso(ns, 9);
                return refuse(name, format!("{time} is no whole minute, and history is replayed by the minute"));
            }
        }
        if self.to_ns <= self.from_ns {
            let [from, to] = [self.from_ns, self.to_ns].map(|ns| format_iso(ns, 0));
            return refuse("replay_to", format!("{to} must be later than replay_from, {from}"));
        }
        if self.idle_after.is_zero() {
            return refuse("replay_idle_s", "must be above 0".to_owned());
        }
        if connections > 1 {
            return refuse("symbols", "are too many for one request: replay them in several".to_owned());
        }
        Ok(())
    }

    pub(super) fn range(&self) -> Range {
        Range { from: format_iso(self.from_ns, 3), to: format_iso(self.to_ns, 3) }
    }

    /// Why the replay has failed if no message came for as long as `idle`.
    pub(super) fn stalled(self, idle: Duration) -> Option<String> {
        let words = || format!("no message for {:.1} s: does the machine get its data?", idle.as_secs_f64());
        (idle > self.idle_after).then(words)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::feed::config::FeedConfig;
    use crate::feed::config::tests::config;
    use crate::time::parse_moment_ns;

    pub(crate) fn hour() -> Replay {
        let [from_ns, to_ns] = ["2024-01-01", "2024-01-01T01:00"].map(|text| parse_moment_ns(text).unwrap());
        Replay { from_ns, to_ns, idle_after: Duration::from_secs(600) }
    }

    #[test]
    fn what_cannot_be_replayed_is_refused_by_name() {
        assert!(FeedConfig { replay: Some(hour()), ..config() }.checked().is_ok());
        let with = |replay| FeedConfig { replay: Some(replay), ..config() };
        let hour = hour();
        let many = (0..3000).map(|i| format!("COIN{i}USDT")).collect();
        let cases = [
            ("replay_from", with(Replay { from_ns: hour.from_ns + 1, ..hour })),
            ("replay_to", with(Replay { to_ns: hour.to_ns + 30 * NS_PER_SECOND, ..hour })),
            ("replay_to", with(Replay { to_ns: hour.from_ns, ..hour })),
            ("replay_idle_s", with(Replay { idle_after: Duration::ZERO, ..hour })),
            ("replay_from, replay_to", FeedConfig { source: Source::Bybit, ..with(hour) }),
            ("symbols", FeedConfig { symbols: many, ..with(hour) }),
        ];
        for (name, bad) in cases {
            let message = bad.checked().unwrap_err().to_string();
            assert!(message.starts_with(name), "{name}: {message}");
        }
    }
}
