//! Expected profit of quoting one symmetric width, and the width that makes it largest.
//!
//! The identity behind it: profit = spread x trade frequency - loss rate x loss amount x number of losses - inventory
//! cost x holding time. Per second, with both sides at distance delta, N = 2 A e^(-k delta) fills:
//!
//! pnl = size (N (delta - fee) - N p loss - N/2 carry hold)
//!
//! p is the probability that a fill is adverse and N counts the fills; the frequency enters once. One holding episode
//! belongs to a round trip, hence the N/2. Three variants differ in what reacts to the width: nothing ([`Linear`]), the
//! share of adverse fills ([`Toxic`]), or the holding time ([`Renewal`]). Width alone does not steer inventory; a cap, a
//! skew or a timeout does (see [`super::glft`]).
//!
//! Source: the first-order conditions of these expressions; Lambert's W as in Corless et al., "On the Lambert W function"
//! (1996).

use super::domain::{finite, non_negative, positive};
use crate::{Error, Result};

/// Arrival of fills and what every variant has in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flow {
    /// Fills per second at distance 0, one side.
    pub intensity_a: f64,
    /// Decay of the fill intensity, 1/P.
    pub intensity_k: f64,
    /// Quantity per quote, base.
    pub size: f64,
    /// Maker fee per base unit, P; negative is a rebate.
    pub fee: f64,
    /// Cost of carrying one base unit for one second, P/s.
    pub carry: f64,
}

impl Flow {
    fn checked(self) -> Result<Self> {
        positive("intensity_a", self.intensity_a)?;
        positive("intensity_k", self.intensity_k)?;
        positive("size", self.size)?;
        finite("fee", self.fee)?;
        non_negative("carry", self.carry)?;
        Ok(self)
    }

    /// Fills of one side per second at distance `delta`.
    fn rate(&self, delta: f64) -> f64 {
        self.intensity_a * (-self.intensity_k * delta).exp()
    }
}

/// Adverse fills and holding times that do not depend on the width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Linear {
    /// What every variant has.
    pub flow: Flow,
    /// Probability that a fill is adverse, 0..1.
    pub p_loss: f64,
    /// Mean adverse move after an adverse fill, P.
    pub loss: f64,
    /// Mean holding time of a round trip, s.
    pub hold: f64,
}

/// Narrow quotes draw adverse fills: p(delta) = p0 + p1 e^(-kappa delta).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Toxic {
    /// What every variant has.
    pub flow: Flow,
    /// Probability that a fill far from the price is adverse, 0..1.
    pub p0: f64,
    /// What distance 0 adds to it, 0..1; at most what `p0` leaves of 1.
    pub p1: f64,
    /// How fast that addition decays, 1/P.
    pub kappa: f64,
    /// Mean adverse move after an adverse fill, P.
    pub loss: f64,
    /// Mean holding time of a round trip, s.
    pub hold: f64,
}

/// An entry waits for the opposite fill and is closed as taker after a timeout.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Renewal {
    /// What every variant has.
    pub flow: Flow,
    /// Adverse cost of an entry, P.
    pub adverse: f64,
    /// Longest wait for the opposite fill, s.
    pub timeout: f64,
    /// Cost of closing as taker, P per base unit.
    pub taker_cost: f64,
}

/// Expected result at one width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    /// Distance of both quotes from the reference price, P.
    pub delta: f64,
    /// Cost of a fill that does not depend on the width, P; 0 in the renewal variant, which has none.
    pub margin_cost: f64,
    /// Fills per second, both sides; one side in the renewal variant.
    pub fills_per_s: f64,
    /// Probability that a fill is adverse; in the renewal variant, that an entry times out.
    pub p_loss: f64,
    /// Holding time of a round trip, s.
    pub hold_s: f64,
    /// Quote currency per second.
    pub pnl_per_s: f64,
}

fn share(name: &'static str, value: f64) -> Result<f64> {
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(Error::Domain { name, reason: format!("must be a probability, got {value}") })
    }
}

