//! Who reads the sockets: the feed's own thread, or a reader's while it waits for news anyway.
//!
//! Two threads that hand every message over cost two wake-ups a message. A reader that sleeps until a socket has
//! something, and then reads, decodes and applies it itself, needs one. So the feed's thread lends its work to a
//! reader that waits. It takes it back as soon as there is more to do than a few messages, and when the reader, busy
//! with something else, leaves a message lying: reading never stops because a reader does not come.
//!
//! A waker that Tokio puts off until it next looks at the sockets is lost when the turn ends before. So whoever does the
//! work polls all of it first.

use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::task::Poll;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, Runtime};
use tokio::sync::Notify;
use tokio::task::yield_now;

use super::sockets::Sockets;

/// How often the thread looks after the work that is lent while messages keep coming. One may lie for twice as long: a
/// turn just before the look shows that the reader comes.
const MIN_PAUSE: Duration = Duration::from_millis(1);

/// How long the first one after a silence may lie. Looking more often would wake a processor for nothing.
const MAX_PAUSE: Duration = Duration::from_millis(8);

/// How long the thread keeps the work after there was much to read.
const BUSY_SPELL: Duration = Duration::from_millis(50);

/// Turns without a whole frame before the work goes back: a large message comes in many pieces.
const MAX_FRUITLESS_TURNS: u32 = 4;

/// Ends with whether the stream finished.
type Work = Pin<Box<dyn Future<Output = bool> + Send>>;

/// What runs, and in what.
struct Running {
    runtime: Runtime,
    work: Work,
    /// How it ended, once it has: it must not be polled any more.
    ended: Option<Ended>,
}

/// How the work on a feed ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The stream finished.
    Finished,
    /// Somebody closed the feed, or it could not go on.
    Closed,
    /// It panicked.
    Panicked,
}

