//! What a tardis-machine sends for a request, for the local server.

use std::sync::{Mutex, PoisonError};

use mm_core::serve::{self, Framing, StreamOption};
use mm_core::types::Ns;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::events::EventBatch;

/// One option: exchange, symbols (`None` for all), data types, disconnects wanted, errors wanted, from, to.
type OptionTuple = (String, Option<Vec<String>>, Vec<String>, bool, bool, Ns, Ns);

/// One request: sorts out which events it is sent and writes them as bytes.
#[pyclass(frozen, module = "mm_hybrid._core")]
pub struct Outbox {
    inner: Mutex<serve::Outbox>,
}

#[pymethods]
impl Outbox {
    #[new]
    #[pyo3(signature = (options, *, live))]
    fn new(options: Vec<OptionTuple>, live: bool) -> Self {
        let option = |(exchange, symbols, data_types, with_disconnects, with_errors, from_ns, to_ns): OptionTuple| {
            let symbols = symbols.map(|symbols| symbols.into_iter().collect());
            StreamOption { exchange, symbols, data_types, with_disconnects, with_errors, from_ns, to_ns }
        };
        Self { inner: Mutex::new(serve::Outbox::new(options.into_iter().map(option).collect(), live)) }
    }

    /// What the request is sent because of these events, as WebSocket text frames.
    fn frames<'py>(&self, py: Python<'py>, batch: &EventBatch) -> Bound<'py, PyBytes> {
        self.bytes(py, batch, Framing::WebSocket)
    }

    /// The same as lines.
    fn lines<'py>(&self, py: Python<'py>, batch: &EventBatch) -> Bound<'py, PyBytes> {
        self.bytes(py, batch, Framing::Lines)
    }

    /// Messages sent so far.
    #[getter]
    fn messages(&self) -> u64 {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).messages()
    }
}

impl Outbox {
    fn bytes<'py>(&self, py: Python<'py>, batch: &EventBatch, framing: Framing) -> Bound<'py, PyBytes> {
        let bytes = py.detach(|| {
            let mut outbox = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let mut bytes = Vec::new();
            for (index, event) in batch.events().iter().enumerate() {
                outbox.take(event, batch.text(index), framing, &mut bytes);
            }
            bytes
        });
        PyBytes::new(py, &bytes)
    }
}
