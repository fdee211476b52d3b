//! Every numpy conversion: data is moved into a new array, which is handed out read-only, or copied into the caller's.

use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray2, PyArray3, PyArrayMethods, PyReadwriteArray3, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Levels `[price, qty]` as a read-only float64 array of shape `(n, 2)`.
pub fn levels<'py>(py: Python<'py>, levels: &[[f64; 2]]) -> Bound<'py, PyArray2<f64>> {
    let array = Array2::from_shape_fn((levels.len(), 2), |(row, column)| levels[row][column]).into_pyarray(py);
    array.readwrite().make_nonwriteable();
    array
}

/// The caller's array for levels, held for writing.
pub struct LevelsOut<'py>(PyReadwriteArray3<'py, f64>);

impl<'py> LevelsOut<'py> {
    /// Checks that `out` is float64 of shape `(2, depth, 2)`, contiguous, writeable and not being written elsewhere.
    pub fn new(out: &Bound<'py, PyAny>) -> PyResult<Self> {
        let refuse = |what: String| PyValueError::new_err(format!("out: {what}"));
        let Ok(out) = out.cast::<PyArray3<f64>>() else {
            return Err(refuse(format!("not a float64 array of shape (2, depth, 2), but {}", described(out))));
        };
        if out.shape()[0] != 2 || out.shape()[2] != 2 {
            return Err(refuse(format!(
                "shape {:?} is not (2, depth, 2): bids and asks, levels, price and qty",
                out.shape()
            )));
        }
        if !out.is_c_contiguous() {
            return Err(refuse("not C-contiguous: give an array of its own, not a view with gaps".to_owned()));
        }
        out.try_readwrite().map(Self).map_err(|error| refuse(error.to_string()))
    }

    /// The numbers, row by row.
    pub fn values(&mut self) -> PyResult<&mut [f64]> {
        self.0.as_slice_mut().map_err(|error| PyValueError::new_err(format!("out: {error}")))
    }
}

/// What an object is, for people: an array by its kind and shape, anything else by its type.
fn described(out: &Bound<'_, PyAny>) -> String {
    let of_array = || Some(format!("{} of shape {}", out.getattr("dtype").ok()?, out.getattr("shape").ok()?));
    of_array().unwrap_or_else(|| out.get_type().to_string())
}
