//! Fair value at the touch.

use super::domain::{non_negative, positive};
use crate::{Error, Result};

/// Prices derived from the best level of each side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TouchPrices {
    /// Middle of best bid and best ask, P.
    pub mid: f64,
    /// Share of the bid in the quantity at the touch, 0..1.
    pub imbalance: f64,
    /// The same on -1..1; positive when the bid is larger.
    pub imbalance_signed: f64,
    /// Mid weighted towards the side with less quantity, P.
    pub weighted_mid: f64,
    /// Full spread over mid, basis points.
    pub spread_bps: f64,
}

/// Mid, imbalance and weighted mid: a large bid queue moves the weighted mid towards the ask.
///
/// # Errors
/// [`Error::Domain`] naming the price or quantity that is out of range.
pub fn weighted_mid(bid: f64, bid_qty: f64, ask: f64, ask_qty: f64) -> Result<TouchPrices> {
    let (bid, ask) = (positive("bid", bid)?, positive("ask", ask)?);
    let total = non_negative("bid_qty", bid_qty)? + non_negative("ask_qty", ask_qty)?;
    if total <= 0.0 {
        return Err(Error::Domain { name: "bid_qty", reason: "both quantities are 0".to_owned() });
    }
    let imbalance = bid_qty / total;
    let mid = f64::midpoint(bid, ask);
    Ok(TouchPrices {
        mid,
        imbalance,
        imbalance_signed: (bid_qty - ask_qty) / total,
        weighted_mid: imbalance * ask + (1.0 - imbalance) * bid,
        spread_bps: 1e4 * (ask - bid) / mid,
    })
}
