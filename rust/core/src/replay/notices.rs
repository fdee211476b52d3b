//! What a reader of files should know and what stops nothing.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Warnings about files, each kept once however often it is given; copies share what they hold.
#[derive(Debug, Clone, Default)]
pub struct Notices(Arc<Mutex<Said>>);

#[derive(Debug, Default)]
struct Said {
    all: HashSet<String>,
    waiting: Vec<String>,
}

impl Notices {
    /// Adds a warning that names its file, unless it was given before.
    pub fn say(&self, text: String) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.all.insert(text.clone()) {
            said.waiting.push(text);
        }
    }

    /// The warnings since the last call, in their order.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).waiting)
    }
}
