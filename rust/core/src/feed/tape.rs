//! Raw messages with their arrival times, on their way to files.
//!
//! A line is the arrival time (28 characters, 100 ns), a space and the message as it came. Lines are compressed by a
//! thread of their own and written as one whole zstd frame a second: whatever ends the process loses the last second
//! and leaves files that can be read to their end. A message that is no JSON object is not written; the `disconnect`
//! that follows every loss is, so that a replay knows of the gap.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::encode::encode;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::time::{format_iso, now_ns};
use crate::types::Ns;

/// How long messages wait before they are a frame of the file.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// Bytes of messages handed over at once, and how many such pieces may wait for the disk.
const PIECE_BYTES: usize = 1 << 18;
const MAX_PIECES: usize = 256;

const COMPRESSION_LEVEL: i32 = 3;

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
    dropped: AtomicU64,
    bytes: AtomicU64,
    files: AtomicU64,
    failure: Mutex<String>,
}

impl TapeCounters {
    /// Messages handed to the disk.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Messages lost because the disk was too slow or failed.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Bytes written, compressed.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Files begun.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Why nothing is recorded any more; empty while all is well.
    pub fn failure(&self) -> String {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Lines of some messages, on their way to the disk.
struct Piece {
    lines: Vec<u8>,
    messages: u64,
}

/// The writing end; one a connection.
#[derive(Debug)]
pub(super) struct Tape {
    pieces: SyncSender<Piece>,
    counters: Arc<TapeCounters>,
    lines: Vec<u8>,
    messages: u64,
    second: (i64, String),
    handed_over: Instant,
    /// Whether messages were lost since the last line.
    has_gap: bool,
}

impl Tape {
    /// Takes one message as it came.
    pub(super) fn record(&mut self, message: &[u8]) {
        if !message.starts_with(b"{") {
            return;
        }
        self.stamp(now_ns());
        let start = self.lines.len();
        self.lines.extend_from_slice(message);
        // A line feed between tokens means nothing in JSON, but would end the line.
        self.lines[start..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        self.lines.push(b'\n');
        self.messages += 1;
        if self.lines.len() >= PIECE_BYTES {
            self.hand_over();
        }
    }

    /// Records events of a source that does not speak the normalised form, in that form.
    pub(super) fn record_events(&mut self, events: &[Event]) {
        let mut message = Vec::new();
        for event in events {
            message.clear();
            encode(event, &mut message);
            self.record(&message);
        }
    }

    /// Notes that the connection is gone, at the local time of the last message before.
    pub(super) fn note_loss(&mut self, exchange: &Arc<str>, local_ts_ns: Ns) {
        self.stamp(now_ns());
        encode(&Event::disconnect(exchange, "".into(), local_ts_ns), &mut self.lines);
        self.lines.push(b'\n');
        self.hand_over();
    }

    /// Hands over what has waited long enough. `true` when messages were lost, so that a replay would be wrong from
    /// here on: the caller notes the loss.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        if now.duration_since(self.handed_over) >= FLUSH_EVERY / 4 {
            self.hand_over();
        }
        std::mem::take(&mut self.has_gap)
    }

    /// Gives the lines to the thread that writes, without waiting for it.
    pub(super) fn hand_over(&mut self) {
        self.handed_over = Instant::now();
        if self.lines.is_empty() {
            return;
        }
        let piece = Piece { lines: std::mem::take(&mut self.lines), messages: std::mem::take(&mut self.messages) };
        if let Err(TrySendError::Full(lost) | TrySendError::Disconnected(lost)) = self.pieces.try_send(piece) {
            self.counters.dropped.fetch_add(lost.messages, Ordering::Relaxed);
            self.has_gap = true;
        }
    }

    fn stamp(&mut self, ns: Ns) {
        let second = ns.div_euclid(1_000_000_000);
        if self.second.0 != second || self.second.1.is_empty() {
            self.second = (second, format_iso(ns, 0)[..19].to_owned());
        }
        self.lines.extend_from_slice(self.second.1.as_bytes());
        let _ = write!(self.lines, ".{:07}Z ", ns.rem_euclid(1_000_000_000) / 100);
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        self.hand_over();
    }
}

/// The thread that writes, and what hands it work.
#[derive(Debug)]
pub(super) struct TapeWriter {
    pieces: SyncSender<Piece>,
    counters: Arc<TapeCounters>,
    thread: JoinHandle<()>,
}

impl TapeWriter {
    /// Makes the folder and the first file, and starts the thread.
    ///
    /// # Errors
    /// [`Error::File`] when the folder or file cannot be made.
    pub(super) fn start(recording: &Recording, exchange: &str, counters: Arc<TapeCounters>) -> Result<Self> {
        let fail = |source| Error::File { path: recording.folder.display().to_string(), source };
        std::fs::create_dir_all(&recording.folder).map_err(fail)?;
        let mut files = Files::new(recording.clone(), exchange.to_owned(), counters.clone());
        files.begin().map_err(fail)?;
        let (pieces, received) = sync_channel(MAX_PIECES);
        let body = move || files.write_all(&received);
        let thread = std::thread::Builder::new().name("mm-tape".to_owned()).spawn(body).map_err(fail)?;
        Ok(Self { pieces, counters, thread })
    }

