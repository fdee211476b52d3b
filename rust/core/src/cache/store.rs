//! The cache's tables, and what is read from and written to them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};

use crate::error::{Error, Result};
use crate::time::{NS_PER_SECOND, now_ns};
use crate::types::Ns;

/// Version of the tables; a file of a newer one is left alone.
const SCHEMA_VERSION: i64 = 2;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS snapshot_1s (
    exchange TEXT NOT NULL, symbol TEXT NOT NULL, second INTEGER NOT NULL,
    mid REAL, spread_bps REAL, imbalance REAL, depth_bid_quote REAL, depth_ask_quote REAL, volatility_1m_bps REAL,
    PRIMARY KEY (exchange, symbol, second)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS snapshot_1s_second ON snapshot_1s (second);
CREATE TABLE IF NOT EXISTS calibration (
    exchange TEXT NOT NULL, symbol TEXT NOT NULL, ts_ns INTEGER NOT NULL,
    intensity_a REAL NOT NULL, intensity_k REAL NOT NULL, sigma REAL NOT NULL,
    orders_seen INTEGER NOT NULL, seconds_seen REAL NOT NULL, se_log_a REAL, se_k REAL,
    PRIMARY KEY (exchange, symbol, ts_ns)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spike (
    exchange TEXT NOT NULL, symbol TEXT NOT NULL, start_ns INTEGER NOT NULL, kind TEXT NOT NULL,
    end_ns INTEGER NOT NULL, severity TEXT NOT NULL, score REAL NOT NULL, threshold REAL NOT NULL, mid REAL,
    reason TEXT NOT NULL,
    PRIMARY KEY (exchange, symbol, start_ns, kind)
) WITHOUT ROWID;
PRAGMA user_version = 2;
";

/// What a file of version 1 lacks beside new tables.
const FROM_VERSION_1: &str =
    "ALTER TABLE calibration ADD COLUMN se_log_a REAL; ALTER TABLE calibration ADD COLUMN se_k REAL;";

/// Share of its largest size at which a file gives up its oldest rows, and how many of them at a time.
const FULL: f64 = 0.9;
const GIVEN_UP: u32 = 10;

/// One second of one book.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotRow {
    /// Tardis exchange id.
    pub exchange: String,
    /// Symbol in the exchange's spelling.
    pub symbol: String,
    /// Local time, whole seconds since the epoch.
    pub second: i64,
    /// Mid price, quote per base.
    pub mid: Option<f64>,
    /// Full spread over mid, bps.
    pub spread_bps: Option<f64>,
    /// Signed imbalance, -1..1.
    pub imbalance: Option<f64>,
    /// Bid depth within 10 % of mid, quote.
    pub depth_bid_quote: Option<f64>,
    /// Ask depth within 10 % of mid, quote.
    pub depth_ask_quote: Option<f64>,
    /// Volatility, bps per minute.
    pub volatility_1m_bps: Option<f64>,
}

/// Calibrated parameters of one symbol at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// Tardis exchange id.
    pub exchange: String,
    /// Symbol in the exchange's spelling.
    pub symbol: String,
    /// When it was calibrated.
    pub ts_ns: Ns,
    /// Fills per second at distance 0, one side.
    pub intensity_a: f64,
    /// Decay of the fill intensity, base per quote.
    pub intensity_k: f64,
    /// Volatility, quote per base per root second.
    pub sigma: f64,
    /// Market orders behind the intensities.
    pub orders_seen: i64,
    /// Seconds of live feed behind them.
    pub seconds_seen: f64,
    /// Standard error of the logarithm of `intensity_a`.
    pub se_log_a: Option<f64>,
    /// Standard error of `intensity_k`, base per quote.
    pub se_k: Option<f64>,
}

