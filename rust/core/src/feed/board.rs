//! What the feed thread writes and everybody else reads: books, queue, counters, doorbell.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::config::FeedConfig;
use super::inbox::Inbox;
use super::lag::Lag;
use super::plan::Connection;
use super::stats::FeedStats;
use super::wake::Wake;
use crate::book::{BookSnapshot, BookState, SymbolBook};
use crate::event::{Event, EventKind};
use crate::queue::EventQueue;
use crate::types::Ns;

/// What the reader of a replay is told when it was too slow.
const OVERFLOW: &str = "the reader fell behind and events were dropped: raise queue_events, or record the replay and \
                        read the files";

/// One book and what the feed knows about it beyond its levels.
#[derive(Debug)]
struct Tracked {
    symbol: Arc<str>,
    book: SymbolBook,
    changed_at: Option<Instant>,
    /// Since when the book has waited for a snapshot, if it does.
    unsynced_since: Instant,
    was_live: bool,
    /// The state last announced to readers.
    announced: BookState,
}

#[derive(Debug)]
struct Inner {
    /// Sorted by symbol.
    books: Vec<Tracked>,
    /// The book that changed last.
    last: usize,
    queue: EventQueue,
    stats: FeedStats,
    frame_at: Option<Instant>,
    surveyed_at: Option<Instant>,
    /// Connections open now.
    open: usize,
    /// Whether the queue's consumer knows that the books are gone; one disconnect an outage is enough.
    told_lost: bool,
    lag: Lag,
}

/// The part of a board that one connection answers for.
#[derive(Debug)]
pub(super) struct Scope {
    /// Indices of its books; none for a connection that carries no books.
    books: Vec<usize>,
    /// Whether this is the connection that keeps the time of all of them.
    keeps_time: bool,
    /// Whether it was open before.
    was_open: bool,
}

/// What a look at the books of a connection showed.
#[derive(Debug)]
pub struct Survey {
    /// Every book has its snapshot and is not crossed.
    pub all_synced: bool,
    /// The symbol that has waited longest for a snapshot, and how long.
    pub longest_unsynced: Option<(Arc<str>, Duration)>,
}

/// Shared between the feed thread and its readers. Every lock is held for a copy of a few levels or one batch of
/// updates, never across input or output.
#[derive(Debug)]
pub struct Board {
    exchange: Arc<str>,
    stale_after: Duration,
    connections: usize,
    /// Whether a change that crosses a book costs the book; else the crossed levels go.
    refuses_crosses: bool,
    /// Whether this is history, of which an event that does not fit the queue is worth a word.
    is_replay: bool,
    inner: Mutex<Inner>,
    wake: Wake,
}

impl Board {
    /// A board of unsynced books, one a symbol.
    ///
    /// # Errors
    /// The operating system's, when there is no descriptor for the doorbell.
    pub fn new(config: &FeedConfig, connections: usize) -> std::io::Result<Self> {
        let exchange: Arc<str> = config.exchange.as_str().into();
        let now = Instant::now();
        let track = |symbol: &String| {
            let symbol: Arc<str> = symbol.as_str().into();
            let mut book = SymbolBook::new(exchange.clone(), symbol.clone());
            book.unsync("not connected yet");
            Tracked {
                book,
                symbol,
                changed_at: None,
                unsynced_since: now,
                was_live: false,
                announced: BookState::Unsynced,
            }
        };
        let inner = Inner {
            books: config.symbols.iter().map(track).collect(),
            last: 0,
            queue: EventQueue::new(config.queue_events),
            stats: FeedStats::default(),
            frame_at: None,
            surveyed_at: None,
            open: 0,
            told_lost: true,
            lag: Lag::default(),
        };
        Ok(Self {
            exchange,
            stale_after: config.book_patience(),
            connections,
            refuses_crosses: config.source.is_native(),
            is_replay: config.replay.is_some(),
            inner: Mutex::new(inner),
            wake: Wake::new()?,
        })
    }

