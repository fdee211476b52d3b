//! Order flow: imbalance of changes at the touch, and of traded volume.

use super::domain::{all_finite, finite, positive};
use crate::{Error, Result};

/// One touch: bid, bid quantity, ask, ask quantity.
pub type TouchRow = [f64; 4];

/// Best price and quantity of both sides; prices in anything that compares exactly, such as ticks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Touch<P> {
    /// Best bid.
    pub bid: P,
    /// Quantity there, base.
    pub bid_qty: f64,
    /// Best ask.
    pub ask: P,
    /// Quantity there, base.
    pub ask_qty: f64,
}

impl<P: PartialOrd> Touch<P> {
    /// Order-flow imbalance of the change from `before` to this touch, base units; positive is demand.
    ///
    /// Source: Cont, Kukanov & Stoikov, "The price impact of order book events" (2014), section 2.
    #[inline]
    pub fn ofi_since(&self, before: &Self) -> f64 {
        let if_ = |condition: bool, qty: f64| if condition { qty } else { 0.0 };
        if_(self.bid >= before.bid, self.bid_qty)
            - if_(self.bid <= before.bid, before.bid_qty)
            - if_(self.ask <= before.ask, self.ask_qty)
            + if_(self.ask >= before.ask, before.ask_qty)
    }
}

/// [`Touch::ofi_since`] of each change of the touch.
///
/// # Errors
/// [`crate::Error::Domain`] for a value that is not finite.
pub fn ofi(quotes: &[TouchRow]) -> Result<Vec<f64>> {
    all_finite("quotes", quotes.as_flattened())?;
    let touch = |[bid, bid_qty, ask, ask_qty]: TouchRow| Touch { bid, bid_qty, ask, ask_qty };
    Ok(quotes.windows(2).map(|pair| touch(pair[1]).ofi_since(&touch(pair[0]))).collect())
}

/// Most buckets that are looked at.
const MAX_BUCKETS: usize = 1_000_000;

/// Share of volume that was one-sided over the last buckets of equal volume.
///
/// A print is split between buckets. Signs are the aggressor's, so nothing is classified in bulk.
///
/// Source: Easley, López de Prado & O'Hara, "Flow toxicity and liquidity" (2012), with signed prints.
#[derive(Debug, Clone)]
pub struct Vpin {
    bucket: f64,
    /// One-sided volume of the last buckets; the oldest is overwritten.
    sides: Box<[f64]>,
    next: usize,
    is_full: bool,
    /// Sum of `sides`; added up anew each time the ring comes round, so that rounding does not pile up.
    sum: f64,
    filled: f64,
    net: f64,
}

impl Vpin {
    /// No volume yet; `bucket` in base units.
    ///
    /// # Errors
    /// [`Error::Domain`] when the bucket is not positive, or no bucket or more than a million are asked for.
    pub fn new(bucket: f64, n_buckets: usize) -> Result<Self> {
        positive("bucket", bucket)?;
        if n_buckets == 0 {
            return Err(Error::Domain { name: "n_buckets", reason: "must be at least 1".to_owned() });
        }
        if n_buckets > MAX_BUCKETS {
            let reason = format!("must be at most {MAX_BUCKETS}, got {n_buckets}");
            return Err(Error::Domain { name: "n_buckets", reason });
        }
        let sides = vec![0.0; n_buckets].into();
        Ok(Self { bucket, sides, next: 0, is_full: false, sum: 0.0, filled: 0.0, net: 0.0 })
    }

    /// Takes a print, positive when the taker bought; `on_bucket` is told the value after each bucket it completes.
    pub fn observe(&mut self, signed_qty: f64, mut on_bucket: impl FnMut(Option<f64>)) {
        let mut left = signed_qty.abs();
        while left > 0.0 {
            let take = left.min(self.bucket - self.filled);
            self.filled += take;
            self.net += take.copysign(signed_qty);
            left -= take;
            if self.filled >= self.bucket * (1.0 - 1e-12) {
                self.complete();
                on_bucket(self.value());
            }
        }
    }

    fn complete(&mut self) {
        let side = self.net.abs();
        self.sum += side - std::mem::replace(&mut self.sides[self.next], side);
        self.next += 1;
        if self.next == self.sides.len() {
            (self.next, self.is_full) = (0, true);
            self.sum = self.sides.iter().sum();
        }
        (self.filled, self.net) = (0.0, 0.0);
    }

    /// The share, 0..1; `None` until all buckets were filled once.
    pub fn value(&self) -> Option<f64> {
        self.is_full.then(|| self.sum / (self.sides.len() as f64 * self.bucket))
    }

    /// Base units of one bucket.
    pub fn bucket(&self) -> f64 {
        self.bucket
    }

    /// Buckets looked at.
    pub fn buckets(&self) -> usize {
        self.sides.len()
    }
}

/// [`Vpin`] after each completed bucket, once there are `n_buckets` of them.
///
/// # Errors
/// [`Error::Domain`] when the bucket is not positive, no bucket is asked for, or a quantity is not finite.
pub fn vpin(signed_qty: &[f64], bucket: f64, n_buckets: usize) -> Result<Vec<f64>> {
    let mut vpin = Vpin::new(bucket, n_buckets)?;
    let mut out = Vec::new();
    for qty in signed_qty {
        vpin.observe(finite("signed_qty", *qty)?, |value| out.extend(value));
    }
    Ok(out)
}
