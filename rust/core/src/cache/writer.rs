//! The thread that owns the cache file, and the handles to it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::store::{Calibration, SnapshotRow, Store};
use crate::error::{Error, Result};
use crate::types::Ns;

/// Rows that may wait while the disk is slow; more are dropped and counted.
const MAX_WAITING: usize = 1024;

/// Rows between two rounds of deleting old ones.
const ROWS_PER_PRUNE: u64 = 300;

type Reply<T> = SyncSender<Result<T>>;

enum Job {
    Snapshot(SnapshotRow),
    PutCalibration(Calibration, Reply<()>),
    GetCalibration(String, String, Ns, Reply<Option<Calibration>>),
    LatestSnapshot(String, String, Reply<Option<SnapshotRow>>),
    Close,
}

#[derive(Debug, Default)]
struct Health {
    errors: AtomicU64,
    warning: Mutex<String>,
}

impl Health {
    fn fail(&self, reason: &impl ToString) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.warn(reason.to_string());
    }

    fn warn(&self, warning: String) {
        *self.warning.lock().unwrap_or_else(PoisonError::into_inner) = warning;
    }
}

/// What a feed holds of a cache: a way to hand rows over that never blocks and never fails.
#[derive(Debug, Clone)]
pub struct CacheWriter {
    jobs: SyncSender<Job>,
    health: Arc<Health>,
}

impl CacheWriter {
    /// Hands a row over; counted as an error if the cache cannot keep up or is closed.
    pub fn record(&self, row: SnapshotRow) {
        if self.jobs.try_send(Job::Snapshot(row)).is_err() {
            self.health.fail(&"row dropped: the cache is closed or its disk cannot keep up");
        }
    }

    /// Rows that were not written.
    pub fn errors(&self) -> u64 {
        self.health.errors.load(Ordering::Relaxed)
    }

    /// What happened last to the cache, empty if nothing did.
    pub fn warning(&self) -> String {
        self.health.warning.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An open cache with its thread.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    writer: CacheWriter,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Cache {
    /// Opens or creates the cache file; rows older than `max_age` are deleted as new ones come.
    ///
    /// # Errors
    /// [`Error::Cache`] when the file cannot be created or belongs to a newer version. A corrupt file is no error: it
    /// is set aside, and [`CacheWriter::warning`] says so.
    pub fn open(path: &Path, max_age: Duration) -> Result<Self> {
        let (store, warning) = Store::open(path)?;
        let (jobs, queue) = sync_channel(MAX_WAITING);
        let health = Arc::new(Health::default());
        if let Some(warning) = warning {
            health.warn(warning);
        }
        let body = {
            let (health, path) = (health.clone(), path.to_owned());
            move || serve(store, &path, &queue, &health, max_age)
        };
        let thread = Builder::new()
            .name("mm-cache".to_owned())
            .spawn(body)
            .map_err(|error| Error::Cache { path: path.display().to_string(), reason: error.to_string() })?;
        let writer = CacheWriter { jobs, health };
        Ok(Self { path: path.to_owned(), writer, thread: Mutex::new(Some(thread)) })
    }

    /// The handle for a feed.
    pub fn writer(&self) -> CacheWriter {
        self.writer.clone()
    }

    /// Stores calibrated parameters; returns once they are written.
    ///
    /// # Errors
    /// [`Error::Cache`] with the reason.
    pub fn put_calibration(&self, row: Calibration) -> Result<()> {
        self.ask(|reply| Job::PutCalibration(row, reply))
    }

    /// The newest parameters of a symbol, `None` if all are older than `oldest_ns`.
    ///
    /// # Errors
    /// [`Error::Cache`] with the reason.
    pub fn calibration(&self, exchange: &str, symbol: &str, oldest_ns: Ns) -> Result<Option<Calibration>> {
        self.ask(|reply| Job::GetCalibration(exchange.to_owned(), symbol.to_owned(), oldest_ns, reply))
    }

    /// The newest second of a symbol.
    ///
    /// # Errors
    /// [`Error::Cache`] with the reason.
    pub fn latest_snapshot(&self, exchange: &str, symbol: &str) -> Result<Option<SnapshotRow>> {
        self.ask(|reply| Job::LatestSnapshot(exchange.to_owned(), symbol.to_owned(), reply))
    }

    /// Writes what is waiting and closes the file; a second call does nothing.
    pub fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // Fails only if the thread is gone already.
            let _ = self.writer.jobs.send(Job::Close);
            let _ = thread.join();
        }
    }

    fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T> {
        let closed = || Error::Cache { path: self.path.display().to_string(), reason: "closed".to_owned() };
        let (reply, answer) = sync_channel(1);
        self.writer.jobs.send(job(reply)).map_err(|_| closed())?;
        answer.recv().map_err(|_| closed())?
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // Without waiting: a feed may still hold a writer, and its rows are then counted as dropped.
        let _ = self.writer.jobs.try_send(Job::Close);
    }
}

