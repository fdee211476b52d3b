//! Stationary closed-form quotes of a market maker with inventory.
//!
//! Source: Guéant, Lehalle & Fernandez-Tapia, "Dealing with the inventory risk" (2013); general form Guéant, "Optimal
//! market making" (2017), equations 4.6 and 4.7. Fee, market impact, drift and the age of the information behind a
//! resting quote enter as shifts of the margin and of the effective fill rate.

use super::domain::{finite, largest, non_negative, positive, weight};
use crate::{Error, Result};

/// What the closed form needs to know; units as in [`crate::model`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GlftParams {
    /// Fills per second at distance 0, one side.
    pub intensity_a: f64,
    /// Decay of the fill intensity, 1/P.
    pub intensity_k: f64,
    /// Volatility of the reference price, P/sqrt(s).
    pub sigma: f64,
    /// Risk aversion, 1/(P x base).
    pub gamma: f64,
    /// 0 for a running penalty on the variance of inventory, `gamma` for exponential utility.
    pub xi: f64,
    /// Quantity per quote, base.
    pub size: f64,
    /// Maker fee per base unit, P; negative is a rebate.
    pub fee: f64,
    /// Permanent adverse move of the reference price per own fill, P.
    pub impact: f64,
    /// Drift of the reference price, P/s.
    pub drift: f64,
    /// Total age of the information behind a resting quote (feed, order entry, half the requoting period), s.
    pub age_s: f64,
}

impl Default for GlftParams {
    fn default() -> Self {
        Self {
            intensity_a: 1.0,
            intensity_k: 1.0,
            sigma: 1.0,
            gamma: 1.0,
            xi: 0.0,
            size: 1.0,
            fee: 0.0,
            impact: 0.0,
            drift: 0.0,
            age_s: 0.0,
        }
    }
}

/// Optimal distances as a linear function of inventory, all in P.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GlftQuotes {
    /// Distance that maximises the margin of a single fill without cost or inventory.
    pub c1: f64,
    /// Skew per base unit and per unit of volatility, without the shifts by fee, impact and age.
    pub c2: f64,
    /// Half-spread of a flat book; the quotes sit this far from the reference price at inventory 0 and drift 0.
    pub half_spread: f64,
    /// Shift of both quotes per base unit of inventory.
    pub skew_per_unit: f64,
    /// Shift of both quotes by the drift, towards where the price is going.
    pub drift_shift: f64,
}

impl GlftQuotes {
    /// Distances of bid and ask from the reference price at signed inventory `q` (base).
    ///
    /// # Errors
    /// [`Error::Domain`] when `q` is no finite number, or so large that a distance is none.
    pub fn distances(&self, q: f64) -> Result<(f64, f64)> {
        let (bid, ask) = (self.delta_bid(finite("q", q)?), self.delta_ask(q));
        if bid.is_finite() && ask.is_finite() {
            return Ok((bid, ask));
        }
        Err(Error::Domain { name: "q", reason: format!("{q} is too large: no distance is finite") })
    }

    /// Distance of the bid below the reference price at signed inventory `q` (base).
    pub fn delta_bid(&self, q: f64) -> f64 {
        self.half_spread + self.skew_per_unit * q - self.drift_shift
    }

    /// Distance of the ask above the reference price at signed inventory `q` (base).
    pub fn delta_ask(&self, q: f64) -> f64 {
        self.half_spread - self.skew_per_unit * q + self.drift_shift
    }
}

/// The stationary closed form.
///
/// # Errors
/// [`Error::Domain`] naming the parameter that is out of range, or the combination that overflows.
pub fn glft_closed_form(p: &GlftParams) -> Result<GlftQuotes> {
    let a = positive("intensity_a", p.intensity_a)?;
    let k = positive("intensity_k", p.intensity_k)?;
    let sigma = non_negative("sigma", p.sigma)?;
    let gamma = positive("gamma", p.gamma)?;
    let size = positive("size", p.size)?;
    let e = non_negative("xi", p.xi)? * size;
    let (fee, impact) = (finite("fee", p.fee)?, finite("impact", p.impact)?);
    let age_s = non_negative("age_s", p.age_s)?;
    let drift = finite("drift", p.drift)?;

    let (c1, ln_inverse_c) = risk_part(k, e);
    let stale = k * k * sigma * sigma * age_s;
    let c2 = (gamma / (2.0 * a * size * k) * ln_inverse_c.exp()).sqrt();
    let skew_per_unit = sigma * c2 * (k * fee / 2.0 + k * impact / 4.0 + stale / 4.0).exp();
    let half_spread = c1 + fee + impact / 2.0 + stale / k + size / 2.0 * skew_per_unit;
    let drift_shift = if drift == 0.0 {
        0.0
    } else if sigma == 0.0 {
        return Err(Error::Domain { name: "drift", reason: "must be 0 when sigma is 0".to_owned() });
    } else {
        drift / (gamma * sigma * sigma) * skew_per_unit
    };
    if !skew_per_unit.is_finite() {
        return Err(beyond_range(p, &[("gamma", weight(gamma))], "skew", skew_per_unit));
    }
    if half_spread <= 0.0 {
        let (name, pays) = if fee <= impact / 2.0 { ("fee", fee) } else { ("impact", impact) };
        let reason =
            format!("{pays} pays more than a fill costs: the optimal half-spread is {half_spread}, not above 0");
        return Err(Error::Domain { name, reason });
    }
    if !half_spread.is_finite() {
        return Err(beyond_range(p, &[("gamma", weight(gamma))], "half-spread", half_spread));
    }
    finite("drift", drift_shift)?;
    Ok(GlftQuotes { c1, c2, half_spread, skew_per_unit, drift_shift })
}

