//! Bitget's checksum of a book: over the texts of its best levels, as the exchange wrote them.
//!
//! Source: Bitget API documentation, WebSocket depth channel: CRC-32, read as a signed number, of
//! `bid:qty:ask:qty:…` over the best 25 levels, bids and asks in turn; a side that has fewer is passed over. The texts
//! are those received: a number written anew (`0.5420` as `0.542`) gives another sum.

use crate::event::Level;
use crate::types::{Decimal, POW10};

/// Levels a side that the sum covers.
const LEVELS: usize = 25;

/// Longest `price:qty` that a row has room for; the longest of exact numbers that any book here takes is shorter.
const TEXT_BYTES: usize = 46;

/// A level as it was written.
#[derive(Debug, Clone)]
struct Row {
    /// The price, negated for asks: the best is the greatest.
    rank: i128,
    length: u8,
    text: [u8; TEXT_BYTES],
}

/// One side, best level last: most changes are near the best and move few rows.
#[derive(Debug, Clone, Default)]
struct Side(Vec<Row>);

impl Side {
    fn set(&mut self, rank: i128, is_deleted: bool, price: &[u8], qty: &[u8]) -> Option<()> {
        let place = self.0.binary_search_by(|row| row.rank.cmp(&rank));
        if is_deleted {
            if let Ok(at) = place {
                self.0.remove(at);
            }
            return Some(());
        }
        let length = price.len() + 1 + qty.len();
        let mut text = [0; TEXT_BYTES];
        let (price_text, rest) = text.get_mut(..length)?.split_at_mut(price.len());
        price_text.copy_from_slice(price);
        rest[0] = b':';
        rest[1..].copy_from_slice(qty);
        let row = Row { rank, length: length as u8, text };
        match place {
            Ok(at) => self.0[at] = row,
            Err(at) => self.0.insert(at, row),
        }
        Some(())
    }
}

/// A book kept as text, for no other purpose than its checksum.
#[derive(Debug, Clone, Default)]
pub(super) struct ChecksumBook {
    bids: Side,
    asks: Side,
    buffer: Vec<u8>,
}

impl ChecksumBook {
    /// Forgets every level.
    pub(super) fn clear(&mut self) {
        self.bids.0.clear();
        self.asks.0.clear();
    }

    /// Sets or deletes a bid. `None` when its text is longer than any number can need.
    #[inline]
    pub(super) fn set_bid(&mut self, level: Level, price: &[u8], qty: &[u8]) -> Option<()> {
        self.bids.set(rank(level.price), level.qty.mantissa == 0, price, qty)
    }

    /// Sets or deletes an ask. `None` when its text is longer than any number can need.
    #[inline]
    pub(super) fn set_ask(&mut self, level: Level, price: &[u8], qty: &[u8]) -> Option<()> {
        self.asks.set(-rank(level.price), level.qty.mantissa == 0, price, qty)
    }

    /// The checksum of the book as it stands.
    pub(super) fn checksum(&mut self) -> i32 {
        self.buffer.clear();
        let (mut bids, mut asks) = (self.bids.0.iter().rev(), self.asks.0.iter().rev());
        for _ in 0..LEVELS {
            for row in [bids.next(), asks.next()].into_iter().flatten() {
                self.buffer.extend_from_slice(&row.text[..row.length as usize]);
                self.buffer.push(b':');
            }
        }
        self.buffer.pop();
        crc32fast::hash(&self.buffer) as i32
    }
}

/// The price as an integer that orders prices of any number of digits.
fn rank(price: Decimal) -> i128 {
    i128::from(price.mantissa) * i128::from(POW10[18 - price.decimals as usize])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(book: &mut ChecksumBook, is_bid: bool, price: &str, qty: &str) {
        let decimal = |text: &str| Decimal::parse(text.as_bytes()).unwrap();
        let level = Level { price: decimal(price), qty: decimal(qty) };
        let set = if is_bid { ChecksumBook::set_bid } else { ChecksumBook::set_ask };
        set(book, level, price.as_bytes(), qty.as_bytes()).unwrap();
    }

    /// The reflected CRC-32 of IEEE 802.3, bit by bit.
    fn crc32(text: &str) -> i32 {
        let step = |crc: u32, byte: u8| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
        };
        !text.bytes().fold(!0, step) as i32
    }

    #[test]
    fn the_sum_is_over_the_texts_as_received_and_a_short_side_is_passed_over() {
        let mut book = ChecksumBook::default();
        set(&mut book, true, "0.5420", "468");
        set(&mut book, true, "0.5419", "1576.10");
        set(&mut book, false, "0.5426", "51");
        assert_eq!(book.checksum(), crc32("0.5420:468:0.5426:51:0.5419:1576.10"));
        set(&mut book, true, "0.54200", "0.0");
        assert_eq!(book.checksum(), crc32("0.5419:1576.10:0.5426:51"));
    }

    #[test]
    fn a_text_of_absurd_length_is_refused() {
        let price = "1".to_owned() + &"0".repeat(60);
        let level = Level { price: Decimal::new(1, 0), qty: Decimal::new(1, 0) };
        assert_eq!(ChecksumBook::default().set_bid(level, price.as_bytes(), b"1"), None);
    }

    proptest! {
        #[test]
        fn after_any_changes_the_sum_is_that_of_the_sorted_levels(
            changes in prop::collection::vec((any::<bool>(), 0..60i64, 0..4u32, 0..3usize), 1..200)
        ) {
            let mut book = ChecksumBook::default();
            let mut sides = [std::collections::BTreeMap::new(), std::collections::BTreeMap::new()];
            for (is_bid, tick, qty, zeros) in changes {
                let (price, qty_text) = (format!("100.{tick:02}{}", "0".repeat(zeros)), format!("{qty}.5"));
                let qty_text = if qty == 0 { "0".to_owned() } else { qty_text };
                set(&mut book, is_bid, &price, &qty_text);
                if qty == 0 {
                    sides[usize::from(is_bid)].remove(&tick);
                } else {
                    sides[usize::from(is_bid)].insert(tick, format!("{price}:{qty_text}"));
                }
            }
            let (mut asks, mut bids) = (sides[0].values(), sides[1].values().rev());
            let mut texts: Vec<&str> = Vec::new();
            for _ in 0..25 {
                texts.extend([bids.next(), asks.next()].into_iter().flatten().map(String::as_str));
            }
            prop_assert_eq!(book.checksum(), crc32(&texts.join(":")));
        }
    }
}
