//! The cache's tables, and what is read from and written to them.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};

use crate::error::{Error, Result};
use crate::types::Ns;

/// Version of the tables; a file of a newer one is left alone.
const SCHEMA_VERSION: i64 = 1;

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
    orders_seen INTEGER NOT NULL, seconds_seen REAL NOT NULL,
    PRIMARY KEY (exchange, symbol, ts_ns)
) WITHOUT ROWID;
PRAGMA user_version = 1;
";

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
    pub fn open(path: &Path) -> Result<(Self, Option<String>)> {
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
            "INSERT OR REPLACE INTO calibration VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                row.exchange,
                row.symbol,
                row.ts_ns,
                row.intensity_a,
                row.intensity_k,
                row.sigma,
                row.orders_seen,
                row.seconds_seen
            ],
        )
    }

    /// The newest parameters of a symbol that are not older than `oldest_ns`.
    ///
    /// # Errors
    /// [`Error::Cache`] with the reason.
    pub fn calibration(&self, exchange: &str, symbol: &str, oldest_ns: Ns) -> Result<Option<Calibration>> {
        self.one(
            "SELECT exchange, symbol, ts_ns, intensity_a, intensity_k, sigma, orders_seen, seconds_seen
             FROM calibration WHERE exchange = ? AND symbol = ? AND ts_ns >= ? ORDER BY ts_ns DESC LIMIT 1",
            params![exchange, symbol, oldest_ns],
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
                })
            },
        )
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

    /// Deletes what is older than `max_age` before the newest second. Measured from the data, not from the system
    /// clock: a played file has its own time. The newest parameters of each symbol stay whatever their age.
    ///
    /// # Errors
    /// [`Error::Cache`] with the reason.
    pub fn prune(&self, max_age: Duration) -> Result<()> {
        let seconds = max_age.as_secs() as i64;
        self.run("DELETE FROM snapshot_1s WHERE second < (SELECT max(second) FROM snapshot_1s) - ?", params![seconds])?;
        self.run(
            "DELETE FROM calibration WHERE ts_ns < (SELECT max(ts_ns) FROM calibration AS newest
             WHERE newest.exchange = calibration.exchange AND newest.symbol = calibration.symbol) - ?",
            params![seconds.saturating_mul(1_000_000_000)],
        )
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
    connection.execute_batch(SCHEMA)?;
    let verdict: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
    if verdict == "ok" { Ok(connection) } else { Err(Trouble::Corrupt(verdict)) }
}

/// Renames the file, and removes what belongs to it.
fn set_aside(path: &Path) -> Result<PathBuf> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
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