fn above_zero(delta: f64, fee: f64) -> Result<f64> {
    if delta > 0.0 && delta.is_finite() {
        return Ok(delta);
    }
    let name = if fee < 0.0 { "fee" } else { "intensity_k" };
    Err(Error::Domain { name, reason: format!("the best distance would be {delta}, no quote can rest there") })
}

impl Linear {
    fn margin_cost(&self) -> Result<f64> {
        let flow = self.flow.checked()?;
        let lost = share("p_loss", self.p_loss)? * non_negative("loss", self.loss)?;
        finite("loss", flow.fee + lost + flow.carry * non_negative("hold_s", self.hold)? / 2.0)
    }

    /// Expected result with both quotes at `delta`.
    ///
    /// # Errors
    /// [`Error::Domain`] naming the parameter that is out of range.
    pub fn at(&self, delta: f64) -> Result<Expected> {
        let margin_cost = self.margin_cost()?;
        let fills_per_s = 2.0 * self.flow.rate(finite("delta", delta)?);
        let pnl_per_s = finite("delta", self.flow.size * fills_per_s * (delta - margin_cost))?;
        Ok(Expected { delta, margin_cost, fills_per_s, p_loss: self.p_loss, hold_s: self.hold, pnl_per_s })
    }

    /// Expected result at the best width, margin cost + 1/k.
    ///
    /// # Errors
    /// [`Error::Domain`] naming the parameter that is out of range, or that moves the optimum to 0 or below.
    pub fn optimum(&self) -> Result<Expected> {
        self.at(above_zero(self.margin_cost()? + 1.0 / self.flow.intensity_k, self.flow.fee)?)
    }
}

impl Toxic {
    fn linear_part(&self) -> Result<Linear> {
        positive("kappa", self.kappa)?;
        share("p0", self.p0)?;
        share("p1", self.p1)?;
        Ok(Linear { flow: self.flow, p_loss: self.p0, loss: self.loss, hold: self.hold })
    }

    /// `p1`, cut so that the probability at distance 0 is at most 1.
    fn p1(&self) -> f64 {
        self.p1.min(1.0 - self.p0)
    }

    /// Expected result with both quotes at `delta`.
    ///
    /// # Errors
    /// [`Error::Domain`] naming the parameter that is out of range.
    pub fn at(&self, delta: f64) -> Result<Expected> {
        let expected = self.linear_part()?.at(delta)?;
        let p_loss = (self.p0 + self.p1() * (-self.kappa * delta).exp()).min(1.0);
        let lost = self.flow.size * expected.fills_per_s * (p_loss - self.p0) * self.loss;
        Ok(Expected { p_loss, pnl_per_s: finite("delta", expected.pnl_per_s - lost)?, ..expected })
    }

    /// Expected result at the best width m + 1/k + W(kappa B e^(-kappa (m + 1/k))) / kappa with
    /// B = loss p1 (k + kappa) / k, the unique root of the first-order condition.
    ///
    /// # Errors
    /// [`Error::Domain`] naming the parameter that is out of range, or that moves the optimum to 0 or below.
    pub fn optimum(&self) -> Result<Expected> {
        let k = positive("intensity_k", self.flow.intensity_k)?;
        let benign = self.linear_part()?.margin_cost()? + 1.0 / k;
        let b = self.loss * self.p1() * (k + self.kappa) / k;
        let more = if b > 0.0 { lambert_w0_exp((self.kappa * b).ln() - self.kappa * benign) / self.kappa } else { 0.0 };
        self.at(above_zero(benign + more, self.flow.fee)?)
    }
}

/// W(e^x) on the principal branch, the root of w + ln w = x, for any real x: the argument itself may overflow.
fn lambert_w0_exp(x: f64) -> f64 {
    let mut w = if x > 1.0 { x - x.ln() } else { x.exp() / (1.0 + x.exp()) };
    if w == 0.0 {
        return 0.0;
    }
    for _ in 0..50 {
        // Newton in ln w keeps w positive.
        let step = (w + w.ln() - x) / (1.0 + w);
        w *= (-step).exp();
        if step.abs() <= 1e-16 {
            break;
        }
    }
    w
}

const GRID: usize = 600;

