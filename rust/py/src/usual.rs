//! Multiples of the usual for Python.

use std::sync::{Mutex, PoisonError};

use mm_core::model::usual;
use mm_core::types::Ns;
use pyo3::prelude::*;

/// What is usual for a touch; see `mm_core::model::usual`.
#[pyclass(frozen, module = "mm_hybrid._core")]
pub struct UsualTouch(Mutex<usual::UsualTouch>);

#[pymethods]
impl UsualTouch {
    #[new]
    fn new() -> Self {
        Self(Mutex::new(usual::UsualTouch::default()))
    }

    /// Takes note of a moment; returns mid index and best quantities over their medians.
    fn observe(&self, now_ns: Ns, mid: f64, bid_qty: f64, ask_qty: f64) -> (f64, Option<f64>, Option<f64>) {
        let mut usual = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = usual.observe(now_ns, mid, bid_qty, ask_qty);
        (told.mid_index, told.bid_qty, told.ask_qty)
    }
}
