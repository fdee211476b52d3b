//! Order flow: imbalance of changes at the touch, and of traded volume.

use super::domain::{finite, positive};
use crate::{Error, Result};

/// One touch: bid, bid quantity, ask, ask quantity.
pub type TouchRow = [f64; 4];

/// Order-flow imbalance of each change of the touch, base units; positive is demand.
///
/// Source: Cont, Kukanov & Stoikov, "The price impact of order book events" (2014), section 2.
pub fn ofi(touches: &[TouchRow]) -> Vec<f64> {
    touches
        .windows(2)
        .map(|pair| {
            let ([b0, qb0, a0, qa0], [b1, qb1, a1, qa1]) = (pair[0], pair[1]);
            let if_ = |condition: bool, qty: f64| if condition { qty } else { 0.0 };
            if_(b1 >= b0, qb1) - if_(b1 <= b0, qb0) - if_(a1 <= a0, qa1) + if_(a1 >= a0, qa0)
        })
        .collect()
}

/// Share of volume that was one-sided over the last `n_buckets` buckets, one value after each completed bucket.
///
/// A print is split between buckets. Signs are the aggressor's, so nothing is classified in bulk.
///
/// Source: Easley, López de Prado & O'Hara, "Flow toxicity and liquidity" (2012), with signed prints.
///
/// # Errors
/// [`Error::Domain`] when the bucket is not positive, no bucket is asked for, or a quantity is not finite.
pub fn vpin(signed_qty: &[f64], bucket: f64, n_buckets: usize) -> Result<Vec<f64>> {
    positive("bucket", bucket)?;
    if n_buckets == 0 {
        return Err(Error::Domain { name: "n_buckets", reason: "must be at least 1".to_owned() });
    }
    let (mut buckets, mut out) = (Vec::new(), Vec::new());
    let (mut filled, mut net) = (0.0, 0.0);
    for qty in signed_qty {
        let mut left = finite("signed_qty", *qty)?.abs();
        while left > 0.0 {
            let take = left.min(bucket - filled);
            filled += take;
            net += take.copysign(*qty);
            left -= take;
            if filled >= bucket * (1.0 - 1e-12) {
                buckets.push(net.abs());
                (filled, net) = (0.0, 0.0);
                if let Some(start) = buckets.len().checked_sub(n_buckets) {
                    out.push(buckets[start..].iter().sum::<f64>() / (n_buckets as f64 * bucket));
                }
            }
        }
    }
    Ok(out)
}
