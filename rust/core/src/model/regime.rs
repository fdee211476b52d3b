//! What kind of market it is now: calm, trending, volatile or thin, with the measurement that says so.
//!
//! Each measurement is compared with its own slow level (an exponential mean), so that no threshold carries a unit. A
//! regime is entered at one threshold and left at a lower one; among several that apply the first of volatile, thin,
//! trending is named, since that is the order in which they hurt a maker.

use super::domain::positive;
use crate::Result;
use crate::types::Ns;

const NS_PER_S: f64 = 1e9;
/// A regime that holds is left below this share of the threshold that let it in.
const LEAVE_AT: f64 = 0.75;
/// Seconds of observation before a slow level is believed.
const WARM_UP_S: f64 = 60.0;

/// Kinds of market.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regime {
    /// Nothing stands out.
    Calm,
    /// The mid moves one way beyond what its volatility explains.
    Trending,
    /// Volatility is far above its slow level, or a spike was seen.
    Volatile,
    /// Quantity near the touch is far below its slow level, or the spread far above.
    Thin,
}

impl Regime {
    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Trending => "trending",
            Self::Volatile => "volatile",
            Self::Thin => "thin",
        }
    }
}

/// Thresholds of entering a regime, and the memory of the slow levels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RegimeConfig {
    /// Volatility over its slow level that is volatile.
    pub volatile_ratio: f64,
    /// Spread over its slow level, and slow depth over depth, that is thin.
    pub thin_ratio: f64,
    /// Standard deviations of a minute within the last minute's move that is trending.
    pub trend_sigmas: f64,
    /// Half-life of the slow levels, s.
    pub slow_half_life_s: f64,
}

impl Default for RegimeConfig {
    fn default() -> Self {
        Self { volatile_ratio: 2.0, thin_ratio: 3.0, trend_sigmas: 2.5, slow_half_life_s: 1800.0 }
    }
}

/// One moment of a market.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RegimeInput {
    /// Volatility now, any unit as long as it stays the same.
    pub sigma: f64,
    /// Full spread over mid, bps.
    pub spread_bps: f64,
    /// Quantity near the touch, any unit.
    pub depth: f64,
    /// The last minute's move in standard deviations of a minute, signed; `None` until known.
    pub move_sigmas: Option<f64>,
    /// Whether a spike is flagged.
    pub spike: bool,
}

/// A regime and its evidence: how far the measurement is beyond its usual level (1 is usual).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RegimeReading {
    /// The kind of market.
    pub regime: Regime,
    /// Volatility over its slow level.
    pub sigma_ratio: f64,
    /// Spread over its slow level.
    pub spread_ratio: f64,
    /// Depth over its slow level.
    pub depth_ratio: f64,
    /// The last minute's move in standard deviations; 0 until known.
    pub move_sigmas: f64,
    /// Seconds in this regime.
    pub since_s: f64,
}

/// Judges moments in the order of their time.
#[derive(Debug, Clone)]
pub struct RegimeDetector {
    config: RegimeConfig,
    slow: [f64; 3],
    weight: f64,
    last_ns: Option<Ns>,
    regime: Regime,
    since_ns: Ns,
}

impl RegimeDetector {
    /// A detector that has seen nothing and says calm.
    ///
    /// # Errors
    /// [`crate::Error::Domain`] naming the threshold that is out of range.
    pub fn new(config: RegimeConfig) -> Result<Self> {
        positive("volatile_ratio", config.volatile_ratio - 1.0)?;
        positive("thin_ratio", config.thin_ratio - 1.0)?;
        positive("trend_sigmas", config.trend_sigmas)?;
        positive("slow_half_life_s", config.slow_half_life_s)?;
        Ok(Self { config, slow: [0.0; 3], weight: 0.0, last_ns: None, regime: Regime::Calm, since_ns: 0 })
    }

