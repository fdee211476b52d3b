//! Quotes of a market maker with a horizon, and with none.
//!
//! Source: Avellaneda & Stoikov, "High-frequency trading in a limit order book" (2008), equations 3.17, 3.18 and the
//! infinite-horizon section. For comparison: the fill rate does not enter, so a good horizon is a matter of luck.

use super::domain::{finite, largest, non_negative, positive, weight};
use crate::{Error, Result};

/// Quotes at a finite horizon; distances and prices in P.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HorizonQuotes {
    /// Price at which the maker is indifferent to its inventory.
    pub reservation: f64,
    /// Full spread around it.
    pub spread: f64,
    /// Bid price.
    pub bid: f64,
    /// Ask price.
    pub ask: f64,
    /// Distance of the bid below `s`.
    pub delta_bid: f64,
    /// Distance of the ask above `s`.
    pub delta_ask: f64,
}

/// Quotes around price `s` with inventory `q` and `tau` seconds left.
///
/// # Errors
/// [`Error::Domain`] naming the parameter that is out of range.
pub fn horizon_quotes(s: f64, q: f64, gamma: f64, sigma: f64, k: f64, tau: f64) -> Result<HorizonQuotes> {
    let (s, q) = (finite("s", s)?, finite("q", q)?);
    let (gamma, k) = (positive("gamma", gamma)?, positive("k", k)?);
    let risk = gamma * non_negative("sigma", sigma)?.powi(2) * non_negative("tau", tau)?;
    if !risk.is_finite() {
        let name = largest(&[("gamma", gamma.ln()), ("sigma", 2.0 * sigma.ln()), ("tau", tau.ln())]);
        return Err(Error::Domain { name, reason: "is too large: the risk is not finite".to_owned() });
    }
    let reservation = s - q * risk;
    if !reservation.is_finite() {
        return Err(Error::Domain { name: "q", reason: format!("{q} is too large: its price is not finite") });
    }
    let spread = risk + 2.0 / gamma * (gamma / k).ln_1p();
    let (bid, ask) = (reservation - spread / 2.0, reservation + spread / 2.0);
    let (delta_bid, delta_ask) = (s - bid, ask - s);
    if !(spread.is_finite() && delta_bid.is_finite() && delta_ask.is_finite()) {
        let name = largest(&[("gamma", weight(gamma)), ("k", weight(k)), ("s", weight(s))]);
        return Err(Error::Domain { name, reason: format!("is out of range: the spread would be {spread}") });
    }
    Ok(HorizonQuotes { reservation, spread, bid, ask, delta_bid, delta_ask })
}

/// Indifference prices without a horizon.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StationaryReservation {
    /// Discount rate that bounds inventory.
    pub omega: f64,
    /// Price at which one more unit sold leaves the maker indifferent, P.
    pub reservation_ask: f64,
    /// The same for one more unit bought, P.
    pub reservation_bid: f64,
}

/// Indifference prices around `s` at inventory `q`, |q| < `q_max`: at the cap itself one unit more has no price.
///
/// # Errors
/// [`Error::Domain`] naming the parameter that is out of range.
pub fn stationary_reservation(s: f64, q: f64, gamma: f64, sigma: f64, q_max: f64) -> Result<StationaryReservation> {
    let (s, q, q_max) = (finite("s", s)?, finite("q", q)?, positive("q_max", q_max)?);
    let risk = positive("gamma", gamma)?.powi(2) * positive("sigma", sigma)?.powi(2);
    if !(risk > 0.0 && risk.is_finite()) {
        let name = largest(&[("gamma", weight(gamma)), ("sigma", weight(sigma))]);
        return Err(Error::Domain { name, reason: format!("is out of range: the risk would be {risk}") });
    }
    if q.abs() >= q_max {
        let reason = format!("{q} is not within q_max {q_max}: one unit more has no price there");
        return Err(Error::Domain { name: "q", reason });
    }
    let omega = finite("q_max", risk * (q_max + 1.0).powi(2) / 2.0)?;
    let price = |step: f64| s + ((step - 2.0 * q) * risk / (2.0 * omega - risk * q * q)).ln_1p() / gamma;
    let (reservation_ask, reservation_bid) = (price(1.0), price(-1.0));
    if !(reservation_ask.is_finite() && reservation_bid.is_finite()) {
        let reason = format!("{q} is too close to q_max {q_max}: one unit more has no price");
        return Err(Error::Domain { name: "q", reason });
    }
    Ok(StationaryReservation { omega, reservation_ask, reservation_bid })
}