    /// What `connection` answers for; `keeps_time` for one of the connections.
    pub(super) fn scope(&self, connection: &Connection, keeps_time: bool) -> Scope {
        let inner = self.lock();
        let within = |tracked: &Tracked| connection.symbols.iter().any(|symbol| **symbol == *tracked.symbol);
        let books = if connection.carries_books { inner.books.as_slice() } else { &[] };
        let books = books.iter().enumerate().filter(|(_, tracked)| within(tracked)).map(|(index, _)| index).collect();
        Scope { books, keeps_time, was_open: false }
    }

    /// The doorbell: rung after every batch, every change of state, and the end.
    pub fn wake(&self) -> &Wake {
        &self.wake
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A reader that panicked left nothing half done that matters more than going on.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The feed's thread runs.
    pub(super) fn started(&self) {
        self.lock().stats.running = true;
    }

    /// A connection is open.
    pub(super) fn connected(&self, scope: &mut Scope) {
        let mut inner = self.lock();
        inner.open += 1;
        inner.stats.connected = inner.open == self.connections;
        inner.stats.reconnects += u64::from(scope.was_open);
        inner.stats.connects += 1;
        scope.was_open = true;
        for &index in &scope.books {
            inner.books[index].book.unsync("connected, waiting for the snapshot");
        }
        drop(inner);
        self.wake.ring();
    }

    /// Applies a turn of reading and empties the inbox. `clock_ns` is the time of day of `now`.
    pub(super) fn apply(&self, inbox: &mut Inbox, now: Instant, clock_ns: Ns) {
        let mut inner = self.lock();
        let tally = std::mem::take(&mut inbox.tally);
        let stats = &mut inner.stats;
        stats.messages += tally.messages;
        stats.book_changes += tally.book_changes;
        stats.trades += tally.trades;
        stats.disconnects += tally.disconnects;
        stats.tickers += tally.tickers;
        stats.upstream_errors += tally.upstream_errors;
        stats.decode_errors += tally.decode_errors;
        stats.unknown_messages += tally.unknown;
        stats.decode_fallbacks += tally.fallbacks;
        stats.gaps += tally.gaps;
        stats.bad_checksums += tally.bad_checksums;
        if let Some(fault) = inbox.fault.take() {
            stats.last_error = fault;
        }
        inner.frame_at = Some(now);
        if inbox.events.is_empty() {
            return;
        }
        let Inner { lag, stats, .. } = &mut *inner;
        lag.measure(&inbox.events, self.stale_after, clock_ns, stats);
        inner.repair_queue(&self.exchange);
        let mut events = std::mem::take(&mut inbox.events);
        for event in events.drain(..) {
            // What follows a crossed book in this turn was read before that was known.
            if !inbox.crossed.is_empty() && inbox.crossed.contains(&event.symbol) && is_book_change(&event) {
                continue;
            }
            let lost_because = match event.kind {
                EventKind::Disconnect => inbox.losses.pop_front(),
                _ => None,
            };
            match inner.apply(event, &self.exchange, self.refuses_crosses, lost_because.as_deref(), now) {
                Applied::Kept => {}
                Applied::Done(event) => inbox.recycle(event),
                Applied::Crossed(symbol) => inbox.give_up(symbol),
            }
        }
        inbox.events = events;
        if self.is_replay && inner.queue.dropped() > 0 && inner.stats.last_error.is_empty() {
            OVERFLOW.clone_into(&mut inner.stats.last_error);
        }
        drop(inner);
        self.wake.ring();
    }

    /// A connection that was open is so no more.
    pub(super) fn disconnected(&self) {
        let mut inner = self.lock();
        inner.open -= 1;
        inner.stats.connected = false;
    }

    /// A connection is gone or could not be made: none of its books can be trusted until its next snapshot.
    pub(super) fn lost(&self, scope: &Scope, reason: &str, refused: bool) {
        let mut inner = self.lock();
        inner.stats.refusals += u64::from(refused);
        reason.clone_into(&mut inner.stats.last_error);
        inner.unsync(&scope.books, &self.exchange, reason, Instant::now());
        drop(inner);
        self.wake.ring();
    }

    /// The feed cannot go on.
    pub(super) fn failed(&self, reason: &str) {
        let mut inner = self.lock();
        reason.clone_into(&mut inner.stats.failure);
        reason.clone_into(&mut inner.stats.last_error);
    }

    /// The feed's thread is about to end. A finished stream keeps its books, which then age into `STALE`.
    pub(super) fn ended(&self, finished: bool, reason: &str) {
        let mut inner = self.lock();
        inner.stats.connected = false;
        inner.stats.running = false;
        inner.stats.finished = finished;
        if !finished {
            let all: Vec<usize> = (0..inner.books.len()).collect();
            let failure = inner.stats.failure.clone();
            let reason = if failure.is_empty() { reason } else { &failure };
            inner.unsync(&all, &self.exchange, reason, Instant::now());
        }
        drop(inner);
        self.wake.ring();
    }

    /// Whether every connection is open and, if there are to be books, every book is there.
    pub(super) fn is_settled(&self, expects_books: bool) -> bool {
        let inner = self.lock();
        inner.open == self.connections
            && !(expects_books && inner.books.iter().any(|tracked| tracked.book.book().needs_snapshot()))
    }

    /// Passes on how the cache fares.
    pub(super) fn set_cache_health(&self, errors: u64, warning: String) {
        let mut inner = self.lock();
        inner.stats.cache_errors = errors;
        inner.stats.cache_warning = warning;
    }

    /// The feed gave a connection up.
    pub(super) fn count_resync(&self) {
        self.lock().stats.resyncs += 1;
    }

    /// Looks at the books of a connection for those without a snapshot. The connection that keeps the time also adds up stale
    /// time and announces books that became stale.
    pub(super) fn survey(&self, scope: &Scope, now: Instant) -> Survey {
        let mut inner = self.lock();
        let mut survey = Survey { all_synced: true, longest_unsynced: None };
        for tracked in scope.books.iter().map(|&index| &inner.books[index]) {
            if tracked.book.book().needs_snapshot() {
                survey.all_synced = false;
                let waited = now.duration_since(tracked.unsynced_since);
                if survey.longest_unsynced.as_ref().is_none_or(|(_, longest)| waited > *longest) {
                    survey.longest_unsynced = Some((tracked.symbol.clone(), waited));
                }
            }
        }
        let news = scope.keeps_time && inner.age(self.stale_after, now);
        drop(inner);
        if news {
            self.wake.ring();
        }
        survey
    }

    /// A copy of the best `depth` levels of one book, its state judged now. `None` for a symbol not subscribed.
    pub fn snapshot(&self, symbol: &str, depth: usize) -> Option<BookSnapshot> {
        let inner = self.lock();
        let tracked = inner.asked_for(symbol)?;
        let now = Instant::now();
        let state = judged(tracked, self.stale_after, now);
        let age = tracked.changed_at.map(|changed_at| now.duration_since(changed_at));
        let mut snapshot = tracked.book.snapshot(depth);
        drop(inner);
        if let (BookState::Stale, Some(age)) = (state, age) {
            let limit = self.stale_after.as_secs_f64();
            snapshot.reason = format!("no book change for {:.1} s, limit {limit:.1} s", age.as_secs_f64());
        }
        snapshot.state = state;
        snapshot.age_ns = age.map_or(0, |age| age.as_nanos() as Ns);
        Some(snapshot)
    }

    /// [`SymbolBook::copy_levels`] of one book, with its state judged now, the local time of its last change and its age
    /// by the feed's clock. `None` for a symbol not subscribed.
    pub fn copy_levels(&self, symbol: &str, out: &mut [f64]) -> Option<(BookState, Ns, Ns)> {
        let inner = self.lock();
        let tracked = inner.asked_for(symbol)?;
        tracked.book.copy_levels(out);
        let now = Instant::now();
        let age = tracked.changed_at.map_or(0, |at| now.saturating_duration_since(at).as_nanos() as Ns);
        Some((judged(tracked, self.stale_after, now), tracked.book.local_ts_ns(), age))
    }

    /// Takes the oldest queued events, at most `max_events` of them; 0 takes all. What stays behind rings again.
    pub fn drain(&self, max_events: usize) -> Vec<Event> {
        let mut inner = self.lock();
        let events = inner.queue.drain(max_events);
        let has_more = !inner.queue.is_empty();
        drop(inner);
        if has_more {
            self.wake.ring();
        }
        events
    }

    /// A copy of the counters.
    pub fn stats(&self) -> FeedStats {
        let inner = self.lock();
        FeedStats {
            dropped_events: inner.queue.dropped(),
            queued_events: inner.queue.len() as u64,
            merged_news: self.wake.merged(),
            last_frame_age_ns: inner.frame_at.map_or(-1, |at| at.elapsed().as_nanos() as i64),
            ..inner.stats.clone()
        }
    }

    /// Exchange, and local time of the last event; 0 before the first.
    pub(super) fn last_event(&self) -> (Arc<str>, Ns) {
        (self.exchange.clone(), self.lock().stats.last_local_ts_ns)
    }

    /// What a recording is told of books that were given up here.
    pub(super) fn disconnects_of(&self, symbols: &[Arc<str>]) -> Vec<Event> {
        let (exchange, local_ts_ns) = self.last_event();
        symbols.iter().map(|symbol| Event::disconnect(&exchange, symbol.clone(), local_ts_ns)).collect()
    }

    /// Subscribed symbols.
    pub fn symbols(&self) -> Vec<Arc<str>> {
        self.lock().books.iter().map(|tracked| tracked.symbol.clone()).collect()
    }
}

/// What became of an event.
enum Applied {
    /// It is in the queue.
    Kept,
    /// Nobody wants it any more.
    Done(Event),
    /// It crossed the book of this symbol, which a source that is to be trusted does not do.
    Crossed(Arc<str>),
}

fn is_book_change(event: &Event) -> bool {
    matches!(event.kind, EventKind::BookChange { .. })
}

impl Inner {
    /// Applies one event and queues it.
    fn apply(
        &mut self,
        event: Event,
        exchange: &Arc<str>,
        refuses_crosses: bool,
        lost_because: Option<&str>,
        now: Instant,
    ) -> Applied {
        self.stats.last_local_ts_ns = event.local_ts_ns;
        if event.exchange != *exchange {
            return Applied::Done(event);
        }
        self.told_lost = false;
        if matches!(event.kind, EventKind::Disconnect) {
            let reason = lost_because.unwrap_or("the Tardis machine lost the exchange");
            self.unsync_with(event, reason, now);
            return Applied::Kept;
        }
        let mut crossed = false;
        if let Some(tracked) = self.tracked(&event.symbol) {
            let book = tracked.book.book();
            let (needed_snapshot, pruned) = (book.needs_snapshot(), book.crossed_levels_pruned());
            if tracked.book.apply(&event) {
                tracked.changed_at = Some(now);
            }
            crossed = refuses_crosses && tracked.book.book().crossed_levels_pruned() > pruned;
            if !needed_snapshot && tracked.book.book().needs_snapshot() {
                tracked.unsynced_since = now;
            }
        }
        if crossed {
            let Event { symbol, local_ts_ns, .. } = event;
            let lost = Event::disconnect(exchange, symbol.clone(), local_ts_ns);
            self.stats.crosses += 1;
            self.stats.last_error = format!("{symbol}: a change crossed the book");
            self.unsync_with(lost, "a change crossed the book", now);
            return Applied::Crossed(symbol);
        }
        if !self.queue.is_enabled() {
            return Applied::Done(event);
        }
        self.queue.push(event);
        Applied::Kept
    }

