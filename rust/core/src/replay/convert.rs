//! Files of any layout into tables, one a market and UTC day.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::event::{Event, EventKind};
use crate::replay::files::{DataFile, expand};
use crate::replay::merge::Merge;
use crate::replay::notices::Notices;
use crate::replay::table::TableWriter;
use crate::time::format_iso;
use crate::types::Ns;

const NS_PER_DAY: Ns = 86_400_000_000_000;

/// How far a replay of files has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes read, compressed as they are.
    pub done_bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
    /// Lines or rows read.
    pub lines: u64,
}

/// What a conversion made.
#[derive(Debug, Default)]
pub struct Converted {
    /// The tables, in the order they were finished.
    pub tables: Vec<PathBuf>,
    /// Lines or rows read.
    pub lines: u64,
    /// Messages written, to however many tables.
    pub messages: u64,
    /// Files nothing of which went to the tables, each with what is wrong with it.
    pub refused: Vec<(String, Error)>,
}

/// Converts files to tables in `folder`, named `exchange_SYMBOL_YYYY-MM-DD.arrow`.
///
/// A table that is there already is replaced only with `overwrite`: it may hold other messages of its day.
/// A file that cannot be used, whether from its beginning or from some line on, is refused and all others are converted
/// without it. `go_on` is asked now and then; after `false` the tables that are not finished are removed and nothing
/// more is read.
///
/// # Errors
/// A folder that holds no data file, a table that cannot be written.
pub fn convert<P: AsRef<str>>(
    paths: &[P],
    folder: &str,
    overwrite: bool,
    notices: &Notices,
    mut go_on: impl FnMut(Progress) -> bool,
) -> Result<Converted> {
    std::fs::create_dir_all(folder).map_err(|source| Error::File { path: folder.to_owned(), source })?;
    let mut files = expand(paths)?;
    let mut refused = Vec::new();
    loop {
        let mut merge = Merge::empty(false, notices);
        let mut passed_over = None;
        files.retain(|DataFile { path, is_found }| match merge.add(path) {
            Ok(()) => true,
            Err(error @ Error::NoMarketData { .. }) if *is_found => {
                notices.say(format!("{error}; passed over"));
                passed_over = Some(error);
                false
            }
            Err(error) => {
                refused.push((path.clone(), error));
                false
            }
        });
        if let Some(error) = passed_over.filter(|_| files.is_empty() && refused.is_empty()) {
            return Err(error);
        }
        let (folder, open, converted) = (PathBuf::from(folder), HashMap::new(), Converted::default());
        let mut tables = Tables { folder, overwrite, open, converted };
        match read_all(&mut merge, &mut tables, &mut go_on)? {
            End::Whole => return Ok(Converted { refused, ..tables.finish()? }),
            End::Stopped => return Ok(Converted { refused, ..tables.converted }),
            // A day with a part of a damaged file would look whole: begin again without the file.
            End::Damaged(path, error) => {
                files.retain(|file| file.path != path);
                refused.push((path, error));
                tables.abandon()?;
            }
        }
    }
}

enum End {
    Whole,
    Stopped,
    Damaged(String, Error),
}

fn read_all(merge: &mut Merge, tables: &mut Tables, go_on: &mut impl FnMut(Progress) -> bool) -> Result<End> {
    let mut seen = 0_u32;
    loop {
        let item = match merge.next_item() {
            Ok(Some(item)) => item,
            Ok(None) => return Ok(End::Whole),
            Err(error) => {
                let path = merge.last_path().unwrap_or_default().to_owned();
                return Ok(End::Damaged(path, error));
            }
        };
        seen = seen.wrapping_add(1);
        if seen % 4096 == 0 {
            let (done_bytes, total_bytes) = merge.progress();
            if !go_on(Progress { done_bytes, total_bytes, lines: tables.converted.lines }) {
                return Ok(End::Stopped);
            }
        }
        tables.converted.lines += item.lines;
        if let Some(event) = item.event {
            tables.push(&event)?;
        }
    }
}

/// The tables being written: of each market one, for the day it is in.
struct Tables {
    folder: PathBuf,
    overwrite: bool,
    open: HashMap<(Arc<str>, Arc<str>), (Ns, TableWriter)>,
    converted: Converted,
}

impl Tables {
    fn push(&mut self, event: &Event) -> Result<()> {
        if event.symbol.is_empty() {
            return self.push_to_exchange(event);
        }
        let day = event.local_ts_ns.div_euclid(NS_PER_DAY);
        let market = (Arc::clone(&event.exchange), Arc::clone(&event.symbol));
        if self.open.get(&market).is_some_and(|(open_day, _)| *open_day < day) {
            self.close(&market)?;
        }
        if !self.open.contains_key(&market) {
            if event.kind == EventKind::Disconnect {
                return Ok(()); // nothing of this market is there to be lost
            }
            let path = self.folder.join(file_name(event, day));
            if path.exists() && !self.overwrite {
                let reason = "is there already: convert all files of a day together, or overwrite it";
                let source = std::io::Error::new(std::io::ErrorKind::AlreadyExists, reason);
                return Err(Error::File { path: path.display().to_string(), source });
            }
            self.open.insert(market.clone(), (day, TableWriter::create(&path, &event.exchange, &event.symbol)?));
        }
        if let Some((_, table)) = self.open.get_mut(&market) {
            table.push(event)?;
            self.converted.messages += 1;
        }
        Ok(())
    }

    /// A disconnect or error concerns every market of its exchange seen so far; an error is kept once.
    fn push_to_exchange(&mut self, event: &Event) -> Result<()> {
        for ((exchange, _), (_, table)) in &mut self.open {
            if *exchange == event.exchange {
                table.push(event)?;
                self.converted.messages += 1;
                if event.kind != EventKind::Disconnect {
                    break;
                }
            }
        }
        Ok(())
    }

    fn close(&mut self, market: &(Arc<str>, Arc<str>)) -> Result<()> {
        if let Some((_, table)) = self.open.remove(market) {
            self.converted.tables.push(table.finish()?);
        }
        Ok(())
    }

    /// Removes what was made so far.
    fn abandon(self) -> Result<()> {
        for path in &self.converted.tables {
            std::fs::remove_file(path).map_err(|source| Error::File { path: path.display().to_string(), source })?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Converted> {
        let mut markets: Vec<_> = self.open.keys().cloned().collect();
        markets.sort();
        for market in &markets {
            self.close(market)?;
        }
        Ok(self.converted)
    }
}

fn file_name(event: &Event, day: Ns) -> String {
    let date = format_iso(day * NS_PER_DAY, 0);
    let symbol: String = event.symbol.chars().map(|c| if c.is_alphanumeric() || c == '_' { c } else { '-' }).collect();
    Path::new(&format!("{}_{symbol}_{}.arrow", event.exchange, &date[..10]))
        .file_name()
        .map_or_else(|| "market.arrow".to_owned(), |name| name.to_string_lossy().into_owned())
}
