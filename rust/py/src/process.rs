//! Threads do not survive a fork: objects that own one refuse to work in a child.

use std::sync::atomic::{AtomicU32, Ordering};

use mm_core::Error;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::error::CoreError;

/// Forks between the first process and this one. Asking the system for the process's number takes a system call, which
/// is as long as reading a book.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Has Python count forks from here on.
pub fn count_forks(py: Python<'_>) -> PyResult<()> {
    let count = |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        FORKS.fetch_add(1, Ordering::SeqCst);
    };
    let count = PyCFunction::new_closure(py, None, None, count)?;
    let hooks = PyDict::new(py);
    hooks.set_item("after_in_child", count)?;
    py.import("os")?.call_method("register_at_fork", (), Some(&hooks))?;
    Ok(())
}

/// The process an object was made in.
#[derive(Debug, Clone, Copy)]
pub struct OwnerProcess {
    id: u32,
    forks: u32,
}

impl OwnerProcess {
    /// The process we are in.
    pub fn current() -> Self {
        Self { id: std::process::id(), forks: FORKS.load(Ordering::SeqCst) }
    }

    /// Whether we still are in it.
    pub fn is_current(self) -> bool {
        self.forks == FORKS.load(Ordering::Relaxed)
    }

    /// Refuses in any other process; `error` makes the class's own error from the reason.
    pub fn check(self, error: impl FnOnce(String) -> Error) -> Result<(), CoreError> {
        if self.is_current() {
            return Ok(());
        }
        let (owner, here) = (self.id, std::process::id());
        Err(error(format!("made in process {owner}, used in its fork {here}: make a new one after the fork")).into())
    }
}
