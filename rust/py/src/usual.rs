//! Multiples of the usual for Python.

use std::sync::{Mutex, PoisonError};

use mm_core::model::usual;
use mm_core::types::Ns;
use pyo3::prelude::*;

/// What is usual for a touch: the UTC day's first mid, and best quantities of the last ten minutes.
///
/// A quantity is noted every five seconds. Told moments in the order of their time.
#[pyclass(frozen, module = "mm_hybrid._core")]
pub struct UsualTouch(Mutex<usual::UsualTouch>);

#[pymethods]
impl UsualTouch {
    #[new]
    fn new() -> Self {
        Self(Mutex::new(usual::UsualTouch::default()))
    }

    /// Take note of a moment and return it in multiples of the usual, itself included.
    ///
    /// Returns:
    ///     Mid over the first mid of the day, times 10 000; best bid and best ask quantity over their medians,
    ///     ``None`` where a median is 0.
    fn observe(&self, now_ns: Ns, mid: f64, bid_qty: f64, ask_qty: f64) -> (f64, Option<f64>, Option<f64>) {
        let mut usual = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = usual.observe(now_ns, mid, bid_qty, ask_qty);
        (told.mid_index, told.bid_qty, told.ask_qty)
    }
}
