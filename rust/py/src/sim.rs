//! The matching engine for Python.

use std::sync::{Mutex, MutexGuard, PoisonError};

use mm_core::Error;
use mm_core::sim;
use mm_core::types::{Ns, Side};
use pyo3::prelude::*;

use crate::error::CoreError;
use crate::events::EventBatch;
use crate::market::decimal;

/// One fill of one own order.
#[pyclass(frozen, module = "mm_hybrid._core")]
pub struct Execution {
    #[pyo3(get)]
    order_id: String,
    #[pyo3(get)]
    side: &'static str,
    #[pyo3(get)]
    price: String,
    #[pyo3(get)]
    qty: String,
    #[pyo3(get)]
    is_maker: bool,
    #[pyo3(get)]
    print_id: Option<String>,
    #[pyo3(get)]
    print_price: Option<String>,
    #[pyo3(get)]
    exchange_ts_ns: Ns,
    #[pyo3(get)]
    local_ts_ns: Ns,
}

#[pymethods]
impl Execution {
    fn __repr__(&self) -> String {
        let role = if self.is_maker { "maker" } else { "taker" };
        format!("Execution({} {} {} at {}, {role})", self.order_id, self.side, self.qty, self.price)
    }
}

impl From<sim::Execution> for Execution {
    fn from(fill: sim::Execution) -> Self {
        Self {
            order_id: fill.order_id.to_string(),
            side: side_word(fill.side),
            price: fill.price.to_string(),
            qty: fill.qty.to_string(),
            is_maker: fill.is_maker,
            print_id: fill.print_id.map(Into::into),
            print_price: fill.print_price.map(|price| price.to_string()),
            exchange_ts_ns: fill.exchange_ts_ns,
            local_ts_ns: fill.local_ts_ns,
        }
    }
}

type Outcome = (&'static str, Vec<Execution>);

/// Matching of own orders of one symbol; see `mm_core::sim::SimExchange`.
#[pyclass(frozen, module = "mm_hybrid._core")]
pub struct SimExchange(Mutex<sim::SimExchange>);

#[pymethods]
impl SimExchange {
    #[new]
    #[pyo3(signature = (*, exchange, symbol, tick_size, lot_size))]
    fn new(exchange: &str, symbol: &str, tick_size: &str, lot_size: &str) -> Result<Self, CoreError> {
        let (tick_size, lot_size) = (decimal("tick_size", tick_size)?, decimal("lot_size", lot_size)?);
        Ok(Self(Mutex::new(sim::SimExchange::new(exchange, symbol, tick_size, lot_size)?)))
    }

    /// Takes market events and returns the fills they cause.
    fn apply(&self, py: Python<'_>, batch: &EventBatch) -> Vec<Execution> {
        let fills = py.detach(|| {
            let (mut sim, mut fills) = (self.lock(), Vec::new());
            for event in batch.events() {
                sim.apply(event, &mut fills);
            }
            fills
        });
        fills.into_iter().map(Into::into).collect()
    }

    /// Sends a new order.
    #[pyo3(signature = (order_id, side, price, qty, *, post_only, ioc=false, now_ns))]
    #[expect(clippy::too_many_arguments, reason = "the order's fields")]
    fn place(
        &self,
        order_id: &str,
        side: &str,
        price: Option<&str>,
        qty: &str,
        post_only: bool,
        ioc: bool,
        now_ns: Ns,
    ) -> Result<Outcome, CoreError> {
        let order = sim::NewOrder {
            id: order_id.into(),
            side: parse_side(side)?,
            price: price.map(|text| decimal("price", text)).transpose()?,
            qty: decimal("qty", qty)?,
            post_only,
            ioc,
        };
        let mut fills = Vec::new();
        let status = self.lock().place(&order, now_ns, &mut fills)?;
        Ok(outcome(status, fills))
    }

    /// Changes price or total quantity of a resting order.
    #[pyo3(signature = (order_id, *, price=None, qty=None, now_ns))]
    fn amend(&self, order_id: &str, price: Option<&str>, qty: Option<&str>, now_ns: Ns) -> Result<Outcome, CoreError> {
        let price = price.map(|text| decimal("price", text)).transpose()?;
        let qty = qty.map(|text| decimal("qty", text)).transpose()?;
        let mut fills = Vec::new();
        let status = self.lock().amend(order_id, price, qty, now_ns, &mut fills)?;
        Ok(outcome(status, fills))
    }

    /// Takes an order out.
    fn cancel(&self, order_id: &str) -> bool {
        self.lock().cancel(order_id)
    }

    /// Best bid and best ask of the market.
    fn best(&self) -> (Option<String>, Option<String>) {
        let sim = self.lock();
        let text = |side| sim.best(side).map(|price| price.to_string());
        (text(Side::Buy), text(Side::Sell))
    }

    /// Mid of the market.
    fn mid(&self) -> Option<f64> {
        let sim = self.lock();
        Some(0.5 * (sim.best(Side::Buy)?.to_f64() + sim.best(Side::Sell)?.to_f64()))
    }

    /// Whether there is a book to match against.
    fn is_synced(&self) -> bool {
        self.lock().book().is_synced()
    }

    /// Market quantity ahead of a resting order at its price.
    fn qty_ahead(&self, order_id: &str) -> Option<String> {
        let sim = self.lock();
        sim.orders().get(order_id).map(|order| sim.qty_grid().value(order.ahead_lots).to_string())
    }

    /// Resting orders as (id, side, price, open quantity), best price first per side, buys first.
    fn open_orders(&self) -> Vec<(String, &'static str, String, String)> {
        let sim = self.lock();
        let row = |order: &sim::orders::Resting| {
            let price = sim.price_grid().value(order.price_ticks).to_string();
            (order.id.to_string(), side_word(order.side), price, sim.qty_grid().value(order.open_lots).to_string())
        };
        sim.orders().iter().map(row).collect()
    }
}

impl SimExchange {
    fn lock(&self) -> MutexGuard<'_, sim::SimExchange> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn outcome(status: sim::Status, fills: Vec<sim::Execution>) -> Outcome {
    (status.as_str(), fills.into_iter().map(Into::into).collect())
}

fn side_word(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    }
}

fn parse_side(text: &str) -> Result<Side, Error> {
    match text {
        "buy" => Ok(Side::Buy),
        "sell" => Ok(Side::Sell),
        _ => Err(Error::Domain { name: "side", reason: format!("{text:?} is neither buy nor sell") }),
    }
}