/// One episode of alarm.
#[derive(Debug, Clone, PartialEq)]
pub struct SpikeRow {
    /// Tardis exchange id.
    pub exchange: String,
    /// Symbol in the exchange's spelling.
    pub symbol: String,
    /// Local time at which it began.
    pub start_ns: Ns,
    /// Local time of its last alarm.
    pub end_ns: Ns,
    /// Kind of alarm.
    pub kind: String,
    /// How far it stood out, in a word.
    pub severity: String,
    /// The greatest score.
    pub score: f64,
    /// What the score passed.
    pub threshold: f64,
    /// Mid price then, quote per base.
    pub mid: Option<f64>,
    /// In words.
    pub reason: String,
}

/// How much a cache may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Rows older than this before the newest are deleted.
    pub max_age: Duration,
    /// Largest size of the file; the oldest seconds go when it is nearly reached.
    pub max_bytes: u64,
}

/// An open cache file.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
}

impl Store {
    /// Opens or creates the file. A corrupt one is renamed to `NAME.corrupt-SECONDS` and replaced by an empty one; the
    /// returned text says so.
    ///
    /// # Errors
    /// [`Error::Cache`] when the file cannot be created, or was written by a newer version.
    pub fn open(path: &Path, limits: Limits) -> Result<(Self, Option<String>)> {
        let (store, warning) = Self::open_unbounded(path)?;
        let page_bytes = store.pragma("page_size")?.max(1);
        // Rows are given up long before; this holds when that fails.
        let pages = i64::try_from(limits.max_bytes).unwrap_or(i64::MAX) / page_bytes;
        let set = store.connection.pragma_update(None, "max_page_count", pages.max(1));
        set.map_err(|error| Trouble::from(error).at(path))?;
        Ok((store, warning))
    }

    fn open_unbounded(path: &Path) -> Result<(Self, Option<String>)> {
        match connect(path) {
            Ok(connection) => Ok((Self { connection, path: path.to_owned() }, None)),
            Err(Trouble::Corrupt(reason)) => {
                let aside = set_aside(path)?;
                let connection = connect(path).map_err(|trouble| trouble.at(path))?;
                let warning = format!("{} was corrupt ({reason}): set aside as {}", path.display(), aside.display());
                Ok((Self { connection, path: path.to_owned() }, Some(warning)))
            }
            Err(trouble) => Err(trouble.at(path)),
        }
    }

    /// Writes one second; the last row of a second stays.
    ///
    /// # Errors
    /// [`Error::Cache`] with the reason.
    pub fn put_snapshot(&self, row: &SnapshotRow) -> Result<()> {
        self.run(
            "INSERT INTO snapshot_1s VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET mid = excluded.mid, spread_bps = excluded.spread_bps,
             imbalance = excluded.imbalance, depth_bid_quote = excluded.depth_bid_quote,
             depth_ask_quote = excluded.depth_ask_quote, volatility_1m_bps = excluded.volatility_1m_bps",
            params![
                row.exchange,
                row.symbol,
                row.second,
                row.mid,
                row.spread_bps,
                row.imbalance,
                row.depth_bid_quote,
                row.depth_ask_quote,
                row.volatility_1m_bps
            ],
        )
    }

