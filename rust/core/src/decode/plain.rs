//! Book changes and trades in the one form in which a tardis-machine writes them: its keys in its order, no white
//! space, plain numbers, ASCII text without escapes. Whatever differs in any byte is left to the general decoder.
//!
//! Numbers are read eight digits at a time: a digit is a byte that, less `'0'`, is at most 9, and eight of them are
//! put together by three multiplications, pairs first.

// Every message passes here: a call costs as much as what these functions do, a branch that is mistaken once in ten
// times more than computing both sides, and masks are what the byte-wise arithmetic is made of.
#![allow(clippy::inline_always, clippy::needless_bitwise_bool, clippy::verbose_bit_mask)]

use std::sync::Arc;

use super::Interner;
use super::spare::SpareEvents;
use crate::event::{Event, EventKind, Level};
use crate::time::parse_iso_ns;
use crate::types::{Decimal, Ns, POW10, Side};

/// `2024-08-08T23:54:`, the part of a time that rarely changes.
const MINUTE_BYTES: usize = 17;

const ZEROS: u64 = 0x3030_3030_3030_3030;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Decodes messages of the plain form and remembers what the last ones had in common.
#[derive(Debug, Default)]
pub(super) struct PlainDecoder {
    exchange: Option<Arc<str>>,
    symbol: Option<Arc<str>>,
    /// The minute last read, as it is written and in nanoseconds.
    minute: Option<([u8; MINUTE_BYTES], Ns)>,
    spare: SpareEvents,
}

impl PlainDecoder {
    /// The event of a message; `None` when it is not of the plain form.
    #[inline]
    pub(super) fn decode(&mut self, bytes: &[u8], exchanges: &mut Interner, symbols: &mut Interner) -> Option<Event> {
        let rest = bytes.strip_prefix(b"{\"type\":\"")?;
        if let Some(rest) = rest.strip_prefix(b"book_change\",\"symbol\":\"") {
            let rest = self.recall(rest, symbols, |this| &mut this.symbol)?.strip_prefix(b",\"exchange\":\"")?;
            let rest = self.recall(rest, exchanges, |this| &mut this.exchange)?;
            return self.book_change(rest);
        }
        let rest = rest.strip_prefix(b"trade\",\"symbol\":\"")?;
        let rest = self.recall(rest, symbols, |this| &mut this.symbol)?.strip_prefix(b",\"exchange\":\"")?;
        let rest = self.recall(rest, exchanges, |this| &mut this.exchange)?;
        self.trade(rest)
    }

    /// Takes an event back whose memory the next one can use.
    pub(super) fn recycle(&mut self, event: Event) {
        self.spare.recycle(event);
    }

    #[inline]
    fn book_change(&mut self, rest: &[u8]) -> Option<Event> {
        let rest = rest.strip_prefix(b",\"isSnapshot\":")?;
        let (is_snapshot, rest) = match rest.strip_prefix(b"false") {
            Some(rest) => (false, rest),
            None => (true, rest.strip_prefix(b"true")?),
        };
        let mut event = self.spare.book_change(self.exchange.as_ref()?, self.symbol.as_ref()?);
        let EventKind::BookChange { is_snapshot: snapshot, bids, asks } = &mut event.kind else { return None };
        *snapshot = is_snapshot;
        let rest = levels(rest.strip_prefix(b",\"bids\":[")?, bids)?;
        let rest = levels(rest.strip_prefix(b",\"asks\":[")?, asks)?;
        self.times(rest, &mut event)?;
        Some(event)
    }

