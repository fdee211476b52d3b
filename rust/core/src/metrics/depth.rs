//! Liquidity near the touch, from levels best first.

/// Half-width of the band of [`depth_within`], as a fraction of mid.
pub const DEPTH_BAND: f64 = 0.10;

/// Quantity resting within a band around mid.
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

/// Sums levels `(price, qty)` not further than [`DEPTH_BAND`] from `mid`. O(levels in the band).
pub fn depth_within(mid: f64, bids: impl Iterator<Item = (f64, f64)>, asks: impl Iterator<Item = (f64, f64)>) -> Depth {
    let (bid_base, bid_quote, bid_covered) = side(mid, bids);
    let (ask_base, ask_quote, ask_covered) = side(mid, asks);
    let covered_pct = 100.0 * bid_covered.min(ask_covered);
    Depth { bid_base, ask_base, bid_quote, ask_quote, covered_pct }
}

fn side(mid: f64, levels: impl Iterator<Item = (f64, f64)>) -> (f64, f64, f64) {
    let (mut base, mut quote, mut covered) = (0.0, 0.0, 0.0);
    for (price, qty) in levels {
        covered = (price - mid).abs() / mid;
        if covered > DEPTH_BAND {
            return (base, quote, DEPTH_BAND);
        }
        base += qty;
        quote += price * qty;
    }
    (base, quote, covered)
}

/// Signed imbalance of the quantities of the best `levels` levels: 1 all bids, -1 all asks, 0 when both are empty.
pub fn imbalance(levels: usize, bids: impl Iterator<Item = f64>, asks: impl Iterator<Item = f64>) -> f64 {
    let (bid, ask): (f64, f64) = (bids.take(levels).sum(), asks.take(levels).sum());
    if bid + ask > 0.0 { (bid - ask) / (bid + ask) } else { 0.0 }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the numbers chosen are exact in binary")]
mod tests {
    use super::*;

    #[test]
    fn the_band_ends_ten_percent_from_mid_and_covers_all_of_it_when_the_book_goes_on() {
        let bids = [(99.0, 1.0), (90.0, 2.0), (89.0, 4.0)];
        let asks = [(101.0, 1.0), (110.0, 2.0), (111.0, 4.0)];
        let depth = depth_within(100.0, bids.into_iter(), asks.into_iter());
        let expected = Depth { bid_base: 3.0, ask_base: 3.0, bid_quote: 279.0, ask_quote: 321.0, covered_pct: 10.0 };
        assert_eq!(depth, expected);
    }

    #[test]
    fn a_short_side_limits_what_is_covered() {
        let depth = depth_within(100.0, [(99.0, 1.0), (98.0, 1.0)].into_iter(), [(101.0, 1.0)].into_iter());
        assert!((depth.covered_pct - 1.0).abs() < 1e-12);
    }

    #[test]
    fn imbalance_is_signed_and_bounded() {
        let one = |b: f64, a: f64| imbalance(5, std::iter::repeat_n(b, 9), std::iter::repeat_n(a, 9));
        assert_eq!([one(3.0, 1.0), one(1.0, 3.0), one(1.0, 0.0), one(0.0, 0.0)], [0.5, -0.5, 1.0, 0.0]);
    }
}
