//! Times as Tardis writes them: ISO 8601, UTC, with up to nine digits of a second; and nanoseconds since the epoch.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::types::Ns;

pub(crate) const NS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// Wall-clock time now; 0 on a clock set before 1970.
pub fn now_ns() -> Ns {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as Ns)
}

/// Nanoseconds since the epoch of `2024-08-08T23:54:16.322Z`. The fraction may have 0 to 9 digits, the zone is `Z` or
/// absent (UTC). `None` when the text is no such time.
pub fn parse_iso_ns(text: &str) -> Option<Ns> {
    let bytes = text.strip_suffix('Z').unwrap_or(text).as_bytes();
    let (whole, fraction) = match bytes.iter().position(|b| *b == b'.') {
        Some(dot) => (&bytes[..dot], &bytes[dot + 1..]),
        None => (bytes, &bytes[..0]),
    };
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T' | b' ', h0, h1, b':', i0, i1, b':', s0, s1] = *whole else {
        return None;
    };
    if fraction.len() > 9 || (fraction.is_empty() && whole.len() != bytes.len()) {
        return None;
    }
    let year = number(&[y0, y1, y2, y3])?;
    let (month, day) = (number(&[m0, m1])?, number(&[d0, d1])?);
    let (hour, minute, second) = (number(&[h0, h1])?, number(&[i0, i1])?, number(&[s0, s1])?);
    // A second of 60 is a leap second; it is taken as the first second of the next minute.
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let fraction_ns = number(fraction)? * 10_i64.pow(9 - fraction.len() as u32);
    let seconds = days_from_civil(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
    seconds.checked_mul(NS_PER_SECOND)?.checked_add(fraction_ns)
}

/// Nanoseconds since the epoch of a time as a person writes it: [`parse_iso_ns`], where the time of day or its seconds
/// may be left out, and UTC may be written as `+00:00`.
pub fn parse_moment_ns(text: &str) -> Option<Ns> {
    let bare = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00")).unwrap_or(text);
    match bare.len() {
        10 => parse_iso_ns(&format!("{bare}T00:00:00")),
        16 => parse_iso_ns(&format!("{bare}:00")),
        _ => parse_iso_ns(bare),
    }
}

/// The time as ISO 8601 with `Z` and exactly `digits` (0..=9) digits of a second; finer digits are cut off.
pub fn format_iso(ns: Ns, digits: u32) -> String {
    let (seconds, fraction_ns) = (ns.div_euclid(NS_PER_SECOND), ns.rem_euclid(NS_PER_SECOND));
    let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY));
    let of_day = seconds.rem_euclid(SECONDS_PER_DAY);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    let digits = digits.min(9);
    if digits == 0 {
        return text + "Z";
    }
    let fraction = fraction_ns / 10_i64.pow(9 - digits);
    format!("{text}.{fraction:0width$}Z", width = digits as usize)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
}

/// Days since the epoch of a date of the proleptic Gregorian calendar.
///
/// Counts years from March, so that the leap day is the last day of the year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, of_year - (153 * march_month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_fractional_digits_up_to_nine_is_read() {
        let second = 1_723_161_256_000_000_000;
        for (text, ns) in [("", 0), (".3", 300_000_000), (".322", 322_000_000), (".322001", 322_001_000)] {
            assert_eq!(parse_iso_ns(&format!("2024-08-08T23:54:16{text}Z")), Some(second + ns));
        }
        assert_eq!(parse_iso_ns("2024-08-08T23:54:16.123456789"), Some(second + 123_456_789));
    }

    #[test]
    fn a_person_may_leave_out_seconds_and_the_time_of_day() {
        for (text, full) in [
            ("2024-08-08", "2024-08-08T00:00:00Z"),
            ("2024-08-08T23:54", "2024-08-08T23:54:00Z"),
            ("2024-08-08 23:54Z", "2024-08-08T23:54:00Z"),
            ("2024-08-08T23:54:16.5Z", "2024-08-08T23:54:16.5Z"),
            ("2024-08-08T23:54:16+00:00", "2024-08-08T23:54:16Z"),
        ] {
            assert_eq!(parse_moment_ns(text), parse_iso_ns(full), "{text}");
        }
        assert_eq!((parse_moment_ns("2024-08"), parse_moment_ns("2024-08-08T23:54+02:00")), (None, None));
    }

    #[test]
    fn dates_survive_a_round_trip_over_leap_years_and_before_the_epoch() {
        for text in ["1969-12-31T23:59:59.999999Z", "2000-02-29T00:00:00.000000Z", "2100-03-01T12:34:56.000001Z"] {
            assert_eq!(format_iso(parse_iso_ns(text).expect(text), 6), text);
        }
        assert_eq!(format_iso(0, 3), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "2024-08-08", "2024-13-08T00:00:00Z", "2024-08-08T24:00:00Z", "2024-08-08T00:00:00.Z"] {
            assert_eq!(parse_iso_ns(text), None, "{text}");
        }
        assert_eq!(parse_iso_ns("2024-08-08T00:00:00.1234567890Z"), None);
        assert_eq!(parse_iso_ns("2024-08-08T00:00:00+02:00"), None);
    }
}
