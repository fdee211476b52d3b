//! Liquidity near the touch.

/// Half-width of the band of [`Depth`] unless another is asked for, bps of mid: ten percent.
pub const DEPTH_BAND_BPS: i64 = 1000;

/// Quantity resting not further than a band's half-width from mid.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Depth {
    /// Bid quantity, base units.
    pub bid_base: f64,
    /// Ask quantity, base units.
    pub ask_base: f64,
    /// Bid value, quote currency.
    pub bid_quote: f64,
    /// Ask value, quote currency.
    pub ask_quote: f64,
    /// How far from mid, in percent, the book reaches on its shorter side; the band's width when it reaches beyond.
    /// Below it, the sums are lower bounds.
    pub covered_pct: f64,
}

/// Signed imbalance of the quantities of the best `levels` levels: 1 all bids, -1 all asks, 0 when both are empty.
pub fn imbalance(levels: usize, bids: impl Iterator<Item = f64>, asks: impl Iterator<Item = f64>) -> f64 {
    lean(bids.take(levels).sum(), asks.take(levels).sum())
}

/// Difference of two quantities over their sum, -1..1; 0 when both are 0.
#[inline]
pub fn lean(bid: f64, ask: f64) -> f64 {
    if bid + ask > 0.0 { (bid - ask) / (bid + ask) } else { 0.0 }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the numbers chosen are exact in binary")]
mod tests {
    use super::*;

    #[test]
    fn imbalance_is_signed_and_bounded() {
        let one = |b: f64, a: f64| imbalance(5, std::iter::repeat_n(b, 9), std::iter::repeat_n(a, 9));
        assert_eq!([one(3.0, 1.0), one(1.0, 3.0), one(1.0, 0.0), one(0.0, 0.0)], [0.5, -0.5, 1.0, 0.0]);
    }
}
