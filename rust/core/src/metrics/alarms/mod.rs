//! Alarms: what of the market stands out so much that quotes should be wider or gone.
//!
//! A spike is found two ways: a move against the volatility known before it, at every change of the mid, and the distance
//! of the mid from its recent median, ten times a second. The other kinds compare with their own slow level. Thresholds
//! are set by [`TailBudget`] from an allowance of false episodes an hour; faults of the feed are facts and need none.

mod budget;
mod episode;

use std::collections::VecDeque;
use std::f64::consts::FRAC_PI_2;

pub use budget::TailBudget;
pub use episode::{AlarmKind, Episode, Severity};

use crate::Result;
use crate::model::anomaly::HampelWindow;
use crate::types::Ns;

const NS_PER_S: f64 = 1e9;
const SAMPLE_S: f64 = 0.1;

/// Values of the level detector, ten a second.
const LEVEL_WINDOW: usize = 128;
/// Seconds a slow level must rest on.
const USUAL_S: f64 = 30.0;
/// Longest time between two samples that still says something about volatility, s.
const MAX_GAP_S: f64 = 10.0;
/// Half-life of the volume that is compared with the usual, s.
const BURST_HALF_LIFE_S: f64 = 1.0;
/// Ratios are cut off here: a side without anything would be infinitely many times the usual.
const MOST: f64 = 1e4;
/// Finished episodes kept until somebody takes them.
const KEPT: usize = 64;

/// Share of the budget a detector gets, before what silent ones leave is shared out: jump, level, thin, one-sided, volume.
const SHARES: [f64; 5] = [0.6, 0.1, 0.1, 0.1, 0.1];
/// Score from which a detector is known to see anything at all.
const SILENT: [f64; 5] = [1e-9, 1e-9, 1.05, 1.05, 1.05];
/// Part of the budget that is planned with; the rest covers what the estimate of a tail is off by.
const PLANNED: f64 = 0.9;

/// How many alarms are allowed, and what is remembered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlarmConfig {
    /// False episodes an hour, over all kinds.
    pub budget_per_hour: f64,
    /// Alarms of a kind closer than this are one episode, s.
    pub hold_s: f64,
    /// Seconds before the first alarm: thresholds need scores.
    pub warm_up_s: f64,
    /// Half-life of the scores that thresholds rest on, s.
    pub memory_s: f64,
    /// Half-life of the volatility moves are judged with, s.
    pub sigma_half_life_s: f64,
    /// Half-life of the usual depth, spread and volume, s.
    pub slow_half_life_s: f64,
}

impl Default for AlarmConfig {
    fn default() -> Self {
        Self {
            budget_per_hour: 2.0,
            hold_s: 5.0,
            warm_up_s: 600.0,
            memory_s: 4.0 * 3600.0,
            sigma_half_life_s: 120.0,
            slow_half_life_s: 600.0,
        }
    }
}

/// The market at one of ten moments a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MarketSample {
    /// Mid, P.
    pub mid: f64,
    /// Tick, P.
    pub tick_size: f64,
    /// Ask less bid, P.
    pub spread: f64,
    /// Quantity of the best bids.
    pub bid_depth: f64,
    /// Quantity of the best asks.
    pub ask_depth: f64,
}

/// Detectors of one symbol and their episodes.
#[derive(Debug, Clone)]
pub struct Alarms {
    config: AlarmConfig,
    hold_ns: Ns,
    budgets: [TailBudget; 5],
    /// Last sample: time and mid.
    last: Option<(Ns, f64)>,
    last_move: f64,
    bipower: Decayed,
    /// Volatility with its floor, P/sqrt(s), and one over the scale of a move within one sample.
    sigma: f64,
    per_move: f64,
    level: HampelWindow,
    depth: Decayed,
    spread: Decayed,
    volume_slow: Decayed,
    volume_fast: Decayed,
    volume: f64,
    /// By kind: the last or current episode, and until when it is on.
    current: [Option<Episode>; 5],
    until_ns: [Ns; 5],
    last_until_ns: Ns,
    episodes: u64,
    finished: VecDeque<Episode>,
}