/// The cache thread's work. It ends when told to, or when no handle is left.
fn serve(mut store: Store, path: &Path, jobs: &Receiver<Job>, health: &Health, max_age: Duration) {
    let mut rows: u64 = 0;
    for job in jobs {
        match job {
            Job::Snapshot(row) => {
                if let Err(error) = store.put_snapshot(&row) {
                    health.fail(&error);
                    // A file that broke under us is set aside like one found broken.
                    if let Ok((reopened, warning)) = Store::open(path) {
                        store = reopened;
                        if let Some(warning) = warning {
                            health.warn(warning);
                        }
                    }
                    continue;
                }
                if rows % ROWS_PER_PRUNE == 0 {
                    store.prune(max_age).unwrap_or_else(|error| health.fail(&error));
                }
                rows += 1;
            }
            // A caller that went away needs no answer.
            Job::PutCalibration(row, reply) => drop(reply.send(store.put_calibration(&row))),
            Job::GetCalibration(exchange, symbol, oldest_ns, reply) => {
                drop(reply.send(store.calibration(&exchange, &symbol, oldest_ns)));
            }
            Job::LatestSnapshot(exchange, symbol, reply) => {
                drop(reply.send(store.latest_snapshot(&exchange, &symbol)));
            }
            Job::Close => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("mm_core-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("cache.sqlite")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn row(second: i64, mid: f64) -> SnapshotRow {
        SnapshotRow {
            exchange: "bybit".into(),
            symbol: "BTCUSDT".into(),
            second,
            mid: Some(mid),
            spread_bps: Some(0.1),
            imbalance: None,
            depth_bid_quote: Some(1.0),
            depth_ask_quote: Some(2.0),
            volatility_1m_bps: None,
        }
    }

    #[test]
    fn the_last_row_of_a_second_stays_and_old_seconds_go() {
        let folder = Folder::new("prune");
        let (store, warning) = Store::open(&folder.file()).unwrap();
        assert_eq!(warning, None);
        for (second, mid) in [(100, 1.0), (200, 2.0), (200, 3.0)] {
            store.put_snapshot(&row(second, mid)).unwrap();
        }
        assert_eq!(store.latest_snapshot("bybit", "BTCUSDT").unwrap(), Some(row(200, 3.0)));
        store.prune(Duration::from_secs(50)).unwrap();
        store.put_snapshot(&row(150, 1.5)).unwrap();
        store.prune(DAY).unwrap();
        let connection = rusqlite::Connection::open(folder.file()).unwrap();
        let seconds: i64 = connection.query_row("SELECT sum(second) FROM snapshot_1s", [], |r| r.get(0)).unwrap();
        assert_eq!(seconds, 350);
    }

    #[test]
    fn a_file_that_breaks_while_open_is_counted_and_replaced() {
        let folder = Folder::new("break");
        let cache = Cache::open(&folder.file(), DAY).unwrap();
        let writer = cache.writer();
        for second in 0..50 {
            writer.record(row(second, 1.0));
        }
        // An answer means that all rows before it were worked off.
        cache.latest_snapshot("bybit", "BTCUSDT").unwrap();
        for name in ["cache.sqlite", "cache.sqlite-wal"] {
            let path = folder.0.join(name);
            let bytes = std::fs::metadata(&path).unwrap().len();
            std::fs::write(&path, vec![0xAB; bytes as usize]).unwrap();
        }
        std::fs::remove_file(folder.0.join("cache.sqlite-shm")).unwrap();
        let other = rusqlite::Connection::open(folder.file()).unwrap();
        assert!(other.query_row("SELECT count(*) FROM snapshot_1s", [], |r| r.get::<_, i64>(0)).is_err());
        drop(other);
        for second in 50..2000 {
            writer.record(row(second, 1.0));
        }
        // Whether this connection notices is up to its page cache; it must go on either way.
        let _ = cache.latest_snapshot("bybit", "BTCUSDT");
        cache.close();
        let reopened = Cache::open(&folder.file(), DAY).unwrap();
        reopened.writer().record(row(3000, 2.0));
        assert_eq!(reopened.latest_snapshot("bybit", "BTCUSDT").unwrap(), Some(row(3000, 2.0)));
    }

    #[test]
    fn rows_after_close_are_counted_not_lost_in_silence() {
        let folder = Folder::new("closed");
        let cache = Cache::open(&folder.file(), DAY).unwrap();
        let writer = cache.writer();
        cache.close();
        cache.close();
        writer.record(row(1, 1.0));
        assert_eq!(writer.errors(), 1);
        assert!(cache.latest_snapshot("bybit", "BTCUSDT").is_err());
    }
}
