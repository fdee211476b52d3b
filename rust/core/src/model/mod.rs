//! Closed-form quotes and streaming estimators. Every formula of the package exists here and nowhere else.
//!
//! Units: P is quote currency per base. `A` is fills per second of one side at distance 0, `k` its decay in 1/P,
//! `sigma` the volatility of the reference price in P/sqrt(s), `gamma` the risk aversion in 1/(P x base).

pub mod anomaly;
pub mod avellaneda;
pub mod calibrate;
pub mod chi_square;
pub(crate) mod domain;
pub mod drift;
pub mod estimators;
pub mod exact;
pub mod fit;
pub mod flow;
pub mod glft;
pub mod horizon;
pub mod intensity;
pub mod markout;
pub mod microprice;
pub mod microprice_table;
pub mod price;
pub mod range;
pub mod reach;
pub mod regime;
pub mod risk_aversion;
pub mod seed;
pub mod stream;
pub mod usual;
pub mod volatility;
