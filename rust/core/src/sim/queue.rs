//! How a resting order moves to the front of its price level.

/// Estimates the market quantity ahead of an own order from what a level-2 feed shows. Quantities are lots.
pub trait QueueModel {
    /// Quantity ahead of an order that joins a level showing `displayed`.
    fn joined(&self, displayed: i64) -> i64;
    /// Quantity ahead after `qty` traded at the level.
    fn traded(&self, ahead: i64, qty: i64) -> i64;
    /// Quantity ahead after the level's displayed quantity went from `before` to `now` by a book change.
    fn resized(&self, ahead: i64, before: i64, now: i64) -> i64;
}

/// The pessimist: whoever cancels stood behind us. Only trades advance, and what is ahead cannot exceed what is shown.
///
/// Source: the risk-averse queue model of hftbacktest (docs, "Order Fill").
#[derive(Debug, Clone, Copy, Default)]
pub struct RiskAverse;

impl QueueModel for RiskAverse {
    fn joined(&self, displayed: i64) -> i64 {
        displayed
    }

    fn traded(&self, ahead: i64, qty: i64) -> i64 {
        (ahead - qty).max(0)
    }

    fn resized(&self, ahead: i64, _before: i64, now: i64) -> i64 {
        ahead.min(now)
    }
}
