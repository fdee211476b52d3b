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

use super::domain::{finite, largest, non_negative, positive};
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
        let carried = flow.carry * non_negative("hold_s", self.hold)? / 2.0;
        let held = largest(&[("carry", flow.carry), ("hold_s", self.hold)]);
        finite(largest(&[("fee", flow.fee.abs()), ("loss", lost), (held, carried)]), flow.fee + lost + carried)
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

    /// Expected result at the best width, the best of every local maximum there is.
    ///
    /// # Errors
    /// [`Error::Domain`] naming the parameter that is out of range, or that leaves no width worth quoting.
    pub fn optimum(&self) -> Result<Expected> {
        self.checked()?;
        let Flow { intensity_k: k, fee, .. } = self.flow;
        let cycle = Cycle::of(self);
        if let Some(net) = cycle.best_net() {
            let expected = self.at(above_zero(fee + net / k, fee)?)?;
            if expected.pnl_per_s > 0.0 {
                return Ok(expected);
            }
        }
        Err(self.nothing_earned())
    }

    /// The error of a market in which no width earns anything: names what moves the logarithm of the result most.
    #[cold]
    fn nothing_earned(&self) -> Error {
        let Flow { intensity_a, intensity_k: k, size, fee, carry } = self.flow;
        let held = largest(&[("carry", carry), ("timeout_s", self.timeout)]);
        let costs =
            [("fee", fee), ("adverse", self.adverse), ("taker_cost", self.taker_cost), (held, carry * self.timeout)];
        let scales = [("intensity_a", -intensity_a.ln()), ("intensity_k", k.ln()), ("size", -size.ln())];
        let name = largest(&[&costs.map(|(name, cost)| (name, k * cost))[..], &scales].concat());
        let reason = match costs.iter().find(|cost| cost.0 == name) {
            Some((_, cost)) => format!("no width earns anything at a cost of {cost}"),
            None => "is out of range here: no width earns anything".to_owned(),
        };
        Error::Domain { name, reason }
    }
}

/// A renewal market with every price in units of 1/k; a width is `net` = k (delta - fee), and u = e^(`level` - `net`)
/// fills of one side are expected within the timeout.
///
/// The result, up to a factor, is E u / (1/2 + F) with F = 1 - e^-u and
/// E = net (1 + F) - adverse - e^-u taker - carried F/u.
struct Cycle {
    level: f64,
    adverse: f64,
    taker: f64,
    carried: f64,
}

/// Between these values of ln u the result turns from one without fills before the timeout to one without timeouts.
const TURN: (f64, f64) = (-8.0, 6.62);
const TURN_STEPS: usize = 600;

impl Cycle {
    fn of(market: &Renewal) -> Self {
        let Flow { intensity_a, intensity_k: k, fee, carry, .. } = market.flow;
        Self {
            level: (intensity_a.ln() + market.timeout.ln() - k * fee).clamp(-f64::MAX, f64::MAX),
            adverse: k * market.adverse,
            taker: k * market.taker_cost,
            carried: k * (carry * market.timeout),
        }
    }

    /// u, e^-u, F and F/u at a width.
    fn waiting(&self, net: f64) -> (f64, f64, f64, f64) {
        let u = (self.level - net).exp();
        let filled = -(-u).exp_m1();
        (u, (-u).exp(), filled, if u > 0.0 { filled / u } else { 1.0 })
    }

    fn earned(&self, net: f64) -> f64 {
        let (_, timed_out, filled, wait) = self.waiting(net);
        net * (1.0 + filled) - self.adverse - timed_out * self.taker - self.carried * wait
    }

    /// Logarithm of the result, up to a constant; minus infinity where a cycle loses.
    fn log_result(&self, net: f64) -> f64 {
        let filled = self.waiting(net).2;
        self.earned(net).max(0.0).ln() + (self.level - net) - (0.5 + filled).ln()
    }

    /// The derivative of the result in the width over what is positive of it.
    fn slope(&self, net: f64) -> f64 {
        let (u, timed_out, filled, wait) = self.waiting(net);
        // -dF/dnet; where e^-u is 0 so is this, however large u.
        let fewer = if timed_out > 0.0 { u * timed_out } else { 0.0 };
        let longer = if u > 0.0 { wait - timed_out.min(wait) } else { 0.0 };
        let d_earned = 1.0 + filled - fewer * (net + self.taker) - self.carried * longer;
        d_earned * (0.5 + filled) - self.earned(net) * (0.5 + filled - fewer)
    }

