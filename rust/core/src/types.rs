//! Units and exact numbers shared by every module.

use std::fmt;

/// Nanoseconds since the Unix epoch, UTC.
pub type Ns = i64;

/// Aggressor of a trade, or direction of an own order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Taker bought, or our order buys.
    Buy,
    /// Taker sold, or our order sells.
    Sell,
}

/// Powers of ten that fit an `i64`.
pub const POW10: [i64; 19] = {
    let mut table = [1i64; 19];
    let mut i = 1;
    while i < 19 {
        table[i] = table[i - 1] * 10;
        i += 1;
    }
    table
};

/// An exact decimal number: `mantissa` x 10^-`decimals`.
///
/// Prices and quantities were decimal text at the exchange; this keeps them exact. Two values are equal as numbers
/// only after [`Decimal::rescaled`] to the same `decimals`; `PartialEq` compares the representation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Decimal {
    /// Digits without the point.
    pub mantissa: i64,
    /// Digits after the point, 0..=18.
    pub decimals: u8,
}

impl Decimal {
    /// A decimal from its parts.
    pub const fn new(mantissa: i64, decimals: u8) -> Self {
        Self { mantissa, decimals }
    }

    /// Parses JSON number text: sign, digits, point, exponent (`1e-7`). `None` when it is no number or does not fit
    /// 18 decimals and an `i64`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (negative, mut rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let mut mantissa: i64 = 0;
        let mut decimals: i32 = 0;
        // Zeros after the point that no other digit has followed yet: they need no room.
        let mut zeros: i32 = 0;
        let (mut seen_point, mut seen_digit) = (false, false);
        while let [byte, tail @ ..] = rest {
            match byte {
                b'0' if seen_point => zeros += 1,
                b'0'..=b'9' => {
                    for digit in std::iter::repeat_n(b'0', zeros as usize).chain([*byte]) {
                        mantissa = mantissa.checked_mul(10)?.checked_add(i64::from(digit - b'0'))?;
                        decimals += i32::from(seen_point);
                    }
                    (zeros, seen_digit) = (0, true);
                }
                b'.' if !seen_point && seen_digit => seen_point = true,
                b'e' | b'E' if seen_digit => {
                    let exponent: i32 = std::str::from_utf8(tail).ok()?.parse().ok()?;
                    decimals = decimals.checked_sub(exponent)?;
                    break;
                }
                _ => return None,
            }
            rest = tail;
        }
        if !seen_digit {
            return None;
        }
        while mantissa != 0 && decimals > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            decimals -= 1;
        }
        if mantissa == 0 {
            return Some(Self::default());
        }
        if decimals < 0 {
            mantissa = mantissa.checked_mul(*POW10.get(decimals.unsigned_abs() as usize)?)?;
            decimals = 0;
        }
        let decimals = u8::try_from(decimals).ok().filter(|d| *d <= 18)?;
        Some(Self { mantissa: if negative { -mantissa } else { mantissa }, decimals })
    }

    /// Parses like [`Decimal::parse`], but rounds what has more than 18 digits after the point, half away from zero.
    /// For values that are only looked at: a price or quantity of a book must keep every digit. `None` when it is
    /// no number or its whole part does not fit.
    pub fn parse_rounded(text: &[u8]) -> Option<Self> {
        if let Some(exact) = Self::parse(text) {
            return Some(exact);
        }
        let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
        if !value.is_finite() {
            return None;
        }
        // The most digits after the point with which the number still fits.
        (0..=18u8).rev().find_map(|decimals| {
            let mantissa = (value * POW10[decimals as usize] as f64).round();
            (mantissa.abs() < i64::MAX as f64).then(|| Self::new(mantissa as i64, decimals).normalized())
        })
    }

    /// The mantissa this number has with `decimals` digits after the point; `None` if digits would be lost or it
    /// does not fit.
    pub fn rescaled(self, decimals: u8) -> Option<i64> {
        if decimals >= self.decimals {
            self.mantissa.checked_mul(*POW10.get((decimals - self.decimals) as usize)?)
        } else {
            let divisor = POW10[(self.decimals - decimals) as usize];
            (self.mantissa % divisor == 0).then_some(self.mantissa / divisor)
        }
    }

    /// The same number without zeros at its end, as [`Decimal::parse`] makes it.
    #[must_use]
    pub fn normalized(mut self) -> Self {
        if self.mantissa == 0 {
            return Self::default();
        }
        while self.decimals > 0 && self.mantissa % 10 == 0 {
            self.mantissa /= 10;
            self.decimals -= 1;
        }
        self
    }

    /// The nearest `f64` (exactly rounded while the mantissa is below 2^53).
    pub fn to_f64(self) -> f64 {
        self.mantissa as f64 / POW10[self.decimals as usize] as f64
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.decimals == 0 {
            return write!(f, "{}", self.mantissa);
        }
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let scale = POW10[self.decimals as usize].unsigned_abs();
        let (whole, fraction) = (self.mantissa.unsigned_abs() / scale, self.mantissa.unsigned_abs() % scale);
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let digits = format!("{fraction:0width$}", width = self.decimals as usize);
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(input: &str) -> String {
        Decimal::parse(input.as_bytes()).expect(input).to_string()
    }

    #[test]
    fn decimal_text_survives_a_round_trip() {
        for t in ["0", "1", "61800.3", "0.00003505", "5744070", "-0.5", "0.000000000000000001"] {
            assert_eq!(text(t), t);
        }
    }

    #[test]
    fn exponents_and_trailing_zeros_mean_the_same_number() {
        assert_eq!(text("1e-7"), "0.0000001");
        assert_eq!(text("1.5E3"), "1500");
        assert_eq!(Decimal::parse(b"3.10"), Decimal::parse(b"3.1"));
        assert_eq!(Decimal::parse(b"0.000"), Some(Decimal::new(0, 0)));
        assert_eq!(Decimal::parse(b"1.00000000000000000000000000"), Some(Decimal::new(1, 0)));
        assert_eq!(Decimal::parse(b"0.0100000000000000000000"), Some(Decimal::new(1, 2)));
    }

    #[test]
    fn what_is_no_number_or_does_not_fit_is_refused() {
        for t in ["", "-", ".5", "1.2.3", "abc", "1e", "99999999999999999999", "1e-30", "NaN", "1e400"] {
            assert_eq!(Decimal::parse(t.as_bytes()), None, "{t}");
        }
    }

    #[test]
    fn values_only_looked_at_are_rounded_to_what_fits() {
        let rounded = |input: &str| Decimal::parse_rounded(input.as_bytes()).map(|value| value.to_string());
        assert_eq!(rounded("0.0001"), Some("0.0001".into()));
        assert_eq!(rounded("-3.5714e-20"), Some("0".into()));
        assert_eq!(rounded("0.00003571428571428571"), Some("0.000035714285714286".into()));
        assert_eq!(rounded("1e-7"), Some("0.0000001".into()));
        for t in ["1e300", "NaN", "inf", "", "\"1\""] {
            assert_eq!(rounded(t), None, "{t}");
        }
    }

    #[test]
    fn rescaling_never_loses_digits() {
        let d = Decimal::new(618_003, 1);
        assert_eq!(d.rescaled(3), Some(61_800_300));
        assert_eq!(d.rescaled(0), None);
        assert_eq!(Decimal::new(50, 1).rescaled(0), Some(5));
    }
}
