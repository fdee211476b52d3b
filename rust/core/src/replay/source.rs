//! Lines of a file, plain, gzip or zstd, with the number of each.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

const BUFFER_BYTES: usize = 1 << 18;

/// Reads a file line by line; compression is told by the file's first bytes, not its name.
pub(super) struct Lines {
    path: String,
    bytes: Box<dyn BufRead + Send>,
    line: Vec<u8>,
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
        let magic = raw.fill_buf().map_err(fail)?;
        let bytes: Box<dyn BufRead + Send> = match magic {
            [0x1f, 0x8b, ..] => buffered(flate2::bufread::MultiGzDecoder::new(raw)),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => buffered(zstd::stream::read::Decoder::with_buffer(raw).map_err(fail)?),
            _ => Box::new(raw),
        };
        Ok(Self { path: path.to_owned(), bytes, line: Vec::new(), number: 0, consumed, total_bytes })
    }

    /// The next line without its end, or `None` at the end of the file. Blank lines are passed over.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>> {
        loop {
            self.line.clear();
            self.number += 1;
            match self.bytes.read_until(b'\n', &mut self.line) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) => return Err(self.broken(&error)),
            }
            while matches!(self.line.last(), Some(b'\n' | b'\r')) {
                self.line.pop();
            }
            if !self.line.is_empty() {
                return Ok(Some(&self.line));
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

fn buffered(reader: impl Read + Send + 'static) -> Box<dyn BufRead + Send> {
    Box::new(BufReader::with_capacity(BUFFER_BYTES, reader))
}
