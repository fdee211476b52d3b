//! What can go wrong in the core, each with the place it went wrong.

/// Result of a core operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure with its context; the message says what, where and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A message or row that does not have the expected form.
    #[error("{place}: {reason}")]
    Decode {
        /// File and line, or the socket's URL.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file without market data: nothing in it was lost, it is another file.
    #[error("{path}: {reason}")]
    NoMarketData {
        /// The path as the user gave it.
        path: String,
        /// What it is instead.
        reason: String,
    },
    /// A file that cannot be opened or read.
    #[error("{path}: {source}")]
    File {
        /// The path as the user gave it.
        path: String,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file that cannot be opened because too many are open already.
    #[error("{path}: {limit} files can be open at once and are: raise the limit (ulimit -n) or read fewer at once")]
    OpenFiles {
        /// The path as the user gave it.
        path: String,
        /// How many this process may have open.
        limit: u64,
    },
    /// The feed cannot be started or went away for good.
    #[error("feed {url}: {reason}")]
    Feed {
        /// URL of the Tardis machine, without its query.
        url: String,
        /// What happened and what to do.
        reason: String,
    },
    /// A number outside what the core can represent or a formula accepts.
    #[error("{name}: {reason}")]
    Domain {
        /// Name of the parameter.
        name: &'static str,
        /// Why the value is refused.
        reason: String,
    },
    /// The local cache failed; the feed goes on without it.
    #[error("cache {path}: {reason}")]
    Cache {
        /// Path of the cache file.
        path: String,
        /// What `SQLite` said.
        reason: String,
    },
}
