//! Long work that Ctrl-C can end.

use std::time::{Duration, Instant};

use pyo3::prelude::*;

/// How long the core works between two looks at Python's signals.
const SLICE: Duration = Duration::from_millis(100);

/// Lets detached work ask whether to go on, and keeps the exception a signal handler raised.
#[derive(Default)]
pub struct Patience {
    looked: Option<Instant>,
    raised: Option<PyErr>,
}

impl Patience {
    /// `false` once a signal handler has raised.
    #[expect(clippy::redundant_closure_for_method_calls, reason = "the method alone is not general enough")]
    pub fn go_on(&mut self) -> bool {
        let now = Instant::now();
        if self.looked.is_none_or(|looked| now - looked >= SLICE) {
            self.looked = Some(now);
            self.raised = Python::attach(|py| py.check_signals()).err();
        }
        self.raised.is_none()
    }

    /// Raises what ended the work early, if something did.
    pub fn check(self) -> PyResult<()> {
        self.raised.map_or(Ok(()), Err)
    }
}
