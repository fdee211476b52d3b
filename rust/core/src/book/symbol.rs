//! One symbol's book with its streaming metrics and counters: what a feed or a replay holds per symbol.

use std::sync::Arc;

use crate::Result;
use crate::event::{Event, EventKind, Level};
use crate::metrics::{self, Depth, MarketMetrics, MetricsConfig, MetricsReading, Volatility};
use crate::types::{Decimal, Ns};

use super::l2::{BookState, L2Book};
use super::side::Ladder;

/// Levels per side that the imbalance counts.
pub const IMBALANCE_LEVELS: usize = 5;

/// A level-2 book that also counts what it was given and measures the market as it goes.
#[derive(Debug, Clone)]
pub struct SymbolBook {
    exchange: Arc<str>,
    symbol: Arc<str>,
    book: L2Book,
    volatility: Volatility,
    /// Kept when asked for.
    metrics: Option<Box<MarketMetrics>>,
    messages: u64,
    book_changes: u64,
    trades: u64,
    local_ts_ns: Ns,
    exchange_ts_ns: Ns,
    seen_ts_ns: Ns,
}

/// One consistent copy of a book and its metrics. What needs both sides is `None` while one has no level.
#[derive(Debug, Clone, PartialEq)]
pub struct BookSnapshot {
    /// Tardis exchange id.
    pub exchange: Arc<str>,
    /// Symbol as the exchange writes it.
    pub symbol: Arc<str>,
    /// State, judged at the last message unless [`BookSnapshot::judge_age`] was called.
    pub state: BookState,
    /// Why the state is not `Live`; empty when it is.
    pub reason: String,
    /// Local time of the last book change; 0 before the first.
    pub local_ts_ns: Ns,
    /// Exchange time of the last book change.
    pub exchange_ts_ns: Ns,
    /// Time between the last book change and the last message known of.
    pub age_ns: Ns,
    /// Best bids `[price, qty]`, best first.
    pub bids: Vec<[f64; 2]>,
    /// Best asks `[price, qty]`, best first.
    pub asks: Vec<[f64; 2]>,
    /// Exact best bid.
    pub best_bid: Option<Level>,
    /// Exact best ask.
    pub best_ask: Option<Level>,
    /// Middle of the touch.
    pub mid_price: Option<f64>,
    /// Full spread over mid, bps.
    pub spread_bps: Option<f64>,
    /// Weighted mid of the touch.
    pub microprice: Option<f64>,
    /// Signed imbalance of the best five levels of each side, -1..1.
    pub imbalance: Option<f64>,
    /// Quantity within 10 % of mid, or within the band that the metrics were asked for.
    pub depth_10pct: Depth,
    /// Volatility, bps per minute.
    pub volatility_1m: Option<f64>,
    /// Messages of this symbol since the start.
    pub messages: u64,
    /// Book changes among them, those ignored before the first snapshot included.
    pub book_changes: u64,
    /// Trades among them.
    pub trades: u64,
    /// Levels removed because the feed left the book crossed.
    pub crossed_levels_pruned: u64,
    /// Levels the whole book has: bids, asks.
    pub levels: (usize, usize),
}

impl BookSnapshot {
    /// Sets the age as a running clock measured it; a live book older than `stale_after_ns` becomes stale.
    pub fn judge_age(&mut self, age_ns: Ns, stale_after_ns: Ns) {
        self.age_ns = age_ns;
        if self.state == BookState::Live && age_ns > stale_after_ns {
            self.state = BookState::Stale;
            self.reason = format!("no message for {} ms", age_ns / 1_000_000);
        }
    }
}

impl SymbolBook {
    /// An empty book of one symbol.
    pub fn new(exchange: Arc<str>, symbol: Arc<str>) -> Self {
        Self {
            exchange,
            symbol,
            book: L2Book::new(),
            volatility: Volatility::new(),
            metrics: None,
            messages: 0,
            book_changes: 0,
            trades: 0,
            local_ts_ns: 0,
            exchange_ts_ns: 0,
            seen_ts_ns: 0,
        }
    }

