//! The levels near the touch: a ring of slots, one a step of the grid, with a bitmap of the slots in use.
//!
//! A key (see [`super::side`]) lies in slot `key mod slots`, so that moving the window moves no level. The bitmap has
//! a summary of one bit a word and a summary of that, so that the next level in use is found in a few steps however
//! far it is.

use std::mem::replace;

/// Fewest slots; a side of a book as exchanges push them fits.
pub(super) const MIN_SLOTS: usize = 1 << 10;

/// Most slots: what three layers of 64 bits can tell apart. 2 MiB a side.
pub(super) const MAX_SLOTS: usize = 1 << 18;

/// Slots of one word of the bitmap.
const BLOCK: usize = 64;

/// A run of slots with its word of the bitmap.
#[derive(Debug, Clone)]
struct Block {
    /// Bit `i`: slot `i` is in use.
    used: u64,
    lots: [i64; BLOCK],
}

impl Block {
    const EMPTY: Self = Self { used: 0, lots: [0; BLOCK] };
}

/// Lots of the keys `low .. low + slots`; 0 where there is no level.
#[derive(Debug, Clone)]
pub(super) struct Window {
    low: i64,
    /// A power of two of them.
    blocks: Vec<Block>,
    /// Slots less one.
    mask: usize,
    summary: Summary,
    len: usize,
}

impl Window {
    /// An empty window; `slots` is a power of two from [`MIN_SLOTS`] to [`MAX_SLOTS`].
    pub(super) fn new(slots: usize, low: i64) -> Self {
        let blocks = slots / BLOCK;
        Self { low, blocks: vec![Block::EMPTY; blocks], mask: slots - 1, summary: Summary::new(blocks), len: 0 }
    }

    pub(super) fn slots(&self) -> usize {
        self.mask + 1
    }

    /// Levels in the window.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The smallest key the window has a slot for.
    pub(super) fn low(&self) -> i64 {
        self.low
    }

    /// Whether the window has a slot for a key.
    #[inline]
    pub(super) fn holds(&self, key: i64) -> bool {
        key.wrapping_sub(self.low) as u64 <= self.mask as u64
    }

    /// Moves the window. Levels that would lie outside must have been taken out.
    pub(super) fn move_to(&mut self, low: i64) {
        self.low = low;
    }

    /// Lots at a key the window holds.
    #[inline]
    pub(super) fn get(&self, key: i64) -> i64 {
        let slot = self.slot(key);
        self.blocks[slot / BLOCK].lots[slot % BLOCK]
    }

    /// Sets the lots at a key the window holds, 0 for no level, and returns what was there.
    #[inline]
    pub(super) fn put(&mut self, key: i64, lots: i64) -> i64 {
        let slot = self.slot(key);
        let (at, bit) = (slot / BLOCK, slot % BLOCK);
        let block = &mut self.blocks[at];
        let old = replace(&mut block.lots[bit], lots);
        let before = block.used;
        block.used = (before & !(1 << bit)) | (u64::from(lots != 0) << bit);
        // The two differ in one bit at most: nothing in common means that one of them is 0.
        if before & block.used == 0 {
            let used = block.used != 0;
            self.summary.assign(at, used);
        }
        self.len = self.len.wrapping_add(usize::from(lots != 0)).wrapping_sub(usize::from(old != 0));
        old
    }

    /// Removes every level. O(levels), not O(slots).
    pub(super) fn clear(&mut self) {
        while let Some(at) = self.summary.highest() {
            let Block { used, lots } = &mut self.blocks[at];
            while let Some(bit) = lowest(*used) {
                lots[bit] = 0;
                *used &= *used - 1;
            }
            self.summary.assign(at, false);
        }
        self.len = 0;
    }

    /// The smallest key in use; `None` when empty.
    pub(super) fn lowest(&self) -> Option<i64> {
        self.at_or_above(self.low)
    }

    /// The greatest key in use below `key`, which the window holds; `None` when there is none.
    #[inline]
    pub(super) fn below(&self, key: i64) -> Option<i64> {
        if self.len == 0 {
            return None;
        }
        let found = self.below_or_round(key);
        (found < key).then_some(found)
    }

    /// The smallest key in use not below `key`, which the window holds; `None` when there is none.
    pub(super) fn at_or_above(&self, key: i64) -> Option<i64> {
        let slot = self.slot(key);
        let found = self.slot_at_or_above(slot).or_else(|| self.slot_at_or_above(0))?;
        let found = key + (found.wrapping_sub(slot) & self.mask) as i64;
        self.holds(found).then_some(found)
    }

