//! Synthetic markets whose parameters are known, so that what is estimated from their events can be judged.

pub mod draw;
pub mod ladder;
pub mod tier1;

pub use tier1::{Parameters, SyntheticMarket};