    /// Writes calibrated parameters.
    ///
    /// # Errors
    /// [`Error::Cache`] with the reason.
    pub fn put_calibration(&self, row: &Calibration) -> Result<()> {
        self.run(
            "INSERT OR REPLACE INTO calibration (exchange, symbol, ts_ns, intensity_a, intensity_k, sigma, orders_seen,
             seconds_seen, se_log_a, se_k) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                row.exchange,
                row.symbol,
                row.ts_ns,
                row.intensity_a,
                row.intensity_k,
                row.sigma,
                row.orders_seen,
                row.seconds_seen,
                row.se_log_a,
                row.se_k
            ],
        )
    }

    /// The newest parameters of a symbol from between two times; a row of the future says that a clock was wrong.
    ///
    /// # Errors
    /// [`Error::Cache`] with the reason.
    pub fn calibration(&self, exchange: &str, symbol: &str, within_ns: (Ns, Ns)) -> Result<Option<Calibration>> {
        self.one(
            "SELECT exchange, symbol, ts_ns, intensity_a, intensity_k, sigma, orders_seen, seconds_seen,
             se_log_a, se_k FROM calibration WHERE exchange = ? AND symbol = ? AND ts_ns BETWEEN ? AND ? ORDER BY ts_ns DESC
             LIMIT 1",
            params![exchange, symbol, within_ns.0, within_ns.1],
            |row| {
                Ok(Calibration {
                    exchange: row.get(0)?,
                    symbol: row.get(1)?,
                    ts_ns: row.get(2)?,
                    intensity_a: row.get(3)?,
                    intensity_k: row.get(4)?,
                    sigma: row.get(5)?,
                    orders_seen: row.get(6)?,
                    seconds_seen: row.get(7)?,
                    se_log_a: row.get(8)?,
                    se_k: row.get(9)?,
                })
            },
        )
    }

    /// Writes an episode of alarm.
    ///
    /// # Errors
    /// [`Error::Cache`] with the reason.
    pub fn put_spike(&self, row: &SpikeRow) -> Result<()> {
        self.run(
            "INSERT OR REPLACE INTO spike (exchange, symbol, start_ns, kind, end_ns, severity, score, threshold, mid,
             reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                row.exchange,
                row.symbol,
                row.start_ns,
                row.kind,
                row.end_ns,
                row.severity,
                row.score,
                row.threshold,
                row.mid,
                row.reason
            ],
        )
    }

    /// The episodes of a symbol that began at `from_ns` or later, oldest first.
    ///
    /// # Errors
    /// [`Error::Cache`] with the reason.
    pub fn spikes(&self, exchange: &str, symbol: &str, from_ns: Ns) -> Result<Vec<SpikeRow>> {
        let sql = "SELECT exchange, symbol, start_ns, kind, end_ns, severity, score, threshold, mid, reason FROM spike
                   WHERE exchange = ? AND symbol = ? AND start_ns >= ? ORDER BY start_ns";
        let read = |row: &Row<'_>| {
            Ok(SpikeRow {
                exchange: row.get(0)?,
                symbol: row.get(1)?,
                start_ns: row.get(2)?,
                kind: row.get(3)?,
                end_ns: row.get(4)?,
                severity: row.get(5)?,
                score: row.get(6)?,
                threshold: row.get(7)?,
                mid: row.get(8)?,
                reason: row.get(9)?,
            })
        };
        let found = self.connection.prepare_cached(sql).and_then(|mut statement| {
            statement.query_map(params![exchange, symbol, from_ns], read)?.collect::<rusqlite::Result<Vec<_>>>()
        });
        found.map_err(|error| Trouble::from(error).at(&self.path))
    }

    /// The newest second of a symbol.
    ///
    /// # Errors
    /// [`Error::Cache`] with the reason.
    pub fn latest_snapshot(&self, exchange: &str, symbol: &str) -> Result<Option<SnapshotRow>> {
        self.one(
            "SELECT exchange, symbol, second, mid, spread_bps, imbalance, depth_bid_quote, depth_ask_quote,
             volatility_1m_bps FROM snapshot_1s WHERE exchange = ? AND symbol = ? ORDER BY second DESC LIMIT 1",
            params![exchange, symbol],
            |row| {
                Ok(SnapshotRow {
                    exchange: row.get(0)?,
                    symbol: row.get(1)?,
                    second: row.get(2)?,
                    mid: row.get(3)?,
                    spread_bps: row.get(4)?,
                    imbalance: row.get(5)?,
                    depth_bid_quote: row.get(6)?,
                    depth_ask_quote: row.get(7)?,
                    volatility_1m_bps: row.get(8)?,
                })
            },
        )
    }

    /// Deletes what is older than the limit before the newest second, and the oldest rows of a file that is nearly as
    /// large as it may be. Measured from the data, not from the system clock: a played file has its own time. The newest
    /// parameters of each symbol stay whatever their age.
    ///
    /// # Errors
    /// [`Error::Cache`] with the reason.
    pub fn prune(&self, limits: Limits) -> Result<()> {
        let seconds = limits.max_age.as_secs() as i64;
        self.run(
            "DELETE FROM spike WHERE start_ns < (SELECT max(start_ns) FROM spike) - ?",
            params![seconds.saturating_mul(NS_PER_SECOND)],
        )?;
        self.run("DELETE FROM snapshot_1s WHERE second < (SELECT max(second) FROM snapshot_1s) - ?", params![seconds])?;
        self.run(
            "DELETE FROM calibration WHERE ts_ns < (SELECT max(ts_ns) FROM calibration AS newest
             WHERE newest.exchange = calibration.exchange AND newest.symbol = calibration.symbol) - ?",
            params![seconds.saturating_mul(NS_PER_SECOND)],
        )?;
        let used = (self.pragma("page_count")? - self.pragma("freelist_count")?) * self.pragma("page_size")?;
        if used as f64 > FULL * limits.max_bytes as f64 {
            for (table, time) in [("snapshot_1s", "second"), ("spike", "start_ns"), ("calibration", "ts_ns")] {
                self.run(
                    &format!(
                        "DELETE FROM {table} WHERE {time} < (SELECT {time} FROM {table} ORDER BY {time} LIMIT 1
                         OFFSET (SELECT count(*) / {GIVEN_UP} FROM {table}))"
                    ),
                    [],
                )?;
            }
        }
        Ok(())
    }

    fn pragma(&self, name: &str) -> Result<i64> {
        let value = self.connection.pragma_query_value(None, name, |row| row.get(0));
        value.map_err(|error| Trouble::from(error).at(&self.path))
    }

    fn run(&self, sql: &str, values: impl rusqlite::Params) -> Result<()> {
        let executed = self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
        executed.map(|_| ()).map_err(|error| Trouble::from(error).at(&self.path))
    }

    fn one<T>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        let found =
            self.connection.prepare_cached(sql).and_then(|mut statement| statement.query_row(values, read).optional());
        found.map_err(|error| Trouble::from(error).at(&self.path))
    }
}

