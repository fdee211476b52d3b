//! Every numpy conversion: data is moved into the array, never aliased, and handed out read-only.

use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray2, PyArrayMethods};
use pyo3::prelude::*;

/// Levels `[price, qty]` as a read-only float64 array of shape `(n, 2)`.
pub fn levels<'py>(py: Python<'py>, levels: &[[f64; 2]]) -> Bound<'py, PyArray2<f64>> {
    let array = Array2::from_shape_fn((levels.len(), 2), |(row, column)| levels[row][column]).into_pyarray(py);
    array.readwrite().make_nonwriteable();
    array
}
