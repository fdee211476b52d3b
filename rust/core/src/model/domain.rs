//! Range checks of formula arguments; the error names the parameter.

use crate::{Error, Result};

fn refuse(name: &'static str, value: f64, wanted: &str) -> Error {
    Error::Domain { name, reason: format!("must be {wanted}, got {value}") }
}

/// The name that goes with the largest part of a sum; what is no number is larger than any.
pub(crate) fn largest(parts: &[(&'static str, f64)]) -> &'static str {
    let size = |value: f64| if value.is_nan() { f64::INFINITY } else { value };
    parts.iter().max_by(|a, b| size(a.1).total_cmp(&size(b.1))).map_or("", |part| part.0)
}

/// How far a factor moves a product, up or down; one that is 0 moves nothing that has overflowed.
pub(crate) fn weight(factor: f64) -> f64 {
    if factor == 0.0 { 0.0 } else { factor.abs().ln().abs() }
}

/// Accepts finite values.
pub(crate) fn finite(name: &'static str, value: f64) -> Result<f64> {
    if value.is_finite() { Ok(value) } else { Err(refuse(name, value, "a finite number")) }
}

/// Accepts series of finite values.
pub(crate) fn all_finite(name: &'static str, values: &[f64]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => {
            let reason = format!("must be finite numbers, number {at} is {}", values[at]);
            Err(Error::Domain { name, reason })
        }
        None => Ok(()),
    }
}

/// Accepts finite values above 0.
pub(crate) fn positive(name: &'static str, value: f64) -> Result<f64> {
    if value.is_finite() && value > 0.0 { Ok(value) } else { Err(refuse(name, value, "above 0 and finite")) }
}

/// Accepts finite values of at least 0.
pub(crate) fn non_negative(name: &'static str, value: f64) -> Result<f64> {
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err(refuse(name, value, "at least 0 and finite")) }
}