    #[cold]
    fn trade(&mut self, rest: &[u8]) -> Option<Event> {
        let (id, rest) = match rest.strip_prefix(b",\"id\":\"") {
            Some(rest) => {
                let (id, rest) = plain_text(rest)?;
                (Some(id.into()), rest)
            }
            None => (None, rest),
        };
        let (price, at) = number(rest, begins(rest, 0, b",\"price\":")?)?;
        let (qty, at) = number(rest, begins(rest, at, b",\"amount\":")?)?;
        let (side, rest) = plain_text(&rest[begins(rest, at, b",\"side\":\"")?..])?;
        let side = match side {
            "buy" => Some(Side::Buy),
            "sell" => Some(Side::Sell),
            _ => None,
        };
        let kind = EventKind::Trade { id, price, qty, side };
        let (exchange, symbol) = (self.exchange.clone()?, self.symbol.clone()?);
        let mut event = Event { exchange, symbol, exchange_ts_ns: 0, local_ts_ns: 0, kind };
        self.times(rest, &mut event)?;
        Some(event)
    }

    /// Reads a text up to its closing quote into the place where it is remembered; returns what follows.
    #[inline]
    fn recall<'a>(
        &mut self,
        rest: &'a [u8],
        known: &mut Interner,
        place: impl Fn(&mut Self) -> &mut Option<Arc<str>>,
    ) -> Option<&'a [u8]> {
        let last = place(self);
        // Only plain text gets there, so that equal bytes mean equal text.
        if let Some(rest) = last.as_ref().and_then(|text| rest.strip_prefix(text.as_bytes())?.strip_prefix(b"\"")) {
            return Some(rest);
        }
        let (text, rest) = plain_text(rest)?;
        *last = Some(known.get(text));
        Some(rest)
    }

    /// The end of a message, with the two times.
    #[inline]
    fn times(&mut self, rest: &[u8], event: &mut Event) -> Option<()> {
        let (exchange_ts_ns, rest) = self.time(rest.strip_prefix(b",\"timestamp\":\"")?)?;
        let (local_ts_ns, rest) = self.time(rest.strip_prefix(b",\"localTimestamp\":\"")?)?;
        (event.exchange_ts_ns, event.local_ts_ns) = (exchange_ts_ns, local_ts_ns);
        (rest == b"}").then_some(())
    }

    /// A time up to its closing quote.
    #[inline]
    fn time<'a>(&mut self, rest: &'a [u8]) -> Option<(Ns, &'a [u8])> {
        if let Some((minute, minute_ns)) = &self.minute {
            if let Some((ns, rest)) = rest.strip_prefix(minute).and_then(seconds) {
                return Some((minute_ns + ns, rest));
            }
        }
        self.time_of_another_minute(rest)
    }

    #[cold]
    fn time_of_another_minute<'a>(&mut self, rest: &'a [u8]) -> Option<(Ns, &'a [u8])> {
        let (text, after) = plain_text(rest)?;
        let ns = parse_iso_ns(text)?;
        if let (Some(minute), Some((in_minute, _))) =
            (rest.first_chunk(), rest.get(MINUTE_BYTES..).and_then(|rest| seconds(rest)))
        {
            self.minute = Some((*minute, ns - in_minute));
        }
        Some((ns, after))
    }
}

/// `16.322Z"` or `16.322001Z"` in nanoseconds, and what follows.
#[inline]
fn seconds(rest: &[u8]) -> Option<(Ns, &[u8])> {
    const SHAPE: u64 = u64::from_le_bytes(*b"00.000\0\0");
    const SHAPED: u64 = 0x0000_ffff_ffff_ffff;
    let (word, rest) = rest.split_first_chunk::<8>()?;
    let word = u64::from_le_bytes(*word);
    let digits = (word & SHAPED) ^ SHAPE;
    // The point's byte must be 0 now, the others at most 9.
    if (digits + 0x0000_7676_767f_7676) & HIGH_BITS != 0 || digits & HIGH_BITS != 0 {
        return None;
    }
    let digit = |at: u32| (digits >> (8 * at) & 0xf) as i64;
    let second = digit(0) * 10 + digit(1);
    let ms = digit(3) * 100 + digit(4) * 10 + digit(5);
    if second > 60 {
        return None;
    }
    let ns = second * 1_000_000_000 + ms * 1_000_000;
    if word >> 48 == u64::from(u16::from_le_bytes(*b"Z\"")) {
        return Some((ns, rest));
    }
    let (third, rest) = rest.split_first()?;
    let micros = [(word >> 48) as u8, (word >> 56) as u8, *third];
    if !micros.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let us = micros.iter().fold(0, |us, digit| us * 10 + i64::from(digit - b'0'));
    Some((ns + us * 1_000, rest.strip_prefix(b"Z\"")?))
}

