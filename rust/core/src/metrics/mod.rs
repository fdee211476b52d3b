//! What a book says about the market: one formula family per file, and [`MarketMetrics`] which keeps them all.

pub mod alarms;
mod depth;
mod market;
mod microprice_fit;
mod price;
mod seconds;
mod volatility;

pub use depth::{DEPTH_BAND_BPS, Depth, imbalance, lean};
pub use market::{MarketMetrics, MetricsConfig, MetricsReading};
pub use microprice_fit::MicropriceFit;
pub use price::{mid, spread_bps, weighted_mid};
pub use volatility::{MIN_RETURNS, Volatility};
