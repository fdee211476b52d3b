//! Prices derived from the touch.

/// Middle between best bid and best ask.
pub fn mid(bid: f64, ask: f64) -> f64 {
    f64::midpoint(bid, ask)
}

/// Full spread in basis points of mid.
pub fn spread_bps(bid: f64, ask: f64) -> f64 {
    1e4 * (ask - bid) / mid(bid, ask)
}

/// Mid weighted by the opposite quantities: a large bid queue moves it towards the ask.
///
/// `I * ask + (1 - I) * bid` with `I = bid_qty / (bid_qty + ask_qty)`.
/// Source: Stoikov (2018), The micro-price, "weighted mid-price".
pub fn weighted_mid(bid: f64, bid_qty: f64, ask: f64, ask_qty: f64) -> f64 {
    let share = bid_qty / (bid_qty + ask_qty);
    share * ask + (1.0 - share) * bid
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the numbers chosen are exact in binary")]
mod tests {
    use super::*;

    #[test]
    fn the_weighted_mid_leans_towards_the_thinner_side() {
        assert_eq!(weighted_mid(99.0, 3.0, 101.0, 1.0), 100.5);
        assert_eq!(weighted_mid(99.0, 2.0, 101.0, 2.0), mid(99.0, 101.0));
    }

    #[test]
    fn the_spread_is_the_full_one() {
        assert_eq!(spread_bps(99.0, 101.0), 200.0);
    }
}
