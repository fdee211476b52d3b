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

/// A number of so many digits decides how it is rounded to an `i64`; one digit more fits an `u128`.
const LONGEST: u128 = 10_u128.pow(37);

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

    /// Parses like [`Decimal::parse`], but rounds what has more digits than fit, half away from zero. For quantities,
    /// and for values that are only looked at: a price must keep every digit. `None` when it is no number or its whole
    /// part does not fit.
    pub fn parse_rounded(text: &[u8]) -> Option<Self> {
        Self::parse(text).or_else(|| Self::parse_long(text))
    }

    #[cold]
    fn parse_long(text: &[u8]) -> Option<Self> {
        let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
        let (digits, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (&text[..at], std::str::from_utf8(&text[at + 1..]).ok()?.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (mut mantissa, mut decimals, mut seen_point) = (0_u128, -i64::from(exponent), false);
        for (index, byte) in digits.iter().enumerate() {
            match byte {
                b'.' if !seen_point && index > 0 => seen_point = true,
                // Digits beyond these decide nothing: those that are kept end long before.
                b'0'..=b'9' if mantissa < LONGEST => {
                    mantissa = mantissa * 10 + u128::from(byte - b'0');
                    decimals += i64::from(seen_point);
                }
                b'0'..=b'9' => decimals -= i64::from(!seen_point),
                _ => return None,
            }
        }
        let surplus = u32::try_from((decimals - 18).max(0)).ok().filter(|_| !digits.is_empty())?;
        let (mantissa, cut) = (surplus..=surplus.max(38)).find_map(|cut| {
            let kept = 10_u128
                .checked_pow(cut)
                .map_or(0, |unit| mantissa / unit + u128::from(mantissa % unit >= unit.div_ceil(2)));
            i64::try_from(kept).ok().map(|kept| (kept, cut))
        })?;
        let decimals = u8::try_from(decimals - i64::from(cut)).ok()?;
        Some(Self { mantissa: if negative { -mantissa } else { mantissa }, decimals }.normalized())
    }

    /// The mantissa this number has with `decimals` digits after the point, rounded half away from zero; `None` if it
    /// does not fit.
    pub fn rounded(self, decimals: u8) -> Option<i64> {
        if decimals >= self.decimals {
            return self.rescaled(decimals);
        }
        let unit = *POW10.get(usize::from(self.decimals - decimals))?;
        let (whole, rest) = (self.mantissa / unit, self.mantissa % unit);
        Some(if rest.abs() >= unit - rest.abs() { whole + rest.signum() } else { whole })
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
        for (long, short) in [
            ("0.0047677363856087895", "0.00476773638560879"),
            ("0.1234567890123456789012345678901234567890123456789", "0.123456789012345679"),
            ("-9.8765432109876543215", "-9.87654321098765432"),
            ("123456789.123456789123456789", "123456789.1234567891"),
            ("9223372036854775807.4", "9223372036854775807"),
            ("99999999999999999999e-5", "1000000000000000"),
            ("4.9e-19", "0"),
            ("5e-19", "0.000000000000000001"),
            ("5e-2000000000", "0"),
        ] {
            assert_eq!(rounded(long), Some(short.into()), "{long}");
        }
        for t in ["1e300", "NaN", "inf", "", "\"1\"", "9223372036854775807.5", "99999999999999999999", "-", "1.2.3e-30"]
        {
            assert_eq!(rounded(t), None, "{t}");
        }
    }

    #[test]
    fn rounding_to_fewer_digits_is_half_away_from_zero() {
        let cases =
            [(1_234, 3, 2, 123), (1_235, 3, 2, 124), (-1_235, 3, 2, -124), (7, 1, 3, 700), (i64::MAX, 18, 0, 9)];
        for (mantissa, decimals, to, expected) in cases {
            assert_eq!(Decimal::new(mantissa, decimals).rounded(to), Some(expected));
        }
        assert_eq!(Decimal::new(i64::MAX, 0).rounded(1), None);
    }

    #[test]
    fn rescaling_never_loses_digits() {
        let d = Decimal::new(618_003, 1);
        assert_eq!(d.rescaled(3), Some(61_800_300));
        assert_eq!(d.rescaled(0), None);
        assert_eq!(Decimal::new(50, 1).rescaled(0), Some(5));
    }
}
