//! One connection after the other: subscribe, read without pause, notice silence, come back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until};

use super::backoff::Backoff;
use super::board::{Board, Scope};
use super::config::FeedConfig;
use super::driver::Driver;
use super::inbox::{Inbox, Tally};
use super::native::Requests;
use super::plan::Connection;
use super::recording::SnapshotRecorder;
use super::socket::{ConnectError, Frame, Socket};
use super::tape::Tape;
use crate::time::{format_iso, now_ns};

/// Frames taken at once before readers get a turn at the books.
const MAX_BATCH: usize = 64;

/// Fruitless resyncs double the patience with a book up to this many times: a symbol that does not exist must not
/// keep interrupting those that do.
const MAX_RESYNC_DOUBLINGS: u32 = 4;

/// A connection that answers pings and carries no data is given up after this many resync timeouts.
const IDLE_RESYNC_FACTOR: u32 = 6;

/// The ways in which a replay can be empty, all of which look the same.
const EMPTY_REPLAY: &str = "closed without any message: check exchange, symbols and data types, and that the range has \
                            data; a book is there only after a snapshot, such as the one at 00:00 UTC";

/// How a connection ended, and with it how to go on.
enum End {
    /// Somebody called close.
    Stopped,
    /// The stream is over and the configuration says that this ends the feed.
    Finished,
    /// The connection broke, could not be made, or was given up.
    Lost(String),
    /// The peer would not serve the request, or sent what cannot be read: trying again soon cannot help.
    Refused(String),
}

/// The work on one of the feed's connections, from start to close.
pub struct Session {
    config: Arc<FeedConfig>,
    url: String,
    carries_books: bool,
    seeks_books: bool,
    scope: Scope,
    board: Arc<Board>,
    driver: Arc<Driver>,
    stop: watch::Receiver<bool>,
    backoff: Backoff,
    inbox: Inbox,
    requests: Option<Requests>,
    recorder: Option<SnapshotRecorder>,
    tape: Option<Tape>,
    fruitless_resyncs: u32,
}

impl Session {
    /// A session that fills `board` until `stop` turns true.
    pub fn new(
        config: Arc<FeedConfig>,
        connection: &Connection,
        board: Arc<Board>,
        driver: Arc<Driver>,
        stop: watch::Receiver<bool>,
        keeps_time: bool,
    ) -> Self {
        Self {
            url: connection.url.clone(),
            carries_books: connection.carries_books,
            seeks_books: connection.carries_books && config.expects_books(),
            scope: board.scope(connection, keeps_time),
            backoff: Backoff::new(config.reconnect_min, config.reconnect_max),
            inbox: Inbox::new(&config, &connection.symbols, connection.carries_books),
            requests: Requests::new(&config, connection),
            fruitless_resyncs: 0,
            config,
            board,
            driver,
            stop,
            recorder: None,
            tape: None,
        }
    }

    /// The same session, which also keeps what it reads.
    pub fn recording(mut self, recorder: Option<SnapshotRecorder>, tape: Option<Tape>) -> Self {
        (self.recorder, self.tape) = (recorder, tape);
        self
    }

