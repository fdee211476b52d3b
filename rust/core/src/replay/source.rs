//! Lines of a file, plain, gzip or zstd, with the number of each.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Take};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memchr::memchr;

use crate::error::{Error, Result};
use crate::replay::frames::{self, is_zstd, whole_frames};
use crate::replay::notices::Notices;

const BUFFER_BYTES: usize = 1 << 18;

/// Largest window of a zstd file, the distance over which it repeats itself, as a power of 2: memory that its reader
/// takes, in as far as the file is as long.
const MAX_WINDOW_LOG: u32 = 30;

/// What some programs write in front of text to say that it is UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads a file line by line; compression is told by the file's first bytes, not its name.
pub(super) struct Lines {
    path: String,
    bytes: Box<dyn Read + Send>,
    /// Bytes read; those of `start..end` are still to come.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    at_end: bool,
    number: u64,
    consumed: Arc<AtomicU64>,
    total_bytes: u64,
    is_plain: bool,
    /// Bytes of the whole frames when the last frame is not; `None` when all is whole or the file is not zstd.
    whole_bytes: Option<u64>,
    /// Whether the file may end with a frame that is not whole, as a recording may.
    may_be_cut: bool,
    notices: Notices,
}

impl Lines {
    /// Opens a file.
    pub(super) fn open(path: &str, notices: &Notices) -> Result<Self> {
        let fail = |source| Error::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(fail)?;
        let total_bytes = file.metadata().map_err(fail)?.len();
        let consumed = Arc::new(AtomicU64::new(0));
        let mut magic = [0; frames::MAGIC_BYTES];
        let is_zstd_file = file.read_exact_at(&mut magic, 0).is_ok() && is_zstd(&magic);
        let whole_bytes = if is_zstd_file { whole_frames(&file, total_bytes).map_err(fail)? } else { None };
        let left = whole_bytes.filter(|bytes| *bytes > 0).unwrap_or(u64::MAX);
        let counted = Counted { file: file.take(left), consumed: Arc::clone(&consumed) };
        let mut raw = BufReader::with_capacity(BUFFER_BYTES, counted);
        let new = |bytes, buffer, end, is_plain| Self {
            path: path.to_owned(),
            bytes,
            buffer,
            start: 0,
            end,
            at_end: false,
            number: 0,
            consumed: Arc::clone(&consumed),
            total_bytes,
            is_plain,
            whole_bytes,
            may_be_cut: false,
            notices: notices.clone(),
        };
        let head = raw.fill_buf().map_err(fail)?;
        let bytes: Box<dyn Read + Send> = match head {
            [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(raw)),
            head if is_zstd(head) => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(raw).map_err(fail)?;
                decoder.window_log_max(MAX_WINDOW_LOG).map_err(fail)?;
                Box::new(decoder)
            }
            read => {
                let buffer = [read, &vec![0; BUFFER_BYTES - read.len()]].concat();
                let (end, bytes) = (read.len(), Box::new(raw.into_inner()));
                return Ok(new(bytes, buffer, end, true));
            }
        };
        Ok(new(bytes, vec![0; BUFFER_BYTES], 0, false))
    }

    /// What is read already of the lines to come; may be nothing, and may end anywhere.
    #[inline]
    pub(super) fn ahead(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Passes over one line of [`Lines::ahead`], its end included.
    #[inline]
    pub(super) fn pass(&mut self, bytes: usize) {
        self.start += bytes;
        self.number += 1;
    }

    /// The first line, without a byte-order mark before it.
    pub(super) fn first(&mut self) -> Result<Option<&[u8]>> {
        while self.end < BYTE_ORDER_MARK.len() && self.fill()? {}
        if self.ahead().starts_with(BYTE_ORDER_MARK) {
            self.start = BYTE_ORDER_MARK.len();
        }
        self.next()
    }

    /// The next line without its end, or `None` at the end of the file. Blank lines are passed over.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>> {
        loop {
            let length = match memchr(b'\n', self.ahead()) {
                Some(length) => length,
                None if self.fill()? => continue,
                None if self.start == self.end => return Ok(None),
                None => self.end - self.start,
            };
            self.number += 1;
            let (start, end) = (self.start, self.start + length);
            self.start = (end + 1).min(self.end);
            let ends = self.buffer[start..end].iter().rev().take_while(|byte| **byte == b'\r').count();
            if length > ends {
                return Ok(Some(&self.buffer[start..end - ends]));
            }
        }
    }

    /// Reads more after what is left; `false` at the end of the file.
    #[cold]
    fn fill(&mut self) -> Result<bool> {
        if self.at_end {
            return Ok(false);
        }
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end == self.buffer.len() {
            self.buffer.resize(2 * self.end, 0);
        }
        match self.bytes.read(&mut self.buffer[self.end..]) {
            Ok(0) if self.whole_bytes.is_some_and(|bytes| bytes > 0) => self.cut_end(),
            Ok(read) => {
                self.end += read;
                self.at_end = read == 0;
                Ok(read > 0)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => {
                self.number += 1;
                Err(self.broken(&error))
            }
        }
    }

    /// The end of the whole frames of a file that goes on after them.
    fn cut_end(&mut self) -> Result<bool> {
        let Some(cut) = self.whole_bytes.filter(|_| self.may_be_cut).map(|bytes| self.total_bytes - bytes) else {
            self.number += 1;
            return Err(self.broken(&ErrorKind::UnexpectedEof.into()));
        };
        let path = &self.path;
        self.notices.say(format!(
            "{path}: the recording was cut off while it was written: its last {cut} bytes, a second at most, are left out"
        ));
        self.at_end = true;
        Ok(false)
    }

    /// Adds a warning about the file.
    pub(super) fn say(&self, notice: String) {
        self.notices.say(notice);
    }

    /// The error of a file that is another kind of file.
    pub(super) fn no_market_data(&self, reason: &str) -> Error {
        Error::NoMarketData { path: self.path.clone(), reason: reason.to_owned() }
    }

    /// Name of the file without its folder.
    pub(super) fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Lets the file end with a frame that is not whole: what was recorded up to there is right.
    pub(super) fn allow_cut_end(&mut self) {
        self.may_be_cut = true;
    }

    /// Whether nothing in the file is whole.
    pub(super) fn is_cut_at_once(&self) -> bool {
        self.whole_bytes == Some(0)
    }

    /// Says so if the line last read has no line end in a file that nothing else tells to be whole.
    pub(super) fn warn_of_open_line(&self) {
        let is_open = self.at_end && self.start == self.end && !self.buffer[..self.end].ends_with(b"\n");
        if is_open && self.is_plain {
            let place = self.place();
            self.notices.say(format!(
                "{place}: the last line has no line end: if the file was cut short, so may its last number be"
            ));
        }
    }

    /// `path:line` of the line last read, for messages.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.path, self.number)
    }

    /// Bytes of the file taken so far, compressed as they are, and bytes it has.
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.consumed.load(Ordering::Relaxed), self.total_bytes)
    }

    fn broken(&self, error: &std::io::Error) -> Error {
        let reason = match error.kind() {
            ErrorKind::UnexpectedEof => "the compressed data ends too early: the file is cut short".to_owned(),
            ErrorKind::Other if error.to_string().contains("too much memory") => {
                "unpacking needs more than 1 GiB of memory: compress it again, with zstd --long=30 or less".to_owned()
            }
            ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::Other => {
                format!("the compressed data is damaged: {error}")
            }
            _ => error.to_string(),
        };
        Error::Decode { place: self.place(), reason }
    }
}

/// A file that counts what was read of it.
struct Counted {
    file: Take<File>,
    consumed: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(bytes)?;
        self.consumed.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