/// Constants of a maker's problem without inventory: the rate of fills at its best width, 1/s and side, and that width
/// without the inventory's part, P.
///
/// # Errors
/// [`Error::Domain`] naming the parameter that is out of range, or the cost that lets no fill happen.
pub(super) fn fill_rate_and_margin(p: &GlftParams) -> Result<(f64, f64)> {
    let a = positive("intensity_a", p.intensity_a)?;
    let k = positive("intensity_k", p.intensity_k)?;
    let sigma = non_negative("sigma", p.sigma)?;
    let age_s = non_negative("age_s", p.age_s)?;
    let e = non_negative("xi", p.xi)? * positive("size", p.size)?;
    let cost = finite("fee", p.fee)? + finite("impact", p.impact)? / 2.0;
    let (c1, ln_inverse_c) = risk_part(k, e);
    let stale = k * k * sigma * sigma * age_s;
    let rate = a * (-ln_inverse_c - k * cost - stale / 2.0).exp();
    if !(rate > 0.0 && rate.is_finite()) {
        return Err(beyond_range(p, &[], "rate of fills", rate));
    }
    let margin = c1 + cost + stale / k;
    if margin.is_finite() { Ok((rate, margin)) } else { Err(beyond_range(p, &[], "width", margin)) }
}

/// The error of a result that is out of range although every parameter is in its own: names the parameter that moves
/// the result's logarithm most. `also` are parts beside those of the rate of fills.
#[cold]
pub(super) fn beyond_range(p: &GlftParams, also: &[(&'static str, f64)], what: &str, result: f64) -> Error {
    let (k, sigma, e) = (p.intensity_k, p.sigma, p.xi * p.size);
    let stale = [("intensity_k", 2.0 * k.ln()), ("sigma", 2.0 * sigma.ln()), ("age_s", p.age_s.ln())];
    let parts = [
        ("intensity_a", weight(p.intensity_a)),
        ("intensity_k", weight(k)),
        ("sigma", weight(sigma)),
        ("size", weight(p.size)),
        (largest(&[("intensity_k", -k.ln()), ("xi", e.ln())]), risk_part(k, e).1),
        (largest(&[("intensity_k", k.ln()), ("fee", p.fee.abs().ln())]), (k * p.fee).abs()),
        (largest(&[("intensity_k", k.ln()), ("impact", p.impact.abs().ln())]), (k * p.impact / 2.0).abs()),
        (largest(&stale), k * k * sigma * sigma * p.age_s / 2.0),
    ];
    let name = largest(&[&parts, also].concat());
    let value = match name {
        "intensity_a" => p.intensity_a,
        "intensity_k" => k,
        "sigma" => sigma,
        "size" => p.size,
        "xi" => p.xi,
        "fee" => p.fee,
        "impact" => p.impact,
        "age_s" => p.age_s,
        "gamma" => p.gamma,
        _ => return Error::Domain { name, reason: format!("out of range here: the {what} would be {result:?}") },
    };
    Error::Domain { name, reason: format!("{value:?} is out of range here: the {what} would be {result:?}") }
}

/// c1, the width of a single fill at no cost (P), and ln(1/C), C being the share of fills left at it, for `e` = xi size.
fn risk_part(k: f64, e: f64) -> (f64, f64) {
    // So small a risk that its ratio overflows is none.
    if e == 0.0 || (k / e).is_infinite() {
        (1.0 / k, 1.0)
    } else {
        ((e / k).ln_1p() / e, (1.0 + k / e) * (e / k).ln_1p())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn market() -> impl Strategy<Value = GlftParams> {
        (0.01..20.0, 0.01..20.0, 0.01..20.0, 1e-4..2.0, 0.0..2.0, 0.001..5.0, -0.02..0.5).prop_map(
            |(intensity_a, intensity_k, sigma, gamma, xi, size, fee)| GlftParams {
                intensity_a,
                intensity_k,
                sigma,
                gamma,
                xi,
                size,
                fee,
                ..GlftParams::default()
            },
        )
    }

    #[test]
    fn a_flat_book_quotes_around_the_reference_price_with_the_published_numbers() {
        // hftbacktest's notebook on the same formula prints half-spread and skew of this market.
        let quotes = glft_closed_form(&GlftParams {
            intensity_a: 2.986_162_360_812_285,
            intensity_k: 0.042_357_411_150_840_49,
            sigma: 10.69,
            gamma: 0.05,
            xi: 0.05,
            ..GlftParams::default()
        })
        .unwrap();
        assert!((quotes.half_spread - 20.472_085_338_443_71).abs() < 1e-9);
        assert!((quotes.skew_per_unit - 9.763_268_650_292).abs() < 1e-9);
    }

    #[test]
    fn the_error_names_the_parameter() {
        let wrong = GlftParams { intensity_k: 0.0, ..GlftParams::default() };
        assert!(glft_closed_form(&wrong).unwrap_err().to_string().starts_with("intensity_k: must be above 0"));
        let wrong = GlftParams { fee: f64::NAN, ..GlftParams::default() };
        assert!(glft_closed_form(&wrong).unwrap_err().to_string().starts_with("fee: "));
    }

    #[test]
    fn a_result_out_of_range_names_the_parameter_that_drove_it_there() {
        let market = GlftParams {
            intensity_a: 1.5,
            intensity_k: 0.2,
            sigma: 5.0,
            size: 0.01,
            fee: 6.0,
            age_s: 0.1,
            ..GlftParams::default()
        };
        for (name, wrong) in [
            ("intensity_k", GlftParams { intensity_k: 1e6, ..market }),
            ("intensity_k", GlftParams { intensity_k: 1e200, age_s: 0.0, ..market }),
            ("sigma", GlftParams { sigma: 1e5, ..market }),
            ("sigma", GlftParams { sigma: 1e200, age_s: 0.0, ..market }),
            ("age_s", GlftParams { age_s: 1e6, ..market }),
            ("fee", GlftParams { fee: 1e5, ..market }),
            ("impact", GlftParams { impact: 1e5, ..market }),
        ] {
            let error = fill_rate_and_margin(&wrong).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}: ")), "{name}: {error}");
        }
        let far = GlftParams { gamma: 1e308, size: 1e-300, ..market };
        assert!(glft_closed_form(&far).unwrap_err().to_string().starts_with("gamma: "));
    }

    #[test]
    fn an_inventory_that_is_no_number_has_no_quotes() {
        let quotes = glft_closed_form(&GlftParams::default()).unwrap();
        assert_eq!(quotes.distances(2.0).unwrap(), (quotes.delta_bid(2.0), quotes.delta_ask(2.0)));
        for q in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(quotes.distances(q).unwrap_err().to_string().starts_with("q: "));
        }
    }

    #[test]
    fn a_rebate_beyond_every_cost_has_no_optimum() {
        let paid = GlftParams { fee: -10.0, ..GlftParams::default() };
        assert!(glft_closed_form(&paid).unwrap_err().to_string().starts_with("fee: -10 pays more"));
    }

    #[test]
    fn an_impact_in_own_favour_beyond_every_cost_is_named_instead_of_the_fee() {
        let moved = GlftParams { intensity_k: 0.2, impact: -20.0, ..GlftParams::default() };
        assert!(glft_closed_form(&moved).unwrap_err().to_string().starts_with("impact: -20 pays more"));
        let both = GlftParams { fee: -11.0, ..moved };
        assert!(glft_closed_form(&both).unwrap_err().to_string().starts_with("fee: -11 pays more"));
    }

    proptest! {
        #[test]
        fn swapping_the_sign_of_inventory_swaps_the_sides(p in market(), q in -20.0..20.0f64) {
            let quotes = glft_closed_form(&p).unwrap();
            prop_assert!((quotes.delta_bid(q) - quotes.delta_ask(-q)).abs() == 0.0);
        }

        #[test]
        fn dearer_fills_older_information_and_more_risk_only_widen(p in market(), more in 0.0..1.0f64) {
            let base = glft_closed_form(&p).unwrap().half_spread;
            for wider in [
                GlftParams { fee: p.fee + more, ..p },
                GlftParams { impact: more, ..p },
                GlftParams { age_s: more, ..p },
                GlftParams { sigma: p.sigma + more, ..p },
            ] {
                // A huge k*fee overflows, which is refused rather than quoted.
                if let Ok(quotes) = glft_closed_form(&wider) {
                    prop_assert!(quotes.half_spread >= base * (1.0 - 1e-12));
                }
            }
        }
    }
}
