//! The levels near the touch: a ring of slots, one a step of the grid, with a bitmap of the slots in use.
//!
//! A key (see [`super::side`]) lies in slot `key mod slots`, so that moving the window moves no level. The bitmap has
//! a summary of 64 words a bit and a summary of that, so that the next level in use is found in a few steps however
//! far it is.

use std::mem::replace;

/// Fewest slots; a side of a book as exchanges push them fits.
pub(super) const MIN_SLOTS: usize = 1 << 10;

/// Most slots: what three layers of 64 bits can tell apart. 2 MiB a side.
pub(super) const MAX_SLOTS: usize = 1 << 18;

/// Lots of the keys `low .. low + slots`; 0 where there is no level.
#[derive(Debug, Clone)]
pub(super) struct Window {
    low: i64,
    lots: Vec<i64>,
    used: Bitmap,
    len: usize,
}

impl Window {
    /// An empty window; `slots` is a power of two from [`MIN_SLOTS`] to [`MAX_SLOTS`].
    pub(super) fn new(slots: usize, low: i64) -> Self {
        Self { low, lots: vec![0; slots], used: Bitmap::new(slots), len: 0 }
    }

    pub(super) fn slots(&self) -> usize {
        self.lots.len()
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
        (key.wrapping_sub(self.low) as u64) < self.lots.len() as u64
    }

    /// Moves the window. Levels that would lie outside must have been taken out.
    pub(super) fn move_to(&mut self, low: i64) {
        self.low = low;
    }

    /// Lots at a key the window holds.
    #[inline]
    pub(super) fn get(&self, key: i64) -> i64 {
        self.lots[self.slot(key)]
    }

    /// Sets the lots at a key the window holds, 0 for no level, and returns what was there.
    #[inline]
    pub(super) fn put(&mut self, key: i64, lots: i64) -> i64 {
        let slot = self.slot(key);
        let old = replace(&mut self.lots[slot], lots);
        self.used.assign(slot, lots != 0);
        self.len = (self.len + usize::from(lots != 0)) - usize::from(old != 0);
        old
    }

    /// Removes every level. O(levels), not O(slots).
    pub(super) fn clear(&mut self) {
        let Self { lots, used, .. } = self;
        used.clear(|slot| lots[slot] = 0);
        self.len = 0;
    }

    /// The greatest key in use; `None` when empty.
    pub(super) fn highest(&self) -> Option<i64> {
        (self.len > 0).then(|| self.below_or_round(self.low))
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
        let found = self.used.at_or_above(slot).or_else(|| self.used.at_or_above(0))?;
        let found = key + (found.wrapping_sub(slot) & self.mask()) as i64;
        self.holds(found).then_some(found)
    }

    /// Keys in use and their lots from the greatest down.
    pub(super) fn descending(&self) -> Descending<'_> {
        let from = self.slot(self.low);
        // Above the lowest slot in its own word; what lies below is the top of the window and comes when round.
        let Some(top) = from.checked_sub(1) else {
            return Descending { window: self, word: 0, bits: 0, left: self.len };
        };
        let (word, bit) = (top / 64, top % 64);
        Descending { window: self, word, bits: self.used.words[word] & (u64::MAX >> (63 - bit)), left: self.len }
    }

    fn mask(&self) -> usize {
        self.lots.len() - 1
    }

    #[inline]
    fn slot(&self, key: i64) -> usize {
        key as usize & (self.lots.len() - 1)
    }

    /// The greatest key in use below `key` on the ring, which may lead round to one above. Some slot is in use.
    #[inline]
    fn below_or_round(&self, key: i64) -> i64 {
        let slot = self.slot(key);
        let found = self.used.below(slot).or_else(|| self.used.highest()).unwrap_or(slot);
        let down = (slot.wrapping_sub(found).wrapping_sub(1) & self.mask()) + 1;
        let found = key - down as i64;
        if found < self.low { found + self.lots.len() as i64 } else { found }
    }

    fn key_of(&self, slot: usize) -> i64 {
        self.low + (slot.wrapping_sub(self.slot(self.low)) & self.mask()) as i64
    }
}

/// Iterator of [`Window::descending`].
pub(super) struct Descending<'a> {
    window: &'a Window,
    word: usize,
    bits: u64,
    left: usize,
}

