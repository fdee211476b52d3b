//! Random variates from uniform ones. Each stream of a seed is independent of the others.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// One seeded stream of random numbers.
#[derive(Debug, Clone)]
pub struct Draw(ChaCha8Rng);

impl Draw {
    /// Stream number `stream` of `seed`.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// Uniform on (0, 1].
    pub fn uniform(&mut self) -> f64 {
        1.0 - self.0.random::<f64>()
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -self.uniform().ln()
    }

    /// Standard normal (Box and Muller, 1958; the cosine half).
    pub fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Uniform on 1..=`top`; 1 for a `top` below 1.
    pub fn up_to(&mut self, top: i64) -> i64 {
        ((self.uniform() * top as f64).ceil() as i64).clamp(1, top.max(1))
    }
}
