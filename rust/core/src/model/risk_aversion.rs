//! The risk aversion behind a wanted inventory, taken from the market at once and then followed slowly.
//!
//! It is taken anew when the parameters come from another source; in between it follows with a half-life, so that a burst
//! of volatility widens quotes instead of being explained away.

use super::domain::positive;
use super::glft::{GlftParams, gamma_for_inventory_sd};
use crate::Result;
use crate::types::Ns;

const NS_PER_S: f64 = 1e9;

/// Follows the risk aversion that gives the stationary inventory a wanted standard deviation.
#[derive(Debug, Clone)]
pub struct RiskAversion {
    sd_lots: f64,
    half_life_ns: f64,
    log_gamma: Option<f64>,
    source: String,
    ts_ns: Ns,
}

impl RiskAversion {
    /// Risk aversion for an inventory of standard deviation `sd_lots`, in orders.
    ///
    /// # Errors
    /// [`crate::Error::Domain`] naming the value that is not above 0.
    pub fn new(sd_lots: f64, half_life_s: f64) -> Result<Self> {
        let sd_lots = positive("sd_lots", sd_lots)?;
        let half_life_ns = positive("half_life_s", half_life_s)? * NS_PER_S;
        Ok(Self { sd_lots, half_life_ns, log_gamma: None, source: String::new(), ts_ns: 0 })
    }

    /// The risk aversion at `now_ns` in the market `p` (its `gamma`, `xi` and `drift` are not read), whose parameters
    /// come from `source`. Time that does not go on changes nothing.
    ///
    /// # Errors
    /// [`crate::Error::Domain`] naming the parameter that is out of range; what is followed stays as it was.
    pub fn follow(&mut self, p: &GlftParams, now_ns: Ns, source: &str) -> Result<f64> {
        let target = gamma_for_inventory_sd(p, self.sd_lots)?.ln();
        let log_gamma = match self.log_gamma {
            Some(before) if self.source == source => {
                let passed_ns = now_ns.saturating_sub(self.ts_ns).max(0) as f64;
                // Written so that what is reached already stays, bit for bit.
                before + (1.0 - (-passed_ns / self.half_life_ns).exp2()) * (target - before)
            }
            _ => {
                source.clone_into(&mut self.source);
                target
            }
        };
        self.log_gamma = Some(log_gamma);
        self.ts_ns = self.ts_ns.max(now_ns);
        Ok(log_gamma.exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKET: GlftParams = GlftParams {
        intensity_a: 1.5,
        intensity_k: 0.2,
        sigma: 5.0,
        gamma: 1.0,
        xi: 0.0,
        size: 0.01,
        fee: 0.0,
        impact: 0.0,
        drift: 0.0,
        age_s: 0.0,
    };
    const HOUR_NS: Ns = 3_600_000_000_000;

    #[test]
    fn it_is_taken_at_once_then_followed_by_half_each_half_life_and_taken_anew_from_another_source() {
        let mut risk = RiskAversion::new(1.5, 3600.0).unwrap();
        let (calm, wild) = (MARKET, GlftParams { sigma: 10.0, ..MARKET });
        let (of_calm, of_wild) =
            (gamma_for_inventory_sd(&calm, 1.5).unwrap(), gamma_for_inventory_sd(&wild, 1.5).unwrap());
        let close = |got: f64, wanted: f64| assert!((got / wanted - 1.0).abs() < 1e-12, "{got} {wanted}");
        close(risk.follow(&calm, HOUR_NS, "prior").unwrap(), of_calm);
        close(risk.follow(&wild, HOUR_NS, "prior").unwrap(), of_calm);
        close(risk.follow(&wild, 2 * HOUR_NS, "prior").unwrap(), (of_calm * of_wild).sqrt());
        close(risk.follow(&wild, HOUR_NS, "prior").unwrap(), (of_calm * of_wild).sqrt());
        close(risk.follow(&wild, 2 * HOUR_NS, "stream").unwrap(), of_wild);
    }

    #[test]
    fn a_parameter_out_of_range_is_named_and_forgets_nothing() {
        let mut risk = RiskAversion::new(1.5, 3600.0).unwrap();
        let before = risk.follow(&MARKET, 1, "stream").unwrap();
        let error = risk.follow(&GlftParams { sigma: 0.0, ..MARKET }, 2, "stream").unwrap_err();
        assert!(error.to_string().starts_with("sigma: "), "{error}");
        assert!((risk.follow(&MARKET, 1, "stream").unwrap() - before).abs() < 1e-12);
        assert!(RiskAversion::new(0.0, 1.0).is_err());
    }
}
