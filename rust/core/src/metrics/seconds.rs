//! What happened in the seconds of the last minute, summed over windows of whole seconds.

/// Seconds kept.
pub const KEPT: usize = 64;

/// Flows of one second or of several.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Flows {
    /// Order-flow imbalance, base units.
    pub ofi: f64,
    /// Bought by takers, base units.
    pub buy: f64,
    /// Sold by takers, base units.
    pub sell: f64,
    /// Prints, those without a side included.
    pub prints: f64,
}

impl Flows {
    fn add(&mut self, other: &Self) {
        self.ofi += other.ofi;
        self.buy += other.buy;
        self.sell += other.sell;
        self.prints += other.prints;
    }
}

/// A ring of [`KEPT`] seconds. A window of w seconds is the second under way and the w - 1 before it. Sums of the seconds
/// that are over are added up anew once a second, so that reading is O(1) and rounding does not pile up.
#[derive(Debug, Clone)]
pub struct Seconds {
    ring: [Flows; KEPT],
    mids: [f64; KEPT],
    second: i64,
    over_10: Flows,
    over_60: Flows,
}

impl Default for Seconds {
    fn default() -> Self {
        let none = Flows::default();
        Self { ring: [none; KEPT], mids: [f64::NAN; KEPT], second: i64::MIN, over_10: none, over_60: none }
    }
}

fn slot(second: i64) -> usize {
    second.rem_euclid(KEPT as i64) as usize
}

impl Seconds {
    /// The second under way; the least number before the first.
    pub fn second(&self) -> i64 {
        self.second
    }

    /// Lets time pass to `second`; `mid` is the one in force since the last news, NaN when there is none.
    pub fn pass_to(&mut self, second: i64, mid: f64) {
        let first = if self.second == i64::MIN { second } else { self.second + 1 };
        for passed in first.max(second - KEPT as i64 + 1)..=second {
            self.ring[slot(passed)] = Flows::default();
            self.mids[slot(passed)] = mid;
        }
        self.second = second;
        let sum = |seconds: i64| {
            let mut sum = Flows::default();
            (second - seconds + 1..second).for_each(|over| sum.add(&self.ring[slot(over)]));
            sum
        };
        (self.over_10, self.over_60) = (sum(10), sum(60));
    }

    /// The second under way, to add to.
    #[inline]
    pub fn now(&mut self) -> &mut Flows {
        &mut self.ring[slot(self.second)]
    }

    /// Flows of the last 10 s.
    #[inline]
    pub fn last_10s(&self) -> Flows {
        let mut sum = self.over_10;
        sum.add(&self.ring[slot(self.second)]);
        sum
    }

    /// Flows of the last 60 s.
    #[inline]
    pub fn last_60s(&self) -> Flows {
        let mut sum = self.over_60;
        sum.add(&self.ring[slot(self.second)]);
        sum
    }

    /// The mid in force when the second `back` (below [`KEPT`]) before this one began; NaN when there was none.
    pub fn mid_back(&self, back: usize) -> f64 {
        self.mids[slot(self.second.wrapping_sub(back as i64))]
    }

    /// The mids are unknown from now on: no move is measured across an outage.
    pub fn forget_mids(&mut self) {
        self.mids = [f64::NAN; KEPT];
    }
}