/// Why the file cannot be used.
enum Trouble {
    Corrupt(String),
    Other(String),
}

impl Trouble {
    fn at(self, path: &Path) -> Error {
        let (Self::Corrupt(reason) | Self::Other(reason)) = self;
        Error::Cache { path: path.display().to_string(), reason }
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Corrupt(error.to_string()),
            _ => Self::Other(error.to_string()),
        }
    }
}

fn connect(path: &Path) -> std::result::Result<Connection, Trouble> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(2))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > SCHEMA_VERSION {
        let reason = format!("written by a newer version (schema {version}, this one knows {SCHEMA_VERSION})");
        return Err(Trouble::Other(reason));
    }
    if version == 1 {
        connection.execute_batch(FROM_VERSION_1)?;
    }
    connection.execute_batch(SCHEMA)?;
    let verdict: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
    if verdict == "ok" { Ok(connection) } else { Err(Trouble::Corrupt(verdict)) }
}

/// Renames the file, and removes what belongs to it.
fn set_aside(path: &Path) -> Result<PathBuf> {
    let seconds = now_ns() / NS_PER_SECOND;
    let aside = with_suffix(path, &format!(".corrupt-{seconds}"));
    std::fs::rename(path, &aside).map_err(|source| Error::File { path: path.display().to_string(), source })?;
    for suffix in ["-wal", "-shm"] {
        // Absent unless a writer was killed.
        let _ = std::fs::remove_file(with_suffix(path, suffix));
    }
    Ok(aside)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