    /// The book of a symbol. Books are sorted by symbol, and messages of one symbol often follow each other.
    fn tracked(&mut self, symbol: &Arc<str>) -> Option<&mut Tracked> {
        if self.books.get(self.last).is_none_or(|tracked| tracked.symbol != *symbol) {
            self.last = self.find(symbol)?;
        }
        self.books.get_mut(self.last)
    }

    fn find(&self, symbol: &str) -> Option<usize> {
        self.books.binary_search_by(|tracked| (*tracked.symbol).cmp(symbol)).ok()
    }

    /// The book a reader asks for, in letters of any case: those of the books are upper case.
    fn asked_for(&self, symbol: &str) -> Option<&Tracked> {
        let index = self.find(symbol).or_else(|| self.find(&symbol.to_uppercase()))?;
        self.books.get(index)
    }

    /// Adds up stale time; `true` when a book changed its state by growing old.
    fn age(&mut self, stale_after: Duration, now: Instant) -> bool {
        let elapsed = self.surveyed_at.replace(now).map_or(Duration::ZERO, |last| now.duration_since(last));
        let (mut news, mut any_stale) = (false, false);
        for tracked in &mut self.books {
            let state = judged(tracked, stale_after, now);
            news |= state != tracked.announced;
            tracked.announced = state;
            tracked.was_live |= state == BookState::Live;
            any_stale |= tracked.was_live && state != BookState::Live;
        }
        if any_stale {
            self.stats.stale_seconds += elapsed.as_secs_f64();
        }
        news
    }