    /// Takes a moment in and judges it. A moment that is not later than the last one changes no level.
    pub fn observe(&mut self, now_ns: Ns, input: &RegimeInput) -> RegimeReading {
        let dt_s = self.last_ns.map_or(0.0, |last| ((now_ns - last) as f64 / NS_PER_S).clamp(0.0, 10.0));
        if self.last_ns.is_none() {
            self.since_ns = now_ns;
        }
        let values = [input.sigma, input.spread_bps, input.depth];
        let warm = self.weight >= WARM_UP_S;
        let ratio = |i: usize| {
            let usual = self.slow[i] / self.weight;
            if warm && usual > 0.0 && values[i].is_finite() { values[i] / usual } else { 1.0 }
        };
        let (sigma_ratio, spread_ratio, depth_ratio) = (ratio(0), ratio(1), ratio(2));
        let move_sigmas = input.move_sigmas.filter(|m| m.is_finite()).unwrap_or(0.0);
        let over = |regime: Regime, value: f64, threshold: f64| {
            value >= if self.regime == regime { threshold * LEAVE_AT } else { threshold }
        };
        let config = &self.config;
        let thinness = spread_ratio.max(1.0 / depth_ratio.max(1e-9));
        let regime = if input.spike || over(Regime::Volatile, sigma_ratio, config.volatile_ratio) {
            Regime::Volatile
        } else if over(Regime::Thin, thinness, config.thin_ratio) {
            Regime::Thin
        } else if over(Regime::Trending, move_sigmas.abs(), config.trend_sigmas) {
            Regime::Trending
        } else {
            Regime::Calm
        };
        if regime != self.regime {
            (self.regime, self.since_ns) = (regime, now_ns);
        }
        // The levels learn after the judgement, so that a burst does not explain itself away.
        if dt_s > 0.0 && values.iter().all(|v| v.is_finite() && *v >= 0.0) {
            let keep = (-dt_s / config.slow_half_life_s).exp2();
            for (slow, value) in self.slow.iter_mut().zip(values) {
                *slow = keep * *slow + dt_s * value;
            }
            self.weight = keep * self.weight + dt_s;
        }
        self.last_ns = Some(self.last_ns.map_or(now_ns, |last| last.max(now_ns)));
        let since_s = ((now_ns - self.since_ns) as f64 / NS_PER_S).max(0.0);
        RegimeReading { regime, sigma_ratio, spread_ratio, depth_ratio, move_sigmas, since_s }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: RegimeInput =
        RegimeInput { sigma: 5.0, spread_bps: 0.1, depth: 100.0, move_sigmas: Some(0.3), spike: false };

    fn warmed() -> (RegimeDetector, Ns) {
        let mut detector = RegimeDetector::new(RegimeConfig::default()).unwrap();
        for second in 0..=120 {
            assert_eq!(detector.observe(second * 1_000_000_000, &USUAL).regime, Regime::Calm);
        }
        (detector, 121_000_000_000)
    }

    #[test]
    fn each_regime_is_named_by_what_stands_out() {
        for (input, regime) in [
            (RegimeInput { sigma: 11.0, ..USUAL }, Regime::Volatile),
            (RegimeInput { spike: true, ..USUAL }, Regime::Volatile),
            (RegimeInput { depth: 20.0, ..USUAL }, Regime::Thin),
            (RegimeInput { spread_bps: 0.5, ..USUAL }, Regime::Thin),
            (RegimeInput { move_sigmas: Some(-3.0), ..USUAL }, Regime::Trending),
            (RegimeInput { sigma: 11.0, depth: 20.0, ..USUAL }, Regime::Volatile),
        ] {
            let (mut detector, now) = warmed();
            assert_eq!(detector.observe(now, &input).regime, regime, "{input:?}");
        }
    }

    #[test]
    fn a_regime_is_left_lower_than_it_was_entered() {
        let (mut detector, now) = warmed();
        let at = |sigma| RegimeInput { sigma, ..USUAL };
        assert_eq!(detector.observe(now, &at(8.5)).regime, Regime::Calm);
        assert_eq!(detector.observe(now + 1, &at(10.5)).regime, Regime::Volatile);
        assert_eq!(detector.observe(now + 2, &at(8.5)).regime, Regime::Volatile);
        assert_eq!(detector.observe(now + 3, &at(7.0)).regime, Regime::Calm);
    }

    #[test]
    fn nothing_is_said_before_the_usual_is_known() {
        let mut detector = RegimeDetector::new(RegimeConfig::default()).unwrap();
        detector.observe(0, &USUAL);
        assert_eq!(detector.observe(1_000_000_000, &RegimeInput { sigma: 50.0, ..USUAL }).regime, Regime::Calm);
    }
}
