//! What a book says about the market: one formula family per file.

mod depth;
mod price;
mod volatility;

pub use depth::{DEPTH_BAND_PCT, Depth, imbalance};
pub use price::{mid, spread_bps, weighted_mid};
pub use volatility::{MIN_RETURNS, Volatility};
