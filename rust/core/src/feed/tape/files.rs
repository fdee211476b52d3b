//! The files of one recording, and the thread's work on them.

use std::fs::File;
use std::io::{Error, ErrorKind, Result, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::{Piece, Recording, TapeCounters};
use crate::time::{format_iso, now_ns};

/// How long lines that were handed over wait before they are a frame of the file. With the time before they are handed
/// over it stays well below a second.
const FLUSH_EVERY: Duration = Duration::from_millis(500);

const COMPRESSION_LEVEL: i32 = 3;

/// A file of market data, and beside it, once there is need, one of what could not be decoded.
pub(super) struct Files {
    recording: Recording,
    exchange: String,
    counters: Arc<TapeCounters>,
    pub(super) market: Frames,
    rejected: Option<Frames>,
    began: Instant,
    pub(super) pending: Piece,
}

impl Files {
    /// Begins the first file.
    pub(super) fn begin(recording: Recording, exchange: String, counters: Arc<TapeCounters>) -> Result<Self> {
        let market = next_file(&recording.folder, &exchange)?;
        counters.files.fetch_add(1, Ordering::Relaxed);
        let (rejected, began, pending) = (None, Instant::now(), Piece::default());
        Ok(Self { recording, exchange, counters, market, rejected, began, pending })
    }

    /// Writes what is handed over until nobody can hand over any more. After a failure everything is counted as lost.
    pub(super) fn write_all(mut self, pieces: &Receiver<Piece>) {
        let mut flushed = Instant::now();
        loop {
            let received = pieces.recv_timeout(FLUSH_EVERY.saturating_sub(flushed.elapsed()));
            let is_over = matches!(received, Err(RecvTimeoutError::Disconnected));
            if let Ok(piece) = received {
                self.pending.append(&piece);
            }
            if is_over || flushed.elapsed() >= FLUSH_EVERY {
                flushed = Instant::now();
                if let Err(error) = self.flush() {
                    let folder = self.recording.folder.display();
                    self.counters.fail(format!("recording to {folder} failed: {error}"));
                    self.counters.drop_messages(&self.pending);
                    for lost in pieces {
                        self.counters.drop_messages(&lost);
                    }
                    return;
                }
            }
            if is_over {
                return;
            }
        }
    }

    /// Writes what waits, each kind as one frame; what was written waits no longer.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.market.bytes >= self.recording.rotate_bytes || self.began.elapsed() >= self.recording.rotate_every {
            self.market = next_file(&self.recording.folder, &self.exchange)?;
            (self.rejected, self.began) = (None, Instant::now());
            self.counters.files.fetch_add(1, Ordering::Relaxed);
        }
        let Piece { lines, messages, rejected_lines, rejected } = &mut self.pending;
        if !lines.is_empty() {
            let bytes = self.market.append(lines)?;
            lines.clear();
            self.counters.messages.fetch_add(std::mem::take(messages), Ordering::Relaxed);
            self.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        if !rejected_lines.is_empty() {
            let file = match &mut self.rejected {
                Some(file) => file,
                none => none.insert(Frames::create(beside(&self.market.path))?),
            };
            let bytes = file.append(rejected_lines)?;
            rejected_lines.clear();
            self.counters.rejected.fetch_add(std::mem::take(rejected), Ordering::Relaxed);
            self.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(())
    }
}

const MARKET_ENDING: &str = ".ndjson.zst";

/// Begins a file named by exchange and time; the number at its end tells files of one second apart.
fn next_file(folder: &Path, exchange: &str) -> Result<Frames> {
    let time = format_iso(now_ns(), 0).replace(':', "-");
    let mut number = 0;
    loop {
        match Frames::create(folder.join(format!("{exchange}_{time}_{number:03}{MARKET_ENDING}"))) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && number < 999 => number += 1,
            begun => return begun,
        }
    }
}

/// Where the messages that could not be decoded go while the others go to `market`. No reader of market data takes it
/// for a file of its own.
fn beside(market: &Path) -> PathBuf {
    let name = market.file_name().unwrap_or_default().to_string_lossy();
    market.with_file_name(format!("{}.rejected.zst", name.trim_end_matches(MARKET_ENDING)))
}

/// A file that grows by whole zstd frames, so that it always ends where a frame ends.
pub(super) struct Frames {
    path: PathBuf,
    pub(super) file: File,
    bytes: u64,
}

impl Frames {
    fn create(path: PathBuf) -> Result<Self> {
        Ok(Self { file: File::create_new(&path)?, path, bytes: 0 })
    }

    /// Appends a frame of `lines`; returns its length.
    fn append(&mut self, lines: &[u8]) -> Result<u64> {
        let frame = zstd::encode_all(lines, COMPRESSION_LEVEL)?;
        let written = self.file.write_all(&frame).and_then(|()| self.file.sync_data());
        written.map_err(|error| self.take_back_after(error))?;
        self.bytes += frame.len() as u64;
        Ok(frame.len() as u64)
    }

    /// Removes what a full disk took of a frame: the file ends where the last whole one ends.
    pub(super) fn take_back_after(&mut self, error: Error) -> Error {
        // If that fails as well, a reader leaves the part out.
        let _ = self.file.set_len(self.bytes);
        error
    }
}
