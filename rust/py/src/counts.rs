//! Counts from Python: one that is negative or too large is a `ValueError` that names its argument.

use mm_core::Error;
use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;

use crate::error::CoreError;

/// What a count is extracted as.
pub trait Count: for<'a, 'py> FromPyObject<'a, 'py, Error = PyErr> {
    /// The largest that fits.
    const MOST: u64;
}

impl Count for u32 {
    const MOST: u64 = u32::MAX as u64;
}

impl Count for u64 {
    const MOST: u64 = u64::MAX;
}

impl Count for usize {
    const MOST: u64 = usize::MAX as u64;
}

impl<T: Count> Count for Option<T> {
    const MOST: u64 = T::MOST;
}

impl<T: Count> Count for Vec<T> {
    const MOST: u64 = T::MOST;
}

fn named<T: Count>(name: &'static str, value: &Bound<'_, PyAny>) -> PyResult<T> {
    value.extract::<T>().map_err(|error: PyErr| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            // Python refuses to write out a number of thousands of digits.
            let got = value.str().map_or_else(|_| "a far larger one".to_owned(), |text| text.to_string());
            let reason = format!("must be a whole number from 0 to {}, got {got}", T::MOST);
            CoreError(Error::Domain { name, reason }).into()
        } else {
            error
        }
    })
}

/// One function for `#[pyo3(from_py_with = ...)]` an argument, called as it is.
macro_rules! counts {
    ($($name:ident)*) => {
        $(pub fn $name<T: Count>(value: &Bound<'_, PyAny>) -> PyResult<T> {
            named(stringify!($name), value)
        })*
    };
}

counts! {
    book_depth depth horizons_s imbalance_bins imbalance_levels k_slow levels max_events max_lots max_mb min_obs n_buckets
    patience_us queue_events reconnect_max_ms reconnect_min_ms record_rotate_mb record_rotate_minutes resync_after_ms seed
    spreads stale_after_ms volatility_slow_s volatility_window_s vpin_buckets window
}
