//! The thread that owns the cache file, and the handles to it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::store::{Calibration, Limits, SnapshotRow, SpikeRow, Store};
use crate::error::{Error, Result};
use crate::types::Ns;

/// Rows that may wait while the disk is slow; more are dropped and counted.
const MAX_WAITING: usize = 1024;

/// Rows between two rounds of deleting old ones.
const ROWS_PER_PRUNE: u64 = 300;

type Reply<T> = SyncSender<Result<T>>;

enum Job {
    Snapshot(SnapshotRow),
    Spike(SpikeRow),
    Calibration(Calibration),
    PutCalibration(Calibration, Reply<()>),
    GetCalibration(String, String, (Ns, Ns), Reply<Option<Calibration>>),
    LatestSnapshot(String, String, Reply<Option<SnapshotRow>>),
    Spikes(String, String, Ns, Reply<Vec<SpikeRow>>),
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
        self.hand_over(Job::Snapshot(row));
    }

    /// Hands an episode of alarm over, likewise.
    pub fn record_spike(&self, row: SpikeRow) {
        self.hand_over(Job::Spike(row));
    }

    /// Hands calibrated parameters over, likewise.
    pub fn record_calibration(&self, row: Calibration) {
        self.hand_over(Job::Calibration(row));
    }

    fn hand_over(&self, job: Job) {
        if self.jobs.try_send(job).is_err() {
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
    /// Opens or creates the cache file; the oldest rows are deleted as new ones come.
    ///
    /// # Errors
    /// [`Error::Cache`] when the file cannot be created or belongs to a newer version. A corrupt file is no error: it
    /// is set aside, and [`CacheWriter::warning`] says so.
    pub fn open(path: &Path, limits: Limits) -> Result<Self> {
        let (store, warning) = Store::open(path, limits)?;
        let (jobs, queue) = sync_channel(MAX_WAITING);
        let health = Arc::new(Health::default());
        if let Some(warning) = warning {
            health.warn(warning);
        }
        let body = {
            let (health, path) = (health.clone(), path.to_owned());
            move || serve(store, &path, &queue, &health, limits)
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

    /// The newest parameters of a symbol from between two times.
    ///
    /// # Errors
    /// [`Error::Cache`] with the reason.
    pub fn calibration(&self, exchange: &str, symbol: &str, within_ns: (Ns, Ns)) -> Result<Option<Calibration>> {
        self.ask(|reply| Job::GetCalibration(exchange.to_owned(), symbol.to_owned(), within_ns, reply))
    }

    /// The newest second of a symbol.
    ///
    /// # Errors
    /// [`Error::Cache`] with the reason.
    pub fn latest_snapshot(&self, exchange: &str, symbol: &str) -> Result<Option<SnapshotRow>> {
        self.ask(|reply| Job::LatestSnapshot(exchange.to_owned(), symbol.to_owned(), reply))
    }

    /// The episodes of a symbol that began at `from_ns` or later, oldest first.
    ///
    /// # Errors
    /// [`Error::Cache`] with the reason.
    pub fn spikes(&self, exchange: &str, symbol: &str, from_ns: Ns) -> Result<Vec<SpikeRow>> {
        self.ask(|reply| Job::Spikes(exchange.to_owned(), symbol.to_owned(), from_ns, reply))
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
fn serve(mut store: Store, path: &Path, jobs: &Receiver<Job>, health: &Health, limits: Limits) {
    let mut rows: u64 = 0;
    for job in jobs {
        let written = match job {
            Job::Snapshot(row) => store.put_snapshot(&row),
            Job::Spike(row) => store.put_spike(&row),
            Job::Calibration(row) => store.put_calibration(&row),
            // A caller that went away needs no answer.
            Job::PutCalibration(row, reply) => {
                drop(reply.send(store.put_calibration(&row)));
                continue;
            }
            Job::GetCalibration(exchange, symbol, within_ns, reply) => {
                drop(reply.send(store.calibration(&exchange, &symbol, within_ns)));
                continue;
            }
            Job::LatestSnapshot(exchange, symbol, reply) => {
                drop(reply.send(store.latest_snapshot(&exchange, &symbol)));
                continue;
            }
            Job::Spikes(exchange, symbol, from_ns, reply) => {
                drop(reply.send(store.spikes(&exchange, &symbol, from_ns)));
                continue;
            }
            Job::Close => return,
        };
        if let Err(error) = written {
            health.fail(&error);
            // A file that broke under us is set aside like one found broken.
            if let Ok((reopened, warning)) = Store::open(path, limits) {
                store = reopened;
                if let Some(warning) = warning {
                    health.warn(warning);
                }
            }
            // Room may be what is missing.
            let _ = store.prune(limits);
            continue;
        }
        if rows % ROWS_PER_PRUNE == 0 {
            store.prune(limits).unwrap_or_else(|error| health.fail(&error));
        }
        rows += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAY: Limits = Limits { max_age: Duration::from_secs(86_400), max_bytes: 64 << 20 };

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
        let (store, warning) = Store::open(&folder.file(), DAY).unwrap();
        assert_eq!(warning, None);
        for (second, mid) in [(100, 1.0), (200, 2.0), (200, 3.0)] {
            store.put_snapshot(&row(second, mid)).unwrap();
        }
        assert_eq!(store.latest_snapshot("bybit", "BTCUSDT").unwrap(), Some(row(200, 3.0)));
        store.prune(Limits { max_age: Duration::from_secs(50), ..DAY }).unwrap();
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
    fn a_file_stays_below_its_largest_size_and_keeps_the_newest_rows() {
        let folder = Folder::new("bounded");
        let limits = Limits { max_bytes: 256 << 10, ..DAY };
        let cache = Cache::open(&folder.file(), limits).unwrap();
        for second in 0..20_000 {
            cache.writer().record(row(second, 1.0));
            if second % 500 == 0 {
                cache.latest_snapshot("bybit", "BTCUSDT").unwrap();
            }
        }
        assert_eq!(cache.latest_snapshot("bybit", "BTCUSDT").unwrap(), Some(row(19_999, 1.0)));
        assert_eq!((cache.writer().errors(), cache.writer().warning()), (0, String::new()));
        cache.close();
        let bytes = std::fs::metadata(folder.file()).unwrap().len();
        assert!((64 << 10..=256 << 10).contains(&bytes), "{bytes} bytes");
    }

    #[test]
    fn a_disk_that_is_full_costs_rows_which_are_counted_and_nothing_else() {
        let folder = Folder::new("full");
        // Too small for any row beside the schema: every write fails as on a full disk.
        let cache = Cache::open(&folder.file(), Limits { max_bytes: 48 << 10, ..DAY }).unwrap();
        for second in 0..3_000 {
            cache.writer().record(SnapshotRow { symbol: "X".repeat(3_000), ..row(second, 1.0) });
            if second % 500 == 0 {
                let _ = cache.latest_snapshot("bybit", "BTCUSDT");
            }
        }
        let _ = cache.latest_snapshot("bybit", "BTCUSDT");
        assert!(cache.writer().errors() > 0);
        assert!(cache.writer().warning().contains("full"), "{}", cache.writer().warning());
        cache.writer().record(row(5_000, 1.0));
        assert!(cache.latest_snapshot("bybit", "BTCUSDT").is_ok(), "the thread goes on");
    }

    #[test]
    fn a_file_of_the_version_before_is_taken_over() {
        let folder = Folder::new("migrate");
        let old = rusqlite::Connection::open(folder.file()).unwrap();
        old.execute_batch(
            "CREATE TABLE calibration (exchange TEXT NOT NULL, symbol TEXT NOT NULL, ts_ns INTEGER NOT NULL,
             intensity_a REAL NOT NULL, intensity_k REAL NOT NULL, sigma REAL NOT NULL, orders_seen INTEGER NOT NULL,
             seconds_seen REAL NOT NULL, PRIMARY KEY (exchange, symbol, ts_ns)) WITHOUT ROWID;
             INSERT INTO calibration VALUES ('bybit', 'BTCUSDT', 5, 1.0, 2.0, 3.0, 4, 5.0); PRAGMA user_version = 1;",
        )
        .unwrap();
        drop(old);
        let (store, _) = Store::open(&folder.file(), DAY).unwrap();
        let found = store.calibration("bybit", "BTCUSDT", (0, 10)).unwrap().unwrap();
        assert_eq!((found.intensity_k, found.se_k), (2.0, None));
        store.put_calibration(&Calibration { ts_ns: 6, se_k: Some(0.1), ..found }).unwrap();
        assert_eq!(store.calibration("bybit", "BTCUSDT", (0, 10)).unwrap().unwrap().se_k, Some(0.1));
    }

    #[test]
    fn episodes_are_kept_in_the_order_they_began() {
        let folder = Folder::new("spikes");
        let (store, _) = Store::open(&folder.file(), DAY).unwrap();
        let spike = |start_ns, kind: &str| SpikeRow {
            exchange: "bybit".into(),
            symbol: "BTCUSDT".into(),
            start_ns,
            end_ns: start_ns + 1,
            kind: kind.into(),
            severity: "high".into(),
            score: 9.0,
            threshold: 6.0,
            mid: None,
            reason: "move".into(),
        };
        for row in [spike(30, "spike"), spike(10, "thin"), spike(10, "spike")] {
            store.put_spike(&row).unwrap();
        }
        let kinds: Vec<_> =
            store.spikes("bybit", "BTCUSDT", 10).unwrap().into_iter().map(|row| (row.start_ns, row.kind)).collect();
        assert_eq!(kinds, [(10, "spike".into()), (10, "thin".into()), (30, "spike".into())]);
        assert_eq!(store.spikes("bybit", "BTCUSDT", 31).unwrap(), []);
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
