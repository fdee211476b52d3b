//! Live market data: a client of the Tardis machine's normalised stream and replay, or of an exchange's own stream.
//!
//! Source: the `tardis-machine` server's documentation and source, WebSocket endpoints `/ws-stream-normalized` and
//! `/ws-replay-normalized`; for the exchanges see [`native`].
//!
//! One [`Feed`] owns one thread with a single-threaded Tokio runtime on it. The thread reads, decodes and applies, or a
//! reader does in its place while it waits (see [`Feed::lead`]); readers copy what they need from the [`Board`] and
//! never hold it while they work with the copy.

mod backoff;
mod board;
mod config;
mod driver;
mod history;
mod inbox;
mod lag;
pub mod native;
mod plan;
mod recording;
mod session;
mod socket;
mod sockets;
mod source;
mod stats;
mod tape;
mod wake;

use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::watch;

pub use board::Board;
pub use config::FeedConfig;
pub use history::Replay;
pub use source::Source;
pub use stats::FeedStats;
pub use tape::{Recording, TapeCounters};
pub use wake::Wake;

use crate::cache::CacheWriter;
use crate::error::{Error, Result};
use driver::{Driver, Ended};
use plan::Connection;
use recording::SnapshotRecorder;
use session::Session;
use tape::TapeWriter;

/// A live stream of one exchange: books, optional event queue, counters.
#[derive(Debug)]
pub struct Feed {
    config: Arc<FeedConfig>,
    connections: Vec<Connection>,
    board: Arc<Board>,
    driver: Arc<Driver>,
    stop: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
    cache: Option<CacheWriter>,
    recording: Option<Recording>,
    tape: Arc<TapeCounters>,
}

impl Feed {
    /// A feed that is not connected yet.
    ///
    /// # Errors
    /// [`Error::Domain`] for a configuration that cannot work, [`Error::Feed`] when the system has no descriptors.
    pub fn new(config: FeedConfig, cache: Option<CacheWriter>) -> Result<Self> {
        let config = config.checked()?;
        let connections = config.connections()?;
        if config.replay.is_some() && cache.is_some() {
            return config::refuse("cache", "holds seconds of a live stream, and this is a replay".to_owned());
        }
        let board = Board::new(&config, connections.len()).map_err(|error| failed(&config, &error))?;
        let driver = Driver::new().map_err(|error| failed(&config, &error))?;
        let (stop, _) = watch::channel(false);
        Ok(Self {
            config: Arc::new(config),
            connections,
            board: Arc::new(board),
            driver: Arc::new(driver),
            stop,
            thread: Mutex::new(None),
            cache,
            recording: None,
            tape: Arc::default(),
        })
    }

    /// The same feed, which also records every message as it comes.
    #[must_use]
    pub fn recording(mut self, recording: Recording) -> Self {
        self.recording = Some(recording);
        self
    }

    /// What was recorded so far.
    pub fn tape(&self) -> &TapeCounters {
        &self.tape
    }

