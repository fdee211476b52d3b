//! The risk aversion behind a wanted inventory, and how it follows a market.
//!
//! Under the closed form both distances are linear in the inventory, so that the odds of its next step towards and away
//! from 0 make its stationary law exactly p(q) = e^(-s q^2) / Z over whole lots q, with s = sqrt(alpha/eta),
//! alpha = k gamma size sigma^2 / 2 and eta the rate of fills at the optimal width (detailed balance of the birth-death
//! chain of Guéant, Lehalle & Fernandez-Tapia 2013). Above one lot its standard deviation is that of the normal law,
//! 1/sqrt(2 s); below, whole lots make it less.

use super::domain::{positive, weight};
use super::glft::{GlftParams, beyond_range, fill_rate_and_margin};
use crate::Result;
use crate::types::Ns;

const NS_PER_S: f64 = 1e9;

/// Above this standard deviation, in lots, whole lots make no difference a double could show.
const NORMAL_FROM_LOTS: f64 = 1.6;

/// Rate of fills at the optimal width of a risk-neutral maker, 1/s, one side.
fn optimal_fill_rate(p: &GlftParams) -> Result<f64> {
    Ok(fill_rate_and_margin(&GlftParams { xi: 0.0, ..*p })?.0)
}

/// Standard deviation of the law e^(-s q^2) over whole numbers q.
fn sd_over_lots(steepness: f64) -> f64 {
    if steepness <= 0.5 / (NORMAL_FROM_LOTS * NORMAL_FROM_LOTS) {
        return (0.5 / steepness).sqrt();
    }
    let (mut mass, mut square) = (0.5, 0.0);
    for lots in 1..=20 {
        let square_lots = f64::from(lots * lots);
        let share = (-steepness * square_lots).exp();
        mass += share;
        square += share * square_lots;
    }
    (square / mass).sqrt()
}

/// The steepness s at which the law e^(-s q^2) over whole numbers q has the standard deviation `sd`.
fn steepness_for(sd: f64) -> f64 {
    let normal = 0.5 / (sd * sd);
    if sd >= NORMAL_FROM_LOTS {
        return normal;
    }
    // Whole lots only take away, so that a steeper law has at most what is wanted.
    let (mut low, mut high) = (0.0, normal);
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            return high;
        }
        if sd_over_lots(middle) > sd { low = middle } else { high = middle }
    }
}

/// Risk aversion under which the stationary inventory has the standard deviation `sd_lots` (in units of `size`).
///
/// `p.gamma` and `p.xi` are not read; `xi` is 0.
///
/// # Errors
/// [`crate::Error::Domain`] naming the parameter that is out of range.
pub fn gamma_for_inventory_sd(p: &GlftParams, sd_lots: f64) -> Result<f64> {
    gamma_for_steepness(p, steepness_for(positive("sd_lots", sd_lots)?), sd_lots)
}

fn gamma_for_steepness(p: &GlftParams, steepness: f64, sd_lots: f64) -> Result<f64> {
    let (sigma, size) = (positive("sigma", p.sigma)?, positive("size", p.size)?);
    let alpha = optimal_fill_rate(p)? * steepness * steepness;
    let gamma = 2.0 * alpha / (p.intensity_k * size * sigma * sigma);
    if gamma > 0.0 && gamma.is_finite() {
        return Ok(gamma);
    }
    let also = [("sd_lots", 4.0 * weight(sd_lots)), ("sigma", 2.0 * weight(sigma))];
    Err(beyond_range(p, &also, "risk aversion", gamma))
}

/// Standard deviation of the stationary inventory in units of `size` under `p`; `p.xi` is not read, it is 0.
///
/// # Errors
/// [`crate::Error::Domain`] naming the parameter that is out of range.
pub fn inventory_sd_lots(p: &GlftParams) -> Result<f64> {
    let (sigma, size, gamma) = (positive("sigma", p.sigma)?, positive("size", p.size)?, positive("gamma", p.gamma)?);
    let alpha = p.intensity_k * gamma * size * sigma * sigma / 2.0;
    Ok(sd_over_lots((alpha / optimal_fill_rate(p)?).sqrt()))
}

/// Follows the risk aversion that gives the stationary inventory a wanted standard deviation.
///
/// It is taken anew when the parameters come from another source; in between it follows with a half-life, so that a burst
/// of volatility widens quotes instead of being explained away.
#[derive(Debug, Clone)]
pub struct RiskAversion {
    sd_lots: f64,
    steepness: f64,
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
        Ok(Self {
            sd_lots,
            steepness: steepness_for(sd_lots),
            half_life_ns,
            log_gamma: None,
            source: String::new(),
            ts_ns: 0,
        })
    }

    /// The risk aversion at `now_ns` in the market `p` (its `gamma`, `xi` and `drift` are not read), whose parameters
    /// come from `source`. Time that does not go on changes nothing.
    ///
    /// # Errors
    /// [`crate::Error::Domain`] naming the parameter that is out of range; what is followed stays as it was.
    pub fn follow(&mut self, p: &GlftParams, now_ns: Ns, source: &str) -> Result<f64> {
        let target = gamma_for_steepness(p, self.steepness, self.sd_lots)?.ln();
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
    use crate::model::glft::glft_closed_form;
    use proptest::prelude::*;

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

    /// Standard deviation, in lots, of the chain that quotes as the closed form does, by detailed balance.
    fn sd_of_the_chain(p: &GlftParams) -> f64 {
        let quotes = glft_closed_form(p).unwrap();
        let fills = |distance: f64| p.intensity_a * (-p.intensity_k * distance).exp();
        let (mut log_odds, mut mass, mut square) = (0.0, 0.5, 0.0);
        for lots in 0..400 {
            let (held, next) = (f64::from(lots) * p.size, f64::from(lots + 1) * p.size);
            log_odds += (fills(quotes.delta_bid(held)) / fills(quotes.delta_ask(next))).ln();
            mass += f64::exp(log_odds);
            square += f64::exp(log_odds) * f64::from((lots + 1) * (lots + 1));
        }
        (square / mass).sqrt()
    }

    #[test]
    fn below_one_lot_the_wanted_inventory_is_that_of_whole_lots() {
        for sd in [0.05, 0.3, 0.5, 0.8, 1.0, 1.59, 1.6, 4.0] {
            for p in [MARKET, GlftParams { fee: 6.0, impact: 2.0, age_s: 0.1, ..MARKET }] {
                let gamma = gamma_for_inventory_sd(&p, sd).unwrap();
                let attained = sd_of_the_chain(&GlftParams { gamma, ..p });
                assert!((attained / sd - 1.0).abs() < 1e-9, "wanted {sd}, attained {attained}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_chosen_gamma_gives_the_wanted_inventory(
            sd in 0.01..20.0f64, intensity_a in 0.01..20.0, intensity_k in 0.01..20.0, sigma in 0.01..20.0, fee in -0.02..0.5
        ) {
            let p = GlftParams { intensity_a, intensity_k, sigma, fee, ..MARKET };
            let gamma = gamma_for_inventory_sd(&p, sd).unwrap();
            let back = inventory_sd_lots(&GlftParams { gamma, ..p }).unwrap();
            prop_assert!((back / sd - 1.0).abs() < 1e-9, "{sd} {back}");
        }
    }
}