impl Renewal {
    fn checked(&self) -> Result<()> {
        self.flow.checked()?;
        non_negative("adverse", self.adverse)?;
        positive("timeout_s", self.timeout)?;
        non_negative("taker_cost", self.taker_cost)?;
        Ok(())
    }

    /// Fill rate, probability of a timeout and mean wait at `delta`.
    fn waiting(&self, delta: f64) -> (f64, f64, f64) {
        let rate = self.flow.rate(delta);
        let u = rate * self.timeout;
        let filled = -(-u).exp_m1();
        // The wait tends to the timeout as fills cease.
        let hold = if u > 1e-300 { self.timeout * (filled / u) } else { self.timeout };
        (rate, 1.0 - filled, hold)
    }

    /// Expected result of a renewal cycle with both quotes at `delta`: entry, wait, exit as maker or taker.
    ///
    /// # Errors
    /// [`Error::Domain`] naming the parameter that is out of range.
    pub fn at(&self, delta: f64) -> Result<Expected> {
        self.checked()?;
        let (rate, p_timeout, hold_s) = self.waiting(finite("delta", delta)?);
        let net = delta - self.flow.fee;
        let earned = net - self.adverse + (1.0 - p_timeout) * net - p_timeout * self.taker_cost;
        let cycle = (earned - self.flow.carry * hold_s) * rate / (0.5 + rate * hold_s);
        let pnl_per_s = finite("delta", self.flow.size * cycle)?;
        Ok(Expected { delta, margin_cost: 0.0, fills_per_s: rate, p_loss: p_timeout, hold_s, pnl_per_s })
    }

    /// Sign of the derivative of the result in the width.
    fn slope(&self, delta: f64) -> f64 {
        let Flow { intensity_k: k, carry, fee, .. } = self.flow;
        let (rate, p, hold) = self.waiting(delta);
        let u = rate * self.timeout;
        let (net, filled) = (delta - fee, 1.0 - p);
        // What waiting longer changes: d(hold)/d(delta) x rate / k.
        let longer = filled - u * p;
        let wait = if u > 1e-300 { longer / u } else { 0.0 };
        let earned = net - self.adverse + filled * net - p * self.taker_cost - carry * hold;
        let d_earned = 1.0 + filled - k * u * p * (net + self.taker_cost) - carry * k * self.timeout * wait;
        d_earned * (0.5 + filled) - earned * k * (0.5 + longer)
    }

