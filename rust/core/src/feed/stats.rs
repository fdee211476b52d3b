//! What a feed counted and how it stands.

use crate::types::Ns;

/// Counters and flags of one feed since it was made; a plain copy.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FeedStats {
    /// Messages received, decodable or not; pings do not count.
    pub messages: u64,
    /// Book changes decoded, of any symbol.
    pub book_changes: u64,
    /// Trades decoded, of any symbol.
    pub trades: u64,
    /// `disconnect` messages: the machine lost the exchange.
    pub disconnects: u64,
    /// Tickers, liquidations and sampled books decoded, of any symbol.
    pub tickers: u64,
    /// `error` messages: the machine has trouble with the exchange.
    pub upstream_errors: u64,
    /// Messages that could not be decoded, and frames that were no valid WebSocket frames.
    pub decode_errors: u64,
    /// Messages of types the core does not know; ignored.
    pub unknown_messages: u64,
    /// Messages that took the general decoder: those that are neither book changes nor trades, and those that are not
    /// written as a tardis-machine writes them.
    pub decode_fallbacks: u64,
    /// Books given up because a message did not continue the one before it.
    pub gaps: u64,
    /// Books given up because the exchange's checksum was another.
    pub bad_checksums: u64,
    /// Books of an exchange's own stream given up because a change crossed them.
    pub crosses: u64,
    /// Connections opened.
    pub connects: u64,
    /// Connections opened after the first.
    pub reconnects: u64,
    /// Connections we closed because a book had stayed without a snapshot, or the peer silent, for too long.
    pub resyncs: u64,
    /// Attempts the peer refused: closed with an error, or without any message.
    pub refusals: u64,
    /// Events that did not fit the queue.
    pub dropped_events: u64,
    /// Events waiting in the queue.
    pub queued_events: u64,
    /// News that found earlier news not looked at yet, and became one with it.
    pub merged_news: u64,
    /// Times that messages began to come late: later after their `localTimestamp` than a book takes to grow stale.
    pub late_spells: u64,
    /// Cache rows that could not be written.
    pub cache_errors: u64,
    /// What happened to the cache, empty if nothing did.
    pub cache_warning: String,
    /// Whether a connection is open.
    pub connected: bool,
    /// Whether the stream ended regularly and the feed with it.
    pub finished: bool,
    /// Whether the feed's thread runs.
    pub running: bool,
    /// The last failure in words, empty if there was none; it stays after recovery.
    pub last_error: String,
    /// Why the feed ended for good, empty if it did not; only a replay does, which is not begun again by itself.
    pub failure: String,
    /// Seconds in which some book that had been `LIVE` was not.
    pub stale_seconds: f64,
    /// Local time of the last event, 0 before the first.
    pub last_local_ts_ns: Ns,
    /// Our clock when the last event came, less its `localTimestamp`, ns; 0 before the first. Negative when the clocks
    /// differ that way.
    pub last_lag_ns: i64,
    /// Nanoseconds since the last frame of any kind, by the feed's own clock; -1 before the first.
    pub last_frame_age_ns: i64,
}
