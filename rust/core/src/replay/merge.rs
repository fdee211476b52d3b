//! Many files as one stream in local-time order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::error::{Error, Result};
use crate::replay::files::{DataFile, expand};
use crate::replay::limit::explained;
use crate::replay::notices::Notices;
use crate::replay::reader::{Item, Reader};
use crate::types::Ns;

/// Files kept open from the start. Of the others only the first message is read until their time comes, so that a
/// folder of years needs the memory of the files that overlap.
const EAGER_FILES: usize = 16;

/// Joins files by local time; at equal times the file named first comes first. Each file keeps its own order.
pub struct Merge {
    files: Vec<Source>,
    /// `(local time, index)` of each file that has an item waiting.
    order: BinaryHeap<Reverse<(Ns, usize)>>,
    finished_bytes: u64,
    total_bytes: u64,
    keeps_text: bool,
    /// The file of the item handed out last.
    last: usize,
    notices: Notices,
}

/// One file of a merge.
struct Source {
    path: String,
    reader: Option<Reader>,
    waiting: Option<Item>,
    bytes: u64,
}

impl Merge {
    /// Opens all files; a folder stands for the data files in it.
    ///
    /// # Errors
    /// One of them cannot be opened or begins with something unreadable; a folder without data files.
    pub fn open<P: AsRef<str>>(paths: &[P]) -> Result<Self> {
        Self::open_files(expand(paths)?, false, &Notices::default())
    }

    /// The same, with the text of each message that is a line of JSON.
    ///
    /// # Errors
    /// As [`Merge::open`].
    pub fn open_with_text<P: AsRef<str>>(paths: &[P]) -> Result<Self> {
        Self::open_files(expand(paths)?, true, &Notices::default())
    }

    /// Opens files; one found in a folder that holds no market data is passed over with a notice, if there is another.
    pub(super) fn open_files(files: Vec<DataFile>, keeps_text: bool, notices: &Notices) -> Result<Self> {
        let mut merge = Self::empty(keeps_text, notices);
        let mut passed_over = None;
        for DataFile { path, is_found } in files {
            match merge.add(&path) {
                Err(error @ Error::NoMarketData { .. }) if is_found => {
                    notices.say(format!("{error}; passed over"));
                    passed_over = Some(error);
                }
                added => added?,
            }
        }
        match passed_over {
            Some(error) if merge.files.is_empty() => Err(error),
            _ => Ok(merge),
        }
    }

    /// A merge of no files yet.
    pub(super) fn empty(keeps_text: bool, notices: &Notices) -> Self {
        let (files, order, notices) = (Vec::new(), BinaryHeap::new(), notices.clone());
        Self { files, order, finished_bytes: 0, total_bytes: 0, keeps_text, last: 0, notices }
    }

    /// Adds a file before anything is read.
    pub(super) fn add(&mut self, path: &str) -> Result<()> {
        let mut reader = self.reader(path)?;
        let (_, bytes) = reader.progress();
        let index = self.files.len();
        let first = reader.next_item()?;
        if let Some(item) = &first {
            self.order.push(Reverse((item.local_ts_ns, index)));
        } else {
            self.notices.say(format!("{path}: the file holds no rows"));
        }
        self.total_bytes += bytes;
        let is_eager = index < EAGER_FILES && first.is_some();
        let (reader, waiting) = if is_eager { (Some(reader), first) } else { (None, None) };
        self.files.push(Source { path: path.to_owned(), reader, waiting, bytes });
        Ok(())
    }

    /// Warnings about the files read so far.
    pub fn notices(&self) -> &Notices {
        &self.notices
    }

    /// The file last read, the one to blame when reading failed.
    pub(super) fn last_path(&self) -> Option<&str> {
        self.files.get(self.last).map(|source| source.path.as_str())
    }

    /// The next message of all files, or `None` when every file is at its end.
    ///
    /// # Errors
    /// A line that cannot be read or understood, named as `path:line`; a damaged block, named likewise.
    pub fn next_item(&mut self) -> Result<Option<Item>> {
        let Some(Reverse((_, index))) = self.order.pop() else { return Ok(None) };
        self.last = index;
        if self.files[index].reader.is_none() {
            self.files[index].reader = Some(self.reader(&self.files[index].path)?);
        }
        let source = &mut self.files[index];
        let Some(reader) = &mut source.reader else { return Ok(None) };
        let item = match source.waiting.take() {
            Some(item) => Some(item),
            None => reader.next_item()?,
        };
        if let Some(next) = reader.next_item()? {
            self.order.push(Reverse((next.local_ts_ns, index)));
            source.waiting = Some(next);
        } else {
            source.reader = None;
            self.finished_bytes += source.bytes;
        }
        Ok(item)
    }

    /// Takes the item handed out last back when it is done with: a later one uses its memory.
    pub fn recycle(&mut self, item: Item) {
        if let Some(reader) = self.files.get_mut(self.last).and_then(|source| source.reader.as_mut()) {
            reader.recycle(item);
        }
    }

    /// Local time of the next message; `None` at the end.
    pub fn next_ts_ns(&self) -> Option<Ns> {
        self.order.peek().map(|Reverse((local_ts_ns, _))| *local_ts_ns)
    }

    fn reader(&self, path: &str) -> Result<Reader> {
        let mut reader = Reader::open(path, &self.notices).map_err(explained)?;
        if self.keeps_text {
            reader.keep_text();
        }
        Ok(reader)
    }

    /// Bytes read so far, compressed as they are, and bytes of all files.
    pub fn progress(&self) -> (u64, u64) {
        let open = self.files.iter().filter_map(|source| source.reader.as_ref());
        let done: u64 = open.map(|reader| reader.progress().0).sum();
        ((self.finished_bytes + done).min(self.total_bytes), self.total_bytes)
    }
}
