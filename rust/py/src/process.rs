//! Threads do not survive a fork: objects that own one refuse to work in a child.

use mm_core::Error;

use crate::error::CoreError;

/// The process an object was made in.
#[derive(Debug, Clone, Copy)]
pub struct OwnerProcess(u32);

impl OwnerProcess {
    /// The process we are in.
    pub fn current() -> Self {
        Self(std::process::id())
    }

    /// Whether we still are in it.
    pub fn is_current(self) -> bool {
        self.0 == std::process::id()
    }

    /// Refuses in any other process; `error` makes the class's own error from the reason.
    pub fn check(self, error: impl FnOnce(String) -> Error) -> Result<(), CoreError> {
        if self.is_current() {
            return Ok(());
        }
        let (owner, here) = (self.0, std::process::id());
        Err(error(format!("made in process {owner}, used in its fork {here}: make a new one after the fork")).into())
    }
}