    /// A writing end for one connection.
    pub(super) fn tape(&self) -> Tape {
        Tape {
            pieces: self.pieces.clone(),
            counters: self.counters.clone(),
            lines: Vec::new(),
            messages: 0,
            second: (0, String::new()),
            handed_over: Instant::now(),
            has_gap: false,
        }
    }

    /// Waits until everything handed over is on disk; every tape must be gone.
    pub(super) fn finish(self) {
        let Self { pieces, thread, .. } = self;
        drop(pieces);
        // A panic there has left its trace in the counters' silence; there is nothing more to do.
        let _ = thread.join();
    }
}

/// The files of one recording.
struct Files {
    recording: Recording,
    exchange: String,
    counters: Arc<TapeCounters>,
    file: Option<File>,
    file_bytes: u64,
    began: Instant,
    pending: Vec<u8>,
}

impl Files {
    fn new(recording: Recording, exchange: String, counters: Arc<TapeCounters>) -> Self {
        let (file, began) = (None, Instant::now());
        Self { recording, exchange, counters, file, file_bytes: 0, began, pending: Vec::new() }
    }

    /// Begins a file named by exchange and time; the number at its end tells files of one second apart.
    fn begin(&mut self) -> std::io::Result<()> {
        let time = format_iso(now_ns(), 0).replace(':', "-");
        let path = |number: u32| -> PathBuf {
            Path::new(&self.recording.folder).join(format!("{}_{time}_{number:03}.ndjson.zst", self.exchange))
        };
        let mut number = 0;
        let file = loop {
            match File::create_new(path(number)) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < 999 => number += 1,
                other => break other?,
            }
        };
        self.counters.files.fetch_add(1, Ordering::Relaxed);
        (self.file, self.file_bytes, self.began) = (Some(file), 0, Instant::now());
        Ok(())
    }

    fn write_all(mut self, pieces: &Receiver<Piece>) {
        let mut flushed = Instant::now();
        loop {
            let received = pieces.recv_timeout(FLUSH_EVERY.saturating_sub(flushed.elapsed()));
            let is_over = matches!(received, Err(RecvTimeoutError::Disconnected));
            if let Ok(piece) = received {
                self.pending.extend_from_slice(&piece.lines);
                self.counters.messages.fetch_add(piece.messages, Ordering::Relaxed);
            }
            if is_over || flushed.elapsed() >= FLUSH_EVERY {
                flushed = Instant::now();
                if let Err(error) = self.flush() {
                    let folder = self.recording.folder.display();
                    let mut failure = self.counters.failure.lock().unwrap_or_else(PoisonError::into_inner);
                    *failure = format!("recording to {folder} failed: {error}");
                    return;
                }
            }
            if is_over {
                return;
            }
        }
    }