/// Printable ASCII without escapes, up to its closing quote, and what follows that.
pub(crate) fn plain_text(rest: &[u8]) -> Option<(&str, &[u8])> {
    let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..b' ' | 0x7f..))?;
    let text = std::str::from_utf8(&rest[..end]).ok()?;
    Some((text, rest[end..].strip_prefix(b"\"")?))
}

/// Levels up to the bracket that closes them, and what follows.
#[inline]
fn levels<'a>(bytes: &'a [u8], out: &mut Vec<Level>) -> Option<&'a [u8]> {
    const PRICE: &[u8] = b"{\"price\":";
    const AMOUNT: &[u8] = b",\"amount\":";
    const NEXT: &[u8] = b"},{\"price\":";
    out.clear();
    if let Some(rest) = bytes.strip_prefix(b"]") {
        return Some(rest);
    }
    let mut at = begins(bytes, 0, PRICE)?;
    // A price of 0 is left to the general decoder, which refuses it.
    let mut has_zero = false;
    loop {
        let (price, after) = number(bytes, at)?;
        let (qty, after) = number(bytes, begins(bytes, after, AMOUNT)?)?;
        has_zero |= price.mantissa == 0;
        out.push(Level { price, qty });
        match begins(bytes, after, NEXT) {
            Some(next) => at = next,
            None if has_zero => return None,
            None => return bytes.get(after..)?.strip_prefix(b"}]"),
        }
    }
}

/// Where `text` ends that begins at `at`, if it does.
#[inline(always)]
pub(crate) fn begins(bytes: &[u8], at: usize, text: &[u8]) -> Option<usize> {
    let end = at + text.len();
    (bytes.get(at..end)? == text).then_some(end)
}

/// The number without sign that begins at `at`, as [`Decimal::parse`] makes it, and where it ends. It is all of the
/// number only if what follows is neither an exponent nor another point. `None` for what begins otherwise.
#[inline(always)]
pub(crate) fn number(bytes: &[u8], at: usize) -> Option<(Decimal, usize)> {
    let Some(word) = word(bytes, at) else { return long_number(bytes, at) };
    let digits = word ^ ZEROS;
    // Lengths are in bits, eight a character; 64 when the end is not in the word.
    let ends = not_digits(digits);
    let whole = ends.trailing_zeros() & 0x78;
    let leading_zero = (digits & 0xff == 0) & (whole > 8);
    if (whole == 0) | (whole == 64) | leading_zero {
        return long_number(bytes, at);
    }
    if word.wrapping_shr(whole) & 0xff != u64::from(b'.') {
        let mantissa = eight_digits(digits.wrapping_shl(64 - whole));
        return Some((Decimal::new(mantissa as i64, 0), at + whole as usize / 8));
    }
    let length = (ends & ends.wrapping_sub(1)).trailing_zeros() & 0x78;
    let trailing_zero = digits.wrapping_shr(length.wrapping_sub(8)) & 0xff == 0;
    if (length == 64) | (length == whole + 8) | trailing_zero {
        return long_number(bytes, at);
    }
    // The digits on both sides of the point, moved together.
    let after = u64::MAX.wrapping_shl(whole);
    let joined = digits & !after | digits >> 8 & after;
    let mantissa = eight_digits(joined.wrapping_shl(72 - length));
    Some((Decimal::new(mantissa as i64, ((length - whole) / 8 - 1) as u8), at + length as usize / 8))
}

/// The eight bytes at `at`, the first in the lowest byte.
#[inline(always)]
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.first_chunk().map(|word| u64::from_le_bytes(*word))
}