    /// Expected result at the best width, found on a grid over every width that can be best and then by bisection.
    ///
    /// # Errors
    /// [`Error::Domain`] naming the parameter that is out of range, or that leaves no width worth quoting.
    pub fn optimum(&self) -> Result<Expected> {
        self.checked()?;
        let Flow { intensity_k: k, fee, carry, .. } = self.flow;
        // Below the fee a cycle loses; where nearly every entry times out the best width is the sum of its costs + 1/k.
        let low = fee;
        let high = fee + self.adverse + self.taker_cost + carry * self.timeout + 3.0 / k;
        finite("timeout_s", high)?;
        let width = (high - low) / GRID as f64;
        let mut best = (f64::NEG_INFINITY, low);
        for i in 0..=GRID {
            let delta = low + width * i as f64;
            let pnl = self.at(delta)?.pnl_per_s;
            if pnl > best.0 {
                best = (pnl, delta);
            }
        }
        let (mut left, mut right) = ((best.1 - width).max(low), best.1 + width);
        for _ in 0..200 {
            let middle = f64::midpoint(left, right);
            if middle <= left || middle >= right {
                break;
            }
            if self.slope(middle) > 0.0 {
                left = middle;
            } else {
                right = middle;
            }
        }
        let expected = self.at(above_zero(f64::midpoint(left, right), fee)?)?;
        if expected.pnl_per_s > 0.0 {
            return Ok(expected);
        }
        let reason = "no width earns anything: the best distance is infinite".to_owned();
        Err(Error::Domain { name: "taker_cost", reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FLOW: Flow = Flow { intensity_a: 1.5, intensity_k: 0.2, size: 0.01, fee: 0.6, carry: 0.001 };

    #[test]
    fn the_width_that_earns_most_is_the_cost_and_one_over_k() {
        let market = Linear { flow: FLOW, p_loss: 0.25, loss: 4.0, hold: 10.0 };
        let best = market.optimum().unwrap();
        assert!((best.delta - (0.6 + 1.0 + 0.005 + 5.0)).abs() < 1e-12);
        // Missing the best width by u costs (1 + k u) e^(-k u).
        let wide = market.at(best.delta + 0.3 / 0.2).unwrap().pnl_per_s / best.pnl_per_s;
        assert!((wide - 1.3 * (-0.3f64).exp()).abs() < 1e-12);
    }

    #[test]
    fn a_market_whose_toxicity_ignores_the_width_is_the_linear_one() {
        let linear = Linear { flow: FLOW, p_loss: 0.25, loss: 4.0, hold: 10.0 }.optimum().unwrap();
        let toxic = Toxic { flow: FLOW, p0: 0.25, p1: 0.0, kappa: 1.0, loss: 4.0, hold: 10.0 }.optimum().unwrap();
        assert_eq!((linear.delta, linear.pnl_per_s), (toxic.delta, toxic.pnl_per_s));
    }

    #[test]
    fn lambert_w_inverts_over_its_whole_range() {
        for x in [-700.0, -30.0, -1.0, 0.0, 1.0, 5.0, 800.0] {
            let w = lambert_w0_exp(x);
            assert!((w.ln() + w - x).abs() <= 1e-13 * (1.0 + x.abs()), "{x}: {w}");
        }
        assert!((lambert_w0_exp(0.0) - 0.567_143_290_409_783_8).abs() < 1e-15);
    }

    #[test]
    fn a_rebate_that_pays_for_everything_and_a_share_above_one_are_named() {
        let rebate = Linear { flow: Flow { fee: -9.0, ..FLOW }, p_loss: 0.0, loss: 0.0, hold: 0.0 };
        assert!(rebate.optimum().unwrap_err().to_string().starts_with("fee: the best distance would be"));
        let share = Linear { flow: FLOW, p_loss: 1.5, loss: 0.0, hold: 0.0 };
        assert!(share.optimum().unwrap_err().to_string().starts_with("p_loss: must be a probability"));
        let forever = Renewal { flow: FLOW, adverse: 0.0, timeout: f64::INFINITY, taker_cost: 0.0 };
        assert!(forever.optimum().unwrap_err().to_string().starts_with("timeout_s: "));
    }

    fn flows() -> impl Strategy<Value = Flow> {
        (0.05..10.0, 0.05..4.0, -0.2..1.0f64, 0.0..0.5).prop_map(|(intensity_a, intensity_k, fee, carry)| Flow {
            intensity_a,
            intensity_k,
            size: 1.0,
            fee: fee / intensity_k,
            carry: carry / intensity_k,
        })
    }

    proptest! {
        #[test]
        fn no_other_width_earns_more(
            flow in flows(), p in 0.0..1.0f64, p1 in 0.0..1.0f64, kappa in 0.05..3.0f64, loss in 0.0..3.0f64,
            timeout in 0.1..100.0f64, other in 0.01..30.0f64,
        ) {
            let k = flow.intensity_k;
            let (kappa, loss) = (kappa * k, loss / k);
            let toxic = Toxic { flow, p0: p, p1, kappa, loss, hold: 1.0 };
            let linear = Linear { flow, p_loss: p, loss, hold: 1.0 };
            let renewal = Renewal { flow, adverse: loss, timeout, taker_cost: 2.0 * loss };
            for (best, elsewhere) in [
                (toxic.optimum(), toxic.at(other / k)),
                (linear.optimum(), linear.at(other / k)),
                (renewal.optimum(), renewal.at(other / k)),
            ] {
                let (best, elsewhere) = (best.unwrap().pnl_per_s, elsewhere.unwrap().pnl_per_s);
                prop_assert!(elsewhere <= best * (1.0 + 1e-12), "{elsewhere} {best}");
            }
        }
    }
}