/// A mean over time that forgets: a ratio of two decayed sums.
#[derive(Debug, Clone, Copy)]
struct Decayed {
    half_life_s: f64,
    sum: f64,
    seconds: f64,
}

impl Decayed {
    fn new(half_life_s: f64) -> Self {
        Self { half_life_s, sum: 0.0, seconds: 0.0 }
    }

    /// Adds an amount that came in over `dt_s`.
    fn add(&mut self, amount: f64, dt_s: f64) {
        let keep = (-dt_s / self.half_life_s).exp2();
        self.sum = keep * self.sum + amount;
        self.seconds = keep * self.seconds + dt_s;
    }

    fn mean(&self) -> f64 {
        self.sum / self.seconds
    }
}

impl Alarms {
    /// Detectors that have seen nothing.
    ///
    /// # Errors
    /// [`crate::Error::Domain`] naming the value that is out of range.
    pub fn new(config: AlarmConfig) -> Result<Self> {
        use crate::model::domain::positive;
        positive("budget_per_hour", config.budget_per_hour)?;
        positive("hold_s", config.hold_s)?;
        positive("warm_up_s", config.warm_up_s)?;
        positive("memory_s", config.memory_s)?;
        positive("sigma_half_life_s", config.sigma_half_life_s)?;
        positive("slow_half_life_s", config.slow_half_life_s)?;
        let budget = || TailBudget::new(config.hold_s, config.memory_s, config.warm_up_s);
        Ok(Self {
            hold_ns: (config.hold_s * NS_PER_S) as Ns,
            budgets: std::array::from_fn(|_| budget()),
            last: None,
            last_move: 0.0,
            bipower: Decayed::new(config.sigma_half_life_s),
            sigma: 0.0,
            per_move: 0.0,
            level: HampelWindow::new(LEVEL_WINDOW)?,
            depth: Decayed::new(config.slow_half_life_s),
            spread: Decayed::new(config.slow_half_life_s),
            volume_slow: Decayed::new(config.slow_half_life_s),
            volume_fast: Decayed::new(BURST_HALF_LIFE_S),
            volume: 0.0,
            current: std::array::from_fn(|_| None),
            until_ns: [Ns::MIN; 5],
            last_until_ns: Ns::MIN,
            episodes: 0,
            finished: VecDeque::with_capacity(KEPT),
            config,
        })
    }

    /// Takes a new mid, between samples too: a jump is known at the message that brings it.
    #[inline]
    pub fn on_mid(&mut self, now_ns: Ns, mid: f64) {
        self.end_fault(now_ns);
        let Some((last_ns, last_mid)) = self.last else { return };
        let score = (mid - last_mid).abs() * self.per_move;
        // Over a longer time the same move is less.
        if score > self.budgets[0].block_max() {
            let dt_s = ((now_ns - last_ns) as f64 / NS_PER_S).max(SAMPLE_S);
            let score = score * (SAMPLE_S / dt_s).sqrt();
            if self.budgets[0].observe(score) {
                self.raise(AlarmKind::Spike, now_ns, score, self.budgets[0].threshold(), mid, "move in deviations");
            }
        }
    }

    /// Takes a print's quantity.
    #[inline]
    pub fn on_volume(&mut self, qty: f64) {
        self.volume += qty;
    }

    /// Looks at everything; to be called ten times a second while the book is live.
    pub fn on_sample(&mut self, now_ns: Ns, sample: &MarketSample) {
        self.on_mid(now_ns, sample.mid);
        self.share_out(now_ns);
        let Some((last_ns, last_mid)) = self.last.replace((now_ns, sample.mid)) else {
            self.level.push(sample.mid);
            return;
        };
        let dt_s = (now_ns - last_ns) as f64 / NS_PER_S;
        if dt_s > MAX_GAP_S {
            self.level.clear();
            self.last_move = 0.0;
        } else if dt_s > 0.0 {
            self.judge_level(now_ns, sample);
            self.judge_book(now_ns, sample, dt_s);
            self.judge_volume(now_ns, sample.mid, dt_s);
            self.learn_move(sample, sample.mid - last_mid, dt_s);
        }
        self.level.push(sample.mid);
    }