    /// Widths, rising, between two of which lies at most one maximum; all maxima that earn anything lie between the
    /// ends.
    ///
    /// Below adverse/2 a cycle loses, and 2 above the sum of its costs the result falls. Where hardly any entry times
    /// out there is one maximum. Where u is small the slope has the sign of a constant + net + 2 w u with
    /// w = adverse + 2 taker + 1.5 carried, which is convex in net and least at 2 w u = 1: one maximum lies beyond that
    /// width, and none between it and the turn, through which the steps are fine.
    fn knots(&self) -> Vec<f64> {
        let low = self.adverse / 2.0;
        let high = self.adverse + self.taker + self.carried + 3.0;
        let weight = self.adverse + 2.0 * self.taker + 1.5 * self.carried;
        let step = (TURN.1 - TURN.0) / TURN_STEPS as f64;
        let turn = (0..=TURN_STEPS).map(|i| self.level - TURN.1 + step * i as f64);
        let least = self.level + (2.0 * weight).ln();
        let inner = turn.chain((least > self.level - TURN.0).then_some(least)).filter(|net| low < *net && *net < high);
        std::iter::once(low).chain(inner).chain(std::iter::once(high)).collect()
    }

    /// The width of the largest result; `None` where rounding leaves no maximum.
    fn best_net(&self) -> Option<f64> {
        let slopes: Vec<(f64, f64)> = self.knots().into_iter().map(|net| (net, self.slope(net))).collect();
        let maxima = slopes.windows(2).filter(|pair| pair[0].1 > 0.0 && pair[1].1 <= 0.0);
        maxima
            .map(|pair| self.bisect(pair[0].0, pair[1].0))
            .map(|net| (net, self.log_result(net)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .map(|best| best.0)
    }

    /// Where the slope turns from above 0 at `left` to below at `right`.
    fn bisect(&self, mut left: f64, mut right: f64) -> f64 {
        loop {
            let middle = f64::midpoint(left, right);
            if middle <= left || middle >= right {
                return middle;
            }
            if self.slope(middle) > 0.0 { left = middle } else { right = middle }
        }
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
        let forever = Linear { flow: FLOW, p_loss: 0.0, loss: 1.0, hold: 1e308 };
        let dear = Linear { flow: Flow { carry: 1e10, ..FLOW }, ..forever };
        assert!(dear.optimum().unwrap_err().to_string().starts_with("hold_s: "));
        let share = Linear { flow: FLOW, p_loss: 1.5, loss: 0.0, hold: 0.0 };
        assert!(share.optimum().unwrap_err().to_string().starts_with("p_loss: must be a probability"));
        let forever = Renewal { flow: FLOW, adverse: 0.0, timeout: f64::INFINITY, taker_cost: 0.0 };
        assert!(forever.optimum().unwrap_err().to_string().starts_with("timeout_s: "));
    }

    #[test]
    fn the_best_width_of_a_renewal_is_found_however_far_its_costs_reach() {
        // Where every entry timed out the best width would be far off; where hardly any does it earns far more.
        let slow = Flow { intensity_a: 1.63, intensity_k: 5.53, size: 0.0025, fee: 0.22, carry: 0.0355 };
        let dear = Flow { intensity_a: 7.185, intensity_k: 0.424, size: 1.11, fee: 2.146, carry: 2.18 };
        for (market, near, known) in [
            (Renewal { flow: slow, adverse: 0.173, timeout: 2810.0, taker_cost: 15.46 }, 0.488, 7.2e-6),
            (Renewal { flow: dear, adverse: 0.0, timeout: 3741.0, taker_cost: 404.4 }, 4.5, 2.10),
        ] {
            let best = market.optimum().unwrap();
            assert!(best.pnl_per_s >= market.at(near).unwrap().pnl_per_s && best.pnl_per_s > 0.99 * known, "{best:?}");
        }
    }

    #[test]
    fn a_renewal_that_earns_nothing_names_its_largest_cost() {
        let cheap = Renewal { flow: Flow { intensity_k: 5.0, ..FLOW }, adverse: 0.1, timeout: 0.01, taker_cost: 0.2 };
        let named = |market: Renewal, start: &str| {
            let error = market.optimum().unwrap_err().to_string();
            assert!(error.starts_with(start), "{start}: {error}");
        };
        assert!(cheap.optimum().is_ok());
        named(
            Renewal { adverse: 300.0, taker_cost: 0.0, ..cheap },
            "adverse: no width earns anything at a cost of 300",
        );
        named(Renewal { taker_cost: 1e4, ..cheap }, "taker_cost: no width earns anything");
        named(Renewal { flow: Flow { fee: 300.0, ..cheap.flow }, ..cheap }, "fee: no width earns anything");
        named(Renewal { flow: Flow { carry: 1e9, ..cheap.flow }, ..cheap }, "carry: no width earns anything");
        named(Renewal { timeout: 1e308, flow: Flow { carry: 9e3, intensity_a: 1e-9, ..FLOW }, ..cheap }, "timeout_s: ");
        named(Renewal { flow: Flow { intensity_a: 1e-320, size: 1e-9, ..cheap.flow }, ..cheap }, "intensity_a: ");
        named(Renewal { flow: Flow { fee: -1e308, ..cheap.flow }, ..cheap }, "fee: the best distance would be");
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

    /// A number of any of the orders of magnitude between the powers of ten.
    fn magnitude(powers: std::ops::Range<f64>) -> impl Strategy<Value = f64> {
        powers.prop_map(|power| 10f64.powf(power))
    }

    /// Nothing, or a cost between a ten thousandth of 1/k and ten thousand of them.
    fn cost() -> impl Strategy<Value = f64> {
        prop_oneof![1 => Just(0.0), 4 => magnitude(-4.0..4.0)]
    }

    fn renewals() -> impl Strategy<Value = Renewal> {
        let flow = (magnitude(-6.0..5.0), magnitude(-5.0..5.0), magnitude(-6.0..6.0), -5.0..5.0f64);
        (flow, cost(), cost(), cost(), magnitude(-4.0..6.0)).prop_map(
            |((intensity_a, intensity_k, size, fee), carried, adverse, taker, timeout)| Renewal {
                flow: Flow {
                    intensity_a,
                    intensity_k,
                    size,
                    fee: fee / intensity_k,
                    carry: carried / intensity_k / timeout,
                },
                adverse: adverse / intensity_k,
                timeout,
                taker_cost: taker / intensity_k,
            },
        )
    }

    /// The largest result over widths that lie densely wherever it can change: about the fee, about the width from
    /// which entries time out, about the sum of all costs, and by ratios over every order of magnitude between.
    fn dense_search(market: &Renewal) -> (f64, f64) {
        let Flow { intensity_a, intensity_k: k, fee, carry, .. } = market.flow;
        let turn = (intensity_a * market.timeout).ln() / k;
        let costs = fee + market.adverse + market.taker_cost + carry * market.timeout;
        let around =
            |center: f64, reach: f64| (0..=1000).map(move |i| center + (f64::from(i) / 500.0 - 1.0) * reach / k);
        let ratios = (0..=2000).map(|i| 10f64.powf(f64::from(i) / 200.0 - 5.0) / k);
        let widths = around(fee + market.adverse / 2.0, 4.0)
            .chain(around(turn, 9.0))
            .chain(around(costs, 4.0))
            .chain(ratios.flat_map(|ratio| [fee + ratio, ratio]));
        widths
            .filter(|delta| *delta > 0.0)
            .map(|delta| (market.at(delta).unwrap().pnl_per_s, delta))
            .fold((0.0, 0.0), |best, next| if next.0 > best.0 { next } else { best })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn no_width_of_a_dense_search_earns_more_than_the_best_of_a_renewal(market in renewals()) {
            let (most, delta) = dense_search(&market);
            match market.optimum() {
                Ok(best) => prop_assert!(most <= best.pnl_per_s * (1.0 + 1e-9) + f64::MIN_POSITIVE, "{most} at {delta}: {best:?}"),
                // A rebate may pay best at a width that no quote can have.
                Err(error) if market.flow.fee < 0.0 && error.to_string().starts_with("fee: the best distance") => {}
                Err(error) => prop_assert!(most <= f64::MIN_POSITIVE, "{most} at {delta}: {error}"),
            }
        }
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
