//! Files run through books: what the books look like at a time, or at the end.

use crate::book::BookMap;
use crate::error::Result;
use crate::replay::merge::Merge;
use crate::types::Ns;

/// Books rebuilt from files.
pub struct Rebuilt {
    /// Lines or rows read, of all symbols and types.
    pub lines: u64,
    /// Local time of the last message read; 0 when there was none.
    pub local_ts_ns: Ns,
    /// The books of every symbol seen.
    pub books: BookMap,
}

/// Applies every message up to `until_ns` (local time, inclusive; `None` for all) to the books of the symbols it names.
///
/// `go_on` is asked now and then; `false` ends the replay early.
///
/// # Errors
/// A file that cannot be read; a line that cannot be understood, named as `path:line`.
pub fn rebuild<P: AsRef<str>>(paths: &[P], until_ns: Option<Ns>, mut go_on: impl FnMut() -> bool) -> Result<Rebuilt> {
    let mut merge = Merge::open(paths)?;
    let mut rebuilt = Rebuilt { lines: 0, local_ts_ns: 0, books: BookMap::new() };
    let mut seen = 0u32;
    while let Some(item) = merge.next_item()? {
        if until_ns.is_some_and(|until| item.local_ts_ns > until) {
            break;
        }
        seen = seen.wrapping_add(1);
        if seen % 4096 == 0 && !go_on() {
            break;
        }
        rebuilt.lines += item.lines;
        rebuilt.local_ts_ns = item.local_ts_ns;
        let Some(event) = item.event else { continue };
        rebuilt.books.apply(&event);
    }
    Ok(rebuilt)
}