    /// Marks books unsynced because of something that is no message, and tells the queue's consumer so.
    fn unsync(&mut self, books: &[usize], exchange: &Arc<str>, reason: &str, now: Instant) {
        let local_ts_ns = self.stats.last_local_ts_ns;
        if books.len() == self.books.len() {
            return self.unsync_with(Event::disconnect(exchange, "".into(), local_ts_ns), reason, now);
        }
        for &index in books {
            let tracked = &self.books[index];
            if tracked.book.book().is_synced() {
                self.unsync_with(Event::disconnect(exchange, tracked.symbol.clone(), local_ts_ns), reason, now);
            }
            self.books[index].book.unsync(reason);
        }
    }

    fn unsync_with(&mut self, event: Event, reason: &str, now: Instant) {
        let whole = event.symbol.is_empty();
        for tracked in self.books.iter_mut().filter(|tracked| whole || tracked.symbol == event.symbol) {
            if !tracked.book.book().needs_snapshot() {
                tracked.unsynced_since = now;
            }
            tracked.book.unsync(reason);
        }
        if !self.told_lost {
            self.queue.push(event);
            self.told_lost = whole;
        }
    }

    /// After an overflow, once there is room: a disconnect and the books as they stand, so that the consumer is
    /// whole again from here on.
    fn repair_queue(&mut self, exchange: &Arc<str>) {
        if !self.queue.has_gap() {
            return;
        }
        let levels = self.books.iter().map(|tracked| tracked.book.book().len()).sum();
        if !self.queue.can_repair(self.books.len() + 1, levels) {
            return;
        }
        let local_ts_ns = self.stats.last_local_ts_ns;
        let snapshots = self.books.iter().filter_map(|tracked| tracked.book.snapshot_event(local_ts_ns));
        let events: Vec<_> =
            std::iter::once(Event::disconnect(exchange, "".into(), local_ts_ns)).chain(snapshots).collect();
        self.queue.repair(events);
    }
}

/// The state of a book as of `now`: what it says of itself, and `STALE` if that is too long ago.
fn judged(tracked: &Tracked, stale_after: Duration, now: Instant) -> BookState {
    let state = tracked.book.state();
    let stale = tracked.changed_at.is_none_or(|at| now.saturating_duration_since(at) > stale_after);
    if state == BookState::Live && stale { BookState::Stale } else { state }
}