impl Iterator for Descending<'_> {
    type Item = (i64, i64);

    #[inline]
    fn next(&mut self) -> Option<(i64, i64)> {
        self.left = self.left.checked_sub(1)?;
        if self.bits == 0 {
            let used = &self.window.used;
            self.word = used.word_below(self.word).or_else(|| used.highest().map(|slot| slot / 64))?;
            self.bits = used.words[self.word];
        }
        let bit = 63 - self.bits.leading_zeros() as usize;
        self.bits ^= 1 << bit;
        let slot = self.word * 64 + bit;
        Some((self.window.key_of(slot), self.window.lots[slot]))
    }
}

/// One bit a slot, with two layers of summary.
#[derive(Debug, Clone)]
struct Bitmap {
    words: Vec<u64>,
    /// Bit `w % 64` of group `w / 64`: word `w` is not 0.
    groups: Vec<u64>,
    /// Bit `g`: group `g` is not 0.
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

impl Bitmap {
    fn new(slots: usize) -> Self {
        Self { words: vec![0; slots.div_ceil(64)], groups: vec![0; slots.div_ceil(64 * 64)], top: 0 }
    }

    #[inline]
    fn assign(&mut self, slot: usize, used: bool) {
        let word = &mut self.words[slot / 64];
        let before = *word;
        *word = (before & !(1 << (slot % 64))) | (u64::from(used) << (slot % 64));
        if (before == 0) != (*word == 0) {
            let used = *word != 0;
            self.assign_summary(slot / 64, used);
        }
    }

    fn assign_summary(&mut self, word: usize, used: bool) {
        let group = &mut self.groups[word / 64];
        *group = (*group & !(1 << (word % 64))) | (u64::from(used) << (word % 64));
        let used = *group != 0;
        self.top = (self.top & !(1 << (word / 64))) | (u64::from(used) << (word / 64));
    }

    fn clear(&mut self, mut each: impl FnMut(usize)) {
        while let Some(group) = lowest(self.top) {
            while let Some(word) = lowest(self.groups[group]) {
                let word = group * 64 + word;
                while let Some(bit) = lowest(self.words[word]) {
                    each(word * 64 + bit);
                    self.words[word] &= self.words[word] - 1;
                }
                self.groups[group] &= self.groups[group] - 1;
            }
            self.top &= self.top - 1;
        }
    }

    /// The greatest slot in use below `slot`.
    #[inline]
    fn below(&self, slot: usize) -> Option<usize> {
        if let Some(bit) = highest(self.words[slot / 64] & below(slot)) {
            return Some(slot / 64 * 64 + bit);
        }
        let word = self.word_below(slot / 64)?;
        highest(self.words[word]).map(|bit| word * 64 + bit)
    }

    /// The greatest word in use below `word`.
    fn word_below(&self, word: usize) -> Option<usize> {
        let group = word / 64;
        if let Some(bit) = highest(self.groups[group] & below(word)) {
            return Some(group * 64 + bit);
        }
        let group = highest(self.top & below(group))?;
        highest(self.groups[group]).map(|bit| group * 64 + bit)
    }

    /// The smallest slot in use not below `slot`.
    fn at_or_above(&self, slot: usize) -> Option<usize> {
        if let Some(bit) = lowest(self.words[slot / 64] & !below(slot)) {
            return Some(slot / 64 * 64 + bit);
        }
        let word = self.word_above(slot / 64)?;
        lowest(self.words[word]).map(|bit| word * 64 + bit)
    }

    fn word_above(&self, word: usize) -> Option<usize> {
        let group = word / 64;
        if let Some(bit) = lowest(self.groups[group] & !below(word) & !(1 << (word % 64))) {
            return Some(group * 64 + bit);
        }
        let group = lowest(self.top & !below(group) & !(1 << group))?;
        lowest(self.groups[group]).map(|bit| group * 64 + bit)
    }

    /// The greatest slot in use.
    fn highest(&self) -> Option<usize> {
        let group = highest(self.top)?;
        let word = group * 64 + highest(self.groups[group])?;
        highest(self.words[word]).map(|bit| word * 64 + bit)
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
                assert_eq!(window.highest(), map.keys().next_back().copied());
                assert_eq!(window.lowest(), map.keys().next().copied());
                assert_eq!(window.below(key), map.range(..key).next_back().map(|(k, _)| *k));
                assert_eq!(window.at_or_above(key), map.range(key..).next().map(|(k, _)| *k));
                if round % 97 == 0 {
                    assert!(window.descending().eq(map.iter().rev().map(|(k, v)| (*k, *v))));
                }
            }
            window.clear();
            assert_eq!((window.len(), window.highest(), window.lowest()), (0, None, None));
            assert!((0..slots).all(|offset| window.get(low + offset) == 0));
        }
    }
}
