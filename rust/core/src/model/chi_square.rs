//! Upper tail of the chi-square distribution, for tests of fit.
//!
//! Source: the regularised incomplete gamma function by its series and its continued fraction (Abramowitz and Stegun
//! 6.5.29 and 6.5.31; the fraction evaluated by Lentz's method). Relative accuracy about 1e-12.

use super::domain::{non_negative, positive};
use crate::Result;

const MAX_TERMS: u32 = 10_000;
const TINY: f64 = 1e-300;

/// Probability that a chi-square variable of `degrees` degrees of freedom exceeds `value`.
///
/// # Errors
/// [`crate::Error::Domain`] for a negative value or no degrees.
pub fn chi_square_tail(value: f64, degrees: f64) -> Result<f64> {
    let (x, a) = (non_negative("value", value)? / 2.0, positive("degrees", degrees)? / 2.0);
    if x == 0.0 {
        return Ok(1.0);
    }
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    Ok(if x < a + 1.0 { 1.0 - front * series(a, x) } else { front * fraction(a, x) }.clamp(0.0, 1.0))
}

fn series(a: f64, x: f64) -> f64 {
    let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, a);
    for _ in 0..MAX_TERMS {
        n += 1.0;
        term *= x / n;
        sum += term;
        if term < sum * f64::EPSILON {
            break;
        }
    }
    sum
}

fn fraction(a: f64, x: f64) -> f64 {
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (1.0 / TINY, 1.0 / b);
    let mut h = d;
    for i in 1..MAX_TERMS {
        let i = f64::from(i);
        let an = -i * (i - a);
        b += 2.0;
        d = an * d + b;
        d = 1.0 / if d.abs() < TINY { TINY } else { d };
        c = b + an / c;
        c = if c.abs() < TINY { TINY } else { c };
        let step = d * c;
        h *= step;
        if (step - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    h
}

/// Logarithm of the gamma function above 0: Stirling's series, with the argument moved up to where it converges.
fn ln_gamma(mut x: f64) -> f64 {
    let mut shift = 0.0;
    while x < 15.0 {
        shift -= x.ln();
        x += 1.0;
    }
    let x2 = x * x;
    let tail = (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - 1.0 / (1680.0 * x2)) / x2) / x2) / x;
    shift + (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_tabulated_tail() {
        for (value, degrees, tail) in [
            (3.841_458_820_694_124, 1.0, 0.05),
            (9.210_340_371_976_18, 2.0, 0.01),
            (18.307_038_053_275_146, 10.0, 0.05),
            (124.342_113_404_004, 100.0, 0.05),
            (10.827_566_170_662_7, 1.0, 0.001),
        ] {
            let got = chi_square_tail(value, degrees).unwrap();
            assert!((got / tail - 1.0).abs() < 1e-9, "{value} {degrees}: {got}");
        }
        assert!((chi_square_tail(2.0, 2.0).unwrap() - (-1.0f64).exp()).abs() < 1e-12);
        assert!(chi_square_tail(1.0, 0.0).is_err());
    }
}