/// Sixteen digits, as many as microseconds since the epoch have, and where they end.
#[inline(always)]
pub(crate) fn sixteen_digits(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let (high, low) = (word(bytes, at)? ^ ZEROS, word(bytes, at + 8)? ^ ZEROS);
    if not_digits(high) | not_digits(low) != 0 {
        return None;
    }
    Some(((eight_digits(high) * 100_000_000 + eight_digits(low)) as i64, at + 16))
}

/// The high bit of every byte above 9; what lies above the first such byte is not reliable.
#[inline(always)]
fn not_digits(digits: u64) -> u64 {
    (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & HIGH_BITS
}

/// The number that eight bytes 0..=9 spell, the first in the lowest byte.
#[inline(always)]
fn eight_digits(digits: u64) -> u64 {
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff
}

/// [`number`] of any length.
#[inline(never)]
fn long_number(bytes: &[u8], at: usize) -> Option<(Decimal, usize)> {
    let (whole, point) = digits(bytes, at, 0)?;
    if point == at || (bytes[at] == b'0' && point > at + 1) {
        return None;
    }
    if bytes.get(point) != Some(&b'.') {
        return Some((Decimal::new(whole, 0), point));
    }
    let (mantissa, end) = digits(bytes, point + 1, whole)?;
    let decimals = end - point - 1;
    if decimals == 0 || decimals >= POW10.len() {
        return None;
    }
    Some((Decimal::new(mantissa, decimals as u8).normalized(), end))
}

/// Appends the digits from `at` on to `number`; `None` when it grows out of an `i64`.
#[inline(always)]
fn digits(bytes: &[u8], mut at: usize, mut number: i64) -> Option<(i64, usize)> {
    while let Some(byte @ b'0'..=b'9') = bytes.get(at) {
        number = number.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
        at += 1;
    }
    Some((number, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_are_those_of_the_general_parser() {
        let texts = [
            "0",
            "7",
            "30000",
            "30000.1",
            "1.234",
            "0.001",
            "61837.63",
            "1234567",
            "12345678",
            "123456789",
            "0.12345678",
            "1234567.1",
            "123456.78",
            "999999999999999999",
            "0.000000000000000001",
            "12345678901.123456",
            "5.0",
            "10.50",
            "0.0",
            "0.10",
            "0000.1",
            "00",
            "01",
            "1.",
            ".5",
            "1e5",
            "1.5E3",
            "1.25e-7",
            "-1",
            "",
            "x",
            "9223372036854775807",
            "9223372036854775808",
            "1.2.3",
            "0.1234567890123456789",
        ];
        for text in texts {
            for tail in ["}", ",\"amount\":1}", "\u{e9}tude"] {
                let bytes = [text.as_bytes(), tail.as_bytes()].concat();
                let json = serde_json::from_str::<serde_json::Number>(text).is_ok();
                let general = Decimal::parse(text.as_bytes()).filter(|_| json);
                match number(&bytes, 0) {
                    Some((_, end)) if matches!(bytes[end], b'e' | b'E' | b'.') => {}
                    Some((found, end)) => {
                        assert_eq!((Some(found), end), (general, text.len()), "{text}");
                    }
                    None => assert!(
                        general.is_none() || text.contains(['e', 'E', '-']),
                        "{text} should not need the general parser"
                    ),
                }
            }
        }
    }

    #[test]
    fn seconds_have_three_or_six_digits() {
        assert_eq!(seconds(b"16.322Z\",").map(|(ns, _)| ns), Some(16_322_000_000));
        assert_eq!(seconds(b"16.322001Z\",").map(|(ns, _)| ns), Some(16_322_001_000));
        for text in
            ["61.000Z\"", "1:.000Z\"", "16,322Z\"", "16.3220Z\"", "16.32\u{b9}Z\"", "16.322Z", "16.322", "\x0016.322"]
        {
            assert_eq!(seconds(text.as_bytes()), None, "{text}");
        }
    }
}
