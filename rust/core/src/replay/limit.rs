//! How many files this process may have open, and what to say when they are not enough.

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::error::Error;
use crate::replay::files::expand;
use crate::replay::notices::Notices;

/// Files that are open anyway: libraries, sockets, the terminal.
const RESERVE: u64 = 32;

/// Warns of more files than can be open at once. Whether they must be shows only when they are read: those of different
/// times are open one after the other.
pub fn note_limit<P: AsRef<str>>(paths: &[P], notices: &Notices) {
    let (Ok(files), Some(limit)) = (expand(paths), getrlimit(Resource::Nofile).current) else { return };
    if files.len() as u64 + RESERVE > limit {
        let count = files.len();
        notices.say(format!(
            "{count} files are to be read and {limit} can be open at once: if more than that overlap in time, raise the \
             limit (ulimit -n) or read fewer at once"
        ));
    }
}

/// The error, with the remedy if it is that no more files can be opened.
pub(super) fn explained(error: Error) -> Error {
    match error {
        Error::File { path, source } if source.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => {
            Error::OpenFiles { path, limit: getrlimit(Resource::Nofile).current.unwrap_or(0) }
        }
        other => other,
    }
}
