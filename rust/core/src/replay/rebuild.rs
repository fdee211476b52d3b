//! Files run through books: what the books look like at a time, or at the end.

use std::collections::HashMap;
use std::sync::Arc;

use crate::book::BookMap;
use crate::error::Result;
use crate::event::EventKind;
use crate::replay::convert::Progress;
use crate::replay::files::{DataFile, expand};
use crate::replay::merge::Merge;
use crate::replay::notices::Notices;
use crate::replay::reader::{Reader, blank_event};
use crate::replay::table::TableReader;
use crate::types::Ns;

/// Messages between two looks at whether to go on.
const SLICE: u64 = 4096;

/// How much later than a message in front of it a message may stand in its file and still be found. Messages that came
/// over different connections have local times of a common clock, but not always their order.
const MAX_LATE_NS: Ns = 5_000_000_000;

/// Books rebuilt from files.
pub struct Rebuilt {
    /// Lines or rows taken, of all symbols and types.
    pub lines: u64,
    /// Latest local time of them; 0 when there was none.
    pub local_ts_ns: Ns,
    /// The books of every symbol seen.
    pub books: BookMap,
}

/// Applies every message up to `until_ns` (local time, inclusive; `None` for all) to the books of the symbols it names.
///
/// Messages need not stand in the order of their times: reading ends with the first that is five seconds too late.
///
/// `go_on` is asked now and then; `false` ends the replay early.
///
/// # Errors
/// A file that cannot be read; a line that cannot be understood, named as `path:line`.
pub fn rebuild<P: AsRef<str>>(
    paths: &[P],
    until_ns: Option<Ns>,
    notices: &Notices,
    mut go_on: impl FnMut(Progress) -> bool,
) -> Result<Rebuilt> {
    let files = expand(paths)?;
    if let Some(mut tables) = tables_in_sequence(&files) {
        return rebuild_tables(&mut tables, until_ns, &mut go_on);
    }
    let mut merge = Merge::open_files(files, false, notices)?;
    let mut rebuilt = Rebuilt { lines: 0, local_ts_ns: 0, books: BookMap::new() };
    let mut seen = 0_u64;
    while let Some(item) = merge.next_item()? {
        seen += 1;
        if seen % SLICE == 0 {
            let (done_bytes, total_bytes) = merge.progress();
            if !go_on(Progress { done_bytes, total_bytes, lines: rebuilt.lines }) {
                break;
            }
        }
        match due(item.local_ts_ns, until_ns) {
            Due::Now => {}
            Due::Later => {
                merge.recycle(item);
                continue;
            }
            Due::AfterAll => break,
        }
        rebuilt.lines += item.lines;
        rebuilt.local_ts_ns = rebuilt.local_ts_ns.max(item.local_ts_ns);
        if let Some(event) = &item.event {
            rebuilt.books.apply(event);
            merge.recycle(item);
        }
    }
    Ok(rebuilt)
}

/// Whether a message belongs to what is asked for.
enum Due {
    Now,
    /// It does not, but one that follows may.
    Later,
    AfterAll,
}

fn due(local_ts_ns: Ns, until_ns: Option<Ns>) -> Due {
    match until_ns {
        Some(until) if local_ts_ns > until.saturating_add(MAX_LATE_NS) => Due::AfterAll,
        Some(until) if local_ts_ns > until => Due::Later,
        _ => Due::Now,
    }
}

/// The tables in the order of their time, if all files are tables and none of a market overlaps another: then each
/// market can be read by itself, table after table, without merging.
fn tables_in_sequence(files: &[DataFile]) -> Option<Vec<TableReader>> {
    let mut tables = Vec::with_capacity(files.len());
    for DataFile { path, .. } in files {
        // Whatever is wrong with a file is said by the merge.
        tables.push(Reader::open_table(path).ok()??);
    }
    tables.sort_by_key(TableReader::span);
    let mut last_of = HashMap::new();
    for table in &tables {
        let Some((first, last)) = table.span() else { continue };
        if last_of.insert(table.market(), last).is_some_and(|before| before >= first) {
            return None;
        }
    }
    Some(tables)
}

fn rebuild_tables(
    tables: &mut [TableReader],
    until_ns: Option<Ns>,
    go_on: &mut impl FnMut(Progress) -> bool,
) -> Result<Rebuilt> {
    let total_bytes = tables.iter().map(|table| table.progress().1).sum();
    let mut rebuilt = Rebuilt { lines: 0, local_ts_ns: 0, books: BookMap::new() };
    let mut finished_bytes = 0;
    let mut event = blank_event();
    for table in tables {
        let (exchange, symbol) = table.market();
        let mut book = rebuilt.books.get_mut(&exchange, &symbol);
        while table.advance()? {
            let (exchange_ts_ns, local_ts_ns) = table.times();
            match due(local_ts_ns, until_ns) {
                Due::Now => {}
                Due::Later => continue,
                Due::AfterAll => break,
            }
            if rebuilt.lines % SLICE == 0 {
                let done_bytes = finished_bytes + table.progress().0;
                if !go_on(Progress { done_bytes, total_bytes, lines: rebuilt.lines }) {
                    return Ok(rebuilt);
                }
            }
            rebuilt.lines += 1;
            rebuilt.local_ts_ns = rebuilt.local_ts_ns.max(local_ts_ns);
            if let (Some(book), Some(change)) = (&mut book, table.change()) {
                let [bids, asks] = change.levels();
                book.apply_levels(change.is_snapshot, bids, asks, exchange_ts_ns, local_ts_ns);
                continue;
            }
            table.read_into(&mut event)?;
            if event.kind == EventKind::Disconnect {
                // Every table of the exchange has its own row of it: markets are not read side by side here.
                event.symbol = Arc::clone(&symbol);
            }
            if let Some(book) = &mut book {
                book.apply(&event);
            } else {
                rebuilt.books.apply(&event);
                book = rebuilt.books.get_mut(&exchange, &symbol);
            }
        }
        finished_bytes += table.progress().1;
    }
    rebuilt.books.advance(rebuilt.local_ts_ns);
    Ok(rebuilt)
}
