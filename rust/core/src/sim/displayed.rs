//! The market's book on the grid of one symbol: what an order would meet if it were sent now.

use std::collections::BTreeMap;

use crate::event::Level;
use crate::sim::grid::Grid;
use crate::types::Side;

/// Displayed quantity in lots by price in ticks.
///
/// Levels off the grid count for the next tick away from the touch, quantities off the grid are rounded up: what
/// stands ahead of an own order is never understated.
#[derive(Debug, Clone, Default)]
pub struct Displayed {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
    synced: bool,
}

impl Displayed {
    /// Whether a snapshot was seen since the last disconnect.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Forgets the book until the next snapshot.
    pub fn unsync(&mut self) {
        *self = Self::default();
    }

    /// Applies one book change as a whole; a change before the first snapshot is ignored.
    pub fn apply(&mut self, is_snapshot: bool, bids: &[Level], asks: &[Level], price: &Grid, qty: &Grid) {
        if is_snapshot {
            self.bids.clear();
            self.asks.clear();
            self.synced = true;
        }
        if !self.synced {
            return;
        }
        for level in bids {
            set(&mut self.bids, price.floor(level.price), qty.ceil(level.qty));
        }
        for level in asks {
            set(&mut self.asks, price.ceil(level.price), qty.ceil(level.qty));
        }
        self.uncross(asks, price);
    }

    /// Drops stale levels while the book is crossed: the bids where this change touched the best ask, else the asks.
    ///
    /// Source: tardis-node, `src/orderbook.ts`.
    fn uncross(&mut self, changed_asks: &[Level], price: &Grid) {
        while let (Some((&bid, _)), Some((&ask, _))) = (self.bids.last_key_value(), self.asks.first_key_value()) {
            if bid < ask {
                return;
            }
            if changed_asks.iter().any(|level| level.qty.mantissa != 0 && price.ceil(level.price) == ask) {
                self.bids.pop_last();
            } else {
                self.asks.pop_first();
            }
        }
    }

    /// Best bid or best ask in ticks; `Side::Buy` is the bid side.
    pub fn best(&self, side: Side) -> Option<i64> {
        match side {
            Side::Buy => self.bids.last_key_value().map(|(&ticks, _)| ticks),
            Side::Sell => self.asks.first_key_value().map(|(&ticks, _)| ticks),
        }
    }

    /// Lots shown at a price; 0 where there is no level.
    pub fn qty_at(&self, side: Side, ticks: i64) -> i64 {
        let levels = if side == Side::Buy { &self.bids } else { &self.asks };
        levels.get(&ticks).copied().unwrap_or(0)
    }

    /// Levels an order of `taker` side would meet, best first, as (ticks, lots).
    pub fn opposite(&self, taker: Side) -> Box<dyn Iterator<Item = (i64, i64)> + '_> {
        match taker {
            Side::Buy => Box::new(self.asks.iter().map(|(&ticks, &lots)| (ticks, lots))),
            Side::Sell => Box::new(self.bids.iter().rev().map(|(&ticks, &lots)| (ticks, lots))),
        }
    }
}

fn set(levels: &mut BTreeMap<i64, i64>, ticks: i64, lots: i64) {
    if lots > 0 {
        levels.insert(ticks, lots);
    } else {
        levels.remove(&ticks);
    }
}
