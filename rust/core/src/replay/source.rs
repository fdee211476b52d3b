//! Lines of a file, plain, gzip or zstd, with the number of each.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memchr::memchr;

use crate::error::{Error, Result};

const BUFFER_BYTES: usize = 1 << 18;

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
}

impl Lines {
    /// Opens a file.
    pub(super) fn open(path: &str) -> Result<Self> {
        let fail = |source| Error::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(fail)?;
        let total_bytes = file.metadata().map_err(fail)?.len();
        let consumed = Arc::new(AtomicU64::new(0));
        let counted = Counted { file, consumed: Arc::clone(&consumed) };
        let mut raw = BufReader::with_capacity(BUFFER_BYTES, counted);
        let new = |bytes, buffer, end| Self {
            path: path.to_owned(),
            bytes,
            buffer,
            start: 0,
            end,
            at_end: false,
            number: 0,
            consumed: Arc::clone(&consumed),
            total_bytes,
        };
        let magic = raw.fill_buf().map_err(fail)?;
        let bytes: Box<dyn Read + Send> = match magic {
            [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(raw)),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::stream::read::Decoder::with_buffer(raw).map_err(fail)?),
            read => {
                let buffer = [read, &vec![0; BUFFER_BYTES - read.len()]].concat();
                let (end, bytes) = (read.len(), Box::new(raw.into_inner()));
                return Ok(new(bytes, buffer, end));
            }
        };
        Ok(new(bytes, vec![0; BUFFER_BYTES], 0))
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
    file: File,
    consumed: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(bytes)?;
        self.consumed.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
