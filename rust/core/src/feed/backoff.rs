//! How long to wait before the next attempt to connect.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Waits of a peer that refused us start at this multiple of the shortest wait.
const REFUSAL_FACTOR: u32 = 10;

/// A connection that is lost sooner proves nothing, even if it brought messages.
const MIN_LIFE: Duration = Duration::from_secs(1);

/// Jittered exponential backoff: doubles from the shortest wait to the longest, and starts over only when told that a
/// message arrived over a connection that has lived for a second, and for longer than the last wait. A handshake is no
/// proof of health, since a bad request is accepted first and closed afterwards, nor is a first message.
#[derive(Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    attempt: u32,
    /// The longest that the last wait may have been.
    last: Duration,
    rng: ChaCha8Rng,
}

impl Backoff {
    /// A backoff between `min` and `max`, seeded from the process's randomness.
    pub fn new(min: Duration, max: Duration) -> Self {
        let seed = RandomState::new().hash_one(std::process::id());
        Self { min, max: max.max(min), attempt: 0, last: Duration::ZERO, rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// A message arrived over a connection that has lived so long: if long enough, the next wait is a short one again.
    pub fn message_after(&mut self, life: Duration) {
        if life > self.last.max(MIN_LIFE) {
            self.attempt = 0;
            self.last = Duration::ZERO;
        }
    }

    /// Wait after a connection that broke or could not be made.
    pub fn after_loss(&mut self) -> Duration {
        let ceiling = self.next_ceiling();
        self.jittered(ceiling)
    }

    /// Wait after the peer answered and would not serve us: asking again soon cannot help.
    pub fn after_refusal(&mut self) -> Duration {
        let floor = (self.min * REFUSAL_FACTOR).min(self.max);
        let ceiling = self.next_ceiling().max(floor);
        self.jittered(ceiling)
    }

    fn next_ceiling(&mut self) -> Duration {
        let factor = 1u32.checked_shl(self.attempt).unwrap_or(u32::MAX);
        self.attempt = (self.attempt + 1).min(31);
        self.min.checked_mul(factor).map_or(self.max, |wait| wait.min(self.max))
    }

    /// Between half of `ceiling` and all of it, so that many clients do not come back at once.
    fn jittered(&mut self, ceiling: Duration) -> Duration {
        self.last = ceiling;
        ceiling.mul_f64(self.rng.random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(32);

    fn within(wait: Duration, ceiling: Duration) -> bool {
        wait >= ceiling / 2 && wait <= ceiling
    }

    #[test]
    fn waits_double_up_to_the_longest_one() {
        let mut backoff = Backoff::new(MIN, MAX);
        for exponent in 0..9 {
            assert!(within(backoff.after_loss(), (MIN * (1 << exponent)).min(MAX)));
        }
        for _ in 0..100 {
            assert!(within(backoff.after_loss(), MAX));
        }
    }

    #[test]
    fn only_a_message_over_a_connection_that_lasts_makes_the_wait_short_again() {
        let mut backoff = Backoff::new(MIN, MAX);
        for exponent in 0..7 {
            backoff.message_after(MIN_LIFE);
            assert!(within(backoff.after_loss(), MIN * (1 << exponent)), "a flapping peer is met with growing waits");
        }
        backoff.message_after(MIN * 64);
        assert!(backoff.after_loss() > MIN * 32, "not longer than the last wait");
        backoff.message_after(MIN * 129);
        assert!(within(backoff.after_loss(), MIN));
    }

    #[test]
    fn a_refusal_waits_longer_than_a_loss_even_right_after_a_message() {
        let mut backoff = Backoff::new(MIN, MAX);
        backoff.message_after(MAX);
        assert!(within(backoff.after_refusal(), MIN * REFUSAL_FACTOR));
        for _ in 0..20 {
            backoff.after_refusal();
        }
        assert!(within(backoff.after_refusal(), MAX));
    }

    #[test]
    fn waits_are_spread_and_differ_between_clients() {
        let mut a = Backoff::new(MIN, MIN);
        let mut b = Backoff::new(MIN, MIN);
        let pairs: Vec<_> = (0..8).map(|_| (a.after_loss(), b.after_loss())).collect();
        assert!(pairs.iter().any(|(x, y)| x != y));
    }
}
