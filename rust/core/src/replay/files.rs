//! Folders of data files.

use std::path::Path;

use crate::error::{Error, Result};

/// Ends of names by which a data file is known, each also with `.gz` or `.zst`.
const ENDINGS: [&str; 6] = [".ndjson", ".jsonl", ".json", ".csv", ".arrow", ".feather"];

/// One file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DataFile {
    pub(super) path: String,
    /// Whether it was found in a folder: one that holds no market data is passed over then.
    pub(super) is_found: bool,
}

/// The files that paths stand for: a folder becomes its data files in the order of their names, anything else stays.
///
/// # Errors
/// A folder that cannot be read or holds no data file.
pub(super) fn expand<P: AsRef<str>>(paths: &[P]) -> Result<Vec<DataFile>> {
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let path = path.as_ref();
        if Path::new(path).is_dir() {
            files.extend(data_files(path)?.into_iter().map(|path| DataFile { path, is_found: true }));
        } else {
            files.push(DataFile { path: path.to_owned(), is_found: false });
        }
    }
    Ok(files)
}

fn data_files(folder: &str) -> Result<Vec<String>> {
    let fail = |source| Error::File { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_data_file(&name) && entry.path().is_file() {
            files.push(entry.path().to_string_lossy().into_owned());
        }
    }
    if files.is_empty() {
        let reason = std::io::Error::other(format!("the folder holds no data file ({})", ENDINGS.join(", ")));
        return Err(fail(reason));
    }
    files.sort();
    Ok(files)
}

fn is_data_file(name: &str) -> bool {
    let stem = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    !name.starts_with('.') && ENDINGS.iter().any(|ending| stem.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_and_foreign_files_of_a_folder_are_passed_over() {
        for name in ["bybit_trades_2024-01-01_X.csv.gz", "a.ndjson", "b.ndjson.zst", "c.arrow", "d.json"] {
            assert!(is_data_file(name), "{name}");
        }
        for name in ["x.csv.gz1f2e.unconfirmed", "c.arrow.part", ".a.csv", "README.md", "csv"] {
            assert!(!is_data_file(name), "{name}");
        }
    }
}