    /// Connects, reads and reconnects until stopped (`false`) or until the stream is finished (`true`).
    pub async fn run(mut self) -> bool {
        loop {
            let wait = match self.connection().await {
                End::Stopped => return false,
                End::Finished => return true,
                End::Lost(reason) | End::Refused(reason) if self.config.replay.is_some() => {
                    self.board.failed(&self.replay_failure(&reason));
                    return false;
                }
                End::Lost(reason) => {
                    self.board.lost(&self.scope, &reason, false);
                    self.backoff.after_loss()
                }
                End::Refused(reason) => {
                    self.board.lost(&self.scope, &reason, true);
                    self.backoff.after_refusal()
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = stopped(&mut self.stop) => return false,
            }
        }
    }

    /// One connection, from the first byte to the last.
    async fn connection(&mut self) -> End {
        let connected = tokio::select! {
            connected = Socket::connect(&self.url, self.driver.clone()) => connected,
            () = stopped(&mut self.stop) => return End::Stopped,
        };
        let mut socket = match connected {
            Ok(socket) => socket,
            Err(ConnectError::Unreachable(reason)) => return End::Lost(reason),
            Err(ConnectError::Refused(reason)) => return End::Refused(reason),
        };
        self.board.connected(&mut self.scope);
        self.inbox.begin_connection();
        let mut pulse = Pulse::new(Instant::now());
        if let Some(requests) = &mut self.requests {
            requests.open(pulse.opened);
        }
        let mut ticks = interval(tick_period(self.config.stale_after.min(self.config.resync_after)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let end = tokio::select! {
                frame = socket.next() => self.take(frame, &mut socket, &mut pulse).await,
                _ = ticks.tick() => self.tick(&mut socket, &mut pulse).await,
                text = next_request(&mut self.requests) => self.request(text, &mut socket).await,
                () = stopped(&mut self.stop) => Some(End::Stopped),
            };
            if let Some(end) = end {
                self.board.disconnected();
                // What comes now takes long: a goodbye, waits, a handshake. Nobody leads who finds a connection closed.
                self.driver.recall();
                // A replay that is whole lost nothing, nor did one that never began.
                let is_whole = matches!(end, End::Finished) || !self.inbox.has_seen_data();
                if self.config.replay.is_none() || !is_whole {
                    self.note_loss();
                }
                socket.close().await;
                return end;
            }
        }
    }

    /// Takes `frame` and what else has arrived, and applies it in one go.
    async fn take(&mut self, frame: Frame, socket: &mut Socket, pulse: &mut Pulse) -> Option<End> {
        let now = Instant::now();
        pulse.heard(now);
        let (mut end, mut taken) = (self.receive(frame), 1);
        while end.is_none() && taken < MAX_BATCH {
            let Some(frame) = socket.next_ready() else { break };
            end = self.receive(frame);
            taken += 1;
        }
        self.driver.count(taken as u64);
        if self.inbox.has_data() {
            pulse.data(now);
            self.backoff.message_after(now.duration_since(pulse.opened));
        }
        self.board.apply(&mut self.inbox, now, now_ns());
        if let Some(tape) = self.tape.as_ref().filter(|_| !self.inbox.crossed.is_empty()) {
            tape.record_events(&self.board.disconnects_of(&self.inbox.crossed));
        }
        self.inbox.crossed.clear();
        if let Some(requests) = &mut self.requests {
            self.inbox.wanted.drain(..).for_each(|symbol| requests.ask_again(&symbol, now));
        }
        if taken == MAX_BATCH {
            self.driver.recall_for_a_while();
            yield_now().await;
        }
        end
    }

    /// Asks the exchange for something.
    async fn request(&mut self, text: String, socket: &mut Socket) -> Option<End> {
        (!socket.send(text).await).then(|| End::Lost("a request could not be sent".to_owned()))
    }

    /// Sorts one frame into the inbox, or says how the connection ended.
    fn receive(&mut self, frame: Frame) -> Option<End> {
        match frame {
            Frame::Alive => None,
            Frame::Message(bytes) => {
                let (first, tally) = (self.inbox.events.len(), self.inbox.tally);
                let decoded = self.inbox.decode(&bytes);
                self.keep(&bytes, first, tally);
                decoded.err().map(End::Refused)
            }
            Frame::Garbled(reason) => {
                self.inbox.count_garbled();
                Some(End::Refused(format!("unreadable frame: {reason}")))
            }
            Frame::Lost(reason) => Some(End::Lost(reason)),
            Frame::Closed { code, reason } => Some(self.closed(code, &reason)),
        }
    }

    /// Records a message, whose events begin at `first`; `before` is what was counted without it.
    fn keep(&self, bytes: &[u8], first: usize, before: Tally) {
        let Some(tape) = &self.tape else { return };
        let (events, tally) = (&self.inbox.events[first..], self.inbox.tally);
        let is_unreadable = tally.decode_errors > before.decode_errors;
        if is_unreadable {
            tape.reject(bytes);
        }
        if self.config.source.is_native() {
            tape.record_events(events);
        } else if !is_unreadable && (self.carries_books || tally.disconnects == before.disconnects) {
            // A disconnect says nothing about books that come over another connection, and a replay could not tell.
            tape.record(bytes, events.last().map(|event| event.local_ts_ns));
        }
    }

    /// Tells the recording that what follows does not continue what came before.
    fn note_loss(&self) {
        if let Some(tape) = self.tape.as_ref().filter(|_| self.carries_books) {
            tape.note_loss();
        }
    }

    /// Judges a close frame. The handshake of a bad request succeeds, so its close is all that tells.
    fn closed(&self, code: u16, reason: &str) -> End {
        let said = if reason.is_empty() { format!("code {code}") } else { format!("code {code}: {reason}") };
        match (code, self.inbox.has_seen_data()) {
            (1000, false) if self.config.replay.is_some() => End::Refused(format!("{EMPTY_REPLAY} ({said})")),
            (1000, true) if self.config.replay.is_some() => End::Finished,
            (1000, false) => End::Refused(format!("closed without any message ({said}): check exchange and symbols")),
            (1000, true) if self.config.end_on_finish => End::Finished,
            (1008, _) if reason.is_empty() && !self.config.source.is_native() => {
                End::Refused(format!("refused ({said}): no Tardis machine at this port?"))
            }
            (1008 | 1011, _) => End::Refused(format!("closed by the server ({said})")),
            _ => End::Lost(format!("closed by the server ({said})")),
        }
    }

    /// Why a replay ended before its end. It is not begun again by itself: its messages would come twice.
    fn replay_failure(&self, reason: &str) -> String {
        let (_, local_ts_ns) = self.board.last_event();
        if self.inbox.has_seen_data() {
            format!("the replay broke off after {}: {reason}; start it again", format_iso(local_ts_ns, 6))
        } else {
            format!("the replay brought nothing: {reason}")
        }
    }

    /// Looks after what no frame reports: silence, missing snapshots, staleness, the second's cache row.
    async fn tick(&mut self, socket: &mut Socket, pulse: &mut Pulse) -> Option<End> {
        let now = Instant::now();
        let survey = self.board.survey(&self.scope, now);
        if let Some(recorder) = &mut self.recorder {
            recorder.record(&self.board, now);
        }
        if let Some(tape) = &self.tape {
            tape.tick(now);
        }
        if let Some(replay) = self.config.replay {
            return replay.stalled(now.duration_since(pulse.last_data)).map(End::Lost);
        }
        if survey.all_synced {
            self.fruitless_resyncs = 0;
        }
        let resync_after = self.config.resync_after;
        let silent = now.duration_since(pulse.last_frame);
        if silent > resync_after {
            self.board.count_resync();
            return Some(End::Lost(format!("no frame for {:.1} s, pings unanswered", silent.as_secs_f64())));
        }
        // Early enough that an answer can still arrive in time.
        let ping_after = self.config.stale_after.min(resync_after / 3);
        if silent > ping_after && now.duration_since(pulse.last_ping) > ping_after {
            pulse.last_ping = now;
            socket.ping().await;
        }
        let idle = now.duration_since(pulse.last_data);
        if idle > resync_after * IDLE_RESYNC_FACTOR {
            self.board.count_resync();
            return Some(End::Lost(format!("no message for {:.1} s", idle.as_secs_f64())));
        }
        let (symbol, seeking) = survey.longest_unsynced.filter(|_| self.seeks_books)?;
        let seeking = seeking.min(now.duration_since(pulse.opened));
        if seeking <= resync_after * (1 << self.fruitless_resyncs) {
            return None;
        }
        self.fruitless_resyncs = (self.fruitless_resyncs + 1).min(MAX_RESYNC_DOUBLINGS);
        self.board.count_resync();
        Some(End::Lost(format!("no snapshot of {symbol} within {:.1} s", seeking.as_secs_f64())))
    }
}

/// The next request once it is due; never, when there are none to make.
async fn next_request(requests: &mut Option<Requests>) -> String {
    let Some(requests) = requests else { return std::future::pending().await };
    loop {
        sleep_until(requests.due().into()).await;
        if let Some(text) = requests.take(Instant::now()) {
            return text;
        }
    }
}

/// When the connection last showed life.
struct Pulse {
    opened: Instant,
    last_frame: Instant,
    last_data: Instant,
    last_ping: Instant,
}

impl Pulse {
    fn new(now: Instant) -> Self {
        Self { opened: now, last_frame: now, last_data: now, last_ping: now }
    }

    fn heard(&mut self, now: Instant) {
        self.last_frame = now;
    }

    fn data(&mut self, now: Instant) {
        self.last_data = now;
    }
}

/// Often enough that a timeout is noticed soon after it passed.
fn tick_period(shortest_timeout: Duration) -> Duration {
    (shortest_timeout / 8).clamp(Duration::from_millis(5), Duration::from_millis(100))
}

/// Resolves once the feed is to stop; a dropped sender means the same.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
