//! Matching of our own orders against a market that does not know them.
//!
//! `exchange` takes market events and order requests; `displayed` is the market's book on the order grid; `orders`
//! holds what rests; `queue` decides how an order moves to the front of its level.

pub mod displayed;
pub mod exchange;
pub mod grid;
pub mod orders;
pub mod queue;

pub use exchange::{Execution, NewOrder, SimExchange, Status};
pub use grid::Grid;
pub use queue::{QueueModel, RiskAverse};
