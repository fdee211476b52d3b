//! Long work that Ctrl-C can end.

use std::time::{Duration, Instant};

use mm_core::replay::Progress;
use pyo3::prelude::*;

/// How long the core works between two looks at Python's signals.
const SLICE: Duration = Duration::from_millis(100);

/// Lets detached work tell how far it is and ask whether to go on; keeps the exception that a signal handler or the
/// caller's own function raised.
#[derive(Default)]
pub struct Patience {
    on_progress: Option<Py<PyAny>>,
    looked: Option<Instant>,
    raised: Option<PyErr>,
}

impl Patience {
    /// Patience that calls `on_progress(done_bytes, total_bytes, lines)` now and then.
    pub fn telling(on_progress: Option<Py<PyAny>>) -> Self {
        Self { on_progress, ..Self::default() }
    }

    /// `false` once something has raised.
    pub fn go_on(&mut self, progress: Progress) -> bool {
        let now = Instant::now();
        if self.looked.is_none_or(|looked| now - looked >= SLICE) {
            self.looked = Some(now);
            self.raised = Python::attach(|py| self.look(py, progress)).err();
        }
        self.raised.is_none()
    }

    fn look(&self, py: Python<'_>, progress: Progress) -> PyResult<()> {
        py.check_signals()?;
        if let Some(on_progress) = &self.on_progress {
            on_progress.call1(py, (progress.done_bytes, progress.total_bytes, progress.lines))?;
        }
        Ok(())
    }

    /// Raises what ended the work early, if something did.
    pub fn check(self) -> PyResult<()> {
        self.raised.map_or(Ok(()), Err)
    }
}