    /// Writes what waits as one frame, whole, so that a file always ends where a frame ends.
    fn flush(&mut self) -> std::io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.file_bytes >= self.recording.rotate_bytes || self.began.elapsed() >= self.recording.rotate_every {
            self.begin()?;
        }
        let frame = zstd::encode_all(self.pending.as_slice(), COMPRESSION_LEVEL)?;
        self.pending.clear();
        if let Some(file) = &mut self.file {
            let written = file.write_all(&frame).and_then(|()| file.sync_data());
            written.map_err(|error| self.take_back_after(error))?;
        }
        self.file_bytes += frame.len() as u64;
        self.counters.bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

impl Files {
    /// Removes what a full disk took of a frame: the file ends where the last whole one ends.
    fn take_back_after(&mut self, error: std::io::Error) -> std::io::Error {
        if let Some(file) = &self.file {
            // If that fails as well, a reader leaves the part out.
            let _ = file.set_len(self.file_bytes);
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::{Item, Merge};

    const TRADE: &str = "{\"type\":\"trade\",\"symbol\":\"S\",\"exchange\":\"x\",\"price\":1,\n\"amount\":2,\
                         \"localTimestamp\":\"2024-01-01T00:00:00.000Z\"}";

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("mm_core-tape-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    fn items(folder: &Path) -> Vec<Item> {
        let mut merge = Merge::open(&[folder.to_string_lossy()]).unwrap();
        let mut items = Vec::new();
        while let Some(item) = merge.next_item().unwrap() {
            items.push(item);
        }
        std::fs::remove_dir_all(folder).unwrap();
        items
    }

    #[test]
    fn what_was_recorded_is_read_back_with_its_losses() {
        let folder = folder("read-back");
        let recording =
            Recording { folder: folder.clone(), rotate_bytes: 1 << 30, rotate_every: Duration::from_secs(3600) };
        let counters = Arc::new(TapeCounters::default());
        let writer = TapeWriter::start(&recording, "x", counters.clone()).unwrap();
        let mut tape = writer.tape();
        tape.record(TRADE.as_bytes());
        tape.record(b"garbage");
        tape.note_loss(&"x".into(), 7);
        drop(tape);
        writer.finish();
        let items = items(&folder);
        assert_eq!((items.len(), counters.messages(), counters.dropped(), counters.files()), (2, 1, 0, 1));
        let losses = items.iter().filter(|item| item.event.as_ref().unwrap().symbol.is_empty()).count();
        assert_eq!(losses, 1, "a loss is a disconnect of everything");
        assert!(counters.failure().is_empty());
    }

    #[test]
    fn a_new_file_begins_when_one_is_full() {
        let folder = folder("rotate");
        let recording = Recording { folder: folder.clone(), rotate_bytes: 1, rotate_every: Duration::from_secs(3600) };
        let counters = Arc::new(TapeCounters::default());
        let mut files = Files::new(recording, "x".to_owned(), counters.clone());
        std::fs::create_dir_all(&folder).unwrap();
        files.begin().unwrap();
        for _ in 0..3 {
            files.pending.extend_from_slice(TRADE.replace('\n', "").as_bytes());
            files.pending.push(b'\n');
            files.flush().unwrap();
        }
        assert_eq!((counters.files(), items(&folder).len()), (3, 3));
    }

    #[test]
    fn a_disk_that_stands_still_costs_messages_and_never_time() {
        let counters = Arc::new(TapeCounters::default());
        let (pieces, _nobody_reads) = sync_channel(1);
        let thread = std::thread::spawn(|| ());
        let writer = TapeWriter { pieces, counters: counters.clone(), thread };
        let mut tape = writer.tape();
        for _ in 0..3 {
            tape.record(TRADE.as_bytes());
            tape.hand_over();
        }
        assert_eq!(counters.dropped(), 2);
        assert!(tape.tick(Instant::now()) && !tape.tick(Instant::now()));
    }

    #[test]
    fn what_a_full_disk_took_of_a_frame_is_taken_back() {
        let folder = folder("full");
        let recording =
            Recording { folder: folder.clone(), rotate_bytes: 1 << 30, rotate_every: Duration::from_secs(3600) };
        let mut files = Files::new(recording, "x".to_owned(), Arc::default());
        std::fs::create_dir_all(&folder).unwrap();
        files.begin().unwrap();
        let path = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
        files.pending.extend_from_slice(TRADE.as_bytes());
        files.flush().unwrap();
        let whole = std::fs::read(&path).unwrap();
        // A part of the next frame arrives, then the disk is full; what cannot be written to stands for it.
        let file = files.file.as_mut().unwrap();
        file.write_all(b"part").unwrap();
        assert!(files.take_back_after(std::io::Error::other("full")).to_string().contains("full"));
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
