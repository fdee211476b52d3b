//! The displayed book of a synthetic market: a dense ladder one tick apart, moved as a whole.

use std::collections::VecDeque;

use crate::market::draw::Draw;
use crate::types::Side;

/// Levels near the touch whose quantity changes at every book change although nothing traded, per side.
const REFRESHED_PER_SIDE: usize = 4;
/// Mean distance of those levels from the touch, levels.
const REFRESH_DEPTH: f64 = 5.0;

#[derive(Debug, Clone, Copy)]
struct Rung {
    lots: i64,
    swept: bool,
}

/// The levels of one side, best first and one tick apart.
#[derive(Debug, Clone)]
struct Half {
    side: Side,
    best_ticks: i64,
    rungs: VecDeque<Rung>,
}

/// Both sides of the book; the spread is one tick.
#[derive(Debug, Clone)]
pub struct Ladder {
    bids: Half,
    asks: Half,
    mean_lots: f64,
}

/// New quantities by price: (ticks, lots), 0 lots where a level went away.
pub type Changes = Vec<(i64, i64)>;

impl Ladder {
    /// A fresh ladder of `levels` per side around a best bid, with exponential quantities of mean `mean_lots`.
    pub fn new(best_bid_ticks: i64, levels: usize, mean_lots: f64, draw: &mut Draw) -> Self {
        let mut half =
            |side, best_ticks| Half { side, best_ticks, rungs: (0..levels).map(|_| fresh(mean_lots, draw)).collect() };
        let bids = half(Side::Buy, best_bid_ticks);
        let asks = half(Side::Sell, best_bid_ticks + 1);
        Self { bids, asks, mean_lots }
    }

    /// Every level, best first.
    pub fn levels(&self) -> (Changes, Changes) {
        (self.bids.levels().collect(), self.asks.levels().collect())
    }

    /// Moves the best bid, refills what was swept, changes a few levels, and returns what is now different.
    pub fn advance(&mut self, best_bid_ticks: i64, draw: &mut Draw) -> (Changes, Changes) {
        let mean_lots = self.mean_lots;
        (self.bids.advance(best_bid_ticks, mean_lots, draw), self.asks.advance(best_bid_ticks + 1, mean_lots, draw))
    }

    /// What a market order trades, level by level, down to its worst price: each level whole, the last in part.
    pub fn sweep(&mut self, taker: Side, worst_ticks: i64, draw: &mut Draw) -> Changes {
        let half = if taker == Side::Buy { &mut self.asks } else { &mut self.bids };
        let reached = half.depth_of(worst_ticks) + 1;
        let count = usize::try_from(reached.max(0)).unwrap_or(0).min(half.rungs.len());
        let mut prints: Changes = half.levels().take(count).collect();
        half.rungs.iter_mut().take(count).for_each(|rung| rung.swept = true);
        if let Some((_, lots)) = prints.last_mut() {
            *lots = draw.up_to(*lots);
        }
        prints
    }
}

impl Half {
    fn ticks_at(&self, depth: i64) -> i64 {
        match self.side {
            Side::Buy => self.best_ticks - depth,
            Side::Sell => self.best_ticks + depth,
        }
    }

    fn depth_of(&self, ticks: i64) -> i64 {
        match self.side {
            Side::Buy => self.best_ticks - ticks,
            Side::Sell => ticks - self.best_ticks,
        }
    }

    fn rung(&self, ticks: i64) -> Option<Rung> {
        usize::try_from(self.depth_of(ticks)).ok().and_then(|depth| self.rungs.get(depth)).copied()
    }

    fn levels(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.rungs.iter().enumerate().map(|(depth, rung)| (self.ticks_at(depth as i64), rung.lots))
    }

    fn advance(&mut self, best_ticks: i64, mean_lots: f64, draw: &mut Draw) -> Changes {
        let old = self.clone();
        self.best_ticks = best_ticks;
        for depth in 0..self.rungs.len() {
            let kept = old.rung(self.ticks_at(depth as i64)).filter(|rung| !rung.swept);
            self.rungs[depth] = kept.unwrap_or_else(|| fresh(mean_lots, draw));
        }
        for _ in 0..REFRESHED_PER_SIDE {
            let depth = (draw.exponential() * REFRESH_DEPTH) as usize;
            if let Some(rung) = self.rungs.get_mut(depth) {
                *rung = fresh(mean_lots, draw);
            }
        }
        let gone = old.levels().filter(|(ticks, _)| self.rung(*ticks).is_none()).map(|(ticks, _)| (ticks, 0));
        let new = self.levels().filter(|(ticks, lots)| old.rung(*ticks).is_none_or(|rung| rung.lots != *lots));
        gone.chain(new).collect()
    }
}

fn fresh(mean_lots: f64, draw: &mut Draw) -> Rung {
    Rung { lots: (draw.exponential() * mean_lots).ceil().max(1.0) as i64, swept: false }
}
