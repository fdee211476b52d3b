//! Many files as one stream in local-time order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::error::Result;
use crate::replay::files::expand;
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
        Self::open_keeping(paths, false)
    }

    /// The same, with the text of each message that is a line of JSON.
    ///
    /// # Errors
    /// As [`Merge::open`].
    pub fn open_with_text<P: AsRef<str>>(paths: &[P]) -> Result<Self> {
        Self::open_keeping(paths, true)
    }

    fn open_keeping<P: AsRef<str>>(paths: &[P], keeps_text: bool) -> Result<Self> {
        let (files, order) = (Vec::new(), BinaryHeap::new());
        let mut merge = Self { files, order, finished_bytes: 0, total_bytes: 0, keeps_text, last: 0 };
        for path in expand(paths)? {
            let mut reader = merge.reader(&path)?;
            let (_, bytes) = reader.progress();
            merge.total_bytes += bytes;
            let index = merge.files.len();
            let first = reader.next_item()?;
            if let Some(item) = &first {
                merge.order.push(Reverse((item.local_ts_ns, index)));
            }
            let is_eager = index < EAGER_FILES && first.is_some();
            let (reader, waiting) = if is_eager { (Some(reader), first) } else { (None, None) };
            merge.files.push(Source { path, reader, waiting, bytes });
        }
        Ok(merge)
    }

    /// The next message of all files, or `None` when every file is at its end.
    ///
    /// # Errors
    /// A line that cannot be read or understood, named as `path:line`; a damaged block, named likewise.
    pub fn next_item(&mut self) -> Result<Option<Item>> {
        let Some(Reverse((_, index))) = self.order.pop() else { return Ok(None) };
        if self.files[index].reader.is_none() {
            self.files[index].reader = Some(self.reader(&self.files[index].path)?);
        }
        self.last = index;
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
        let mut reader = Reader::open(path)?;
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
