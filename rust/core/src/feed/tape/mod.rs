//! Raw messages with their arrival times, on their way to files.
//!
//! A line is the arrival time (28 characters, 100 ns), a space and the message as it came. The lines of all connections
//! make one sequence, in the order in which the messages came. They are compressed by a thread of their own and written
//! as whole zstd frames, two a second: whatever ends the process loses less than the last second and leaves files that
//! can be read to their end. What cannot be decoded goes to a file beside, `*.rejected.zst`, in lines of the same form,
//! so that it makes nothing else unreadable. A `disconnect` follows every loss, so that a replay knows of the gap.

mod files;
mod roll;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::config::FeedConfig;
use crate::error::{Error, Result};
use files::Files;
use roll::Roll;
pub(super) use roll::Tape;

/// Pieces that may wait for the disk.
const MAX_PIECES: usize = 256;

/// Where to record, and when to begin a new file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// Folder of the files; made if need be.
    pub folder: PathBuf,
    /// Bytes, compressed, after which a new file begins.
    pub rotate_bytes: u64,
    /// Time after which a new file begins.
    pub rotate_every: Duration,
}

/// What was recorded so far.
#[derive(Debug, Default)]
pub struct TapeCounters {
    messages: AtomicU64,
    rejected: AtomicU64,
    dropped: AtomicU64,
    bytes: AtomicU64,
    files: AtomicU64,
    failure: Mutex<String>,
}

impl TapeCounters {
    /// Messages written to the files of market data.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Messages that could not be decoded, written to the files beside.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Messages lost because the disk was too slow or failed.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Bytes written, compressed.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Files of market data begun.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Why nothing is recorded any more; empty while all is well.
    pub fn failure(&self) -> String {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn drop_messages(&self, lost: &Piece) {
        self.dropped.fetch_add(lost.messages + lost.rejected, Ordering::Relaxed);
    }

    fn fail(&self, reason: String) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }
}

/// Lines on their way to the disk, and how many of them are messages.
#[derive(Debug, Default)]
struct Piece {
    lines: Vec<u8>,
    messages: u64,
    /// Lines for the file beside.
    rejected_lines: Vec<u8>,
    rejected: u64,
}

impl Piece {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.rejected_lines.is_empty()
    }

    fn append(&mut self, other: &Self) {
        self.lines.extend_from_slice(&other.lines);
        self.rejected_lines.extend_from_slice(&other.rejected_lines);
        self.messages += other.messages;
        self.rejected += other.rejected;
    }
}

/// The thread that writes, and what hands it work.
#[derive(Debug)]
pub(super) struct TapeWriter {
    roll: Arc<Mutex<Roll>>,
    thread: JoinHandle<()>,
}

impl TapeWriter {
    /// Makes the folder and the first file, and starts the thread. A replay waits for a slow disk, a live stream does not.
    ///
    /// # Errors
    /// [`Error::File`] when the folder or file cannot be made.
    pub(super) fn start(recording: &Recording, config: &FeedConfig, counters: Arc<TapeCounters>) -> Result<Self> {
        let fail = |source| Error::File { path: recording.folder.display().to_string(), source };
        std::fs::create_dir_all(&recording.folder).map_err(fail)?;
        let files = Files::begin(recording.clone(), config.exchange.clone(), counters.clone()).map_err(fail)?;
        let (pieces, received) = sync_channel(MAX_PIECES);
        let body = move || files.write_all(&received);
        let thread = std::thread::Builder::new().name("mm-tape".to_owned()).spawn(body).map_err(fail)?;
        Ok(Self { roll: Arc::new(Mutex::new(Roll::new(pieces, counters, config))), thread })
    }

    /// A writing end for the connection of `symbols`.
    pub(super) fn tape(&self, symbols: &[String]) -> Tape {
        Tape::new(Arc::clone(&self.roll), symbols.to_vec())
    }

    /// Waits until everything recorded is on disk; every tape must be gone.
    pub(super) fn finish(self) {
        let Self { roll, thread } = self;
        drop(roll);
        // A panic there has left its trace in the counters' silence; there is nothing more to do.
        let _ = thread.join();
    }
}

#[cfg(test)]
mod tests;