    /// Divides the budget among the detectors that see anything, and ends their blocks.
    fn share_out(&mut self, now_ns: Ns) {
        let heard = |i: usize| self.budgets[i].greatest().max(self.budgets[i].block_max()) > SILENT[i];
        let total: f64 = (0..SHARES.len()).filter(|i| heard(*i)).map(|i| SHARES[i]).sum();
        let planned = PLANNED * self.config.budget_per_hour / total.max(SHARES[1]);
        for (budget, share) in self.budgets.iter_mut().zip(SHARES) {
            budget.pass_to(now_ns, planned * share);
        }
    }

    fn judge_level(&mut self, now_ns: Ns, sample: &MarketSample) {
        if self.level.len() < LEVEL_WINDOW || self.bipower.seconds < USUAL_S {
            return;
        }
        // A third of what the price diffuses over the window: on a walk that is quieter than its volatility, the median
        // deviation is no measure.
        let diffused = self.sigma * (LEVEL_WINDOW as f64 * SAMPLE_S).sqrt() / 3.0;
        let score = self.level.score(sample.mid, diffused.max(sample.tick_size / 2.0)).abs();
        if self.budgets[1].observe(score) {
            let threshold = self.budgets[1].threshold();
            self.raise(AlarmKind::Spike, now_ns, score, threshold, sample.mid, "distance from the level in deviations");
        }
    }

    fn judge_book(&mut self, now_ns: Ns, sample: &MarketSample, dt_s: f64) {
        let MarketSample { bid_depth, ask_depth, spread, mid, .. } = *sample;
        let depth = bid_depth + ask_depth;
        let (smaller, larger) = (bid_depth.min(ask_depth), bid_depth.max(ask_depth));
        if self.depth.seconds >= USUAL_S {
            let thin = (self.depth.mean() / depth).max(spread / self.spread.mean()).min(MOST);
            if self.budgets[2].observe(thin) {
                let threshold = self.budgets[2].threshold();
                self.raise(AlarmKind::Thin, now_ns, thin, threshold, mid, "times less depth or more spread than usual");
            }
            let lean = (larger / smaller).min(MOST);
            if self.budgets[3].observe(lean) {
                let threshold = self.budgets[3].threshold();
                self.raise(AlarmKind::OneSided, now_ns, lean, threshold, mid, "times more on one side");
            }
        }
        self.depth.add(depth * dt_s, dt_s);
        self.spread.add(spread * dt_s, dt_s);
    }

    fn judge_volume(&mut self, now_ns: Ns, mid: f64, dt_s: f64) {
        let volume = std::mem::take(&mut self.volume);
        self.volume_fast.add(volume, dt_s);
        if self.volume_slow.seconds >= USUAL_S && self.volume_slow.sum > 0.0 {
            let burst = (self.volume_fast.mean() / self.volume_slow.mean()).min(MOST);
            if self.budgets[4].observe(burst) {
                let threshold = self.budgets[4].threshold();
                self.raise(AlarmKind::VolumeBurst, now_ns, burst, threshold, mid, "times the usual volume");
            }
        }
        self.volume_slow.add(volume, dt_s);
    }

    /// The volatility learns after the judgement, and from moves cut off at the threshold: a spike must not hide itself.
    fn learn_move(&mut self, sample: &MarketSample, change: f64, dt_s: f64) {
        let rate = change.abs() / dt_s.sqrt();
        let most = self.budgets[0].threshold() * self.sigma;
        let rate = if most > 0.0 { rate.min(most) } else { rate };
        self.bipower.add(FRAC_PI_2 * rate * self.last_move * dt_s, dt_s);
        self.last_move = rate;
        let floor = sample.tick_size / 2.0 / SAMPLE_S.sqrt();
        self.sigma = self.bipower.mean().max(0.0).sqrt().max(floor);
        if self.bipower.seconds >= USUAL_S && self.sigma > 0.0 {
            self.per_move = 1.0 / (self.sigma * SAMPLE_S.sqrt());
        }
    }