/// The work on a feed, and whose turn it is to do it.
#[derive(Debug)]
pub struct Driver {
    /// Held by the thread that is at it.
    running: Mutex<Option<Running>>,
    /// Whether a reader does it.
    lent: AtomicBool,
    /// Whether it is not to be lent any more.
    kept: AtomicBool,
    let_go: Notify,
    /// Frames taken since the start.
    frames: AtomicU64,
    fruitless_turns: AtomicU32,
    busy_until: Mutex<Option<Instant>>,
    thread: OnceLock<Thread>,
    /// Whether the thread looks after what it lent more seldom than it should when messages come.
    dozes: AtomicBool,
    sockets: Sockets,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Running {
    /// Polls `step` in the runtime to its end. A panic ends the work, whichever thread it comes up in.
    fn run(&mut self, step: impl AsyncFnOnce(&mut Work) -> Option<bool>) {
        if self.ended.is_none() {
            let run = || self.runtime.block_on(step(&mut self.work));
            self.ended = match catch_unwind(AssertUnwindSafe(run)) {
                Ok(finished) => finished.map(|finished| if finished { Ended::Finished } else { Ended::Closed }),
                Err(_) => Some(Ended::Panicked),
            };
        }
    }
}

impl Driver {
    /// A driver without work.
    ///
    /// # Errors
    /// The operating system's, when it has no descriptors left.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            running: Mutex::new(None),
            lent: AtomicBool::new(false),
            kept: AtomicBool::new(false),
            let_go: Notify::new(),
            frames: AtomicU64::new(0),
            fruitless_turns: AtomicU32::new(0),
            busy_until: Mutex::new(None),
            thread: OnceLock::new(),
            dozes: AtomicBool::new(false),
            sockets: Sockets::new()?,
        })
    }

    /// The open sockets.
    pub fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// Does `parts` to their ends in this thread, the feed's own, but for the time they are lent. The stream finished
    /// when each says so.
    pub fn drive<P>(&self, runtime: Runtime, parts: Vec<P>) -> Ended
    where
        P: Future<Output = bool> + Send + 'static,
    {
        let _ = self.thread.set(thread::current());
        *lock(&self.running) = Some(Running { runtime, work: Box::pin(all(parts)), ended: None });
        loop {
            if let Some(ended) = self.work_here() {
                self.keep();
                if let Some(running) = lock(&self.running).take() {
                    drop(running.work);
                    // A name look-up may still hang in a thread of its own; it has nothing to say any more.
                    running.runtime.shutdown_background();
                }
                return ended;
            }
            self.stand_by();
        }
    }

    /// Works in the feed's thread until it is to let go, or until the end.
    fn work_here(&self) -> Option<Ended> {
        let mut running = lock(&self.running);
        let running = running.as_mut()?;
        running.run(async |work| {
            tokio::select! {
                finished = work => Some(finished),
                () = self.let_go.notified() => None,
            }
        });
        running.ended
    }

    /// Waits until the work comes back, and fetches it when its reader has stopped coming and something lies there.
    fn stand_by(&self) {
        let (mut seen, mut pause) = (self.frames.load(Ordering::Relaxed), MIN_PAUSE);
        while self.is_lent() {
            self.dozes.store(pause > MIN_PAUSE, Ordering::SeqCst);
            thread::park_timeout(pause);
            let frames = self.frames.load(Ordering::Relaxed);
            if frames != seen {
                (seen, pause) = (frames, MIN_PAUSE);
                continue;
            }
            // Timers need a look now and then, too.
            if self.look().is_some_and(|frames| frames > 0) {
                self.recall();
            }
            (seen, pause) = (self.frames.load(Ordering::Relaxed), (2 * pause).min(MAX_PAUSE));
        }
    }

    /// Whether a reader does the work.
    pub fn is_lent(&self) -> bool {
        self.lent.load(Ordering::SeqCst)
    }

    /// Lends the work to the caller, who takes [`Driver::turn`]s from now on. `false` while there is much to do.
    pub fn lend(&self) -> bool {
        if self.is_lent() {
            return true;
        }
        if !Sockets::CAN_WAIT
            || self.kept.load(Ordering::SeqCst)
            || lock(&self.busy_until).is_some_and(|until| Instant::now() < until)
        {
            return false;
        }
        self.fruitless_turns.store(0, Ordering::Relaxed);
        self.lent.store(true, Ordering::SeqCst);
        self.let_go.notify_one();
        true
    }

    /// Gives the work back to the feed's thread. Its reader learns of it by its next turn.
    pub fn recall(&self) {
        if self.lent.swap(false, Ordering::SeqCst) {
            self.wake_thread();
        }
    }

    /// Ends the pause of the feed's thread, if it stands by.
    fn wake_thread(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Lends the work no more.
    pub fn keep(&self) {
        self.kept.store(true, Ordering::SeqCst);
        self.recall();
    }

    /// There is much to read: the feed's thread shall do it, and keep the work for a while.
    pub fn recall_for_a_while(&self) {
        *lock(&self.busy_until) = Some(Instant::now() + BUSY_SPELL);
        self.recall();
    }

    /// Counts frames read.
    pub fn count(&self, frames: u64) {
        self.frames.fetch_add(frames, Ordering::Relaxed);
    }

    /// Reads what has arrived, without waiting. Returns whether the work is still lent.
    pub fn turn(&self) -> bool {
        if self.is_lent() {
            let frames = self.look();
            if frames.is_some_and(|frames| frames > 0) {
                self.fruitless_turns.store(0, Ordering::Relaxed);
            } else if frames.is_some()
                && self.fruitless_turns.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_FRUITLESS_TURNS
            {
                self.recall();
            }
        }
        self.is_lent()
    }

    /// Reads what has arrived, without waiting and without judging whether it was worth while; returns how many frames it
    /// was, or nothing when another thread is at it. A caller within another runtime, which must not wait for this one,
    /// reads nothing.
    pub fn look(&self) -> Option<u64> {
        if Handle::try_current().is_ok() {
            return Some(0);
        }
        let mut running = match self.running.try_lock() {
            Ok(running) => running,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let Some(running) = running.as_mut() else { return Some(0) };
        let before = self.frames.load(Ordering::Relaxed);
        running.run(async |work| {
            // The runtime looks at sockets and timers before it comes back here.
            yield_now().await;
            poll_fn(|context| match work.as_mut().poll(context) {
                Poll::Ready(finished) => Poll::Ready(Some(finished)),
                Poll::Pending => Poll::Ready(None),
            })
            .await
        });
        if running.ended.is_some() {
            self.recall();
        }
        let frames = self.frames.load(Ordering::Relaxed) - before;
        if frames > 0 && self.dozes.swap(false, Ordering::SeqCst) {
            self.wake_thread();
        }
        Some(frames)
    }
}

/// Ends when all `parts` have, with whether all said yes. Polls all that are left whenever it is polled.
async fn all<P: Future<Output = bool>>(parts: Vec<P>) -> bool {
    let mut left: Vec<_> = parts.into_iter().map(Box::pin).collect();
    let mut answer = true;
    poll_fn(|context| {
        left.retain_mut(|part| match part.as_mut().poll(context) {
            Poll::Ready(yes) => {
                answer &= yes;
                false
            }
            Poll::Pending => true,
        });
        if left.is_empty() { Poll::Ready(answer) } else { Poll::Pending }
    })
    .await
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;
    use std::thread::ThreadId;

    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    use super::*;

    #[derive(Debug, PartialEq)]
    enum Do {
        Frame,
        Nothing,
        Rush,
        Panic,
        Finish,
    }

    /// A driver at work in a thread of its own, which tells who did each piece.
    struct Works {
        driver: Arc<Driver>,
        thread: thread::JoinHandle<Ended>,
        orders: UnboundedSender<Do>,
        done: mpsc::Receiver<(Do, ThreadId)>,
    }

    fn works() -> Works {
        let driver = Arc::new(Driver::new().unwrap());
        let (orders, mut inbox) = unbounded_channel();
        let (report, done) = mpsc::channel();
        let at_work = Arc::clone(&driver);
        let work = async move {
            while let Some(order) = inbox.recv().await {
                match order {
                    Do::Frame => at_work.count(1),
                    Do::Nothing => {}
                    Do::Rush => at_work.recall_for_a_while(),
                    Do::Panic => panic!("told to"),
                    Do::Finish => return true,
                }
                report.send((order, thread::current().id())).unwrap();
            }
            false
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let own = Arc::clone(&driver);
        let thread = thread::spawn(move || own.drive(runtime, vec![work]));
        let works = Works { driver, thread, orders, done };
        works.order(Do::Nothing);
        assert_eq!(works.by(), works.thread.thread().id(), "nobody else leads yet");
        works
    }

    impl Works {
        fn order(&self, order: Do) {
            self.orders.send(order).unwrap();
        }

        fn by(&self) -> ThreadId {
            self.done.recv_timeout(Duration::from_secs(10)).expect("somebody does it").1
        }

        /// Leads, and waits until the other thread has let go.
        fn lead(&self) {
            while !self.driver.lend() {
                thread::sleep(MIN_PAUSE);
            }
            while self.driver.is_lent() && self.driver.running.try_lock().is_err() {
                thread::yield_now();
            }
        }

        /// Leads, gives an order and takes turns until this thread was the one to carry it out; on a busy machine the
        /// other one, which waits for a millisecond only, may be first.
        fn by_this_thread(&self, order: impl Fn() -> Do) {
            for _ in 0..1000 {
                self.lead();
                self.order(order());
                self.driver.turn();
                if self.by() == thread::current().id() {
                    return;
                }
            }
            panic!("always the other thread");
        }
    }

    #[test]
    fn a_reader_that_comes_does_the_work_itself() {
        let works = works();
        works.by_this_thread(|| Do::Frame);
        works.by_this_thread(|| Do::Frame);
        works.order(Do::Finish);
        assert_eq!(works.thread.join().unwrap(), Ended::Finished);
        assert!(!works.driver.is_lent() && !works.driver.turn());
    }

    #[test]
    fn what_a_reader_leaves_lying_is_done_by_the_feeds_thread_which_then_keeps_the_work() {
        let works = works();
        works.lead();
        works.order(Do::Frame);
        assert_eq!(works.by(), works.thread.thread().id());
        let deadline = Instant::now() + Duration::from_secs(10);
        while works.driver.is_lent() {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
    }

    #[test]
    fn turns_without_a_whole_frame_give_the_work_back() {
        let works = works();
        works.lead();
        let turns = (1..=100).find(|_| !works.driver.turn());
        assert!(turns.is_some_and(|turns| turns <= MAX_FRUITLESS_TURNS), "{turns:?}");
        assert!(works.driver.lend(), "it may be had again");
    }

    #[test]
    fn after_a_rush_the_feeds_thread_keeps_the_work_for_a_while() {
        let works = works();
        works.by_this_thread(|| Do::Rush);
        assert!(!works.driver.is_lent() && !works.driver.lend());
        thread::sleep(BUSY_SPELL);
        assert!(works.driver.lend());
    }

    #[test]
    fn work_that_ends_or_panics_in_a_readers_turn_ends_the_feeds_thread() {
        let ends: [(fn() -> Do, Ended); 2] = [(|| Do::Finish, Ended::Finished), (|| Do::Panic, Ended::Panicked)];
        for (order, ended) in ends {
            let works = works();
            works.by_this_thread(|| Do::Nothing);
            works.driver.lend();
            works.order(order());
            while works.driver.is_lent() {
                works.driver.turn();
            }
            assert_eq!(works.thread.join().unwrap(), ended);
        }
    }

    #[test]
    fn in_a_runtime_of_its_own_a_caller_takes_no_turns() {
        let works = works();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { assert_eq!(works.driver.look(), Some(0)) });
        works.order(Do::Finish);
        assert_eq!(works.thread.join().unwrap(), Ended::Finished);
    }

    #[test]
    fn a_part_that_gives_way_in_a_readers_turn_is_gone_on_with_however_many_there_are() {
        const PARTS: usize = 100;
        let driver = Arc::new(Driver::new().unwrap());
        let (report, done) = mpsc::channel();
        let (go, went) = tokio::sync::watch::channel(0_u32);
        let part = |_| {
            let (driver, report, mut went) = (Arc::clone(&driver), report.clone(), went.clone());
            async move {
                for _ in 0..20 {
                    went.changed().await.unwrap();
                    yield_now().await;
                    driver.count(1);
                    report.send(()).unwrap();
                }
                true
            }
        };
        let parts: Vec<_> = (0..PARTS).map(part).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let own = Arc::clone(&driver);
        let thread = thread::spawn(move || own.drive(runtime, parts));
        for round in 1..=20 {
            driver.lend();
            go.send(round).unwrap();
            driver.turn();
            for _ in 0..PARTS {
                done.recv_timeout(Duration::from_secs(10)).expect("no part is left behind");
            }
        }
        assert_eq!(thread.join().unwrap(), Ended::Finished);
    }

    #[test]
    fn the_second_message_after_a_silence_does_not_lie_as_long_as_the_first_may() {
        let works = works();
        let mut waits: Vec<Duration> = (0..20)
            .filter_map(|_| {
                works.lead();
                thread::sleep(3 * MAX_PAUSE);
                works.order(Do::Frame);
                works.driver.turn();
                works.by();
                works.order(Do::Frame);
                let left = Instant::now();
                works.by();
                (!works.driver.is_lent()).then(|| left.elapsed())
            })
            .collect();
        waits.sort_unstable();
        assert!(waits[waits.len() / 2] < MAX_PAUSE / 2, "{waits:?}");
    }
}
