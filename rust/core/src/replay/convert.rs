//! Files of any layout into tables, one a market and UTC day.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::event::{Event, EventKind};
use crate::replay::files::{DataFile, expand};
use crate::replay::limit::explained;
use crate::replay::merge::Merge;
use crate::replay::notices::Notices;
use crate::replay::table::{FinishedTable, TableWriter};
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
/// The tables get their names, and replace others, when everything was read: what goes wrong before costs nothing that
/// was there. A table that is there already is replaced only with `overwrite`: it may hold other messages of its day.
/// A file that cannot be used, whether from its beginning or from some line on, is refused and all others are converted
/// without it. `go_on` is asked now and then; after `false` nothing more is read and no table is made.
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
        let mut tables = Tables::new(folder, overwrite);
        match read_all(&mut merge, &mut tables, &mut go_on)? {
            End::Whole => return Ok(Converted { refused, ..tables.finish()? }),
            End::Stopped => return Ok(Converted { refused, ..tables.converted }),
            // A day with a part of a damaged file would look whole: begin again without the file.
            End::Damaged(path, error) => {
                files.retain(|file| file.path != path);
                refused.push((path, error));
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
            // No fault of the file.
            Err(error @ Error::OpenFiles { .. }) => return Err(error),
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
    /// Those of days that are over, in the order they were finished.
    finished: Vec<FinishedTable>,
    converted: Converted,
}

impl Tables {
    fn new(folder: &str, overwrite: bool) -> Self {
        let (folder, converted) = (PathBuf::from(folder), Converted::default());
        Self { folder, overwrite, open: HashMap::new(), finished: Vec::new(), converted }
    }

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
            self.open.insert(
                market.clone(),
                (day, TableWriter::create(&path, &event.exchange, &event.symbol).map_err(explained)?),
            );
        }
        if let Some((_, table)) = self.open.get_mut(&market) {
            table.push(event)?;
            self.converted.messages += 1;
        }
        Ok(())
    }

    /// A disconnect concerns every market of its exchange seen so far, and names in each table the market of the table
    /// alone: tables that are read together each lose their own book by it. An error is kept once.
    fn push_to_exchange(&mut self, event: &Event) -> Result<()> {
        let is_disconnect = event.kind == EventKind::Disconnect;
        let concerned = |(exchange, _): &&(Arc<str>, Arc<str>)| *exchange == event.exchange;
        let mut markets: Vec<_> = self.open.keys().filter(concerned).cloned().collect();
        markets.sort();
        markets.truncate(if is_disconnect { usize::MAX } else { 1 });
        for market in markets {
            let Some((_, table)) = self.open.get_mut(&market) else { continue };
            let symbol = if is_disconnect { market.1 } else { Arc::clone(&event.symbol) };
            table.push(&Event { symbol, ..event.clone() })?;
            self.converted.messages += 1;
        }
        Ok(())
    }

    fn close(&mut self, market: &(Arc<str>, Arc<str>)) -> Result<()> {
        if let Some((_, table)) = self.open.remove(market) {
            self.finished.push(table.close()?);
        }
        Ok(())
    }

    /// Finishes the tables and puts all of them in their places.
    fn finish(mut self) -> Result<Converted> {
        let mut markets: Vec<_> = self.open.keys().cloned().collect();
        markets.sort();
        for market in &markets {
            self.close(market)?;
        }
        for table in self.finished {
            self.converted.tables.push(table.place()?);
        }
        Ok(self.converted)
    }
}

fn file_name(event: &Event, day: Ns) -> String {
    let date = format_iso(day * NS_PER_DAY, 0);
    // The first underscore ends the exchange.
    let exchange = escaped(&event.exchange).replace('_', "%5F");
    format!("{exchange}_{}_{}.arrow", escaped(&event.symbol), &date[..10])
}

