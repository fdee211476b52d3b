//! Own resting orders of one symbol, in price-time priority.

use std::sync::Arc;

use crate::types::Side;

/// An own order that rests in the book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resting {
    /// The caller's id.
    pub id: Arc<str>,
    /// Direction.
    pub side: Side,
    /// Limit price.
    pub price_ticks: i64,
    /// Quantity not filled yet; positive.
    pub open_lots: i64,
    /// Quantity filled so far.
    pub filled_lots: i64,
    /// Market quantity ahead of it at its price.
    pub ahead_lots: i64,
    /// Refuse to take.
    pub post_only: bool,
}

impl Resting {
    /// Whether a print or level at `ticks` is worse for the other side than this order's price: it went through us.
    pub fn is_through(&self, floor_ticks: i64, ceil_ticks: i64) -> bool {
        match self.side {
            Side::Buy => floor_ticks < self.price_ticks,
            Side::Sell => ceil_ticks > self.price_ticks,
        }
    }

    /// Whether a print is exactly at this order's price.
    pub fn is_at(&self, floor_ticks: i64, ceil_ticks: i64) -> bool {
        floor_ticks == ceil_ticks && floor_ticks == self.price_ticks
    }
}

/// The resting orders, each side best price first and older first within a price.
#[derive(Debug, Clone, Default)]
pub struct Orders {
    buys: Vec<Resting>,
    sells: Vec<Resting>,
}

impl Orders {
    /// All orders of one side in priority order.
    pub fn side_mut(&mut self, side: Side) -> &mut Vec<Resting> {
        match side {
            Side::Buy => &mut self.buys,
            Side::Sell => &mut self.sells,
        }
    }

    /// Every order, buys first.
    pub fn iter(&self) -> impl Iterator<Item = &Resting> {
        self.buys.iter().chain(&self.sells)
    }

    /// The order of that id.
    pub fn get(&self, id: &str) -> Option<&Resting> {
        self.iter().find(|order| &*order.id == id)
    }

    /// The order of that id, to be changed without moving it.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut Resting> {
        self.buys.iter_mut().chain(&mut self.sells).find(|order| &*order.id == id)
    }

    /// Adds an order behind all others of its price.
    pub fn insert(&mut self, order: Resting) {
        let orders = self.side_mut(order.side);
        let better_or_equal = |other: &Resting| match order.side {
            Side::Buy => other.price_ticks >= order.price_ticks,
            Side::Sell => other.price_ticks <= order.price_ticks,
        };
        let position = orders.partition_point(better_or_equal);
        orders.insert(position, order);
    }

    /// Takes an order out.
    pub fn remove(&mut self, id: &str) -> Option<Resting> {
        for orders in [&mut self.buys, &mut self.sells] {
            if let Some(position) = orders.iter().position(|order| &*order.id == id) {
                return Some(orders.remove(position));
            }
        }
        None
    }
}