    /// Starts the thread; it keeps connecting until closed. Does nothing on a feed that runs.
    ///
    /// # Errors
    /// [`Error::Feed`] after [`Feed::close`], or when the system gives no thread.
    pub fn start(&self) -> Result<()> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if *self.stop.borrow() {
            return Err(failed(&self.config, &"closed: make a new feed"));
        }
        if thread.is_some() {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| failed(&self.config, &error))?;
        let mut recorder = self.cache.clone().map(|cache| SnapshotRecorder::new(cache, &self.config.exchange));
        let (board, driver) = (self.board.clone(), self.driver.clone());
        let start_tape = |recording| TapeWriter::start(recording, &self.config, self.tape.clone());
        let tape_writer = self.recording.as_ref().map(start_tape).transpose()?;
        let session = |(index, connection): (usize, &Connection)| {
            let (config, stop, keeps_time) = (self.config.clone(), self.stop.subscribe(), index == 0);
            let tape = tape_writer.as_ref().map(|writer| writer.tape(&connection.symbols));
            let session = Session::new(config, connection, board.clone(), driver.clone(), stop, keeps_time);
            session.recording(recorder.take(), tape).run()
        };
        let sessions: Vec<_> = self.connections.iter().enumerate().map(session).collect();
        let body = move || {
            let run = || {
                let ended = driver.drive(runtime, sessions);
                if let Some(writer) = tape_writer {
                    writer.finish();
                }
                ended
            };
            let ended = catch_unwind(AssertUnwindSafe(run)).unwrap_or(Ended::Panicked);
            if ended == Ended::Panicked {
                board.failed("the feed thread failed: this is a bug, please report it");
            }
            let finished = ended == Ended::Finished;
            board.ended(finished, if finished { "stream finished" } else { "feed closed" });
        };
        let builder = Builder::new().name(format!("mm-feed-{}", self.config.exchange));
        self.board.started();
        *thread = Some(builder.spawn(body).map_err(|error| failed(&self.config, &error))?);
        Ok(())
    }

    /// Ends the thread and waits for it; a second call does nothing. Books and queue stay readable.
    pub fn close(&self) {
        self.request_stop();
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // The body catches its own panics.
            let _ = thread.join();
        }
        self.board.wake().ring();
    }

    /// Tells the thread to end, without waiting.
    pub fn request_stop(&self) {
        self.stop.send_replace(true);
        self.driver.recall();
    }

    /// Lets the caller read the sockets in place of the feed's thread, by [`Feed::turn`] whenever
    /// [`Feed::sockets_fd`] is readable: one wake-up less from the wire to the reader. Returns whether it shall.
    ///
    /// Only a stream that runs smoothly is lent: every connection open, every book there, no recording that needs
    /// times of arrival, not too much to read. A message that the caller leaves lying is read by the feed's thread
    /// after 2 milliseconds, or after 8 of them when it is the first one in a while.
    pub fn lead(&self) -> bool {
        if self.driver.is_lent() {
            return true;
        }
        let can_wait = self.recording.is_none() && self.config.replay.is_none();
        let is_settled = || self.board.is_settled(self.config.expects_books());
        if !(can_wait && is_settled() && self.driver.lend()) {
            return false;
        }
        // A connection may have been lost between the two.
        let leads = is_settled();
        if !leads {
            self.driver.recall();
        }
        leads
    }

    /// Reads, decodes and applies what has arrived, if the caller leads. Returns whether there is news, which is
    /// cleared, and whether the caller still leads.
    pub fn turn(&self) -> (bool, bool) {
        let mut leads = false;
        let news = self.board.wake().heard(|| leads = self.driver.turn());
        (news, leads)
    }

    /// Whether a reader reads the sockets in place of the feed's thread.
    pub fn is_led(&self) -> bool {
        self.driver.is_lent()
    }

    /// The descriptor that is readable while a socket has something to read; -1 where there is none.
    pub fn sockets_fd(&self) -> RawFd {
        self.driver.sockets().fd()
    }

    /// Looks for news for at most `patience` without sleeping, clears it and returns whether there was some; reads
    /// the sockets itself where it may. For one watcher at a time.
    pub fn watch(&self, patience: Duration) -> bool {
        let start = Instant::now();
        while self.lead() {
            let news = self.board.wake().heard(|| {
                self.driver.look();
            });
            if news || start.elapsed() >= patience {
                return news;
            }
            std::thread::yield_now();
        }
        self.board.wake().watch(patience.saturating_sub(start.elapsed()))
    }

    /// Books, queue and counters.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// The configuration in force.
    pub fn config(&self) -> &FeedConfig {
        &self.config
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.request_stop();
    }
}

fn failed(config: &FeedConfig, reason: &impl ToString) -> Error {
    Error::Feed { url: config.url.clone(), reason: reason.to_string() }
}