    /// The same book, still empty, which keeps every metric from its next event on.
    ///
    /// # Errors
    /// [`crate::Error::Domain`] naming the value of the configuration that is out of range.
    pub fn with_metrics(mut self, config: MetricsConfig) -> Result<Self> {
        self.book = self.book.with_depth_band(config.depth_band_bps)?;
        self.metrics = Some(Box::new(MarketMetrics::new(config)?));
        Ok(self)
    }

    /// Every metric as of the last event; `None` unless [`SymbolBook::with_metrics`] asked for them.
    #[inline]
    pub fn read_metrics(&self) -> Option<MetricsReading> {
        let mut reading = self.metrics.as_ref()?.read(&self.book);
        reading.volatility_1m_bps = self.volatility.bps_per_minute();
        Some(reading)
    }

    /// The metrics with their alarms, when they are kept.
    pub fn metrics(&self) -> Option<&MarketMetrics> {
        self.metrics.as_deref()
    }

    /// The metrics, to take finished episodes from their alarms.
    pub fn metrics_mut(&mut self) -> Option<&mut MarketMetrics> {
        self.metrics.as_deref_mut()
    }

    /// The book itself.
    pub fn book(&self) -> &L2Book {
        &self.book
    }

    /// Tardis exchange id.
    pub fn exchange(&self) -> &Arc<str> {
        &self.exchange
    }

    /// Symbol as the exchange writes it.
    pub fn symbol(&self) -> &Arc<str> {
        &self.symbol
    }

    /// State, judged at the last message.
    pub fn state(&self) -> BookState {
        self.book.state()
    }

    /// Applies one event of this symbol, or a disconnect of its exchange. `true` when the book changed.
    pub fn apply(&mut self, event: &Event) -> bool {
        self.seen_ts_ns = self.seen_ts_ns.max(event.local_ts_ns);
        match &event.kind {
            EventKind::BookChange { is_snapshot, bids, asks } => {
                let (bids, asks) = (bids.iter().copied(), asks.iter().copied());
                self.apply_levels(*is_snapshot, bids, asks, event.exchange_ts_ns, event.local_ts_ns)
            }
            EventKind::Trade { price, qty, side, .. } => {
                self.messages += 1;
                self.trades += 1;
                self.volatility.advance(event.local_ts_ns);
                if let Some(metrics) = &mut self.metrics {
                    let (price, qty) = (price.to_f64(), qty.to_f64());
                    metrics.on_trade(event.local_ts_ns, event.exchange_ts_ns, price, qty, *side);
                }
                false
            }
            EventKind::Disconnect => {
                self.unsync("disconnected: waiting for a snapshot");
                true
            }
            _ => {
                self.messages += 1;
                false
            }
        }
    }

    /// Applies a book change whose levels come in any form, such as columns of integers that share their decimals;
    /// else as [`SymbolBook::apply`].
    #[inline]
    pub fn apply_levels<I>(&mut self, is_snapshot: bool, bids: I, asks: I, exchange_ts_ns: Ns, local_ts_ns: Ns) -> bool
    where
        I: Iterator<Item = Level> + Clone,
    {
        self.seen_ts_ns = self.seen_ts_ns.max(local_ts_ns);
        self.messages += 1;
        self.book_changes += 1;
        let applied = self.book.apply_levels(is_snapshot, bids, asks);
        if applied {
            self.local_ts_ns = local_ts_ns;
            self.exchange_ts_ns = exchange_ts_ns;
        }
        self.measure(local_ts_ns);
        if let Some(metrics) = &mut self.metrics {
            metrics.on_book(local_ts_ns, &self.book);
        }
        applied
    }

    /// Tells the volatility what the book came to at a local time.
    #[inline]
    fn measure(&mut self, local_ts_ns: Ns) {
        match self.book.mid() {
            Some(mid) if self.book.state() == BookState::Live => self.volatility.update(local_ts_ns, mid),
            _ => self.volatility.interrupt(),
        }
    }