/// `text` for the name of a file. Characters with a meaning elsewhere become `%XX`, so that no two texts share a name.
fn escaped(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_alphanumeric() || matches!(c, '-' | '_') {
            name.push(c);
        } else {
            let mut bytes = [0; 4];
            // Writing to a String cannot fail.
            c.encode_utf8(&mut bytes).bytes().for_each(|byte| _ = write!(name, "%{byte:02X}"));
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::{BookMap, BookState};
    use crate::replay::rebuild;

    /// A folder that goes away with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("mm_core-convert-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).expect("temporary folder");
            Self(path)
        }

        fn path(&self, name: &str) -> String {
            self.0.join(name).to_string_lossy().into_owned()
        }

        fn convert(&self, lines: &[String], overwrite: bool) -> Converted {
            std::fs::write(self.path("in.ndjson"), lines.join("\n") + "\n").expect("write");
            let go_on = |_| true;
            convert(&[self.path("in.ndjson")], &self.path("t"), overwrite, &Notices::default(), go_on).expect("convert")
        }

        fn tables(&self) -> Vec<String> {
            let names =
                std::fs::read_dir(self.path("t")).expect("folder").map(|entry| entry.expect("entry").file_name());
            let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn book(symbol: &str, day: u32, second: u32, is_snapshot: bool, bid: u32) -> String {
        let time = format!("2024-01-{day:02}T00:00:{second:02}.000000Z");
        format!(
            r#"{{"type":"book_change","symbol":"{symbol}","exchange":"x","isSnapshot":{is_snapshot},"bids":[{{"price":{bid},"amount":1}}],"asks":[{{"price":900,"amount":1}}],"timestamp":"{time}","localTimestamp":"{time}"}}"#
        )
    }

    fn disconnect(second: u32) -> String {
        format!(r#"{{"type":"disconnect","exchange":"x","localTimestamp":"2024-01-01T00:00:{second:02}.000000Z"}}"#)
    }

    #[test]
    fn tables_that_are_there_outlive_a_file_that_turns_out_to_be_damaged() {
        let folder = Folder::new("damaged");
        let good: Vec<String> = (0..5).map(|second| book("S", 1, second, true, 90)).collect();
        assert_eq!(folder.convert(&good, false).tables.len(), 1);
        let table = std::fs::read(folder.path("t/x_S_2024-01-01.arrow")).expect("table");
        // The first day of it is over before the damage.
        let bad = [book("S", 1, 1, true, 95), book("S", 2, 1, true, 96), r#"{"type":"bo"#.to_owned()];
        let converted = folder.convert(&bad, true);
        assert_eq!((converted.refused.len(), converted.tables.len()), (1, 0));
        assert_eq!(folder.tables(), ["x_S_2024-01-01.arrow"]);
        assert_eq!(std::fs::read(folder.path("t/x_S_2024-01-01.arrow")).expect("table"), table);
    }

    #[test]
    fn symbols_that_differ_only_in_a_mark_have_tables_of_their_own() {
        let folder = Folder::new("names");
        let lines = [book("BTC-USD", 1, 1, true, 90), book("BTC/USD", 1, 2, true, 50)];
        assert_eq!(folder.convert(&lines, false).tables.len(), 2);
        assert_eq!(folder.tables(), ["x_BTC%2FUSD_2024-01-01.arrow", "x_BTC-USD_2024-01-01.arrow"]);
        let rebuilt = rebuild(&[folder.path("t")], None, &Notices::default(), |_| true).expect("rebuild");
        let bid = |symbol| rebuilt.books.snapshot("x", symbol, 1).expect("book").bids[0][0];
        assert_eq!((bid("BTC-USD").to_string(), bid("BTC/USD").to_string()), ("90".into(), "50".into()));
    }

    #[test]
    fn no_two_markets_share_the_name_of_a_table() {
        let names = ["a_b", "a/b", "a%2Fb", "a-b", "a:b", "../b", "a.b", "ä/b"].map(escaped);
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        assert!(names.iter().all(|name| !name.contains(['/', '.'])), "{names:?}");
    }

    #[test]
    fn tables_read_together_lose_their_books_when_the_file_they_are_made_of_does() {
        let folder = Folder::new("disconnects");
        // The snapshot of A has the local time of the disconnect before it, as machines send it.
        let lines = [
            book("A", 1, 1, true, 1),
            book("B", 1, 1, true, 1),
            disconnect(2),
            book("A", 1, 2, true, 3),
            book("B", 1, 3, true, 3),
            disconnect(4),
            book("A", 1, 4, true, 5),
        ];
        folder.convert(&lines, false);
        let states = |path: &str| {
            let mut merge = Merge::open(&[folder.path(path)]).expect("open");
            let mut books = BookMap::new();
            while let Some(item) = merge.next_item().expect("item") {
                item.event.iter().for_each(|event| books.apply(event));
            }
            ["A", "B"].map(|symbol| books.snapshot("x", symbol, 1).expect("book").state)
        };
        assert_eq!(states("in.ndjson"), [BookState::Live, BookState::Unsynced]);
        assert_eq!(states("t"), states("in.ndjson"));
    }
}
