//! Reading an exchange's compact JSON from left to right, without a tree: `None` wherever it is written otherwise.

// Every message passes here: a call costs as much as what these functions do.
#![allow(clippy::inline_always)]

use crate::decode::plain::{begins, number, plain_text};
use crate::event::Level;

/// A place in a message.
pub(super) struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    /// At the beginning of a message.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// What has not been read yet.
    #[inline(always)]
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Passes over `text` if it is next.
    #[inline(always)]
    pub(super) fn passes(&mut self, text: &[u8]) -> bool {
        begins(self.bytes, self.at, text).map(|end| self.at = end).is_some()
    }

    /// Passes over `text`, which must be next.
    #[inline(always)]
    pub(super) fn skip(&mut self, text: &[u8]) -> Option<()> {
        self.at = begins(self.bytes, self.at, text)?;
        Some(())
    }

    /// Printable ASCII without escapes, up to its closing quote.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        let (text, rest) = plain_text(self.rest())?;
        self.at = self.bytes.len() - rest.len();
        Some(text)
    }

    /// An integer as JSON writes it, with or without a sign.
    #[inline(always)]
    pub(super) fn integer(&mut self) -> Option<i64> {
        let negative = self.passes(b"-");
        let start = self.at;
        let mut value: i64 = 0;
        while let Some(byte @ b'0'..=b'9') = self.bytes.get(self.at) {
            value = value.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
            self.at += 1;
        }
        let leads_with_zero = self.bytes.get(start) == Some(&b'0') && (negative || self.at > start + 1);
        (self.at > start && !leads_with_zero).then_some(if negative { -value } else { value })
    }

    /// Levels `["price","qty"],…` up to the bracket that closes them; `take` gets each with its two texts.
    #[inline(always)]
    pub(super) fn levels(&mut self, mut take: impl FnMut(Level, &'a [u8], &'a [u8])) -> Option<()> {
        if self.passes(b"]") {
            return Some(());
        }
        self.skip(b"[\"")?;
        loop {
            let price_at = self.at;
            let (price, price_end) = number(self.bytes, price_at)?;
            let qty_at = begins(self.bytes, price_end, b"\",\"")?;
            let (qty, qty_end) = number(self.bytes, qty_at)?;
            take(Level { price, qty }, &self.bytes[price_at..price_end], &self.bytes[qty_at..qty_end]);
            if let Some(next) = begins(self.bytes, qty_end, b"\"],[\"") {
                self.at = next;
            } else {
                self.at = begins(self.bytes, qty_end, b"\"]]")?;
                return Some(());
            }
        }
    }
}
