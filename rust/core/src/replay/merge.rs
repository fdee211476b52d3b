//! Many files as one stream in local-time order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::error::Result;
use crate::replay::reader::{Item, Reader};
use crate::types::Ns;

/// Joins files by local time; at equal times the file named first comes first. Each file keeps its own order.
pub struct Merge {
    files: Vec<(Reader, Option<Item>)>,
    /// `(local time, index)` of each file that has an item waiting.
    order: BinaryHeap<Reverse<(Ns, usize)>>,
}

impl Merge {
    /// Opens all files.
    ///
    /// # Errors
    /// One of them cannot be opened or begins with something unreadable.
    pub fn open<P: AsRef<str>>(paths: &[P]) -> Result<Self> {
        let mut merge = Self { files: Vec::with_capacity(paths.len()), order: BinaryHeap::new() };
        for path in paths {
            merge.files.push((Reader::open(path.as_ref())?, None));
            merge.refill(merge.files.len() - 1)?;
        }
        Ok(merge)
    }

    /// The next message of all files, or `None` when every file is at its end.
    ///
    /// # Errors
    /// A line that cannot be read or understood, named as `path:line`.
    pub fn next_item(&mut self) -> Result<Option<Item>> {
        let Some(Reverse((_, index))) = self.order.pop() else { return Ok(None) };
        let item = self.files[index].1.take();
        self.refill(index)?;
        Ok(item)
    }

    fn refill(&mut self, index: usize) -> Result<()> {
        let (reader, waiting) = &mut self.files[index];
        *waiting = reader.next_item()?;
        if let Some(item) = waiting {
            self.order.push(Reverse((item.local_ts_ns, index)));
        }
        Ok(())
    }
}