    /// The book that was live is not; the reason says why.
    pub fn on_fault(&mut self, now_ns: Ns, reason: &str) {
        self.last = None;
        self.last_move = 0.0;
        self.level.clear();
        self.volume = 0.0;
        let kind = AlarmKind::FeedFault;
        self.raise(kind, now_ns, 0.0, 0.0, f64::NAN, reason);
        // A fault lasts until the book is live again.
        self.until_ns[kind as usize] = Ns::MAX;
        self.last_until_ns = Ns::MAX;
    }

    #[inline]
    fn end_fault(&mut self, now_ns: Ns) {
        if self.last_until_ns == Ns::MAX {
            let index = AlarmKind::FeedFault as usize;
            self.until_ns[index] = now_ns.saturating_add(self.hold_ns);
            if let Some(episode) = &mut self.current[index] {
                episode.end_ns = now_ns;
            }
            self.last_until_ns = self.until_ns.iter().copied().max().unwrap_or(Ns::MIN);
        }
    }

    #[cold]
    fn raise(&mut self, kind: AlarmKind, now_ns: Ns, score: f64, threshold: f64, mid: f64, measure: &str) {
        let index = kind as usize;
        let is_on = now_ns < self.until_ns[index];
        self.until_ns[index] = now_ns.saturating_add(self.hold_ns);
        self.last_until_ns = self.last_until_ns.max(self.until_ns[index]);
        let measure = || Box::from(measure);
        match &mut self.current[index] {
            Some(episode) if is_on => {
                episode.end_ns = now_ns;
                if score * episode.threshold > episode.score * threshold {
                    (episode.score, episode.threshold, episode.measure) = (score, threshold, measure());
                }
            }
            current => {
                self.episodes += 1;
                let (start_ns, end_ns) = (now_ns, now_ns);
                let fresh = Episode { kind, start_ns, end_ns, score, threshold, mid, measure: measure() };
                if let Some(over) = current.replace(fresh) {
                    self.finish(over);
                }
            }
        }
    }

    fn finish(&mut self, episode: Episode) {
        if self.finished.len() == KEPT {
            self.finished.pop_front();
        }
        self.finished.push_back(episode);
    }

    /// Kinds that are on, a bit each ([`AlarmKind::bit`]).
    #[inline]
    pub fn active(&self, now_ns: Ns) -> u8 {
        if now_ns >= self.last_until_ns {
            return 0;
        }
        AlarmKind::ALL.into_iter().filter(|kind| now_ns < self.until_ns[*kind as usize]).map(AlarmKind::bit).sum()
    }

    /// The episodes that are on.
    pub fn current(&self, now_ns: Ns) -> impl Iterator<Item = &Episode> {
        self.current.iter().flatten().filter(move |episode| now_ns < self.until_ns[episode.kind as usize])
    }

    /// Episodes since the start.
    pub fn episodes(&self) -> u64 {
        self.episodes
    }

    /// Takes the episodes that are over at `now_ns`, in the order of their start. At most the last 64 of those that began
    /// before another of their kind are kept.
    pub fn take_finished(&mut self, now_ns: Ns) -> Vec<Episode> {
        for index in 0..self.current.len() {
            if now_ns >= self.until_ns[index] {
                if let Some(over) = self.current[index].take() {
                    self.finish(over);
                }
            }
        }
        let mut taken: Vec<Episode> = self.finished.drain(..).collect();
        taken.sort_by_key(|episode| episode.start_ns);
        taken
    }

    /// Whether moves can be judged: enough was seen to know a threshold.
    pub fn is_ready(&self) -> bool {
        self.budgets[0].threshold().is_finite()
    }

    /// Thresholds in force: jump and level (standard deviations), thinness, lean, volume (times the usual). Infinite where
    /// not enough is known.
    pub fn thresholds(&self) -> [f64; 5] {
        std::array::from_fn(|i| self.budgets[i].threshold())
    }
}

#[cfg(test)]
mod tests;
