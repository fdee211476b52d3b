//! One row a second and symbol of a live feed, on its way to the local cache.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::board::Board;
use crate::book::BookState;
use crate::cache::{CacheWriter, SnapshotRow};

const PERIOD: Duration = Duration::from_secs(1);

/// Levels a side that the row's imbalance and depth look at; what lies deeper moves too slowly to be worth a second's row.
const DEPTH: usize = 50;

/// Hands the cache a row of every `LIVE` book once a second, without ever waiting for it.
pub struct SnapshotRecorder {
    cache: CacheWriter,
    exchange: Arc<str>,
    last: Option<Instant>,
}

impl SnapshotRecorder {
    /// A recorder for the books of `exchange`.
    pub fn new(cache: CacheWriter, exchange: &str) -> Self {
        Self { cache, exchange: exchange.into(), last: None }
    }

    /// Records if a second has passed since the last time.
    pub fn record(&mut self, board: &Board, now: Instant) {
        if self.last.is_some_and(|last| now.duration_since(last) < PERIOD) {
            return;
        }
        self.last = Some(now);
        for symbol in board.symbols() {
            let Some(book) = board.snapshot(&symbol, DEPTH).filter(|book| book.state == BookState::Live) else {
                continue;
            };
            self.cache.record(SnapshotRow {
                exchange: self.exchange.to_string(),
                symbol: symbol.to_string(),
                second: book.local_ts_ns.div_euclid(1_000_000_000),
                mid: book.mid_price,
                spread_bps: book.spread_bps,
                imbalance: book.imbalance,
                depth_bid_quote: book.mid_price.map(|_| book.depth_10pct.bid_quote),
                depth_ask_quote: book.mid_price.map(|_| book.depth_10pct.ask_quote),
                volatility_1m_bps: book.volatility_1m,
            });
        }
        board.set_cache_health(self.cache.errors(), self.cache.warning());
    }
}