    /// Forgets the book until the next snapshot: own socket lost, a message lost, a feed gone silent.
    pub fn unsync(&mut self, reason: &str) {
        self.book.unsync(reason);
        self.volatility.interrupt();
        if let Some(metrics) = &mut self.metrics {
            metrics.on_lost(reason);
        }
    }

    /// Copies the best levels into `out`: price, qty, price, qty … of the bids in its first half, best first, of the asks
    /// in its second; NaN where there is none. O(levels copied).
    pub fn copy_levels(&self, out: &mut [f64]) {
        let (bids, asks) = out.split_at_mut(out.len() / 2);
        self.book.copy_top(self.book.bids(), bids);
        self.book.copy_top(self.book.asks(), asks);
    }

    /// Local time of the last book change; 0 before the first.
    pub fn local_ts_ns(&self) -> Ns {
        self.local_ts_ns
    }

    /// A copy of the best `depth` levels of each side with every metric. O(`depth`): no metric walks the book.
    pub fn snapshot(&self, depth: usize) -> BookSnapshot {
        let (bids, asks) = (self.book.bids(), self.book.asks());
        let top = |side: &Ladder| {
            let mut levels = vec![[0.0; 2]; depth.min(side.len())];
            self.book.copy_top(side, levels.as_flattened_mut());
            levels
        };
        let (best_bid, best_ask) = (self.book.best(bids), self.book.best(asks));
        let touch = best_bid.zip(best_ask);
        let sides = touch.map(|(bid, ask)| [bid.price, bid.qty, ask.price, ask.qty].map(Decimal::to_f64));
        let qtys = |side: &Ladder| {
            let mut levels = [[0.0; 2]; IMBALANCE_LEVELS];
            let found = self.book.copy_top(side, levels.as_flattened_mut());
            levels.into_iter().take(found).map(|[_, qty]| qty)
        };
        BookSnapshot {
            exchange: Arc::clone(&self.exchange),
            symbol: Arc::clone(&self.symbol),
            state: self.book.state(),
            reason: self.book.reason(),
            local_ts_ns: self.local_ts_ns,
            exchange_ts_ns: self.exchange_ts_ns,
            age_ns: if self.local_ts_ns == 0 { 0 } else { self.seen_ts_ns - self.local_ts_ns },
            bids: top(bids),
            asks: top(asks),
            best_bid,
            best_ask,
            mid_price: self.book.mid(),
            spread_bps: sides.map(|[bid, _, ask, _]| metrics::spread_bps(bid, ask)),
            microprice: sides.map(|[bid, bid_qty, ask, ask_qty]| metrics::weighted_mid(bid, bid_qty, ask, ask_qty)),
            imbalance: touch.map(|_| metrics::imbalance(IMBALANCE_LEVELS, qtys(bids), qtys(asks))),
            depth_10pct: self.book.depth(),
            volatility_1m: self.volatility.bps_per_minute(),
            messages: self.messages,
            book_changes: self.book_changes,
            trades: self.trades,
            crossed_levels_pruned: self.book.crossed_levels_pruned(),
            levels: (bids.len(), asks.len()),
        }
    }

    /// The whole book as a snapshot event at `local_ts_ns`, for a reader who joins late; `None` while the book waits for one
    /// itself.
    pub fn snapshot_event(&self, local_ts_ns: Ns) -> Option<Event> {
        let exact = |side: &Ladder| {
            let exact = |(price, qty)| Level { price: self.book.price(price).normalized(), qty };
            side.iter().map(exact).collect::<Vec<_>>()
        };
        (!self.book.needs_snapshot()).then(|| Event {
            exchange: Arc::clone(&self.exchange),
            symbol: Arc::clone(&self.symbol),
            exchange_ts_ns: self.exchange_ts_ns,
            local_ts_ns,
            kind: EventKind::BookChange {
                is_snapshot: true,
                bids: exact(self.book.bids()),
                asks: exact(self.book.asks()),
            },
        })
    }
}