    /// Keys in use and their lots from the greatest down.
    pub(super) fn descending(&self) -> Descending<'_> {
        let from = self.slot(self.low);
        let (at, bit) = (from / BLOCK, from % BLOCK);
        // The slots above the lowest one in its own block; those below it are the top of the window and come first.
        Descending { window: self, at, bits: self.blocks[at].used & below(bit), left: self.len }
    }

    #[inline]
    fn slot(&self, key: i64) -> usize {
        key as usize & self.mask
    }

    /// The greatest key in use below `key` on the ring, which may lead round to one above. Some slot is in use.
    #[inline]
    fn below_or_round(&self, key: i64) -> i64 {
        let slot = self.slot(key);
        let found = self.slot_below(slot).or_else(|| self.highest_slot()).unwrap_or(slot);
        let down = (slot.wrapping_sub(found).wrapping_sub(1) & self.mask) + 1;
        let found = key - down as i64;
        if found < self.low { found + self.slots() as i64 } else { found }
    }

    /// The greatest slot in use below `slot`.
    #[inline]
    fn slot_below(&self, slot: usize) -> Option<usize> {
        let at = slot / BLOCK;
        if let Some(bit) = highest(self.blocks[at].used & below(slot % BLOCK)) {
            return Some(at * BLOCK + bit);
        }
        let at = self.summary.below(at)?;
        highest(self.blocks[at].used).map(|bit| at * BLOCK + bit)
    }

    fn highest_slot(&self) -> Option<usize> {
        let at = self.summary.highest()?;
        highest(self.blocks[at].used).map(|bit| at * BLOCK + bit)
    }

    /// The smallest slot in use not below `slot`.
    fn slot_at_or_above(&self, slot: usize) -> Option<usize> {
        let at = slot / BLOCK;
        if let Some(bit) = lowest(self.blocks[at].used & !below(slot % BLOCK)) {
            return Some(at * BLOCK + bit);
        }
        let at = self.summary.above(at)?;
        lowest(self.blocks[at].used).map(|bit| at * BLOCK + bit)
    }

    fn key_of(&self, slot: usize) -> i64 {
        self.low + (slot.wrapping_sub(self.slot(self.low)) & self.mask) as i64
    }
}

/// Iterator of [`Window::descending`].
pub(super) struct Descending<'a> {
    window: &'a Window,
    at: usize,
    /// Slots in use of block `at` that are still to come.
    bits: u64,
    left: usize,
}

impl Iterator for Descending<'_> {
    type Item = (i64, i64);

    #[inline]
    fn next(&mut self) -> Option<(i64, i64)> {
        self.left = self.left.checked_sub(1)?;
        if self.bits == 0 {
            let summary = &self.window.summary;
            self.at = summary.below(self.at).or_else(|| summary.highest())?;
            self.bits = self.window.blocks[self.at].used;
        }
        let bit = highest(self.bits)?;
        self.bits ^= 1 << bit;
        let lots = self.window.blocks[self.at].lots[bit];
        Some((self.window.key_of(self.at * BLOCK + bit), lots))
    }
}

/// Which blocks have a slot in use: one bit each, and one bit for each 64 of those.
#[derive(Debug, Clone)]
struct Summary {
    groups: Vec<u64>,
    top: u64,
}

/// The bits below `bit`.
#[inline]
fn below(bit: usize) -> u64 {
    (1 << (bit % 64)) - 1
}

#[inline]
fn highest(bits: u64) -> Option<usize> {
    (bits != 0).then(|| 63 - bits.leading_zeros() as usize)
}

#[inline]
fn lowest(bits: u64) -> Option<usize> {
    (bits != 0).then(|| bits.trailing_zeros() as usize)
}

impl Summary {
    fn new(blocks: usize) -> Self {
        Self { groups: vec![0; blocks.div_ceil(64)], top: 0 }
    }

    #[cold]
    fn assign(&mut self, block: usize, used: bool) {
        let group = &mut self.groups[block / 64];
        *group = (*group & !(1 << (block % 64))) | (u64::from(used) << (block % 64));
        let (group, used) = (block / 64, *group != 0);
        self.top = (self.top & !(1 << (group % 64))) | (u64::from(used) << (group % 64));
    }

    /// The greatest block in use below `block`.
    fn below(&self, block: usize) -> Option<usize> {
        let group = block / 64;
        if let Some(bit) = highest(self.groups[group] & below(block)) {
            return Some(group * 64 + bit);
        }
        let group = highest(self.top & below(group))?;
        highest(self.groups[group]).map(|bit| group * 64 + bit)
    }

    /// The smallest block in use above `block`.
    fn above(&self, block: usize) -> Option<usize> {
        let group = block / 64;
        if let Some(bit) = lowest(self.groups[group] & !below(block) & !(1 << (block % 64))) {
            return Some(group * 64 + bit);
        }
        let group = lowest(self.top & !below(group) & !(1 << (group % 64)))?;
        lowest(self.groups[group]).map(|bit| group * 64 + bit)
    }

    /// The greatest block in use.
    fn highest(&self) -> Option<usize> {
        let group = highest(self.top)?;
        highest(self.groups[group]).map(|bit| group * 64 + bit)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_answers_as_an_ordered_map_wherever_it_begins() {
        let slots = MIN_SLOTS as i64 * 8;
        for low in [-3 * slots / 2, -1, 0, 1, 63, 64, slots - 1, 1 << 40] {
            let mut window = Window::new(slots as usize, low);
            let mut map = BTreeMap::new();
            let mut draw = 12_345_u64;
            for round in 0..4000 {
                draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let spread = if round % 3 == 0 { slots } else { 200 };
                let key = low + (draw >> 33) as i64 % spread;
                let lots = (draw >> 20) as i64 % 3;
                let old = if lots == 0 { map.remove(&key) } else { map.insert(key, lots) };
                assert_eq!(window.put(key, lots), old.unwrap_or(0));
                assert_eq!(window.get(key), lots);
                assert_eq!(window.len(), map.len());
                assert_eq!(window.lowest(), map.keys().next().copied());
                assert_eq!(window.below(key), map.range(..key).next_back().map(|(k, _)| *k));
                assert_eq!(window.at_or_above(key), map.range(key..).next().map(|(k, _)| *k));
                if round % 97 == 0 {
                    assert!(window.descending().eq(map.iter().rev().map(|(k, v)| (*k, *v))));
                }
            }
            window.clear();
            assert_eq!((window.len(), window.lowest()), (0, None));
            assert!((0..slots).all(|offset| window.get(low + offset) == 0));
        }
    }
}
